//! The whole computation as one value: config goes in, and every client's view is kept up to date.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::node::Role;
use rutter_api::{ConfigKey, ResourceType, SidecarNode};

use crate::analysis::{Analysis, Analyzer, Before, Finding};
use crate::client::ClientClass;
use crate::copy_on_write::CopyOnWrite;
use crate::debounce::{ConfigBatch, ConfigChange};
use crate::edges::{link, unlink};
use crate::index::{IndexDelta, MeshIndex};
use crate::scope::{Scope, ScopeId, ScopeKey, ScopeTable, Spread, sources};
use crate::settings::MeshSettings;
use crate::snapshot::View;
use crate::workload::{SidecarEncoder, SidecarResources};

/// Names one open xDS stream. A client with several streams, such as a gRPC library with a stream for each target, has a
/// number for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

#[derive(Debug, Clone)]
struct Node {
    node: Arc<SidecarNode>,
    scope: ScopeId,
    view: View,
    /// What the lowest layer of the view comes from. It is held so that others can share it.
    resources: SidecarResources,
}

/// How much was done. The counts show that work follows the change and not the size of the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The number of times that a host of a scope was looked at.
    pub visits: u64,
    /// The number of things that were encoded: the clusters, the load assignments or the virtual host of one service
    /// count as one each.
    pub encodes: u64,
    /// The number of times that the listener and the route table of a port were put together.
    pub tables: u64,
    /// The number of times that the resources of a sidecar's own layer were encoded: the clusters that lead to its
    /// application, and the listeners that it binds.
    pub sidecars: u64,
}

/// The mesh as every client sees it.
#[derive(Debug, Default)]
pub struct Mesh {
    index: MeshIndex,
    scopes: ScopeTable,
    nodes: CopyOnWrite<HashMap<NodeId, Node>>,
    last_node: u64,
    by_namespace: CopyOnWrite<HashMap<Arc<str>, BTreeSet<NodeId>>>,
    by_address: CopyOnWrite<HashMap<IpAddr, BTreeSet<NodeId>>>,
    by_scope: CopyOnWrite<HashMap<ScopeId, BTreeSet<NodeId>>>,
    /// The clients that are gateways.
    gateways: CopyOnWrite<BTreeSet<NodeId>>,
    sidecar_encoder: SidecarEncoder,
    /// What is wrong with the config, if that is followed.
    analysis: Option<Analysis>,
    /// The resources of sidecars that went since the last sweep, and between that and the one before. Such sidecars are
    /// likely to come back. Holding them keeps the encodings alive, so that a sidecar which reconnects costs no
    /// encoding.
    resting: [Vec<SidecarResources>; 2],
    revision: u64,
}

impl Mesh {
    /// Returns a mesh without config and without clients.
    pub fn new(settings: MeshSettings) -> Self {
        Self { index: MeshIndex::new(settings), ..Self::default() }
    }

    /// Returns a mesh in which no scope shares anything with another. It finds what each client should see in the
    /// simplest way, and is there to compare with. The property tests, `--verify` and the fleet bench compare a mesh
    /// with this one.
    pub fn without_sharing(settings: MeshSettings) -> Self {
        Self { scopes: ScopeTable::without_sharing(), ..Self::new(settings) }
    }

