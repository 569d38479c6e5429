//! The readiness check.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http::text;

/// Answers every request 200 if listeners are open, and 503 otherwise.
pub(crate) async fn serve(socket: TcpListener, ready: Arc<AtomicBool>) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = socket.accept().await?;
        let ready = ready.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let status = if ready.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { Ok::<_, Infallible>(text(status, format!("{status}\n"))) }
        });
        connections.spawn(async move {
            // Whoever asked may have gone.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::get;

    #[tokio::test]
    async fn the_proxy_is_ready_while_listeners_are_open() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let ready = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(serve(socket, ready.clone()));
        assert_eq!(get(address, "a", "/").await, "503 503 Service Unavailable");
        ready.store(true, Ordering::Relaxed);
        assert_eq!(get(address, "a", "/any/path").await, "200 200 OK");
        task.abort();
    }
}
