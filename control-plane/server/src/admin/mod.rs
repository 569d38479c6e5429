//! The admin API: config in and out, and what was sent to whom.

mod analyze;
mod apply;
mod backup;
mod caller;
mod changes;
mod csds;
mod describe;
mod door;
mod explain;
mod folder;
mod history;
mod impact;
mod monitoring;
mod objects;
mod secrets;
mod service;
mod sidecars;
mod socket;
mod tokens;
mod top;
mod trace;
mod wanted;
mod warnings;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use rutter_api::pb::rutter::admin::v1 as pb;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tonic::Status;

use crate::ads::{self, Gate};
use crate::settings::Settings;
use crate::shutdown::stopped;
use caller::UnixPeer;
use door::Door;
use tokens::Tokens;

pub(crate) use service::AdminServer;
pub(crate) use trace::{Arrival, arrival};

/// The number of connections to the admin API over TCP.
const CONNECTIONS_MAX: usize = 128;
/// The time without a word after which a client of the admin API over TCP is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The time that it has to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets of the admin API and of what watches the process.
pub(crate) struct Sockets {
    pub(crate) monitoring: TcpListener,
    socket: UnixListener,
    /// `None` means that the admin API is not served over TCP.
    pub(crate) tcp: Option<TcpListener>,
    tcp_door: Option<Door>,
}

/// Opens the sockets.
pub(crate) async fn listen(settings: &Settings) -> anyhow::Result<Sockets> {
    let addresses = &settings.addresses;
    let monitoring = listen_tcp("--monitoring", addresses.monitoring).await?;
    let (tcp, tcp_door) = match addresses.admin {
        Some(address) => {
            let (hosts, origins) = (addresses.admin_hosts.clone(), addresses.admin_origins.clone());
            let tokens = Tokens::open(&settings.token_file()).context("--token-file")?;
            (Some(listen_tcp("--admin", address).await?), Some(Door::Tcp { hosts, origins, tokens }))
        }
        None => (None, None),
    };
    let socket = socket::listen(&settings.admin_socket(), addresses.admin_group.as_deref())?;
    Ok(Sockets { monitoring, socket, tcp, tcp_door })
}

async fn listen_tcp(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: listening at {address}"))
}

/// Serves the admin API, metrics and health checks, until the server's `stop`.
pub(crate) async fn serve(sockets: Sockets, server: AdminServer, xds_gate: Arc<Gate>) -> anyhow::Result<()> {
    let Sockets { monitoring, socket, tcp, tcp_door } = sockets;
    let AdminServer { store, engine, streams: _, metrics, folder, sealer: _, stop } = server.clone();
    let router = monitoring::router(monitoring::Parts { metrics, engine, store, folder, gate: xds_gate });
    let watched =
        axum::serve(monitoring::Listener::new(monitoring), router).with_graceful_shutdown(stopped(stop.clone()));
    let by_socket = admin_router(server.clone(), Door::Socket, stop.clone());
    let by_socket = by_socket.into_make_service_with_connect_info::<UnixPeer>();
    let by_socket = axum::serve(socket, by_socket).with_graceful_shutdown(stopped(stop.clone()));
    let by_tcp = async {
        if let Some((tcp, door)) = tcp.zip(tcp_door) {
            let gate = Gate::new(CONNECTIONS_MAX, CONNECTIONS_MAX, server.metrics.clone());
            let router = admin_router(server, door, stop.clone());
            tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_routes(router.into())
                .serve_with_incoming_shutdown(ads::incoming(tcp, gate), stopped(stop))
                .await
                .map_err(std::io::Error::other)?;
        }
        Ok(())
    };
    tokio::try_join!(watched.into_future(), by_socket.into_future(), by_tcp).context("serving the admin API")?;
    Ok(())
}

/// Returns the service behind a door.
fn admin_router(server: AdminServer, door: Door, stop: watch::Receiver<bool>) -> axum::Router {
    let status = csds::ClientStatus { streams: server.streams.clone(), stop };
    // There is room for more than the largest apply, so that the client is told the limit of an apply.
    let service = pb::admin_server::AdminServer::new(server).max_decoding_message_size(APPLY_BYTES_MAX * 2);
    tonic::service::Routes::new(service)
        .add_service(ClientStatusDiscoveryServiceServer::new(status))
        .into_axum_router()
        .fallback(no_such_call)
        .layer(axum::middleware::from_fn_with_state(Arc::new(door), door::guard))
}

/// Answers a call that nothing serves.
async fn no_such_call(request: axum::extract::Request) -> axum::response::Response {
    Status::unimplemented(format!("{}: no such method", request.uri().path())).into_http()
}
