//! HTTP connection managers: how a listener treats requests.

use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::http::cors::v3::Cors;
use rutter_api::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use rutter_api::pb::envoy::extensions::filters::http::router::v3::Router;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::{ClusterName, RouteTableName};

use super::inbound_port::InboundPort;
use crate::encode::cluster::INBOUND_PASSTHROUGH;
use crate::encode::wire::{ads, any};
use crate::model::Protocol;

/// The name of the filter that makes faults. Routes say by it which.
pub const FAULT_FILTER: &str = "envoy.filters.http.fault";
/// The name of the filter that answers pages of other origins. Routes say by it what these may.
pub const CORS_FILTER: &str = "envoy.filters.http.cors";

/// Returns the manager of an outbound listener, whose requests are routed by a table that comes separately.
pub(super) fn outbound(listener_name: &str, table_name: &str) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        stat_prefix: format!("outbound_{listener_name};"),
        route_specifier: Some(by_table(table_name)),
        http_filters: outbound_filters(),
        ..common()
    }
}

/// Returns the manager of a gateway, whose requests come from outside the mesh: what clients say of themselves is not
/// believed.
pub(super) fn gateway(listener_name: &str, table: &RouteTableName) -> hcm::HttpConnectionManager {
    let manager = outbound(listener_name, &table.to_string());
    hcm::HttpConnectionManager { use_remote_address: Some(true), ..with_client_certificate(manager) }
}

/// Returns a manager that says in a header of each request which certificate the client has shown, and believes no client that
/// says it itself.
fn with_client_certificate(manager: hcm::HttpConnectionManager) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails};
    hcm::HttpConnectionManager {
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet as i32,
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            subject: Some(true),
            cert: true,
            dns: true,
            uri: true,
            ..Default::default()
        }),
        ..manager
    }
}

/// Returns the route specifier by which a table is asked for on the stream.
pub(super) fn by_table(table_name: &str) -> hcm::http_connection_manager::RouteSpecifier {
    let rds = hcm::Rds { config_source: Some(ads()), route_config_name: table_name.to_owned() };
    hcm::http_connection_manager::RouteSpecifier::Rds(rds)
}

/// Returns the manager for requests to a port of the own application.
pub(super) fn inbound(listener_name: &str, port: &InboundPort) -> hcm::HttpConnectionManager {
    let table = inbound_table(&ClusterName::inbound(port.port).to_string(), port);
    let manager = hcm::HttpConnectionManager {
        stat_prefix: format!("inbound_{listener_name};"),
        ..inbound_manager(table, port.protocol)
    };
    if port.tls.is_some() { with_client_certificate(manager) } else { manager }
}

/// Returns the manager for requests to ports of the own application that no service is known for.
pub(super) fn inbound_passthrough(port: &InboundPort) -> hcm::HttpConnectionManager {
    let table = inbound_table(INBOUND_PASSTHROUGH, port);
    hcm::HttpConnectionManager {
        stat_prefix: format!("{INBOUND_PASSTHROUGH};"),
        ..inbound_manager(table, port.protocol)
    }
}

fn inbound_manager(table: route::RouteConfiguration, protocol: Protocol) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        http2_protocol_options: protocol.is_http2().then(Default::default),
        ..common()
    }
}

/// Returns the table by which every request goes to one cluster, without a time limit.
fn inbound_table(cluster: &str, port: &InboundPort) -> route::RouteConfiguration {
    let no_limit = Some(prost_types::Duration::default());
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: no_limit,
        retry_policy: (!port.protocol.is_http2()).then(inbound_retries),
        max_stream_duration: Some(route::route_action::MaxStreamDuration {
            max_stream_duration: no_limit,
            grpc_timeout_header_max: no_limit,
            ..Default::default()
        }),
        ..Default::default()
    };
    let operation = format!("{}:{}/*", port.host, port.service_port);
    let default_route = route::Route {
        name: "default".into(),
        r#match: Some(every_request()),
        decorator: Some(route::Decorator { operation, ..Default::default() }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: format!("inbound|http|{}", port.service_port),
        domains: vec!["*".into()],
        routes: vec![default_route],
        ..Default::default()
    };
    route::RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![host],
        validate_clusters: Some(false),
        ..Default::default()
    }
}

fn inbound_retries() -> route::RetryPolicy {
    route::RetryPolicy { retry_on: "reset-before-request".into(), num_retries: Some(2), ..Default::default() }
}

/// Returns the match that takes every request.
pub(super) fn every_request() -> route::RouteMatch {
    let path_specifier = Some(route::route_match::PathSpecifier::Prefix("/".into()));
    route::RouteMatch { path_specifier, ..Default::default() }
}

/// Returns the filters of requests to others: those that act as a route says, and the router.
fn outbound_filters() -> Vec<hcm::HttpFilter> {
    let cors = any("envoy.extensions.filters.http.cors.v3.Cors", &Cors {});
    vec![fault(), filter(CORS_FILTER, cors), router()]
}

/// Returns the filter that makes the faults of routes, and none by itself.
pub(super) fn fault() -> hcm::HttpFilter {
    filter(FAULT_FILTER, any("envoy.extensions.filters.http.fault.v3.HTTPFault", &HttpFault::default()))
}

fn filter(name: &str, config: prost_types::Any) -> hcm::HttpFilter {
    let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(config));
    hcm::HttpFilter { name: name.to_owned(), config_type, ..Default::default() }
}

/// Returns the filter that forwards requests. It is the last one of every manager.
pub(super) fn router() -> hcm::HttpFilter {
    let config = any("envoy.extensions.filters.http.router.v3.Router", &Router::default());
    filter("envoy.filters.http.router", config)
}

/// Returns what the managers of all sidecars have in common, which is what Istio sets.
fn common() -> hcm::HttpConnectionManager {
    let websocket =
        hcm::http_connection_manager::UpgradeConfig { upgrade_type: "websocket".into(), ..Default::default() };
    hcm::HttpConnectionManager {
        http_filters: vec![router()],
        upgrade_configs: vec![websocket],
        use_remote_address: Some(false),
        proxy_100_continue: true,
        stream_idle_timeout: Some(Default::default()),
        normalize_path: Some(true),
        path_with_escaped_slashes_action: hcm::http_connection_manager::PathWithEscapedSlashesAction::KeepUnchanged
            as i32,
        ..Default::default()
    }
}
