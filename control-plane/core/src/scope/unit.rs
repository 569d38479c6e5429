//! What a scope holds for one host: shared pieces, made once for all scopes that see the same.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rutter_api::node::Interception;
use rutter_api::{ClusterName, Config, Hostname, ResourceType};

use super::port::PerPort;
use super::{PortUse, Scope, Wanted};
use crate::encode::cache::{Cache, address, hash};
use crate::encode::route::{self, Destination, RouteTables, Target, VirtualHost, encode_own_table};
use crate::encode::{EncodedResource, cluster, endpoint, listener};
use crate::index::{Endpoint, MeshIndex, Protocol, Service, ServiceKey, ServicePort};

/// Makes pieces, each once for each set of inputs, and counts the work.
#[derive(Debug, Default)]
pub struct Encoder {
    clusters: Cache<Piece>,
    endpoints: Cache<Piece>,
    virtual_hosts: Cache<VirtualHostPiece>,
    /// Hosts of scopes that were looked at.
    pub visits: u64,
    /// Route tables put together.
    pub tables: u64,
    /// How many hosts at once are built. None: one after the other.
    pub(crate) spread: Option<Spread>,
}

/// Runs a job for each number below a count, in any order, perhaps on several threads at once.
pub type Spread = fn(usize, &(dyn Fn(usize) + Sync));

/// Fewer hosts than this are not worth a second thread.
const SPREAD_MIN: usize = 256;

impl Encoder {
    /// Pieces encoded so far: clusters, load assignments and virtual hosts of one service each.
    pub fn encodes(&self) -> u64 {
        self.clusters.made() + self.endpoints.made() + self.virtual_hosts.made()
    }
}

/// The clusters of a service, or their load assignments.
#[derive(Debug)]
struct Piece {
    _inputs: (Arc<Service>, Option<Arc<Config>>, Arc<Vec<Endpoint>>),
    resources: Box<[EncodedResource]>,
}

#[derive(Debug)]
pub(super) struct VirtualHostPiece {
    _service: Option<Arc<Service>>,
    _rule: Option<Arc<Config>>,
    _destinations: Vec<Option<Arc<Service>>>,
    pub(super) host: VirtualHost,
}

/// A host of a scope.
#[derive(Debug, Default)]
pub(super) struct HostUnit {
    pub(super) service: Option<Arc<Service>>,
    clusters: Option<Arc<Piece>>,
    endpoints: Option<Arc<Piece>>,
    pub(super) virtual_hosts: PerPort<Arc<VirtualHostPiece>>,
    pub(super) port_uses: PerPort<PortUse>,
    /// Listeners at the service's own addresses; another service may claim the same.
    pub(super) addressed: Vec<EncodedResource>,
    /// The route tables of those.
    tables: Vec<EncodedResource>,
    /// The tables of its ports, where each has one for itself.
    alone: Vec<Arc<VirtualHostPiece>>,
}

impl HostUnit {
    pub(super) fn service_key(&self) -> Option<&ServiceKey> {
        self.service.as_ref().map(|service| &service.key)
    }

    /// All but virtual hosts, which others may have a say in.
    fn resources(&self) -> impl Iterator<Item = (ResourceType, &EncodedResource)> {
        let clusters = self.clusters.iter().flat_map(|piece| &piece.resources).map(|r| (ResourceType::Cluster, r));
        let endpoints = self.endpoints.iter().flat_map(|piece| &piece.resources).map(|r| (ResourceType::Endpoint, r));
        let alone = self.alone.iter().map(|piece| piece.host.resource());
        clusters.chain(endpoints).chain(self.tables.iter().chain(alone).map(|resource| (ResourceType::Route, resource)))
    }
}

/// What the scope has for each host now.
pub(super) fn build_all(
    scope: &Scope,
    index: &MeshIndex,
    hosts: &[&Hostname],
    encoder: &Encoder,
) -> Vec<Option<Arc<HostUnit>>> {
    let one = |host: &Hostname| build(scope, index, host, encoder).map(Arc::new);
    let Some(spread) = encoder.spread.filter(|_| hosts.len() >= SPREAD_MIN) else {
        return hosts.iter().map(|host| one(host)).collect();
    };
    let built: Vec<OnceLock<Option<Arc<HostUnit>>>> = hosts.iter().map(|_| OnceLock::new()).collect();
    spread(hosts.len(), &|at| drop(built[at].set(one(hosts[at]))));
    built.into_iter().map(|unit| unit.into_inner().flatten()).collect()
}