    /// Lets large scopes be built on several threads.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        self.scopes.encoder.spread = Some(spread);
        self
    }

    /// Lets what is wrong with the config be followed.
    #[must_use]
    pub fn with_analysis(mut self) -> Self {
        self.analysis = Some(Analysis::default());
        self
    }

    /// Returns what is wrong with the config, as far as it is settled. `None` means that it is not followed.
    pub fn analysis(&mut self) -> Option<&mut Analysis> {
        self.analysis.as_mut()
    }

    /// Lets what is wrong with the config be followed no longer.
    #[must_use]
    pub(crate) fn without_analysis(mut self) -> Self {
        self.analysis = None;
        self
    }

    /// Returns whether what is wrong with the config is followed.
    pub fn follows_analysis(&self) -> bool {
        self.analysis.is_some()
    }

    /// Returns what is wrong with some objects, by object. Those of which nothing is wrong are left out.
    pub fn findings_of(&mut self, objects: &[ConfigKey]) -> BTreeMap<ConfigKey, Vec<Finding>> {
        let Some(analysis) = &mut self.analysis else { return BTreeMap::new() };
        analysis.settle_objects(objects.iter(), &self.index);
        let findings = objects.iter().map(|object| (object.clone(), analysis.of(object).to_vec()));
        findings.filter(|(_, findings)| !findings.is_empty()).collect()
    }

    /// Returns the objects with what is wrong with them, which is found now if it is not followed or not settled.
    pub fn analyzer(&self) -> Analyzer {
        if let Some(analysis) = &self.analysis {
            return Analyzer::of(self.index.clone(), analysis.clone());
        }
        let mut analyzer = Analyzer::new(self.index.settings().clone());
        self.nodes.values().for_each(|node| analyzer.connect(&node.node.namespace, &node.node.labels));
        let objects = self.index.configs().map(|config| (config.key.clone(), ConfigChange::Put(config.clone())));
        analyzer.apply(&ConfigBatch { changes: objects.collect(), ..ConfigBatch::default() });
        analyzer
    }

    /// Checks objects that changes can have altered, at most `most`, and returns whether none is left.
    pub fn settle_analysis(&mut self, most: usize) -> bool {
        self.analysis.as_mut().is_none_or(|analysis| analysis.settle(&self.index, most))
    }

    /// Returns a mesh that is like this one, and whose changes this one does not see. It costs a few pointers: what neither of the
    /// two writes is shared, and what one of them writes is copied then, by table and by scope.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self {
            index: self.index.clone(),
            scopes: self.scopes.branch(),
            nodes: self.nodes.clone(),
            last_node: self.last_node,
            by_namespace: self.by_namespace.clone(),
            by_address: self.by_address.clone(),
            by_scope: self.by_scope.clone(),
            gateways: self.gateways.clone(),
            sidecar_encoder: self.sidecar_encoder.branch(),
            analysis: self.analysis.clone(),
            resting: Default::default(),
            revision: self.revision,
        }
    }

    /// Returns the config of the mesh.
    pub fn index(&self) -> &MeshIndex {
        &self.index
    }

    /// Returns the latest revision of the store that was taken in.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the number of scopes.
    pub fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// Returns the work done so far.
    pub fn work(&self) -> Work {
        let encoder = self.scopes.encoder();
        Work {
            visits: encoder.visits,
            encodes: encoder.encodes(),
            tables: encoder.tables,
            sidecars: self.sidecar_encoder.encoded(),
        }
    }

    /// Returns what a client sees now.
    pub fn view(&self, id: NodeId) -> Option<&View> {
        self.nodes.get(&id).map(|node| &node.view)
    }

    /// Returns who a client is.
    pub fn node(&self, id: NodeId) -> Option<&Arc<SidecarNode>> {
        self.nodes.get(&id).map(|node| &node.node)
    }

    /// Returns the objects that a resource of a client is made from.
    pub fn sources(&self, id: NodeId, resource_type: ResourceType, name: &str) -> BTreeSet<ConfigKey> {
        let scope = self.nodes.get(&id).and_then(|node| self.scopes.get(node.scope));
        scope.map(|scope| sources(scope, &self.index, resource_type, name)).unwrap_or_default()
    }

    /// Returns the scope of a client, and the base that it lies over.
    pub(crate) fn scope_of(&self, id: NodeId) -> Option<(&Scope, Option<&Scope>)> {
        let scope = self.nodes.get(&id)?.scope;
        Some((self.scopes.get(scope)?, self.scopes.base_of(scope)))
    }

    /// Returns every scope with the clients that are in it.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Scope, &BTreeSet<NodeId>)> {
        self.by_scope.iter().filter_map(|(id, clients)| Some((self.scopes.get(*id)?, clients)))
    }

    /// Returns every client with what it sees.
    pub fn sidecars(&self) -> impl Iterator<Item = (&Arc<SidecarNode>, &View)> {
        self.nodes.values().map(|node| (&node.node, &node.view))
    }

    /// Takes in a client that connected.
    pub fn connect(&mut self, node: impl Into<Arc<SidecarNode>>) -> NodeId {
        let node = node.into();
        self.last_node += 1;
        let id = NodeId(self.last_node);
        link(&mut self.by_namespace, node.namespace.clone(), id);
        for ip in &node.addresses {
            link(&mut self.by_address, *ip, id);
        }
        if node.role == Role::Gateway {
            self.gateways.insert(id);
        }
        if let Some(analysis) = &mut self.analysis {
            analysis.connect(&node.namespace, &node.labels);
        }
        let scope = self.scopes.enter(&ScopeKey::of_node(&node, &self.index), &self.index);
        link(&mut self.by_scope, scope, id);
        let [base, layer] = self.scopes.layers(scope).unwrap_or_default();
        let view = View { base, scope: layer, sidecar: Arc::default(), revision: self.revision, since: None };
        self.nodes.insert(id, Node { node, scope, view, resources: SidecarResources::default() });
        self.encode_sidecar_again(id);
        id
    }

    /// Lets a client go that disconnected. Its scope stays until the next sweep, because the client is likely to come
    /// back. Its number is never given to another client.
    pub fn disconnect(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.gateways.remove(&id);
        if let Some(analysis) = &mut self.analysis {
            analysis.disconnect(&node.node.namespace, &node.node.labels);
        }
        unlink(&mut self.by_namespace, &node.node.namespace, &id);
        for ip in &node.node.addresses {
            unlink(&mut self.by_address, ip, &id);
        }
        unlink(&mut self.by_scope, &node.scope, &id);
        self.resting[0].push(node.resources);
    }

    /// Drops the scopes that no client is in.
    pub fn sweep(&mut self) {
        self.resting[1] = std::mem::take(&mut self.resting[0]);
        let in_use = self.by_scope.keys().copied().collect();
        self.scopes.retain(&in_use);
    }

    /// Takes a batch of changes in, and returns the clients whose view is another now. The cost follows the change and
    /// those who see it. A client is named only if some byte of its resources is another.
    pub fn apply(&mut self, batch: &ConfigBatch) -> BTreeSet<NodeId> {
        self.apply_in_stages(batch, &mut || {})
    }

    /// Does the same, and calls `indexed` between the index and the scopes, so that somebody with a clock can tell how long each takes.
    pub fn apply_in_stages(&mut self, batch: &ConfigBatch, indexed: &mut dyn FnMut()) -> BTreeSet<NodeId> {
        self.revision = self.revision.max(batch.revision);
        let before = self.analysis.as_ref().map(|_| Before::of(batch, &self.index));
        let delta = self.index.apply(batch);
        if let Some((analysis, before)) = self.analysis.as_mut().zip(before) {
            analysis.note(batch, &before, &delta, &self.index);
        }
        indexed();
        let scopes = self.scopes.apply(&delta, &self.index);
        let mut changed = BTreeSet::new();
        for scope in scopes.changed {
            changed.extend(self.renew_views(scope));
        }
        let mut stale_sidecars = self.nodes_at(&delta);
        stale_sidecars.extend(self.bound_sidecars(&scopes.listeners_moved));
        for id in self.nodes_with_other_objects(&delta) {
            stale_sidecars.insert(id);
            if self.move_scope(id) {
                changed.insert(id);
            }
        }
        for id in stale_sidecars {
            if self.encode_sidecar_again(id) {
                changed.insert(id);
            }
        }
        for id in &changed {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            node.view.revision = self.revision;
            node.view.since = batch.since;
        }
        changed
    }

    /// Gives the clients of a scope its latest snapshots, and returns them if they see anything else than before. They
    /// are compared once for the scope, not once for each client.
    fn renew_views(&mut self, scope: ScopeId) -> BTreeSet<NodeId> {
        let (Some(layers), Some(ids)) = (self.scopes.layers(scope), self.by_scope.get(&scope)) else {
            return BTreeSet::new();
        };
        let mut differs = None;
        for id in ids {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            let old = node.view.clone();
            [node.view.base, node.view.scope] = layers.clone();
            // All clients of a scope saw the same, but for what is their own.
            differs.get_or_insert_with(|| node.view.differs_from(&old));
        }
        if differs == Some(true) { ids.clone() } else { BTreeSet::new() }
    }

    /// Returns the clients at addresses that became or ceased to be an endpoint.
    fn nodes_at(&self, delta: &IndexDelta) -> BTreeSet<NodeId> {
        delta.addresses.iter().filter_map(|ip| self.by_address.get(ip)).flatten().copied().collect()
    }

    /// Returns the clients of scopes that have to bind listeners.
    fn bound_sidecars(&self, scopes: &BTreeSet<ScopeId>) -> BTreeSet<NodeId> {
        let ids = scopes.iter().filter_map(|scope| self.by_scope.get(scope)).flatten();
        let is_bound = |id: &&NodeId| {
            let node = self.nodes.get(id);
            node.is_some_and(|node| match ClientClass::new(&node.node, self.index.settings()) {
                ClientClass::BoundSidecar(_) => true,
                ClientClass::CapturedSidecar(_) | ClientClass::Grpc | ClientClass::Gateway(_) => false,
            })
        };
        ids.filter(is_bound).copied().collect()
    }

    /// Returns the clients whose workload may be selected by other objects than before.
    fn nodes_with_other_objects(&self, delta: &IndexDelta) -> BTreeSet<NodeId> {
        // A kind that selects workloads has to be taken in here, so that clients move to the scopes of other objects.
        let IndexDelta {
            sidecars,
            source_labels,
            gateways,
            locality_needs,
            mesh_defaults: _,
            capture,
            secrets: _,
            services,
            endpoints: _,
            addresses,
            destination_rules: _,
            virtual_services: _,
        } = delta;
        let namespaces: BTreeSet<&Arc<str>> = sidecars.iter().map(|key| &key.namespace).collect();
        if *locality_needs || *capture || namespaces.contains(&self.index.settings().root_namespace) {
            return self.nodes.keys().copied().collect();
        }
        let of_namespaces = namespaces.into_iter().filter_map(|namespace| self.by_namespace.get(namespace)).flatten();
        let mut nodes: BTreeSet<NodeId> = of_namespaces.copied().collect();
        if !gateways.is_empty() {
            nodes.extend(self.gateways.iter());
        }
        // The ports of a gateway follow from the services in front of it.
        let at_addresses = addresses.iter().filter_map(|ip| self.by_address.get(ip)).flatten();
        nodes.extend(at_addresses.filter(|id| self.gateways.contains(id)));
        let namespaces: BTreeSet<&Arc<str>> = services.values().flatten().map(|service| service.namespace()).collect();
        let is_in = |id: &&NodeId| self.nodes.get(id).is_some_and(|node| namespaces.contains(&node.node.namespace));
        nodes.extend(self.gateways.iter().filter(is_in));
        if !source_labels.is_empty() {
            let has_labels = |node: &Node| source_labels.iter().any(|labels| labels.selects(&node.node.labels));
            nodes.extend(self.nodes.iter().filter(|(_, node)| has_labels(node)).map(|(id, _)| *id));
        }
        nodes
    }

    /// Moves a client to the scope in which it should be, and returns whether that is another one.
    fn move_scope(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let (old, new) = (node.scope, ScopeKey::of_node(&node.node, &self.index));
        let new = self.scopes.enter(&new, &self.index);
        if old == new {
            return false;
        }
        unlink(&mut self.by_scope, &old, &id);
        link(&mut self.by_scope, new, id);
        let layers = self.scopes.layers(new).unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.scope = new;
            [node.view.base, node.view.scope] = layers;
        }
        true
    }

    /// Encodes the resources of a sidecar again, and returns whether some byte changed.
    fn encode_sidecar_again(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let Some(scope) = self.scopes.get(node.scope) else { return false };
        let listeners = || scope.bound_listeners(self.scopes.base_of(node.scope));
        let sidecar = scope.sidecar_config(&self.index);
        let resources = self.sidecar_encoder.encode(&self.index, &node.node, sidecar, listeners);
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        let differs = resources.snapshot.differs_from(&node.view.sidecar);
        node.view.sidecar = resources.snapshot.clone();
        node.resources = resources;
        differs
    }
}

#[cfg(test)]
pub(crate) mod tests;
