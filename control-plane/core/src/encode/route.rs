//! Route tables: a small head, and virtual hosts that are encoded on their own and shared.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
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
use super::{EncodedResource, any, config_path, istio_metadata};
use crate::index::{Service, virtual_service};

/// `RouteConfiguration.virtual_hosts`
const VIRTUAL_HOSTS_FIELD: u32 = 2;
/// What a direct response may weigh, in bytes: Istio's value.
const DIRECT_RESPONSE_MAX: u32 = 1_048_576;
/// Retries of a request that surely did nothing yet: Istio's default.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// A virtual host, encoded, with the domains it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// Unique in its table.
    pub name: String,
    /// What it answers to. No two hosts of a table may claim the same.
    pub domains: Vec<String>,
    /// The message.
    pub bytes: Bytes,
}

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
    pub fn encode(target: Target<'_>, rule: Option<&Config>, destinations: &[Destination]) -> Self {
        let spec = rule.and_then(|rule| Some((rule, virtual_service(rule)?)));
        let routes = match spec {
            Some((rule, spec)) => {
                spec.http.iter().flat_map(|http| routes_of(target, rule, http, destinations)).collect()
            }
            None => vec![default_route(target)],
        };
        Self::new(format!("{}:{}", target.host, target.port), domains(target), routes)
    }

    /// The host for everything else: it passes, or is refused.
    pub fn fallback(allow_any: bool) -> Self {
        let (name, action) = if allow_any {
            let mut action = route_to(PASSTHROUGH.to_owned());
            action.retry_policy = None;
            ("allow_any", pb::route::Action::Route(action))
        } else {
            ("block_all", direct_response(502, "no service of this name is in this sidecar's scope"))
        };
        let route =
            pb::Route { name: name.into(), r#match: Some(prefix("/")), action: Some(action), ..Default::default() };
        Self::new(name.to_owned(), vec!["*".to_owned()], vec![route])
    }

    fn new(name: String, domains: Vec<String>, routes: Vec<pb::Route>) -> Self {
        let host = pb::VirtualHost {
            name: name.clone(),
            domains: domains.clone(),
            routes,
            include_request_attempt_count: true,
            ..Default::default()
        };
        Self { name, domains, bytes: host.encode_to_vec().into() }
    }

    /// The same host, answering to everything: for a table that only one service uses.
    #[must_use]
    pub fn for_every_domain(mut self) -> Self {
        if let Ok(mut host) = pb::VirtualHost::decode(self.bytes.clone()) {
            self.domains = vec!["*".to_owned()];
            host.domains.clone_from(&self.domains);
            self.bytes = host.encode_to_vec().into();
        }
        self
    }

    fn without(&self, taken: &HashSet<&str>) -> Option<Self> {
        let domains: Vec<String> =
            self.domains.iter().filter(|domain| !taken.contains(domain.as_str())).cloned().collect();
        let mut host = pb::VirtualHost::decode(self.bytes.clone()).ok().filter(|_| !domains.is_empty())?;
        host.domains.clone_from(&domains);
        Some(Self { name: self.name.clone(), domains, bytes: host.encode_to_vec().into() })
    }
}

/// A route table of virtual hosts. Where two claim a domain, the earlier keeps it.
pub fn encode_table<'a>(name: &str, hosts: impl Iterator<Item = &'a VirtualHost>) -> EncodedResource {
    let head = pb::RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(DIRECT_RESPONSE_MAX),
        ignore_port_in_host_matching: true,
        ..Default::default()
    };
    let mut bytes = head.encode_to_vec();
    let mut taken = HashSet::new();
    for host in hosts {
        if host.domains.iter().all(|domain| !taken.contains(domain.as_str())) {
            append(&mut bytes, &host.bytes);
        } else if let Some(rest) = host.without(&taken) {
            append(&mut bytes, &rest.bytes);
        }
        taken.extend(host.domains.iter().map(String::as_str));
    }
    EncodedResource::new(ResourceType::Route, Arc::from(name), &bytes)
}

fn append(table: &mut Vec<u8>, host: &[u8]) {
    encode_key(VIRTUAL_HOSTS_FIELD, WireType::LengthDelimited, table);
    encode_varint(host.len() as u64, table);
    table.extend_from_slice(host);
}

/// The names under which a client may ask for a host: in full, with a final dot, Kubernetes' short
/// forms as far as they are unambiguous from its namespace, and the virtual addresses.
fn domains(target: Target<'_>) -> Vec<String> {
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
    domains.extend(addresses.iter().map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }));
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
