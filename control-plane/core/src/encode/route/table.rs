//! The route tables that virtual hosts are in.

use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::{HostPort, ResourceType, RouteTableName};

use super::action::{direct_response, forward_to};
use super::matches::prefix;
use super::virtual_host::{VirtualHostInputs, routes, virtual_host};
use crate::encode::cluster::unknown_destination_cluster;
use crate::encode::wire::ads;
use crate::model::UnknownTraffic;
use crate::resource::EncodedResource;

/// The number of the field `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS_FIELD: u32 = 2;
/// The largest body of a direct response, in bytes: Istio's value.
const DIRECT_RESPONSE_MAX: u32 = 1_048_576;

/// Encodes the head of a port's table: its virtual hosts are resources of their own, which the proxy asks for. A change
/// of a virtual host therefore never costs the whole table.
pub fn encode_head(port: u16, unknown: &UnknownTraffic) -> EncodedResource {
    let name = RouteTableName::Port(port).to_string();
    let table = pb::RouteConfiguration {
        virtual_hosts: vec![unknown_hosts(unknown)],
        vhds: Some(pb::Vhds { config_source: Some(ads()) }),
        ..table(&name)
    };
    encoded(&name, &table.encode_to_vec())
}

/// Encodes the table of a port with its virtual hosts in it. No two of these may have a domain in common. They are
/// appended as they were encoded once, so that a table costs a copy of bytes and no encoding.
pub fn encode_table<'a>(
    port: u16,
    virtual_hosts: impl Iterator<Item = &'a EncodedResource>,
    unknown: &UnknownTraffic,
) -> EncodedResource {
    let name = RouteTableName::Port(port).to_string();
    let mut bytes = table(&name).encode_to_vec();
    virtual_hosts.for_each(|host| append(&mut bytes, &host.body()));
    append(&mut bytes, &unknown_hosts(unknown).encode_to_vec());
    encoded(&name, &bytes)
}

/// Encodes the table of a port of a service that has a listener at its own addresses. Everything in it goes to that
/// service. The listener has found out already that it is HTTP, and by its address which service is meant.
pub fn encode_own_table(inputs: &VirtualHostInputs) -> EncodedResource {
    let service = HostPort::new(&inputs.host, inputs.port);
    let only = virtual_host(service.to_string(), vec!["*".to_owned()], routes(inputs));
    let name = RouteTableName::Service(service).to_string();
    let table = pb::RouteConfiguration { virtual_hosts: vec![only], ..table(&name) };
    encoded(&name, &table.encode_to_vec())
}

pub(super) fn encoded(name: &str, body: &[u8]) -> EncodedResource {
    EncodedResource::new(ResourceType::Route, Arc::from(name), body)
}

pub(super) fn table(name: &str) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(DIRECT_RESPONSE_MAX),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

/// Returns the virtual host for the hosts that no other has: requests pass on, or are refused.
pub(super) fn unknown_hosts(unknown: &UnknownTraffic) -> pb::VirtualHost {
    let (name, action) = match unknown {
        UnknownTraffic::Passes | UnknownTraffic::GoesTo(_) => {
            let cluster = unknown_destination_cluster(unknown).to_owned();
            let action = pb::RouteAction { retry_policy: None, ..forward_to(cluster) };
            ("allow_any", pb::route::Action::Route(action))
        }
        UnknownTraffic::IsRefused => {
            ("block_all", direct_response(502, "no service of this name is in this sidecar's scope"))
        }
    };
    let route = pb::Route { name: name.into(), r#match: Some(prefix("/")), action: Some(action), ..Default::default() };
    virtual_host(name.to_owned(), vec!["*".to_owned()], vec![route])
}

/// Appends an encoded virtual host to an encoded table. Protobuf lets a repeated field be continued anywhere.
pub(super) fn append(table: &mut Vec<u8>, virtual_host: &[u8]) {
    encode_key(VIRTUAL_HOSTS_FIELD, WireType::LengthDelimited, table);
    encode_varint(virtual_host.len() as u64, table);
    table.extend_from_slice(virtual_host);
}
