//! Wiring: every socket, store and task of the process.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rutter_api::SidecarNode;
use rutter_api::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use rutter_core::index::MeshSettings;
use rutter_store::{ConfigStore, EmbeddedStore, MemoryStore};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tracing::info;

use crate::admin;
use crate::ads::{self, AdsService, Budget, Shared, Streams};
use crate::engine::Engine;
use crate::folder::Folder;
use crate::lrs::LoadReports;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::settings::{Bounds, Settings};

/// How long streams and requests have to end at shutdown.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The process, its sockets open.
pub struct App {
    engine: Engine,
    streams: Streams,
    service: AdsService,
    admin: admin::AdminServer,
    folder: Option<Folder>,
    xds: TcpListener,
    admin_socket: TcpListener,
    bounds: Bounds,
}

/// A task's name and how it ended.
type Ended = (&'static str, anyhow::Result<()>);

impl App {
    /// Opens the store and every socket, and loads all config: who connects is served in full.
    ///
    /// # Errors
    /// When a socket, the store or the watched folder cannot be opened.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let xds = ads::listen(settings.xds).with_context(|| format!("--xds: listening at {}", settings.xds))?;
        let admin_socket = TcpListener::bind(settings.admin).await;
        let admin_socket = admin_socket.with_context(|| format!("--admin: listening at {}", settings.admin))?;
        let store: Arc<dyn ConfigStore> = match &settings.data_dir {
            Some(dir) => Arc::new(EmbeddedStore::open(dir).context("--data-dir")?),
            None => Arc::new(MemoryStore::default()),
        };
        let metrics = Arc::new(Metrics::default());
        let folder = match settings.config_dir.clone() {
            Some(dir) => Some(Folder::open(dir, store.clone(), metrics.clone()).await?),
            None => None,
        };
        let mesh = MeshSettings {
            root_namespace: settings.root_namespace.as_str().into(),
            domain: settings.domain.clone(),
            whole_route_tables: settings.whole_route_tables,
        };
        let (engine, handle) =
            Engine::load((mesh, settings.verify), settings.debounce, store.clone(), metrics.clone()).await?;
        let registry = Registry::new(metrics.clone());
        let shared = Shared {
            engine: handle.clone(),
            registry: registry.clone(),
            metrics: metrics.clone(),
            budget: Arc::new(Budget::new(settings.in_flight_bytes)),
            stuck_after: settings.stuck_after,
            bounds: settings.bounds,
            identify: |node| SidecarNode::try_from(node),
        };
        let (service, streams) = ads::ads(shared);
        let admin = admin::AdminServer { store, engine: handle, registry, metrics };
        Ok(Self { engine, streams, service, admin, folder, xds, admin_socket, bounds: settings.bounds })
    }

    /// Where sidecars connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn xds_addr(&self) -> std::io::Result<SocketAddr> {
        self.xds.local_addr()
    }

    /// Where operators connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_addr(&self) -> std::io::Result<SocketAddr> {
        self.admin_socket.local_addr()
    }

    /// Serves until `shutdown`. A task that ends unasked ends the process.
    ///
    /// # Errors
    /// When a task fails, with its name.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        info!(xds = %self.xds_addr()?, admin = %self.admin_addr()?, "rutter serves");
        let (stop, stopped) = watch::channel(false);
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        tasks.spawn(named("engine", self.engine.run(stopped.clone())));
        tasks.spawn(named("streams", self.streams.run(stopped.clone())));
        let loads = LoadReports { metrics: self.admin.metrics.clone(), stop: stopped.clone() };
        tasks.spawn(named("xds", serve_xds((self.xds, self.bounds), (self.service, loads), stopped.clone())));
        tasks.spawn(named("admin", admin::serve(self.admin_socket, self.admin, stopped.clone())));
        if let Some(folder) = self.folder {
            tasks.spawn(named("folder", folder.run(stopped)));
        }
        let early = tokio::select! {
            () = shutdown => None,
            ended = tasks.join_next() => ended,
        };
        info!("rutter is ending");
        stop.send_replace(true);
        let rest = async { while tasks.join_next().await.is_some() {} };
        // What has not ended by then is cut off.
        let _ = tokio::time::timeout(DRAIN, rest).await;
        match early {
            None => Ok(()),
            Some(Ok((name, Ok(())))) => bail!("the task {name} ended unasked"),
            Some(Ok((name, Err(error)))) => Err(error.context(format!("the task {name} failed"))),
            Some(Err(error)) => Err(error).context("a task failed"),
        }
    }
}

/// Ends when the process is told to stop.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A task's end, with its name.
async fn named(name: &'static str, task: impl Future<Output = anyhow::Result<()>>) -> Ended {
    (name, task.await)
}

/// Serves sidecars on a socket.
pub(crate) async fn serve_xds(
    (socket, bounds): (TcpListener, Bounds),
    (service, loads): (AdsService, LoadReports),
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    Server::builder()
        .http2_keepalive_interval(Some(bounds.keepalive.0))
        .http2_keepalive_timeout(Some(bounds.keepalive.1))
        .http2_max_pending_accept_reset_streams(Some(bounds.resets))
        // A gRPC client has streams of several targets on one connection, and load reports beside each.
        .max_concurrent_streams(u32::try_from(bounds.streams_per_sidecar.saturating_mul(2)).unwrap_or(u32::MAX))
        .add_service(service)
        .add_service(LoadReportingServiceServer::new(loads))
        .serve_with_incoming_shutdown(ads::incoming(socket), stopped(stop))
        .await
        .context("serving xDS")
}

/// SIGTERM or SIGINT.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
