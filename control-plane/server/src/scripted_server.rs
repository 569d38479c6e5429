//! The same ADS server over resources that somebody sets, without config and scopes. It is for tests, and for suites of
//! others that drive an xDS server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use rutter_api::node::{Interception, Locality, Role};
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::{Invalid, Labels, ResourceType, SidecarNode};
use rutter_core::resource::ResourceName;
use rutter_core::{EncodedResource, NodeId, ResourceWrite, Snapshot, View};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ads::{self, AdsService, Budget, Gate, Shared, StreamTasks};
use crate::app::{DRAIN, XdsServer};
use crate::engine::{CALLS, Call, Connection, EngineHandle};
use crate::identity::Peer;
use crate::lrs::LoadReports;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::shutdown::stopped;
use crate::streams::OpenStreams;

/// The resources of every node, which can be changed at any time.
#[derive(Debug, Clone, Default)]
pub struct ScriptedResources(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    last_lineage: u64,
    /// The resources by the id of the node. Those of the empty id are for nodes that have none of their own.
    snapshots: HashMap<String, Arc<Snapshot>>,
    streams: BTreeMap<NodeId, (Arc<str>, watch::Sender<View>)>,
}

impl ScriptedResources {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what a node sees. The empty id stands for nodes that have no resources of their own.
    pub fn write(&self, node: &str, writes: Vec<ResourceWrite>) {
        let mut state = self.lock();
        let old = match state.snapshots.get(node) {
            Some(snapshot) => snapshot.clone(),
            None => {
                state.last_lineage += 1;
                Arc::new(Snapshot::new(state.last_lineage))
            }
        };
        let next = old.apply(writes).map_or(old, Arc::new);
        state.snapshots.insert(node.to_owned(), next);
        state.publish();
    }

    /// Gives a node these resources and no others.
    pub fn replace(&self, node: &str, mut writes: Vec<ResourceWrite>) {
        let put: BTreeSet<(ResourceType, ResourceName)> = writes.iter().map(written_name).collect();
        let snapshot = self.lock().snapshots.get(node).cloned().unwrap_or_default();
        for resource_type in ResourceType::ALL {
            let is_gone = |resource: &&EncodedResource| !put.contains(&(resource_type, resource.name.clone()));
            let gone = snapshot.iter(resource_type).filter(is_gone);
            writes.extend(gone.map(|resource| ResourceWrite::Remove(resource_type, resource.name.clone())));
        }
        self.write(node, writes);
    }

    /// Forgets the resources of a node.
    pub fn clear(&self, node: &str) {
        let mut state = self.lock();
        state.snapshots.remove(node);
        state.publish();
    }
}

/// Returns what a write is about.
fn written_name(write: &ResourceWrite) -> (ResourceType, ResourceName) {
    match write {
        ResourceWrite::Put(resource_type, resource) => (*resource_type, resource.name.clone()),
        ResourceWrite::Hide(resource_type, name) | ResourceWrite::Remove(resource_type, name) => {
            (*resource_type, name.clone())
        }
    }
}

impl State {
    fn view(&self, node: &str) -> View {
        let snapshot = self.snapshots.get(node).or_else(|| self.snapshots.get("")).cloned();
        View { scope: snapshot.unwrap_or_default(), ..View::default() }
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

/// The server, whose socket is open.
pub struct ScriptedServer {
    resources: ScriptedResources,
    calls: mpsc::Receiver<Call>,
    service: AdsService,
    tasks: StreamTasks,
    settings: Settings,
    socket: TcpListener,
    metrics: Arc<Metrics>,
}

impl ScriptedServer {
    /// Opens the socket. Of the settings, the address for sidecars and the limits count.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn bind(settings: Settings, resources: ScriptedResources) -> anyhow::Result<Self> {
        let address = settings.addresses.xds;
        let socket = ads::listen(address).with_context(|| format!("listening at {address}"))?;
        let (calls, receiver) = mpsc::channel(CALLS);
        let metrics = Arc::new(Metrics::default());
        let shared = Shared {
            engine: EngineHandle::new(calls, watch::Sender::new(0).subscribe(), Default::default()),
            streams: OpenStreams::new(metrics.clone()),
            metrics: metrics.clone(),
            budget: Arc::new(Budget::new(settings.limits.in_flight_mb.0)),
            limits: settings.limits,
            identify,
        };
        let (service, tasks) = ads::ads(shared);
        Ok(Self { resources, calls: receiver, service, tasks, settings, socket, metrics })
    }

    /// Returns the address at which clients connect.
    ///
    /// # Errors
    /// Fails if the operating system does not say it.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// Fails if a task ends before that.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let loads = LoadReports { metrics: self.metrics, stop: stopping.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(self.calls, self.resources, stopping.clone()));
        tasks.spawn(self.tasks.run(stopping.clone()));
        let gate = Gate::new(usize::MAX, usize::MAX, Arc::default());
        let server = XdsServer { limits: self.settings.limits, gate, service: self.service, loads };
        tasks.spawn(server.serve(self.socket, stopping));
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
    resources: ScriptedResources,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let call = tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            call = calls.recv() => call,
        };
        // Whoever asked may have gone, so a reply may find nobody.
        match call {
            Some(Call::Connect(node, reply)) => drop(reply.send(resources.lock().connect(&node))),
            Some(Call::Disconnect(id)) => drop(resources.lock().streams.remove(&id)),
            Some(Call::Sources(_, _, _, reply)) => drop(reply.send(Default::default())),
            Some(Call::Addresses(_, reply)) => drop(reply.send(Default::default())),
            Some(Call::Findings(_, reply)) => drop(reply.send(Default::default())),
            // It has no mesh.
            Some(Call::Branch(reply)) => drop(reply),
            None => return Ok(()),
        }
    }
}

