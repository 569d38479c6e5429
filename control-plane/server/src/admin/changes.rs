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

use super::objects;
use super::wanted::Wanted;
use crate::streams::OpenStreams;

/// The answer of a watch.
pub(super) type Changes = BoxStream<'static, Result<pb::WatchResponse, Status>>;

struct Watcher {
    watch: Watch,
    streams: OpenStreams,
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
    streams: OpenStreams,
    wanted: Wanted,
) -> Result<Changes, StoreError> {
    let mut listing = store.list(&|key| wanted.has_key(key)).await?;
    listing.objects.retain(|stored| wanted.selects(&stored.json));
    listing.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let watcher = Watcher {
        watch: Watch::new(store, listing.revision),
        streams,
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
            let object = objects::show(&[stored], &watcher.streams).await.pop();
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
