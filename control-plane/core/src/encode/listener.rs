//! Listeners: where traffic arrives, and which chain takes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::http::router::v3::Router;
use rutter_api::pb::envoy::extensions::filters::listener as inspector;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use rutter_api::{ClusterName, ResourceType};

use super::cluster::{BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH};
use super::{EncodedResource, ads, any, socket_address};
use crate::index::Protocol;

/// Where captured outbound traffic arrives.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where captured inbound traffic arrives.
pub const INBOUND_PORT: u16 = 15006;
/// Every IPv4 address.
const ANY: &str = "0.0.0.0";
/// Istio's bound on making a TLS connection.
const TRANSPORT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// First bytes of a connection that the TLS inspector reads at once: Istio's value.
const TLS_INSPECTOR_BUFFER: u32 = 512;

const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What a port of the own application is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboundPort {
    /// Where the application's peers connect, and the name of the cluster.
    pub port: u16,
    /// The service's port, for names.
    pub service_port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// The service, for names. Empty: a Sidecar's ingress.
    pub host: String,
}

/// What shares an outbound port of all addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundPort {
    /// Whether plain HTTP goes through the port's route table.
    pub http: bool,
    /// TLS by SNI: the name and the cluster.
    pub tls: BTreeMap<String, String>,
    /// The cluster that everything else goes to. None: it passes.
    pub tcp: Option<String>,
}

/// The listener of captured traffic to a port at any address.
pub fn encode_outbound_port(port: u16, what: &OutboundPort, allow_any: bool) -> EncodedResource {
    let name = format!("{ANY}_{port}");
    let mut chains = Vec::new();
    let mut inspectors = Vec::new();
    if what.http {
        chains.push(sniffed(http_chain(outbound_http(&name, &port.to_string()))));
        inspectors.push(http_inspector());
    }
    for (sni, cluster) in &what.tls {
        let chain_match = pb::FilterChainMatch { server_names: vec![sni.clone()], ..Default::default() };
        chains.push(pb::FilterChain { filter_chain_match: Some(chain_match), ..tcp_chain(cluster) });
    }
    if !what.tls.is_empty() {
        inspectors.insert(0, tls_inspector());
    }
    let rest = if allow_any { PASSTHROUGH } else { BLACK_HOLE };
    let rest = what.tcp.as_deref().unwrap_or(rest);
    let default =
        pb::FilterChain { name: format!("{}FilterChain", rest.trim_end_matches("Cluster")), ..bare_tcp_chain(rest) };
    let listener = pb::Listener {
        address: Some(socket_address(ANY, port)),
        filter_chains: chains,
        default_filter_chain: Some(default),
        listener_filters: inspectors,
        ..captured(name)
    };
    encoded(listener)
}

/// The listener of captured traffic to one virtual address. `table`: the route table for what turns out to be HTTP.
pub fn encode_outbound_address(address: &str, port: u16, cluster: &str, table: Option<&str>) -> EncodedResource {
    let name = format!("{address}_{port}");
    let base = pb::Listener { address: Some(socket_address(address, port)), ..captured(name.clone()) };
    let listener = match table {
        None => pb::Listener { filter_chains: vec![tcp_chain(cluster)], ..base },
        Some(table) => pb::Listener {
            filter_chains: vec![sniffed(http_chain(outbound_http(&name, table)))],
            default_filter_chain: Some(tcp_chain(cluster)),
            listener_filters: vec![http_inspector()],
            ..base
        },
    };
    encoded(listener)
}

/// A listener that is really bound, for a sidecar whose traffic is not captured.
pub fn encode_bound(ip: &str, port: u16, what: &BoundListener) -> EncodedResource {
    let name = format!("{ip}_{port}");
    let chain = match what {
        BoundListener::Routes(table) => http_chain(outbound_http(&name, table)),
        BoundListener::Tcp(cluster) => tcp_chain(cluster),
        BoundListener::Inbound(inbound) if inbound.protocol.is_http() => http_chain(inbound_http(&name, inbound)),
        BoundListener::Inbound(inbound) => tcp_chain(&ClusterName::inbound(inbound.port).to_string()),
    };
    let direction = match what {
        BoundListener::Routes(_) | BoundListener::Tcp(_) => core::TrafficDirection::Outbound,
        BoundListener::Inbound(_) => core::TrafficDirection::Inbound,
    };
    encoded(pb::Listener {
        name,
        address: Some(socket_address(ip, port)),
        filter_chains: vec![chain],
        traffic_direction: direction as i32,
        ..Default::default()
    })
}

