//! The admin API: config in and out, and what was sent to whom.

mod apply;
mod backup;
mod csds;
mod door;
mod folder;
mod monitoring;
mod objects;
mod sidecars;
mod socket;
mod tokens;

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, Kind};
use rutter_store::{CommitError, ConfigStore, ConfigWrite, Expected, Owner};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::ads::{self, Gate};
use crate::engine::EngineHandle;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::shutdown::stopped;
use crate::sources::folder::FolderHandle;
use crate::streams::{OpenStreams, StreamHandle};
use apply::{read_sources, write};
use door::Door;
use sidecars::Progress;
use tokens::Tokens;

/// The first pause between two looks at the streams while somebody waits for their answers. It doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// The number of connections to the admin API over TCP.
const CONNECTIONS_MAX: usize = 128;
/// The time without a word after which a client of the admin API over TCP is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The time that it has to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for answers.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The admin service, which `rutterctl` uses: config goes in and comes out, and the state of the sidecars is shown.
#[derive(Clone)]
pub(crate) struct AdminServer {
    pub(crate) store: Arc<dyn ConfigStore>,
    pub(crate) engine: EngineHandle,
    pub(crate) streams: OpenStreams,
    pub(crate) metrics: Arc<Metrics>,
    /// The watched folder. `None` means that none is watched.
    pub(crate) folder: Option<FolderHandle>,
}

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

