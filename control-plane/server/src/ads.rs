//! Aggregated discovery over gRPC, framed by hand: the bytes that all streams share go to the socket uncopied.

mod body;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use rutter_api::{ResourceType, SidecarNode};
use rutter_core::{DeltaStream, View};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tonic::Status;
use tonic::server::NamedService;
use tracing::{debug, info, warn};

use crate::engine::{Connection, EngineHandle};
use crate::metrics::Metrics;
use crate::registry::{Question, Registry};
use body::{Out, Outgoing, Requests};

/// Messages between a stream and its socket: one being written, none waiting, so that a slow sidecar
/// gets the latest state and not a queue.
const IN_FLIGHT: usize = 1;
/// Questions waiting at a stream.
const QUESTIONS: usize = 4;
/// Streams accepted and not yet started.
const ACCEPTED: usize = 64;

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: EngineHandle,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
}

/// The gRPC service. It hands streams to [`Streams`], which owns them.
#[derive(Clone)]
pub(crate) struct AdsService {
    accepted: mpsc::Sender<Accepted>,
}

struct Accepted {
    requests: Requests,
    out: mpsc::Sender<Out>,
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
        let accepted = self.accepted.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            if method != "DeltaAggregatedResources" {
                let text = format!("{method}: only delta ADS is served yet (Envoy: set api_type DELTA_GRPC)");
                return Ok(Status::unimplemented(text).into_http());
            }
            let (out, outgoing) = mpsc::channel(IN_FLIGHT);
            let stream = Accepted { requests: Requests::new(request.into_body()), out };
            if accepted.send(stream).await.is_err() {
                return Ok(Status::unavailable("the control plane is ending").into_http());
            }
            let mut response = http::Response::new(tonic::body::Body::new(Outgoing::new(outgoing)));
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
    (AdsService { accepted }, Streams { accepted: receiver, shared })
}

impl Streams {
    /// Runs until `stop`; then every stream is closed so that its sidecar connects elsewhere at once.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let for_streams = stop.clone();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.accepted.recv() => match accepted {
                    Some(accepted) => {
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
    // A client that has gone does not want to know how its stream ended.
    let _ = accepted.out.send(Out::End(status)).await;
}

async fn serve(accepted: &mut Accepted, shared: &Shared, stop: watch::Receiver<bool>) -> Result<(), Status> {
    let Some(first) = accepted.requests.next().await.transpose()? else { return Ok(()) };
    let first = DeltaDiscoveryRequest::decode(first).map_err(|error| {
        warn!(error = %error, "a client sent something that is no discovery request");
        Status::invalid_argument(format!("want a DeltaDiscoveryRequest: {error}"))
    })?;
    let node = SidecarNode::try_from(&first.node.clone().unwrap_or_default()).map_err(|invalid| {
        warn!(error = %invalid, "a client was refused");
        Status::invalid_argument(invalid.to_string())
    })?;
    let id = node.id();
    let ending = || Status::unavailable("the control plane is ending");
    let Connection { id: node_id, view } = shared.engine.connect(node.clone()).await.ok_or_else(ending)?;
    let (asker, questions) = mpsc::channel(QUESTIONS);
    let registered = shared.registry.add(node_id, node, asker);
    let stream = DeltaStream::new(view.borrow().clone());
    info!(sidecar = %id, "sidecar connected");
    let mut pump = Pump { stream, view, questions, sidecar: id, metrics: &shared.metrics };
    let result = match pump.on_request(&first) {
        Ok(()) => pump.run(accepted, stop).await,
        Err(status) => Err(status),
    };
    info!(sidecar = %pump.sidecar, reason = result.as_ref().err().map(Status::message), "sidecar left");
    drop(registered);
    shared.engine.disconnect(node_id).await;
    result
}

/// Carries between the socket, the engine and the stream's state.
struct Pump<'a> {
    stream: DeltaStream,
    view: watch::Receiver<View>,
    questions: mpsc::Receiver<Question>,
    sidecar: String,
    metrics: &'a Metrics,
}

enum Event {
    Request(Option<Result<Bytes, Status>>),
    View,
    Writable,
    Question(Question),
    Wake,
    Stop,
}

impl Pump<'_> {
    async fn run(&mut self, accepted: &mut Accepted, mut stop: watch::Receiver<bool>) -> Result<(), Status> {
        let mut next = None;
        loop {
            if next.is_none() {
                next = self.stream.next_response(Instant::now());
            }
            // While something waits for the socket, time alone changes nothing.
            let wake = self.stream.wake_at().filter(|_| next.is_none());
            let event = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                request = accepted.requests.next() => Event::Request(request),
                Some(question) = self.questions.recv() => Event::Question(question),
                Ok(()) = self.view.changed() => Event::View,
                permit = accepted.out.reserve(), if next.is_some() => match (permit, next.take()) {
                    (Ok(permit), Some(response)) => {
                        self.count(&response);
                        permit.send(Out::Message(response.frames()));
                        Event::Writable
                    }
                    (Ok(_), None) | (Err(_), _) => return Ok(()),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => Event::Wake,
            };
            match event {
                Event::Stop => return Err(Status::unavailable("the control plane is ending")),
                Event::Request(None) => return Ok(()),
                Event::Request(Some(bytes)) => self.on_bytes(bytes?)?,
                Event::View => self.catch_up(),
                Event::Question(question) => {
                    self.catch_up();
                    question(&self.stream);
                }
                Event::Writable | Event::Wake => {}
            }
        }
    }

    fn catch_up(&mut self) {
        let view = self.view.borrow_and_update().clone();
        self.stream.on_view(Instant::now(), view);
    }

    fn on_bytes(&mut self, bytes: Bytes) -> Result<(), Status> {
        let bytes = body::without_node(bytes);
        let request = DeltaDiscoveryRequest::decode(bytes)
            .map_err(|error| Status::invalid_argument(format!("want a DeltaDiscoveryRequest: {error}")))?;
        self.on_request(&request)
    }

    fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if let (Some(kind), Some(detail)) = (ResourceType::from_type_url(&request.type_url), &request.error_detail) {
            self.metrics.nacks.get_or_create(&kind.into()).inc();
            warn!(sidecar = %self.sidecar, r#type = %kind, nonce = request.response_nonce, error = detail.message, "sidecar refused resources");
        }
        let now = Instant::now();
        let result = self.stream.on_request(now, request);
        let nonce: Option<u64> = request.response_nonce.parse().ok();
        let answered = self.stream.pushes().find(|push| Some(push.nonce) == nonce);
        if let Some(push) = answered.filter(|push| push.revision > 0 && push.answered == Some(now)) {
            self.metrics.convergence.observe((now - push.since).as_secs_f64());
        }
        result.map_err(|error| {
            warn!(sidecar = %self.sidecar, error = %error, "a stream is closed");
            Status::resource_exhausted(error.to_string())
        })
    }

    fn count(&self, response: &rutter_core::Response) {
        let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return };
        let bytes = response.wire_len() as u64;
        self.metrics.pushes.get_or_create(&kind.into()).inc();
        self.metrics.push_bytes.get_or_create(&kind.into()).inc_by(bytes);
        debug!(sidecar = %self.sidecar, r#type = %kind, nonce = response.nonce, resources = response.resources.len(), removed = response.removed.len(), bytes, "pushed");
    }
}
