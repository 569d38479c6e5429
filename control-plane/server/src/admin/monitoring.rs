//! What watches the process: metrics and health checks, without a token and without any object.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use rutter_store::{ConfigStore, Writable};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::ads::Gate;
use crate::engine::EngineHandle;
use crate::metrics::Metrics;
use crate::sources::folder::FolderHandle;

/// The time in which the engine has to answer. It computes a change of a large mesh in less.
const ENGINE: Duration = Duration::from_secs(2);

/// The parts of the process on which it depends whether sidecars can be served.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) metrics: Arc<Metrics>,
    pub(super) engine: EngineHandle,
    pub(super) store: Arc<dyn ConfigStore>,
    pub(super) folder: Option<FolderHandle>,
    /// The places of connections to xDS.
    pub(super) gate: Arc<Gate>,
}

/// Returns the service of the monitoring address.
pub(super) fn router(parts: Parts) -> Router {
    let metrics = parts.metrics.clone();
    Router::new()
        .route("/metrics", get(move |headers: HeaderMap| async move { metrics_page(&headers, &metrics.text()) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |RawQuery(query)| async move { readiness(query.as_deref(), &parts).await }))
        .fallback(not_found)
}

/// The format of metrics, which Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The format that Prometheus had before, for those who do not ask for the other.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the metrics in the format that is asked for. The former one has no type for what is no measure.
fn metrics_page(headers: &HeaderMap, text: &str) -> Response {
    let mut asked = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    if asked.any(|formats| formats.contains("application/openmetrics-text")) {
        return ([(CONTENT_TYPE, OPEN_METRICS)], text.to_owned()).into_response();
    }
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], text.lines().map(in_former_format).collect::<String>()).into_response()
}

/// Returns a line of metrics as the former format has it, in which a type belongs to the name that stands before a value.
fn in_former_format(line: &str) -> String {
    let of_type = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '));
    match of_type {
        Some((name, "info")) => format!("# TYPE {name}_info gauge\n"),
        Some((name, "counter")) => format!("# TYPE {name}_total counter\n"),
        Some(_) | None => format!("{line}\n"),
    }
}

/// Says whether sidecars can be served: the engine answers, and there is room for a connection. `?verbose` tells of each
/// part. A store that can only be read, or a folder with a fault, do not keep sidecars from being served.
async fn readiness(query: Option<&str>, parts: &Parts) -> Response {
    let engine = tokio::time::timeout(ENGINE, parts.engine.findings(Vec::new())).await;
    let engine = match engine {
        Ok(Some(_)) => Ok(format!("ok, revision {}", *parts.engine.applied().borrow())),
        Ok(None) => Err("it has ended".to_owned()),
        Err(_) => Err(format!("no answer within {} s", ENGINE.as_secs())),
    };
    let xds = match parts.gate.room() {
        0 => Err("no room for another connection (--connections-max)".to_owned()),
        _ => Ok("ok".to_owned()),
    };
    let is_ready = engine.is_ok() && xds.is_ok();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if is_ready && query != Some("verbose") {
        return "ok\n".into_response();
    }
    let text = |part: Result<String, String>| part.unwrap_or_else(|problem| format!("not ready: {problem}"));
    let store = match &*parts.store.writable().borrow() {
        Writable::Yes => "ok".to_owned(),
        Writable::No(reason) => format!("read-only: {reason}"),
    };
    let folder = parts.folder.as_ref().map(|folder| format!("folder: {}\n", folder.status().summary()));
    let folder = folder.unwrap_or_default();
    (status, format!("xds: {}\nengine: {}\nstore: {store}\n{folder}", text(xds), text(engine))).into_response()
}

/// The number of connections to the monitoring address. Further ones wait until one of these is closed.
const CONNECTIONS_MAX: usize = 128;
/// The time in which a client has to send a request, from the last answer on.
const REQUEST: Duration = Duration::from_secs(30);
/// The pause after a failure to accept, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Accepts connections, each of which has so much time for each request.
pub(super) struct Listener {
    tcp: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener {
    pub(super) fn new(tcp: TcpListener) -> Self {
        Self { tcp, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await.ok();
            match self.tcp.accept().await {
                Ok((socket, address)) => {
                    let deadline = Box::pin(sleep(REQUEST));
                    return (Timed { socket, deadline, _place: place }, address);
                }
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that is closed when too long a time has passed since the last answer.
pub(super) struct Timed {
    socket: TcpStream,
    deadline: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.deadline.as_mut().reset(Instant::now() + REQUEST);
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

async fn not_found(request: Request) -> Response {
    let text = format!("{}: not found (want /metrics, /healthz or /readyz)\n", request.uri().path());
    (StatusCode::NOT_FOUND, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_a_time_for_each_request() {
        let mut listener = Listener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let start = Instant::now();
        client.write_all(b"GET / HT").await.unwrap();
        sleep(REQUEST / 2).await;
        connection.read_exact(&mut [0; 8]).await.unwrap();
        connection.write_all(b"answer").await.unwrap();
        let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), (REQUEST + REQUEST / 2).as_secs(), "half of one, and a whole one");
    }
}
