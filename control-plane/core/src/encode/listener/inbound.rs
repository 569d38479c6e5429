//! The listener for what arrives for a captured application.

use std::collections::BTreeSet;
use std::time::Duration;

use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::{ClusterName, ListenerName};

use super::chains::{bare_tcp_chain, black_hole_chain, http_chain};
use super::inbound_port::InboundPort;
use super::listener_filters::{http_inspector, off_at, original_destination, tls_inspector};
use super::outbound::ANY_ADDRESS;
use super::server_tls::server_tls;
use super::{INBOUND_PORT, encoded, managers};
use crate::encode::cluster::INBOUND_PASSTHROUGH;
use crate::encode::wire::socket_address;
use crate::model::Protocol;
use crate::resource::EncodedResource;

/// Encodes the listener at which all captured inbound traffic arrives: chains for each port of the application, and for
/// the ports that are not known. HTTP is looked for only at ports whose protocol is not known, as Istio does it, for as long as
/// `detection_timeout` says.
pub fn encode_virtual_inbound(ports: &[InboundPort], detection_timeout: Duration) -> EncodedResource {
    let mut chains = vec![black_hole_chain("virtualInbound-blackhole", INBOUND_PORT)];
    chains.extend(passthrough_chains());
    chains.extend(ports.iter().flat_map(port_chains));
    let known = ports.iter().filter(|port| port.protocol != Protocol::Unknown).map(|port| port.port);
    let not_inspected: BTreeSet<u16> = known.chain([INBOUND_PORT]).collect();
    let not_inspected: Vec<u16> = not_inspected.into_iter().collect();
    let listener = pb::Listener {
        address: Some(socket_address(&ANY_ADDRESS.to_string(), INBOUND_PORT)),
        filter_chains: chains,
        listener_filters: vec![
            original_destination(),
            pb::ListenerFilter { filter_disabled: off_at(&[INBOUND_PORT]), ..tls_inspector() },
            pb::ListenerFilter { filter_disabled: off_at(&not_inspected), ..http_inspector() },
        ],
        listener_filters_timeout: Some(to_pb(detection_timeout)),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        max_connections_to_accept_per_socket_event: Some(1),
        ..Default::default()
    };
    encoded(ListenerName::VirtualInbound, listener)
}

/// The first bytes that a chain takes.
#[derive(Clone, Copy)]
enum FirstBytes {
    /// Any plain text.
    Plain,
    /// Plain text that is HTTP.
    PlainHttp,
    /// TLS.
    Tls,
}

fn chain_match(first_bytes: FirstBytes) -> pb::FilterChainMatch {
    let (transport_protocol, application_protocols) = match first_bytes {
        FirstBytes::Plain => ("raw_buffer", Vec::new()),
        FirstBytes::PlainHttp => ("raw_buffer", vec!["http/1.1".to_owned(), "h2c".to_owned()]),
        FirstBytes::Tls => ("tls", Vec::new()),
    };
    pb::FilterChainMatch {
        transport_protocol: transport_protocol.to_owned(),
        application_protocols,
        ..Default::default()
    }
}

/// Returns the chains for ports that are not known: HTTP is seen as such, and everything passes on as it came.
fn passthrough_chains() -> Vec<pb::FilterChain> {
    let port = InboundPort { port: 0, service_port: 0, protocol: Protocol::Unknown, host: String::new(), tls: None };
    let manager = managers::inbound_passthrough(&port);
    let kinds = [
        (FirstBytes::PlainHttp, bare_http_chain(&manager), "virtualInbound-catchall-http"),
        (FirstBytes::Plain, bare_tcp_chain(INBOUND_PASSTHROUGH), "virtualInbound"),
        (FirstBytes::Tls, bare_tcp_chain(INBOUND_PASSTHROUGH), "virtualInbound"),
    ];
    let chains = kinds.into_iter().map(|(first_bytes, chain, name)| pb::FilterChain {
        filter_chain_match: Some(chain_match(first_bytes)),
        name: name.to_owned(),
        ..chain
    });
    chains.collect()
}

/// Returns the chains for a port of the application.
fn port_chains(port: &InboundPort) -> Vec<pb::FilterChain> {
    let name = ListenerName::Address { ip: ANY_ADDRESS, port: port.port }.to_string();
    let cluster = ClusterName::inbound(port.port).to_string();
    let http = bare_http_chain(&managers::inbound(&name, port));
    let tcp = bare_tcp_chain(&cluster);
    let kinds = match port.protocol {
        _ if port.tls.is_some() => vec![(FirstBytes::Tls, if port.protocol.is_http() { http } else { tcp })],
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => vec![(FirstBytes::Plain, http)],
        Protocol::Unknown => {
            vec![(FirstBytes::PlainHttp, http), (FirstBytes::Plain, tcp.clone()), (FirstBytes::Tls, tcp)]
        }
        Protocol::Tls | Protocol::Tcp => vec![(FirstBytes::Tls, tcp.clone()), (FirstBytes::Plain, tcp)],
    };
    let chains = kinds.into_iter().map(|(first_bytes, chain)| pb::FilterChain {
        filter_chain_match: Some(pb::FilterChainMatch {
            destination_port: Some(u32::from(port.port)),
            ..chain_match(first_bytes)
        }),
        name: name.clone(),
        transport_socket: port.tls.as_ref().map(|settings| server_tls(settings, port.protocol.is_http())),
        ..chain
    });
    chains.collect()
}

/// Inbound chains have no bound on the TLS handshake, as with Istio.
fn bare_http_chain(manager: &hcm::HttpConnectionManager) -> pb::FilterChain {
    pb::FilterChain { transport_socket_connect_timeout: None, ..http_chain(manager) }
}
