//! The same ADS server over resources that somebody sets, without config and scopes: for tests, and for suites
//! of others that want to drive an xDS server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use rutter_api::node::Interception;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::{Invalid, Labels, ResourceType, SidecarNode};
use rutter_core::snapshot::{ResourceName, Write};
use rutter_core::{NodeId, ScopeSnapshot, View};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ads::{self, AdsService, Budget, Shared, Streams};
use crate::app::{DRAIN, serve_xds, stopped};
use crate::engine::{CALLS, Call, Checked, Connection, EngineHandle};
use crate::lrs::LoadReports;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::settings::Settings;

/// The resources of every node, to be changed at any time.
#[derive(Debug, Clone, Default)]
pub struct Resources(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    last_lineage: u64,
    /// By the node's id. Empty: of those that have none of their own.
    snapshots: HashMap<String, Arc<ScopeSnapshot>>,
    streams: BTreeMap<NodeId, (Arc<str>, watch::Sender<View>)>,
}

impl Resources {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what a node sees; an empty id: what those see that have nothing of their own.
    pub fn write(&self, node: &str, writes: Vec<Write>) {
        let mut state = self.lock();
        let old = match state.snapshots.get(node) {
            Some(snapshot) => snapshot.clone(),
            None => {
                state.last_lineage += 1;
                Arc::new(ScopeSnapshot::new(state.last_lineage))
            }
        };
        let next = old.apply(writes).map_or(old, Arc::new);
        state.snapshots.insert(node.to_owned(), next);
        state.publish();
    }

    /// Gives a node these resources, and no others.
    pub fn replace(&self, node: &str, mut writes: Vec<Write>) {
        let put: BTreeSet<(ResourceType, ResourceName)> = writes.iter().map(name).collect();
        let snapshot = self.lock().snapshots.get(node).cloned().unwrap_or_default();
        for kind in ResourceType::ALL {
            let gone = snapshot.iter(kind).filter(|one| !put.contains(&(kind, one.name.clone())));
            writes.extend(gone.map(|one| Write::Remove(kind, one.name.clone())));
        }
        self.write(node, writes);
    }

    /// Forgets a node's resources.
    pub fn clear(&self, node: &str) {
        let mut state = self.lock();
        state.snapshots.remove(node);
        state.publish();
    }
}

fn name(write: &Write) -> (ResourceType, ResourceName) {
    match write {
        Write::Put(kind, resource) => (*kind, resource.name.clone()),
        Write::Hide(kind, name) | Write::Remove(kind, name) => (*kind, name.clone()),
    }
}

impl State {
    fn view(&self, node: &str) -> View {
        let shared = self.snapshots.get(node).or_else(|| self.snapshots.get("")).cloned().unwrap_or_default();
        View { shared, ..View::default() }
    }

    fn publish(&self) {
        for (node, sender) in self.streams.values() {
            sender.send_replace(self.view(node));
        }
    }

    fn connect(&mut self, node: &SidecarNode) -> Connection {
        self.last_id += 1;
        let (id, sender) = (NodeId(self.last_id), watch::Sender::new(self.view(&node.pod)));
        let connection = Connection { id, view: sender.subscribe() };
        self.streams.insert(id, (node.pod.clone(), sender));
        connection
    }
}

/// The server, its socket open.
pub struct Server {
    resources: Resources,
    calls: mpsc::Receiver<Call>,
    service: AdsService,
    streams: Streams,
    settings: Settings,
    socket: TcpListener,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Opens the socket at `settings.xds`; of the other settings those count that bound clients.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn bind(settings: Settings, resources: Resources) -> anyhow::Result<Self> {
        let socket = ads::listen(settings.xds).with_context(|| format!("listening at {}", settings.xds))?;
        let (calls, receiver) = mpsc::channel(CALLS);
        let metrics = Arc::new(Metrics::default());
        let shared = Shared {
            engine: EngineHandle::new(calls, watch::Sender::new(0).subscribe()),
            registry: Registry::new(metrics.clone()),
            metrics: metrics.clone(),
            budget: Arc::new(Budget::new(settings.in_flight_bytes)),
            stuck_after: settings.stuck_after,
            bounds: settings.bounds,
            identify,
        };
        let (service, streams) = ads::ads(shared);
        Ok(Self { resources, calls: receiver, service, streams, settings, socket, metrics })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When a task ends before that.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let loads = LoadReports { metrics: self.metrics, stop: stopping.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(self.calls, self.resources, stopping.clone()));
        tasks.spawn(self.streams.run(stopping.clone()));
        tasks.spawn(serve_xds((self.socket, self.settings.bounds), (self.service, loads), stopping));
        tokio::select! {
            () = shutdown => {}
            ended = tasks.join_next() => bail!("a task ended unasked: {ended:?}"),
        }
        stop.send_replace(true);
        let rest = async { while tasks.join_next().await.is_some() {} };
        // What has not ended by then is cut off.
        let _ = tokio::time::timeout(DRAIN, rest).await;
        Ok(())
    }
}

async fn answer(
    mut calls: mpsc::Receiver<Call>,
    resources: Resources,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let call = tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            call = calls.recv() => call,
        };
        // Who asked may have gone, each time.
        match call {
            Some(Call::Connect(node, reply)) => drop(reply.send(resources.lock().connect(&node))),
            Some(Call::Disconnect(id)) => drop(resources.lock().streams.remove(&id)),
            Some(Call::Sources(_, _, _, reply)) => drop(reply.send(Default::default())),
            Some(Call::Check(_, reply)) => drop(reply.send(Checked::default())),
            None => return Ok(()),
        }
    }
}

/// Whoever has an id.
fn identify(node: &Node) -> Result<SidecarNode, Invalid> {
    if node.id.is_empty() {
        return Err(Invalid::new("node.id", "an id", "nothing"));
    }
    Ok(SidecarNode {
        pod: node.id.as_str().into(),
        namespace: "".into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        labels: Labels::default(),
        cluster_id: String::new(),
        interception: Interception::None,
        version: node.user_agent_name.clone(),
        proxyless: node.user_agent_name.starts_with("gRPC "),
        takes_virtual_hosts: true,
    })
}
