//! The open streams, for those who look at them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rutter_api::SidecarNode;
use rutter_core::{AdsStream, NodeId};
use tokio::sync::{Notify, oneshot};

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

/// Every open stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    streams: Arc<Mutex<BTreeMap<NodeId, StreamHandle>>>,
}

/// Takes the stream off the list when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Registry,
    id: NodeId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(handle) = self.registry.lock().remove(&self.id) {
            // Who asked is told at once that there will be no answer.
            handle.questions.lock().clear();
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, StreamHandle>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a stream on the list.
    pub(crate) fn add(&self, id: NodeId, node: Arc<SidecarNode>, questions: Arc<Questions>) -> Registered {
        self.lock().insert(id, StreamHandle { id, node, since: Instant::now(), questions });
        Registered { registry: self.clone(), id }
    }

    /// All streams, by the sidecar's name.
    pub(crate) fn all(&self) -> Vec<StreamHandle> {
        let mut all: Vec<StreamHandle> = self.lock().values().cloned().collect();
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
