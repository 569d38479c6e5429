//! Puts every socket, store and task of the process together.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rutter_api::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use rutter_store::{ConfigStore, EmbeddedStore, MemoryStore, Writable};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tracing::{error, info};

use crate::admin::{self, AdminServer};
use crate::ads::{self, AdsService, Budget, Gate, Shared, StreamTasks};
use crate::descriptors;
use crate::engine::Engine;
use crate::identity::identify_sidecar;
use crate::lrs::LoadReports;
use crate::metrics::Metrics;
use crate::otlp::{self, Exporter};
use crate::sealing::Sealer;
use crate::settings::{LimitSettings, Settings, StoreSettings};
use crate::shutdown::stopped;
use crate::sources::folder::{Folder, FolderOptions, FolderTarget};
use crate::sources::open_store;
use crate::streams::OpenStreams;
use crate::traces::Traces;

/// How long streams and requests have to end when the process ends.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The process, whose sockets are open.
pub struct App {
    engine: Engine,
    tasks: StreamTasks,
    service: AdsService,
    admin: AdminServer,
    folder: Option<Folder>,
    xds: TcpListener,
    admin_sockets: admin::Sockets,
    /// The path of the socket of the admin API.
    admin_socket: PathBuf,
    limits: LimitSettings,
    /// The places of connections to xDS.
    gate: Arc<Gate>,
    /// What sends traces of changes to a collector. `None` means that there is none.
    exporter: Option<Exporter>,
    /// Turns true when the process ends.
    stop: watch::Sender<bool>,
}

/// The name of a task and how it ended.
struct Ended {
    name: &'static str,
    result: anyhow::Result<()>,
}

impl App {
    /// Opens the store and every socket, and loads all config, so that a client which connects is served in full.
    ///
    /// # Errors
    /// Fails if a socket, the store or the watched folder cannot be opened.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let addresses = &settings.addresses;
        let xds = ads::listen(addresses.xds).with_context(|| format!("--xds: listening at {}", addresses.xds))?;
        let store = open(&settings.store)?;
        let sealer = Arc::new(Sealer::new(settings.secret_key_file()?, &*store).await?);
        let admin_sockets = admin::listen(&settings).await?;
        let admin_socket = settings.admin_socket();
        let metrics = Arc::new(Metrics::default());
        let before = *store.latest().borrow();
        let options = FolderOptions {
            settle: settings.store.config_settle_ms.0,
            poll: settings.store.config_poll_s.map(|poll| poll.0),
        };
        let (export, exporter) = match &settings.traces.otlp_endpoint {
            Some(endpoint) => Some(otlp::exporter(endpoint, &metrics)?).unzip(),
            None => (None, None),
        };
        let traces = Traces::exported(export);
        let target = FolderTarget {
            store: store.clone(),
            sealer: sealer.clone(),
            metrics: metrics.clone(),
            traces: traces.clone(),
        };
        let (folder, folder_handle) = match settings.store.config_dir {
            Some(dir) => Some(Folder::open(dir, options, target).await?).unzip(),
            None => (None, None),
        };
        let sources = vec![open_store(store.clone(), sealer.clone()).await?];
        let (engine, handle) = Engine::load(&settings.mesh, sources, metrics.clone(), traces);
        if *store.latest().borrow() > before {
            // Everything was listed by now, which fills the database's memory once more.
            store.give_back_memory().await;
            rutter_malloc::trim();
        }
        let streams = OpenStreams::new(metrics.clone());
        let (service, tasks) = ads::ads(Shared {
            engine: handle.clone(),
            streams: streams.clone(),
            metrics: metrics.clone(),
            budget: Arc::new(Budget::new(settings.limits.in_flight_mb.0)),
            limits: settings.limits,
            identify: identify_sidecar,
        });
        let gate = xds_gate(&settings.limits, metrics.clone());
        let stop = watch::Sender::new(false);
        let stopped = stop.subscribe();
        let admin =
            AdminServer { store, engine: handle, streams, metrics, folder: folder_handle, sealer, stop: stopped };
        Ok(Self {
            engine,
            tasks,
            service,
            admin,
            folder,
            xds,
            admin_sockets,
            admin_socket,
            limits: settings.limits,
            gate,
            exporter,
            stop,
        })
    }

    /// Returns the address at which sidecars connect.
    ///
    /// # Errors
    /// Fails if the operating system does not say it.
    pub fn xds_addr(&self) -> std::io::Result<SocketAddr> {
        self.xds.local_addr()
    }

    /// Returns the address of metrics and health checks.
    ///
    /// # Errors
    /// Fails if the operating system does not say it.
    pub fn monitoring_addr(&self) -> std::io::Result<SocketAddr> {
        self.admin_sockets.monitoring.local_addr()
    }

    /// Returns the TCP address at which operators connect. `None` means that there is only the socket.
    ///
    /// # Errors
    /// Fails if the operating system does not say it.
    pub fn admin_addr(&self) -> std::io::Result<Option<SocketAddr>> {
        self.admin_sockets.tcp.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `shutdown`. A task that ends before that ends the process. Streams are then ended with a status
    /// that makes their clients connect elsewhere.
    ///
    /// # Errors
    /// Fails if a task fails, and names it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (socket, monitoring) = (self.admin_socket.display(), self.monitoring_addr()?);
        info!(xds = %self.xds_addr()?, admin_socket = %socket, admin = ?self.admin_addr()?, %monitoring, "rutter serves");
        let (stop, stopped) = (self.stop, self.admin.stop.clone());
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        tasks.spawn(named("store", watch_store(self.admin.store.clone(), self.admin.metrics.clone(), stopped.clone())));
        tasks.spawn(named("engine", self.engine.run(stopped.clone())));
        tasks.spawn(named("streams", self.tasks.run(stopped.clone())));
        let loads = LoadReports { metrics: self.admin.metrics.clone(), stop: stopped.clone() };
        let server = XdsServer { limits: self.limits, gate: self.gate.clone(), service: self.service, loads };
        tasks.spawn(named("xds", server.serve(self.xds, stopped.clone())));
        if let Some(exporter) = self.exporter {
            let (traces, streams) = (self.admin.engine.traces().clone(), self.admin.streams.clone());
            tasks.spawn(named("otlp", exporter.run(traces, streams, stopped.clone())));
        }
        tasks.spawn(named("admin", admin::serve(self.admin_sockets, self.admin, self.gate)));
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
            Some(Ok(Ended { name, result: Ok(()) })) => bail!("the task {name} ended unasked"),
            Some(Ok(Ended { name, result: Err(error) })) => Err(error.context(format!("the task {name} failed"))),
            Some(Err(error)) => Err(error).context("a task failed"),
        }
    }
}

