//! Connections: HTTP/1.1 by routes, or bytes to a cluster.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as upstream, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1 as downstream;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rutter_proxy_core::ProxyConfig;
use rutter_proxy_core::route::{Action, Head, pick_cluster};
use rutter_proxy_core::validate::Chain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use crate::Current;

type Body = BoxBody<Bytes, hyper::Error>;

/// How long a connection to an endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Endpoints that are tried when a connection fails: nothing was sent yet.
const CONNECT_TRIES: usize = 3;
/// What ends at each hop.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"];

/// A listener and the config in force.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) current: Current,
}

/// Takes connections until told to stop; those in flight end by themselves.
pub(crate) async fn accept(place: Place, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let told = stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            // A connection that failed before it was taken is the client's affair.
            accepted = socket.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(place.clone(), stream, told.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn serve(place: Place, stream: TcpStream, stopped: watch::Receiver<bool>) {
    let config = place.current.load_full();
    let Some(listener) = config.listeners.get(&place.name) else { return };
    let result = match &listener.chain {
        Chain::Tcp(cluster) => tunnel(&config, cluster, stream).await,
        Chain::Rds(_) | Chain::Http(_) => exchange(place, stream, stopped).await,
    };
    if let Err(error) = result {
        debug!(error = format!("{error:#}"), "a connection ended");
    }
}

async fn tunnel(config: &ProxyConfig, cluster: &str, mut stream: TcpStream) -> Result<()> {
    let mut to = connect(config, cluster).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut to).await?;
    Ok(())
}

async fn exchange(place: Place, stream: TcpStream, mut stopped: watch::Receiver<bool>) -> Result<()> {
    stream.set_nodelay(true)?;
    let session = Arc::new(Session { place, idle: Mutex::default(), drivers: Mutex::default() });
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

/// One client connection, with connections to endpoints that wait for its next request.
struct Session {
    place: Place,
    idle: Mutex<HashMap<SocketAddr, SendRequest<Incoming>>>,
    /// Drive the connections to endpoints; they end with the client's.
    drivers: Mutex<JoinSet<()>>,
}

impl Session {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.try_answer(request).await {
            Ok(response) => response,
            Err((status, reason)) => text(status, format!("rutter-proxy: {reason}\n")),
        }
    }

    async fn try_answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let config = self.place.current.load_full();
        let (cluster, timeout) = match decide(&config, &self.place.name, &request)? {
            Decision::Answer(status, body) => return Ok(text(status, body)),
            Decision::Forward(cluster, timeout) => (cluster, timeout),
        };
        let send = self.send(&config, &cluster, request);
        let sent = match timeout {
            Some(limit) => tokio::time::timeout(limit, send)
                .await
                .map_err(|_| (StatusCode::GATEWAY_TIMEOUT, format!("{cluster}: no answer within {limit:?}")))?,
            None => send.await,
        };
        sent.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{cluster}: {error:#}")))
    }

    async fn send(
        &self,
        config: &ProxyConfig,
        cluster: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>> {
        strip(request.headers_mut());
        let addresses = config.addresses(cluster).with_context(|| "no such cluster")?;
        let (mut sender, addr) = self.sender(&addresses).await?;
        let response = sender.send_request(request).await?;
        // It is free again when this body has been read, which is before the client's next request.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).insert(addr, sender);
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, body.boxed()))
    }

    /// A connection to the next endpoint in turn, or to one after it where that cannot be reached.
    async fn sender(&self, addresses: &[SocketAddr]) -> Result<(SendRequest<Incoming>, SocketAddr)> {
        let mut failure = anyhow!("no healthy upstream");
        for addr in in_turn(addresses) {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(&addr);
            if let Some(mut sender) = waiting
                && sender.ready().await.is_ok()
            {
                return Ok((sender, addr));
            }
            match dial(addr).await {
                Ok(stream) => {
                    let (sender, connection) = upstream::handshake(TokioIo::new(stream)).await?;
                    self.drivers.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
                        if let Err(error) = connection.await {
                            debug!(error = %error, "a connection to an endpoint ended");
                        }
                    });
                    return Ok((sender, addr));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Why a request is answered here, with which status.
type Refusal = (StatusCode, String);

/// What becomes of a request.
enum Decision {
    Answer(StatusCode, String),
    Forward(String, Option<Duration>),
}

fn decide(config: &ProxyConfig, listener: &str, request: &Request<Incoming>) -> Result<Decision, Refusal> {
    let headers = request.headers();
    let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else {
        return Err((StatusCode::BAD_REQUEST, format!("want one Host header, got {}", hosts.len())));
    };
    let host = host.to_str().map_err(|_| (StatusCode::BAD_REQUEST, "want a Host header of ASCII".to_owned()))?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let head = Head { host, path: request.uri().path(), header: &header };
    let table = config.listeners.get(listener).and_then(|listener| config.table(listener));
    let route = table.as_ref().and_then(|table| table.find(&head));
    let route = route.ok_or_else(|| (StatusCode::NOT_FOUND, format!("no route for {host}{}", head.path)))?;
    match &route.action {
        Action::Direct { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(Decision::Answer(status, body.clone()))
        }
        Action::Clusters(clusters) => {
            let cluster = pick_cluster(clusters, random());
            let cluster = cluster.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, "every weight is 0".to_owned()))?;
            Ok(Decision::Forward(cluster.to_owned(), route.timeout))
        }
    }
}

async fn connect(config: &ProxyConfig, cluster: &str) -> Result<TcpStream> {
    let addresses = config.addresses(cluster).with_context(|| format!("{cluster}: no such cluster"))?;
    let mut failure = anyhow!("{cluster}: no endpoint");
    for addr in in_turn(&addresses) {
        match dial(addr).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn dial(addr: SocketAddr) -> Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await;
    let stream = stream.with_context(|| format!("{addr}: no connection within {CONNECT_TIMEOUT:?}"))?;
    let stream = stream.with_context(|| addr.to_string())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses to try, beginning with the next in turn.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let start = usize::try_from(turn.checked_rem(addresses.len() as u64).unwrap_or_default()).unwrap_or_default();
    addresses.iter().cycle().skip(start).take(addresses.len().min(CONNECT_TRIES)).copied().collect()
}

/// SplitMix64 over a counter: even shares, cheap, and no state to lock.
fn random() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x5eed);
    let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_owned()))
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// `/ready`: 200 when listeners are open.
pub(crate) async fn serve_admin(socket: TcpListener, ready: Arc<AtomicBool>) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = socket.accept().await?;
        let ready = ready.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let status = if ready.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { Ok::<_, Infallible>(text(status, format!("{status}\n"))) }
        });
        connections.spawn(async move {
            // Who asked may have gone.
            let _ = downstream::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
