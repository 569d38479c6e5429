//! The one task that owns the mesh: commits come in, and the view of every sidecar is published.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use rutter_api::{ConfigKey, Hostname, ResourceType, SidecarNode, brief};
use rutter_core::analysis::{Finding, Level};
use rutter_core::index::urgency_of;
use rutter_core::{ConfigBatch, ConfigChange, Debounce, Mesh, MeshSettings, NodeId, View};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{interval, sleep_until};
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::oracle::Oracle;
use crate::parallel;
use crate::settings::MeshOptions;
use crate::sources::{Source, SourceCommit};
use crate::traces::{BatchTrace, Traces};

/// The time between two sweeps. A scope without sidecars is dropped at the second sweep that finds it so.
const SWEEP: Duration = Duration::from_secs(60);
/// The time between two reports of what is wrong.
const REPORT: Duration = Duration::from_secs(1);
/// The number of findings of one report that are logged.
const LOGGED_MAX: usize = 20;
/// The number of objects that are checked before the engine looks whether there is something else to do.
const CHECKS_AT_ONCE: usize = 20;
/// How long somebody waits for the engine to take in what is in the store.
const CATCH_UP: Duration = Duration::from_secs(1);
/// The length of the queue of calls to the engine. When it is full, callers wait until there is room.
pub(crate) const CALLS: usize = 256;

/// What others ask of the engine.
pub(crate) enum Call {
    Connect(Arc<SidecarNode>, oneshot::Sender<Connection>),
    Disconnect(NodeId),
    Sources(NodeId, ResourceType, String, oneshot::Sender<BTreeSet<ConfigKey>>),
    Addresses(Vec<ConfigKey>, oneshot::Sender<GivenAddresses>),
    Findings(Vec<ConfigKey>, oneshot::Sender<Findings>),
    Branch(oneshot::Sender<Branch>),
}

/// What is wrong with objects. Those with which nothing is wrong are not in it.
pub(crate) type Findings = BTreeMap<ConfigKey, Vec<Finding>>;

/// The mesh at one moment, whose changes the engine does not see.
pub(crate) struct Branch {
    pub(crate) mesh: Mesh,
    /// The commits that the mesh has not taken in yet.
    pub(crate) pending: ConfigBatch,
}

impl Branch {
    /// Returns a branch of the mesh that has taken in every commit.
    pub(crate) fn up_to_date(&self) -> Mesh {
        let mut mesh = self.mesh.branch();
        if !self.pending.changes.is_empty() {
            mesh.apply(&self.pending);
        }
        mesh
    }
}

/// The hosts of objects that were given an address because they have none, each with it.
pub(crate) type GivenAddresses = BTreeMap<ConfigKey, Vec<(Hostname, IpAddr)>>;

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
    traces: Traces,
}

