//! The route tables of listeners at Unix sockets, which have requests to every port.

use std::collections::HashMap;

use prost::Message;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::{Hostname, RouteTableName};

use super::table::{encoded, table, unknown_hosts};
use crate::model::UnknownTraffic;
use crate::resource::EncodedResource;

/// A virtual host for the table of a socket, as it is in the table of its port.
#[derive(Debug, Clone, Copy)]
pub struct SocketVirtualHost<'a> {
    /// The full host.
    pub host: &'a Hostname,
    /// The port of the service.
    pub port: u16,
    /// The virtual host in the table of the port.
    pub virtual_host: &'a EncodedResource,
}

/// Encodes the table of a listener at a Unix socket. A request says by its host which port it means, such as `reviews:9080`;
/// without one it is for the first port of the service that is given here, as with Istio. Of two virtual hosts that want one
/// domain, the one whose full name it is has it, otherwise the first one.
pub fn encode_socket_table(
    path: &str,
    virtual_hosts: &[SocketVirtualHost<'_>],
    unknown: &UnknownTraffic,
) -> EncodedResource {
    let decoded = virtual_hosts.iter().map(|SocketVirtualHost { port, virtual_host, .. }| {
        let mut decoded = pb::VirtualHost::decode(virtual_host.body()).unwrap_or_default();
        let with_ports: Vec<String> = decoded.domains.iter().map(|domain| format!("{domain}:{port}")).collect();
        decoded.domains.extend(with_ports);
        decoded
    });
    let mut decoded: Vec<pb::VirtualHost> = decoded.collect();
    let mut owners: HashMap<String, usize> = HashMap::new();
    for (at, SocketVirtualHost { host, port, .. }) in virtual_hosts.iter().enumerate() {
        owners.entry(host.to_string()).or_insert(at);
        owners.entry(format!("{host}:{port}")).or_insert(at);
    }
    for (at, virtual_host) in decoded.iter_mut().enumerate() {
        virtual_host.domains.retain(|domain| *owners.entry(domain.clone()).or_insert(at) == at);
    }
    decoded.push(unknown_hosts(unknown));
    let name = RouteTableName::Socket(path.into()).to_string();
    let table = pb::RouteConfiguration { virtual_hosts: decoded, ignore_port_in_host_matching: false, ..table(&name) };
    encoded(&name, &table.encode_to_vec())
}
