//! The store as a source of config.

use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use rutter_api::{Config, ConfigKey};
use rutter_core::ConfigChange;
use rutter_store::{Commit, ConfigEvent, ConfigStore, Stored, Watch};
use tracing::error;

use super::{Source, SourceCommit};
use crate::parallel;

/// Reads everything in a store, and watches it from there.
pub(crate) async fn open_store(store: Arc<dyn ConfigStore>) -> anyhow::Result<Source> {
    let listing = store.list(rutter_store::ALL).await.context("reading the store")?;
    let configs = parallel::map(&listing.objects, read_stored).into_iter().flatten().collect();
    let revision = listing.revision;
    let commits = stream::try_unfold(Watch::new(store, revision), |mut watch| async {
        let commits = watch.next().await.context("watching the store")?;
        anyhow::Ok(Some((stream::iter(commits.iter().map(read_commit).map(Ok).collect::<Vec<_>>()), watch)))
    });
    Ok(Source { name: "store", configs, revision, commits: commits.try_flatten().boxed() })
}

fn read_commit(commit: &Commit) -> SourceCommit {
    SourceCommit { revision: commit.revision, changes: commit.events.iter().filter_map(read_event).collect() }
}

fn read_event(event: &ConfigEvent) -> Option<(ConfigKey, ConfigChange)> {
    match event {
        ConfigEvent::Put(stored) => read_stored(stored).map(|config| (config.key.clone(), ConfigChange::Put(config))),
        ConfigEvent::Delete(key) => Some((key.clone(), ConfigChange::Delete)),
    }
}

/// Returns a stored object in its typed form. An object that this version no longer takes is left out, and logged.
fn read_stored(stored: &Stored) -> Option<Arc<Config>> {
    match Config::from_json(stored.key.clone(), &stored.json) {
        Ok(config) => Some(Arc::new(Config { created: stored.created, ..config })),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            error!(object = %stored.key, error = faults.join("; "), "a stored object is no longer valid and is left out");
            None
        }
    }
}