/// Returns the places of connections to xDS, which are not so many that nothing is left for operators.
fn xds_gate(limits: &LimitSettings, metrics: Arc<Metrics>) -> Arc<Gate> {
    let descriptors = descriptors::raise();
    let connections_max = descriptors::connections_max(limits.connections_max, descriptors);
    let per_address_max = match limits.connections_per_address {
        0 => connections_max.div_ceil(2),
        number => number,
    };
    info!(descriptors, connections_max, per_address_max, "connections are limited");
    Gate::new(connections_max, per_address_max, metrics)
}

fn open(settings: &StoreSettings) -> anyhow::Result<Arc<dyn ConfigStore>> {
    Ok(match &settings.data_dir {
        Some(dir) => Arc::new(EmbeddedStore::open(dir).context("--data-dir")?),
        None => Arc::new(MemoryStore::default()),
    })
}

/// Tells when the store can no longer be written, and when it can again, until `stop`.
async fn watch_store(
    store: Arc<dyn ConfigStore>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut writable = store.writable();
    metrics.store_writable.set(1);
    let mut was_writable = true;
    let stopped = stopped(stop);
    tokio::pin!(stopped);
    loop {
        let changed = tokio::select! {
            () = &mut stopped => return Ok(()),
            changed = writable.changed() => changed,
        };
        changed.context("the store is closed")?;
        let is_writable = match &*writable.borrow_and_update() {
            Writable::Yes => true,
            Writable::No(reason) => {
                // The reason may change while it lasts, and is then told by `/readyz?verbose`.
                if was_writable {
                    error!(error = reason, "the store can only be read");
                }
                false
            }
        };
        if is_writable && !was_writable {
            info!("the store can be written again");
        }
        metrics.store_writable.set(i64::from(is_writable));
        was_writable = is_writable;
    }
}

/// Runs a task, and returns how it ended with its name.
async fn named(name: &'static str, task: impl Future<Output = anyhow::Result<()>>) -> Ended {
    Ended { name, result: task.await }
}

/// What is served to sidecars.
pub(crate) struct XdsServer {
    pub(crate) limits: LimitSettings,
    pub(crate) gate: Arc<Gate>,
    pub(crate) service: AdsService,
    pub(crate) loads: LoadReports,
}

impl XdsServer {
    /// Serves sidecars that connect to a socket, until `stop`.
    pub(crate) async fn serve(self, socket: TcpListener, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        // A gRPC client has streams of several targets on one connection, and load reports beside each.
        let streams = u32::try_from(self.limits.streams_per_sidecar.saturating_mul(2)).unwrap_or(u32::MAX);
        Server::builder()
            .http2_keepalive_interval(Some(self.limits.keepalive_s.0))
            .http2_keepalive_timeout(Some(self.limits.keepalive_timeout_s.0))
            .http2_max_pending_accept_reset_streams(Some(self.limits.resets_max))
            .max_concurrent_streams(streams)
            .add_service(self.service)
            .add_service(LoadReportingServiceServer::new(self.loads))
            .serve_with_incoming_shutdown(ads::incoming(socket, self.gate), stopped(stop))
            .await
            .context("serving xDS")
    }
}
