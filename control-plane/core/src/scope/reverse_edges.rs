//! By what a change finds the restricted scopes that it concerns.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{ConfigKey, Hostname};

use super::affected::{Affected, Audience, Export};
use super::delta::StaleHosts;
use super::key::ScopeId;
use super::refresh::Reselected;
use super::state::Scope;
use crate::edges::{link, unlink};
use crate::model::{ExportTo, ServiceKey};
use crate::visibility::Egress;

/// The scopes that stand alone, by what they depend on.
#[derive(Debug, Default, Clone)]
pub(super) struct ReverseEdges {
    /// The scopes whose egress names a namespace.
    watching: HashMap<Arc<str>, BTreeSet<ScopeId>>,
    /// The scopes whose egress is about all namespaces.
    watching_all: BTreeSet<ScopeId>,
    /// The scopes of a namespace.
    of_namespace: HashMap<Arc<str>, BTreeSet<ScopeId>>,
    /// The scopes for which a host means a service.
    selecting: HashMap<ServiceKey, BTreeSet<ScopeId>>,
    /// The scopes that see a host only because a VirtualService sends there.
    inferring: HashMap<Hostname, BTreeSet<ScopeId>>,
    /// The scopes that are made from a Sidecar object. Scopes over a base are among them.
    of_sidecar: HashMap<ConfigKey, BTreeSet<ScopeId>>,
    /// The scopes of gateways that a Gateway object selects.
    of_gateway: HashMap<ConfigKey, BTreeSet<ScopeId>>,
}

impl ReverseEdges {
    pub(super) fn of_sidecar(&self, sidecar: &ConfigKey) -> BTreeSet<ScopeId> {
        self.of_sidecar.get(sidecar).cloned().unwrap_or_default()
    }

    pub(super) fn link_sidecar(&mut self, sidecar: &ConfigKey, id: ScopeId) {
        link(&mut self.of_sidecar, sidecar.clone(), id);
    }

    pub(super) fn unlink_sidecar(&mut self, sidecar: &ConfigKey, id: ScopeId) {
        unlink(&mut self.of_sidecar, sidecar, &id);
    }

    pub(super) fn of_gateway(&self, gateway: &ConfigKey) -> BTreeSet<ScopeId> {
        self.of_gateway.get(gateway).cloned().unwrap_or_default()
    }

    pub(super) fn link_gateway(&mut self, gateway: &ConfigKey, id: ScopeId) {
        link(&mut self.of_gateway, gateway.clone(), id);
    }

    pub(super) fn unlink_gateway(&mut self, gateway: &ConfigKey, id: ScopeId) {
        unlink(&mut self.of_gateway, gateway, &id);
    }

    pub(super) fn link_namespace(&mut self, namespace: &Arc<str>, id: ScopeId) {
        link(&mut self.of_namespace, namespace.clone(), id);
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> BTreeSet<ScopeId> {
        self.of_namespace.get(namespace).cloned().unwrap_or_default()
    }

    pub(super) fn link_egress(&mut self, egress: &Egress, id: ScopeId) {
        match egress.namespaces() {
            None => drop(self.watching_all.insert(id)),
            Some(names) => names.into_iter().for_each(|name| link(&mut self.watching, name.clone(), id)),
        }
    }

    pub(super) fn unlink_egress(&mut self, egress: &Egress, id: ScopeId) {
        match egress.namespaces() {
            None => drop(self.watching_all.remove(&id)),
            Some(names) => names.into_iter().for_each(|name| unlink(&mut self.watching, name, &id)),
        }
    }

    pub(super) fn link_inferred(&mut self, host: &Hostname, id: ScopeId) {
        link(&mut self.inferring, host.clone(), id);
    }

    pub(super) fn unlink_inferred(&mut self, host: &Hostname, id: ScopeId) {
        unlink(&mut self.inferring, host, &id);
    }

    pub(super) fn reselect(&mut self, reselected: Reselected, id: ScopeId) {
        if let Some(old) = &reselected.old {
            unlink(&mut self.selecting, old, &id);
        }
        if let Some(new) = reselected.new {
            link(&mut self.selecting, new, id);
        }
    }

    /// Forgets a scope that stands alone.
    pub(super) fn forget(&mut self, scope: &Scope, id: ScopeId) {
        self.unlink_egress(&scope.egress, id);
        unlink(&mut self.of_namespace, &scope.key.namespace, &id);
        for key in scope.hosts.values().flatten().filter_map(|resources| resources.service_key()) {
            unlink(&mut self.selecting, key, &id);
        }
        for host in scope.inferred_hosts.keys() {
            unlink(&mut self.inferring, host, &id);
        }
    }

    /// Returns the scopes that might see an object.
    pub(super) fn may_see(&self, export: &Export) -> BTreeSet<ScopeId> {
        let watching = self.watching.get(&export.namespace);
        match &export.export_to {
            ExportTo::All => watching.into_iter().flatten().chain(&self.watching_all).copied().collect(),
            ExportTo::Namespaces(names) => {
                let reached = names.iter().filter_map(|name| self.of_namespace.get(name)).flatten();
                let watches = |id: &&ScopeId| {
                    self.watching_all.contains(id) || watching.is_some_and(|watching| watching.contains(id))
                };
                reached.filter(watches).copied().collect()
            }
        }
    }

    /// Adds the hosts that a change may alter for scopes. `scopes` tells the namespace of a scope and what it has.
    pub(super) fn mark<'a>(
        &self,
        affected: &Affected,
        scope_of: impl Fn(ScopeId) -> Option<&'a Scope>,
        stale: &mut StaleHosts,
    ) {
        match &affected.audience {
            Audience::MaySee(export) => mark_all(self.may_see(export), &affected.hosts, stale),
            Audience::MaySeeAndHasHost(export) => {
                for id in self.may_see(export) {
                    let Some(scope) = scope_of(id) else { continue };
                    let hosts = affected.hosts.iter().filter(|host| scope.hosts.contains_key(*host));
                    stale.entry(id).or_default().extend(hosts.cloned());
                }
            }
            Audience::Selects { service, client_namespace } => {
                let is_concerned = |id: &ScopeId| {
                    let namespace = scope_of(*id).map(|scope| &scope.key.namespace);
                    client_namespace.is_none() || client_namespace.as_ref() == namespace
                };
                let selecting = self.selecting.get(service).into_iter().flatten().copied();
                mark_all(selecting.filter(is_concerned), &affected.hosts, stale);
            }
            Audience::Gateways(gateway) => mark_all(self.of_gateway(gateway), &affected.hosts, stale),
            Audience::Infers => {
                for host in &affected.hosts {
                    let inferring = self.inferring.get(host).into_iter().flatten().copied();
                    mark_all(inferring, std::slice::from_ref(host), stale);
                }
            }
        }
    }
}

fn mark_all(ids: impl IntoIterator<Item = ScopeId>, hosts: &[Hostname], stale: &mut StaleHosts) {
    for id in ids {
        stale.entry(id).or_default().extend(hosts.iter().cloned());
    }
}
