//! The state of one scope.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::Sidecar;
use rutter_api::{Config, ConfigKey, Hostname, Kind, ListenerName, ResourceType};

use super::encoder::EncodedClusters;
use super::host::HostResources;
use super::key::{BaseKey, ScopeId, ScopeKey};
use super::port_uses::PortUse;
use super::port_uses::{PortUses, merge};
use crate::copy_on_write::CopyOnWrite;
use crate::encode::listener::{BoundListener, ConnectionTargets, OutboundPort};
use crate::index::MeshIndex;
use crate::model::{
    Capture, Credential, GatewayAddress, GatewayServer, UnknownTraffic, bound_gateways, detection_timeout,
    hosts_at_gateway, passed_through,
};
use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::Snapshot;
use crate::visibility::{Egress, Viewpoint, WorkloadObjects};

/// Scopes, of which branches of a mesh share those that they do not write.
pub(super) type Scopes = CopyOnWrite<BTreeMap<ScopeId, CopyOnWrite<Scope>>>;

/// What the clients of a scope see, and what is needed to keep that up to date.
#[derive(Debug, Clone)]
pub struct Scope {
    pub(super) key: ScopeKey,
    pub(super) egress: Egress,
    /// How captured traffic is treated of which nothing is known.
    pub(super) capture: Capture,
    /// The base that the scope lies over. `None` means that the scope stands alone.
    pub(super) base: Option<BaseKey>,
    /// The VirtualServices that widen a restricted scope by their destinations.
    pub(super) widening: BTreeMap<ConfigKey, Arc<Config>>,
    /// The hosts that those send to, each with their number.
    pub(super) inferred_hosts: BTreeMap<Hostname, usize>,
    /// What the scope has for hosts. `None` means that the base has something for the host, and this scope nothing. A
    /// host that is not in the map is as in the base.
    pub(super) hosts: BTreeMap<Hostname, Option<Arc<HostResources>>>,
    /// The hosts of the base whose virtual hosts have other domains here, because another host has taken them or has
    /// not, and the ports at which it is so. Each such virtual host is a resource of the scope itself until the names
    /// are divided as in the base again.
    pub(super) contested: BTreeMap<Hostname, BTreeSet<u16>>,
    /// How the hosts of this scope use the ports that they share.
    pub(super) ports: BTreeMap<u16, PortUses>,
    /// What ports came to the last time, with the uses of the base. `None` means that nobody used the port although the base
    /// did; a port that is missing is as in the base.
    pub(super) merged: BTreeMap<u16, Option<OutboundPort>>,
    /// The listeners of each port that a Sidecar object has put somewhere.
    pub(super) placed: BTreeMap<u16, BTreeSet<ResourceName>>,
    /// The Unix sockets at which there are listeners.
    pub(super) sockets: BTreeSet<Arc<str>>,
    /// The virtual hosts of each port, if they are in the tables.
    pub(super) tables: BTreeMap<u16, BTreeMap<Hostname, EncodedResource>>,
    /// The listeners that hosts claim for themselves, by the host. The first host in the order of the names has it.
    pub(super) claims: BTreeMap<ResourceName, BTreeMap<Hostname, EncodedResource>>,
    /// What a gateway needs of Secrets for the connections that it makes, each with the number of hosts that need it.
    pub(super) credentials: BTreeMap<Credential, usize>,
    /// The listeners of a gateway to whose services connections go that name them.
    pub(super) passing: BTreeMap<GatewayAddress, PassingListener>,
    /// The listeners, the route tables and the Secrets of a gateway.
    pub(super) gateway_resources: BTreeSet<(ResourceType, ResourceName)>,
    /// Whether everything that depends on what becomes of unknown traffic has to be encoded again.
    pub(super) is_egress_new: bool,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A listener of a port that a Sidecar object has put somewhere.
#[derive(Debug)]
pub(super) struct PlacedPort {
    pub(super) ip: IpAddr,
    pub(super) is_bound: bool,
    pub(super) uses: OutboundPort,
}

/// A listener to whose services connections go that name them, and what it was encoded from.
#[derive(Debug, Clone)]
pub(super) struct PassingListener {
    pub(super) servers: Vec<GatewayServer>,
    /// Where VirtualServices send the connections of each server.
    pub(super) connections: Vec<ConnectionTargets>,
    /// The clusters of the services that are passed to, each of which stands for the service and its rule.
    pub(super) clusters: Vec<Arc<EncodedClusters>>,
    /// The listener, or none if it leads nowhere.
    pub(super) listener: Option<EncodedResource>,
}

impl PlacedPort {
    pub(super) fn listener_name(&self, port: u16) -> ResourceName {
        ListenerName::Address { ip: self.ip, port }.to_string().into()
    }
}

impl Scope {
    /// Returns a scope without anything in it. Its snapshots are told from those of others by `lineage`.
    pub(super) fn new(key: ScopeKey, index: &MeshIndex, lineage: u64) -> Self {
        let mut scope = Self {
            egress: Egress::everything(),
            key,
            capture: UnknownTraffic::Passes.into(),
            base: None,
            widening: BTreeMap::new(),
            inferred_hosts: BTreeMap::new(),
            hosts: BTreeMap::new(),
            contested: BTreeMap::new(),
            ports: BTreeMap::new(),
            merged: BTreeMap::new(),
            placed: BTreeMap::new(),
            sockets: BTreeSet::new(),
            tables: BTreeMap::new(),
            claims: BTreeMap::new(),
            credentials: BTreeMap::new(),
            passing: BTreeMap::new(),
            gateway_resources: BTreeSet::new(),
            is_egress_new: true,
            snapshot: Arc::new(Snapshot::new(lineage)),
        };
        scope.read_sidecar(index);
        scope
    }

