//! Bases, and the scopes that lie over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::Hostname;

use super::affected::{Affected, hosts_of};
use super::delta::{ScopeDelta, StaleHosts};
use super::domains::rivals;
use super::encoder::Encoder;
use super::key::{BaseKey, ScopeId, ScopeKey};
use super::refresh::{Refreshed, Surroundings, refresh};
use super::state::{Scope, Scopes};
use crate::copy_on_write::CopyOnWrite;
use crate::edges::{link, unlink};
use crate::index::MeshIndex;
use crate::visibility::{WorkloadObjects, hosts_that_differ, namespaces_that_differ};

/// The lineages of bases are told from those of scopes by this bit.
const BASE_LINEAGE: u64 = 1 << 63;

/// The bases, and the edges to what lies over them.
#[derive(Debug, Default, Clone)]
pub(super) struct Bases {
    bases: BTreeMap<BaseKey, CopyOnWrite<Scope>>,
    /// The scopes over a base.
    over: HashMap<BaseKey, BTreeSet<ScopeId>>,
    /// The scopes that differ from their base at a host.
    differing: HashMap<Hostname, BTreeSet<ScopeId>>,
    /// The scopes over some base, by namespace.
    of_namespace: HashMap<Arc<str>, BTreeSet<ScopeId>>,
    last_lineage: u64,
    /// Bases that are no longer kept up to date.
    retired: Vec<CopyOnWrite<Scope>>,
}

impl Bases {
    pub(super) fn get(&self, key: &BaseKey) -> Option<&Scope> {
        self.bases.get(key).map(|base| &**base)
    }

    /// Lays a new scope over a base, which is built if there is none yet.
    pub(super) fn lay_over(&mut self, id: ScopeId, scope: &mut Scope, index: &MeshIndex, encoder: &mut Encoder) {
        let Some(key) = scope.base.clone() else { return };
        if !self.bases.contains_key(&key) {
            let base = self.build(&key, index, encoder);
            self.bases.insert(key.clone(), CopyOnWrite::new(base));
        }
        let namespace = scope.key.namespace.clone();
        let hosts = hosts_that_differ(index, &namespace);
        link(&mut self.over, key.clone(), id);
        link(&mut self.of_namespace, namespace, id);
        let base_changes = &Refreshed::default();
        let surroundings = Surroundings { index, base: self.get(&key), base_changes };
        let refreshed = refresh(scope, &hosts, surroundings, encoder);
        self.note_differences(id, scope, &refreshed);
    }

    fn build(&mut self, key: &BaseKey, index: &MeshIndex, encoder: &mut Encoder) -> Scope {
        self.last_lineage += 1;
        let objects = WorkloadObjects::default();
        let locality = key.locality.clone();
        let nobody = ScopeKey {
            namespace: "".into(),
            client: key.client,
            objects,
            locality,
            takes_secrets: false,
            learns_addresses: key.learns_addresses,
        };
        let mut base = Scope::new(nobody, index, BASE_LINEAGE | self.last_lineage);
        base.capture = key.capture.clone();
        let hosts = index.hosts().chain(index.routed_hosts()).cloned().collect();
        let surroundings = Surroundings { index, base: None, base_changes: &Refreshed::default() };
        refresh(&mut base, &hosts, surroundings, encoder);
        base
    }

    fn note_differences(&mut self, id: ScopeId, scope: &Scope, refreshed: &Refreshed) {
        for host in &refreshed.looked_at {
            if scope.differs_at(host) {
                link(&mut self.differing, host.clone(), id);
            } else {
                unlink(&mut self.differing, host, &id);
            }
        }
    }

    /// Forgets a scope over a base.
    pub(super) fn forget(&mut self, scope: &Scope, id: ScopeId) {
        unlink(&mut self.of_namespace, &scope.key.namespace, &id);
        if let Some(base) = &scope.base {
            unlink(&mut self.over, base, &id);
        }
        for host in scope.hosts.keys().chain(scope.contested.keys()) {
            unlink(&mut self.differing, host, &id);
        }
    }

    /// Keeps the bases up to date no longer that no scope lies over. What they have encoded is found again by those that come
    /// in their place.
    pub(super) fn retire_unused(&mut self) {
        let over = &self.over;
        let unused = self.bases.extract_if(.., |key, _| !over.contains_key(key));
        self.retired.extend(unused.map(|(_, base)| base));
    }

    /// Drops the bases that no scope lies over.
    pub(super) fn drop_unused(&mut self) {
        self.retire_unused();
        self.retired.clear();
    }

    /// Brings the bases up to date, and then those scopes over them that see some of it otherwise. Every host is looked at if
    /// `is_about_all`.
    pub(super) fn apply(
        &mut self,
        (affected, is_about_all): (&[Affected], bool),
        scopes: &mut Scopes,
        index: &MeshIndex,
        encoder: &mut Encoder,
    ) -> ScopeDelta {
        let mut delta = ScopeDelta::default();
        if self.bases.is_empty() {
            return delta;
        }
        let mut hosts = hosts_of(affected);
        if is_about_all {
            hosts.extend(self.bases.values().flat_map(|base| base.hosts.keys()).cloned());
            hosts.extend(self.differing.keys().cloned());
        }
        let keys: Vec<BaseKey> = self.bases.keys().cloned().collect();
        for key in keys {
            let Some(base) = self.bases.get_mut(&key) else { continue };
            let alone = Surroundings { index, base: None, base_changes: &Refreshed::default() };
            let base_changes = refresh(base, &hosts, alone, encoder);
            for id in self.over.get(&key).into_iter().flatten() {
                delta.note(*id, &base_changes);
            }
            for (id, hosts) in self.stale_over(&key, &hosts, &base_changes, index) {
                let Some(scope) = scopes.get_mut(&id) else { continue };
                let over = Surroundings { index, base: self.get(&key), base_changes: &base_changes };
                let refreshed = refresh(scope, &hosts, over, encoder);
                self.note_differences(id, scope, &refreshed);
                delta.note(id, &refreshed);
            }
        }
        delta
    }

    /// Returns the scopes over a base that have to look at some hosts again.
    fn stale_over(
        &self,
        key: &BaseKey,
        hosts: &BTreeSet<Hostname>,
        base_changes: &Refreshed,
        index: &MeshIndex,
    ) -> StaleHosts {
        let mut stale = StaleHosts::new();
        let Some(over) = self.over.get(key) else { return stale };
        let mut mark = |ids: Option<&BTreeSet<ScopeId>>, host: &Hostname| {
            for id in ids.into_iter().flatten().filter(|id| over.contains(id)) {
                stale.entry(*id).or_default().insert(host.clone());
            }
        };
        for host in hosts {
            mark(self.differing.get(host), host);
            for namespace in namespaces_that_differ(index, host) {
                mark(self.of_namespace.get(&namespace), host);
            }
        }
        for (host, addresses) in &base_changes.renamed {
            // A scope that has one of these for itself may divide their domains otherwise than the base does.
            let mut group = rivals(index, host, addresses);
            group.insert(host.clone());
            let ids: BTreeSet<ScopeId> =
                group.iter().filter_map(|host| self.differing.get(host)).flatten().copied().collect();
            group.iter().for_each(|host| mark(Some(&ids), host));
        }
        if !base_changes.uses.is_empty() || !base_changes.claims.is_empty() {
            for id in over {
                stale.entry(*id).or_default();
            }
        }
        stale
    }
}
