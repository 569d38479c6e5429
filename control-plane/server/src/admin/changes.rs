//! Objects and their changes, for those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rutter_api::ConfigKey;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::watch_response::Event;
use rutter_store::{ConfigEvent, ConfigStore, StoreError, Stored, Watch};
use tonic::Status;

use super::objects::Display;
use super::wanted::Wanted;

/// The answer of a watch.
pub(super) type Changes = BoxStream<'static, Result<pb::WatchResponse, Status>>;

struct Watcher {
    watch: Watch,
    display: Display,
    wanted: Wanted,
    /// The objects that were shown, as they were shown.
    shown: BTreeMap<ConfigKey, Stored>,
    /// What is to be sent.
    due: VecDeque<(Event, Stored)>,
}

/// Returns the objects that are wanted, and then every change of them. An object whose labels are no longer those that are
/// wanted is told as deleted.
pub(super) async fn changes(
    store: Arc<dyn ConfigStore>,
    display: Display,
    wanted: Wanted,
) -> Result<Changes, StoreError> {
    let mut listing = store.list(&|key| wanted.has_key(key)).await?;
    listing.objects.retain(|stored| wanted.selects(&stored.json));
    listing.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let watcher = Watcher {
        watch: Watch::new(store, listing.revision),
        display,
        wanted,
        due: listing.objects.iter().map(|stored| (Event::Listed, stored.clone())).collect(),
        shown: listing.objects.into_iter().map(|stored| (stored.key.clone(), stored)).collect(),
    };
    Ok(stream::unfold(Some(watcher), next).boxed())
}

/// Returns the next change. After an error there is none.
async fn next(watcher: Option<Watcher>) -> Option<(Result<pb::WatchResponse, Status>, Option<Watcher>)> {
    let mut watcher = watcher?;
    loop {
        if let Some((event, stored)) = watcher.due.pop_front() {
            let object = watcher.display.show(&[stored]).await.pop();
            return Some((Ok(pb::WatchResponse { event: event as i32, object }), Some(watcher)));
        }
        match watcher.watch.next().await {
            Ok(commits) => {
                commits.into_iter().flat_map(|commit| commit.events).for_each(|event| watcher.take(event));
            }
            Err(StoreError::Compacted(_)) => {
                return Some((Err(Status::aborted("the watch fell too far behind: watch again")), None));
            }
            Err(error) => return Some((Err(Status::internal(error.to_string())), None)),
        }
    }
}

impl Watcher {
    fn take(&mut self, event: ConfigEvent) {
        let (key, now) = match event {
            ConfigEvent::Put(stored) => (stored.key.clone(), Some(stored)),
            ConfigEvent::Delete(key) => (key, None),
        };
        if !self.wanted.has_key(&key) {
            return;
        }
        match now.filter(|stored| self.wanted.selects(&stored.json)) {
            Some(stored) => {
                let before = self.shown.insert(key, stored.clone());
                self.due.push_back((if before.is_some() { Event::Modified } else { Event::Added }, stored));
            }
            None => self.due.extend(self.shown.remove(&key).map(|stored| (Event::Deleted, stored))),
        }
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::{CreationTimestamp, Kind};
    use rutter_store::{ConfigWrite, Expected, MemoryStore, Owner};

    use super::*;
    use tokio::sync::{mpsc, watch};

    use crate::engine::EngineHandle;
    use crate::sealing::Sealer;
    use crate::streams::OpenStreams;

    fn stored(name: &str, app: &str) -> Stored {
        Stored {
            key: ConfigKey::new(Kind::Service, "shop", name),
            json: format!(r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{app}"}}}}}}"#).into(),
            revision: 1,
            first_revision: 1,
            created: CreationTimestamp::default(),
            owner: Owner::Api,
        }
    }

    fn display() -> Display {
        let engine = EngineHandle::new(mpsc::channel(1).0, watch::channel(0).1, Default::default());
        Display { streams: OpenStreams::new(Arc::default()), sealer: Arc::new(Sealer::in_memory()), engine }
    }

    fn watcher(kind: &str, selector: &str) -> Watcher {
        let wanted = pb::ObjectKey { kind: kind.into(), ..Default::default() };
        let request = pb::GetRequest { wanted: vec![wanted], selector: selector.into() };
        Watcher {
            watch: Watch::new(Arc::new(MemoryStore::default()), 0),
            display: display(),
            wanted: Wanted::of_request(&request).unwrap(),
            shown: BTreeMap::new(),
            due: VecDeque::new(),
        }
    }

    /// Returns what is to be sent, and forgets it.
    fn due(watcher: &mut Watcher) -> Vec<String> {
        watcher.due.drain(..).map(|(event, stored)| format!("{} {}", event.as_str_name(), stored.key.name)).collect()
    }

    #[test]
    fn a_change_is_told_by_what_was_shown_before() {
        let mut watcher = watcher("svc", "app=web");
        watcher.take(ConfigEvent::Put(stored("a", "web")));
        watcher.take(ConfigEvent::Put(stored("a", "web")));
        watcher.take(ConfigEvent::Put(stored("b", "other")));
        assert_eq!(due(&mut watcher), ["ADDED a", "MODIFIED a"], "what is not selected is not told");
        watcher.take(ConfigEvent::Put(stored("b", "web")));
        watcher.take(ConfigEvent::Put(stored("a", "other")));
        assert_eq!(due(&mut watcher), ["ADDED b", "DELETED a"], "labels may begin and end to be those that are wanted");
        watcher.take(ConfigEvent::Delete(stored("a", "").key));
        watcher.take(ConfigEvent::Delete(stored("b", "").key));
        assert_eq!(due(&mut watcher), ["DELETED b"], "what was not shown cannot go");
    }

    #[test]
    fn objects_of_other_kinds_are_not_told() {
        let mut watcher = watcher("vs", "");
        watcher.take(ConfigEvent::Put(stored("a", "web")));
        watcher.take(ConfigEvent::Delete(stored("a", "web").key));
        assert!(due(&mut watcher).is_empty() && watcher.shown.is_empty());
    }

    #[tokio::test]
    async fn what_is_there_comes_first_and_a_watch_that_is_too_far_behind_ends_with_the_reason() {
        let store = Arc::new(MemoryStore::default());
        let write = |name: &str, number: u64| {
            let Stored { key, json, .. } = stored(name, &number.to_string());
            ConfigWrite { key, json: Some(json), created: None, owner: Owner::Api, expected: Expected::Any }
        };
        store.commit(vec![write("b", 0), write("a", 0)]).await.unwrap();
        let wanted = Wanted::of_pattern(None).unwrap();
        let mut changes = changes(store.clone(), display(), wanted).await.unwrap();
        let mut listed = Vec::new();
        for _ in 0..2 {
            let change = changes.next().await.unwrap().unwrap();
            let name = change.object.clone().unwrap_or_default().key.unwrap_or_default().name;
            listed.push(format!("{} {name}", change.event().as_str_name()));
        }
        assert_eq!(listed, ["LISTED a", "LISTED b"], "in the order of their names");
        for number in 1..=rutter_store::HISTORY_MAX + 1 {
            store.commit(vec![write("a", number)]).await.unwrap();
        }
        let status = changes.next().await.unwrap().unwrap_err();
        assert_eq!(status.message(), "the watch fell too far behind: watch again");
        assert!(changes.next().await.is_none());
    }
}
