//! Route tables of gateways, and the virtual hosts in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use rutter_api::config::istio::HttpRetry;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::{Config, ConfigKey, HostPort, Hostname, ResourceType, RouteTableName, VirtualHostName};

use super::matches::prefix;
use super::table::{append, encoded, table};
use super::virtual_host::{
    LookedUpService, RouteSource, routes_of_virtual_service, sources_in_virtual_service, virtual_host,
};
use crate::client::RouteTableForm;
use crate::encode::inputs::Shared;
use crate::encode::wire::ads;
use crate::model::{Place, RequestSource, RequestTarget};
use crate::resource::EncodedResource;

/// A VirtualService that routes a host at a gateway.
#[derive(Debug, Hash)]
pub struct GatewayRoutes {
    /// The VirtualService.
    pub virtual_service: Shared<Config>,
    /// The hosts that it sends to, each with the service that it means.
    pub destinations: Vec<LookedUpService>,
    /// What its conditions ask for and the gateway has.
    pub source: RequestSource,
    /// The Gateway objects by which the routes apply here.
    pub gateways: BTreeSet<ConfigKey>,
}

/// Everything that a virtual host of a gateway depends on.
#[derive(Debug, Hash)]
pub struct GatewayVirtualHostInputs {
    /// The host, perhaps a wildcard.
    pub host: Hostname,
    /// The table that the virtual host is in.
    pub table: RouteTableName,
    /// The port of the server.
    pub port: u16,
    /// Whether plain requests are answered with a redirect to HTTPS.
    pub redirects_to_https: bool,
    /// The VirtualServices that route the host, the oldest first.
    pub virtual_services: Vec<GatewayRoutes>,
    /// The suffix of Kubernetes' service names.
    pub domain: Arc<str>,
    /// The form in which the gateway takes routes.
    pub form: RouteTableForm,
    /// The retries of routes that say nothing of them, if the mesh config says it.
    pub retries: Option<Shared<HttpRetry>>,
}

/// Encodes a virtual host of a gateway: the routes of all VirtualServices that are about its host, one after the other.
/// A route that takes every request comes after those that take some, whoever wrote it, as in Istio.
pub fn encode_gateway_virtual_host(inputs: &GatewayVirtualHostInputs) -> EncodedResource {
    let GatewayVirtualHostInputs { host, table, port, redirects_to_https, form, .. } = inputs;
    let routes = ordered_routes(inputs).into_iter().map(|(_, route)| route).collect();
    let resource_name = VirtualHostName::of_gateway(table.clone(), host, *port).to_string();
    let name = match form {
        RouteTableForm::Whole => HostPort::new(host, *port).to_string(),
        // Envoy knows a virtual host that came by VHDS by the name of its resource.
        RouteTableForm::Split | RouteTableForm::PerHost => resource_name.clone(),
    };
    let require_tls = if *redirects_to_https {
        pb::virtual_host::TlsRequirementType::All
    } else {
        pb::virtual_host::TlsRequirementType::None
    };
    let virtual_host =
        pb::VirtualHost { require_tls: require_tls as i32, ..virtual_host(name, vec![host.to_string()], routes) };
    EncodedResource::new(ResourceType::VirtualHost, resource_name.into(), &virtual_host.encode_to_vec())
}

/// Returns the routes with the numbers of the VirtualServices that they are from, and of the routes of these.
fn ordered_routes(inputs: &GatewayVirtualHostInputs) -> Vec<((usize, usize), pb::Route)> {
    let all_routes = inputs.virtual_services.iter().enumerate().flat_map(|(number, routes)| {
        let GatewayRoutes { virtual_service, destinations, source: _, gateways: _ } = routes;
        let target = target_of(routes, inputs);
        let retries = inputs.retries.as_deref();
        let routes = routes_of_virtual_service(virtual_service, target, destinations, retries).into_iter();
        routes.enumerate().map(move |(place, route)| ((number, place), route))
    });
    let (of_everything, mut routes): (Vec<_>, Vec<_>) = all_routes.partition(|(_, route)| takes_everything(route));
    routes.extend(of_everything.into_iter().take(1));
    routes
}

fn target_of<'a>(routes: &'a GatewayRoutes, inputs: &'a GatewayVirtualHostInputs) -> RequestTarget<'a> {
    let GatewayVirtualHostInputs { host, port, domain, .. } = inputs;
    let (source, place) = (&routes.source, Place::Gateways(&routes.gateways));
    RequestTarget { host, port: *port, domain, source, place }
}

/// Returns where the routes of a gateway's virtual host stand, in their order: the number of the VirtualService among the inputs, and
/// the place in it.
pub fn gateway_route_sources(inputs: &GatewayVirtualHostInputs) -> Vec<(usize, RouteSource)> {
    let sources = inputs.virtual_services.iter().map(|routes| {
        sources_in_virtual_service(&routes.virtual_service, target_of(routes, inputs), &routes.destinations)
    });
    let sources: Vec<Vec<RouteSource>> = sources.collect();
    let places = ordered_routes(inputs).into_iter().map(|(place, _)| place);
    places.filter_map(|(number, place)| Some((number, *sources.get(number)?.get(place)?))).collect()
}

fn takes_everything(route: &pb::Route) -> bool {
    let everything = prefix("/");
    let route_match = route.r#match.clone().unwrap_or_default();
    pb::RouteMatch { case_sensitive: None, ..route_match } == everything
}

/// Encodes the head of a gateway's table: its virtual hosts are resources of their own.
pub fn encode_gateway_head(name: &RouteTableName) -> EncodedResource {
    let name = name.to_string();
    let head = pb::RouteConfiguration { vhds: Some(pb::Vhds { config_source: Some(ads()) }), ..table(&name) };
    encoded(&name, &head.encode_to_vec())
}

/// Encodes a gateway's table with its virtual hosts in it.
pub fn encode_gateway_table<'a>(
    name: &RouteTableName,
    virtual_hosts: impl Iterator<Item = &'a EncodedResource>,
) -> EncodedResource {
    let name = name.to_string();
    let mut bytes = table(&name).encode_to_vec();
    virtual_hosts.for_each(|host| append(&mut bytes, &host.body()));
    encoded(&name, &bytes)
}
