//! All scopes, and the reverse edges by which a change finds those that see it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname};

use super::layers::Layers;
use super::{Encoder, Inputs, Refreshed, Scope, ScopeKey};
use crate::edges::unlink;
use crate::index::{ExportTo, IndexDelta, MeshIndex, Service, ServiceKey, virtual_service};
use crate::snapshot::ScopeSnapshot;

/// Names a scope for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(u64);

/// The hosts to look at again, by scope.
pub(super) type Dirty = BTreeMap<ScopeId, BTreeSet<Hostname>>;

/// Every scope that some sidecar is in, or was lately.
#[derive(Debug, Default)]
pub struct ScopeTable {
    pub(super) scopes: BTreeMap<ScopeId, Scope>,
    by_key: HashMap<ScopeKey, ScopeId>,
    pub(super) last_id: u64,
    /// Scopes whose egress names a namespace.
    watching: HashMap<Arc<str>, BTreeSet<ScopeId>>,
    /// Scopes whose egress is about all namespaces.
    watching_all: BTreeSet<ScopeId>,
    /// Scopes by their own namespace.
    of_namespace: HashMap<Arc<str>, BTreeSet<ScopeId>>,
    /// Scopes in which a service is selected.
    selected: HashMap<ServiceKey, BTreeSet<ScopeId>>,
    /// Scopes by the Sidecar object that they are made from.
    by_sidecar: HashMap<ConfigKey, BTreeSet<ScopeId>>,
    /// Restricted scopes that see a host only because some rule sends there.
    inferring: HashMap<Hostname, BTreeSet<ScopeId>>,
    /// The worlds that scopes which restrict nothing lie over.
    pub(super) layers: Layers,
    /// What scopes that lie over no base have under them.
    nothing: Arc<ScopeSnapshot>,
    /// Whether every scope stands alone, however much of it others have too: for comparison.
    is_flat: bool,
    pub(crate) encoder: Encoder,
}

/// Scopes that a batch changed.
#[derive(Debug, Default)]
pub struct ScopeDelta {
    /// Some resource has other bytes.
    pub changed: BTreeSet<ScopeId>,
    /// Some port appeared, went or changed its use.
    pub listeners_moved: BTreeSet<ScopeId>,
}

impl ScopeDelta {
    pub(super) fn note(&mut self, id: ScopeId, refreshed: &Refreshed) {
        if refreshed.changed {
            self.changed.insert(id);
        }
        if !refreshed.ports.is_empty() {
            self.listeners_moved.insert(id);
        }
    }
}

