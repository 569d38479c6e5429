//! The door: protobuf messages become typed resources, or are refused with the field's path.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rutter_api::Invalid;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use rutter_api::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use crate::route::{Action, HeaderMatch, PathMatch, Route, RouteTable, ValueMatch, VirtualHost};

/// Where requests can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cluster {
    /// These addresses.
    Static(Arc<Vec<SocketAddr>>),
    /// The addresses of a load assignment, by its name.
    Eds(String),
}

/// Where connections arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The address to bind.
    pub addr: SocketAddr,
    /// What takes them.
    pub chain: Chain,
}

/// What takes a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Chain {
    /// HTTP by a route table that comes by RDS.
    Rds(String),
    /// HTTP by a table of its own.
    Http(Arc<RouteTable>),
    /// Bytes to a cluster.
    Tcp(String),
}

fn unsupported(path: &str, what: impl Into<String>) -> Invalid {
    Invalid::not_supported(path).hint(what)
}

/// A cluster.
///
/// # Errors
/// When it is of a kind that this proxy does not have.
pub fn cluster(pb: &cluster::Cluster) -> Result<Cluster, Invalid> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let kind = match pb.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => {
            DiscoveryType::try_from(kind).map_err(|_| unsupported("type", kind.to_string()))?
        }
        Some(ClusterDiscoveryType::ClusterType(_)) => return Err(unsupported("cluster_type", "")),
        None => DiscoveryType::Static,
    };
    match kind {
        DiscoveryType::Static => {
            let assignment = pb.load_assignment.clone().unwrap_or_default();
            Ok(Cluster::Static(Arc::new(load_assignment(&assignment)?)))
        }
        DiscoveryType::Eds => {
            let name =
                pb.eds_cluster_config.as_ref().map(|eds| eds.service_name.clone()).filter(|name| !name.is_empty());
            Ok(Cluster::Eds(name.unwrap_or_else(|| pb.name.clone())))
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns | DiscoveryType::OriginalDst => {
            Err(unsupported("type", kind.as_str_name()))
        }
    }
}

/// The addresses of an assignment; those of weight are taken once each.
///
/// # Errors
/// When an address is no IP address.
pub fn load_assignment(pb: &endpoint::ClusterLoadAssignment) -> Result<Vec<SocketAddr>, Invalid> {
    use endpoint::lb_endpoint::HostIdentifier;
    let mut all = Vec::new();
    for (at, locality) in pb.endpoints.iter().enumerate() {
        for (number, one) in locality.lb_endpoints.iter().enumerate() {
            let path = format!("endpoints[{at}].lb_endpoints[{number}].endpoint.address");
            match &one.host_identifier {
                Some(HostIdentifier::Endpoint(endpoint)) => all.push(address(endpoint.address.as_ref(), &path)?),
                Some(HostIdentifier::EndpointName(_)) | None => return Err(Invalid::new(path, "an address", "none")),
            }
        }
    }
    Ok(all)
}

fn address(pb: Option<&core::Address>, path: &str) -> Result<SocketAddr, Invalid> {
    use core::socket_address::PortSpecifier;
    let Some(core::address::Address::SocketAddress(socket)) = pb.and_then(|pb| pb.address.as_ref()) else {
        return Err(Invalid::new(path, "a socket address", "none"));
    };
    let ip: IpAddr =
        socket.address.parse().map_err(|_| Invalid::new(path, "an IP address", format!("{:?}", socket.address)))?;
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
        Some(PortSpecifier::NamedPort(_)) | None => None,
    };
    let port = port.ok_or_else(|| Invalid::new(path, "a port", "none"))?;
    Ok(SocketAddr::new(ip, port))
}

/// A listener with one filter chain of one filter.
///
/// # Errors
/// When it needs what this proxy does not have.
pub fn listener(pb: &listener::Listener) -> Result<Listener, Invalid> {
    if pb.bind_to_port == Some(false) || pb.use_original_dst == Some(true) {
        return Err(unsupported("bind_to_port", "captured traffic: use INTERCEPTION_MODE NONE"));
    }
    let [chain] = &pb.filter_chains[..] else {
        return Err(Invalid::new("filter_chains", "one filter chain", pb.filter_chains.len()));
    };
    let [filter] = &chain.filters[..] else {
        return Err(Invalid::new("filter_chains[0].filters", "one filter", chain.filters.len()));
    };
    let path = "filter_chains[0].filters[0]";
    let Some(listener::filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        return Err(Invalid::new(path, "a typed config", "none"));
    };
    let chain = if config.type_url.ends_with(".tcp_proxy.v3.TcpProxy") {
        tcp(&config.value, path)?
    } else if config.type_url.ends_with(".http_connection_manager.v3.HttpConnectionManager") {
        http(&config.value, path)?
    } else {
        return Err(unsupported(path, config.type_url.clone()));
    };
    Ok(Listener { addr: address(pb.address.as_ref(), "address")?, chain })
}

fn decode<M: Message + Default>(bytes: &[u8], path: &str) -> Result<M, Invalid> {
    M::decode(bytes).map_err(|error| Invalid::new(path, "a message of its type", error))
}