    /// Returns the listeners of a gateway to whose services connections go that name them, as they were last encoded.
    #[cfg(test)]
    pub(crate) fn passing_listeners(&self) -> impl Iterator<Item = &EncodedResource> {
        self.passing.values().filter_map(|passing| passing.listener.as_ref())
    }

    /// Returns what the clients of the scope share, over the base.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Returns the Sidecar object that the scope is made from.
    pub fn sidecar_config<'i>(&self, index: &'i MeshIndex) -> Option<&'i Arc<Config>> {
        index.config(self.key.objects.sidecar.as_ref()?)
    }

    fn sidecar<'i>(&self, index: &'i MeshIndex) -> Option<&'i Sidecar> {
        self.sidecar_config(index)?.spec.as_sidecar()
    }

    /// Takes over from the Sidecar object what it says of egress.
    pub(super) fn read_sidecar(&mut self, index: &MeshIndex) {
        if self.key.client.is_gateway() {
            let gateways = self.key.objects.gateways.iter().filter_map(|key| index.config(key));
            self.egress = Egress::passing(gateways.flat_map(|gateway| passed_through(gateway)));
            return;
        }
        let spec = self.sidecar(index);
        self.egress = self.key.sidecar_egress(index);
        let mesh = index.mesh();
        let unknown = UnknownTraffic::new(spec, mesh, self.key.client.is_captured());
        self.capture = Capture { unknown, detection_timeout: detection_timeout(mesh) };
    }

    /// Returns the base that the scope should lie over. `None` means that the scope restricts something, or that its
    /// clients take nothing that could be shared. A scope whose wanted base is another than its own is dropped and
    /// built anew.
    pub(super) fn wanted_base(&self) -> Option<BaseKey> {
        // Every object that is about the workload must be accounted for here: the Sidecar object is, by what was read
        // from it. Routes for clients of certain labels are in no base.
        let ScopeKey { namespace: _, client, objects, locality, takes_secrets: _, learns_addresses } = &self.key;
        let WorkloadObjects { sidecar: _, egress_from: _, source_labels, gateways: _, target_ports: _ } = objects;
        let may_share = self.egress.is_everything() && client.may_share_a_base() && source_labels.is_empty();
        may_share.then(|| BaseKey {
            client: *client,
            capture: self.capture.clone(),
            locality: locality.clone(),
            learns_addresses: *learns_addresses,
        })
    }

    /// Returns from where the clients of the scope look at the mesh.
    pub(crate) fn viewpoint(&self) -> Viewpoint<'_> {
        Viewpoint {
            namespace: &self.key.namespace,
            egress: &self.egress,
            inferred_hosts: &self.inferred_hosts,
            gateways: &self.key.objects.gateways,
            labels: &self.key.objects.source_labels,
            target_ports: &self.key.objects.target_ports,
        }
    }

    /// Returns whether the clients of the scope are gateways.
    pub(crate) fn is_gateway(&self) -> bool {
        self.key.client.is_gateway()
    }

    /// Returns the objects that choose the clients of the scope.
    pub(crate) fn objects(&self) -> &WorkloadObjects {
        &self.key.objects
    }

    /// Returns the Gateway objects that choose the clients of the scope.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &ConfigKey> {
        self.key.objects.gateways.iter()
    }

    /// Returns what the clients of the scope have for a host, from the scope or from its base.
    pub(super) fn host<'a>(&'a self, base: Option<&'a Scope>, host: &Hostname) -> Option<&'a Arc<HostResources>> {
        match self.hosts.get(host) {
            Some(resources) => resources.as_ref(),
            None => base?.hosts.get(host)?.as_ref(),
        }
    }

    /// Returns whether the scope has something for a host that its base has not.
    pub(super) fn differs_at(&self, host: &Hostname) -> bool {
        self.hosts.contains_key(host) || self.contested.contains_key(host)
    }

    /// Returns what a port comes to: the uses of the scope's hosts, and of those of the base that are not replaced
    /// here. `None` means that nobody uses the port, so that its listener and its table go.
    pub(super) fn merge_port(&self, base: Option<&Scope>, port: u16) -> Option<OutboundPort> {
        let own_uses = self.ports.get(&port);
        let base_uses = base.and_then(|base| base.ports.get(&port));
        let mut http_hosts = own_uses.map_or(0, |uses| uses.http) + base_uses.map_or(0, |uses| uses.http);
        if let Some(base) = base.filter(|_| base_uses.is_some()) {
            let replaced = self.hosts.keys().filter_map(|host| base.hosts.get(host)?.as_ref()?.port_uses.get(port));
            http_hosts -= replaced.filter(|port_use| **port_use == PortUse::Http).count();
        }
        let base_uses = base_uses.into_iter().flat_map(|uses| &uses.not_http);
        let base_uses = base_uses.filter(|(host, _)| !self.hosts.contains_key(host));
        merge(http_hosts, own_uses.into_iter().flat_map(|uses| &uses.not_http).chain(base_uses))
    }

    /// Returns the listeners of a port that the Sidecar object has put somewhere, each with what the hosts that it admits make
    /// of the port. Of two at one address the first has it.
    pub(super) fn placed_at(&self, port: u16) -> Vec<PlacedPort> {
        let mut placed: Vec<PlacedPort> = Vec::new();
        for (ip, listener) in self.egress.placed(port) {
            if placed.iter().any(|placed| placed.ip == ip) {
                continue;
            }
            let admitted = self.hosts.iter().filter_map(|(host, resources)| {
                let resources = resources.as_ref()?;
                let service = resources.service.as_ref()?;
                let port_use = resources.placed_uses.get(port)?;
                listener.admits(service.namespace(), host).then_some((host, port_use))
            });
            let uses = merge(0, admitted);
            placed.extend(uses.map(|uses| PlacedPort { ip, is_bound: listener.is_bound, uses }));
        }
        placed
    }

    /// Returns the listener of a name that hosts claim: that of the first host in the order of the names.
    pub(super) fn claimed_listener(&self, base: Option<&Scope>, name: &str) -> Option<EncodedResource> {
        let own_claim = self.claims.get(name).and_then(BTreeMap::first_key_value);
        let base_claims = base.and_then(|base| base.claims.get(name)).into_iter().flatten();
        let base_claim = base_claims.filter(|(host, _)| !self.hosts.contains_key(*host)).min_by_key(|(host, _)| *host);
        let first = own_claim.into_iter().chain(base_claim).min_by_key(|(host, _)| *host);
        first.map(|(_, listener)| listener.clone())
    }

    /// Returns the listeners that a sidecar without capture has to bind, by address and port. Without an address it is the
    /// sidecar's own.
    pub fn bound_listeners(&self, base: Option<&Scope>) -> BTreeMap<(Option<IpAddr>, u16), BoundListener> {
        let ports = self.ports.keys().chain(base.into_iter().flat_map(|base| base.ports.keys()));
        let placed_ports = self.hosts.values().flatten().flat_map(|resources| resources.placed_uses.ports());
        let ports: BTreeSet<u16> = ports.copied().chain(placed_ports).collect();
        let mut listeners = BTreeMap::new();
        for port in ports {
            let merged = self.merge_port(base, port);
            listeners.extend(merged.map(|merged| ((None, port), BoundListener::of_port(port, &merged))));
            for placed in self.placed_at(port) {
                listeners.insert((Some(placed.ip), port), BoundListener::of_port(port, &placed.uses));
            }
        }
        listeners
    }

    /// Returns the hosts under which the clients of the scope may be asked for what a VirtualService routes, but for
    /// wildcards of sidecars, which bring no host into being.
    pub(super) fn routed_hosts(&self, index: &MeshIndex, virtual_service: &Config) -> BTreeSet<Hostname> {
        let routed = index.routed_hosts_of(virtual_service);
        if !self.key.client.is_gateway() {
            return routed.into_iter().filter(|host| !host.is_wildcard()).collect();
        }
        let bound = bound_gateways(virtual_service);
        let gateways = self.key.objects.gateways.intersection(&bound).filter_map(|key| index.config(key));
        gateways.flat_map(|gateway| hosts_at_gateway(gateway, &routed, &virtual_service.key)).collect()
    }

    /// Returns the VirtualServices that a restricted scope sees.
    pub(super) fn visible_virtual_services(&self, index: &MeshIndex) -> Vec<Arc<Config>> {
        if self.key.client.is_gateway() {
            let bound = self.key.objects.gateways.iter().flat_map(|key| index.virtual_services_bound_to(key));
            let seen = bound.filter(|config| self.viewpoint().sees_virtual_service(index, config));
            return seen
                .map(|config| (config.key.clone(), config.clone()))
                .collect::<BTreeMap<_, _>>()
                .into_values()
                .collect();
        }
        if self.egress.is_everything() {
            return Vec::new();
        }
        let kind = Kind::VirtualService;
        let candidates: Vec<&Arc<Config>> = match self.egress.namespaces() {
            None => index.of_kind(kind).collect(),
            Some(names) => names.into_iter().flat_map(|name| index.of_namespace(kind, name)).collect(),
        };
        let viewpoint = self.viewpoint();
        candidates.into_iter().filter(|config| viewpoint.sees_virtual_service(index, config)).cloned().collect()
    }
}