/// What a gRPC client asks for by its target's name: no address, just the way to a route table.
pub fn encode_api(name: &str, table: &str) -> EncodedResource {
    let rds = hcm::Rds { config_source: Some(ads()), route_config_name: table.to_owned() };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters: vec![router()],
        ..Default::default()
    };
    let api_listener = Some(pb::ApiListener { api_listener: Some(any(MANAGER, &manager)) });
    encoded(pb::Listener { name: name.to_owned(), api_listener, ..Default::default() })
}

/// Istio's names of the listeners that gRPC servers ask for; where they listen follows.
const GRPC_INBOUND: &str = "xds.istio.io/grpc/lds/inbound/";

/// What a gRPC server asks for by a name: every call is its own. It may listen wherever it likes: it takes no
/// call before it has this, and so is not ready, and no endpoint of a service, when it asks. None: another name.
pub fn encode_grpc_inbound(name: &str) -> Option<EncodedResource> {
    let listens: SocketAddr = name.strip_prefix(GRPC_INBOUND)?.parse().ok()?;
    let own = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(route::route::Action::NonForwardingAction(Default::default())),
        ..Default::default()
    };
    let host = route::VirtualHost { domains: vec!["*".into()], routes: vec![own], ..Default::default() };
    let table = route::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        http_filters: vec![router()],
        ..Default::default()
    };
    let filter = pb::Filter {
        name: "inbound".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(any(MANAGER, &manager))),
    };
    Some(encoded(pb::Listener {
        name: name.to_owned(),
        address: Some(socket_address(&listens.ip().to_string(), listens.port())),
        filter_chains: vec![pb::FilterChain { name: "inbound".into(), filters: vec![filter], ..Default::default() }],
        traffic_direction: core::TrafficDirection::Inbound as i32,
        ..Default::default()
    }))
}

/// What a bound listener does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundListener {
    /// HTTP by a route table.
    Routes(String),
    /// Bytes to a cluster.
    Tcp(String),
    /// To the own application.
    Inbound(InboundPort),
}

/// Where all captured outbound traffic arrives before it is handed to the listener of its destination.
pub fn encode_virtual_outbound(allow_any: bool) -> EncodedResource {
    let rest = if allow_any { PASSTHROUGH } else { BLACK_HOLE };
    let chains = vec![
        to_itself("virtualOutbound-blackhole", OUTBOUND_PORT),
        pb::FilterChain { name: "virtualOutbound-catchall-tcp".into(), ..bare_tcp_chain(rest) },
    ];
    encoded(pb::Listener {
        name: "virtualOutbound".into(),
        address: Some(socket_address(ANY, OUTBOUND_PORT)),
        filter_chains: chains,
        use_original_dst: Some(true),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        max_connections_to_accept_per_socket_event: Some(1),
        ..Default::default()
    })
}

/// Where all captured inbound traffic arrives: a chain for each port of the application, and for the rest.
pub fn encode_virtual_inbound(ports: &[InboundPort]) -> EncodedResource {
    let mut chains = vec![to_itself("virtualInbound-blackhole", INBOUND_PORT)];
    let passthrough = InboundPort { port: 0, service_port: 0, protocol: Protocol::Unknown, host: String::new() };
    chains.extend(inbound_chains(&passthrough));
    chains.extend(ports.iter().flat_map(inbound_chains));
    let known = ports.iter().filter(|port| port.protocol != Protocol::Unknown).map(|port| port.port);
    let unsniffed = known.chain([INBOUND_PORT]).collect::<std::collections::BTreeSet<_>>();
    let filters = vec![
        listener_filter(
            "original_dst",
            any(
                "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
                &inspector::original_dst::v3::OriginalDst {},
            ),
        ),
        pb::ListenerFilter { filter_disabled: not_at(&[INBOUND_PORT]), ..tls_inspector() },
        pb::ListenerFilter { filter_disabled: not_at(&unsniffed.into_iter().collect::<Vec<_>>()), ..http_inspector() },
    ];
    encoded(pb::Listener {
        name: "virtualInbound".into(),
        address: Some(socket_address(ANY, INBOUND_PORT)),
        filter_chains: chains,
        listener_filters: filters,
        listener_filters_timeout: Some(Default::default()),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        max_connections_to_accept_per_socket_event: Some(1),
        ..Default::default()
    })
}

