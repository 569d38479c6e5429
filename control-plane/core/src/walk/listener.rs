//! Which listener takes a connection, and what its filters are.

use std::net::IpAddr;

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;

use super::chain::{Connection, chosen};
use super::endpoints::address_text;
use super::forward::{Context, to_cluster};
use super::route::{config_of, managed};
use super::{Arrival, End, Entry, HttpRequest, Origin, Outcome, Resources, Step, StepKind, Walk, scaled};

/// The status of gRPC of a call that cannot be made.
const UNAVAILABLE: u32 = 14;
/// The number of addresses of listeners that are told where nothing listens.
const OTHERS_TOLD: usize = 8;

/// The address of a listener, and whether it is bound. The rest of it is not decoded.
#[derive(Clone, PartialEq, Message)]
struct Bind {
    #[prost(message, optional, tag = "2")]
    address: Option<core::Address>,
    #[prost(message, optional, tag = "26")]
    bind_to_port: Option<bool>,
}

/// Returns what a proxy that has some resources does with what arrives.
pub fn walk(resources: &dyn Resources, arrival: &Arrival) -> Walk {
    let context = Context { resources, arrival, server_name: None, named_port: None };
    let closed = |reason: String| Walk { steps: Vec::new(), ends: End::certain(Outcome::closed("", reason)) };
    let named = |name: &str| {
        let body = resources.body(ResourceType::Listener, name)?;
        pb::Listener::decode(body).ok()
    };
    let listener = match &arrival.entry {
        Entry::Named(name) => match named(name) {
            Some(listener) => return asked_for(&listener, context),
            None => return closed(format!("there is no listener {name}")),
        },
        Entry::Redirected(name) => match named(name) {
            Some(listener) => listener,
            None => return closed(format!("the proxy has no listener {name}")),
        },
        Entry::Bound => match at_address(resources, arrival, Bound::Only).and_then(|name| named(&name)) {
            Some(listener) => listener,
            None => {
                let others = others(resources);
                return closed(format!("the proxy does not listen at port {}, but at {others}", arrival.port));
            }
        },
    };
    let mut steps = Vec::new();
    let handed = match listener.use_original_dst {
        Some(true) => at_address(resources, arrival, Bound::OrNot).and_then(|name| named(&name)),
        Some(false) | None => None,
    };
    let handed = handed.filter(|handed| handed.name != listener.name);
    if handed.is_some() {
        steps.push(listener_step(&listener, "hands the connection to the listener of its destination"));
    }
    let rest = taken(&handed.unwrap_or(listener), context);
    steps.extend(rest.steps);
    Walk { steps, ends: rest.ends }
}

fn listener_step(listener: &pb::Listener, text: &str) -> Step {
    let origin = Origin::Resource { resource_type: ResourceType::Listener, name: listener.name.clone() };
    Step { kind: StepKind::Listener, name: listener.name.clone(), text: text.to_owned(), origin }
}

/// Which listeners count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Only,
    OrNot,
}

/// Returns the name of the listener for an address and a port: that of the address itself, or that of every address.
fn at_address(resources: &dyn Resources, arrival: &Arrival, bound: Bound) -> Option<String> {
    let (mut own, mut any) = (None, None);
    resources.for_each(ResourceType::Listener, "", &mut |name, body| {
        let bind = Bind::decode(body).unwrap_or_default();
        let Some((ip, port)) = bind.address.as_ref().and_then(socket) else { return };
        if port != u32::from(arrival.port) || bound == Bound::Only && bind.bind_to_port == Some(false) {
            return;
        }
        if ip.is_unspecified() {
            any = Some(name.to_owned());
        } else if Some(ip) == arrival.address {
            own = Some(name.to_owned());
        }
    });
    own.or(any)
}

/// Returns the addresses at which a proxy listens for a port itself.
pub fn bound_addresses(resources: &dyn Resources, port: u16) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    resources.for_each(ResourceType::Listener, "", &mut |_, body| {
        let bind = Bind::decode(body).unwrap_or_default();
        let bound = bind.address.as_ref().filter(|_| bind.bind_to_port != Some(false)).and_then(socket);
        addresses.extend(bound.filter(|(_, own)| *own == u32::from(port)).map(|(ip, _)| ip));
    });
    addresses
}

/// Returns the addresses at which a proxy listens, in words.
fn others(resources: &dyn Resources) -> String {
    let mut addresses = Vec::new();
    resources.for_each(ResourceType::Listener, "", &mut |_, body| {
        let bind = Bind::decode(body).unwrap_or_default();
        addresses.extend(bind.address.as_ref().filter(|_| bind.bind_to_port != Some(false)).map(address_text));
    });
    addresses.sort();
    let more = if addresses.len() > OTHERS_TOLD { ", …" } else { "" };
    match addresses.len() {
        0 => "no address".to_owned(),
        _ => format!("{}{more}", addresses[..addresses.len().min(OTHERS_TOLD)].join(", ")),
    }
}