impl ScopeTable {
    /// A scope.
    pub fn get(&self, id: ScopeId) -> Option<&Scope> {
        self.scopes.get(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.scopes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// The work done so far.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// A table of which every scope stands alone.
    pub(crate) fn flat() -> Self {
        Self { is_flat: true, ..Self::default() }
    }

    /// What a scope and its base have.
    pub fn layers(&self, id: ScopeId) -> Option<(Arc<ScopeSnapshot>, Arc<ScopeSnapshot>)> {
        let scope = self.scopes.get(&id)?;
        let base = self.base_of(id).map_or(&self.nothing, |base| &base.snapshot).clone();
        Some((base, scope.snapshot.clone()))
    }

    /// What a scope lies over.
    pub(crate) fn base_of(&self, id: ScopeId) -> Option<&Scope> {
        self.layers.bases.get(&self.scopes.get(&id)?.base?)
    }

    /// The scope of a key, built where it is new.
    pub fn enter(&mut self, key: &ScopeKey, index: &MeshIndex) -> ScopeId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        self.last_id += 1;
        let id = ScopeId(self.last_id);
        self.by_key.insert(key.clone(), id);
        if let Some(sidecar) = &key.sidecar {
            self.by_sidecar.entry(sidecar.clone()).or_default().insert(id);
        }
        let scope = Scope::new(key.clone(), index, id.0);
        let base = scope.base_key().filter(|_| !self.is_flat);
        self.scopes.insert(id, scope);
        if let Some(base) = base {
            self.lay_over(id, base, index);
            return id;
        }
        self.of_namespace.entry(key.namespace.clone()).or_default().insert(id);
        self.watch(id, true);
        let hosts = self.admitted(id, index);
        self.refresh([(id, hosts)].into(), index);
        id
    }

    /// Drops the scopes that `in_use` does not name.
    pub fn retain(&mut self, in_use: &BTreeSet<ScopeId>) {
        let unused: Vec<ScopeId> = self.scopes.keys().filter(|id| !in_use.contains(id)).copied().collect();
        unused.into_iter().for_each(|id| self.drop_scope(id));
        self.drop_bases();
    }

    fn drop_scope(&mut self, id: ScopeId) {
        self.watch(id, false);
        let Some(scope) = self.scopes.remove(&id) else { return };
        self.by_key.remove(&scope.key);
        if let Some(sidecar) = &scope.key.sidecar {
            unlink(&mut self.by_sidecar, sidecar, id);
        }
        if scope.base.is_some() {
            self.layers.forget(id, &scope);
            return;
        }
        unlink(&mut self.of_namespace, &scope.key.namespace, id);
        for key in scope.hosts.values().flatten().filter_map(|unit| unit.service_key()) {
            unlink(&mut self.selected, key, id);
        }
        for host in scope.inferred.keys() {
            unlink(&mut self.inferring, host, id);
        }
    }

    /// Brings the scopes that see a change up to date, and no others.
    pub fn apply(&mut self, delta: &IndexDelta, index: &MeshIndex) -> ScopeDelta {
        let mut dirty = Dirty::new();
        for sidecar in &delta.sidecars {
            self.reread(sidecar, index, &mut dirty);
        }
        for rule in &delta.virtual_services {
            self.rule_changed(rule, index, &mut dirty);
        }
        for (host, definitions) in &delta.services {
            for service in definitions {
                self.mark(self.interested(service.namespace(), &service.export_to), host, &mut dirty);
                self.mark(self.selected.get(&service.key).cloned().unwrap_or_default(), host, &mut dirty);
            }
            self.mark(self.inferring.get(host).cloned().unwrap_or_default(), host, &mut dirty);
            for rule in index.virtual_services_to(host) {
                self.mark_routed(rule, index, &mut dirty);
            }
        }
        for key in &delta.endpoints {
            self.mark(self.selected.get(key).cloned().unwrap_or_default(), &key.host, &mut dirty);
        }
        for (host, namespace) in &delta.rules {
            self.policy_changed(host, namespace, index, &mut dirty);
        }
        let mut changed = self.refresh(dirty, index);
        self.apply_layered(delta, index, &mut changed);
        changed
    }

    fn refresh(&mut self, dirty: Dirty, index: &MeshIndex) -> ScopeDelta {
        let mut delta = ScopeDelta::default();
        for (id, hosts) in dirty {
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            let from = Inputs { index, base: None };
            let refreshed = scope.refresh(from, &hosts, &Refreshed::default(), &mut self.encoder);
            for (before, after) in &refreshed.reselected {
                before.iter().for_each(|key| unlink(&mut self.selected, key, id));
                if let Some(key) = after {
                    self.selected.entry(key.clone()).or_default().insert(id);
                }
            }
            delta.note(id, &refreshed);
        }
        delta
    }

    fn mark(&self, scopes: BTreeSet<ScopeId>, host: &Hostname, dirty: &mut Dirty) {
        for id in scopes {
            dirty.entry(id).or_default().insert(host.clone());
        }
    }

    /// Scopes that might see an object of a namespace.
    fn interested(&self, namespace: &Arc<str>, export_to: &ExportTo) -> BTreeSet<ScopeId> {
        let watching = self.watching.get(namespace).into_iter().flatten().chain(&self.watching_all).copied();
        match export_to {
            ExportTo::All => watching.collect(),
            ExportTo::Namespaces(names) => {
                let reached = names.iter().filter_map(|name| self.of_namespace.get(name)).flatten();
                let watches = |id: &&ScopeId| {
                    self.watching_all.contains(id) || self.watching.get(namespace).is_some_and(|ids| ids.contains(id))
                };
                reached.filter(watches).copied().collect()
            }
        }
    }

    /// Marks the hosts that a rule is about, wherever it is seen.
    fn mark_routed(&self, rule: &Config, index: &MeshIndex, dirty: &mut Dirty) {
        let Some(spec) = virtual_service(rule) else { return };
        let scopes = self.interested(&rule.key.namespace, &ExportTo::new(&spec.export_to, &rule.key.namespace));
        for host in index.virtual_service_hosts(rule) {
            if !host.is_wildcard() {
                self.mark(scopes.clone(), &host, dirty);
                continue;
            }
            let covered: Vec<&Hostname> = index.covered_by(&host).collect();
            for id in &scopes {
                let Some(scope) = self.scopes.get(id) else { continue };
                let hosts = covered.iter().copied().filter(|one| scope.hosts.contains_key(*one));
                dirty.entry(*id).or_default().extend(hosts.cloned());
            }
        }
    }

    /// A rule, as it was or as it is, is no more or is now: restricted scopes see what it sends to.
    fn rule_changed(&mut self, rule: &Arc<Config>, index: &MeshIndex, dirty: &mut Dirty) {
        self.mark_routed(rule, index, dirty);
        let Some(spec) = virtual_service(rule) else { return };
        let scopes = self.interested(&rule.key.namespace, &ExportTo::new(&spec.export_to, &rule.key.namespace));
        for id in scopes {
            self.widen(id, rule, index, dirty);
        }
    }

    fn widen(&mut self, id: ScopeId, rule: &Arc<Config>, index: &MeshIndex, dirty: &mut Dirty) {
        let Some(scope) = self.scopes.get_mut(&id).filter(|scope| !scope.egress.is_everything()) else { return };
        let now = index.config(&rule.key).filter(|config| scope.sees_rule(index, config)).cloned();
        let before = match &now {
            Some(config) => scope.widening.insert(rule.key.clone(), config.clone()),
            None => scope.widening.remove(&rule.key),
        };
        if before == now {
            return;
        }
        let hosts =
            |config: &Option<Arc<Config>>| config.iter().flat_map(|c| index.destinations(c)).collect::<BTreeSet<_>>();
        let (before, now) = (hosts(&before), hosts(&now));
        for host in now {
            *scope.inferred.entry(host.clone()).or_default() += 1;
            self.inferring.entry(host.clone()).or_default().insert(id);
            dirty.entry(id).or_default().insert(host);
        }
        for host in before {
            let left = scope.inferred.remove(&host).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                scope.inferred.insert(host.clone(), left);
            } else {
                unlink(&mut self.inferring, &host, id);
            }
            dirty.entry(id).or_default().insert(host);
        }
    }

