//! The one task that owns the mesh: commits come in, every sidecar's view is published.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rutter_api::{Config, ConfigKey, Invalid, ResourceType, SidecarNode};
use rutter_core::index::MeshSettings;
use rutter_core::{ConfigBatch, ConfigChange, Debounce, Mesh, NodeId, View};
use rutter_store::{Commit, ConfigEvent, ConfigStore, Stored, Watch};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, sleep_until};
use tracing::{debug, error};

use crate::metrics::Metrics;
use crate::oracle::Oracle;
use crate::parallel;

/// Scopes without sidecars are dropped after one to two of these.
const SWEEP: Duration = Duration::from_secs(60);
/// Calls that may wait for the engine; more wait at their callers.
pub(crate) const CALLS: usize = 256;

/// What others ask of the engine.
pub(crate) enum Call {
    Connect(Arc<SidecarNode>, oneshot::Sender<Connection>),
    Disconnect(NodeId),
    Sources(NodeId, ResourceType, String, oneshot::Sender<BTreeSet<ConfigKey>>),
    Check(Vec<Arc<Config>>, oneshot::Sender<Checked>),
}

/// What is to be known of objects before they are applied.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Because of these they may not be.
    pub(crate) faults: Vec<Invalid>,
    /// These an operator should know.
    pub(crate) warnings: Vec<String>,
}

/// A sidecar's place in the engine.
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
    /// Of an engine that answers calls.
    pub(crate) fn new(calls: mpsc::Sender<Call>, applied: watch::Receiver<u64>) -> Self {
        Self { calls, applied }
    }

    /// A sidecar came. None: the process is ending.
    pub(crate) async fn connect(&self, node: Arc<SidecarNode>) -> Option<Connection> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Connect(node, reply)).await.ok()?;
        answer.await.ok()
    }

    /// A sidecar went.
    pub(crate) async fn disconnect(&self, id: NodeId) {
        // An engine that has ended has forgotten it.
        let _ = self.calls.send(Call::Disconnect(id)).await;
    }

    /// The objects that a resource of a sidecar is made from.
    pub(crate) async fn sources(&self, id: NodeId, kind: ResourceType, name: String) -> BTreeSet<ConfigKey> {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Sources(id, kind, name, reply)).await.is_err() {
            return BTreeSet::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Looks at objects that are to be applied beside what there is.
    pub(crate) async fn check(&self, configs: Vec<Arc<Config>>) -> Checked {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Check(configs, reply)).await.is_err() {
            return Checked::default();
        }
        answer.await.unwrap_or_default()
    }

    /// The revision that every view has taken in, as it moves.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }
}

/// The engine.
pub(crate) struct Engine {
    mesh: Mesh,
    debounce: Debounce,
    watch: Watch,
    views: HashMap<NodeId, watch::Sender<View>>,
    calls: mpsc::Receiver<Call>,
    applied: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    oracle: Option<Oracle>,
}

enum Event {
    Commits(Vec<Commit>),
    Call(Call),
    Due,
    Verified,
    Sweep,
    Stop,
}