fn socket(address: &core::Address) -> Option<(IpAddr, u32)> {
    let Some(core::address::Address::SocketAddress(socket)) = &address.address else { return None };
    let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    Some((socket.address.parse().ok()?, port))
}

/// Returns what becomes of a call of the gRPC library, which asks for a listener by name.
fn asked_for(listener: &pb::Listener, context: Context<'_>) -> Walk {
    let config = listener.api_listener.as_ref().and_then(|api| api.api_listener.as_ref());
    let manager = config.and_then(|config| hcm::HttpConnectionManager::decode(config.value.as_slice()).ok());
    let mut steps = vec![listener_step(listener, "the gRPC library asks for it by name")];
    let rest = match (manager, &context.arrival.request) {
        (Some(manager), Some(request)) => {
            let mut call = request.clone();
            if !call.is_grpc() {
                call.headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
            }
            of_library(managed(&manager, &listener.name, &call, context), &call)
        }
        (_, _) => Walk { steps: Vec::new(), ends: End::certain(Outcome::closed("", "the listener is none for calls")) },
    };
    steps.extend(rest.steps);
    Walk { steps, ends: rest.ends }
}

/// Returns what the gRPC library makes of what a proxy would do: it changes no call, sends no copies, and fails a call with UNAVAILABLE
/// that a proxy would answer itself, unless that is a fault.
fn of_library(walk: Walk, call: &HttpRequest) -> Walk {
    let is_done = |step: &Step| !matches!(step.kind, StepKind::Rewrite | StepKind::Mirror);
    let failed = |reason: String| Outcome::Answered { status: 200, grpc_status: Some(UNAVAILABLE), flag: "", reason };
    let end = |end: End| {
        let steps = end.steps.into_iter().filter(is_done).collect();
        let outcome = match end.outcome {
            Outcome::Answered { flag, reason, .. } if flag != "FI" => failed(format!(
                "the gRPC library fails the call: {}",
                if reason.is_empty() { "a route answers it" } else { &reason }
            )),
            Outcome::Redirected { location, .. } => failed(format!("the gRPC library knows no redirect to {location}")),
            Outcome::Endpoints { cluster, endpoints, tls, .. } => {
                Outcome::Endpoints { cluster, endpoints, request: Some(call.clone()), tls }
            }
            outcome @ (Outcome::Answered { .. }
            | Outcome::OriginalDestination { .. }
            | Outcome::Closed { .. }
            | Outcome::TakenHere) => outcome,
        };
        End { steps, outcome, ..end }
    };
    let steps = walk.steps.into_iter().filter(is_done).collect();
    Walk { steps, ends: walk.ends.into_iter().map(end).collect() }
}

/// Returns what a listener does with a connection.
fn taken(listener: &pb::Listener, context: Context<'_>) -> Walk {
    let arrival = context.arrival;
    let address = listener.address.as_ref().map(address_text).unwrap_or_default();
    let mut steps = vec![listener_step(listener, &format!("at {address}"))];
    let inspects = |inspector: &str| listener.listener_filters.iter().any(|filter| is_on(filter, inspector, arrival));
    let (sees_tls, sees_http) = (inspects("TlsInspector"), inspects("HttpInspector"));
    let tls = arrival.tls.as_ref().filter(|_| sees_tls);
    let protocols = match (tls, &arrival.request) {
        (Some(tls), _) => tls.protocols.clone(),
        (None, Some(request)) if sees_http && arrival.tls.is_none() => {
            vec![if request.is_grpc() { "h2c" } else { "http/1.1" }.to_owned()]
        }
        (None, _) => Vec::new(),
    };
    let server_name = tls.and_then(|tls| tls.server_name.as_deref());
    let connection = Connection {
        address: arrival.address,
        port: arrival.port,
        server_name,
        transport: if tls.is_some() { "tls" } else { "raw_buffer" },
        protocols,
    };
    let Some(chain) = chosen(listener, &connection) else {
        let outcome = Outcome::closed("NR", format!("no filter chain of listener {} takes it", listener.name));
        return Walk { steps, ends: End::certain(outcome) };
    };
    let matched = chain.filter_chain_match.clone().unwrap_or_default();
    let origin = Origin::Chain {
        listener: listener.name.clone(),
        server_names: matched.server_names.clone(),
        subnets: matched.prefix_ranges.iter().map(range_text).collect(),
        config: config_of(chain.metadata.as_ref()),
    };
    let text = chain_text(&matched);
    steps.push(Step { kind: StepKind::FilterChain, name: chain.name.clone(), text, origin });
    let rest = through(chain, &listener.name, Context { server_name, named_port: named_port(chain), ..context });
    steps.extend(rest.steps);
    Walk { steps, ends: rest.ends }
}

fn range_text(range: &core::CidrRange) -> String {
    format!("{}/{}", range.address_prefix, range.prefix_len.unwrap_or_default())
}

