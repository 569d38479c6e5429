//! Listeners for what a captured application sends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rutter_api::config::istio::OutboundMode;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::{ListenerName, RouteTableName};

use super::chains::{bare_tcp_chain, black_hole_chain, http_chain, only_plain_http, tcp_chain};
use super::listener_filters::{http_inspector, tls_inspector};
use super::{OUTBOUND_PORT, encoded, managers};
use crate::encode::cluster::unknown_destination_cluster;
use crate::encode::wire::socket_address;
use crate::resource::EncodedResource;

/// Every IPv4 address.
pub(super) const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What the services without an address make of an outbound port that they share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundPort {
    /// Whether plain HTTP is routed by the table of the port.
    pub http: bool,
    /// The clusters that TLS connections go to, by the host that they name in SNI.
    pub tls: BTreeMap<String, String>,
    /// The cluster that everything else goes to. `None` means that no service takes it.
    pub tcp: Option<String>,
}

/// Encodes the listener of captured traffic to a port, whatever the address. What is neither HTTP nor TLS of a known
/// name goes to the TCP cluster, or to where `mode` says.
pub fn encode_outbound_port(port: u16, uses: &OutboundPort, mode: OutboundMode) -> EncodedResource {
    let name = ListenerName::Address { ip: ANY_ADDRESS, port };
    let mut chains = Vec::new();
    let mut inspectors = Vec::new();
    if uses.http {
        let table = RouteTableName::Port(port).to_string();
        chains.push(only_plain_http(http_chain(&managers::outbound(&name.to_string(), &table))));
        inspectors.push(http_inspector());
    }
    for (sni, cluster) in &uses.tls {
        let chain_match = pb::FilterChainMatch { server_names: vec![sni.clone()], ..Default::default() };
        chains.push(pb::FilterChain { filter_chain_match: Some(chain_match), ..tcp_chain(cluster) });
    }
    if !uses.tls.is_empty() {
        inspectors.insert(0, tls_inspector());
    }
    let rest = uses.tcp.as_deref().unwrap_or(unknown_destination_cluster(mode));
    let rest_name = format!("{}FilterChain", rest.trim_end_matches("Cluster"));
    let listener = pb::Listener {
        address: Some(socket_address(&ANY_ADDRESS.to_string(), port)),
        filter_chains: chains,
        default_filter_chain: Some(pb::FilterChain { name: rest_name, ..bare_tcp_chain(rest) }),
        listener_filters: inspectors,
        ..captured()
    };
    encoded(name, listener)
}

/// Encodes the listener of captured traffic to one virtual address. HTTP is routed by `table`, if there is one;
/// everything else goes to the cluster. Such a listener takes precedence over that of the port alone, as Envoy prefers
/// the more specific address.
pub fn encode_outbound_address(
    ip: IpAddr,
    port: u16,
    cluster: &str,
    table: Option<&RouteTableName>,
) -> EncodedResource {
    let name = ListenerName::Address { ip, port };
    let base = pb::Listener { address: Some(socket_address(&ip.to_string(), port)), ..captured() };
    let listener = match table {
        None => pb::Listener { filter_chains: vec![tcp_chain(cluster)], ..base },
        Some(table) => {
            let manager = managers::outbound(&name.to_string(), &table.to_string());
            pb::Listener {
                filter_chains: vec![only_plain_http(http_chain(&manager))],
                default_filter_chain: Some(tcp_chain(cluster)),
                listener_filters: vec![http_inspector()],
                ..base
            }
        }
    };
    encoded(name, listener)
}

/// Encodes the listener at which all captured outbound traffic arrives, and which hands it to the listener of its
/// destination. What has none passes on, or is refused. `mode` decides which of the two it is.
pub fn encode_virtual_outbound(mode: OutboundMode) -> EncodedResource {
    let rest = bare_tcp_chain(unknown_destination_cluster(mode));
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
fn captured() -> pb::Listener {
    pb::Listener {
        listener_filters_timeout: Some(Default::default()),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Outbound as i32,
        bind_to_port: Some(false),
        ..Default::default()
    }
}
