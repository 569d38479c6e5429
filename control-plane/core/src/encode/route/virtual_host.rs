//! The virtual host of a host at a port.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;
use rutter_api::config::istio::{Headers, HttpRetry};
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::{ClusterName, Config, HostPort, Hostname, ResourceType, RouteTableName, VirtualHostName};

use pb::route_action::HostRewriteSpecifier;

use super::action::{
    HeaderChanges, answer, direct_response, forward, forward_to, hash_requests, header_changes, limit_time_for_grpc,
    redirect, retry_policy,
};
use super::filters::per_filter_config;
use super::matches::{prefix, route_match};
use crate::client::RouteTableForm;
use crate::encode::inputs::Shared;
use crate::encode::listener::CORS_FILTER;
use crate::encode::wire::{config_field, istio_metadata};
use crate::model::{
    Discovery, LookedUpDestination, Place, Policy, RequestSource, RequestTarget, Route, RouteAction, Service, routes_of,
};
use crate::resource::EncodedResource;

/// A host that a VirtualService sends to, and the service that it means for the client.
#[derive(Debug, Clone, Hash)]
pub struct LookedUpService {
    /// The full host.
    pub host: Hostname,
    /// The service. `None` means that the client sees none of that host.
    pub service: Option<Shared<Service>>,
    /// The DestinationRule of the service, if routes depend on it.
    pub rule: Option<Shared<Config>>,
}

/// Whether the client may leave out the namespace of a Kubernetes host. Nothing else of the client's namespace matters
/// to a virtual host, so that clients of all other namespaces share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShortNames {
    /// The client is in the namespace of the host, where the name of the service is enough.
    WithoutNamespace,
    /// The client is elsewhere, and names the namespace at least.
    WithNamespace,
}

impl ShortNames {
    /// Returns the short names by which clients of a namespace may call a host.
    pub fn for_client(client_namespace: &str, host: &Hostname, domain: &str) -> Self {
        match host.kubernetes_parts(domain) {
            Some((_, namespace)) if namespace == client_namespace => Self::WithoutNamespace,
            Some(_) | None => Self::WithNamespace,
        }
    }
}

/// What the names depend on under which clients ask for a host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DomainInputs<'a> {
    /// The host.
    pub(crate) host: &'a Hostname,
    /// The virtual addresses of its service.
    pub(crate) addresses: &'a [IpAddr],
    /// Whether single endpoints are asked for by names of their own below that of the service.
    pub(crate) is_headless: bool,
    /// The short names that the client may use.
    pub(crate) short_names: ShortNames,
    /// The suffix of Kubernetes' service names.
    pub(crate) domain: &'a str,
}

/// Everything that a virtual host depends on.
#[derive(Debug, Hash)]
pub struct VirtualHostInputs {
    /// The full host, as it stands in a service or in a VirtualService.
    pub host: Hostname,
    /// The port that clients use.
    pub port: u16,
    /// The service of the host. `None` means that only a VirtualService speaks of the host.
    pub service: Option<Shared<Service>>,
    /// The DestinationRule of the service, if routes depend on it. A VirtualService has those of its destinations.
    pub rule: Option<Shared<Config>>,
    /// The VirtualService that routes the host.
    pub virtual_service: Option<Shared<Config>>,
    /// The hosts that the VirtualService sends to, each with the service that it means.
    pub destinations: Vec<LookedUpService>,
    /// What the conditions of the VirtualService ask for and the client has.
    pub source: RequestSource,
    /// The short names by which the client may call the host.
    pub short_names: ShortNames,
    /// The suffix of Kubernetes' service names.
    pub domain: Arc<str>,
    /// The form in which the client takes routes.
    pub form: RouteTableForm,
    /// The retries of routes that say nothing of them, if the mesh config says it.
    pub retries: Option<Shared<HttpRetry>>,
}

/// Encodes a virtual host: the VirtualHost resource for the table of a port, or, where each port of a host has a table
/// of its own, that table. Its bytes go unchanged into whole tables and into responses of VHDS.
pub fn encode_virtual_host(inputs: &VirtualHostInputs) -> EncodedResource {
    let (host, port) = (&inputs.host, inputs.port);
    let mut routes = routes(inputs);
    if inputs.form == RouteTableForm::PerHost {
        routes.iter_mut().for_each(reduce_to_grpc);
    }
    let name = HostPort::new(host, port).to_string();
    let resource_name = VirtualHostName::new(host, port).to_string();
    let name = match inputs.form {
        RouteTableForm::PerHost => return encode_grpc_table(inputs, virtual_host(name, vec!["*".to_owned()], routes)),
        RouteTableForm::Whole => name,
        // Envoy knows a virtual host that came by VHDS by the name of its resource.
        RouteTableForm::Split => resource_name.clone(),
    };
    let addresses = inputs.service.as_ref().map(|service| service.addresses.as_slice()).unwrap_or_default();
    let is_headless = inputs.service.as_ref().is_some_and(|service| service.discovery == Discovery::OfHeadless);
    let (short_names, domain) = (inputs.short_names, &inputs.domain);
    let domains = domains(DomainInputs { host, addresses, is_headless, short_names, domain });
    let virtual_host = virtual_host(name, domains, routes);
    EncodedResource::new(ResourceType::VirtualHost, resource_name.into(), &virtual_host.encode_to_vec())
}