fn inbound_chains(port: &InboundPort) -> Vec<pb::FilterChain> {
    let is_rest = port.port == 0;
    let cluster = if is_rest { INBOUND_PASSTHROUGH.to_owned() } else { ClusterName::inbound(port.port).to_string() };
    let listener = format!("{ANY}_{}", port.port);
    let matching = |transport: &str, alpn: &[&str]| pb::FilterChainMatch {
        destination_port: (!is_rest).then(|| u32::from(port.port)),
        transport_protocol: transport.to_owned(),
        application_protocols: alpn.iter().map(|text| (*text).to_owned()).collect(),
        ..Default::default()
    };
    let chain = |transport: &str, alpn: &[&str], inner: pb::FilterChain, name: &str| pb::FilterChain {
        filter_chain_match: Some(matching(transport, alpn)),
        name: if is_rest { name.to_owned() } else { listener.clone() },
        transport_socket_connect_timeout: None,
        ..inner
    };
    let http = || http_chain(inbound_http(&listener, port));
    let tcp = || bare_tcp_chain(&cluster);
    match port.protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => vec![chain("raw_buffer", &[], http(), "")],
        Protocol::Unknown => vec![
            chain("raw_buffer", &["http/1.1", "h2c"], http(), "virtualInbound-catchall-http"),
            chain("raw_buffer", &[], tcp(), "virtualInbound"),
            chain("tls", &[], tcp(), "virtualInbound"),
        ],
        Protocol::Tls | Protocol::Tcp => vec![chain("tls", &[], tcp(), ""), chain("raw_buffer", &[], tcp(), "")],
    }
}

fn captured(name: String) -> pb::Listener {
    pb::Listener {
        name,
        listener_filters_timeout: Some(Default::default()),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Outbound as i32,
        bind_to_port: Some(false),
        ..Default::default()
    }
}

fn encoded(listener: pb::Listener) -> EncodedResource {
    EncodedResource::new(ResourceType::Listener, Arc::from(listener.name.as_str()), &listener.encode_to_vec())
}

/// A connection to the capture port itself would go round for ever.
fn to_itself(name: &str, port: u16) -> pb::FilterChain {
    let destination_port = Some(u32::from(port));
    pb::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(pb::FilterChainMatch { destination_port, ..Default::default() }),
        ..bare_tcp_chain(BLACK_HOLE)
    }
}

fn bare_tcp_chain(cluster: &str) -> pb::FilterChain {
    let proxy = tcp::TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    chain_of("envoy.filters.network.tcp_proxy", any("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", &proxy))
}

fn tcp_chain(cluster: &str) -> pb::FilterChain {
    pb::FilterChain {
        transport_socket_connect_timeout: Some(to_pb(TRANSPORT_CONNECT_TIMEOUT)),
        ..bare_tcp_chain(cluster)
    }
}

fn chain_of(name: &str, config: prost_types::Any) -> pb::FilterChain {
    let config_type = Some(pb::filter::ConfigType::TypedConfig(config));
    pb::FilterChain { filters: vec![pb::Filter { name: name.to_owned(), config_type }], ..Default::default() }
}

fn http_chain(manager: hcm::HttpConnectionManager) -> pb::FilterChain {
    pb::FilterChain {
        transport_socket_connect_timeout: Some(to_pb(TRANSPORT_CONNECT_TIMEOUT)),
        ..chain_of("envoy.filters.network.http_connection_manager", any(MANAGER, &manager))
    }
}