impl Engine {
    /// Loads the store.
    pub(crate) async fn load(
        (settings, verify): (MeshSettings, bool),
        (least, most): (Duration, Duration),
        store: Arc<dyn ConfigStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, EngineHandle)> {
        let (revision, stored) = store.list(rutter_store::ALL).await.context("reading the store")?;
        let mut mesh = Mesh::new(settings).with_spread(parallel::spread);
        let configs = parallel::map(&stored, typed);
        drop(stored);
        let configs = configs.into_iter().flatten();
        let changes = configs.map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
        mesh.apply(&ConfigBatch { changes, revision, since: None });
        // All the texts were in memory until now.
        rutter_malloc::trim();
        let (calls, receiver) = mpsc::channel(CALLS);
        let applied = watch::Sender::new(revision);
        let handle = EngineHandle::new(calls, applied.subscribe());
        let (watch, debounce) = (Watch::new(store, revision), Debounce::new(least, most));
        let oracle = verify.then(|| Oracle::new(metrics.clone()));
        let engine = Self { mesh, debounce, watch, views: HashMap::new(), calls: receiver, applied, metrics, oracle };
        engine.note();
        Ok((engine, handle))
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut sweep = interval(SWEEP);
        loop {
            let due = self.debounce.due();
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                call = self.calls.recv() => call.map_or(Event::Stop, Event::Call),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => Event::Due,
                commits = self.watch.next() => Event::Commits(commits.context("watching the store")?),
                _ = sweep.tick() => Event::Sweep,
                () = Oracle::finished(&mut self.oracle) => Event::Verified,
            };
            match event {
                Event::Commits(commits) => self.record(commits),
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

    fn record(&mut self, commits: Vec<Commit>) {
        let now = Instant::now();
        for commit in commits {
            let changes = commit.events.iter().filter_map(change).collect();
            let batch = ConfigBatch { changes, revision: commit.revision, since: Some(now) };
            let is_urgent = self.mesh.index().removes_endpoints(&batch);
            self.debounce.record(now, batch, is_urgent);
        }
    }

    fn apply_due(&mut self) {
        let Some(batch) = self.debounce.take_due(Instant::now()) else { return };
        let changed = self.mesh.apply(&batch);
        if let Some(oracle) = &mut self.oracle {
            oracle.note(&batch);
        }
        debug!(revision = batch.revision, objects = batch.changes.len(), sidecars = changed.len(), "applied");
        self.publish(&changed);
        self.applied.send_replace(self.debounce.taken());
        self.note();
    }

    fn publish(&self, changed: &BTreeSet<NodeId>) {
        for id in changed {
            if let (Some(sender), Some(view)) = (self.views.get(id), self.mesh.view(*id)) {
                sender.send_replace(view.clone());
            }
        }
    }

    fn answer(&mut self, call: Call) {
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
            Call::Sources(id, kind, name, reply) => {
                // As below.
                let _ = reply.send(self.mesh.sources(id, kind, &name));
            }
            Call::Check(configs, reply) => {
                // Who asked may have gone.
                let faults = self.mesh.index().check_endpoints(&configs);
                let _ = reply.send(Checked { faults, warnings: self.warnings(&configs) });
            }
        }
        self.note();
    }

    fn forget(&mut self, id: NodeId) {
        self.mesh.disconnect(id);
        self.views.remove(&id);
    }

    /// Destinations that neither exist nor come with the same apply.
    fn warnings(&self, configs: &[Arc<Config>]) -> Vec<String> {
        let index = self.mesh.index();
        let mut coming = rutter_core::MeshIndex::new(index.settings().clone());
        let changes = configs.iter().map(|config| (config.key.clone(), ConfigChange::Put(config.clone()))).collect();
        coming.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
        let mut warnings = Vec::new();
        for config in configs {
            for host in index.destinations(config) {
                if index.definitions(&host).next().is_none() && coming.definitions(&host).next().is_none() {
                    warnings.push(format!(
                        "{}: no service {host} is known; requests sent there are answered 503",
                        config.key
                    ));
                }
            }
        }
        warnings
    }

    fn note(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.revision.set(gauge(self.mesh.revision()));
        self.metrics.objects.set(gauge(self.mesh.index().len() as u64));
        self.metrics.encodes.set(gauge(self.mesh.work().encodes));
        self.metrics.scopes.set(gauge(self.mesh.scopes() as u64));
    }
}

fn change(event: &ConfigEvent) -> Option<(rutter_api::ConfigKey, ConfigChange)> {
    match event {
        ConfigEvent::Put(stored) => typed(stored).map(|config| (config.key.clone(), ConfigChange::Put(config))),
        ConfigEvent::Delete(key) => Some((key.clone(), ConfigChange::Delete)),
    }
}

/// A stored object in its typed form. One that this version no longer takes is left out, and said so.
fn typed(stored: &Stored) -> Option<Arc<Config>> {
    match Config::from_json(stored.key.clone(), &stored.json) {
        Ok(config) => Some(Arc::new(Config { created: stored.created, ..config })),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            error!(object = %stored.key, error = faults.join("; "), "a stored object is no longer valid and is left out");
            None
        }
    }
}