    /// A DestinationRule of a namespace works there, at the services of that namespace, and from the root.
    fn policy_changed(&self, host: &Hostname, namespace: &Arc<str>, index: &MeshIndex, dirty: &mut Dirty) {
        let is_root = *namespace == index.settings().root_namespace;
        let covered = index.covered_by(host).filter(|one| *one != host);
        let services: Vec<&Arc<Service>> =
            [host].into_iter().chain(covered).flat_map(|one| index.definitions(one)).collect();
        for service in services {
            let everywhere = is_root || service.namespace() == namespace;
            let selected = self.selected.get(&service.key).into_iter().flatten();
            let here = |id: &&ScopeId| {
                everywhere || self.scopes.get(id).is_some_and(|scope| scope.key.namespace == *namespace)
            };
            self.mark(selected.filter(here).copied().collect(), &service.key.host, dirty);
        }
    }

    /// A Sidecar changed: the scopes made from it read it again.
    fn reread(&mut self, sidecar: &ConfigKey, index: &MeshIndex, dirty: &mut Dirty) {
        if index.config(sidecar).is_none() {
            // Its sidecars are moved to another scope.
            return;
        }
        for id in self.by_sidecar.get(sidecar).cloned().unwrap_or_default() {
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            let fresh = Scope::new(scope.key.clone(), index, 0);
            if fresh.base_key().filter(|_| !self.is_flat) != scope.base {
                // Built anew when its sidecars are moved to it.
                self.drop_scope(id);
                continue;
            }
            if scope.base.is_some() {
                continue;
            }
            let before = (scope.egress.clone(), scope.allow_any);
            scope.read_sidecar(index);
            if before == (scope.egress.clone(), scope.allow_any) {
                continue;
            }
            scope.is_fallback_stale |= before.1 != scope.allow_any;
            let mut hosts: BTreeSet<Hostname> = scope.hosts.keys().cloned().collect();
            let egress = std::mem::replace(&mut scope.egress, before.0);
            self.watch(id, false);
            if let Some(scope) = self.scopes.get_mut(&id) {
                scope.egress = egress;
            }
            self.watch(id, true);
            hosts.extend(self.admitted(id, index));
            dirty.entry(id).or_default().extend(hosts);
        }
    }

