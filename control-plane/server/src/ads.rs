//! Aggregated discovery over gRPC, framed by hand: the bytes that all streams share go to the socket uncopied.

mod body;
mod connection;
mod pace;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, OptionFuture};
use prost::Message;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::{Invalid, ResourceType, SidecarNode};
use rutter_core::ads_stream::{RequestError, Told};
use rutter_core::delta_stream::Limits;
use rutter_core::{AdsStream, NodeId, Variant, View};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tonic::Status;
use tonic::server::NamedService;
use tracing::{debug, info, warn};

use crate::engine::{Connection, EngineHandle};
use crate::metrics::Metrics;
use crate::registry::{Question, Questions, Registry, Sourced};
use crate::settings::Bounds;
pub(crate) use body::Budget;
use body::{Out, Requests, Sender, Share};
use connection::Switch;
pub(crate) use connection::{incoming, listen};
use pace::Pace;

/// Streams accepted and not yet started.
const ACCEPTED: usize = 64;

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: EngineHandle,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Arc<Budget>,
    /// A client that takes nothing of a response for so long is closed.
    pub(crate) stuck_after: Duration,
    pub(crate) bounds: Bounds,
    /// Who a client is, by its node.
    pub(crate) identify: fn(&Node) -> Result<SidecarNode, Invalid>,
}

/// The same while the budget is exceeded.
const STUCK_AFTER_IN_NEED: Duration = Duration::from_secs(1);

/// Refusals of one stream that others are told of, with the objects at fault: one object may break everything.
const REFUSALS_TOLD: usize = 100;
/// How long a client whose connection is old has to take the last word.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why streams are closed, as their clients read it.
const ENDING: &str = "the control plane is ending";
const OLD: &str = "the connection has lived for its time: connect again";

/// The gRPC service. It hands streams to [`Streams`], which owns them.
#[derive(Clone)]
pub(crate) struct AdsService {
    accepted: mpsc::Sender<Accepted>,
    budget: Arc<Budget>,
    request_bytes: usize,
}

struct Accepted {
    variant: Variant,
    requests: Requests,
    out: Sender,
    switch: Switch,
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl tower::Service<http::Request<tonic::body::Body>> for AdsService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (accepted, budget, request_bytes) = (self.accepted.clone(), self.budget.clone(), self.request_bytes);
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            let Some(variant) = Variant::of_method(method) else {
                let text = format!("{method}: want DeltaAggregatedResources or StreamAggregatedResources");
                return Ok(Status::unimplemented(text).into_http());
            };
            let (out, outgoing) = body::outgoing();
            let switch = request.extensions().get::<Switch>().cloned().unwrap_or_default();
            let requests = Requests::new(request.into_body(), budget, request_bytes);
            let stream = Accepted { variant, requests, out, switch };
            if accepted.send(stream).await.is_err() {
                return Ok(Status::unavailable(ENDING).into_http());
            }
            let mut response = http::Response::new(tonic::body::Body::new(outgoing));
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
            Ok(response)
        })
    }
}

/// Owns every stream's task.
pub(crate) struct Streams {
    accepted: mpsc::Receiver<Accepted>,
    shared: Shared,
}

/// The service and the owner of its streams.
pub(crate) fn ads(shared: Shared) -> (AdsService, Streams) {
    let (accepted, receiver) = mpsc::channel(ACCEPTED);
    let (budget, request_bytes) = (shared.budget.clone(), shared.bounds.request_bytes);
    (AdsService { accepted, budget, request_bytes }, Streams { accepted: receiver, shared })
}

impl Streams {
    /// Runs until `stop`; then every stream is closed so that its sidecar connects elsewhere at once.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let for_streams = stop.clone();
        let mut pace = Pace::new(self.shared.bounds.streams_per_second, Instant::now());
        loop {
            let wait = pace.wait(Instant::now());
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                accepted = self.accepted.recv(), if wait.is_none() => match accepted {
                    Some(accepted) => {
                        pace.take();
                        tasks.spawn(run_stream(accepted, self.shared.clone(), for_streams.clone()));
                    }
                    None => break,
                },
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    warn!(error = %error, "a stream's task failed");
                },
            }
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// One stream, to its end.
async fn run_stream(mut accepted: Accepted, shared: Shared, stop: watch::Receiver<bool>) {
    shared.metrics.streams.inc();
    let status = match serve(&mut accepted, &shared, stop).await {
        Ok(()) => Status::ok(""),
        Err(status) => status,
    };
    shared.metrics.streams.dec();
    accepted.out.send(Out::End(status));
    if due_to_age(&shared.bounds, &accepted.switch).is_some_and(|due| Instant::now() >= due) {
        // The client is to see the end of the stream before that of the connection.
        let _ = tokio::time::timeout(LAST_WORD, accepted.out.taken()).await;
        tokio::time::sleep(LAST_WORD / 10).await;
        accepted.switch.close();
    }
}

