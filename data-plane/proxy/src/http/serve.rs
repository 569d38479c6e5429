//! Requests of clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1 as downstream;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rutter_proxy_core::ProxyConfig;
use rutter_proxy_core::balance::mix;
use rutter_proxy_core::route_table::{Action, RequestHead, pick_cluster};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::forward::Upstreams;
use super::response::{Body, Refusal, text};
use crate::current::ListenerHandle;
use crate::seed::SEED;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the requests of a client connection, until the client has finished or the listener is stopped.
pub(crate) async fn serve(
    listener: ListenerHandle,
    stream: TcpStream,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let session = Arc::new(Session { listener, upstreams: Upstreams::default() });
    let service = service_fn(move |request| {
        let session = session.clone();
        async move { Ok::<_, Infallible>(session.answer(request).await) }
    });
    let mut builder = downstream::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        _ = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// One client connection, and its connections to endpoints.
struct Session {
    listener: ListenerHandle,
    upstreams: Upstreams,
}

impl Session {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.try_answer(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn try_answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let config = self.listener.config();
        let Destination { cluster, timeout } = match decide(&config, &self.listener.name, &request)? {
            Decision::Answer(response) => return Ok(response),
            Decision::Forward(destination) => destination,
        };
        let send = self.upstreams.send(&config, &cluster, request);
        let sent = match timeout {
            None => send.await,
            Some(limit) => tokio::time::timeout(limit, send).await.map_err(|_| {
                Refusal::new(StatusCode::GATEWAY_TIMEOUT, format!("{cluster}: no answer within {limit:?}"))
            })?,
        };
        sent.map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("{cluster}: {error:#}")))
    }
}

/// What becomes of a request.
enum Decision {
    Answer(Response<Body>),
    Forward(Destination),
}

struct Destination {
    cluster: String,
    /// The time until the head of the response must have come.
    timeout: Option<Duration>,
}

fn decide(config: &ProxyConfig, listener: &str, request: &Request<Incoming>) -> Result<Decision, Refusal> {
    let headers = request.headers();
    let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("want one Host header, got {}", hosts.len())));
    };
    let host = host.to_str().map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "want a Host header of ASCII"))?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let head = RequestHead { host, path: request.uri().path(), header: &header };
    let table = config.listener(listener).and_then(|listener| config.table(listener));
    let route = table.as_ref().and_then(|table| table.find(&head));
    let route =
        route.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("no route for {host}{}", head.path)))?;
    match &route.action {
        Action::Direct { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(Decision::Answer(text(status, body.clone())))
        }
        Action::Forward { clusters, timeout } => {
            let cluster = pick_cluster(clusters, next_random());
            let cluster = cluster.ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "every weight is 0"))?;
            Ok(Decision::Forward(Destination { cluster: cluster.to_owned(), timeout: *timeout }))
        }
    }
}

/// Returns the next random number: cheap, evenly distributed, and without a state to lock.
fn next_random() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    mix(COUNTER.fetch_add(1, Ordering::Relaxed) ^ *SEED)
}
