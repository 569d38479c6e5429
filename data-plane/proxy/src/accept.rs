//! Connections that clients make to a listener.

use rutter_proxy_core::resources::Chain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use crate::current::ListenerHandle;
use crate::{http, tcp};

/// Takes connections until the listener is stopped. Connections in flight end by themselves.
pub(crate) async fn accept(listener: ListenerHandle, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let for_connections = stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            // A connection that failed before it was taken concerns the client alone.
            accepted = socket.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(listener.clone(), stream, for_connections.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn serve(handle: ListenerHandle, stream: TcpStream, stopped: watch::Receiver<bool>) {
    let config = handle.config();
    let Some(listener) = config.listener(&handle.name) else { return };
    let result = match &listener.chain {
        Chain::Tcp(cluster) => tcp::serve(&config, cluster, stream).await,
        Chain::Rds(_) | Chain::Http(_) => http::serve(handle, stream, stopped).await,
    };
    if let Err(error) = result {
        debug!(error = format!("{error:#}"), "a connection ended");
    }
}
