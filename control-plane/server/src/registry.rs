//! The open streams, for those who look at them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rutter_api::{ConfigKey, SidecarNode};
use rutter_core::ads_stream::Refusal;
use rutter_core::{AdsStream, NodeId};
use tokio::sync::{Notify, oneshot};

use crate::metrics::Metrics;

/// A stream that does not answer for so long is passed over.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question to a stream, run by the stream's own task.
pub(crate) type Question = Box<dyn FnOnce(&AdsStream) + Send>;

/// Questions that wait for a stream to answer them: as good as always none, so there is no room kept for them.
#[derive(Default)]
pub(crate) struct Questions {
    waiting: Mutex<Vec<Question>>,
    asked: Notify,
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Questions")
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Vec<Question>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, question: Question) {
        self.lock().push(question);
        self.asked.notify_one();
    }

    /// Waits for some. Safe to be dropped while it waits.
    pub(crate) async fn next(&self) -> Vec<Question> {
        self.asked.notified().await;
        std::mem::take(&mut *self.lock())
    }
}

/// One open stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamHandle {
    pub(crate) id: NodeId,
    pub(crate) node: Arc<SidecarNode>,
    pub(crate) since: Instant,
    questions: Arc<Questions>,
}

/// A refusal, and the objects that the refused resource is made from.
pub(crate) type Sourced = (Refusal, BTreeSet<ConfigKey>);

/// Every open stream.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<NodeId, StreamHandle>,
    /// How many streams a sidecar has, those included that are about to begin.
    counts: HashMap<Identity, usize>,
    refused: BTreeMap<NodeId, Vec<Sourced>>,
    /// Who refuses something that is made from an object.
    refusing: BTreeMap<ConfigKey, BTreeSet<NodeId>>,
}

/// A sidecar's namespace and pod.
type Identity = (Arc<str>, Arc<str>);

/// A place for one stream of a sidecar; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    identity: Identity,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if let Some(count) = state.counts.get_mut(&self.identity) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.identity);
            }
        }
    }
}

/// Takes the stream off the list when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    place: Place,
    id: NodeId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let registry = &self.place.registry;
        registry.refuses(self.id, Vec::new());
        if let Some(handle) = registry.lock().streams.remove(&self.id) {
            // Who asked is told at once that there will be no answer.
            handle.questions.lock().clear();
        }
    }
}

impl Registry {
    /// Without streams.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Arc::default(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more stream of a sidecar. None: it has as many as it may.
    pub(crate) fn enter(&self, node: &SidecarNode, max: usize) -> Option<Place> {
        let identity = (node.namespace.clone(), node.pod.clone());
        let mut state = self.lock();
        let count = state.counts.entry(identity.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { registry: self.clone(), identity })
    }

    /// Puts a stream on the list.
    pub(crate) fn add(
        &self,
        place: Place,
        (id, node): (NodeId, Arc<SidecarNode>),
        questions: Arc<Questions>,
    ) -> Registered {
        self.lock().streams.insert(id, StreamHandle { id, node, since: Instant::now(), questions });
        Registered { place, id }
    }

    /// All that a stream's client refuses now.
    pub(crate) fn refuses(&self, id: NodeId, refused: Vec<Sourced>) {
        let sources = |all: &[Sourced]| all.iter().flat_map(|(_, keys)| keys).cloned().collect::<BTreeSet<_>>();
        let mut state = self.lock();
        let after = sources(&refused);
        let before = if refused.is_empty() { state.refused.remove(&id) } else { state.refused.insert(id, refused) };
        let before = sources(&before.unwrap_or_default());
        for key in before.symmetric_difference(&after) {
            let ids = state.refusing.entry(key.clone()).or_default();
            if after.contains(key) {
                ids.insert(id);
            } else {
                ids.remove(&id);
            }
            self.metrics.set_refused(key, ids.len());
            if ids.is_empty() {
                state.refusing.remove(key);
            }
        }
    }

    /// Who refuses something that is made from an object, and what.
    pub(crate) fn refusals_of(&self, key: &ConfigKey) -> Vec<(String, Refusal)> {
        let state = self.lock();
        let ids = state.refusing.get(key).into_iter().flatten();
        let of = |id: &NodeId| {
            let sidecar = state.streams.get(id).map(|stream| stream.node.id()).unwrap_or_default();
            let all = state.refused.get(id).into_iter().flatten();
            let made_from_it = all.filter(|(_, sources)| sources.contains(key));
            made_from_it.map(move |(refusal, _)| (sidecar.clone(), refusal.clone())).collect::<Vec<_>>()
        };
        ids.flat_map(of).collect()
    }

    /// All streams, by the sidecar's name.
    pub(crate) fn all(&self) -> Vec<StreamHandle> {
        let mut all: Vec<StreamHandle> = self.lock().streams.values().cloned().collect();
        all.sort_by_key(|stream| (stream.node.id(), stream.since));
        all
    }
}

impl StreamHandle {
    /// What a stream says of itself. None: it has ended or is stuck.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&AdsStream) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |stream| drop(reply.send(question(stream))));
        self.questions.ask(question);
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}
