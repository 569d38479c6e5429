//! All scopes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname};

use super::affected::{Export, affected};
use super::bases::Bases;
use super::delta::{ScopeDelta, StaleHosts};
use super::encoder::Encoder;
use super::gateway_table::servers_seen;
use super::key::{BaseKey, ScopeId, ScopeKey};
use super::refresh::{Refreshed, Surroundings, refresh};
use super::reverse_edges::ReverseEdges;
use super::state::{Scope, Scopes};
use crate::copy_on_write::CopyOnWrite;
use crate::index::{IndexDelta, MeshIndex};
use crate::model::{ExportTo, bound_gateways, redirecting_hosts};
use crate::snapshot::Snapshot;
use crate::visibility::WorkloadObjects;

/// Whether scopes may lie over bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sharing {
    /// Scopes that restrict nothing share a base.
    #[default]
    OverBases,
    /// Every scope stands alone, whatever it has in common with others.
    Nothing,
}

/// Every scope that some client is in, or was in lately.
#[derive(Debug, Default)]
pub struct ScopeTable {
    scopes: Scopes,
    by_key: CopyOnWrite<HashMap<ScopeKey, ScopeId>>,
    last_id: u64,
    pub(super) edges: CopyOnWrite<ReverseEdges>,
    bases: CopyOnWrite<Bases>,
    /// What lies under scopes that stand alone.
    nothing: Arc<Snapshot>,
    sharing: Sharing,
    /// Scopes that were dropped and whose clients come to others, which find again what is encoded for these.
    retired: Vec<CopyOnWrite<Scope>>,
    pub(crate) encoder: Encoder,
}

impl ScopeTable {
    /// Returns a table in which every scope stands alone.
    pub(crate) fn without_sharing() -> Self {
        Self { sharing: Sharing::Nothing, ..Self::default() }
    }

    /// Returns a table with the same scopes, whose changes this one does not see. What is encoded for one is found by the other.
    pub(crate) fn branch(&self) -> Self {
        Self {
            scopes: self.scopes.clone(),
            by_key: self.by_key.clone(),
            last_id: self.last_id,
            edges: self.edges.clone(),
            bases: self.bases.clone(),
            nothing: self.nothing.clone(),
            sharing: self.sharing,
            retired: Vec::new(),
            encoder: self.encoder.branch(),
        }
    }

    /// Returns a scope, or `None` if it was dropped.
    pub fn get(&self, id: ScopeId) -> Option<&Scope> {
        self.scopes.get(&id).map(|scope| &**scope)
    }

    /// Returns the number of scopes.
    pub fn len(&self) -> usize {
        self.scopes.len()
    }

    /// Returns whether there is no scope.
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Returns the encoder of all scopes, which counts the work.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Returns the snapshots of a scope: first that of its base, then its own.
    pub fn layers(&self, id: ScopeId) -> Option<[Arc<Snapshot>; 2]> {
        let scope = self.scopes.get(&id)?;
        let base = self.base_of(id).map_or(&self.nothing, |base| &base.snapshot);
        Some([base.clone(), scope.snapshot.clone()])
    }

    /// Returns the base that a scope lies over.
    pub(crate) fn base_of(&self, id: ScopeId) -> Option<&Scope> {
        self.bases.get(self.scopes.get(&id)?.base.as_ref()?)
    }

