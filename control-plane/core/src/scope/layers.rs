//! Scopes that restrict nothing, over the world that they share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, Hostname};

use super::table::{Dirty, ScopeDelta};
use super::{BaseKey, Inputs, Refreshed, Scope, ScopeId, ScopeKey, ScopeTable, rivals};
use crate::edges::unlink;
use crate::encode::route::RouteTables;
use crate::index::{IndexDelta, MeshIndex};

/// The bases, and the edges to what lies over them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) bases: BTreeMap<BaseKey, Scope>,
    /// Scopes by their base.
    over: HashMap<BaseKey, BTreeSet<ScopeId>>,
    /// Scopes by the hosts that they do not take from their base.
    overlaid: HashMap<Hostname, BTreeSet<ScopeId>>,
    /// Scopes by their namespace.
    of_namespace: HashMap<Arc<str>, BTreeSet<ScopeId>>,
}

impl Layers {
    pub(super) fn forget(&mut self, id: ScopeId, scope: &Scope) {
        unlink(&mut self.of_namespace, &scope.key.namespace, id);
        if let Some(base) = &scope.base {
            unlink(&mut self.over, base, id);
        }
        for host in scope.hosts.keys().chain(scope.contested.keys()) {
            unlink(&mut self.overlaid, host, id);
        }
    }

    /// The scopes over a base, and the hosts that each has to look at.
    fn dirty(&self, base: &BaseKey, hosts: &BTreeSet<Hostname>, moved: &Refreshed, index: &MeshIndex) -> Dirty {
        let Some(over) = self.over.get(base) else { return Dirty::new() };
        let mut dirty = Dirty::new();
        let mut mark = |ids: Option<&BTreeSet<ScopeId>>, host: &Hostname| {
            for id in ids.into_iter().flatten().filter(|id| over.contains(id)) {
                dirty.entry(*id).or_default().insert(host.clone());
            }
        };
        for host in hosts {
            mark(self.overlaid.get(host), host);
            for namespace in index.special_namespaces(host) {
                mark(self.of_namespace.get(&namespace), host);
            }
        }
        for (host, addresses) in &moved.renamed {
            // Whoever has one of these for itself may share out their domains otherwise than the base does.
            let mut group = rivals(index, host, addresses);
            group.insert(host.clone());
            let ids: BTreeSet<ScopeId> =
                group.iter().filter_map(|one| self.overlaid.get(one)).flatten().copied().collect();
            group.iter().for_each(|one| mark(Some(&ids), one));
        }
        if !moved.uses.is_empty() || !moved.addressed.is_empty() {
            for id in over {
                dirty.entry(*id).or_default();
            }
        }
        dirty
    }
}

impl ScopeTable {
    /// Lays a new scope over a base, which is built where there is none.
    pub(super) fn lay_over(&mut self, id: ScopeId, base: BaseKey, index: &MeshIndex) {
        if !self.layers.bases.contains_key(&base) {
            self.last_id += 1;
            let scope = self.build_base(base, index);
            self.layers.bases.insert(base, scope);
        }
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        scope.base = Some(base);
        let namespace = scope.key.namespace.clone();
        self.layers.over.entry(base).or_default().insert(id);
        let hosts = index.special_hosts(&namespace);
        self.layers.of_namespace.entry(namespace).or_default().insert(id);
        self.refresh_over([(id, hosts)].into(), &Refreshed::default(), index);
    }

    fn build_base(&mut self, base: BaseKey, index: &MeshIndex) -> Scope {
        let key = ScopeKey {
            namespace: "".into(),
            sidecar: None,
            interception: base.interception,
            tables: RouteTables::Split,
        };
        let mut scope = Scope::new(key, index, self.last_id);
        scope.allow_any = base.allow_any;
        let hosts = index.hosts().chain(index.routed_hosts()).cloned().collect();
        scope.refresh(Inputs { index, base: None }, &hosts, &Refreshed::default(), &mut self.encoder);
        scope
    }

    pub(super) fn drop_bases(&mut self) {
        let over = &self.layers.over;
        self.layers.bases.retain(|base, _| over.contains_key(base));
    }

    /// Brings the bases up to date, and then those scopes over them that see any of it otherwise.
    pub(super) fn apply_layered(&mut self, delta: &IndexDelta, index: &MeshIndex, changed: &mut ScopeDelta) {
        if self.layers.bases.is_empty() {
            return;
        }
        let hosts = dirty_hosts(delta, index);
        let bases: Vec<BaseKey> = self.layers.bases.keys().copied().collect();
        for key in bases {
            let Some(base) = self.layers.bases.get_mut(&key) else { continue };
            let moved = base.refresh(Inputs { index, base: None }, &hosts, &Refreshed::default(), &mut self.encoder);
            let dirty = self.layers.dirty(&key, &hosts, &moved, index);
            for id in
                self.layers.over.get(&key).into_iter().flatten().filter(|_| moved.changed || !moved.ports.is_empty())
            {
                changed.note(*id, &moved);
            }
            let more = self.refresh_over(dirty, &moved, index);
            changed.changed.extend(more.changed);
            changed.listeners_moved.extend(more.listeners_moved);
        }
    }

    fn refresh_over(&mut self, dirty: Dirty, moved: &Refreshed, index: &MeshIndex) -> ScopeDelta {
        let mut delta = ScopeDelta::default();
        for (id, hosts) in dirty {
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            let base = scope.base.and_then(|base| self.layers.bases.get(&base));
            let refreshed = scope.refresh(Inputs { index, base }, &hosts, moved, &mut self.encoder);
            for host in &refreshed.looked {
                if scope.is_over(host) {
                    self.layers.overlaid.entry(host.clone()).or_default().insert(id);
                } else {
                    unlink(&mut self.layers.overlaid, host, id);
                }
            }
            delta.note(id, &refreshed);
        }
        delta
    }
}

/// The hosts that a change may alter for a client that sees everything.
fn dirty_hosts(delta: &IndexDelta, index: &MeshIndex) -> BTreeSet<Hostname> {
    let mut all: BTreeSet<Hostname> = delta.services.keys().cloned().collect();
    all.extend(delta.endpoints.iter().map(|key| key.host.clone()));
    let routed = delta.services.keys().flat_map(|host| index.virtual_services_to(host));
    let rules: Vec<&Arc<Config>> = routed.chain(&delta.virtual_services).collect();
    let patterns = rules.into_iter().flat_map(|rule| index.virtual_service_hosts(rule));
    let patterns: BTreeSet<Hostname> = patterns.chain(delta.rules.iter().map(|(host, _)| host.clone())).collect();
    for pattern in patterns {
        all.extend(index.covered_by(&pattern).cloned());
        all.insert(pattern);
    }
    all
}