impl EngineHandle {
    /// Returns the handle of whoever answers the calls.
    pub(crate) fn new(calls: mpsc::Sender<Call>, applied: watch::Receiver<u64>, traces: Traces) -> Self {
        Self { calls, applied, traces }
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

    /// Returns which addresses hosts of objects were given.
    pub(crate) async fn addresses(&self, keys: Vec<ConfigKey>) -> GivenAddresses {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Addresses(keys, reply)).await.is_err() {
            return GivenAddresses::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Returns what is wrong with objects. `None` means that the engine has ended.
    pub(crate) async fn findings(&self, keys: Vec<ConfigKey>) -> Option<Findings> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Findings(keys, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Returns the mesh as it is now. `None` means that the engine has ended.
    pub(crate) async fn branch(&self) -> Option<Branch> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Branch(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Waits until every view has taken a revision in, but not for long: the engine may be busy.
    pub(crate) async fn catch_up(&self, revision: u64) {
        let mut applied = self.applied();
        let _ = tokio::time::timeout(CATCH_UP, applied.wait_for(|applied| *applied >= revision)).await;
    }

    /// Returns the times of the latest changes.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
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
    traces: Traces,
    oracle: Option<Oracle>,
}

enum Event {
    Commit(SourceCommit),
    Call(Call),
    Due,
    Verified,
    Sweep,
    /// Nothing else is to be done.
    Idle,
    Report,
    Stop,
}

impl Engine {
    /// Loads everything that the sources have at the start.
    pub(crate) fn load(
        options: &MeshOptions,
        sources: Vec<Source>,
        metrics: Arc<Metrics>,
        traces: Traces,
    ) -> (Self, EngineHandle) {
        let settings = MeshSettings {
            root_namespace: options.root_namespace.as_str().into(),
            domain: options.domain.as_str().into(),
            whole_route_tables: options.whole_route_tables,
            inherit_egress: options.inherit_egress,
        };
        let mut mesh = Mesh::new(settings).with_spread(parallel::spread);
        if options.analysis {
            mesh = mesh.with_analysis();
            for level in Level::ALL {
                metrics.findings(level).set(0);
            }
        }
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
        let handle = EngineHandle::new(calls, applied.subscribe(), traces.clone());
        let debounce = Debounce::new(options.debounce_ms.0, options.debounce_max_ms.0);
        let oracle = options.verify.then(|| Oracle::new(metrics.clone()));
        let views = HashMap::new();
        let engine = Self { mesh, debounce, commits, views, calls: receiver, applied, metrics, traces, oracle };
        engine.update_metrics();
        (engine, handle)
    }

    /// Runs until `stop` is sent. It fails if a source of config fails.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut sweep = interval(SWEEP);
        let mut report = interval(REPORT);
        let mut is_settled = false;
        loop {
            let due = self.debounce.due_at();
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                call = self.calls.recv() => call.map_or(Event::Stop, Event::Call),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Event::Due,
                Some(commit) = self.commits.next() => Event::Commit(commit?),
                _ = sweep.tick() => Event::Sweep,
                _ = report.tick() => Event::Report,
                () = Oracle::finished(&mut self.oracle) => Event::Verified,
                () = yield_now(), if !is_settled => Event::Idle,
            };
            is_settled = matches!(event, Event::Idle) && self.mesh.settle_analysis(CHECKS_AT_ONCE);
            match event {
                Event::Commit(commit) => self.record(commit),
                Event::Call(call) => self.answer(call),
                Event::Due | Event::Verified | Event::Idle => {}
                Event::Report => self.report_findings(),
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
        let (taken, after, encodes) = (Instant::now(), self.mesh.revision(), self.mesh.work().encodes);
        let mut indexed = taken;
        let changed = self.mesh.apply_in_stages(&batch, &mut || indexed = Instant::now());
        let applied = Instant::now();
        if let Some(oracle) = &mut self.oracle {
            oracle.note(&batch);
        }
        debug!(revision = batch.revision, objects = batch.changes.len(), sidecars = changed.len(), "applied");
        self.publish(&changed);
        let learnt = batch.since.unwrap_or(taken);
        self.traces.record(BatchTrace {
            after,
            revision: self.mesh.revision(),
            objects: batch.changes.len(),
            affected: changed.len(),
            encodes: self.mesh.work().encodes - encodes,
            learnt,
            held: taken.saturating_duration_since(learnt),
            index: indexed - taken,
            scopes: applied - indexed,
            publish: applied.elapsed(),
        });
        self.applied.send_replace(self.debounce.taken_revision().max(self.mesh.revision()));
        self.update_metrics();
    }

    /// Counts what is wrong, and logs what came to be. It happens at intervals, because several changes may together come to
    /// nothing that is wrong.
    fn report_findings(&mut self) {
        let Some(analysis) = self.mesh.analysis().filter(|analysis| analysis.is_settled()) else { return };
        let news = analysis.take_news();
        if news.is_empty() {
            return;
        }
        for level in Level::ALL {
            let count = analysis.findings().filter(|finding| finding.code.level() == level).count();
            self.metrics.findings(level).set(gauge(count as u64));
        }
        let new = news.iter().flat_map(|(key, before)| analysis.of(key).iter().filter(|found| !before.contains(found)));
        let told: Vec<&Finding> = new.filter(|finding| finding.code.level() > Level::Info).collect();
        for Finding { object, code, path, cause, .. } in told.iter().take(LOGGED_MAX) {
            warn!(target: "analysis", %code, %object, path, cause = brief(cause), "found");
        }
        if let Some(more @ 1..) = told.len().checked_sub(LOGGED_MAX) {
            warn!(target: "analysis", more, "found more (see rutterctl analyze)");
        }
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
            Call::Findings(keys, reply) => {
                let _ = reply.send(self.mesh.findings_of(&keys));
            }
            Call::Branch(reply) => {
                let _ = reply.send(Branch { mesh: self.mesh.branch(), pending: self.debounce.pending().clone() });
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
    use rutter_api::Config;
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
        let (engine, handle) = Engine::load(&MeshOptions::default(), sources, Arc::default(), Traces::default());
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
        let (engine, _handle) = Engine::load(&MeshOptions::default(), vec![source], Arc::default(), Traces::default());
        let error = engine.run(watch::channel(false).1).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the source other failed: it broke");
    }
}
