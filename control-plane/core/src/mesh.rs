//! The whole computation as one value: config goes in, and every sidecar's view is kept up to date.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::Sidecar;
use rutter_api::{Config, ConfigKey, Kind, ResourceType, SidecarNode};

use crate::debounce::ConfigBatch;
use crate::edges::unlink;
use crate::encode::route::RouteTables;
use crate::inbound::{OwnEncoder, OwnPiece};
use crate::index::{IndexDelta, MeshIndex, MeshSettings, sidecar};
use crate::scope::{ScopeId, ScopeKey, ScopeTable, Spread};
use crate::snapshot::View;

/// Names a connected sidecar. Two connections of one sidecar are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

#[derive(Debug)]
struct Node {
    sidecar: Arc<SidecarNode>,
    scope: ScopeId,
    view: View,
    /// Kept so that others may share it.
    own: Option<Arc<OwnPiece>>,
}

/// How much was done, to show that work follows the change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Hosts of scopes that were looked at.
    pub visits: u64,
    /// Pieces that were encoded: the clusters, load assignments or virtual host of one service.
    pub encodes: u64,
    /// Route tables and listeners of a port put together.
    pub tables: u64,
    /// Sets of resources of a sidecar's own that were made.
    pub own: u64,
}

/// The mesh as every sidecar sees it.
#[derive(Debug, Default)]
pub struct Mesh {
    index: MeshIndex,
    scopes: ScopeTable,
    nodes: HashMap<NodeId, Node>,
    last_node: u64,
    by_namespace: HashMap<Arc<str>, BTreeSet<NodeId>>,
    by_address: HashMap<IpAddr, BTreeSet<NodeId>>,
    by_scope: HashMap<ScopeId, BTreeSet<NodeId>>,
    own: OwnEncoder,
    /// Of sidecars that went, since the last sweep and the one before: they are likely to come back.
    resting: [Vec<Arc<OwnPiece>>; 2],
    revision: u64,
}

impl Mesh {
    /// An empty mesh.
    pub fn new(settings: MeshSettings) -> Self {
        Self { index: MeshIndex::new(settings), ..Self::default() }
    }

    /// One in which no scope shares anything with another: what each should see, found the simple way.
    pub fn flat(settings: MeshSettings) -> Self {
        Self { scopes: ScopeTable::flat(), ..Self::new(settings) }
    }

