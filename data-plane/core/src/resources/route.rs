//! Route tables and virtual hosts.

use std::time::Duration;

use rutter_api::Invalid;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::fields::{joined, message_fields, unsupported};
use crate::route_table::{Action, HeaderMatch, PathMatch, Route, RouteTable, ValueMatch, VirtualHost, WeightedCluster};

message_fields! {
    route_configuration: route::RouteConfiguration {
        acts_on: virtual_hosts, vhds;
        ignores: name, validate_clusters, max_direct_response_body_size_bytes, ignore_port_in_host_matching;
        refuses: internal_only_headers, response_headers_to_add, response_headers_to_remove, request_headers_to_add,
            request_headers_to_remove, most_specific_header_mutations_wins, cluster_specifier_plugins,
            request_mirror_policies, vhost_header, ignore_path_parameters_in_path_matching,
            typed_per_filter_config, metadata, route_specifiers;
    }
    virtual_host: route::VirtualHost {
        acts_on: domains, routes;
        ignores: name, include_request_attempt_count;
        refuses: matcher, require_tls, virtual_clusters, rate_limits, request_headers_to_add,
            request_headers_to_remove, response_headers_to_add, response_headers_to_remove, cors,
            typed_per_filter_config, include_attempt_count_in_response, retry_policy,
            retry_policy_typed_config, hedge_policy, include_is_timeout_retry_header,
            per_request_buffer_limit_bytes, request_body_buffer_limit, request_mirror_policies, metadata,
            route_specifiers;
    }
    route: route::Route {
        acts_on: r#match, action;
        ignores: name, metadata, decorator;
        refuses: typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, tracing, per_request_buffer_limit_bytes,
            stat_prefix, request_body_buffer_limit, route_specifiers;
    }
    route_match: route::RouteMatch {
        acts_on: case_sensitive, headers, path_specifier;
        ignores: ;
        refuses: runtime_fraction, query_parameters, cookies, grpc, tls_context, dynamic_metadata, filter_state;
    }
    header_matcher: route::HeaderMatcher {
        acts_on: name, header_match_specifier;
        ignores: ;
        refuses: invert_match, treat_missing_header_as_empty;
    }
    route_action: route::RouteAction {
        acts_on: timeout, cluster_specifier;
        ignores: retry_policy, max_stream_duration, max_grpc_timeout;
        refuses: cluster_not_found_response_code, metadata_match, prefix_rewrite, regex_rewrite,
            path_rewrite_policy, path_rewrite, append_x_forwarded_host, idle_timeout, flush_timeout,
            early_data_policy, retry_policy_typed_config, request_mirror_policies, priority, rate_limits,
            include_vh_rate_limits, hash_policy, cors, grpc_timeout_offset, upgrade_configs,
            internal_redirect_policy, internal_redirect_action, max_internal_redirects, hedge_policy,
            host_rewrite_specifier;
    }
    weighted_cluster: route::WeightedCluster {
        acts_on: clusters;
        ignores: ;
        refuses: total_weight, runtime_key_prefix, random_value_specifier;
    }
    cluster_weight: route::weighted_cluster::ClusterWeight {
        acts_on: name, weight;
        ignores: ;
        refuses: cluster_header, metadata_match, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, typed_per_filter_config,
            host_rewrite_specifier;
    }
    direct_response_action: route::DirectResponseAction {
        acts_on: status, body;
        ignores: ;
        refuses: body_format;
    }
}

/// Reads a route table at a path. The path is empty for a table that is a resource.
///
/// # Errors
/// Fails if a route needs what the proxy does not have.
pub fn route_configuration(message: &route::RouteConfiguration, path: &str) -> Result<RouteTable, Invalid> {
    Fields::route_configuration(message, path)?;
    let mut table = RouteTable::new(message.vhds.is_some());
    for (number, host) in message.virtual_hosts.iter().enumerate() {
        let path = joined(path, &format!("virtual_hosts[{number}]"));
        table.insert(format!("virtual_hosts[{number}]").into(), virtual_host_at(host, &path)?.into());
    }
    Ok(table)
}

/// Reads a virtual host that is a resource.
///
/// # Errors
/// Fails if a route needs what the proxy does not have.
pub fn virtual_host(message: &route::VirtualHost) -> Result<VirtualHost, Invalid> {
    virtual_host_at(message, "")
}

fn virtual_host_at(message: &route::VirtualHost, path: &str) -> Result<VirtualHost, Invalid> {
    Fields::virtual_host(message, path)?;
    let mut routes = Vec::new();
    for (number, route) in message.routes.iter().enumerate() {
        routes.push(read_route(route, &joined(path, &format!("routes[{number}]")))?);
    }
    Ok(VirtualHost { domains: message.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(), routes })
}

