//! Route tables: a small head, and virtual hosts that are encoded on their own and shared.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::Duration;
use rutter_api::config::istio::{HttpMatch, HttpRoute, StringMatch};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;
use rutter_api::{ClusterName, Config, Hostname, ResourceType};

use super::cluster::PASSTHROUGH;
use super::{EncodedResource, ads, any, config_path, istio_metadata};
use crate::index::{Service, virtual_service};

/// `RouteConfiguration.virtual_hosts`
const VIRTUAL_HOSTS_FIELD: u32 = 2;
/// What a direct response may weigh, in bytes: Istio's value.
const DIRECT_RESPONSE_MAX: u32 = 1_048_576;
/// Retries of a request that surely did nothing yet: Istio's default.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// How the virtual hosts of a port's table travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTables {
    /// Each as a resource of its own, by VHDS; the table is a head.
    Split,
    /// In the table, by RDS.
    Whole,
    /// There are no tables of ports: each port of a host has one of its own, for the gRPC library.
    PerHost,
}

/// A virtual host of a port's table.
#[derive(Debug, Clone)]
pub struct VirtualHost(EncodedResource);

/// Whom a virtual host is about, seen from one client namespace.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The host.
    pub host: &'a Hostname,
    /// None: only a VirtualService speaks of it.
    pub service: Option<&'a Service>,
    /// The port that clients use.
    pub port: u16,
    /// The client's namespace; short names are for it.
    pub client: &'a str,
    /// The suffix of Kubernetes' service names.
    pub domain: &'a str,
}

/// A destination of a rule, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// In full.
    pub host: Hostname,
    /// The ports of the service. None: the scope has no such service.
    pub ports: Option<Vec<u16>>,
}

impl VirtualHost {
    /// The virtual host of a target, routed by a VirtualService where there is one.
    pub fn encode(
        target: Target<'_>,
        rule: Option<&Config>,
        destinations: &[Destination],
        tables: RouteTables,
    ) -> Self {
        let spec = rule.and_then(|rule| Some((rule, virtual_service(rule)?)));
        let routes = match spec {
            Some((rule, spec)) => {
                spec.http.iter().flat_map(|http| routes_of(target, rule, http, destinations)).collect()
            }
            None => vec![default_route(target)],
        };
        let name = format!("{}:{}", target.host, target.port);
        let resource_name = resource_name(target.host, target.port);
        // Envoy knows a virtual host that came by VHDS by the name of its resource.
        let name = if tables == RouteTables::Split { resource_name.clone() } else { name };
        if tables == RouteTables::PerHost {
            let host = virtual_host(name, vec!["*".to_owned()], routes);
            let name = grpc_table(target.host, target.port);
            let table = pb::RouteConfiguration { name: name.clone(), virtual_hosts: vec![host], ..Default::default() };
            return Self(EncodedResource::new(ResourceType::Route, name.into(), &table.encode_to_vec()));
        }
        let host = virtual_host(name, domains(target), routes);
        Self(EncodedResource::new(ResourceType::VirtualHost, resource_name.into(), &host.encode_to_vec()))
    }

    /// As a resource, for VHDS; where each host has a table, that.
    pub fn resource(&self) -> &EncodedResource {
        &self.0
    }

    /// The same without domains that another host of the table has.
    #[must_use]
    pub fn without(&self, taken: &[String]) -> Self {
        let mut host = pb::VirtualHost::decode(self.0.body()).unwrap_or_default();
        host.domains.retain(|domain| !taken.contains(domain));
        Self(EncodedResource::new(ResourceType::VirtualHost, self.0.name.clone(), &host.encode_to_vec()))
    }
}

fn virtual_host(name: String, domains: Vec<String>, routes: Vec<pb::Route>) -> pb::VirtualHost {
    pb::VirtualHost { name, domains, routes, include_request_attempt_count: true, ..Default::default() }
}

