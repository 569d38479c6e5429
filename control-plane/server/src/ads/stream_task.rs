//! One stream: carries between the socket, the engine and the state of the stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::OptionFuture;
use prost::Message;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::{ResourceType, SidecarNode};
use rutter_core::stream::{AnsweredRequest, Limits, RequestError};
use rutter_core::{AdsStream, ClientClass, MeshSettings, NodeId, Response, Variant, View};
use tokio::sync::watch;
use tokio::time::sleep_until;
use tonic::Status;
use tracing::{debug, info, warn};

use super::body::{Out, Share};
use super::connection::Switch;
use super::patience::Patience;
use super::shared::{Accepted, ENDING, Shared};
use crate::engine::Connection;
use crate::settings::LimitSettings;
use crate::streams::{Question, Questions, SourcedRefusal};

/// The number of refusals of one stream that are published. One faulty object may break everything.
const REFUSALS_MAX: usize = 100;
/// How long a client whose connection is old has to take the end of its stream.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What streams are told when their connection is closed for its age.
const OLD: &str = "the connection has lived for its time: connect again";

/// Serves one stream to its end.
pub(super) async fn run_stream(mut accepted: Accepted, shared: Shared, stop: watch::Receiver<bool>) {
    shared.metrics.streams.inc();
    let status = match serve(&mut accepted, &shared, stop).await {
        Ok(()) => Status::ok(""),
        Err(status) => status,
    };
    shared.metrics.streams.dec();
    accepted.out.send(Out::End(status));
    if due_to_age(&shared.limits, &accepted.switch).is_some_and(|due| Instant::now() >= due) {
        // The client is to see the end of the stream before that of the connection.
        let _ = tokio::time::timeout(LAST_WORD, accepted.out.taken()).await;
        tokio::time::sleep(LAST_WORD / 10).await;
        accepted.switch.close();
    }
}

/// Returns when a connection is to be closed for its age.
fn due_to_age(limits: &LimitSettings, switch: &Switch) -> Option<Instant> {
    limits.connection_age().map(|age| switch.opened() + age.mul_f64(switch.jitter()))
}

async fn serve(accepted: &mut Accepted, shared: &Shared, mut stop: watch::Receiver<bool>) -> Result<(), Status> {
    let age = due_to_age(&shared.limits, &accepted.switch);
    let first = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Err(Status::unavailable(ENDING)),
        () = sleep_until(age.unwrap_or_else(Instant::now).into()), if age.is_some() => return Err(Status::unavailable(OLD)),
        first = accepted.requests.next() => first,
    };
    let Some(first) = first.transpose()? else { return Ok(()) };
    accepted.switch.use_it();
    let node = Arc::new(read_node(shared, accepted, &first)?);
    let peer = accepted.switch.peer().address.map(|address| address.ip().to_canonical());
    let place = shared.streams.enter(&node, peer, shared.limits.streams_per_sidecar).ok_or_else(|| {
        let max = shared.limits.streams_per_sidecar;
        let text = format!("want at most {max} streams of one sidecar from one address");
        warn!(sidecar = %node.id(), error = text, "a client was refused");
        Status::resource_exhausted(text)
    })?;
    let Connection { id: node_id, view } = shared.engine.connect(node.clone()).await.ok_or_else(ending)?;
    let questions = Arc::new(Questions::default());
    let registered = shared.streams.add(place, node_id, node.clone(), questions.clone());
    info!(sidecar = %node.id(), "sidecar connected");
    let class = ClientClass::new(&node, &MeshSettings::default());
    let limits = Limits { names_max: shared.limits.names_max, resource_bytes_max: class.resource_bytes_max() };
    let stream = AdsStream::new(accepted.variant, view.borrow().clone(), limits);
    let mut pump = Pump { stream, view, questions, node, id: node_id, shared, age, refused: Vec::new() };
    // The first request of an Envoy is 61 KB: it must not live as long as the stream.
    let read = pump.on_bytes(&first);
    drop(first);
    let result = match read {
        Ok(()) => pump.run(accepted, stop).await,
        Err(status) => Err(status),
    };
    let reason = result.as_ref().err().map(Status::message);
    info!(sidecar = %pump.node.id(), reason, "sidecar left");
    registered.end(reason);
    shared.engine.disconnect(node_id).await;
    result
}

/// Finds out from the first request who the client is.
fn read_node(shared: &Shared, accepted: &Accepted, first: &[u8]) -> Result<SidecarNode, Status> {
    let refuse = |error: String| {
        warn!(error, "a client was refused");
        Status::invalid_argument(error)
    };
    let node = accepted.variant.node_of(first).map_err(|error| refuse(error.to_string()))?;
    let node = Node::decode(node).map_err(|error| refuse(format!("want a discovery request: node: {error}")))?;
    let mut node = (shared.identify)(accepted.switch.peer(), &node).map_err(|invalid| refuse(invalid.to_string()))?;
    // Only the delta variant has virtual hosts as resources of their own.
    node.takes_virtual_hosts &= accepted.variant == Variant::Delta;
    Ok(node)
}

/// Carries between the socket, the engine and the state of a stream.
struct Pump<'a> {
    stream: AdsStream,
    view: watch::Receiver<View>,
    questions: Arc<Questions>,
    node: Arc<SidecarNode>,
    id: NodeId,
    shared: &'a Shared,
    /// When the connection is to be closed for its age.
    age: Option<Instant>,
    /// What the client refuses, as it was published the last time.
    refused: Vec<SourcedRefusal>,
}