fn chain_text(matched: &pb::FilterChainMatch) -> String {
    let mut parts = Vec::new();
    parts.extend(matched.destination_port.map(|port| format!("port {port}")));
    parts.extend(matched.prefix_ranges.iter().map(|range| format!("to {}", range_text(range))));
    parts.extend(matched.server_names.iter().map(|name| format!("SNI {name}")));
    match matched.transport_protocol.as_str() {
        "" => {}
        "raw_buffer" => parts.push("plain".to_owned()),
        transport => parts.push(transport.to_owned()),
    }
    if !matched.application_protocols.is_empty() {
        parts.push(matched.application_protocols.join(" or "));
    }
    if parts.is_empty() { "takes everything else".to_owned() } else { format!("takes {}", parts.join(", ")) }
}

/// Returns whether a listener filter is an inspector of a sort that looks at the connection.
fn is_on(filter: &pb::ListenerFilter, inspector: &str, arrival: &Arrival) -> bool {
    let Some(pb::listener_filter::ConfigType::TypedConfig(config)) = &filter.config_type else { return false };
    let is_off = filter.filter_disabled.as_ref().is_some_and(|predicate| holds(predicate, arrival));
    config.type_url.ends_with(inspector) && !is_off
}

fn holds(predicate: &pb::ListenerFilterChainMatchPredicate, arrival: &Arrival) -> bool {
    use pb::listener_filter_chain_match_predicate::Rule;
    match &predicate.rule {
        Some(Rule::OrMatch(set)) => set.rules.iter().any(|rule| holds(rule, arrival)),
        Some(Rule::AndMatch(set)) => set.rules.iter().all(|rule| holds(rule, arrival)),
        Some(Rule::NotMatch(rule)) => !holds(rule, arrival),
        Some(Rule::AnyMatch(any)) => *any,
        Some(Rule::DestinationPortRange(range)) => (range.start..range.end).contains(&i32::from(arrival.port)),
        None => false,
    }
}

/// Returns the port at which a filter of a chain asks for the host that the client names in TLS.
fn named_port(chain: &pb::FilterChain) -> Option<u16> {
    chain.filters.iter().find_map(|filter| {
        let Some(pb::filter::ConfigType::TypedConfig(config)) = &filter.config_type else { return None };
        let is_meant = config.type_url.ends_with(".sni_dynamic_forward_proxy.v3.FilterConfig");
        let config = is_meant.then(|| sni::FilterConfig::decode(config.value.as_slice()).ok())??;
        let sni::filter_config::PortSpecifier::PortValue(port) = config.port_specifier?;
        u16::try_from(port).ok()
    })
}

/// Returns what the network filters of a chain do.
fn through(chain: &pb::FilterChain, listener: &str, context: Context<'_>) -> Walk {
    let arrival = context.arrival;
    let ended = |outcome: Outcome| Walk { steps: Vec::new(), ends: End::certain(outcome) };
    let decrypts = chain.transport_socket.as_ref().is_some_and(|socket| socket.name.ends_with("tls"));
    if decrypts && arrival.tls.is_none() {
        return ended(Outcome::closed("", "the filter chain wants TLS, and the client speaks plain text"));
    }
    let config = chain.filters.last().and_then(|filter| filter.config_type.as_ref());
    let Some(pb::filter::ConfigType::TypedConfig(config)) = config else {
        return ended(Outcome::closed("", "the filter chain has no filter"));
    };
    if config.type_url.ends_with(".TcpProxy") {
        let proxy = tcp::TcpProxy::decode(config.value.as_slice()).unwrap_or_default();
        return Walk { steps: Vec::new(), ends: proxied(&proxy, context) };
    }
    let manager = hcm::HttpConnectionManager::decode(config.value.as_slice()).unwrap_or_default();
    let scheme = if decrypts { "https" } else { "http" };
    match &arrival.request {
        Some(_) if arrival.tls.is_some() && !decrypts => {
            ended(Outcome::closed("", "the filter chain reads HTTP, and the client speaks TLS"))
        }
        Some(request) => {
            let request = HttpRequest { scheme: scheme.to_owned(), ..request.clone() };
            managed(&manager, listener, &request, context)
        }
        None => ended(Outcome::closed("DPE", "the filter chain reads HTTP, and the bytes are none")),
    }
}

fn proxied(proxy: &tcp::TcpProxy, context: Context<'_>) -> Vec<End> {
    use tcp::tcp_proxy::ClusterSpecifier;
    match &proxy.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![to_cluster(name, None, context)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let all: f64 = weighted.clusters.iter().map(|cluster| f64::from(cluster.weight)).sum();
            let used = weighted.clusters.iter().filter(|cluster| cluster.weight > 0);
            let ends = used.flat_map(|cluster| {
                scaled(vec![to_cluster(&cluster.name, None, context)], f64::from(cluster.weight) / all)
            });
            ends.collect()
        }
        None => End::certain(Outcome::closed("NR", "the filter names no cluster")),
    }
}