/// The host for everything else: it passes, or is refused.
fn fallback(allow_any: bool) -> pb::VirtualHost {
    let (name, action) = if allow_any {
        let mut action = route_to(PASSTHROUGH.to_owned());
        action.retry_policy = None;
        ("allow_any", pb::route::Action::Route(action))
    } else {
        ("block_all", direct_response(502, "no service of this name is in this sidecar's scope"))
    };
    let route = pb::Route { name: name.into(), r#match: Some(prefix("/")), action: Some(action), ..Default::default() };
    virtual_host(name.to_owned(), vec!["*".to_owned()], vec![route])
}

fn table(name: &str) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(DIRECT_RESPONSE_MAX),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

/// The table of a port, whose virtual hosts come one by one.
pub fn encode_head(name: &str, allow_any: bool) -> EncodedResource {
    let table = pb::RouteConfiguration {
        virtual_hosts: vec![fallback(allow_any)],
        vhds: Some(pb::Vhds { config_source: Some(ads()) }),
        ..table(name)
    };
    EncodedResource::new(ResourceType::Route, Arc::from(name), &table.encode_to_vec())
}

/// The table of a port with everything in it. No two hosts have a domain in common.
pub fn encode_table<'a>(
    name: &str,
    hosts: impl Iterator<Item = &'a EncodedResource>,
    allow_any: bool,
) -> EncodedResource {
    let mut bytes = table(name).encode_to_vec();
    hosts.for_each(|host| append(&mut bytes, &host.body()));
    append(&mut bytes, &fallback(allow_any).encode_to_vec());
    EncodedResource::new(ResourceType::Route, Arc::from(name), &bytes)
}

/// A table that only one service uses.
pub fn encode_own_table(name: &str, target: Target<'_>) -> EncodedResource {
    let host =
        virtual_host(format!("{}:{}", target.host, target.port), vec!["*".to_owned()], vec![default_route(target)]);
    let table = pb::RouteConfiguration { virtual_hosts: vec![host], ..table(name) };
    EncodedResource::new(ResourceType::Route, Arc::from(name), &table.encode_to_vec())
}

/// Whether the virtual hosts of a table travel by themselves, where they do at all: those of a port do.
pub fn is_split(table: &str) -> bool {
    table.parse::<u16>().is_ok()
}

/// The name of the table that a port of a host has for itself: that of its cluster, as with Istio.
pub(crate) fn grpc_table(host: &Hostname, port: u16) -> String {
    ClusterName::outbound(port, host).to_string()
}

/// The name of a host's virtual host in the table of a port.
pub(crate) fn resource_name(host: &Hostname, port: u16) -> String {
    format!("{port}/{host}:{port}")
}

/// The host of a virtual host's resource.
pub(crate) fn host_of(virtual_host: &str) -> Option<Hostname> {
    virtual_host.rsplit_once('/')?.1.rsplit_once(':')?.0.parse().ok()
}

