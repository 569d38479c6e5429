//! What one sidecar has for itself: the way to its application, and listeners that it must really bind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rutter_api::config::ingress_port;
use rutter_api::config::istio::Sidecar;
use rutter_api::node::Interception;
use rutter_api::{ResourceType, SidecarNode};

use crate::encode::listener::{BoundListener, InboundPort, encode_bound, encode_virtual_inbound};
use crate::encode::{EncodedResource, cluster};
use crate::index::{Endpoint, MeshIndex, Protocol, Service};

/// One port of the application.
struct Inbound {
    port: InboundPort,
    service: Option<Arc<Service>>,
    /// Where the application really listens. None: where the caller addressed it.
    target: Option<(IpAddr, u16)>,
}

/// The resources of a sidecar's own; `listeners` are those that it binds for what its application asks.
pub(crate) fn own_resources(
    index: &MeshIndex,
    node: &SidecarNode,
    sidecar: Option<&Sidecar>,
    listeners: impl Iterator<Item = (u16, BoundListener)>,
) -> Vec<(ResourceType, EncodedResource)> {
    let inbound = inbound_ports(index, node, sidecar);
    let mut own: Vec<(ResourceType, EncodedResource)> = Vec::new();
    for one in &inbound {
        let target = one.target.map(|(ip, port)| (ip.to_string(), port));
        let resource = cluster::encode_inbound(one.port.port, one.port.protocol, (one.service.as_deref(), target));
        own.push((ResourceType::Cluster, resource));
    }
    let ports: Vec<InboundPort> = inbound.into_iter().map(|one| one.port).collect();
    match node.interception {
        Interception::Redirect => own.push((ResourceType::Listener, encode_virtual_inbound(&ports))),
        Interception::None => own.extend(bound(node, listeners, ports)),
    }
    own
}

/// Inbound listeners and outbound ones share the sidecar's address; where both want a port, the
/// application's peers come first.
fn bound(
    node: &SidecarNode,
    outbound: impl Iterator<Item = (u16, BoundListener)>,
    ports: Vec<InboundPort>,
) -> Vec<(ResourceType, EncodedResource)> {
    let mut listeners: BTreeMap<u16, BoundListener> = outbound.collect();
    listeners.extend(ports.into_iter().map(|port| (port.port, BoundListener::Inbound(port))));
    let ip = node.ip().to_string();
    listeners.iter().map(|(port, what)| (ResourceType::Listener, encode_bound(&ip, *port, what))).collect()
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
