//! The open streams, for those who look at them.
//!
//! A stream belongs to its task. Others ask it a question, which the task answers between two events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rutter_api::{ConfigKey, SidecarNode};
use rutter_core::stream::Refusal;
use rutter_core::{AdsStream, NodeId};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use crate::metrics::Metrics;

/// How long a stream has to answer a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a sidecar that has left is shown.
const LEFT_SHOWN: Duration = Duration::from_secs(3600);
/// The number of sidecars that have left and are shown. It bounds what is kept of clients with false names.
const LEFT_MAX: usize = 1_000;

/// A question to a stream, which the task of the stream runs.
pub(crate) type Question = Box<dyn FnOnce(&AdsStream) + Send>;

/// The questions that wait for a stream to answer them. Nearly always there is none, so no memory is kept for them. A
/// question that is put while others wait is answered together with them.
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
    /// The address from which the client connected. `None` means that the transport does not say.
    pub(crate) peer: Option<IpAddr>,
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
    /// The number of streams of each sidecar from each address, including those that are about to begin. No sidecar is
    /// without an address, and no address without a stream.
    counts: HashMap<SidecarName, BTreeMap<Option<IpAddr>, usize>>,
    refused: BTreeMap<NodeId, Vec<SourcedRefusal>>,
    /// The streams whose clients refuse something that is made from an object.
    refusing: BTreeMap<ConfigKey, BTreeSet<NodeId>>,
    /// The sidecars whose last stream has ended.
    left: HashMap<SidecarName, Departure>,
}

/// How a sidecar left.
#[derive(Debug)]
struct Departure {
    ip: IpAddr,
    at: Instant,
    reason: String,
}

/// A sidecar whose last stream has ended.
#[derive(Debug, Clone)]
pub(crate) struct LeftSidecar {
    /// `POD.NAMESPACE`
    pub(crate) id: String,
    /// The address that it said to have.
    pub(crate) ip: IpAddr,
    pub(crate) at: Instant,
    pub(crate) reason: String,
}

/// Names a sidecar: two streams of one sidecar have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SidecarName {
    namespace: Arc<str>,
    pod: Arc<str>,
}

impl SidecarName {
    fn of(node: &SidecarNode) -> Self {
        Self { namespace: node.namespace.clone(), pod: node.pod.clone() }
    }
}

/// A place for one stream of a sidecar. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    streams: OpenStreams,
    sidecar: SidecarName,
    peer: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        let Some(addresses) = state.counts.get_mut(&self.sidecar) else { return };
        let Some(count) = addresses.get_mut(&self.peer) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        addresses.remove(&self.peer);
        match addresses.len() {
            0 => drop(state.counts.remove(&self.sidecar)),
            1 => drop(self.streams.metrics.contested.dec()),
            _ => {}
        }
    }
}

/// A stream on the list. It is taken off when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    place: Place,
    id: NodeId,
    /// Why the stream ends, as far as it is known.
    reason: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let streams = &self.place.streams;
        streams.set_refusals(self.id, Vec::new());
        let mut state = streams.lock();
        if let Some(handle) = state.streams.remove(&self.id) {
            // Those who asked learn at once that there will be no answer.
            handle.questions.lock().clear();
            let reason = std::mem::take(&mut self.reason);
            let departure = Departure { ip: handle.node.ip(), at: Instant::now(), reason };
            state.remember(self.place.sidecar.clone(), departure);
        }
    }
}

impl Registered {
    /// Ends the stream, for a reason. Without one the client ended it.
    pub(crate) fn end(mut self, reason: Option<&str>) {
        self.reason = reason.unwrap_or("the sidecar ended it").to_owned();
    }
}

