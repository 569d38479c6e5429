//! The gRPC service, and the tasks of its streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use rutter_core::Variant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::server::NamedService;
use tracing::warn;

use super::body::{self, Budget, Requests};
use super::connection::Switch;
use super::pace::Pace;
use super::shared::{Accepted, ENDING, Shared};
use super::stream_task::run_stream;

/// The number of streams that may be accepted and not started.
const ACCEPTED: usize = 64;

/// The gRPC service. It hands streams to [`StreamTasks`], which owns them.
#[derive(Clone)]
pub(crate) struct AdsService {
    accepted: mpsc::Sender<Accepted>,
    budget: Arc<Budget>,
    request_bytes: usize,
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

/// Owns the tasks of all streams.
pub(crate) struct StreamTasks {
    accepted: mpsc::Receiver<Accepted>,
    shared: Shared,
}

/// Returns the service and the owner of its streams.
pub(crate) fn ads(shared: Shared) -> (AdsService, StreamTasks) {
    let (accepted, receiver) = mpsc::channel(ACCEPTED);
    let (budget, request_bytes) = (shared.budget.clone(), shared.limits.request_mb.0);
    (AdsService { accepted, budget, request_bytes }, StreamTasks { accepted: receiver, shared })
}

impl StreamTasks {
    /// Runs until `stop`. Then every stream is closed, so that its sidecar connects elsewhere at once.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let for_streams = stop.clone();
        let mut pace = Pace::new(self.shared.limits.streams_per_second, Instant::now());
        loop {
            let wait = pace.time_to_wait(Instant::now());
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