/// When a connection has lived long enough.
fn due_to_age(bounds: &Bounds, switch: &Switch) -> Option<Instant> {
    bounds.connection_age.map(|age| switch.opened() + age.mul_f64(switch.jitter()))
}

async fn serve(accepted: &mut Accepted, shared: &Shared, mut stop: watch::Receiver<bool>) -> Result<(), Status> {
    let age = due_to_age(&shared.bounds, &accepted.switch);
    let first = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Err(Status::unavailable(ENDING)),
        () = sleep_until(age.unwrap_or_else(Instant::now).into()), if age.is_some() => return Err(Status::unavailable(OLD)),
        first = accepted.requests.next() => first,
    };
    let Some(first) = first.transpose()? else { return Ok(()) };
    let node = Arc::new(read_node(shared, accepted.variant, &first)?);
    let place = shared.registry.enter(&node, shared.bounds.streams_per_sidecar).ok_or_else(|| {
        let text = format!("want at most {} streams of one sidecar", shared.bounds.streams_per_sidecar);
        warn!(sidecar = %node.id(), error = text, "a client was refused");
        Status::resource_exhausted(text)
    })?;
    let ending = || Status::unavailable(ENDING);
    let Connection { id: node_id, view } = shared.engine.connect(node.clone()).await.ok_or_else(ending)?;
    let questions = Arc::new(Questions::default());
    let registered = shared.registry.add(place, (node_id, node.clone()), questions.clone());
    info!(sidecar = %node.id(), "sidecar connected");
    let mut limits = Limits { names_max: shared.bounds.names, ..Limits::default() };
    if node.proxyless {
        limits.resource_bytes_max = Limits::GRPC_RESOURCE_BYTES_MAX;
    }
    let stream = AdsStream::new(accepted.variant, view.borrow().clone(), limits);
    let mut pump = Pump { stream, view, questions, node, id: node_id, shared, age, refused: Vec::new() };
    // The first request of an Envoy is 61 KB: it must not live as long as the stream.
    let read = pump.on_bytes(&first);
    drop(first);
    let result = match read {
        Ok(()) => pump.run(accepted, stop).await,
        Err(status) => Err(status),
    };
    info!(sidecar = %pump.node.id(), reason = result.as_ref().err().map(Status::message), "sidecar left");
    drop(registered);
    shared.engine.disconnect(node_id).await;
    result
}

fn read_node(shared: &Shared, variant: Variant, first: &[u8]) -> Result<SidecarNode, Status> {
    let refuse = |error: String| {
        warn!(error, "a client was refused");
        Status::invalid_argument(error)
    };
    let node = variant.node_of(first).map_err(|error| refuse(error.to_string()))?;
    let node = Node::decode(node).map_err(|error| refuse(format!("want a discovery request: node: {error}")))?;
    let mut node = (shared.identify)(&node).map_err(|invalid| refuse(invalid.to_string()))?;
    // Virtual hosts one by one are delta's only.
    node.takes_virtual_hosts &= variant == Variant::Delta;
    Ok(node)
}

