//! The one task that owns the mesh: commits come in, and the view of every sidecar is published.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use rutter_api::{Config, ConfigKey, Hostname, Invalid, ResourceType, SidecarNode};
use rutter_core::index::urgency_of;
use rutter_core::message_size::check_endpoints;
use rutter_core::{ConfigBatch, ConfigChange, Debounce, Mesh, MeshSettings, NodeId, View};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, sleep_until};
use tracing::debug;

use crate::metrics::Metrics;
use crate::oracle::Oracle;
use crate::parallel;
use crate::settings::MeshOptions;
use crate::sources::{Source, SourceCommit};
use crate::warnings;

/// The time between two sweeps. A scope without sidecars is dropped at the second sweep that finds it so.
const SWEEP: Duration = Duration::from_secs(60);
/// The length of the queue of calls to the engine. When it is full, callers wait until there is room.
pub(crate) const CALLS: usize = 256;

/// What others ask of the engine.
pub(crate) enum Call {
    Connect(Arc<SidecarNode>, oneshot::Sender<Connection>),
    Disconnect(NodeId),
    Sources(NodeId, ResourceType, String, oneshot::Sender<BTreeSet<ConfigKey>>),
    Check(Vec<Arc<Config>>, oneshot::Sender<Checked>),
    Addresses(Vec<ConfigKey>, oneshot::Sender<GivenAddresses>),
    Everything(oneshot::Sender<Everything>),
}

/// Every object and every client, at one revision.
#[derive(Debug)]
pub(crate) struct Everything {
    pub(crate) configs: Vec<Arc<Config>>,
    pub(crate) clients: Vec<Arc<SidecarNode>>,
    pub(crate) settings: MeshSettings,
    pub(crate) revision: u64,
}

/// The hosts of objects that were given an address because they have none, each with it.
pub(crate) type GivenAddresses = BTreeMap<ConfigKey, Vec<(Hostname, IpAddr)>>;

/// What the engine says of objects that are to be applied.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Why they must not be applied.
    pub(crate) faults: Vec<Invalid>,
    /// What an operator should know of them.
    pub(crate) warnings: Vec<String>,
}

/// A client's place in the engine.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: NodeId,
    pub(crate) view: watch::Receiver<View>,
}

/// How others reach the engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineHandle {
    calls: mpsc::Sender<Call>,
    applied: watch::Receiver<u64>,
}

impl EngineHandle {
    /// Returns the handle of whoever answers the calls.
    pub(crate) fn new(calls: mpsc::Sender<Call>, applied: watch::Receiver<u64>) -> Self {
        Self { calls, applied }
    }