/// Takes a client by its id, whoever it is.
fn identify(_: &Peer, node: &Node) -> Result<SidecarNode, Invalid> {
    if node.id.is_empty() {
        return Err(Invalid::new("node.id", "an id", "nothing"));
    }
    Ok(SidecarNode {
        role: Role::Sidecar,
        pod: node.id.as_str().into(),
        namespace: "".into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        labels: Labels::default(),
        locality: Locality::default(),
        node_name: "".into(),
        cluster_id: String::new(),
        interception: Interception::None,
        version: node.user_agent_name.clone(),
        proxyless: node.user_agent_name.starts_with("gRPC "),
        takes_virtual_hosts: true,
        captures_dns: false,
        bounds_regexes: false,
        may_be_sent_secrets: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn put(name: &str, body: &[u8]) -> ResourceWrite {
        ResourceWrite::Put(ResourceType::Cluster, EncodedResource::new(ResourceType::Cluster, name.into(), body))
    }

    /// Connects a node, and returns a function that tells what it sees.
    fn connect(resources: &ScriptedResources, pod: &str) -> impl Fn() -> Vec<String> + use<> {
        let connection = resources.lock().connect(&node(pod, ""));
        move || connection.view.borrow().iter(ResourceType::Cluster).map(|cluster| cluster.name.to_string()).collect()
    }

    #[test]
    fn nodes_without_resources_of_their_own_see_those_of_the_empty_id() {
        let resources = ScriptedResources::default();
        let (own, other) = (connect(&resources, "own"), connect(&resources, "other"));
        resources.write("", vec![put("common", b"1")]);
        assert_eq!((own(), other()), (vec!["common".to_owned()], vec!["common".to_owned()]));
        resources.write("own", vec![put("a", b"1")]);
        assert_eq!((own(), other()), (vec!["a".to_owned()], vec!["common".to_owned()]));
        resources.clear("own");
        assert_eq!(own(), ["common"]);
    }

    #[test]
    fn writes_add_up_and_a_replacement_leaves_nothing_else() {
        let resources = ScriptedResources::default();
        let seen = connect(&resources, "n");
        resources.write("n", vec![put("a", b"1")]);
        resources.write("n", vec![put("b", b"1")]);
        assert_eq!(seen(), ["a", "b"]);
        resources.replace("n", vec![put("b", b"2"), put("c", b"1")]);
        assert_eq!(seen(), ["b", "c"]);
        resources.write("n", vec![ResourceWrite::Remove(ResourceType::Cluster, "b".into())]);
        assert_eq!(seen(), ["c"]);
    }

    #[test]
    fn a_client_is_taken_by_its_id_whoever_it_is() {
        let refused = identify(&Peer::default(), &Node::default()).unwrap_err().to_string();
        assert_eq!(refused, "node.id: want an id, got nothing");
        let node = Node { id: "anybody".into(), user_agent_name: "gRPC Go".into(), ..Default::default() };
        let identified = identify(&Peer::default(), &node).unwrap();
        assert_eq!((&*identified.pod, identified.proxyless), ("anybody", true));
    }
}