    /// Registers, or unregisters, what a scope's egress is about.
    fn watch(&mut self, id: ScopeId, add: bool) {
        let Some(scope) = self.scopes.get(&id).filter(|scope| scope.base.is_none()) else { return };
        match scope.egress.namespaces() {
            None if add => {
                self.watching_all.insert(id);
            }
            None => {
                self.watching_all.remove(&id);
            }
            Some(names) => {
                for name in names {
                    if add {
                        self.watching.entry(name.clone()).or_default().insert(id);
                    } else {
                        unlink(&mut self.watching, name, id);
                    }
                }
            }
        }
    }

    /// Every host that the scope's egress may admit, and those that its rules send to.
    fn admitted(&mut self, id: ScopeId, index: &MeshIndex) -> BTreeSet<Hostname> {
        let Some(scope) = self.scopes.get_mut(&id) else { return BTreeSet::new() };
        for host in std::mem::take(&mut scope.inferred).into_keys() {
            unlink(&mut self.inferring, &host, id);
        }
        scope.widening.clear();
        let mut hosts: BTreeSet<Hostname> = match scope.egress.namespaces() {
            None => index.hosts().chain(index.routed_hosts()).cloned().collect(),
            Some(names) => names.into_iter().flat_map(|name| index.hosts_of_namespace(name)).cloned().collect(),
        };
        let rules: Vec<Arc<Config>> = scope.rules_in_egress(index);
        for rule in rules {
            hosts.extend(index.virtual_service_hosts(&rule).into_iter().filter(|host| !host.is_wildcard()));
            let mut dirty = Dirty::new();
            self.widen(id, &rule, index, &mut dirty);
            hosts.extend(dirty.into_values().flatten());
        }
        hosts
    }
}

impl Scope {
    /// VirtualServices in the namespaces of a restricted egress.
    fn rules_in_egress(&self, index: &MeshIndex) -> Vec<Arc<Config>> {
        let kind = rutter_api::Kind::VirtualService;
        if self.egress.is_everything() {
            return Vec::new();
        }
        let all: Vec<Arc<Config>> = match self.egress.namespaces() {
            None => index.configs().filter(|config| config.key.kind == kind).cloned().collect(),
            Some(names) => names.into_iter().flat_map(|name| index.of_namespace(kind, name)).cloned().collect(),
        };
        all.into_iter().filter(|rule| self.sees_rule(index, rule)).collect()
    }
}
