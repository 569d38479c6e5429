//! Listeners of gateways.

use std::collections::BTreeSet;

use rutter_api::config::istio::ServerProtocol;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::{ListenerName, RouteTableName};

use super::chains::{http_chain, tcp_chain};
use super::connections::{ConnectionTargets, connection_chain, names_servers};
use super::listener_filters::tls_inspector;
use super::outbound::ANY_ADDRESS;
use super::server_tls::server_tls;
use super::{encoded, managers};
use crate::encode::wire::{config_field, istio_metadata, socket_address};
use crate::model::{GatewayAddress, GatewayServer};
use crate::resource::EncodedResource;

/// A server of a listener, and where its connections go if they have no requests in them.
pub struct ServerOfListener<'a> {
    /// The server.
    pub server: &'a GatewayServer,
    /// Where connections go that are passed on, by what is known of them.
    pub connections: ConnectionTargets,
}

/// Encodes the listener of some servers at one address. `None` means that none of them leads anywhere.
pub fn encode_gateway_listener(address: GatewayAddress, servers: &[ServerOfListener<'_>]) -> Option<EncodedResource> {
    let (bind, port) = address;
    let ip = bind.unwrap_or(ANY_ADDRESS);
    let name = ListenerName::Address { ip, port };
    let mut chains = Chains { listener_name: name.to_string(), taken: BTreeSet::new(), chains: Vec::new() };
    servers.iter().for_each(|server| chains.add(server));
    let names_some = servers.iter().any(|server| names_servers(&server.connections));
    let is_encrypted = servers.first().is_some_and(|first| match first.server.protocol {
        ServerProtocol::Http | ServerProtocol::Tcp => false,
        ServerProtocol::Https | ServerProtocol::Passthrough | ServerProtocol::AutoPassthrough | ServerProtocol::Tls => {
            true
        }
    });
    let listener = pb::Listener {
        address: Some(socket_address(&ip.to_string(), port)),
        filter_chains: chains.chains,
        listener_filters: if is_encrypted || names_some { vec![tls_inspector()] } else { Vec::new() },
        traffic_direction: core::TrafficDirection::Outbound as i32,
        ..Default::default()
    };
    (!listener.filter_chains.is_empty()).then(|| encoded(name, listener))
}

/// The filter chains of a listener. Envoy refuses two that take the same connections, so the first has them.
struct Chains {
    listener_name: String,
    taken: BTreeSet<String>,
    chains: Vec<pb::FilterChain>,
}

impl Chains {
    fn add(&mut self, ServerOfListener { server, connections }: &ServerOfListener<'_>) {
        let metadata = || Some(istio_metadata(vec![config_field(&server.gateway)]));
        match (server.protocol, server.table()) {
            (ServerProtocol::Http | ServerProtocol::Https, Some(table)) => {
                let chain = http_chain(&managers::gateway(&self.listener_name, &table));
                let names =
                    if matches!(server.protocol, ServerProtocol::Https) { server_names(server) } else { Vec::new() };
                self.push(pb::FilterChain { metadata: metadata(), ..decrypted(chain, server, names, &table) });
            }
            (ServerProtocol::Tls, _) => {
                if let Some(target) = connections.values().next() {
                    let table = RouteTableName::Gateway { port: server.port(), server: None };
                    let chain = decrypted(tcp_chain(target), server, server_names(server), &table);
                    self.push(pb::FilterChain { metadata: metadata(), ..chain });
                }
            }
            (
                ServerProtocol::Passthrough
                | ServerProtocol::AutoPassthrough
                | ServerProtocol::Tcp
                | ServerProtocol::Http
                | ServerProtocol::Https,
                _,
            ) => {
                for (connection_match, target) in connections {
                    self.push(connection_chain(connection_match, target));
                }
            }
        }
    }

    /// Adds a chain for those of its connections that no other chain takes.
    fn push(&mut self, mut chain: pb::FilterChain) {
        let mut chain_match = chain.filter_chain_match.take().unwrap_or_default();
        let rest = pb::FilterChainMatch { server_names: Vec::new(), ..chain_match.clone() };
        let is_free = |name: &str, taken: &mut BTreeSet<String>| taken.insert(format!("{name} {rest:?}"));
        if chain_match.server_names.is_empty() {
            if is_free("", &mut self.taken) {
                chain.filter_chain_match = (chain_match != pb::FilterChainMatch::default()).then_some(chain_match);
                self.chains.push(chain);
            }
            return;
        }
        chain_match.server_names.retain(|name| is_free(name, &mut self.taken));
        if !chain_match.server_names.is_empty() {
            chain.filter_chain_match = Some(chain_match);
            self.chains.push(chain);
        }
    }
}

/// Returns the names by which clients ask for a server in TLS, or none if it takes every name.
fn server_names(server: &GatewayServer) -> Vec<String> {
    let names: BTreeSet<String> = server.server().hosts.iter().map(|host| host.host.to_string()).collect();
    if names.contains("*") { Vec::new() } else { names.into_iter().collect() }
}

/// Returns the chain for connections to some names, which are decrypted as the server says.
fn decrypted(
    chain: pb::FilterChain,
    server: &GatewayServer,
    server_names: Vec<String>,
    table: &RouteTableName,
) -> pb::FilterChain {
    let settings = server.server().tls.as_ref().filter(|_| server.protocol != ServerProtocol::Http);
    let Some(settings) = settings else { return chain };
    let is_http = match table {
        RouteTableName::Gateway { server, .. } => server.is_some(),
        RouteTableName::Port(_) | RouteTableName::Service(_) | RouteTableName::Socket(_) | RouteTableName::Grpc(_) => {
            false
        }
    };
    let chain_match = (!server_names.is_empty()).then(|| pb::FilterChainMatch { server_names, ..Default::default() });
    pb::FilterChain { filter_chain_match: chain_match, transport_socket: Some(server_tls(settings, is_http)), ..chain }
}
