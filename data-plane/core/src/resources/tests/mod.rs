//! What the proxy does not act on is refused by its path, and what is ignored is published.

mod every_field;

use prost::Message;
use prost_types::Any;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::*;

fn address(ip: &str) -> Option<core::Address> {
    use core::socket_address::PortSpecifier;
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}

/// A virtual host with one route, which a function changes.
fn host_with(change: impl FnOnce(&mut route::Route, &mut route::RouteAction)) -> route::VirtualHost {
    let path_specifier = Some(route::route_match::PathSpecifier::Prefix("/".into()));
    let mut action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    let mut route = route::Route {
        r#match: Some(route::RouteMatch { path_specifier, ..Default::default() }),
        ..Default::default()
    };
    change(&mut route, &mut action);
    route.action = Some(route::route::Action::Route(action));
    route::VirtualHost { domains: vec!["a".into()], routes: vec![route], ..Default::default() }
}

fn refused_host(change: impl FnOnce(&mut route::Route, &mut route::RouteAction)) -> String {
    virtual_host(&host_with(change)).unwrap_err().path
}

#[test]
fn a_route_that_rewrites_mirrors_or_changes_headers_is_refused_by_its_path() {
    assert!(virtual_host(&host_with(|_, _| {})).is_ok());
    assert_eq!(refused_host(|_, action| action.prefix_rewrite = "/x".into()), "routes[0].route.prefix_rewrite");
    let mirror = |_: &mut route::Route, action: &mut route::RouteAction| {
        action.request_mirror_policies.push(Default::default());
    };
    assert_eq!(refused_host(mirror), "routes[0].route.request_mirror_policies");
    let headers = |route: &mut route::Route, _: &mut route::RouteAction| {
        route.request_headers_to_remove.push("x".into());
    };
    assert_eq!(refused_host(headers), "routes[0].request_headers_to_remove");
    let any_case = |route: &mut route::Route, _: &mut route::RouteAction| {
        route.r#match.as_mut().unwrap().case_sensitive = Some(false);
    };
    assert_eq!(refused_host(any_case), "routes[0].match.case_sensitive");
}

#[test]
fn tls_is_never_ignored() {
    let cluster_message =
        cluster::Cluster { name: "c".into(), transport_socket: Some(Default::default()), ..Default::default() };
    assert_eq!(cluster(&cluster_message).unwrap_err().path, "transport_socket");
    let chain = listener::FilterChain { transport_socket: Some(Default::default()), ..Default::default() };
    let message = listener::Listener { filter_chains: vec![chain], ..Default::default() };
    assert_eq!(listener(&message).unwrap_err().path, "filter_chains[0].transport_socket");
    for ignored in ignored_fields() {
        assert!(
            !ignored.fields.iter().any(|field| field.contains("tls") || field.contains("socket_match")),
            "{ignored:?}"
        );
    }
}

#[test]
fn a_filter_that_the_proxy_does_not_have_is_refused() {
    let authorization = hcm::HttpFilter { name: "envoy.filters.http.rbac".into(), ..Default::default() };
    let manager = hcm::HttpConnectionManager { http_filters: vec![authorization], ..Default::default() };
    let type_url =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let config = Any { type_url: type_url.into(), value: manager.encode_to_vec() };
    let filter =
        listener::Filter { config_type: Some(listener::filter::ConfigType::TypedConfig(config)), ..Default::default() };
    let chain = listener::FilterChain { filters: vec![filter], ..Default::default() };
    let message = listener::Listener { address: address("10.0.0.1"), filter_chains: vec![chain], ..Default::default() };
    assert_eq!(listener(&message).unwrap_err().path, "filter_chains[0].filters[0].http_filters");
}

#[test]
fn an_address_that_is_no_ip_address_is_refused_by_its_place() {
    use endpoint::lb_endpoint::HostIdentifier;
    let lb_endpoint = |ip: &str| {
        let endpoint = endpoint::Endpoint { address: address(ip), ..Default::default() };
        endpoint::LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
    };
    let locality = endpoint::LocalityLbEndpoints {
        lb_endpoints: vec![lb_endpoint("10.0.0.1"), lb_endpoint("a.example.com")],
        ..Default::default()
    };
    let message = endpoint::ClusterLoadAssignment { endpoints: vec![locality], ..Default::default() };
    assert_eq!(load_assignment(&message).unwrap_err().path, "endpoints[0].lb_endpoints[1].endpoint.address");
}

#[test]
fn every_ignored_field_is_published() {
    let published = include_str!("../../../../../docs/proxy.md");
    for IgnoredFields { message, fields } in ignored_fields() {
        let names: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let row = format!("| `{message}` | {} |", names.join(", "));
        assert!(published.contains(&row), "docs/proxy.md lacks this row:\n{row}");
    }
}
