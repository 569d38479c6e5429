//! Listeners that the gRPC library asks for by name.

use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::{ListenerName, RouteTableName};

use super::chains::MANAGER;
use super::{encoded, managers};
use crate::encode::wire::{any, socket_address};
use crate::resource::EncodedResource;

/// Encodes what a gRPC client asks for by its target, one of the domains of a host and a port: no address, only the way
/// to a route table. The port is that of the service, and the table is named as the cluster is.
pub fn encode_grpc_client(domain: &str, port: u16, table: &RouteTableName) -> EncodedResource {
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(managers::by_table(&table.to_string())),
        http_filters: vec![managers::fault(), managers::router()],
        ..Default::default()
    };
    let api_listener = Some(pb::ApiListener { api_listener: Some(any(MANAGER, &manager)) });
    encoded(format_args!("{domain}:{port}"), pb::Listener { api_listener, ..Default::default() })
}

/// Encodes what a gRPC server asks for by a name that contains its own address: every call is for the server itself.
/// `None` means that the name is none of a server.
///
/// A server may listen wherever it likes. It takes no call before it has this listener, so it is not ready, and no
/// endpoint of a service, at the time it asks.
pub fn encode_grpc_server(name: &str) -> Option<EncodedResource> {
    let Ok(ListenerName::GrpcServer(address)) = name.parse() else { return None };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table_to_the_server_itself())),
        http_filters: vec![managers::router()],
        ..Default::default()
    };
    let filter = pb::Filter {
        name: "inbound".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(any(MANAGER, &manager))),
    };
    let listener = pb::Listener {
        address: Some(socket_address(&address.ip().to_string(), address.port())),
        filter_chains: vec![pb::FilterChain { name: "inbound".into(), filters: vec![filter], ..Default::default() }],
        traffic_direction: core::TrafficDirection::Inbound as i32,
        ..Default::default()
    };
    Some(encoded(name, listener))
}

fn table_to_the_server_itself() -> route::RouteConfiguration {
    let only_route = route::Route {
        r#match: Some(managers::every_request()),
        action: Some(route::route::Action::NonForwardingAction(Default::default())),
        ..Default::default()
    };
    let host = route::VirtualHost { domains: vec!["*".into()], routes: vec![only_route], ..Default::default() };
    route::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() }
}
