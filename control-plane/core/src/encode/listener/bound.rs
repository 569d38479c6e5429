//! Listeners that a sidecar really binds, because its traffic is not captured.

use std::net::IpAddr;

use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::{ClusterName, ListenerName};

use super::chains::{ConnectionTarget, cluster_chain, http_chain, tcp_chain};
use super::connections::{ConnectionMatch, ConnectionTargets, connection_chain, names_servers};
use super::inbound_port::InboundPort;
use super::listener_filters::tls_inspector;
use super::outbound::OutboundPort;
use super::server_tls::server_tls;
use super::{encoded, managers};
use crate::encode::wire::{pipe_address, socket_address};
use crate::resource::EncodedResource;

/// What becomes of connections to a bound listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundListener {
    /// Requests are routed by the table of this name.
    Routes(String),
    /// Bytes go to where this says. A connection of which nothing is known here is closed.
    Connections(ConnectionTargets),
    /// Connections go to a port of the own application.
    Inbound(InboundPort),
}

impl BoundListener {
    /// Returns the listener of a port that services share.
    pub fn of_port(port: u16, uses: &OutboundPort) -> Self {
        match uses {
            OutboundPort { http: true, .. } => Self::Routes(port.to_string()),
            OutboundPort { http: false, connections } => Self::Connections(connections.clone()),
        }
    }

    /// Returns a listener whose connections all go to one cluster.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::Connections([(ConnectionMatch::default(), ConnectionTarget::cluster(name))].into())
    }
}

/// Encodes a listener that is really bound at an address of the sidecar.
pub fn encode_bound(ip: IpAddr, port: u16, listener: &BoundListener) -> EncodedResource {
    encode(&ListenerName::Address { ip, port }, socket_address(&ip.to_string(), port), listener)
}

/// Encodes a listener that is bound at a Unix socket.
pub fn encode_bound_at_socket(path: &str, listener: &BoundListener) -> EncodedResource {
    encode(&ListenerName::Socket(path.into()), pipe_address(path), listener)
}

fn encode(name: &ListenerName, address: core::Address, listener: &BoundListener) -> EncodedResource {
    let outbound = core::TrafficDirection::Outbound;
    let mut listener_filters = Vec::new();
    let (chains, direction) = match listener {
        BoundListener::Routes(table) => (vec![http_chain(&managers::outbound(&name.to_string(), table))], outbound),
        BoundListener::Connections(connections) => {
            let targets: Vec<&ConnectionTarget> = connections.values().collect();
            match targets[..] {
                // The only service of a port has every connection to it, so that nothing has to be found out of them but the host
                // of which DNS is asked.
                [only] if only.source.is_none() => {
                    listener_filters.extend(only.port_of_named_host.map(|_| tls_inspector()));
                    (vec![tcp_chain(only)], outbound)
                }
                _ => {
                    if names_servers(connections) {
                        listener_filters.push(tls_inspector());
                    }
                    let chains = connections.iter().map(|(matched, target)| connection_chain(matched, target));
                    (chains.collect(), outbound)
                }
            }
        }
        BoundListener::Inbound(inbound) => {
            let is_http = inbound.protocol.is_http();
            let chain = if is_http {
                http_chain(&managers::inbound(&name.to_string(), inbound))
            } else {
                cluster_chain(&ClusterName::inbound(inbound.port).to_string())
            };
            let transport_socket = inbound.tls.as_ref().map(|settings| server_tls(settings, is_http));
            (vec![pb::FilterChain { transport_socket, ..chain }], core::TrafficDirection::Inbound)
        }
    };
    let listener = pb::Listener {
        address: Some(address),
        filter_chains: chains,
        listener_filters,
        traffic_direction: direction as i32,
        ..Default::default()
    };
    encoded(name, listener)
}