/// The same chain, only for plain text that was seen to be HTTP.
fn sniffed(chain: pb::FilterChain) -> pb::FilterChain {
    let chain_match = pb::FilterChainMatch {
        transport_protocol: "raw_buffer".into(),
        application_protocols: vec!["http/1.1".into(), "h2c".into()],
        ..Default::default()
    };
    pb::FilterChain { filter_chain_match: Some(chain_match), ..chain }
}

fn outbound_http(listener: &str, table: &str) -> hcm::HttpConnectionManager {
    let rds = hcm::Rds { config_source: Some(ads()), route_config_name: table.to_owned() };
    hcm::HttpConnectionManager {
        stat_prefix: format!("outbound_{listener};"),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)),
        ..manager()
    }
}

fn inbound_http(listener: &str, port: &InboundPort) -> hcm::HttpConnectionManager {
    let is_rest = port.port == 0;
    let cluster = if is_rest { INBOUND_PASSTHROUGH.to_owned() } else { ClusterName::inbound(port.port).to_string() };
    let forever = Some(prost_types::Duration::default());
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.clone())),
        timeout: forever,
        retry_policy: (!port.protocol.is_http2()).then(|| route::RetryPolicy {
            retry_on: "reset-before-request".into(),
            num_retries: Some(2),
            ..Default::default()
        }),
        max_stream_duration: Some(route::route_action::MaxStreamDuration {
            max_stream_duration: forever,
            grpc_timeout_header_max: forever,
            ..Default::default()
        }),
        ..Default::default()
    };
    let everything = route::route_match::PathSpecifier::Prefix("/".into());
    let one = route::Route {
        name: "default".into(),
        r#match: Some(route::RouteMatch { path_specifier: Some(everything), ..Default::default() }),
        decorator: Some(route::Decorator {
            operation: format!("{}:{}/*", port.host, port.service_port),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: format!("inbound|http|{}", port.service_port),
        domains: vec!["*".into()],
        routes: vec![one],
        ..Default::default()
    };
    let table = route::RouteConfiguration {
        name: cluster.clone(),
        virtual_hosts: vec![host],
        validate_clusters: Some(false),
        ..Default::default()
    };
    hcm::HttpConnectionManager {
        stat_prefix: if is_rest { format!("{cluster};") } else { format!("inbound_{listener};") },
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        http2_protocol_options: port.protocol.is_http2().then(Default::default),
        ..manager()
    }
}

fn router() -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(
            "envoy.extensions.filters.http.router.v3.Router",
            &Router::default(),
        ))),
        ..Default::default()
    }
}

fn manager() -> hcm::HttpConnectionManager {
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

fn listener_filter(name: &str, config: prost_types::Any) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: format!("envoy.filters.listener.{name}"),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn http_inspector() -> pb::ListenerFilter {
    let config = inspector::http_inspector::v3::HttpInspector::default();
    listener_filter("http_inspector", any("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", &config))
}

fn tls_inspector() -> pb::ListenerFilter {
    let config = inspector::tls_inspector::v3::TlsInspector {
        initial_read_buffer_size: Some(TLS_INSPECTOR_BUFFER),
        ..Default::default()
    };
    listener_filter("tls_inspector", any("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", &config))
}

fn not_at(ports: &[u16]) -> Option<pb::ListenerFilterChainMatchPredicate> {
    use pb::listener_filter_chain_match_predicate::{MatchSet, Rule};
    use rutter_api::pb::envoy::r#type::v3::Int32Range;
    let one = |port: &u16| {
        let range = Int32Range { start: i32::from(*port), end: i32::from(*port) + 1 };
        pb::ListenerFilterChainMatchPredicate { rule: Some(Rule::DestinationPortRange(range)) }
    };
    match ports {
        [] => None,
        [only] => Some(one(only)),
        many => {
            let rules = many.iter().map(one).collect();
            Some(pb::ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) })
        }
    }
}