/// What the scope has for a host now. None: nothing.
fn build(scope: &Scope, index: &MeshIndex, host: &Hostname, encoder: &Encoder) -> Option<HostUnit> {
    let service = scope.select(index, host).cloned();
    let rule = scope.route_rule(index, host).cloned();
    let mut unit = HostUnit { service: service.clone(), ..HostUnit::default() };
    let Some(service) = service else {
        // Istio keeps rules about unknown hosts in the table of port 80.
        let rule = rule.filter(|_| !host.is_wildcard() && scope.key.tables != RouteTables::PerHost)?;
        if !index.virtual_service_hosts(&rule).contains(host) {
            return None;
        }
        add_virtual_host(scope, index, (&mut unit, encoder), (host, 80, Some(&rule)));
        return Some(unit);
    };
    let policy = index.rule_for(&service, &scope.key.namespace).cloned();
    let endpoints = index.endpoints(&service.key);
    let inputs = [address(&service), policy.as_ref().map_or(0, address), address(&endpoints)];
    let held = || (service.clone(), policy.clone(), endpoints.clone());
    let is_grpc = scope.key.tables == RouteTables::PerHost;
    let cluster_key = [inputs[0], inputs[1], if service.dns { inputs[2] } else { 0 }, usize::from(is_grpc)];
    let encode = if is_grpc { cluster::encode_grpc_clusters } else { cluster::encode_clusters };
    unit.clusters = Some(encoder.clusters.get_or_make(&cluster_key, || Piece {
        resources: encode(&service, policy.as_deref(), &endpoints).into(),
        _inputs: held(),
    }));
    unit.endpoints = Some(encoder.endpoints.get_or_make(&inputs, || Piece {
        resources: endpoint::encode_load_assignments(&service, policy.as_deref(), &endpoints).into(),
        _inputs: held(),
    }));
    for port in &service.ports {
        match role(scope, &service, port) {
            Role::Alone => {
                add_virtual_host(scope, index, (&mut unit, encoder), (host, port.number, rule.as_ref()));
                add_api_listeners(scope, index, &mut unit, port);
            }
            Role::Routed => {
                add_virtual_host(scope, index, (&mut unit, encoder), (host, port.number, rule.as_ref()));
                unit.port_uses.insert(port.number, PortUse::Http);
            }
            Role::Shared(port_use) => {
                unit.port_uses.insert(port.number, port_use);
            }
            Role::Addressed => add_addressed(&mut unit, &service, port),
            Role::None => {}
        }
    }
    Some(unit)
}

enum Role {
    /// HTTP in the port's route table.
    Routed,
    /// A part of the port's listener.
    Shared(PortUse),
    /// Listeners at its own addresses.
    Addressed,
    /// A listener that is no more than a name, and a table.
    Alone,
    /// Nothing that the client could ask for.
    None,
}

fn role(scope: &Scope, service: &Service, port: &ServicePort) -> Role {
    let cluster = || ClusterName::outbound(port.number, &service.key.host).to_string();
    let captured = scope.key.interception == Interception::Redirect;
    let has_address = captured && !service.addresses.is_empty();
    if scope.key.tables == RouteTables::PerHost {
        return if matches!(port.protocol, Protocol::Tls | Protocol::Tcp) { Role::None } else { Role::Alone };
    }
    match port.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => Role::Routed,
        Protocol::Unknown | Protocol::Tls | Protocol::Tcp if has_address => Role::Addressed,
        Protocol::Unknown => Role::Routed,
        Protocol::Tls => Role::Shared(PortUse::Tls(cluster())),
        Protocol::Tcp => Role::Shared(PortUse::Tcp(cluster())),
    }
}

fn add_addressed(unit: &mut HostUnit, service: &Arc<Service>, port: &ServicePort) {
    let cluster = ClusterName::outbound(port.number, &service.key.host).to_string();
    let table = format!("{}:{}", service.key.host, port.number);
    let table = (port.protocol == Protocol::Unknown).then_some(table);
    for ip in &service.addresses {
        let listener = listener::encode_outbound_address(&ip.to_string(), port.number, &cluster, table.as_deref());
        unit.addressed.push(listener);
    }
    if let Some(name) = table {
        let target =
            Target { host: &service.key.host, service: Some(service), port: port.number, client: "", domain: "" };
        unit.tables.push(encode_own_table(&name, target));
    }
}

/// One for each name by which a client may call the port.
fn add_api_listeners(scope: &Scope, index: &MeshIndex, unit: &mut HostUnit, port: &ServicePort) {
    let Some(service) = &unit.service else { return };
    let domain = &index.settings().domain;
    let (host, port) = (&service.key.host, port.number);
    let target = Target { host, service: None, port, client: &scope.key.namespace, domain };
    let names = route::domains(target).into_iter().filter(|name| !name.ends_with('.'));
    let table = route::grpc_table(host, port);
    unit.addressed.extend(names.map(|name| listener::encode_api(&format!("{name}:{port}"), &table)));
}

