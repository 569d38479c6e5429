//! Brings hosts of a scope up to date.
//!
//! - `virtual_hosts`: no two virtual hosts of a port have a domain in common.
//! - `gateway`: the listeners and the route tables of a gateway.
//! - `sockets`: the listeners at Unix sockets, and their route tables.
//! - `ports`: the listener and the route table that all hosts of a port share.

mod gateway;
mod ports;
mod sockets;
mod virtual_hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::{Hostname, ResourceType};

use super::encoder::Encoder;
use super::host::{HostBuilder, HostChange, HostResources};
use super::port_uses::PortUse;
use super::state::Scope;
use super::writes::{Wanted, writes_over};
use crate::encode::cluster::encode_capture_clusters;
use crate::encode::listener::encode_virtual_outbound;
use crate::index::MeshIndex;
use crate::model::ServiceKey;
use crate::resource::ResourceName;
use crate::visibility::namespaces_that_differ;

/// What a scope is brought up to date from.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) index: &'a MeshIndex,
    /// The base that the scope lies over, which is up to date already.
    pub(super) base: Option<&'a Scope>,
    /// What happened to the base.
    pub(super) base_changes: &'a Refreshed,
}

/// What bringing a scope up to date came to.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    /// Whether some resource has other bytes.
    pub(super) changed: bool,
    /// The ports whose listener or table is another.
    pub(super) ports: BTreeSet<u16>,
    /// The ports that some host uses otherwise.
    pub(super) uses: BTreeSet<u16>,
    /// The names of claimed listeners that changed.
    pub(super) claims: BTreeSet<ResourceName>,
    /// The hosts that came, went, or have other addresses or ports, with the addresses of before and after.
    pub(super) renamed: BTreeMap<Hostname, BTreeSet<IpAddr>>,
    /// Every host that was looked at.
    pub(super) looked_at: BTreeSet<Hostname>,
    /// The services that hosts mean otherwise than before.
    pub(super) reselected: Vec<Reselected>,
}

/// What a host meant before, and what it means now.
#[derive(Debug)]
pub(super) struct Reselected {
    pub(super) old: Option<ServiceKey>,
    pub(super) new: Option<ServiceKey>,
}

/// Brings hosts of a scope up to date, and what follows from the changes of its base.
pub(super) fn refresh(
    scope: &mut Scope,
    hosts: &BTreeSet<Hostname>,
    surroundings: Surroundings<'_>,
    encoder: &mut Encoder,
) -> Refreshed {
    let refreshed = Refreshed { claims: surroundings.base_changes.claims.clone(), ..Refreshed::default() };
    let is_egress_new = std::mem::take(&mut scope.is_egress_new);
    let ports = surroundings.base_changes.uses.clone();
    let are_sockets_new = is_egress_new;
    let wanted = Vec::new();
    let mut refresh =
        Refresh { scope, surroundings, encoder, is_egress_new, are_sockets_new, ports, wanted, refreshed };
    refresh.want_what_every_client_has();
    refresh.look_at_hosts(hosts);
    refresh.refreshed.uses.clone_from(&refresh.ports);
    refresh.want_virtual_hosts(hosts);
    refresh.want_ports();
    refresh.want_sockets();
    refresh.want_gateway();
    refresh.finish()
}

/// A scope while it is brought up to date.
struct Refresh<'a> {
    scope: &'a mut Scope,
    surroundings: Surroundings<'a>,
    encoder: &'a mut Encoder,
    is_egress_new: bool,
    /// Whether the listeners at Unix sockets have to be looked at.
    are_sockets_new: bool,
    /// The ports whose listener and table have to be looked at.
    ports: BTreeSet<u16>,
    wanted: Vec<Wanted>,
    refreshed: Refreshed,
}