fn tcp(bytes: &[u8], path: &str) -> Result<Chain, Invalid> {
    match decode::<TcpProxy>(bytes, path)?.cluster_specifier {
        Some(tcp_proxy::ClusterSpecifier::Cluster(name)) => Ok(Chain::Tcp(name)),
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(_)) | None => Err(unsupported(path, "weighted_clusters")),
    }
}

fn http(bytes: &[u8], path: &str) -> Result<Chain, Invalid> {
    use hcm::http_connection_manager::RouteSpecifier;
    let manager: hcm::HttpConnectionManager = decode(bytes, path)?;
    for filter in &manager.http_filters {
        if filter.name != "envoy.filters.http.router" {
            return Err(unsupported(&format!("{path}.http_filters"), filter.name.clone()));
        }
    }
    match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => Ok(Chain::Rds(rds.route_config_name.clone())),
        Some(RouteSpecifier::RouteConfig(table)) => Ok(Chain::Http(Arc::new(route_table(table)?))),
        Some(RouteSpecifier::ScopedRoutes(_)) | None => Err(unsupported(path, "scoped_routes")),
    }
}

/// A route table.
///
/// # Errors
/// When a rule needs what this proxy does not have.
pub fn route_table(pb: &route::RouteConfiguration) -> Result<RouteTable, Invalid> {
    let one = |(at, host)| Ok(Arc::new(host_at(host, &format!("virtual_hosts[{at}]."))?));
    let hosts = pb.virtual_hosts.iter().enumerate().map(one).collect::<Result<_, Invalid>>()?;
    Ok(RouteTable { hosts, is_split: pb.vhds.is_some() })
}

/// A virtual host.
///
/// # Errors
/// When a rule needs what this proxy does not have.
pub fn virtual_host(pb: &route::VirtualHost) -> Result<VirtualHost, Invalid> {
    host_at(pb, "")
}

fn host_at(pb: &route::VirtualHost, path: &str) -> Result<VirtualHost, Invalid> {
    let of = |(number, one)| one_route(one, &format!("{path}routes[{number}]"));
    let routes = pb.routes.iter().enumerate().map(of).collect::<Result<_, _>>()?;
    Ok(VirtualHost { domains: pb.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(), routes })
}

fn one_route(pb: &route::Route, path: &str) -> Result<Route, Invalid> {
    use route::route_match::PathSpecifier;
    let wanted = pb.r#match.clone().unwrap_or_default();
    if !wanted.query_parameters.is_empty() || wanted.runtime_fraction.is_some() {
        return Err(unsupported(&format!("{path}.match"), "query_parameters, runtime_fraction"));
    }
    let path_match = match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(text)) => PathMatch::Prefix(text.clone()),
        Some(PathSpecifier::Path(text)) => PathMatch::Exact(text.clone()),
        other => return Err(unsupported(&format!("{path}.match.path_specifier"), format!("{other:?}"))),
    };
    let headers = wanted.headers.iter().map(|header| header_match(header, path)).collect::<Result<_, _>>()?;
    let (action, timeout) = action(pb.action.as_ref(), path)?;
    Ok(Route { path: path_match, headers, action, timeout })
}

fn header_match(pb: &route::HeaderMatcher, path: &str) -> Result<HeaderMatch, Invalid> {
    use route::header_matcher::HeaderMatchSpecifier;
    let refuse = || unsupported(&format!("{path}.match.headers"), pb.name.clone());
    let value = match &pb.header_match_specifier {
        Some(HeaderMatchSpecifier::PresentMatch(true)) if !pb.invert_match => ValueMatch::Present,
        Some(HeaderMatchSpecifier::StringMatch(text)) if !pb.invert_match && !text.ignore_case => {
            match &text.match_pattern {
                Some(MatchPattern::Exact(text)) => ValueMatch::Exact(text.clone()),
                Some(MatchPattern::Prefix(text)) => ValueMatch::Prefix(text.clone()),
                _ => return Err(refuse()),
            }
        }
        _ => return Err(refuse()),
    };
    Ok(HeaderMatch { name: pb.name.to_ascii_lowercase(), value })
}

fn action(pb: Option<&route::route::Action>, path: &str) -> Result<(Action, Option<Duration>), Invalid> {
    use route::route_action::ClusterSpecifier;
    match pb {
        Some(route::route::Action::Route(to)) => {
            let clusters = match &to.cluster_specifier {
                Some(ClusterSpecifier::Cluster(name)) => vec![(name.clone(), 1)],
                Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                    weighted.clusters.iter().map(|one| (one.name.clone(), one.weight.unwrap_or_default())).collect()
                }
                other => return Err(unsupported(&format!("{path}.route"), format!("{other:?}"))),
            };
            let timeout =
                to.timeout.and_then(|timeout| Duration::try_from(timeout).ok()).filter(|timeout| !timeout.is_zero());
            Ok((Action::Clusters(clusters), timeout))
        }
        Some(route::route::Action::DirectResponse(direct)) => {
            let body = match direct.body.as_ref().and_then(|body| body.specifier.as_ref()) {
                Some(core::data_source::Specifier::InlineString(text)) => text.clone(),
                _ => String::new(),
            };
            let status = u16::try_from(direct.status)
                .map_err(|_| Invalid::new(format!("{path}.direct_response.status"), "100..=599", direct.status))?;
            Ok((Action::Direct { status, body }, None))
        }
        other => Err(unsupported(&format!("{path}.action"), format!("{other:?}"))),
    }
}
