//! `--verify`: a full recomputation beside the increments, on a thread of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::ConfigKey;
use rutter_core::verify::{Difference, differences};
use rutter_core::{ConfigBatch, Mesh};
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::metrics::Metrics;

/// Differences of one check that are logged.
const LOGGED_MAX: usize = 20;

/// Compares again and again; one check at a time, each of the state at its beginning.
pub(crate) struct Oracle {
    metrics: Arc<Metrics>,
    /// What changed since the last check began.
    changes: BTreeSet<ConfigKey>,
    running: Option<(BTreeSet<ConfigKey>, JoinHandle<Vec<Difference>>)>,
}

impl Oracle {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, changes: BTreeSet::new(), running: None }
    }

    /// Takes in that a batch was applied, so that the next check has something to do.
    pub(crate) fn note(&mut self, batch: &ConfigBatch) {
        self.changes.extend(batch.changes.keys().cloned());
    }

    /// Begins a check, if something changed and none is under way.
    pub(crate) fn begin(&mut self, mesh: &Mesh) {
        if self.running.is_some() || self.changes.is_empty() {
            return;
        }
        let settings = mesh.index().settings().clone();
        let configs: Vec<_> = mesh.index().configs().cloned().collect();
        let sidecars = mesh.sidecars().map(|(node, view)| (node.clone(), view.clone())).collect();
        let check = tokio::task::spawn_blocking(move || differences(&settings, configs, sidecars));
        self.running = Some((std::mem::take(&mut self.changes), check));
    }

    /// Waits for the check that is under way, and reports it. Waits for ever where there is none.
    pub(crate) async fn finished(oracle: &mut Option<Self>) {
        let Some(oracle) = oracle else { return std::future::pending().await };
        let Some((_, check)) = &mut oracle.running else { return std::future::pending().await };
        let result = check.await;
        let changes = oracle.running.take().map(|(changes, _)| changes).unwrap_or_default();
        match result {
            Ok(found) => oracle.report(&changes, &found),
            Err(failure) => error!(error = %failure, "a check of --verify failed"),
        }
    }

    fn report(&self, changes: &BTreeSet<ConfigKey>, found: &[Difference]) {
        self.metrics.verify_checks.inc();
        self.metrics.verify_differences.inc_by(found.len() as u64);
        let changed: Vec<String> = changes.iter().take(LOGGED_MAX).map(ToString::to_string).collect();
        for difference in found.iter().take(LOGGED_MAX) {
            error!(%difference, after = changed.join(", "), "verify: not what a full recomputation gives");
        }
        info!(changes = changes.len(), differences = found.len(), "verified");
    }
}
