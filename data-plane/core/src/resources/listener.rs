//! Listeners: where connections arrive.

use std::net::SocketAddr;
use std::sync::Arc;

use prost::Message;
use rutter_api::Invalid;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;

use super::endpoints::address;
use super::fields::{joined, message_fields, unsupported};
use super::route::route_configuration;
use crate::route_table::RouteTable;

/// The name of the only HTTP filter that the proxy has.
const ROUTER: &str = "envoy.filters.http.router";
/// The filters that do nothing but what a route asks of them. A route that does so is refused.
const FILTERS_FOR_ROUTES: [&str; 2] = ["envoy.filters.http.fault", "envoy.filters.http.cors"];

message_fields! {
    listener: listener::Listener {
        acts_on: address, filter_chains, bind_to_port;
        ignores: name, traffic_direction;
        refuses: additional_addresses, stat_prefix, stats_matcher, fcds_config, filter_chain_matcher,
            use_original_dst, default_filter_chain, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, metadata, deprecated_v1, drain_type,
            listener_filters, listener_filters_timeout, continue_on_listener_filters_timeout, transparent,
            freebind, socket_options, tcp_fast_open_queue_length, udp_listener_config, api_listener,
            connection_balance_config, reuse_port, enable_reuse_port, access_log, tcp_backlog_size,
            max_connections_to_accept_per_socket_event, enable_mptcp, ignore_global_conn_limit,
            bypass_overload_manager, tcp_keepalive, listener_specifier;
    }
    filter_chain: listener::FilterChain {
        acts_on: filters;
        ignores: name, transport_socket_connect_timeout;
        refuses: filter_chain_match, use_proxy_proto, metadata, transport_socket;
    }
    http_connection_manager: hcm::HttpConnectionManager {
        acts_on: http_filters, route_specifier, use_remote_address;
        ignores: stat_prefix, stream_idle_timeout, proxy_100_continue, upgrade_configs,
            normalize_path, path_with_escaped_slashes_action;
        refuses: http2_protocol_options, codec_type, add_user_agent, tracing, common_http_protocol_options,
            http1_safe_max_connection_duration, http_protocol_options, http3_protocol_options, server_name,
            server_header_transformation, scheme_header_transformation, max_request_headers_kb,
            stream_flush_timeout, request_timeout, request_headers_timeout, drain_timeout,
            drain_timeout_jitter, delayed_close_timeout, access_log, access_log_flush_interval,
            flush_access_log_on_new_request, access_log_options, xff_num_trusted_hops,
            original_ip_detection_extensions, early_header_mutation_extensions, internal_address_config,
            skip_xff_append, via, generate_request_id, preserve_external_request_id,
            always_set_request_id_in_response, forward_client_cert_details, set_current_client_cert_details,
            forward_client_cert_matcher, represent_ipv4_remote_address_as_ipv4_mapped_ipv6, merge_slashes,
            request_id_extension, local_reply_config, strip_matching_host_port,
            stream_error_on_invalid_http_message, path_normalization_options, strip_trailing_host_dot,
            proxy_status_config, typed_header_validation_config, append_x_forwarded_port,
            append_local_overload, add_proxy_protocol_connection_state, forward_proto_config, strip_port_mode;
    }
    rds: hcm::Rds {
        acts_on: route_config_name;
        ignores: config_source;
        refuses: ;
    }
    tcp_proxy: tcp_proxy::TcpProxy {
        acts_on: cluster_specifier;
        ignores: stat_prefix;
        refuses: on_demand, metadata_match, idle_timeout, downstream_idle_timeout, upstream_idle_timeout,
            access_log, max_connect_attempts, backoff_options, hash_policy, tunneling_config,
            max_downstream_connection_duration, max_downstream_connection_duration_jitter_percentage,
            access_log_flush_interval, flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs,
            proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes, check_drain_close;
    }
}

/// Where connections arrive, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The address to bind.
    pub address: SocketAddr,
    /// What becomes of connections.
    pub chain: Chain,
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Chain {
    /// Requests are routed by the table of this name, which comes by RDS.
    Rds(Arc<str>),
    /// Requests are routed by this table.
    Http(Arc<RouteTable>),
    /// Bytes go to the cluster of this name.
    Tcp(String),
}

/// Reads a listener, which has one filter chain of one filter. Such a listener is what the control plane sends to a
/// sidecar without capture.
///
/// # Errors
/// Fails if the listener needs what the proxy does not have.
pub fn listener(message: &listener::Listener) -> Result<Listener, Invalid> {
    if message.bind_to_port == Some(false) {
        return Err(unsupported("bind_to_port", "captured traffic: use INTERCEPTION_MODE NONE"));
    }
    Fields::listener(message, "")?;
    let [chain] = &message.filter_chains[..] else {
        return Err(Invalid::new("filter_chains", "one filter chain", message.filter_chains.len()));
    };
    Fields::filter_chain(chain, "filter_chains[0]")?;
    let [filter] = &chain.filters[..] else {
        return Err(Invalid::new("filter_chains[0].filters", "one filter", chain.filters.len()));
    };
    let path = "filter_chains[0].filters[0]";
    let Some(listener::filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        return Err(Invalid::new(path, "a typed config", "none"));
    };
    let chain = match config.type_url.rsplit('/').next() {
        Some("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy") => tcp_chain(&config.value, path)?,
        Some("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager") => {
            http_chain(&config.value, path)?
        }
        Some(_) | None => return Err(unsupported(path, config.type_url.clone())),
    };
    Ok(Listener { address: address(message.address.as_ref(), "address")?, chain })
}

fn decode<M: Message + Default>(bytes: &[u8], path: &str) -> Result<M, Invalid> {
    M::decode(bytes).map_err(|error| Invalid::new(path, "a message of its type", error))
}

fn tcp_chain(bytes: &[u8], path: &str) -> Result<Chain, Invalid> {
    use tcp_proxy::tcp_proxy::ClusterSpecifier;
    let proxy: tcp_proxy::TcpProxy = decode(bytes, path)?;
    Fields::tcp_proxy(&proxy, path)?;
    match proxy.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(Chain::Tcp(name)),
        Some(ClusterSpecifier::WeightedClusters(_)) => Err(Invalid::not_supported(joined(path, "weighted_clusters"))),
        None => Err(Invalid::new(joined(path, "cluster"), "a cluster", "none")),
    }
}

fn http_chain(bytes: &[u8], path: &str) -> Result<Chain, Invalid> {
    use hcm::http_connection_manager::RouteSpecifier;
    let manager: hcm::HttpConnectionManager = decode(bytes, path)?;
    Fields::http_connection_manager(&manager, path)?;
    if manager.use_remote_address == Some(true) {
        return Err(Invalid::not_supported(joined(path, "use_remote_address")));
    }
    let is_known = |name: &str| name == ROUTER || FILTERS_FOR_ROUTES.contains(&name);
    if let Some(filter) = manager.http_filters.iter().find(|filter| !is_known(&filter.name)) {
        return Err(unsupported(&joined(path, "http_filters"), filter.name.clone()));
    }
    match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            Fields::rds(rds, &joined(path, "rds"))?;
            Ok(Chain::Rds(rds.route_config_name.as_str().into()))
        }
        Some(RouteSpecifier::RouteConfig(table)) => {
            Ok(Chain::Http(Arc::new(route_configuration(table, &joined(path, "route_config"))?)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(Invalid::not_supported(joined(path, "scoped_routes"))),
        None => Err(Invalid::new(joined(path, "rds"), "a route table", "none")),
    }
}
