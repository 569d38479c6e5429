//! The open streams, for those who look at them.
//!
//! A stream belongs to its task. Others ask it a question, which the task answers between two events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rutter_api::{ConfigKey, SidecarNode};
use rutter_core::stream::Refusal;
use rutter_core::{AdsStream, NodeId};
use tokio::sync::{Notify, oneshot};

use crate::metrics::Metrics;

/// How long a stream has to answer a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question to a stream, which the task of the stream runs.
pub(crate) type Question = Box<dyn FnOnce(&AdsStream) + Send>;

/// The questions that wait for a stream to answer them. Nearly always there is none, so no memory is kept for them.
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

    /// Waits for questions and returns them. A call that is dropped while it waits misses none.
    pub(crate) async fn next(&self) -> Vec<Question> {
        self.asked.notified().await;
        std::mem::take(&mut *self.lock())
    }
}

/// One open stream, as others see it: who its client is, and a way to ask it questions.
#[derive(Debug, Clone)]
pub(crate) struct StreamHandle {
    pub(crate) id: NodeId,
    pub(crate) node: Arc<SidecarNode>,
    pub(crate) since: Instant,
    questions: Arc<Questions>,
}

/// A refusal, and the objects that the refused resource is made from.
#[derive(Debug, Clone)]
pub(crate) struct SourcedRefusal {
    pub(crate) refusal: Refusal,
    pub(crate) sources: BTreeSet<ConfigKey>,
}

/// A refusal, and the sidecar that refuses.
#[derive(Debug, Clone)]
pub(crate) struct SidecarRefusal {
    pub(crate) sidecar: String,
    pub(crate) refusal: Refusal,
}

/// Every open stream, with what its client refuses. All clones are one list.
#[derive(Debug, Clone)]
pub(crate) struct OpenStreams {
    state: Arc<Mutex<State>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<NodeId, StreamHandle>,
    /// The number of streams of each sidecar, including those that are about to begin.
    counts: HashMap<SidecarName, usize>,
    refused: BTreeMap<NodeId, Vec<SourcedRefusal>>,
    /// The streams whose clients refuse something that is made from an object.
    refusing: BTreeMap<ConfigKey, BTreeSet<NodeId>>,
}

/// Names a sidecar: two streams of one sidecar have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SidecarName {
    namespace: Arc<str>,
    pod: Arc<str>,
}

/// A place for one stream of a sidecar. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: OpenStreams,
    sidecar: SidecarName,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        if let Some(count) = state.counts.get_mut(&self.sidecar) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.sidecar);
            }
        }
    }
}

/// A stream on the list. It is taken off when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    place: Place,
    id: NodeId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let streams = &self.place.streams;
        streams.set_refusals(self.id, Vec::new());
        if let Some(handle) = streams.lock().streams.remove(&self.id) {
            // Those who asked learn at once that there will be no answer.
            handle.questions.lock().clear();
        }
    }
}

impl OpenStreams {
    /// Returns a list without streams.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Arc::default(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for one more stream of a sidecar. `None` means that the sidecar has as many as it may.
    pub(crate) fn enter(&self, node: &SidecarNode, max: usize) -> Option<Place> {
        let sidecar = SidecarName { namespace: node.namespace.clone(), pod: node.pod.clone() };
        let mut state = self.lock();
        let count = state.counts.entry(sidecar.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { streams: self.clone(), sidecar })
    }

    /// Puts a stream on the list.
    pub(crate) fn add(
        &self,
        place: Place,
        id: NodeId,
        node: Arc<SidecarNode>,
        questions: Arc<Questions>,
    ) -> Registered {
        self.lock().streams.insert(id, StreamHandle { id, node, since: Instant::now(), questions });
        Registered { place, id }
    }

    /// Takes in everything that the client of a stream refuses now.
    pub(crate) fn set_refusals(&self, id: NodeId, refused: Vec<SourcedRefusal>) {
        let mut state = self.lock();
        let after = sources_of(&refused);
        let before = if refused.is_empty() { state.refused.remove(&id) } else { state.refused.insert(id, refused) };
        let before = sources_of(&before.unwrap_or_default());
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

    /// Returns what sidecars refuse of everything that is made from an object.
    pub(crate) fn refusals_of(&self, key: &ConfigKey) -> Vec<SidecarRefusal> {
        let state = self.lock();
        let mut refusals = Vec::new();
        for id in state.refusing.get(key).into_iter().flatten() {
            let sidecar = state.streams.get(id).map(|stream| stream.node.id()).unwrap_or_default();
            let refused = state.refused.get(id).into_iter().flatten();
            for sourced in refused.filter(|sourced| sourced.sources.contains(key)) {
                refusals.push(SidecarRefusal { sidecar: sidecar.clone(), refusal: sourced.refusal.clone() });
            }
        }
        refusals
    }

    /// Returns all streams, in the order of the names of their sidecars.
    pub(crate) fn all(&self) -> Vec<StreamHandle> {
        let mut all: Vec<StreamHandle> = self.lock().streams.values().cloned().collect();
        all.sort_by_key(|stream| (stream.node.id(), stream.since));
        all
    }
}

fn sources_of(refused: &[SourcedRefusal]) -> BTreeSet<ConfigKey> {
    refused.iter().flat_map(|sourced| &sourced.sources).cloned().collect()
}

impl StreamHandle {
    /// Asks a stream a question. `None` means that the stream has ended, or does not answer in time.
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
