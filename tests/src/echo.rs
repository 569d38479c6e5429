//! An application that answers with what it was asked, to see what a proxy made of a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::ready;
use futures::stream::poll_fn;
use futures::{FutureExt, Stream, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The paths that an application was asked for, in the order of the requests.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// Returns how often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|asked| *asked == path).count()
    }

    fn note(&self, path: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }
}

/// Starts an application of a name as a task of `tasks`. It answers with a JSON object of its name, the method, the path,
/// the host and the headers, and with the headers `x-backend` and `x-secret`. Requests can ask for something else:
///
/// - `x-status: 503` for that status, and `x-until: 3` for it only before the third attempt;
/// - `x-wait-ms: 200` for an answer that takes so long.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start(name: &'static str, addr: SocketAddr, tasks: &mut JoinSet<()>) -> Result<Asked> {
    let socket = TcpListener::bind(addr).await.with_context(|| format!("{name} at {addr}"))?;
    let accepted = poll_fn(move |context| socket.poll_accept(context).map(Result::ok));
    Ok(serve_all(name, accepted.map(|(stream, _)| ready(Some(stream))), tasks))
}

/// Starts such an application at a Unix socket.
///
/// # Errors
/// Fails if the socket cannot be made.
pub fn start_at_socket(name: &'static str, path: &Path, tasks: &mut JoinSet<()>) -> Result<Asked> {
    let socket = UnixListener::bind(path).with_context(|| format!("{name} at {}", path.display()))?;
    let accepted = poll_fn(move |context| socket.poll_accept(context).map(Result::ok));
    Ok(serve_all(name, accepted.map(|(stream, _)| ready(Some(stream))), tasks))
}

/// Starts such an application that decrypts its connections, as `acceptor` says.
///
/// # Errors
/// Fails if its port is taken.
pub async fn start_encrypted(
    name: &'static str,
    addr: SocketAddr,
    acceptor: TlsAcceptor,
    tasks: &mut JoinSet<()>,
) -> Result<Asked> {
    let socket = TcpListener::bind(addr).await.with_context(|| format!("{name} at {addr}"))?;
    let accepted = poll_fn(move |context| socket.poll_accept(context).map(Result::ok));
    let decrypted = accepted.map(move |(stream, _)| acceptor.accept(stream).map(Result::ok));
    Ok(serve_all(name, decrypted, tasks))
}

/// Answers on every connection, each of which is ready to be read when its future is done, and is none if that gives none.
fn serve_all<S, F>(
    name: &'static str,
    accepted: impl Stream<Item = F> + Send + 'static,
    tasks: &mut JoinSet<()>,
) -> Asked
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Option<S>> + Send + 'static,
{
    let asked = Asked::default();
    let noted = asked.clone();
    tasks.spawn(async move {
        let mut accepted = pin!(accepted);
        let mut connections = JoinSet::new();
        while let Some(opened) = accepted.next().await {
            let noted = noted.clone();
            connections.spawn(async move {
                if let Some(stream) = opened.await {
                    serve(name, stream, noted).await;
                }
            });
        }
    });
    asked
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(name: &'static str, stream: S, asked: Asked) {
    let service = service_fn(move |request: Request<Incoming>| {
        asked.note(&request.uri().to_string());
        async move { Ok::<_, Infallible>(answer(name, &request).await) }
    });
    // A caller that breaks off is the caller's affair.
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| header(name).and_then(|text| text.parse::<u64>().ok());
    tokio::time::sleep(Duration::from_millis(number("x-wait-ms").unwrap_or(0))).await;
    let attempt = number("x-envoy-attempt-count").unwrap_or(1);
    let status = number("x-status").filter(|_| attempt < number("x-until").unwrap_or(u64::MAX));
    let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let headers: Map<String, Value> = request
        .headers()
        .keys()
        .map(|key| {
            let values = request.headers().get_all(key).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            (key.to_string(), values.collect::<Vec<_>>().join(",").into())
        })
        .collect();
    let body = json!({
        "backend": name,
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "host": header("host"),
        "headers": headers,
    });
    let response = Response::builder().status(status).header("x-backend", name).header("x-secret", "1");
    response.body(Full::new(body.to_string().into())).unwrap_or_default()
}
