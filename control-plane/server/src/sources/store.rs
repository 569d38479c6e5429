//! The store as a source of config.

use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use rutter_api::{Config, ConfigKey, Kind};
use rutter_core::ConfigChange;
use rutter_store::{Commit, ConfigEvent, ConfigStore, Stored, Watch};
use tracing::error;

use super::{Source, SourceCommit};
use crate::parallel;
use crate::sealing::Sealer;

/// Reads everything in a store, and watches it from there.
pub(crate) async fn open_store(store: Arc<dyn ConfigStore>, sealer: Arc<Sealer>) -> anyhow::Result<Source> {
    let listing = store.list(rutter_store::ALL).await.context("reading the store")?;
    let configs =
        parallel::map(&listing.objects, |stored| read_stored(stored, &sealer)).into_iter().flatten().collect();
    let revision = listing.revision;
    let commits = stream::try_unfold((Watch::new(store, revision), sealer), |(mut watch, sealer)| async {
        let commits = watch.next().await.context("watching the store")?;
        let read: Vec<_> = commits.iter().map(|commit| Ok(read_commit(commit, &sealer))).collect();
        anyhow::Ok(Some((stream::iter(read), (watch, sealer))))
    });
    Ok(Source { name: "store", configs, revision, commits: commits.try_flatten().boxed() })
}

fn read_commit(commit: &Commit, sealer: &Sealer) -> SourceCommit {
    let changes = commit.events.iter().filter_map(|event| read_event(event, sealer)).collect();
    SourceCommit { revision: commit.revision, changes }
}

fn read_event(event: &ConfigEvent, sealer: &Sealer) -> Option<(ConfigKey, ConfigChange)> {
    match event {
        // A Secret that cannot be opened is not there, as after a restart.
        ConfigEvent::Put(stored) if stored.key.kind == Kind::Secret => {
            let change = read_stored(stored, sealer).map_or(ConfigChange::Delete, ConfigChange::Put);
            Some((stored.key.clone(), change))
        }
        ConfigEvent::Put(stored) => {
            read_stored(stored, sealer).map(|config| (config.key.clone(), ConfigChange::Put(config)))
        }
        ConfigEvent::Delete(key) => Some((key.clone(), ConfigChange::Delete)),
    }
}

/// Returns a stored object in its typed form, with its values if it is a Secret. An object that this version no longer
/// takes is left out, and logged, and so is a Secret that cannot be opened.
fn read_stored(stored: &Stored, sealer: &Sealer) -> Option<Arc<Config>> {
    match Config::from_json(stored.key.clone(), &stored.json) {
        Ok(config) => match sealer.opened(Config { created: stored.created, ..config }) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                error!(object = %stored.key, %error, "a stored Secret cannot be opened and is left out");
                None
            }
        },
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            error!(object = %stored.key, error = faults.join("; "), "a stored object is no longer valid and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::CreationTimestamp;
    use rutter_store::{ConfigWrite, Expected, MemoryStore, Owner};

    use super::*;

    fn write(name: &str, json: Option<&str>) -> ConfigWrite {
        let key = ConfigKey::new(Kind::Service, "shop", name);
        let created = json.map(|_| CreationTimestamp::from_microseconds(5));
        ConfigWrite { key, json: json.map(Arc::from), created, owner: Owner::Api, expected: Expected::Any }
    }

    fn service(name: &str) -> String {
        format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"ports":[{{"port":80}}]}}}}"#
        )
    }

    fn names(changes: &[(ConfigKey, ConfigChange)]) -> Vec<String> {
        let describe = |(key, change): &(ConfigKey, ConfigChange)| match change {
            ConfigChange::Put(config) => format!("put {key} of {}", config.created.microseconds()),
            ConfigChange::Delete => format!("delete {key}"),
        };
        changes.iter().map(describe).collect()
    }

    #[tokio::test]
    async fn a_source_begins_with_what_is_stored_and_goes_on_with_each_commit() {
        let store = Arc::new(MemoryStore::default());
        store.commit(vec![write("a", Some(&service("a")))]).await.unwrap();
        let mut source = open_store(store.clone(), Arc::new(Sealer::in_memory())).await.unwrap();
        assert_eq!((source.configs.len(), source.revision), (1, 1));
        assert_eq!(source.configs[0].created.microseconds(), 5, "the age is that of the store");
        store.commit(vec![write("b", Some(&service("b"))), write("a", None)]).await.unwrap();
        store.commit(vec![write("c", Some(&service("c")))]).await.unwrap();
        let first = source.commits.next().await.unwrap().unwrap();
        assert_eq!(first.revision, 2);
        assert_eq!(
            names(&first.changes),
            ["delete service shop/a", "put service shop/b of 5"],
            "in the order of the keys"
        );
        let second = source.commits.next().await.unwrap().unwrap();
        assert_eq!((second.revision, names(&second.changes)), (3, vec!["put service shop/c of 5".to_owned()]));
    }

    #[tokio::test]
    async fn a_stored_object_that_is_no_longer_valid_is_left_out_and_the_others_are_served() {
        let store = Arc::new(MemoryStore::default());
        let broken = service("b").replace("80", "0");
        store.commit(vec![write("a", Some(&service("a"))), write("b", Some(&broken))]).await.unwrap();
        let mut source = open_store(store.clone(), Arc::new(Sealer::in_memory())).await.unwrap();
        assert_eq!(source.configs.len(), 1);
        store.commit(vec![write("d", Some("{")), write("e", Some(&service("e")))]).await.unwrap();
        let commit = source.commits.next().await.unwrap().unwrap();
        assert_eq!(names(&commit.changes), ["put service shop/e of 5"]);
    }
}