    /// Takes in a client that connected. `None` means that the process is ending.
    pub(crate) async fn connect(&self, node: Arc<SidecarNode>) -> Option<Connection> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Connect(node, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Lets a client go that disconnected.
    pub(crate) async fn disconnect(&self, id: NodeId) {
        // An engine that has ended has forgotten the client.
        let _ = self.calls.send(Call::Disconnect(id)).await;
    }

    /// Returns the objects that a resource of a client is made from.
    pub(crate) async fn sources(&self, id: NodeId, resource_type: ResourceType, name: String) -> BTreeSet<ConfigKey> {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Sources(id, resource_type, name, reply)).await.is_err() {
            return BTreeSet::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Checks objects that are to be applied beside those that are there. `None` means that the engine has ended.
    pub(crate) async fn check(&self, configs: Vec<Arc<Config>>) -> Option<Checked> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Check(configs, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Returns which addresses hosts of objects were given.
    pub(crate) async fn addresses(&self, keys: Vec<ConfigKey>) -> GivenAddresses {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Addresses(keys, reply)).await.is_err() {
            return GivenAddresses::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Returns every object and every client. `None` means that the engine has ended.
    pub(crate) async fn everything(&self) -> Option<Everything> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Everything(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Returns the revision that every view has taken in, which can be waited for.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }
}

/// The engine: it owns the mesh, gathers the commits of all sources into batches, and publishes the view of each client
/// whose view a batch changed. Everything that it does happens in one task, so nothing in it is locked.
pub(crate) struct Engine {
    mesh: Mesh,
    debounce: Debounce,
    commits: SelectAll<BoxStream<'static, anyhow::Result<SourceCommit>>>,
    views: HashMap<NodeId, watch::Sender<View>>,
    calls: mpsc::Receiver<Call>,
    applied: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    oracle: Option<Oracle>,
}

enum Event {
    Commit(SourceCommit),
    Call(Call),
    Due,
    Verified,
    Sweep,
    Stop,
}

impl Engine {
    /// Loads everything that the sources have at the start.
    pub(crate) fn load(options: &MeshOptions, sources: Vec<Source>, metrics: Arc<Metrics>) -> (Self, EngineHandle) {
        let settings = MeshSettings {
            root_namespace: options.root_namespace.as_str().into(),
            domain: options.domain.as_str().into(),
            whole_route_tables: options.whole_route_tables,
            inherit_egress: options.inherit_egress,
        };
        let mut mesh = Mesh::new(settings).with_spread(parallel::spread);
        let mut batch = ConfigBatch::default();
        let mut commits = SelectAll::new();
        for source in sources {
            batch.revision = batch.revision.max(source.revision);
            let configs = source.configs.into_iter();
            batch.changes.extend(configs.map(|config| (config.key.clone(), ConfigChange::Put(config))));
            let name = source.name;
            let of_source =
                move |commit: anyhow::Result<SourceCommit>| commit.with_context(|| format!("the source {name} failed"));
            commits.push(source.commits.map(of_source).boxed());
        }
        mesh.apply(&batch);
        let revision = batch.revision;
        drop(batch);
        // The texts of all objects were in memory until now.
        rutter_malloc::trim();
        let (calls, receiver) = mpsc::channel(CALLS);
        let applied = watch::Sender::new(revision);
        let handle = EngineHandle::new(calls, applied.subscribe());
        let debounce = Debounce::new(options.debounce_ms.0, options.debounce_max_ms.0);
        let oracle = options.verify.then(|| Oracle::new(metrics.clone()));
        let views = HashMap::new();
        let engine = Self { mesh, debounce, commits, views, calls: receiver, applied, metrics, oracle };
        engine.update_metrics();
        (engine, handle)
    }

    /// Runs until `stop` is sent. It fails if a source of config fails.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut sweep = interval(SWEEP);
        loop {
            let due = self.debounce.due_at();
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                call = self.calls.recv() => call.map_or(Event::Stop, Event::Call),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Event::Due,
                Some(commit) = self.commits.next() => Event::Commit(commit?),
                _ = sweep.tick() => Event::Sweep,
                () = Oracle::finished(&mut self.oracle) => Event::Verified,
            };
            match event {
                Event::Commit(commit) => self.record(commit),
                Event::Call(call) => self.answer(call),
                Event::Due | Event::Verified => {}
                Event::Sweep => self.mesh.sweep(),
                Event::Stop => return Ok(()),
            }
            self.apply_due();
            if let Some(oracle) = &mut self.oracle {
                oracle.begin(&self.mesh);
            }
        }
    }

    fn record(&mut self, commit: SourceCommit) {
        let now = Instant::now();
        let changes = commit.changes.into_iter().collect();
        let batch = ConfigBatch { changes, revision: commit.revision, since: Some(now) };
        let urgency = urgency_of(&batch, self.mesh.index());
        self.debounce.record(now, batch, urgency);
    }

    fn apply_due(&mut self) {
        let Some(batch) = self.debounce.take_due(Instant::now()) else { return };
        let changed = self.mesh.apply(&batch);
        if let Some(oracle) = &mut self.oracle {
            oracle.note(&batch);
        }
        debug!(revision = batch.revision, objects = batch.changes.len(), sidecars = changed.len(), "applied");
        self.publish(&changed);
        self.applied.send_replace(self.debounce.taken_revision().max(self.mesh.revision()));
        self.update_metrics();
    }

    fn publish(&self, changed: &BTreeSet<NodeId>) {
        for id in changed {
            if let (Some(sender), Some(view)) = (self.views.get(id), self.mesh.view(*id)) {
                sender.send_replace(view.clone());
            }
        }
    }

    fn answer(&mut self, call: Call) {
        // Whoever asked may have gone, so a reply may find nobody.
        match call {
            Call::Connect(node, reply) => {
                let id = self.mesh.connect(node);
                let Some(view) = self.mesh.view(id) else { return };
                let sender = watch::Sender::new(view.clone());
                let connection = Connection { id, view: sender.subscribe() };
                self.views.insert(id, sender);
                if reply.send(connection).is_err() {
                    self.forget(id);
                }
            }
            Call::Disconnect(id) => self.forget(id),
            Call::Sources(id, resource_type, name, reply) => {
                let _ = reply.send(self.mesh.sources(id, resource_type, &name));
            }
            Call::Addresses(keys, reply) => {
                let given = |key: ConfigKey| (key.clone(), self.mesh.index().given_addresses(&key));
                let _ = reply.send(keys.into_iter().map(given).collect());
            }
            Call::Everything(reply) => {
                let index = self.mesh.index();
                let _ = reply.send(Everything {
                    configs: index.configs().cloned().collect(),
                    clients: self.mesh.sidecars().map(|(node, _)| node.clone()).collect(),
                    settings: index.settings().clone(),
                    revision: self.mesh.revision(),
                });
            }
            Call::Check(configs, reply) => {
                let faults = check_endpoints(self.mesh.index(), &configs);
                let mut warnings = warnings::of_objects(self.mesh.index(), self.debounce.pending(), &configs);
                warnings.extend(warnings::long_regexes(&self.mesh, &configs));
                let _ = reply.send(Checked { faults, warnings });
            }
        }
        self.update_metrics();
    }

    fn forget(&mut self, id: NodeId) {
        self.mesh.disconnect(id);
        self.views.remove(&id);
    }

    fn update_metrics(&self) {
        self.metrics.revision.set(gauge(self.mesh.revision()));
        self.metrics.objects.set(gauge(self.mesh.index().len() as u64));
        self.metrics.encodes.set(gauge(self.mesh.work().encodes));
        self.metrics.scopes.set(gauge(self.mesh.scopes() as u64));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use rutter_api::config::Object;
    use rutter_api::yaml;

    use super::*;
    use crate::testing::node;

    fn service(name: &str) -> Arc<Config> {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}"
        );
        let document = yaml::parse(&text).unwrap().remove(0);
        Object::from_value(document.value, "shop").unwrap().config
    }

    /// A source with one object at the start, and one more afterwards.
    fn source(name: &'static str, revision: u64, first: &str, second: &str) -> Source {
        let config = service(second);
        let changes = vec![(config.key.clone(), ConfigChange::Put(config))];
        let revision_after = if revision == 0 { 0 } else { revision + 1 };
        let commit = SourceCommit { revision: revision_after, changes };
        let commits = stream::iter([Ok(commit)]).chain(stream::pending()).boxed();
        Source { name, configs: vec![service(first)], revision, commits }
    }

    fn cluster_names(view: &View) -> Vec<String> {
        let clusters = view.iter(ResourceType::Cluster).filter(|cluster| cluster.name.starts_with("outbound"));
        clusters.map(|cluster| cluster.name.to_string()).collect()
    }

    #[tokio::test]
    async fn commits_of_a_durable_and_of_another_source_are_merged() {
        let sources = vec![source("store", 7, "a", "b"), source("other", 0, "c", "d")];
        let (engine, handle) = Engine::load(&MeshOptions::default(), sources, Arc::default());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(engine.run(stopped));
        let mut connection = handle.connect(Arc::new(node("a", "shop"))).await.unwrap();
        let view = connection.view.wait_for(|view| cluster_names(view).len() == 4).await.unwrap().clone();
        let hosts = ["a", "b", "c", "d"].map(|name| format!("outbound|80||{name}.shop.svc.cluster.local"));
        assert_eq!(cluster_names(&view), hosts);
        assert_eq!((view.revision, *handle.applied().borrow()), (8, 8));
        stop.send_replace(true);
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_source_that_fails_ends_the_engine_with_its_name() {
        let commits = stream::iter([Err(anyhow::anyhow!("it broke"))]).boxed();
        let source = Source { name: "other", configs: Vec::new(), revision: 0, commits };
        let (engine, _handle) = Engine::load(&MeshOptions::default(), vec![source], Arc::default());
        let error = engine.run(watch::channel(false).1).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the source other failed: it broke");
    }
}