enum Event {
    Request(Option<Result<Bytes, Status>>),
    View,
    Writable(bool),
    Questions(Vec<Question>),
    Wake,
    Look,
    Stop,
}

impl Pump<'_> {
    async fn run(&mut self, accepted: &mut Accepted, mut stop: watch::Receiver<bool>) -> Result<(), Status> {
        let shared = self.shared;
        let mut next = None;
        let mut patience = Patience::new(&accepted.switch);
        let mut look = pin!(None);
        loop {
            let now = Instant::now();
            if next.is_none() {
                next = self.stream.next_response(now);
            }
            // While something waits for the socket, time alone changes nothing.
            let wake = self.stream.wake_at(now).filter(|_| next.is_none()).into_iter().chain(self.age).min();
            if look.is_none()
                && let Some(at) = patience.look(accepted, shared)
            {
                look.set(Some(sleep_until(at.into())));
            }
            let event = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                request = accepted.requests.next() => Event::Request(request),
                questions = self.questions.next() => Event::Questions(questions),
                Ok(()) = self.view.changed() => Event::View,
                is_open = accepted.out.ready(), if next.is_some() => Event::Writable(is_open),
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => Event::Wake,
                Some(()) = OptionFuture::from(look.as_mut().as_pin_mut()) => Event::Look,
            };
            match event {
                Event::Stop => return Err(Status::unavailable(ENDING)),
                Event::Request(None) | Event::Writable(false) => return Ok(()),
                Event::Request(Some(bytes)) => {
                    self.on_bytes(&bytes?)?;
                    self.publish_refusals().await;
                }
                Event::View => {
                    self.catch_up();
                    self.publish_refusals().await;
                }
                Event::Questions(questions) => {
                    self.catch_up();
                    questions.into_iter().for_each(|question| question(&self.stream));
                }
                Event::Writable(true) => {
                    if let Some(response) = next.take() {
                        self.count(&response);
                        patience.hand_on(response.wire_len(), &accepted.switch);
                        let share = Share::new(shared.budget.clone(), response.wire_len());
                        accepted.out.send(Out::Message(response.into_frames(), share));
                    }
                }
                Event::Wake if self.age.is_some_and(|age| Instant::now() >= age) => {
                    return Err(Status::unavailable(OLD));
                }
                Event::Wake => {}
                Event::Look => {
                    look.set(patience.look(accepted, shared).map(|at| sleep_until(at.into())));
                    if patience.is_over(shared) {
                        shared.metrics.stuck.inc();
                        accepted.switch.close();
                        return Err(Status::aborted("it took nothing of a response for too long"));
                    }
                }
            }
        }
    }

    /// Publishes what the client refuses, and the objects that this is made from.
    async fn publish_refusals(&mut self) {
        let mut refused = self.stream.refusals();
        refused.truncate(REFUSALS_MAX);
        if refused.iter().eq(self.refused.iter().map(|sourced| &sourced.refusal)) {
            return;
        }
        let mut sourced: Vec<SourcedRefusal> = Vec::new();
        for refusal in refused {
            let (resource_type, name) = (refusal.resource_type, &refusal.name);
            let is_same =
                |known: &&SourcedRefusal| known.refusal.resource_type == resource_type && known.refusal.name == *name;
            let sources = match self.refused.iter().find(is_same) {
                Some(known) => known.sources.clone(),
                None => self.shared.engine.sources(self.id, resource_type, name.to_string()).await,
            };
            sourced.push(SourcedRefusal { refusal, sources });
        }
        self.shared.streams.set_refusals(self.id, sourced.clone());
        self.refused = sourced;
    }

    fn catch_up(&mut self) {
        let view = self.view.borrow_and_update().clone();
        self.stream.on_view(Instant::now(), view);
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let now = Instant::now();
        let AnsweredRequest { resource_type, nonce, error } =
            self.stream.on_request(now, bytes).map_err(|error| match error {
                RequestError::Malformed(error) => Status::invalid_argument(error.to_string()),
                RequestError::Stream(error) => {
                    warn!(sidecar = %self.node.id(), error = %error, "a stream is closed");
                    Status::resource_exhausted(error.to_string())
                }
            })?;
        if let (Some(resource_type), Some(error)) = (resource_type, error) {
            self.shared.metrics.nacks.get_or_create(&resource_type.into()).inc();
            warn!(sidecar = %self.node.id(), r#type = %resource_type, nonce, error, "sidecar refused resources");
        }
        let answered = self.stream.pushes().find(|push| Some(push.nonce) == nonce);
        if let Some(push) = answered.filter(|push| push.revision > 0 && push.answered == Some(now)) {
            self.shared.metrics.convergence.observe((now - push.since).as_secs_f64());
        }
        Ok(())
    }

    fn count(&self, response: &Response) {
        let Some(resource_type) = ResourceType::from_type_url(&response.type_url) else { return };
        let bytes = response.wire_len() as u64;
        let metrics = &self.shared.metrics;
        metrics.pushes.get_or_create(&resource_type.into()).inc();
        metrics.push_bytes.get_or_create(&resource_type.into()).inc_by(bytes);
        debug!(sidecar = %self.node.id(), r#type = %resource_type, nonce = response.nonce, resources = response.resources.len(), removed = response.removed.len(), bytes, "pushed");
    }
}

fn ending() -> Status {
    Status::unavailable(ENDING)
}