impl Refresh<'_> {
    /// Adds the clusters and the listener that every captured sidecar has. Scopes over a base have them from there.
    fn want_what_every_client_has(&mut self) {
        if !self.is_egress_new || self.surroundings.base.is_some() {
            return;
        }
        self.ports.extend(self.scope.ports.keys().copied());
        let hosts = self.scope.hosts.values().flatten();
        self.ports.extend(hosts.flat_map(|resources| resources.placed_uses.ports()));
        if self.scope.key.client.is_captured() {
            let clusters = encode_capture_clusters().into_iter();
            self.wanted.extend(clusters.map(|cluster| Wanted::resource(ResourceType::Cluster, cluster)));
            let listener = encode_virtual_outbound(&self.scope.capture);
            self.wanted.push(Wanted::resource(ResourceType::Listener, listener));
        }
    }

    fn look_at_hosts(&mut self, hosts: &BTreeSet<Hostname>) {
        let built: Vec<&Hostname> = hosts.iter().filter(|host| self.may_differ(host)).collect();
        let gateway_tables = self.gateway_tables();
        let builder = HostBuilder {
            gateway_tables: &gateway_tables,
            index: self.surroundings.index,
            viewpoint: self.scope.viewpoint(),
            client: self.scope.key.client,
            source_labels: &self.scope.key.objects.source_labels,
            locality: &self.scope.key.locality,
            learns_addresses: self.scope.key.learns_addresses,
            encoder: self.encoder,
        };
        let resources = builder.build_all(&built);
        let mut built = built.into_iter().zip(resources).peekable();
        for host in hosts {
            self.encoder.visits += 1;
            let in_base = self.surroundings.base.and_then(|base| base.hosts.get(host)).and_then(Option::as_ref);
            let built = built.next_if(|(next_host, _)| *next_host == host).map(|(_, resources)| resources);
            let old = match built {
                Some(resources) if resources.is_some() || in_base.is_some() => {
                    self.scope.hosts.insert(host.clone(), resources)
                }
                Some(_) | None => self.scope.hosts.remove(host),
            };
            self.take_over(host, old, in_base);
        }
    }

    /// Returns whether clients of the scope may see a host otherwise than its base does. What a scope without a base
    /// sees always differs from nothing. Hosts at which nothing can differ are not built for the scope, which is what
    /// makes a scope over a base cheap.
    fn may_differ(&self, host: &Hostname) -> bool {
        let Surroundings { index, base, .. } = self.surroundings;
        base.is_none() || namespaces_that_differ(index, host).contains(&self.scope.key.namespace)
    }

    /// Carries a host that was looked at over into everything that is made from hosts. `old` is what the scope itself
    /// had for the host. Those are the wanted resources, the uses of ports, the claimed listeners and what is told to
    /// the reverse edges.
    fn take_over(
        &mut self,
        host: &Hostname,
        old: Option<Option<Arc<HostResources>>>,
        in_base: Option<&Arc<HostResources>>,
    ) {
        let now = self.scope.hosts.get(host).cloned();
        let change = HostChange {
            old: old.as_ref().map_or(in_base, Option::as_ref),
            new: now.as_ref().map_or(in_base, Option::as_ref),
        };
        let reselected = Reselected { old: service_key_of(change.old), new: service_key_of(change.new) };
        if reselected.old != reselected.new {
            self.refreshed.reselected.push(reselected);
        }
        // Over a base everything is looked at, because the base may have changed under what did not change here.
        let unchanged = if self.surroundings.base.is_none() { change.unchanged_types() } else { Vec::new() };
        change.want(&unchanged, &mut self.wanted);
        if in_base.is_some() {
            // What the base has and has just changed may be hidden here, or no longer.
            HostChange { old: in_base, new: change.new }.want(&[], &mut self.wanted);
        }
        if let Some(addresses) = change.renamed() {
            self.refreshed.renamed.insert(host.clone(), addresses);
        }
        let claims = [change.old, change.new, in_base].into_iter().flatten();
        let claims = claims.flat_map(|resources| &resources.claimed_listeners);
        self.refreshed.claims.extend(claims.map(|listener| listener.name.clone()));
        let own_change =
            HostChange { old: old.as_ref().and_then(Option::as_ref), new: now.as_ref().and_then(Option::as_ref) };
        self.count_uses(host, own_change, in_base);
        self.count_credentials(own_change);
        self.register_claims(host, own_change);
    }

    /// Counts how a host of the scope itself uses ports, and notes the ports at which something may differ. The
    /// listener and the table of such a port are put together afterwards.
    fn count_uses(&mut self, host: &Hostname, change: HostChange<'_>, in_base: Option<&Arc<HostResources>>) {
        let own_ports: BTreeSet<u16> = [change.old, change.new].into_iter().flat_map(ports_of).collect();
        for port in own_ports {
            let (old_use, new_use) = (use_of(change.old, port), use_of(change.new, port));
            if old_use == new_use {
                self.ports.extend(in_base.map(|_| port));
                continue;
            }
            self.ports.insert(port);
            let uses = self.scope.ports.entry(port).or_default();
            old_use.iter().for_each(|port_use| uses.remove(host, port_use));
            new_use.into_iter().for_each(|port_use| uses.add(host, port_use));
            if uses.is_unused() {
                self.scope.ports.remove(&port);
            }
        }
        self.ports.extend(ports_of(in_base));
        let placed = [change.old, change.new].into_iter().flatten();
        self.ports.extend(placed.flat_map(|resources| resources.placed_uses.ports()));
        self.are_sockets_new |= change.uses_sockets_otherwise();
    }

    /// Registers the listeners that a host of the scope itself claims.
    fn register_claims(&mut self, host: &Hostname, change: HostChange<'_>) {
        for listener in change.old.into_iter().flat_map(|resources| &resources.claimed_listeners) {
            if let Some(claims) = self.scope.claims.get_mut(&listener.name) {
                claims.remove(host);
                if claims.is_empty() {
                    self.scope.claims.remove(&listener.name);
                }
            }
        }
        for listener in change.new.into_iter().flat_map(|resources| &resources.claimed_listeners) {
            let claims = self.scope.claims.entry(listener.name.clone()).or_default();
            claims.insert(host.clone(), listener.clone());
        }
    }

    fn finish(mut self) -> Refreshed {
        let base = self.surroundings.base;
        let is_placed = |name: &&ResourceName| !self.scope.placed.values().any(|names| names.contains(*name));
        for name in self.refreshed.claims.iter().filter(is_placed) {
            let resource = self.scope.claimed_listener(base, name);
            self.wanted.push(Wanted { resource_type: ResourceType::Listener, name: name.clone(), resource });
        }
        if let Some(base) = base {
            // What the base no longer has is no longer hidden. What the scope has under such a name now comes after this
            // and counts.
            let in_vain = self.scope.snapshot.hidden_in_vain(&base.snapshot).into_iter();
            let in_vain = in_vain.map(|(resource_type, name)| Wanted::nothing(resource_type, name));
            self.wanted.splice(0..0, in_vain);
        }
        let writes = writes_over(self.wanted, base.map(|base| &*base.snapshot));
        if let Some(next) = self.scope.snapshot.apply(writes) {
            self.scope.snapshot = Arc::new(next);
            self.refreshed.changed = true;
        }
        self.refreshed
    }
}

fn service_key_of(host: Option<&Arc<HostResources>>) -> Option<ServiceKey> {
    host.and_then(|host| host.service_key()).cloned()
}

fn ports_of(resources: Option<&Arc<HostResources>>) -> BTreeSet<u16> {
    resources.into_iter().flat_map(|resources| resources.port_uses.ports()).collect()
}

fn use_of(resources: Option<&Arc<HostResources>>, port: u16) -> Option<PortUse> {
    resources.and_then(|resources| resources.port_uses.get(port)).cloned()
}