fn encode_grpc_table(inputs: &VirtualHostInputs, virtual_host: pb::VirtualHost) -> EncodedResource {
    let name = RouteTableName::Grpc(ClusterName::outbound(inputs.port, &inputs.host)).to_string();
    let table = pb::RouteConfiguration { name: name.clone(), virtual_hosts: vec![virtual_host], ..Default::default() };
    EncodedResource::new(ResourceType::Route, name.into(), &table.encode_to_vec())
}

/// Returns a VirtualHost resource without the domains that another host of the table has.
pub fn without_domains(virtual_host: &EncodedResource, taken: &[String]) -> EncodedResource {
    let mut decoded = pb::VirtualHost::decode(virtual_host.body()).unwrap_or_default();
    decoded.domains.retain(|domain| !taken.contains(domain));
    EncodedResource::new(ResourceType::VirtualHost, virtual_host.name.clone(), &decoded.encode_to_vec())
}

pub(super) fn virtual_host(name: String, domains: Vec<String>, routes: Vec<pb::Route>) -> pb::VirtualHost {
    pb::VirtualHost { name, domains, routes, include_request_attempt_count: true, ..Default::default() }
}

/// Returns the names under which a client may ask for a host: the full name, the name with a final dot, Kubernetes'
/// short forms as far as they are unambiguous in the client's namespace, and the virtual addresses. Envoy refuses a
/// table in which two virtual hosts have one of these in common; `scope::refresh` sees to that.
pub(crate) fn domains(inputs: DomainInputs<'_>) -> Vec<String> {
    let host = inputs.host.as_str();
    let mut domains = vec![host.to_owned(), format!("{host}.")];
    if let Some((name, namespace)) = inputs.host.kubernetes_parts(inputs.domain) {
        let (short, full) = (format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"));
        match inputs.short_names {
            ShortNames::WithoutNamespace => domains.extend([name.to_owned(), full, short]),
            ShortNames::WithNamespace => domains.extend([short, full]),
        }
    }
    if inputs.is_headless {
        let below: Vec<String> = domains.iter().map(|domain| format!("*.{domain}")).collect();
        domains.extend(below);
    }
    domains.extend(inputs.addresses.iter().copied().map(ip_domain));
    domains
}

/// Returns a virtual address as a domain.
pub(crate) fn ip_domain(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// Returns the route of a host that no VirtualService routes: everything goes to the cluster of the port.
fn default_route(inputs: &VirtualHostInputs) -> pb::Route {
    let (host, port) = (&inputs.host, inputs.port);
    let mut action = forward_to(ClusterName::outbound(port, host).to_string());
    let rule = inputs.rule.as_ref().and_then(|config| config.spec.as_destination_rule());
    let policy = match &inputs.service {
        Some(service) => Policy::new(service, rule, port, None),
        None => Policy::of_rule(rule, port, None),
    };
    hash_requests(&mut action, policy.consistent_hash());
    let mut route = pb::Route {
        name: "default".into(),
        r#match: Some(prefix("/")),
        decorator: Some(decorator(host, port)),
        action: Some(pb::route::Action::Route(action)),
        ..Default::default()
    };
    retry_as_mesh(&mut route, inputs.retries.as_deref());
    route
}

/// Returns the routes of a host: those of its VirtualService, or the default one.
pub(super) fn routes(inputs: &VirtualHostInputs) -> Vec<pb::Route> {
    let Some(virtual_service) = &inputs.virtual_service else {
        return vec![default_route(inputs)];
    };
    let VirtualHostInputs { host, port, domain, source, .. } = inputs;
    let target = RequestTarget { host, port: *port, domain, source, place: Place::Mesh };
    routes_of_virtual_service(virtual_service, target, &inputs.destinations, inputs.retries.as_deref())
}

/// Where a route stands in its VirtualService, with its delegates in their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSource {
    /// The number of the rule in `http`.
    pub http: usize,
    /// The number of the condition in the rule's `match`. `None` means that the rule has none.
    pub condition: Option<usize>,
}

/// Returns where the routes of a virtual host stand in its VirtualService, in the order of the routes. Without a VirtualService
/// there are none.
pub fn mesh_route_sources(inputs: &VirtualHostInputs) -> Vec<RouteSource> {
    let VirtualHostInputs { host, port, domain, source, virtual_service, destinations, .. } = inputs;
    let Some(virtual_service) = virtual_service else { return Vec::new() };
    let target = RequestTarget { host, port: *port, domain, source, place: Place::Mesh };
    sources_in_virtual_service(virtual_service, target, destinations)
}

/// Returns where the routes of a VirtualService for requests to a target stand in it.
pub(super) fn sources_in_virtual_service(
    virtual_service: &Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpService],
) -> Vec<RouteSource> {
    let destinations: Vec<LookedUpDestination> = destinations.iter().map(looked_up).collect();
    let rules = virtual_service.spec.as_virtual_service().map(|spec| spec.http.as_slice()).unwrap_or_default();
    let routes = routes_of(virtual_service, target, &destinations);
    let sources = routes.iter().filter_map(|route| {
        let http = rules.iter().position(|rule| std::ptr::eq(rule, route.http))?;
        let mut conditions = route.http.matches.iter();
        let condition =
            route.condition.and_then(|taken| conditions.position(|condition| std::ptr::eq(condition, taken)));
        Some(RouteSource { http, condition })
    });
    sources.collect()
}

