//! Listeners for what a captured application sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::{ListenerName, RouteTableName};

use super::chains::{bare_tcp_chain, black_hole_chain, http_chain, only_plain_http};
use super::connections::{ConnectionMatch, ConnectionTargets, connection_chain, names_servers};
use super::listener_filters::{http_inspector, tls_inspector};
use super::{OUTBOUND_PORT, encoded, managers};
use crate::encode::cluster::unknown_destination_cluster;
use crate::encode::wire::socket_address;
use crate::model::Capture;
use crate::resource::EncodedResource;

/// Every IPv4 address.
pub(super) const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What the services without an address make of an outbound port that they share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundPort {
    /// Whether plain HTTP is routed by the table of the port.
    pub http: bool,
    /// Where everything else goes, by what is known of a connection. What is in none of these no service takes.
    pub connections: ConnectionTargets,
}

/// Encodes the listener of captured traffic to a port, whatever the address. What is neither HTTP nor TLS of a known
/// name goes to the TCP cluster, or to where `capture` says.
pub fn encode_outbound_port(port: u16, uses: &OutboundPort, capture: &Capture) -> EncodedResource {
    encode_outbound_port_at(ANY_ADDRESS, port, uses, capture)
}

/// Encodes the listener of captured traffic to a port of one address.
pub fn encode_outbound_port_at(ip: IpAddr, port: u16, uses: &OutboundPort, capture: &Capture) -> EncodedResource {
    let name = ListenerName::Address { ip, port };
    let mut chains = Vec::new();
    let mut inspectors = Vec::new();
    if uses.http {
        let table = RouteTableName::Port(port).to_string();
        chains.push(only_plain_http(http_chain(&managers::outbound(&name.to_string(), &table))));
        inspectors.push(http_inspector());
    }
    chains.extend(chains_of_known(&uses.connections));
    if names_servers(&uses.connections) {
        inspectors.insert(0, tls_inspector());
    }
    let rest = match uses.connections.get(&ConnectionMatch::default()) {
        Some(target) => connection_chain(&ConnectionMatch::default(), target),
        None => bare_tcp_chain(unknown_destination_cluster(&capture.unknown)),
    };
    let rest_name = match uses.connections.get(&ConnectionMatch::default()) {
        Some(_) => String::new(),
        // Istio's name, whether what is unknown passes or not.
        None => "PassthroughFilterChain".to_owned(),
    };
    let listener = pb::Listener {
        address: Some(socket_address(&ip.to_string(), port)),
        filter_chains: chains,
        default_filter_chain: Some(pb::FilterChain { name: rest_name, ..rest }),
        listener_filters: inspectors,
        ..captured(capture.detection_timeout)
    };
    encoded(name, listener)
}

/// Returns the chains of connections of which something has to be known.
fn chains_of_known(connections: &ConnectionTargets) -> impl Iterator<Item = pb::FilterChain> {
    let known = connections.iter().filter(|(connection_match, _)| **connection_match != ConnectionMatch::default());
    known.map(|(connection_match, target)| connection_chain(connection_match, target))
}

/// Encodes the listener of captured traffic to one virtual address. HTTP is routed by `table`, if there is one;
/// everything else goes to where `connections` says. Such a listener takes precedence over that of the port alone, as Envoy prefers
/// the more specific address.
pub fn encode_outbound_address(
    address: SocketAddr,
    connections: &ConnectionTargets,
    table: Option<&RouteTableName>,
    detection_timeout: Duration,
) -> EncodedResource {
    let (ip, port) = (address.ip(), address.port());
    let name = ListenerName::Address { ip, port };
    let base = pb::Listener { address: Some(socket_address(&ip.to_string(), port)), ..captured(detection_timeout) };
    let rest = connections.get(&ConnectionMatch::default());
    let rest = rest.map(|target| connection_chain(&ConnectionMatch::default(), target));
    let mut chains: Vec<pb::FilterChain> = chains_of_known(connections).collect();
    let mut listener_filters = Vec::new();
    if names_servers(connections) {
        listener_filters.push(tls_inspector());
    }
    let listener = match table {
        None => {
            chains.extend(rest);
            pb::Listener { filter_chains: chains, listener_filters, ..base }
        }
        Some(table) => {
            let manager = managers::outbound(&name.to_string(), &table.to_string());
            chains.insert(0, only_plain_http(http_chain(&manager)));
            listener_filters.push(http_inspector());
            pb::Listener { filter_chains: chains, default_filter_chain: rest, listener_filters, ..base }
        }
    };
    encoded(name, listener)
}

/// Encodes the listener at which all captured outbound traffic arrives, and which hands it to the listener of its
/// destination. What has none passes on, or is refused. `capture` decides which of the two it is, or where it goes.
pub fn encode_virtual_outbound(capture: &Capture) -> EncodedResource {
    let rest = bare_tcp_chain(unknown_destination_cluster(&capture.unknown));
    let listener = pb::Listener {
        address: Some(socket_address(&ANY_ADDRESS.to_string(), OUTBOUND_PORT)),
        filter_chains: vec![
            black_hole_chain("virtualOutbound-blackhole", OUTBOUND_PORT),
            pb::FilterChain { name: "virtualOutbound-catchall-tcp".into(), ..rest },
        ],
        use_original_dst: Some(true),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        max_connections_to_accept_per_socket_event: Some(1),
        ..Default::default()
    };
    encoded(ListenerName::VirtualOutbound, listener)
}

/// Returns what listeners of captured traffic have in common: they are handed connections and bind nothing.
fn captured(detection_timeout: Duration) -> pb::Listener {
    pb::Listener {
        listener_filters_timeout: Some(to_pb(detection_timeout)),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Outbound as i32,
        bind_to_port: Some(false),
        ..Default::default()
    }
}
