//! `--verify`: a full recomputation beside the increments, on a thread of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::ConfigKey;
use rutter_core::verify::{Difference, differences};
use rutter_core::{ConfigBatch, Mesh};
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::metrics::Metrics;

/// The number of differences of one check that are logged.
const LOGGED_MAX: usize = 20;

/// Compares what sidecars see with a full recomputation, again and again. There is one check at a time, and each looks at
/// the state at its beginning.
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

    /// Waits for the check that is under way, and reports it. Without one it never returns.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rutter_api::config::Object;
    use rutter_api::{Config, yaml};
    use rutter_core::{ConfigChange, MeshSettings};

    use super::*;
    use crate::testing::node;

    fn batch(text: &str) -> ConfigBatch {
        let put = |document: yaml::Document| {
            let object = Object::from_value(document.value, "default").unwrap();
            let config: Arc<Config> = object.config;
            (config.key.clone(), ConfigChange::Put(config))
        };
        let changes = yaml::parse(text).unwrap().into_iter().map(put).collect();
        ConfigBatch { changes, revision: 1, since: None }
    }

    fn service(name: &str) -> ConfigBatch {
        let metadata = format!("{{name: {name}}}");
        batch(&format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {{ports: [{{port: 80}}]}}\n"))
    }

    /// Returns the number of checks that were reported, and of differences that were found.
    fn counts(metrics: &Metrics) -> [u64; 2] {
        [metrics.verify_checks.get(), metrics.verify_differences.get()]
    }

    #[tokio::test]
    async fn a_check_of_what_the_increments_give_finds_no_difference() {
        let metrics = Arc::new(Metrics::default());
        let mut mesh = Mesh::new(MeshSettings::default());
        mesh.connect(node("a", "default"));
        let batch = service("a");
        mesh.apply(&batch);
        let mut oracle = Oracle::new(metrics.clone());
        oracle.note(&batch);
        oracle.begin(&mesh);
        let mut oracle = Some(oracle);
        Oracle::finished(&mut oracle).await;
        assert_eq!(counts(&metrics), [1, 0]);
    }

    #[tokio::test]
    async fn a_view_that_is_not_what_it_should_be_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let oracle = Oracle::new(metrics.clone());
        let mut mesh = Mesh::new(MeshSettings::default());
        mesh.connect(node("a", "default"));
        mesh.apply(&service("a"));
        let sidecars: Vec<_> = mesh.sidecars().map(|(node, view)| (node.clone(), view.clone())).collect();
        let found = differences(&MeshSettings::default(), Vec::new(), sidecars);
        assert!(found.len() >= 2, "at least a cluster and a load assignment are there that should not be: {found:?}");
        oracle.report(&BTreeSet::new(), &found);
        assert_eq!(counts(&metrics), [1, found.len() as u64]);
    }

    #[tokio::test]
    async fn there_is_one_check_at_a_time_and_none_without_a_change() {
        let metrics = Arc::new(Metrics::default());
        let mesh = Mesh::new(MeshSettings::default());
        let mut oracle = Oracle::new(metrics.clone());
        oracle.begin(&mesh);
        assert!(oracle.running.is_none(), "nothing changed");
        oracle.note(&service("a"));
        oracle.begin(&mesh);
        oracle.note(&service("b"));
        oracle.begin(&mesh);
        assert_eq!(oracle.changes.len(), 1, "the second change waits for the check that is under way");
        let mut oracle = Some(oracle);
        Oracle::finished(&mut oracle).await;
        let Some(next) = &mut oracle else { unreachable!() };
        next.begin(&mesh);
        Oracle::finished(&mut oracle).await;
        assert_eq!(counts(&metrics), [2, 0]);
    }

    #[tokio::test]
    async fn without_a_check_there_is_nothing_to_wait_for() {
        for mut oracle in [None, Some(Oracle::new(Arc::new(Metrics::default())))] {
            let waiting = tokio::time::timeout(Duration::from_millis(1), Oracle::finished(&mut oracle));
            assert!(waiting.await.is_err());
        }
    }
}