/// Carries between the socket, the engine and the stream's state.
struct Pump<'a> {
    stream: AdsStream,
    view: watch::Receiver<View>,
    questions: Arc<Questions>,
    node: Arc<SidecarNode>,
    id: NodeId,
    shared: &'a Shared,
    /// When its connection is to be closed.
    age: Option<Instant>,
    /// What it refuses, as others were told last.
    refused: Vec<Sourced>,
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
                    self.tell_refusals().await;
                }
                Event::View => {
                    self.catch_up();
                    self.tell_refusals().await;
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

    /// Tells others what the client refuses, and the objects that this is made from.
    async fn tell_refusals(&mut self) {
        let mut refused = self.stream.refusals();
        refused.truncate(REFUSALS_TOLD);
        if refused.iter().eq(self.refused.iter().map(|(refusal, _)| refusal)) {
            return;
        }
        let mut all: Vec<Sourced> = Vec::new();
        for one in refused {
            let known = self.refused.iter().find(|(refusal, _)| refusal.kind == one.kind && refusal.name == one.name);
            let sources = match known {
                Some((_, sources)) => sources.clone(),
                None => self.shared.engine.sources(self.id, one.kind, one.name.to_string()).await,
            };
            all.push((one, sources));
        }
        self.shared.registry.refuses(self.id, all.clone());
        self.refused = all;
    }

    fn catch_up(&mut self) {
        let view = self.view.borrow_and_update().clone();
        self.stream.on_view(Instant::now(), view);
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let now = Instant::now();
        let Told { kind, nonce, error } = self.stream.on_request(now, bytes).map_err(|error| match error {
            RequestError::Malformed(error) => Status::invalid_argument(error.to_string()),
            RequestError::Stream(error) => {
                warn!(sidecar = %self.node.id(), error = %error, "a stream is closed");
                Status::resource_exhausted(error.to_string())
            }
        })?;
        if let (Some(kind), Some(error)) = (kind, error) {
            self.shared.metrics.nacks.get_or_create(&kind.into()).inc();
            warn!(sidecar = %self.node.id(), r#type = %kind, nonce, error, "sidecar refused resources");
        }
        let answered = self.stream.pushes().find(|push| Some(push.nonce) == nonce);
        if let Some(push) = answered.filter(|push| push.revision > 0 && push.answered == Some(now)) {
            self.shared.metrics.convergence.observe((now - push.since).as_secs_f64());
        }
        Ok(())
    }

    fn count(&self, response: &rutter_core::Response) {
        let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return };
        let bytes = response.wire_len() as u64;
        let metrics = &self.shared.metrics;
        metrics.pushes.get_or_create(&kind.into()).inc();
        metrics.push_bytes.get_or_create(&kind.into()).inc_by(bytes);
        debug!(sidecar = %self.node.id(), r#type = %kind, nonce = response.nonce, resources = response.resources.len(), removed = response.removed.len(), bytes, "pushed");
    }
}

/// How long a response has been waiting for its client. The transport takes a response before the client
/// does, so it is the bytes on the connection that count.
struct Patience {
    /// Bytes on the connection when nothing waited.
    base: u64,
    /// Bytes of responses since then.
    handed: u64,
    /// What had gone out when it was looked at, and since when it has been no more than that.
    seen: Option<(u64, Instant)>,
}

/// Less than so many bytes are not progress: pings go out on a connection whose client takes nothing.
const PROGRESS: u64 = 1024;

impl Patience {
    fn new(switch: &Switch) -> Self {
        Self { base: switch.written(), handed: 0, seen: None }
    }

    fn hand_on(&mut self, bytes: usize, switch: &Switch) {
        if switch.written() >= self.base + self.handed {
            *self = Self::new(switch);
        }
        self.handed += bytes as u64;
    }

    /// What has gone out. None: all of it.
    fn waits(&self, accepted: &Accepted) -> Option<u64> {
        let gone = accepted.switch.written() - self.base;
        (gone < self.handed || !accepted.out.is_empty()).then_some(gone / PROGRESS)
    }

    /// Looks whether the client has taken anything; when to look again. None: nothing waits for it.
    fn look(&mut self, accepted: &Accepted, shared: &Shared) -> Option<Instant> {
        let now = Instant::now();
        let since = |gone| self.seen.filter(|(before, _)| *before == gone).map_or(now, |(_, since)| since);
        self.seen = self.waits(accepted).map(|gone| (gone, since(gone)));
        // Somebody else may bring the budget in need meanwhile.
        self.seen.map(|_| now + STUCK_AFTER_IN_NEED.min(shared.stuck_after))
    }

    /// Whether it has taken nothing for too long, as far as was looked.
    fn is_over(&self, shared: &Shared) -> bool {
        let limit = shared.stuck_after;
        let limit = if shared.budget.is_exceeded() { limit.min(STUCK_AFTER_IN_NEED) } else { limit };
        self.seen.is_some_and(|(_, since)| since.elapsed() >= limit)
    }
}