impl State {
    /// Takes in that a stream has ended. A whole fleet may leave at once, so the oldest are forgotten many at a time.
    fn remember(&mut self, sidecar: SidecarName, departure: Departure) {
        if self.left.len() >= 2 * LEFT_MAX {
            let mut times: Vec<Instant> = self.left.values().map(|departure| departure.at).collect();
            times.sort_unstable();
            let oldest_kept = times[times.len() - LEFT_MAX];
            self.left.retain(|_, departure| departure.at >= oldest_kept);
        }
        self.left.insert(sidecar, departure);
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

    /// Returns a place for one more stream of a sidecar from an address. `None` means that the sidecar has as many from
    /// there as it may. Each address has places of its own, so that whoever claims to be a sidecar and connects from
    /// elsewhere takes none of its places. It is taken before the engine knows the client, so that too many streams
    /// cost nothing more.
    pub(crate) fn enter(&self, node: &SidecarNode, peer: Option<IpAddr>, max: usize) -> Option<Place> {
        let sidecar = SidecarName::of(node);
        let mut state = self.lock();
        let addresses = state.counts.get(&sidecar);
        let count = addresses.and_then(|addresses| addresses.get(&peer)).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        state.left.remove(&sidecar);
        let addresses = state.counts.entry(sidecar.clone()).or_default();
        addresses.insert(peer, count + 1);
        if count == 0 && addresses.len() == 2 {
            self.metrics.contested.inc();
            warn!(sidecar = %node.id(), addresses = ?addresses.keys().flatten().collect::<Vec<_>>(),
                "two addresses claim to be one sidecar");
        }
        Some(Place { streams: self.clone(), sidecar, peer })
    }

    /// Returns whether streams of a sidecar come from several addresses.
    pub(crate) fn is_contested(&self, node: &SidecarNode) -> bool {
        self.lock().counts.get(&SidecarName::of(node)).is_some_and(|addresses| addresses.len() > 1)
    }

    /// Puts a stream on the list.
    pub(crate) fn add(
        &self,
        place: Place,
        id: NodeId,
        node: Arc<SidecarNode>,
        questions: Arc<Questions>,
    ) -> Registered {
        let handle = StreamHandle { id, node, peer: place.peer, since: Instant::now(), questions };
        self.lock().streams.insert(id, handle);
        Registered { place, id, reason: String::new() }
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

    /// Returns the streams of a namespace, or all if it is empty, in the order of the names of their sidecars.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Vec<StreamHandle> {
        let mut streams = self.all();
        streams.retain(|stream| namespace.is_empty() || *stream.node.namespace == *namespace);
        streams
    }

    /// Returns the sidecars of a namespace, or of all if it is empty, that have left and have not come back, the latest
    /// first.
    pub(crate) fn left(&self, namespace: &str) -> Vec<LeftSidecar> {
        let state = self.lock();
        let mut left = Vec::new();
        for (sidecar, Departure { ip, at, reason }) in &state.left {
            let is_in = namespace.is_empty() || *sidecar.namespace == *namespace;
            // Another stream of the sidecar may be open still.
            if is_in && !state.counts.contains_key(sidecar) && at.elapsed() < LEFT_SHOWN {
                let id = format!("{}.{}", sidecar.pod, sidecar.namespace);
                left.push(LeftSidecar { id, ip: *ip, at: *at, reason: reason.clone() });
            }
        }
        left.sort_by_key(|left| std::cmp::Reverse(left.at));
        left.truncate(LEFT_MAX);
        left
    }

    /// Returns all streams, in the order of the names of their sidecars.
    pub(crate) fn all(&self) -> Vec<StreamHandle> {
        let mut streams: Vec<StreamHandle> = self.lock().streams.values().cloned().collect();
        streams.sort_by_key(|stream| (stream.node.id(), stream.since));
        streams
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rutter_api::{Kind, ResourceType};
    use rutter_core::stream::Limits;
    use rutter_core::{Variant, View};

    use super::*;
    use crate::testing::node;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)));
    const STRANGER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));

    fn streams() -> OpenStreams {
        OpenStreams::new(Arc::default())
    }

    /// Registers a stream of a sidecar, and returns its questions too.
    fn register(streams: &OpenStreams, id: u64, pod: &str) -> (Registered, Arc<Questions>) {
        let node = Arc::new(node(pod, "shop"));
        let questions = Arc::new(Questions::default());
        let place = streams.enter(&node, PEER, 10).unwrap();
        (streams.add(place, NodeId(id), node, questions.clone()), questions)
    }

    fn refusal(name: &str, objects: &[&str]) -> SourcedRefusal {
        let error = "no".to_owned();
        let version = rutter_core::resource::Version::parse("0000000000000001").unwrap();
        let refusal = Refusal { resource_type: ResourceType::Cluster, name: name.into(), version, error };
        let sources = objects.iter().map(|name| ConfigKey::new(Kind::Service, "shop", name)).collect();
        SourcedRefusal { refusal, sources }
    }

    #[test]
    fn a_sidecar_has_so_many_places_and_a_dropped_one_is_free_again() {
        let streams = streams();
        let (a, b) = (node("a", "shop"), node("b", "shop"));
        let places = [streams.enter(&a, PEER, 2).unwrap(), streams.enter(&a, PEER, 2).unwrap()];
        assert!(streams.enter(&a, PEER, 2).is_none());
        assert!(streams.enter(&b, PEER, 2).is_some(), "another sidecar has its own");
        assert!(streams.enter(&node("a", "bank"), PEER, 2).is_some(), "so has one of another namespace");
        drop(places);
        assert!(streams.enter(&a, PEER, 1).is_some());
        assert!(streams.lock().counts.is_empty(), "nothing is kept of those that went");
    }

    #[test]
    fn each_address_has_places_of_its_own_and_a_sidecar_at_two_addresses_is_contested() {
        let streams = streams();
        let web = node("web", "shop");
        let contested = |streams: &OpenStreams| (streams.is_contested(&web), streams.metrics.contested.get());
        let own = streams.enter(&web, PEER, 2).unwrap();
        assert_eq!(contested(&streams), (false, 0));
        let false_ones = [streams.enter(&web, STRANGER, 2).unwrap(), streams.enter(&web, STRANGER, 2).unwrap()];
        assert!(streams.enter(&web, STRANGER, 2).is_none());
        assert_eq!(contested(&streams), (true, 1), "a sidecar is counted once");
        let again = streams.enter(&web, PEER, 2).unwrap();
        drop([own, again]);
        assert_eq!(contested(&streams), (false, 0));
        drop(false_ones);
        assert!(streams.lock().counts.is_empty());
    }

    #[test]
    fn streams_are_listed_in_the_order_of_their_sidecars_until_they_end() {
        let streams = streams();
        let (_b, _) = register(&streams, 1, "b");
        let (a, _) = register(&streams, 2, "a");
        let ids = |streams: &OpenStreams| streams.all().iter().map(|stream| stream.node.id()).collect::<Vec<_>>();
        assert_eq!(ids(&streams), ["a.shop", "b.shop"]);
        a.end(Some("the connection was cut"));
        assert_eq!(ids(&streams), ["b.shop"]);
        let left = |namespace: &str| {
            let left = streams.left(namespace);
            left.iter().map(|left| format!("{}: {}", left.id, left.reason)).collect::<Vec<_>>()
        };
        assert_eq!(left(""), ["a.shop: the connection was cut"]);
        assert!(left("bank").is_empty());
        let (_a, _) = register(&streams, 3, "a");
        assert!(left("shop").is_empty(), "who has come back has not left");
    }

    #[test]
    fn of_those_that_left_the_latest_are_kept() {
        let streams = streams();
        for number in 0..2 * LEFT_MAX + 10 {
            register(&streams, number as u64, &format!("pod-{number}")).0.end(None);
        }
        let left = streams.left("shop");
        assert_eq!((left.len(), left[0].id.as_str()), (LEFT_MAX, "pod-2009.shop"), "the latest is first");
        assert_eq!((left[0].ip.to_string(), left[0].reason.as_str()), ("10.0.0.1".into(), "the sidecar ended it"));
        assert!(streams.lock().left.len() < 2 * LEFT_MAX, "the others are forgotten");
    }

    #[tokio::test]
    async fn a_question_is_answered_by_the_task_of_the_stream() {
        let streams = streams();
        let (_registered, questions) = register(&streams, 1, "a");
        let handle = streams.all().remove(0);
        let answering = async {
            let limits = Limits { names_max: 1, resource_bytes_max: 1 };
            let stream = AdsStream::new(Variant::Delta, View::default(), limits);
            questions.next().await.into_iter().for_each(|question| question(&stream));
        };
        let (answer, ()) = tokio::join!(handle.ask(|stream| stream.is_settled()), answering);
        assert_eq!(answer, Some(true));
    }

    #[tokio::test]
    async fn whoever_asks_a_stream_that_ends_is_told_at_once() {
        let streams = streams();
        let (registered, _questions) = register(&streams, 1, "a");
        let handle = streams.all().remove(0);
        let asked = tokio::spawn(async move { handle.ask(|_| ()).await });
        tokio::task::yield_now().await;
        drop(registered);
        assert_eq!(asked.await.unwrap(), None);
    }

    #[test]
    fn refusals_are_found_by_the_objects_that_they_come_from() {
        let streams = streams();
        let (_a, _) = register(&streams, 1, "a");
        let (b, _) = register(&streams, 2, "b");
        streams.set_refusals(NodeId(1), vec![refusal("x", &["one", "two"]), refusal("y", &["two"])]);
        streams.set_refusals(NodeId(2), vec![refusal("x", &["two"])]);
        let found = |name: &str| {
            let refusals = streams.refusals_of(&ConfigKey::new(Kind::Service, "shop", name));
            refusals.iter().map(|refusal| format!("{} {}", refusal.sidecar, refusal.refusal.name)).collect::<Vec<_>>()
        };
        assert_eq!(found("one"), ["a.shop x"]);
        assert_eq!(found("two"), ["a.shop x", "a.shop y", "b.shop x"]);
        assert!(found("three").is_empty());
        streams.set_refusals(NodeId(1), vec![refusal("y", &["two"])]);
        assert!(found("one").is_empty(), "what was taken meanwhile is refused no more");
        drop(b);
        assert_eq!(found("two"), ["a.shop y"], "who has gone refuses nothing");
    }

    #[test]
    fn the_metric_counts_the_sidecars_that_refuse_an_object() {
        let metrics: Arc<Metrics> = Arc::default();
        let streams = OpenStreams::new(metrics.clone());
        let registered = [register(&streams, 1, "a").0, register(&streams, 2, "b").0];
        let lines = || {
            let text = metrics.text();
            text.lines()
                .filter(|line| line.starts_with("rutter_config_refused{"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        streams.set_refusals(NodeId(1), vec![refusal("x", &["one"])]);
        streams.set_refusals(NodeId(2), vec![refusal("x", &["one"])]);
        assert_eq!(lines(), [r#"rutter_config_refused{kind="Service",namespace="shop",name="one"} 2"#]);
        drop(registered);
        assert!(lines().is_empty(), "an object that none refuses is not listed");
    }
}