/// Returns the routes of a VirtualService for requests to a target.
pub(super) fn routes_of_virtual_service(
    virtual_service: &Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpService],
    retries: Option<&HttpRetry>,
) -> Vec<pb::Route> {
    let destinations: Vec<LookedUpDestination> = destinations.iter().map(looked_up).collect();
    let routes = routes_of(virtual_service, target, &destinations);
    let encode = |route: &Route<'_>| {
        let mut encoded = encode_route(route, virtual_service, target.port);
        if route.http.retries.is_none() {
            retry_as_mesh(&mut encoded, retries);
        }
        encoded
    };
    routes.iter().map(encode).collect()
}

/// Gives a route that says nothing of retries those of the mesh, if it has some of its own.
fn retry_as_mesh(route: &mut pb::Route, retries: Option<&HttpRetry>) {
    if let (Some(pb::route::Action::Route(action)), Some(retries)) = (&mut route.action, retries) {
        action.retry_policy = retry_policy(retries);
    }
}

/// Leaves out what the filters of a proxy would do and the gRPC library has no filter for, and writes the time limit as it
/// reads it.
fn reduce_to_grpc(route: &mut pb::Route) {
    route.typed_per_filter_config.remove(CORS_FILTER);
    if let Some(pb::route::Action::Route(action)) = &mut route.action {
        limit_time_for_grpc(action);
    }
}

fn looked_up(destination: &LookedUpService) -> LookedUpDestination {
    let service = destination.service.as_ref().map(|service| service.as_arc().clone());
    let rule = destination.rule.as_ref().map(|rule| rule.as_arc().clone());
    LookedUpDestination { host: destination.host.clone(), service, rule }
}

fn encode_route(route: &Route<'_>, virtual_service: &Config, port: u16) -> pb::Route {
    let mut encoded = pb::Route {
        name: route.name.clone(),
        r#match: Some(route_match(route.condition)),
        metadata: Some(istio_metadata(vec![config_field(virtual_service)])),
        decorator: route.first_host.as_ref().map(|host| decorator(host, port)),
        typed_per_filter_config: per_filter_config(route.http),
        stat_prefix: route.condition.and_then(|condition| condition.stat_prefix.clone()).unwrap_or_default(),
        ..Default::default()
    };
    let route_host = change_headers(&mut encoded, route.http.headers.as_deref());
    encoded.action = Some(match &route.action {
        RouteAction::Forward { clusters, mirrors } => {
            let mut action = forward(route.http, clusters, mirrors);
            let mut host = route_host;
            if let [only] = &clusters[..] {
                // What is changed for the only destination is changed for the route.
                host = change_headers(&mut encoded, only.headers).or(host);
            }
            if let Some(host) = host {
                action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(host));
            }
            pb::route::Action::Route(action)
        }
        RouteAction::NoDestination { missing } => no_destination(virtual_service, missing),
        RouteAction::Redirect(to) => redirect(to, port),
        RouteAction::DirectResponse(response) => answer(response),
    });
    encoded
}

/// Adds changes of headers to a route, and returns the host that they set.
fn change_headers(route: &mut pb::Route, headers: Option<&Headers>) -> Option<String> {
    let HeaderChanges { request_add, request_remove, response_add, response_remove, host } = header_changes(headers);
    route.request_headers_to_add.extend(request_add);
    route.request_headers_to_remove.extend(request_remove);
    route.response_headers_to_add.extend(response_add);
    route.response_headers_to_remove.extend(response_remove);
    host
}

fn no_destination(virtual_service: &Config, missing: &BTreeSet<Hostname>) -> pb::route::Action {
    let hosts: Vec<&str> = missing.iter().map(Hostname::as_str).collect();
    let hosts = hosts.join(", ");
    direct_response(503, &format!("{}: no service {hosts} in this sidecar's scope", virtual_service.key))
}

fn decorator(host: &Hostname, port: u16) -> pb::Decorator {
    pb::Decorator { operation: format!("{host}:{port}/*"), ..Default::default() }
}