    /// Returns the scope of a key, which is built if there is none yet.
    pub fn enter(&mut self, key: &ScopeKey, index: &MeshIndex) -> ScopeId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        self.last_id += 1;
        let id = ScopeId(self.last_id);
        self.by_key.insert(key.clone(), id);
        let WorkloadObjects { sidecar, egress_from, source_labels: _, gateways, target_ports: _ } = &key.objects;
        sidecar.iter().chain(egress_from).for_each(|sidecar| self.edges.link_sidecar(sidecar, id));
        gateways.iter().for_each(|gateway| self.edges.link_gateway(gateway, id));
        let mut scope = Scope::new(key.clone(), index, id.0);
        scope.base = self.base_for(&scope);
        if scope.base.is_some() {
            self.bases.lay_over(id, &mut scope, index, &mut self.encoder);
            self.scopes.insert(id, CopyOnWrite::new(scope));
            return id;
        }
        self.edges.link_namespace(&key.namespace, id);
        self.edges.link_egress(&scope.egress, id);
        self.scopes.insert(id, CopyOnWrite::new(scope));
        let hosts = self.admitted_hosts(id, index);
        self.refresh([(id, hosts)].into(), index);
        id
    }

    fn base_for(&self, scope: &Scope) -> Option<BaseKey> {
        match self.sharing {
            Sharing::OverBases => scope.wanted_base(),
            Sharing::Nothing => None,
        }
    }

    /// Drops the scopes that `in_use` does not name.
    pub fn retain(&mut self, in_use: &BTreeSet<ScopeId>) {
        let unused: Vec<ScopeId> = self.scopes.keys().filter(|id| !in_use.contains(id)).copied().collect();
        unused.into_iter().for_each(|id| self.drop_scope(id));
        self.retired.clear();
        self.bases.drop_unused();
    }

    fn drop_scope(&mut self, id: ScopeId) {
        drop(self.take_out(id));
    }

    fn take_out(&mut self, id: ScopeId) -> Option<CopyOnWrite<Scope>> {
        let scope = self.scopes.remove(&id)?;
        self.by_key.remove(&scope.key);
        let WorkloadObjects { sidecar, egress_from, source_labels: _, gateways, target_ports: _ } = &scope.key.objects;
        sidecar.iter().chain(egress_from).for_each(|sidecar| self.edges.unlink_sidecar(sidecar, id));
        gateways.iter().for_each(|gateway| self.edges.unlink_gateway(gateway, id));
        match scope.base {
            Some(_) => self.bases.forget(&scope, id),
            None => self.edges.forget(&scope, id),
        }
        Some(scope)
    }

    /// Brings the scopes that a change concerns up to date, and no others.
    pub fn apply(&mut self, delta: &IndexDelta, index: &MeshIndex) -> ScopeDelta {
        // What is not read here is about hosts, see `affected`, or about single sidecars.
        let IndexDelta {
            sidecars,
            virtual_services,
            gateways,
            secrets,
            locality_needs: _,
            mesh_defaults,
            capture,
            services: _,
            endpoints: _,
            addresses: _,
            destination_rules: _,
            source_labels: _,
        } = delta;
        let mut stale = StaleHosts::new();
        for sidecar in sidecars {
            self.reread_sidecar(sidecar, index, &mut stale);
        }
        for gateway in gateways {
            for id in self.edges.of_gateway(gateway) {
                let Some(scope) = self.scopes.get(&id) else { continue };
                // Connections may name other services now.
                let fresh = Scope::new(scope.key.clone(), index, 0);
                let hosts = self.restrict_again(id, fresh, index);
                stale.entry(id).or_default().extend(hosts);
            }
        }
        for secret in secrets {
            for id in self.edges.of_namespace(&secret.namespace) {
                if self.scopes.get(&id).is_some_and(|scope| scope.key.takes_secrets) {
                    stale.entry(id).or_default();
                }
            }
        }
        for virtual_service in virtual_services {
            self.widen_all(virtual_service, index, &mut stale);
        }
        if *capture {
            let ids: Vec<ScopeId> = self.scopes.keys().copied().collect();
            ids.into_iter().for_each(|id| self.reread(id, index, &mut stale));
            self.bases.retire_unused();
        }
        if *mesh_defaults {
            for (id, scope) in self.scopes.iter().filter(|(_, scope)| scope.base.is_none()) {
                stale.entry(*id).or_default().extend(scope.hosts.keys().cloned());
            }
        }
        let affected = affected(delta, index);
        for affected in &affected {
            self.edges.mark(affected, |id| self.scopes.get(&id).map(|scope| &**scope), &mut stale);
        }
        let mut changed = self.refresh(stale, index);
        let over_bases = self.bases.apply((&affected, *mesh_defaults), &mut self.scopes, index, &mut self.encoder);
        changed.changed.extend(over_bases.changed);
        changed.listeners_moved.extend(over_bases.listeners_moved);
        changed
    }

    /// Brings hosts of scopes that stand alone up to date.
    fn refresh(&mut self, stale: StaleHosts, index: &MeshIndex) -> ScopeDelta {
        let mut delta = ScopeDelta::default();
        let alone = Surroundings { index, base: None, base_changes: &Refreshed::default() };
        for (id, hosts) in stale {
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            let mut refreshed = refresh(scope, &hosts, alone, &mut self.encoder);
            for reselected in std::mem::take(&mut refreshed.reselected) {
                self.edges.reselect(reselected, id);
            }
            delta.note(id, &refreshed);
        }
        delta
    }

    /// Widens, or no longer widens, the restricted scopes that see a VirtualService which changed. It is given as it
    /// was or as it is. A host that is reached only through such a VirtualService is seen although the egress leaves it
    /// out, as in Istio.
    fn widen_all(&mut self, virtual_service: &Arc<Config>, index: &MeshIndex, stale: &mut StaleHosts) {
        let namespace = virtual_service.key.namespace.clone();
        let export = Export { namespace, export_to: ExportTo::of_config(virtual_service) };
        let mut ids = self.edges.may_see(&export);
        ids.extend(bound_gateways(virtual_service).iter().flat_map(|gateway| self.edges.of_gateway(gateway)));
        for id in ids {
            let hosts = self.widen(id, &virtual_service.key, index);
            if !hosts.is_empty() {
                stale.entry(id).or_default().extend(hosts);
            }
        }
    }

    /// Takes over into a restricted scope what a VirtualService sends to now, and returns the hosts for which that may
    /// change something.
    fn widen(&mut self, id: ScopeId, virtual_service: &ConfigKey, index: &MeshIndex) -> BTreeSet<Hostname> {
        let scope = self.scopes.get_mut(&id).filter(|scope| !scope.egress.is_everything());
        let Some(scope) = scope else { return BTreeSet::new() };
        let viewpoint = scope.viewpoint();
        let seen = index.config(virtual_service).filter(|config| viewpoint.sees_virtual_service(index, config));
        let new = seen.cloned();
        let old = match &new {
            Some(config) => scope.widening.insert(virtual_service.clone(), config.clone()),
            None => scope.widening.remove(virtual_service),
        };
        if old == new {
            return BTreeSet::new();
        }
        let [old, new] = [old, new].map(|config| match config {
            Some(config) => index.destinations_of(&config),
            None => BTreeSet::new(),
        });
        for host in &new {
            *scope.inferred_hosts.entry(host.clone()).or_default() += 1;
            self.edges.link_inferred(host, id);
        }
        for host in &old {
            let left = scope.inferred_hosts.remove(host).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                scope.inferred_hosts.insert(host.clone(), left);
            } else {
                self.edges.unlink_inferred(host, id);
            }
        }
        old.into_iter().chain(new).collect()
    }

    /// Reads a Sidecar object that changed again into the scopes that are made from it.
    fn reread_sidecar(&mut self, sidecar: &ConfigKey, index: &MeshIndex, stale: &mut StaleHosts) {
        if index.config(sidecar).is_none() {
            // The clients of those scopes are moved to others.
            return;
        }
        self.edges.of_sidecar(sidecar).into_iter().for_each(|id| self.reread(id, index, stale));
    }

    /// Reads into a scope again what it is made from.
    fn reread(&mut self, id: ScopeId, index: &MeshIndex, stale: &mut StaleHosts) {
        let Some(scope) = self.scopes.get(&id) else { return };
        let fresh = Scope::new(scope.key.clone(), index, 0);
        if self.base_for(&fresh) != scope.base {
            // The scope is built anew when its clients are moved to it.
            let scope = self.take_out(id);
            self.retired.extend(scope);
            return;
        }
        if scope.base.is_some() {
            return;
        }
        if scope.egress != fresh.egress {
            let hosts = self.restrict_again(id, fresh, index);
            stale.entry(id).or_default().extend(hosts);
        } else if scope.capture != fresh.capture
            && let Some(scope) = self.scopes.get_mut(&id)
        {
            // Nothing of hosts depends on what becomes of unknown traffic, but something of each port does.
            scope.capture = fresh.capture;
            scope.is_egress_new = true;
            stale.entry(id).or_default();
        }
    }

    /// Gives a scope another egress, and returns the hosts that it has or may have.
    fn restrict_again(&mut self, id: ScopeId, fresh: Scope, index: &MeshIndex) -> BTreeSet<Hostname> {
        let Some(scope) = self.scopes.get_mut(&id) else { return BTreeSet::new() };
        // What becomes of unknown traffic, and where listeners are, is in the resources of each port.
        scope.is_egress_new |= scope.capture != fresh.capture || scope.egress != fresh.egress;
        scope.capture = fresh.capture;
        self.edges.unlink_egress(&scope.egress, id);
        scope.egress = fresh.egress;
        self.edges.link_egress(&scope.egress, id);
        self.all_hosts(id, index)
    }

    /// Returns every host that a scope has or may have.
    fn all_hosts(&mut self, id: ScopeId, index: &MeshIndex) -> BTreeSet<Hostname> {
        let hosts = self.scopes.get(&id).into_iter().flat_map(|scope| scope.hosts.keys());
        let mut hosts: BTreeSet<Hostname> = hosts.cloned().collect();
        hosts.extend(self.admitted_hosts(id, index));
        hosts
    }

    /// Returns every host that a scope's egress may admit, and those that the VirtualServices it sees send to.
    fn admitted_hosts(&mut self, id: ScopeId, index: &MeshIndex) -> BTreeSet<Hostname> {
        let Some(scope) = self.scopes.get_mut(&id) else { return BTreeSet::new() };
        for host in std::mem::take(&mut scope.inferred_hosts).into_keys() {
            self.edges.unlink_inferred(&host, id);
        }
        scope.widening.clear();
        let mut hosts: BTreeSet<Hostname> = match scope.egress.namespaces() {
            None => index.hosts().chain(index.routed_hosts()).cloned().collect(),
            Some(names) => names.into_iter().flat_map(|name| index.hosts_of_namespace(name)).cloned().collect(),
        };
        hosts.extend(redirecting_hosts(&servers_seen(scope.viewpoint(), index)));
        let virtual_services = scope.visible_virtual_services(index);
        hosts.extend(virtual_services.iter().flat_map(|virtual_service| scope.routed_hosts(index, virtual_service)));
        for virtual_service in virtual_services {
            hosts.extend(self.widen(id, &virtual_service.key, index));
        }
        hosts
    }
}