/// Serves the admin API, metrics and health checks, until `stop`.
pub(crate) async fn serve(sockets: Sockets, server: AdminServer, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let Sockets { monitoring, socket, tcp, tcp_door } = sockets;
    let router = monitoring::router(server.metrics.clone(), server.store.writable(), server.folder.clone());
    let watched =
        axum::serve(monitoring::Listener::new(monitoring), router).with_graceful_shutdown(stopped(stop.clone()));
    let by_socket = admin_router(server.clone(), Door::Socket, stop.clone());
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

#[tonic::async_trait]
impl pb::admin_server::Admin for AdminServer {
    type BackupStream = backup::Chunks;

    async fn folder_status(
        &self,
        _: Request<pb::FolderStatusRequest>,
    ) -> Result<Response<pb::FolderStatusResponse>, Status> {
        Ok(Response::new(folder::status(&self.watched()?.status())))
    }

    async fn folder_confirm(
        &self,
        _: Request<pb::FolderConfirmRequest>,
    ) -> Result<Response<pb::FolderConfirmResponse>, Status> {
        let confirmed = self.watched()?.confirm().await;
        let confirmed = confirmed.ok_or_else(|| Status::unavailable("the folder is no longer watched"))?;
        Ok(Response::new(folder::confirmed(confirmed)))
    }

    async fn backup(&self, _: Request<pb::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let listing = self.store.list(rutter_store::ALL).await.map_err(|error| Status::internal(error.to_string()))?;
        info!(objects = listing.objects.len(), revision = listing.revision, "backed up");
        Ok(Response::new(backup::chunks(listing)))
    }

    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Result<Response<pb::ApplyResponse>, Status> {
        let request = request.into_inner();
        let result = self.try_apply(request).await;
        if result.is_err() {
            self.metrics.rejected.inc();
        }
        result.map(Response::new)
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "all" => None,
            word => Some(kind_of(word)?),
        };
        let wanted = |key: &ConfigKey| {
            kind.is_none_or(|kind| kind == key.kind)
                && (request.namespace.is_empty() || !key.kind.is_namespaced() || *key.namespace == *request.namespace)
                && (request.name.is_empty() || *key.name == *request.name)
        };
        let listing = self.store.list(&wanted).await.map_err(|error| Status::internal(error.to_string()))?;
        let mut objects = Vec::new();
        let refusals: Vec<_> = listing.objects.iter().map(|stored| self.streams.refusals_of(&stored.key)).collect();
        let sent = objects::SentResources::ask(&refusals, &self.streams).await;
        for (stored, refusals) in listing.objects.iter().zip(&refusals) {
            objects.push(objects::object(stored, refusals, &sent));
        }
        if objects.is_empty() && !request.name.is_empty() {
            let namespace =
                if request.namespace.is_empty() { String::new() } else { format!("{}/", request.namespace) };
            return Err(Status::not_found(format!("{} {namespace}{}: not found", request.kind, request.name)));
        }
        Ok(Response::new(pb::GetResponse { objects, revision: listing.revision }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Result<Response<pb::DeleteResponse>, Status> {
        let keys = request.into_inner().keys;
        let writes = keys.iter().map(|key| {
            let key = ConfigKey::new(kind_of(&key.kind)?, &key.namespace, &key.name);
            Ok(ConfigWrite { key, json: None, created: None, owner: Owner::Api, expected: Expected::Any })
        });
        let writes = writes.collect::<Result<_, Status>>()?;
        let revision = self.commit(writes).await?;
        Ok(Response::new(pb::DeleteResponse { revision }))
    }

    async fn proxy_status(
        &self,
        _: Request<pb::ProxyStatusRequest>,
    ) -> Result<Response<pb::ProxyStatusResponse>, Status> {
        let mut sidecars = Vec::new();
        for handle in self.streams.all() {
            let is_contested = self.streams.is_contested(&handle.node);
            sidecars.push(sidecars::sidecar(&handle, &self.engine, is_contested).await);
        }
        let revision = *self.engine.applied().borrow();
        Ok(Response::new(pb::ProxyStatusResponse { sidecars, revision }))
    }

    async fn proxy_config(
        &self,
        request: Request<pb::ProxyConfigRequest>,
    ) -> Result<Response<pb::ProxyConfigResponse>, Status> {
        let request = request.into_inner();
        let types = sidecars::types_of_word(&request.r#type)?;
        let handle = self.find(&request.sidecar)?;
        let resources = handle.ask(move |stream| sidecars::resources(stream, &types)).await;
        let resources = resources
            .ok_or_else(|| Status::unavailable(format!("{}: its stream does not answer", handle.node.id())))?;
        Ok(Response::new(pb::ProxyConfigResponse { resources, sidecar: handle.node.id() }))
    }

    async fn pushes(&self, request: Request<pb::PushesRequest>) -> Result<Response<pb::PushesResponse>, Status> {
        let request = request.into_inner();
        let handles = if request.sidecar.is_empty() { self.streams.all() } else { vec![self.find(&request.sidecar)?] };
        let mut pushes = Vec::new();
        for handle in handles {
            let (id, since) = (handle.node.id(), request.since_revision);
            let of_stream = handle.ask(move |stream| sidecars::pushes(stream, &id, since)).await;
            pushes.extend(of_stream.unwrap_or_default());
        }
        Ok(Response::new(pb::PushesResponse { pushes }))
    }

    async fn wait_for_ack(
        &self,
        request: Request<pb::WaitForAckRequest>,
    ) -> Result<Response<pb::WaitForAckResponse>, Status> {
        let request = request.into_inner();
        let end = Instant::now() + Duration::from_millis(u64::from(request.timeout_ms)).min(WAIT_MAX);
        let mut applied = self.engine.applied();
        let is_applied = async { applied.wait_for(|revision| *revision >= request.revision).await.is_ok() };
        let is_applied = tokio::time::timeout_at(end.into(), is_applied).await.unwrap_or(false);
        let mut response = pb::WaitForAckResponse::default();
        let mut pause = PAUSE_MIN;
        loop {
            let is_late = Instant::now() >= end;
            response.waiting.clear();
            response.refused.clear();
            for handle in self.streams.all() {
                let name = sidecars::display_name(&handle, &self.streams);
                match handle.ask(sidecars::progress).await {
                    Some(Progress::Settled) => {}
                    Some(Progress::SettledWithRefusals) => response.refused.push(name),
                    Some(Progress::Waiting) | None => response.waiting.push(name),
                }
            }
            if is_late || response.waiting.is_empty() && is_applied {
                return Ok(Response::new(response));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl AdminServer {
    async fn try_apply(&self, request: pb::ApplyRequest) -> Result<pb::ApplyResponse, Status> {
        let size: usize = request.sources.iter().map(|source| source.text.len()).sum();
        if size > APPLY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "want at most {APPLY_BYTES_MAX} bytes in one apply, got {size}"
            )));
        }
        let objects = read_sources(&request)?;
        let mut response = pb::ApplyResponse::default();
        for object in &objects {
            let old = self.store.get(&object.config.key).await.map_err(|error| Status::internal(error.to_string()))?;
            let action = match old {
                None => pb::applied::Action::Created,
                Some(old) if old.json == object.json && object.created.is_none_or(|created| created == old.created) => {
                    pb::applied::Action::Unchanged
                }
                Some(_) => pb::applied::Action::Configured,
            };
            response.applied.push(pb::Applied { key: Some(objects::key(&object.config.key)), action: action as i32 });
        }
        let checked = self.engine.check(objects.iter().map(|object| object.config.clone()).collect()).await;
        if !checked.faults.is_empty() {
            let faults: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
            return Err(Status::invalid_argument(faults.join("\n")));
        }
        response.warnings = checked.warnings;
        let latest = *self.store.latest().borrow();
        response.revision =
            if request.dry_run { latest } else { self.commit(objects.into_iter().map(write).collect()).await? };
        info!(objects = response.applied.len(), revision = response.revision, dry_run = request.dry_run, "applied");
        Ok(response)
    }

    fn watched(&self) -> Result<&FolderHandle, Status> {
        let hint = "no folder is watched (see rutter serve --config-dir)";
        self.folder.as_ref().ok_or_else(|| Status::failed_precondition(hint))
    }

    async fn commit(&self, writes: Vec<ConfigWrite>) -> Result<u64, Status> {
        self.store.commit(writes).await.map_err(|error| match &error {
            CommitError::Conflict { .. } => Status::aborted(error.to_string()),
            CommitError::Owned { .. } => Status::failed_precondition(error.to_string()),
            CommitError::NotFound(_) => Status::not_found(error.to_string()),
            CommitError::Failed(_) => {
                self.metrics.store_failures.inc();
                Status::unavailable(error.to_string())
            }
        })
    }

    /// Returns the stream of a sidecar, given by its name or by a beginning that no other sidecar has. Of several
    /// streams it is the latest. A name that is neither fails with the names that it could mean.
    fn find(&self, name: &str) -> Result<StreamHandle, Status> {
        let streams = self.streams.all();
        let ids: BTreeSet<String> =
            streams.iter().map(|handle| handle.node.id()).filter(|id| id.starts_with(name)).collect();
        let id = match &ids.iter().collect::<Vec<_>>()[..] {
            [only] => (*only).clone(),
            _ if ids.contains(name) => name.to_owned(),
            [] => {
                return Err(Status::not_found(format!(
                    "{name}: no such sidecar is connected (see rutterctl proxy-status)"
                )));
            }
            several => {
                let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
                return Err(Status::invalid_argument(format!("{name}: want one sidecar, got {}", names.join(", "))));
            }
        };
        let latest = streams.into_iter().filter(|handle| handle.node.id() == id).max_by_key(|handle| handle.since);
        latest.ok_or_else(|| Status::not_found(id))
    }
}

fn kind_of(word: &str) -> Result<Kind, Status> {
    Kind::from_word(word).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        Status::invalid_argument(format!("{word:?}: want one of {}", names.join(", ")))
    })
}