fn add_virtual_host(
    scope: &Scope,
    index: &MeshIndex,
    (unit, encoder): (&mut HostUnit, &Encoder),
    (host, port, rule): (&Hostname, u16, Option<&Arc<Config>>),
) {
    let hosts = rule.map(|rule| index.destinations(rule)).unwrap_or_default();
    let services: Vec<Option<Arc<Service>>> = hosts.iter().map(|host| scope.select(index, host).cloned()).collect();
    let is_near = host.as_str().split('.').nth(1) == Some(&*scope.key.namespace);
    let mut key = vec![usize::from(port), usize::from(is_near), scope.key.tables as usize, hash(host.as_str())];
    key.extend([unit.service.as_ref().map_or(0, address), rule.map_or(0, address)]);
    key.extend(services.iter().map(|service| service.as_ref().map_or(0, address)));
    let service = unit.service.clone();
    let piece = encoder.virtual_hosts.get_or_make(&key, || {
        let destinations: Vec<Destination> = hosts
            .iter()
            .zip(&services)
            .map(|(host, service)| Destination {
                host: host.clone(),
                ports: service.as_ref().map(|service| service.ports.iter().map(|port| port.number).collect()),
            })
            .collect();
        let domain = &index.settings().domain;
        let target = Target { host, service: service.as_deref(), port, client: &scope.key.namespace, domain };
        let host = VirtualHost::encode(target, rule.map(|rule| &**rule), &destinations, scope.key.tables);
        VirtualHostPiece { _service: service.clone(), _rule: rule.cloned(), _destinations: services.clone(), host }
    });
    if scope.key.tables == RouteTables::PerHost {
        unit.alone.push(piece);
    } else {
        unit.virtual_hosts.insert(port, piece);
    }
}

/// What a host's resources are to be, those that it had before included; virtual hosts only where they
/// go. With `skip`, the same piece costs nothing.
pub(super) fn want((before, after): (Option<&Arc<HostUnit>>, Option<&Arc<HostUnit>>), skip: bool, wanted: &mut Wanted) {
    let same = |piece: fn(&HostUnit) -> &Option<Arc<Piece>>| {
        let address = |unit: Option<&Arc<HostUnit>>| unit.and_then(|unit| piece(unit).as_ref()).map(address);
        skip && address(before).is_some() && address(before) == address(after)
    };
    let (same_clusters, same_endpoints) = (same(|unit| &unit.clusters), same(|unit| &unit.endpoints));
    let is_same = |kind: ResourceType| match kind {
        ResourceType::Cluster => same_clusters,
        ResourceType::Endpoint => same_endpoints,
        ResourceType::Listener | ResourceType::Route | ResourceType::Secret | ResourceType::VirtualHost => false,
    };
    let kept = |kind: ResourceType, name: &str| {
        after.is_some_and(|unit| unit.resources().any(|(other, resource)| other == kind && *resource.name == *name))
    };
    for (kind, resource) in before.into_iter().flat_map(|unit| unit.resources()) {
        if !is_same(kind) && !kept(kind, &resource.name) {
            wanted.push((kind, resource.name.clone(), None));
        }
    }
    for (kind, resource) in after.into_iter().flat_map(|unit| unit.resources()) {
        if !is_same(kind) {
            wanted.push((kind, resource.name.clone(), Some(resource.clone())));
        }
    }
    for (port, piece) in before.into_iter().flat_map(|unit| unit.virtual_hosts.iter()) {
        if after.is_none_or(|unit| unit.virtual_hosts.get(port).is_none()) {
            wanted.push((ResourceType::VirtualHost, piece.host.resource().name.clone(), None));
        }
    }
}

/// The addresses of a host, before and after, where it came or went or answers at others. None: it does not.
pub(super) fn renamed(before: Option<&Arc<HostUnit>>, after: Option<&Arc<HostUnit>>) -> Option<BTreeSet<IpAddr>> {
    let addresses = |unit: Option<&Arc<HostUnit>>| {
        unit.and_then(|unit| unit.service.as_ref()).map(|service| service.addresses.clone()).unwrap_or_default()
    };
    let ports = |unit: &Arc<HostUnit>| unit.virtual_hosts.ports().collect::<Vec<_>>();
    let (old, new) = (addresses(before), addresses(after));
    let is_same = old == new && before.map(ports) == after.map(ports);
    (!is_same).then(|| old.into_iter().chain(new).collect())
}
