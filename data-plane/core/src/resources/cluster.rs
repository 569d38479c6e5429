//! Clusters: where requests can go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rutter_api::Invalid;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;
use upstream::http_protocol_options::UpstreamProtocolOptions;

use super::endpoints::load_assignment;
use super::fields::{joined, message_fields, unsupported};

/// Envoy's default for the time that a connection to an endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The extension that holds the HTTP options of a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

message_fields! {
    cluster: cluster::Cluster {
        acts_on: name, eds_cluster_config, connect_timeout, load_assignment, typed_extension_protocol_options,
            cluster_discovery_type;
        ignores: alt_stat_name, lb_policy, circuit_breakers, outlier_detection, common_lb_config, metadata;
        refuses: transport_socket_matches, transport_socket_matcher, stats_matcher,
            per_connection_buffer_limit_bytes, per_connection_buffer_high_watermark_timeout, health_checks,
            max_requests_per_connection, upstream_http_protocol_options, common_http_protocol_options,
            http_protocol_options, http2_protocol_options, dns_refresh_rate, dns_jitter,
            dns_failure_refresh_rate, respect_dns_ttl, dns_lookup_family, dns_resolvers,
            use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config, wait_for_warm_on_init,
            cleanup_interval, upstream_bind_config, lb_subset_config, transport_socket, protocol_selection,
            upstream_connection_options, close_connections_on_host_health_failure,
            ignore_health_on_host_removal, filters, load_balancing_policy, lrs_server,
            lrs_report_endpoint_metrics, track_timeout_budgets, upstream_config, track_cluster_stats,
            preconnect_policy, connection_pool_per_downstream_connection, queuing_policies, lb_config;
    }
    eds_cluster_config: cluster::cluster::EdsClusterConfig {
        acts_on: service_name;
        ignores: eds_config;
        refuses: ;
    }
    http_protocol_options: upstream::HttpProtocolOptions {
        acts_on: upstream_protocol_options;
        ignores: common_http_protocol_options;
        refuses: upstream_http_protocol_options, http_filters, header_validation_config, outlier_detection,
            request_mirror_policies, hash_policy, retry_policy;
    }
}

/// Where requests can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where the addresses come from.
    pub addresses: Addresses,
    /// The time that a connection to an endpoint may take.
    pub connect_timeout: Duration,
}

/// Where the addresses of a cluster come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The cluster has these addresses.
    Static(Arc<Vec<SocketAddr>>),
    /// The cluster has the addresses of the load assignment of this name.
    Assignment(Arc<str>),
}

/// Reads a cluster.
///
/// # Errors
/// Fails if the cluster needs what the proxy does not have.
pub fn cluster(message: &cluster::Cluster) -> Result<Cluster, Invalid> {
    let addresses = addresses(message)?;
    Fields::cluster(message, "")?;
    check_protocol(message)?;
    let connect_timeout = message.connect_timeout.and_then(|timeout| Duration::try_from(timeout).ok());
    Ok(Cluster { addresses, connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT) })
}

fn addresses(message: &cluster::Cluster) -> Result<Addresses, Invalid> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let discovery_type = match message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(number)) => {
            DiscoveryType::try_from(number).map_err(|_| unsupported("type", number.to_string()))?
        }
        Some(ClusterDiscoveryType::ClusterType(_)) => return Err(Invalid::not_supported("cluster_type")),
        None => DiscoveryType::Static,
    };
    match discovery_type {
        DiscoveryType::Static => {
            let assignment = message.load_assignment.clone().unwrap_or_default();
            Ok(Addresses::Static(Arc::new(load_assignment(&assignment)?)))
        }
        DiscoveryType::Eds => {
            let eds = message.eds_cluster_config.clone().unwrap_or_default();
            Fields::eds_cluster_config(&eds, "eds_cluster_config")?;
            let name = if eds.service_name.is_empty() { message.name.as_str() } else { eds.service_name.as_str() };
            Ok(Addresses::Assignment(name.into()))
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns | DiscoveryType::OriginalDst => {
            Err(unsupported("type", discovery_type.as_str_name()))
        }
    }
}

/// The proxy speaks HTTP/1.1 to endpoints, which is also what its clients speak.
fn check_protocol(message: &cluster::Cluster) -> Result<(), Invalid> {
    let path = "typed_extension_protocol_options";
    for (name, options) in &message.typed_extension_protocol_options {
        if name != HTTP_OPTIONS {
            return Err(unsupported(path, name.clone()));
        }
        let options = upstream::HttpProtocolOptions::decode(&options.value[..])
            .map_err(|error| Invalid::new(path, "a message of its type", error))?;
        Fields::http_protocol_options(&options, path)?;
        match &options.upstream_protocol_options {
            None | Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => {}
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(_) | UpstreamProtocolOptions::AutoConfig(_)) => {
                return Err(unsupported(&joined(path, "upstream_protocol_options"), "the proxy speaks HTTP/1.1 only"));
            }
        }
    }
    Ok(())
}