/// A virtual address as a domain.
pub(crate) fn ip_domain(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// The table that a virtual host is in.
pub fn table_of(virtual_host: &str) -> &str {
    virtual_host.rsplit_once('/').map_or("", |(table, _)| table)
}

fn append(table: &mut Vec<u8>, host: &[u8]) {
    encode_key(VIRTUAL_HOSTS_FIELD, WireType::LengthDelimited, table);
    encode_varint(host.len() as u64, table);
    table.extend_from_slice(host);
}

/// The names under which a client may ask for a host: in full, with a final dot, Kubernetes' short
/// forms as far as they are unambiguous from its namespace, and the virtual addresses.
pub(crate) fn domains(target: Target<'_>) -> Vec<String> {
    let host = target.host.as_str();
    let mut domains = vec![host.to_owned()];
    if !target.host.is_wildcard() {
        domains.push(format!("{host}."));
    }
    let suffix = format!(".svc.{}", target.domain);
    if let Some((name, namespace)) = host.strip_suffix(&suffix).and_then(|short| short.split_once('.')) {
        let (short, full) = (format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"));
        if namespace == target.client {
            domains.extend([name.to_owned(), full, short]);
        } else {
            domains.extend([short, full]);
        }
    }
    let addresses = target.service.map(|service| service.addresses.as_slice()).unwrap_or_default();
    domains.extend(addresses.iter().copied().map(ip_domain));
    domains
}

fn default_route(target: Target<'_>) -> pb::Route {
    let cluster = ClusterName::outbound(target.port, target.host).to_string();
    pb::Route {
        name: "default".into(),
        r#match: Some(prefix("/")),
        decorator: Some(decorator(target.host.as_str(), target.port)),
        action: Some(pb::route::Action::Route(route_to(cluster))),
        ..Default::default()
    }
}

fn routes_of(target: Target<'_>, rule: &Config, http: &HttpRoute, destinations: &[Destination]) -> Vec<pb::Route> {
    let action = action_of(target, rule, http, destinations);
    let any_match = [HttpMatch::default()];
    let matches = if http.matches.is_empty() { &any_match[..] } else { &http.matches };
    let first_host = http.route.first().map(|route| full(&route.destination.host, rule, target).to_string());
    let route = |one: &HttpMatch| pb::Route {
        name: [&http.name, &one.name]
            .into_iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join("."),
        r#match: Some(route_match(one, !http.matches.is_empty())),
        metadata: Some(istio_metadata(vec![("config", config_path(rule))])),
        decorator: first_host.as_ref().map(|host| decorator(host, target.port)),
        action: Some(action.clone()),
        ..Default::default()
    };
    matches.iter().map(route).collect()
}

fn full(host: &Hostname, rule: &Config, target: Target<'_>) -> Hostname {
    host.resolve(&rule.key.namespace, target.domain)
}

fn action_of(target: Target<'_>, rule: &Config, http: &HttpRoute, destinations: &[Destination]) -> pb::route::Action {
    let resolved: Vec<(Result<String, Hostname>, u32)> = http
        .route
        .iter()
        .filter(|route| route.weight > 0 || http.route.len() == 1)
        .map(|route| {
            (
                cluster_of(target, &full(&route.destination.host, rule, target), &route.destination, destinations),
                route.weight,
            )
        })
        .collect();
    let missing: BTreeSet<String> =
        resolved.iter().filter_map(|(name, _)| name.as_ref().err()).map(Hostname::to_string).collect();
    if !missing.is_empty() && resolved.iter().all(|(name, _)| name.is_err()) {
        let hosts = missing.into_iter().collect::<Vec<_>>().join(", ");
        return direct_response(503, &format!("{}: no service {hosts} in this sidecar's scope", rule.key));
    }
    let name_of = |name: Result<String, Hostname>| {
        name.unwrap_or_else(|host| ClusterName::outbound(target.port, &host).to_string())
    };
    let mut clusters: Vec<(String, u32)> = resolved.into_iter().map(|(name, weight)| (name_of(name), weight)).collect();
    let mut action = route_to(String::new());
    action.cluster_specifier = Some(match &mut clusters[..] {
        [(only, _)] => pb::route_action::ClusterSpecifier::Cluster(std::mem::take(only)),
        _ => pb::route_action::ClusterSpecifier::WeightedClusters(weighted(clusters)),
    });
    if let Some(timeout) = http.timeout {
        action.timeout = Some(to_pb(timeout));
        action.max_stream_duration = Some(grpc_timeout_max(to_pb(timeout)));
    }
    pb::route::Action::Route(action)
}

/// The cluster of a destination; the host, where the scope has no such service.
fn cluster_of(
    target: Target<'_>,
    host: &Hostname,
    wanted: &rutter_api::config::istio::Destination,
    destinations: &[Destination],
) -> Result<String, Hostname> {
    let ports = destinations.iter().find(|one| one.host == *host).and_then(|one| one.ports.as_deref());
    let ports = ports.ok_or_else(|| host.clone())?;
    let port = match (&wanted.port, ports) {
        (Some(port), _) => port.number.get(),
        (None, [only]) => *only,
        (None, _) => target.port,
    };
    Ok(ClusterName::outbound(port, host).with_subset(wanted.subset.as_deref()).to_string())
}

fn weighted(clusters: Vec<(String, u32)>) -> pb::WeightedCluster {
    let one = |(name, weight): (String, u32)| pb::weighted_cluster::ClusterWeight {
        name,
        weight: Some(weight),
        ..Default::default()
    };
    pb::WeightedCluster { clusters: clusters.into_iter().map(one).collect(), ..Default::default() }
}

/// Istio's defaults: no limit of time, retries of what surely did nothing, each at another endpoint.
fn route_to(cluster: String) -> pb::RouteAction {
    const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    let predicate = pb::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any(
            PREVIOUS_HOSTS,
            &PreviousHostsPredicate {},
        ))),
    };
    pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster(cluster)),
        timeout: Some(Duration::default()),
        retry_policy: Some(pb::RetryPolicy {
            retry_on: RETRY_ON.into(),
            num_retries: Some(2),
            retry_host_predicate: vec![predicate],
            host_selection_retry_max_attempts: 5,
            ..Default::default()
        }),
        max_stream_duration: Some(grpc_timeout_max(Duration::default())),
        ..Default::default()
    }
}