fn read_route(message: &route::Route, path: &str) -> Result<Route, Invalid> {
    use route::route_match::PathSpecifier;
    Fields::route(message, path)?;
    let route_match = message.r#match.clone().unwrap_or_default();
    let match_path = joined(path, "match");
    Fields::route_match(&route_match, &match_path)?;
    if route_match.case_sensitive == Some(false) {
        return Err(Invalid::not_supported(joined(&match_path, "case_sensitive")));
    }
    let path_match = match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(text)) => PathMatch::Prefix(text.clone()),
        Some(PathSpecifier::Path(text)) => PathMatch::Exact(text.clone()),
        Some(
            PathSpecifier::SafeRegex(_)
            | PathSpecifier::ConnectMatcher(_)
            | PathSpecifier::PathSeparatedPrefix(_)
            | PathSpecifier::PathMatchPolicy(_),
        ) => return Err(Invalid::not_supported(joined(&match_path, "path_specifier"))),
        None => return Err(Invalid::new(joined(&match_path, "path_specifier"), "a path", "none")),
    };
    let mut headers = Vec::new();
    for (number, header) in route_match.headers.iter().enumerate() {
        headers.push(header_match(header, &joined(&match_path, &format!("headers[{number}]")))?);
    }
    let action = action(message.action.as_ref(), path)?;
    Ok(Route { path: path_match, headers, action })
}

fn header_match(message: &route::HeaderMatcher, path: &str) -> Result<HeaderMatch, Invalid> {
    use route::header_matcher::HeaderMatchSpecifier;
    Fields::header_matcher(message, path)?;
    let refusal = unsupported(path, message.name.clone());
    let value = match &message.header_match_specifier {
        Some(HeaderMatchSpecifier::PresentMatch(true)) | None => ValueMatch::Present,
        Some(HeaderMatchSpecifier::StringMatch(text)) if !text.ignore_case => match &text.match_pattern {
            Some(MatchPattern::Exact(text)) => ValueMatch::Exact(text.clone()),
            Some(MatchPattern::Prefix(text)) => ValueMatch::Prefix(text.clone()),
            Some(
                MatchPattern::Suffix(_)
                | MatchPattern::SafeRegex(_)
                | MatchPattern::Contains(_)
                | MatchPattern::Custom(_),
            )
            | None => return Err(refusal),
        },
        Some(_) => return Err(refusal),
    };
    Ok(HeaderMatch { name: message.name.to_ascii_lowercase(), value })
}

fn action(message: Option<&route::route::Action>, path: &str) -> Result<Action, Invalid> {
    match message {
        Some(route::route::Action::Route(action)) => forward(action, &joined(path, "route")),
        Some(route::route::Action::DirectResponse(response)) => {
            direct_response(response, &joined(path, "direct_response"))
        }
        Some(
            route::route::Action::Redirect(_)
            | route::route::Action::FilterAction(_)
            | route::route::Action::NonForwardingAction(_),
        ) => Err(Invalid::not_supported(joined(path, "action"))),
        None => Err(Invalid::new(joined(path, "action"), "an action", "none")),
    }
}

fn forward(message: &route::RouteAction, path: &str) -> Result<Action, Invalid> {
    use route::route_action::ClusterSpecifier;
    Fields::route_action(message, path)?;
    let clusters = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![WeightedCluster { name: name.clone(), weight: 1 }],
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted_clusters(clusters, &joined(path, "weighted_clusters"))?
        }
        Some(
            ClusterSpecifier::ClusterHeader(_)
            | ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        ) => return Err(Invalid::not_supported(joined(path, "cluster_specifier"))),
        None => return Err(Invalid::new(joined(path, "cluster"), "a cluster", "none")),
    };
    let timeout = message.timeout.and_then(|timeout| Duration::try_from(timeout).ok());
    Ok(Action::Forward { clusters, timeout: timeout.filter(|timeout| !timeout.is_zero()) })
}

fn weighted_clusters(message: &route::WeightedCluster, path: &str) -> Result<Vec<WeightedCluster>, Invalid> {
    Fields::weighted_cluster(message, path)?;
    let mut clusters = Vec::new();
    for (number, cluster) in message.clusters.iter().enumerate() {
        Fields::cluster_weight(cluster, &joined(path, &format!("clusters[{number}]")))?;
        clusters.push(WeightedCluster { name: cluster.name.clone(), weight: cluster.weight.unwrap_or_default() });
    }
    Ok(clusters)
}

fn direct_response(message: &route::DirectResponseAction, path: &str) -> Result<Action, Invalid> {
    Fields::direct_response_action(message, path)?;
    let body = match message.body.as_ref().and_then(|body| body.specifier.as_ref()) {
        Some(core::data_source::Specifier::InlineString(text)) => text.clone(),
        None => String::new(),
        Some(
            core::data_source::Specifier::Filename(_)
            | core::data_source::Specifier::InlineBytes(_)
            | core::data_source::Specifier::EnvironmentVariable(_),
        ) => return Err(unsupported(&joined(path, "body"), "want inline_string")),
    };
    let status = u16::try_from(message.status).ok().filter(|status| (100..600).contains(status));
    let status = status.ok_or_else(|| Invalid::new(joined(path, "status"), "100..=599", message.status))?;
    Ok(Action::Direct { status, body })
}