    /// The same, which builds large scopes on several threads.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        self.scopes.encoder.spread = Some(spread);
        self
    }

    /// The config that it is made from.
    pub fn index(&self) -> &MeshIndex {
        &self.index
    }

    /// The store's revision that it has taken in.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many scopes there are.
    pub fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// The work done so far.
    pub fn work(&self) -> Work {
        let encoder = self.scopes.encoder();
        Work { visits: encoder.visits, encodes: encoder.encodes(), tables: encoder.tables, own: self.own.made }
    }

    /// What a sidecar sees now.
    pub fn view(&self, id: NodeId) -> Option<&View> {
        self.nodes.get(&id).map(|node| &node.view)
    }

    /// The objects that a resource of a sidecar is made from.
    pub fn sources(&self, id: NodeId, kind: ResourceType, name: &str) -> BTreeSet<ConfigKey> {
        let scope = self.nodes.get(&id).and_then(|node| self.scopes.get(node.scope));
        scope.map(|scope| scope.sources(&self.index, kind, name)).unwrap_or_default()
    }

    /// Every sidecar and what it sees.
    pub fn sidecars(&self) -> impl Iterator<Item = (&Arc<SidecarNode>, &View)> {
        self.nodes.values().map(|node| (&node.sidecar, &node.view))
    }

    /// A sidecar came.
    pub fn connect(&mut self, sidecar: impl Into<Arc<SidecarNode>>) -> NodeId {
        let sidecar = sidecar.into();
        self.last_node += 1;
        let id = NodeId(self.last_node);
        self.by_namespace.entry(sidecar.namespace.clone()).or_default().insert(id);
        for ip in &sidecar.addresses {
            self.by_address.entry(*ip).or_default().insert(id);
        }
        let scope = self.scopes.enter(&self.scope_key(&sidecar), &self.index);
        self.by_scope.entry(scope).or_default().insert(id);
        let (base, shared) = self.scopes.layers(scope).unwrap_or_default();
        let view = View { base, shared, own: Arc::default(), revision: self.revision, since: None };
        self.nodes.insert(id, Node { sidecar, scope, view, own: None });
        self.rebuild_own(id);
        id
    }

    /// A sidecar went. Its scope stays for a while: it is likely to come back.
    pub fn disconnect(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        unlink(&mut self.by_namespace, &node.sidecar.namespace, id);
        for ip in &node.sidecar.addresses {
            unlink(&mut self.by_address, ip, id);
        }
        unlink(&mut self.by_scope, &node.scope, id);
        self.resting[0].extend(node.own);
    }

    /// Drops the scopes that no sidecar is in.
    pub fn sweep(&mut self) {
        self.resting[1] = std::mem::take(&mut self.resting[0]);
        let in_use = self.by_scope.keys().copied().collect();
        self.scopes.retain(&in_use);
    }

    /// Takes a batch of changes in; the sidecars whose view is another now.
    pub fn apply(&mut self, batch: &ConfigBatch) -> BTreeSet<NodeId> {
        self.revision = self.revision.max(batch.revision);
        let delta = self.index.apply(batch);
        let scopes = self.scopes.apply(&delta, &self.index);
        let mut changed = BTreeSet::new();
        for scope in scopes.changed {
            if self.look_again(scope) {
                changed.extend(self.by_scope.get(&scope).into_iter().flatten());
            }
        }
        let mut own = self.with_other_own(&delta);
        for id in scopes.listeners_moved.iter().filter_map(|scope| self.by_scope.get(scope)).flatten() {
            let bound = |node: &Node| node.sidecar.interception == rutter_api::node::Interception::None;
            if self.nodes.get(id).is_some_and(bound) {
                own.insert(*id);
            }
        }
        for id in self.with_other_sidecar(&delta) {
            own.insert(id);
            if self.move_scope(id) {
                changed.insert(id);
            }
        }
        changed.extend(own.into_iter().filter(|id| self.rebuild_own(*id)).collect::<Vec<_>>());
        for id in &changed {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            node.view.revision = batch.revision;
            node.view.since = batch.since;
        }
        changed
    }

    /// Gives the sidecars of a scope its latest snapshots; whether these differ from those of before.
    fn look_again(&mut self, scope: ScopeId) -> bool {
        let Some((base, shared)) = self.scopes.layers(scope) else { return false };
        let ids = self.by_scope.get(&scope).into_iter().flatten();
        let mut differs = None;
        for id in ids {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            let old = node.view.clone();
            node.view.base = base.clone();
            node.view.shared = shared.clone();
            // All sidecars of a scope had the same.
            differs.get_or_insert_with(|| node.view.differs_from(&old));
        }
        differs.unwrap_or_default()
    }

    fn with_other_own(&self, delta: &IndexDelta) -> BTreeSet<NodeId> {
        delta.addresses.iter().filter_map(|ip| self.by_address.get(ip)).flatten().copied().collect()
    }

    fn with_other_sidecar(&self, delta: &IndexDelta) -> BTreeSet<NodeId> {
        let namespaces: BTreeSet<&Arc<str>> = delta.sidecars.iter().map(|key| &key.namespace).collect();
        if namespaces.contains(&self.index.settings().root_namespace) {
            return self.nodes.keys().copied().collect();
        }
        namespaces.into_iter().filter_map(|namespace| self.by_namespace.get(namespace)).flatten().copied().collect()
    }

    fn move_scope(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let old = node.scope;
        let new = self.scopes.enter(&self.scope_key(&node.sidecar), &self.index);
        if old == new {
            return false;
        }
        unlink(&mut self.by_scope, &old, id);
        self.by_scope.entry(new).or_default().insert(id);
        let (base, shared) = self.scopes.layers(new).unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.scope = new;
            (node.view.base, node.view.shared) = (base, shared);
        }
        true
    }

    fn scope_key(&self, node: &SidecarNode) -> ScopeKey {
        let sidecar = Self::sidecar_of(&self.index, node).map(|config| config.key.clone());
        let split = node.takes_virtual_hosts && !self.index.settings().whole_route_tables;
        let tables = match split {
            _ if node.proxyless => RouteTables::PerHost,
            true => RouteTables::Split,
            false => RouteTables::Whole,
        };
        ScopeKey { namespace: node.namespace.clone(), sidecar, interception: node.interception, tables }
    }

    /// Istio's order: one that selects the workload, one for the whole namespace, the root's default.
    fn sidecar_of<'a>(index: &'a MeshIndex, node: &'a SidecarNode) -> Option<&'a Arc<Config>> {
        let root = &index.settings().root_namespace;
        let selector = |config: &Config| sidecar(config).and_then(|spec: &Sidecar| spec.workload_selector.clone());
        let own = || index.of_namespace(Kind::Sidecar, &node.namespace);
        let selecting =
            own().filter(|config| selector(config).is_some_and(|selector| selector.labels.selects(&node.labels)));
        let oldest = |config: &&Arc<Config>| (config.created, config.key.clone());
        let of_all = own().filter(|config| selector(config).is_none());
        let of_root = index.of_namespace(Kind::Sidecar, root).filter(|config| selector(config).is_none());
        selecting.min_by_key(oldest).or_else(|| of_all.min_by_key(oldest)).or_else(|| of_root.min_by_key(oldest))
    }

    /// Makes a sidecar's own resources again; true: some byte changed.
    fn rebuild_own(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let Some(scope) = self.scopes.get(node.scope) else { return false };
        let spec = Self::sidecar_of(&self.index, &node.sidecar).and_then(|config| sidecar(config));
        let listeners = scope.bound_listeners(self.scopes.base_of(node.scope));
        let piece = self.own.own_piece(&self.index, (&node.sidecar, spec), listeners);
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        let differs = piece.snapshot.differs_from(&node.view.own);
        node.view.own = piece.snapshot.clone();
        node.own = Some(piece);
        differs
    }
}

#[cfg(test)]
pub(crate) mod tests;
