//! What one sidecar has for itself: the way to its application, and listeners that it must really bind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rutter_api::config::ingress_port;
use rutter_api::config::istio::Sidecar;
use rutter_api::node::Interception;
use rutter_api::{ResourceType, SidecarNode};

use crate::encode::cache::{Cache, address, hash};
use crate::encode::listener::{BoundListener, InboundPort, encode_bound, encode_virtual_inbound};
use crate::encode::{EncodedResource, cluster};
use crate::index::{Endpoint, MeshIndex, Protocol, Service};
use crate::snapshot::{ScopeSnapshot, Write};

/// One port of the application.
struct Inbound {
    port: InboundPort,
    service: Option<Arc<Service>>,
    /// Where the application really listens. None: where the caller addressed it.
    target: Option<(IpAddr, u16)>,
}

/// The resources of a sidecar's own, and what they were made from. Sidecars of one service are much alike:
/// where nothing names the sidecar itself, they share it.
#[derive(Debug)]
pub(crate) struct OwnPiece {
    pub(crate) snapshot: Arc<ScopeSnapshot>,
    _services: Vec<Option<Arc<Service>>>,
}

/// Makes each piece once.
#[derive(Debug, Default)]
pub(crate) struct OwnEncoder {
    pieces: Cache<OwnPiece>,
    /// Pieces made; also the lineage of the last.
    pub(crate) made: u64,
}

/// Lineages of sidecars' own snapshots are told from those of scopes by this bit.
const OWN_LINEAGE: u64 = 1 << 63;

impl OwnEncoder {
    /// The resources of a sidecar's own; `listeners` are those that it binds for what its application asks.
    pub(crate) fn own_piece(
        &mut self,
        index: &MeshIndex,
        (node, sidecar): (&SidecarNode, Option<&Sidecar>),
        listeners: impl Iterator<Item = (u16, BoundListener)>,
    ) -> Arc<OwnPiece> {
        let inbound = inbound_ports(index, node, sidecar);
        match node.interception {
            // What a gRPC server asks for is made when it does: it says where it listens.
            Interception::None if node.proxyless => {
                self.pieces.get_or_make(&[], || OwnPiece { snapshot: Arc::default(), _services: Vec::new() })
            }
            Interception::Redirect => {
                let key: Vec<usize> = inbound.iter().flat_map(Inbound::key).collect();
                let made = &mut self.made;
                self.pieces.get_or_make(&key, || {
                    *made += 1;
                    piece(inbound, *made, |ports| vec![encode_virtual_inbound(&ports)])
                })
            }
            Interception::None => {
                self.made += 1;
                Arc::new(piece(inbound, self.made, |ports| bound(node, listeners, ports)))
            }
        }
    }
}

fn piece(
    inbound: Vec<Inbound>,
    lineage: u64,
    listeners: impl FnOnce(Vec<InboundPort>) -> Vec<EncodedResource>,
) -> OwnPiece {
    let cluster = |one: &Inbound| {
        let target = one.target.map(|(ip, port)| (ip.to_string(), port));
        cluster::encode_inbound(one.port.port, one.port.protocol, (one.service.as_deref(), target))
    };
    let clusters = inbound.iter().map(|one| Write::Put(ResourceType::Cluster, cluster(one)));
    let mut writes: Vec<Write> = clusters.collect();
    let services = inbound.iter().map(|one| one.service.clone()).collect();
    let listeners = listeners(inbound.into_iter().map(|one| one.port).collect());
    writes.extend(listeners.into_iter().map(|listener| Write::Put(ResourceType::Listener, listener)));
    let empty = ScopeSnapshot::new(OWN_LINEAGE | lineage);
    OwnPiece { snapshot: Arc::new(empty.apply(writes).unwrap_or(empty)), _services: services }
}

impl Inbound {
    fn key(&self) -> [usize; 6] {
        let target = self.target.map_or(0, |target| hash(&format!("{target:?}")));
        let service = self.service.as_ref().map_or(0, address);
        let port = &self.port;
        let ports = [usize::from(port.port), usize::from(port.service_port), port.protocol as usize];
        [ports[0], ports[1], ports[2], hash(&port.host), service, target]
    }
}

/// Inbound listeners and outbound ones share the sidecar's address; where both want a port, the
/// application's peers come first.
fn bound(
    node: &SidecarNode,
    outbound: impl Iterator<Item = (u16, BoundListener)>,
    ports: Vec<InboundPort>,
) -> Vec<EncodedResource> {
    let mut listeners: BTreeMap<u16, BoundListener> = outbound.collect();
    listeners.extend(ports.into_iter().map(|port| (port.port, BoundListener::Inbound(port))));
    let ip = node.ip().to_string();
    listeners.iter().map(|(port, what)| encode_bound(&ip, *port, what)).collect()
}

fn inbound_ports(index: &MeshIndex, node: &SidecarNode, sidecar: Option<&Sidecar>) -> Vec<Inbound> {
    let bound = node.interception == Interception::None;
    let written = sidecar.map(|sidecar| sidecar.ingress.as_slice()).unwrap_or_default();
    if written.is_empty() {
        return from_services(index, node, bound);
    }
    written
        .iter()
        .map(|ingress| {
            let port = ingress.port.number.get();
            let (target, at_own_ip) =
                ingress.default_endpoint.as_deref().and_then(ingress_port).unwrap_or((port, false));
            let ip = if at_own_ip { node.ip() } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
            let protocol = Protocol::from_word(&ingress.port.protocol);
            let port = InboundPort { port, service_port: port, protocol, host: node.id() };
            Inbound { port, service: None, target: Some((ip, target)) }
        })
        .collect()
}

/// The ports at which services reach this sidecar; of several services at one port the oldest names it.
fn from_services(index: &MeshIndex, node: &SidecarNode, bound: bool) -> Vec<Inbound> {
    let mut services: Vec<&Arc<Service>> = node.addresses.iter().flat_map(|ip| index.own_services(ip)).collect();
    services.retain(|service| *service.namespace() == node.namespace);
    services.sort_by_key(|service| (service.created, &service.key));
    let mut ports: BTreeMap<u16, Inbound> = BTreeMap::new();
    for service in services {
        let endpoints = index.endpoints(&service.key);
        let here = |endpoint: &&Endpoint| endpoint.ip().is_some_and(|ip| node.addresses.contains(&ip));
        for endpoint in endpoints.iter().filter(here) {
            for port in &service.ports {
                let Some(target) = endpoint.target(port.number) else { continue };
                ports.entry(target).or_insert_with(|| Inbound {
                    port: InboundPort {
                        port: target,
                        service_port: port.number,
                        protocol: port.protocol,
                        host: service.key.host.to_string(),
                    },
                    service: Some(service.clone()),
                    target: bound.then_some((IpAddr::V4(Ipv4Addr::LOCALHOST), target)),
                });
            }
        }
    }
    ports.into_values().collect()
}
