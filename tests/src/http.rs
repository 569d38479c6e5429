//! A small HTTP/1.1 client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty};
use hyper::HeaderMap;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code of the answer.
    pub status: u16,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The body of the answer as text.
    pub body: String,
}

impl Answer {
    /// Returns a header of the answer as text, or `None` if it has none of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sends a GET request for `path` to `addr` on a connection of its own.
///
/// # Errors
/// Fails if there is no answer within five seconds.
pub async fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    request(addr, ("GET", path), headers).await
}

/// Sends a request without content, given by its method and its path, to `addr` on a connection of its own.
///
/// # Errors
/// Fails if there is no answer within five seconds.
pub async fn request(addr: SocketAddr, (method, path): (&str, &str), headers: &[(&str, &str)]) -> Result<Answer> {
    timeout(TIMEOUT, send(addr, (method, path), headers))
        .await
        .with_context(|| format!("no answer from {addr}{path}"))?
}

async fn send(addr: SocketAddr, (method, path): (&str, &str), headers: &[(&str, &str)]) -> Result<Answer> {
    let stream = TcpStream::connect(addr).await.with_context(|| addr.to_string())?;
    let host = addr.to_string();
    exchange(stream, (method, path), &host, headers).await
}

/// Sends a request without content on a connection, which may be encrypted. `host` is asked for unless a header says
/// which.
///
/// # Errors
/// Fails if the connection breaks off.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (method, path): (&str, &str),
    host: &str,
    headers: &[(&str, &str)],
) -> Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = hyper::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    };
    tokio::pin!(exchange, connection);
    // The connection has to be driven while the answer is awaited.
    tokio::select! {
        answer = &mut exchange => Ok(answer?),
        ended = &mut connection => match ended {
            Ok(()) => Ok(exchange.await?),
            Err(error) => Err(error.into()),
        },
    }
}