/// The bound on what a gRPC client may ask for by its `grpc-timeout` header; zero: none.
fn grpc_timeout_max(timeout: Duration) -> pb::route_action::MaxStreamDuration {
    pb::route_action::MaxStreamDuration { grpc_timeout_header_max: Some(timeout), ..Default::default() }
}

fn direct_response(status: u32, body: &str) -> pb::route::Action {
    use rutter_api::pb::envoy::config::core::v3 as core;
    let specifier = core::data_source::Specifier::InlineString(format!("rutter: {body}\n"));
    let body = core::DataSource { specifier: Some(specifier), ..Default::default() };
    pb::route::Action::DirectResponse(pb::DirectResponseAction { status, body: Some(body), ..Default::default() })
}

fn prefix(path: &str) -> pb::RouteMatch {
    pb::RouteMatch { path_specifier: Some(pb::route_match::PathSpecifier::Prefix(path.into())), ..Default::default() }
}

fn route_match(one: &HttpMatch, is_written: bool) -> pb::RouteMatch {
    let path = match &one.uri {
        None => pb::route_match::PathSpecifier::Prefix("/".into()),
        Some(StringMatch::Prefix(text)) => pb::route_match::PathSpecifier::Prefix(text.clone()),
        Some(StringMatch::Exact(text)) => pb::route_match::PathSpecifier::Path(text.clone()),
    };
    let headers = one.headers.iter().map(|(name, header)| {
        let string = |pattern| matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() };
        let specifier = match (&header.exact, &header.prefix) {
            (Some(text), _) => pb::header_matcher::HeaderMatchSpecifier::StringMatch(string(
                matcher::string_matcher::MatchPattern::Exact(text.clone()),
            )),
            (None, Some(text)) => pb::header_matcher::HeaderMatchSpecifier::StringMatch(string(
                matcher::string_matcher::MatchPattern::Prefix(text.clone()),
            )),
            (None, None) => pb::header_matcher::HeaderMatchSpecifier::PresentMatch(true),
        };
        pb::HeaderMatcher { name: name.clone(), header_match_specifier: Some(specifier), ..Default::default() }
    });
    pb::RouteMatch {
        path_specifier: Some(path),
        headers: headers.collect(),
        case_sensitive: is_written.then_some(true),
        ..Default::default()
    }
}

fn decorator(host: &str, port: u16) -> pb::Decorator {
    pb::Decorator { operation: format!("{host}:{port}/*"), ..Default::default() }
}
