//! Sets every field of every message that the proxy reads, one at a time, and shows what it makes of it: it acts on the
//! field, because what it has afterwards is another; or it ignores it, because that is the same; or it refuses it.

use std::fmt::Debug;

use expect_test::{Expect, expect};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use prost_types::Any;
use rutter_api::Invalid;
use rutter_api::json::message_descriptor;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;

use super::super::*;
use super::address;

/// Returns a value of a field that is not as in an empty message.
fn sample(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        return Value::Map([(MapKey::String("key".into()), empty_of(field))].into());
    }
    if field.is_list() {
        return Value::List(vec![scalar(&field.kind())]);
    }
    scalar(&field.kind())
}

/// Returns an empty value of a map whose values are messages.
fn empty_of(field: &FieldDescriptor) -> Value {
    let Kind::Message(entry) = field.kind() else { panic!("{field:?} is no map") };
    scalar(&entry.map_entry_value_field().kind())
}

/// Returns a message that says something if it is a wrapper of a value, a duration, or a reference: one that is empty
/// would be read as if it were not there.
fn sample_message(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for name in ["value", "seconds", "service_name", "inline_string"] {
        if let Some(field) = descriptor.get_field_by_name(name) {
            message.set_field(&field, scalar(&field.kind()));
        }
    }
    message
}

fn scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Message(message) => Value::Message(sample_message(message)),
        Kind::Enum(values) => {
            Value::EnumNumber(values.values().map(|value| value.number()).find(|number| *number > 0).unwrap())
        }
        Kind::String => Value::String("x".into()),
        Kind::Bytes => Value::Bytes(b"x".to_vec().into()),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(1.0),
        Kind::Float => Value::F32(1.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
    }
}

/// Sets each field of a message in turn, and compares what the proxy reads then with what it reads from the message
/// itself, which must be valid. `read` puts the message to its place in a resource and reads that.
fn check<M: Message + Default, T: PartialEq + Debug>(
    name: &str,
    valid: &M,
    read: impl Fn(M) -> Result<T, Invalid>,
    want: Expect,
) {
    let descriptor = message_descriptor(name).unwrap();
    let bytes = valid.encode_to_vec();
    let unchanged = read(M::decode(&bytes[..]).unwrap()).unwrap();
    let mut lines = Vec::new();
    for field in descriptor.fields() {
        let mut message = DynamicMessage::decode(descriptor.clone(), &bytes[..]).unwrap();
        message.set_field(&field, sample(&field));
        assert_eq!(message.descriptor(), descriptor);
        let Ok(changed) = M::decode(&message.encode_to_vec()[..]) else { panic!("{}", field.full_name()) };
        let outcome = match read(changed) {
            Ok(read) if read == unchanged => "ignored".to_owned(),
            Ok(_) => "acted on".to_owned(),
            Err(invalid) => format!("refused at {}", invalid.path),
        };
        lines.push(format!("{}: {outcome}", field.name()));
    }
    lines.sort();
    want.assert_eq(&lines.join("\n"));
}

fn eds_cluster() -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    cluster::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        ..Default::default()
    }
}

#[test]
fn cluster_fields() {
    check(
        "envoy.config.cluster.v3.Cluster",
        &eds_cluster(),
        |message| cluster(&message),
        expect![[r#"
            alt_stat_name: ignored
            circuit_breakers: ignored
            cleanup_interval: refused at cleanup_interval
            close_connections_on_host_health_failure: refused at close_connections_on_host_health_failure
            cluster_type: refused at cluster_type
            common_http_protocol_options: refused at common_http_protocol_options
            common_lb_config: ignored
            connect_timeout: acted on
            connection_pool_per_downstream_connection: refused at connection_pool_per_downstream_connection
            dns_failure_refresh_rate: refused at dns_failure_refresh_rate
            dns_jitter: refused at dns_jitter
            dns_lookup_family: refused at dns_lookup_family
            dns_refresh_rate: refused at dns_refresh_rate
            dns_resolution_config: refused at dns_resolution_config
            dns_resolvers: refused at dns_resolvers
            eds_cluster_config: acted on
            filters: refused at filters
            health_checks: refused at health_checks
            http2_protocol_options: refused at http2_protocol_options
            http_protocol_options: refused at http_protocol_options
            ignore_health_on_host_removal: refused at ignore_health_on_host_removal
            lb_policy: ignored
            lb_subset_config: refused at lb_subset_config
            least_request_lb_config: refused at lb_config
            load_assignment: ignored
            load_balancing_policy: refused at load_balancing_policy
            lrs_report_endpoint_metrics: refused at lrs_report_endpoint_metrics
            lrs_server: refused at lrs_server
            maglev_lb_config: refused at lb_config
            max_requests_per_connection: refused at max_requests_per_connection
            metadata: ignored
            name: acted on
            original_dst_lb_config: refused at lb_config
            outlier_detection: ignored
            per_connection_buffer_high_watermark_timeout: refused at per_connection_buffer_high_watermark_timeout
            per_connection_buffer_limit_bytes: refused at per_connection_buffer_limit_bytes
            preconnect_policy: refused at preconnect_policy
            protocol_selection: refused at protocol_selection
            queuing_policies: refused at queuing_policies
            respect_dns_ttl: refused at respect_dns_ttl
            ring_hash_lb_config: refused at lb_config
            round_robin_lb_config: refused at lb_config
            stats_matcher: refused at stats_matcher
            track_cluster_stats: refused at track_cluster_stats
            track_timeout_budgets: refused at track_timeout_budgets
            transport_socket: refused at transport_socket
            transport_socket_matcher: refused at transport_socket_matcher
            transport_socket_matches: refused at transport_socket_matches
            type: refused at type
            typed_dns_resolver_config: refused at typed_dns_resolver_config
            typed_extension_protocol_options: refused at typed_extension_protocol_options
            upstream_bind_config: refused at upstream_bind_config
            upstream_config: refused at upstream_config
            upstream_connection_options: refused at upstream_connection_options
            upstream_http_protocol_options: refused at upstream_http_protocol_options
            use_tcp_for_dns_lookups: refused at use_tcp_for_dns_lookups
            wait_for_warm_on_init: refused at wait_for_warm_on_init"#]],
    );
}

#[test]
fn eds_cluster_config_fields() {
    let read = |config| cluster(&cluster::Cluster { eds_cluster_config: Some(config), ..eds_cluster() });
    let valid = cluster::cluster::EdsClusterConfig::default();
    check(
        "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
        &valid,
        read,
        expect![[r#"
        eds_config: ignored
        service_name: acted on"#]],
    );
}

#[test]
fn http_protocol_options_fields() {
    const NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let read = |options: upstream::HttpProtocolOptions| {
        let any = Any { type_url: format!("type.googleapis.com/{NAME}"), value: options.encode_to_vec() };
        let typed_extension_protocol_options = [(NAME.to_owned(), any)].into();
        cluster(&cluster::Cluster { typed_extension_protocol_options, ..eds_cluster() })
    };
    check(
        NAME,
        &upstream::HttpProtocolOptions::default(),
        read,
        expect![[r#"
        auto_config: refused at typed_extension_protocol_options.upstream_protocol_options
        common_http_protocol_options: ignored
        explicit_http_config: refused at typed_extension_protocol_options.upstream_protocol_options
        hash_policy: refused at typed_extension_protocol_options.hash_policy
        header_validation_config: refused at typed_extension_protocol_options.header_validation_config
        http_filters: refused at typed_extension_protocol_options.http_filters
        outlier_detection: refused at typed_extension_protocol_options.outlier_detection
        request_mirror_policies: refused at typed_extension_protocol_options.request_mirror_policies
        retry_policy: refused at typed_extension_protocol_options.retry_policy
        upstream_http_protocol_options: refused at typed_extension_protocol_options.upstream_http_protocol_options
        use_downstream_protocol_config: ignored"#]],
    );
}

fn an_endpoint() -> endpoint::Endpoint {
    endpoint::Endpoint { address: address("10.0.0.1"), ..Default::default() }
}

fn lb_endpoint(endpoint: endpoint::Endpoint) -> endpoint::LbEndpoint {
    let host_identifier = Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint));
    endpoint::LbEndpoint { host_identifier, ..Default::default() }
}

fn locality(lb_endpoint: endpoint::LbEndpoint) -> endpoint::LocalityLbEndpoints {
    endpoint::LocalityLbEndpoints { lb_endpoints: vec![lb_endpoint], ..Default::default() }
}

fn assignment(locality: endpoint::LocalityLbEndpoints) -> endpoint::ClusterLoadAssignment {
    endpoint::ClusterLoadAssignment { endpoints: vec![locality], ..Default::default() }
}

#[test]
fn load_assignment_fields() {
    let valid = assignment(locality(lb_endpoint(an_endpoint())));
    let read = |message| load_assignment(&message);
    check(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &valid,
        read,
        expect![[r#"
        cluster_name: ignored
        endpoints: acted on
        named_endpoints: refused at named_endpoints
        policy: refused at policy"#]],
    );
}

#[test]
fn locality_fields() {
    let valid = locality(lb_endpoint(an_endpoint()));
    let read = |message| load_assignment(&assignment(message));
    check(
        "envoy.config.endpoint.v3.LocalityLbEndpoints",
        &valid,
        read,
        expect![[r#"
        lb_endpoints: refused at endpoints[0].lb_endpoints[0].endpoint.address
        leds_cluster_locality_config: refused at endpoints[0].lb_config
        load_balancer_endpoints: refused at endpoints[0].lb_config
        load_balancing_weight: ignored
        locality: ignored
        metadata: refused at endpoints[0].metadata
        priority: refused at endpoints[0].priority
        proximity: refused at endpoints[0].proximity"#]],
    );
}

#[test]
fn lb_endpoint_fields() {
    let read = |message| load_assignment(&assignment(locality(message)));
    check(
        "envoy.config.endpoint.v3.LbEndpoint",
        &lb_endpoint(an_endpoint()),
        read,
        expect![[r#"
        endpoint: refused at endpoints[0].lb_endpoints[0].endpoint.address
        endpoint_name: refused at endpoints[0].lb_endpoints[0].endpoint.address
        health_status: refused at endpoints[0].lb_endpoints[0].health_status
        load_balancing_weight: ignored
        metadata: refused at endpoints[0].lb_endpoints[0].metadata"#]],
    );
}

#[test]
fn endpoint_fields() {
    let read = |message| load_assignment(&assignment(locality(lb_endpoint(message))));
    check(
        "envoy.config.endpoint.v3.Endpoint",
        &an_endpoint(),
        read,
        expect![[r#"
        additional_addresses: refused at endpoints[0].lb_endpoints[0].endpoint.additional_addresses
        address: refused at endpoints[0].lb_endpoints[0].endpoint.address
        health_check_config: refused at endpoints[0].lb_endpoints[0].endpoint.health_check_config
        hostname: refused at endpoints[0].lb_endpoints[0].endpoint.hostname
        observability_name: refused at endpoints[0].lb_endpoints[0].endpoint.observability_name"#]],
    );
}

#[test]
fn socket_address_fields() {
    let Some(core::address::Address::SocketAddress(valid)) = address("10.0.0.1").unwrap().address else { panic!() };
    let read = |socket| {
        let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
        let endpoint = endpoint::Endpoint { address: Some(address), ..Default::default() };
        load_assignment(&assignment(locality(lb_endpoint(endpoint))))
    };
    check(
        "envoy.config.core.v3.SocketAddress",
        &valid,
        read,
        expect![[r#"
        address: refused at endpoints[0].lb_endpoints[0].endpoint.address
        ipv4_compat: refused at endpoints[0].lb_endpoints[0].endpoint.address.ipv4_compat
        named_port: refused at endpoints[0].lb_endpoints[0].endpoint.address
        network_namespace_filepath: refused at endpoints[0].lb_endpoints[0].endpoint.address.network_namespace_filepath
        port_value: acted on
        protocol: refused at endpoints[0].lb_endpoints[0].endpoint.address.protocol
        resolver_name: refused at endpoints[0].lb_endpoints[0].endpoint.address.resolver_name"#]],
    );
}

fn filter(type_name: &str, value: Vec<u8>) -> listener::Filter {
    let config = Any { type_url: format!("type.googleapis.com/{type_name}"), value };
    listener::Filter { config_type: Some(listener::filter::ConfigType::TypedConfig(config)), ..Default::default() }
}

fn chain_of(filter: listener::Filter) -> listener::FilterChain {
    listener::FilterChain { filters: vec![filter], ..Default::default() }
}

fn listener_of(chain: listener::FilterChain) -> listener::Listener {
    listener::Listener { address: address("10.0.0.1"), filter_chains: vec![chain], ..Default::default() }
}

const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

fn tcp_proxy() -> tcp_proxy::TcpProxy {
    let cluster_specifier = Some(tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster("c".into()));
    tcp_proxy::TcpProxy { cluster_specifier, ..Default::default() }
}

fn tcp_chain() -> listener::FilterChain {
    chain_of(filter(TCP_PROXY, tcp_proxy().encode_to_vec()))
}

fn manager() -> hcm::HttpConnectionManager {
    let rds = hcm::Rds { route_config_name: "80".into(), ..Default::default() };
    let route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds));
    hcm::HttpConnectionManager { route_specifier, ..Default::default() }
}

#[test]
fn listener_fields() {
    let read = |message| listener(&message);
    check(
        "envoy.config.listener.v3.Listener",
        &listener_of(tcp_chain()),
        read,
        expect![[r#"
        access_log: refused at access_log
        additional_addresses: refused at additional_addresses
        address: refused at address
        api_listener: refused at api_listener
        bind_to_port: ignored
        bypass_overload_manager: refused at bypass_overload_manager
        connection_balance_config: refused at connection_balance_config
        continue_on_listener_filters_timeout: refused at continue_on_listener_filters_timeout
        default_filter_chain: refused at default_filter_chain
        deprecated_v1: refused at deprecated_v1
        drain_type: refused at drain_type
        enable_mptcp: refused at enable_mptcp
        enable_reuse_port: refused at enable_reuse_port
        fcds_config: refused at fcds_config
        filter_chain_matcher: refused at filter_chain_matcher
        filter_chains: refused at filter_chains[0].filters
        freebind: refused at freebind
        ignore_global_conn_limit: refused at ignore_global_conn_limit
        internal_listener: refused at listener_specifier
        listener_filters: refused at listener_filters
        listener_filters_timeout: refused at listener_filters_timeout
        max_connections_to_accept_per_socket_event: refused at max_connections_to_accept_per_socket_event
        metadata: refused at metadata
        name: ignored
        per_connection_buffer_high_watermark_timeout: refused at per_connection_buffer_high_watermark_timeout
        per_connection_buffer_limit_bytes: refused at per_connection_buffer_limit_bytes
        reuse_port: refused at reuse_port
        socket_options: refused at socket_options
        stat_prefix: refused at stat_prefix
        stats_matcher: refused at stats_matcher
        tcp_backlog_size: refused at tcp_backlog_size
        tcp_fast_open_queue_length: refused at tcp_fast_open_queue_length
        tcp_keepalive: refused at tcp_keepalive
        traffic_direction: ignored
        transparent: refused at transparent
        udp_listener_config: refused at udp_listener_config
        use_original_dst: refused at use_original_dst"#]],
    );
}

#[test]
fn filter_chain_fields() {
    let read = |chain| listener(&listener_of(chain));
    check(
        "envoy.config.listener.v3.FilterChain",
        &tcp_chain(),
        read,
        expect![[r#"
        filter_chain_match: refused at filter_chains[0].filter_chain_match
        filters: refused at filter_chains[0].filters[0]
        metadata: refused at filter_chains[0].metadata
        name: ignored
        transport_socket: refused at filter_chains[0].transport_socket
        transport_socket_connect_timeout: ignored
        use_proxy_proto: refused at filter_chains[0].use_proxy_proto"#]],
    );
}

#[test]
fn tcp_proxy_fields() {
    let read = |proxy: tcp_proxy::TcpProxy| listener(&listener_of(chain_of(filter(TCP_PROXY, proxy.encode_to_vec()))));
    check(
        TCP_PROXY,
        &tcp_proxy(),
        read,
        expect![[r#"
        access_log: refused at filter_chains[0].filters[0].access_log
        access_log_flush_interval: refused at filter_chains[0].filters[0].access_log_flush_interval
        access_log_options: refused at filter_chains[0].filters[0].access_log_options
        backoff_options: refused at filter_chains[0].filters[0].backoff_options
        check_drain_close: refused at filter_chains[0].filters[0].check_drain_close
        cluster: acted on
        downstream_idle_timeout: refused at filter_chains[0].filters[0].downstream_idle_timeout
        flush_access_log_on_connected: refused at filter_chains[0].filters[0].flush_access_log_on_connected
        hash_policy: refused at filter_chains[0].filters[0].hash_policy
        idle_timeout: refused at filter_chains[0].filters[0].idle_timeout
        max_connect_attempts: refused at filter_chains[0].filters[0].max_connect_attempts
        max_downstream_connection_duration: refused at filter_chains[0].filters[0].max_downstream_connection_duration
        max_downstream_connection_duration_jitter_percentage: refused at filter_chains[0].filters[0].max_downstream_connection_duration_jitter_percentage
        max_early_data_bytes: refused at filter_chains[0].filters[0].max_early_data_bytes
        metadata_match: refused at filter_chains[0].filters[0].metadata_match
        on_demand: refused at filter_chains[0].filters[0].on_demand
        proxy_protocol_tlv_merge_policy: refused at filter_chains[0].filters[0].proxy_protocol_tlv_merge_policy
        proxy_protocol_tlvs: refused at filter_chains[0].filters[0].proxy_protocol_tlvs
        stat_prefix: ignored
        tunneling_config: refused at filter_chains[0].filters[0].tunneling_config
        upstream_connect_mode: refused at filter_chains[0].filters[0].upstream_connect_mode
        upstream_idle_timeout: refused at filter_chains[0].filters[0].upstream_idle_timeout
        weighted_clusters: refused at filter_chains[0].filters[0].weighted_clusters"#]],
    );
}

#[test]
fn http_connection_manager_fields() {
    let read = |manager: hcm::HttpConnectionManager| {
        listener(&listener_of(chain_of(filter(MANAGER, manager.encode_to_vec()))))
    };
    check(
        MANAGER,
        &manager(),
        read,
        expect![[r#"
        access_log: refused at filter_chains[0].filters[0].access_log
        access_log_flush_interval: refused at filter_chains[0].filters[0].access_log_flush_interval
        access_log_options: refused at filter_chains[0].filters[0].access_log_options
        add_proxy_protocol_connection_state: refused at filter_chains[0].filters[0].add_proxy_protocol_connection_state
        add_user_agent: refused at filter_chains[0].filters[0].add_user_agent
        always_set_request_id_in_response: refused at filter_chains[0].filters[0].always_set_request_id_in_response
        append_local_overload: refused at filter_chains[0].filters[0].append_local_overload
        append_x_forwarded_port: refused at filter_chains[0].filters[0].append_x_forwarded_port
        codec_type: refused at filter_chains[0].filters[0].codec_type
        common_http_protocol_options: refused at filter_chains[0].filters[0].common_http_protocol_options
        delayed_close_timeout: refused at filter_chains[0].filters[0].delayed_close_timeout
        drain_timeout: refused at filter_chains[0].filters[0].drain_timeout
        drain_timeout_jitter: refused at filter_chains[0].filters[0].drain_timeout_jitter
        early_header_mutation_extensions: refused at filter_chains[0].filters[0].early_header_mutation_extensions
        flush_access_log_on_new_request: refused at filter_chains[0].filters[0].flush_access_log_on_new_request
        forward_client_cert_details: refused at filter_chains[0].filters[0].forward_client_cert_details
        forward_client_cert_matcher: refused at filter_chains[0].filters[0].forward_client_cert_matcher
        forward_proto_config: refused at filter_chains[0].filters[0].forward_proto_config
        generate_request_id: refused at filter_chains[0].filters[0].generate_request_id
        http1_safe_max_connection_duration: refused at filter_chains[0].filters[0].http1_safe_max_connection_duration
        http2_protocol_options: refused at filter_chains[0].filters[0].http2_protocol_options
        http3_protocol_options: refused at filter_chains[0].filters[0].http3_protocol_options
        http_filters: refused at filter_chains[0].filters[0].http_filters
        http_protocol_options: refused at filter_chains[0].filters[0].http_protocol_options
        internal_address_config: refused at filter_chains[0].filters[0].internal_address_config
        local_reply_config: refused at filter_chains[0].filters[0].local_reply_config
        max_request_headers_kb: refused at filter_chains[0].filters[0].max_request_headers_kb
        merge_slashes: refused at filter_chains[0].filters[0].merge_slashes
        normalize_path: ignored
        original_ip_detection_extensions: refused at filter_chains[0].filters[0].original_ip_detection_extensions
        path_normalization_options: refused at filter_chains[0].filters[0].path_normalization_options
        path_with_escaped_slashes_action: ignored
        preserve_external_request_id: refused at filter_chains[0].filters[0].preserve_external_request_id
        proxy_100_continue: ignored
        proxy_status_config: refused at filter_chains[0].filters[0].proxy_status_config
        rds: acted on
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6: refused at filter_chains[0].filters[0].represent_ipv4_remote_address_as_ipv4_mapped_ipv6
        request_headers_timeout: refused at filter_chains[0].filters[0].request_headers_timeout
        request_id_extension: refused at filter_chains[0].filters[0].request_id_extension
        request_timeout: refused at filter_chains[0].filters[0].request_timeout
        route_config: acted on
        scheme_header_transformation: refused at filter_chains[0].filters[0].scheme_header_transformation
        scoped_routes: refused at filter_chains[0].filters[0].scoped_routes
        server_header_transformation: refused at filter_chains[0].filters[0].server_header_transformation
        server_name: refused at filter_chains[0].filters[0].server_name
        set_current_client_cert_details: refused at filter_chains[0].filters[0].set_current_client_cert_details
        skip_xff_append: refused at filter_chains[0].filters[0].skip_xff_append
        stat_prefix: ignored
        stream_error_on_invalid_http_message: refused at filter_chains[0].filters[0].stream_error_on_invalid_http_message
        stream_flush_timeout: refused at filter_chains[0].filters[0].stream_flush_timeout
        stream_idle_timeout: ignored
        strip_any_host_port: refused at filter_chains[0].filters[0].strip_port_mode
        strip_matching_host_port: refused at filter_chains[0].filters[0].strip_matching_host_port
        strip_trailing_host_dot: refused at filter_chains[0].filters[0].strip_trailing_host_dot
        tracing: refused at filter_chains[0].filters[0].tracing
        typed_header_validation_config: refused at filter_chains[0].filters[0].typed_header_validation_config
        upgrade_configs: ignored
        use_remote_address: refused at filter_chains[0].filters[0].use_remote_address
        via: refused at filter_chains[0].filters[0].via
        xff_num_trusted_hops: refused at filter_chains[0].filters[0].xff_num_trusted_hops"#]],
    );
}

#[test]
fn rds_fields() {
    let read = |rds: hcm::Rds| {
        let route_specifier = Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds));
        let manager = hcm::HttpConnectionManager { route_specifier, ..Default::default() };
        listener(&listener_of(chain_of(filter(MANAGER, manager.encode_to_vec()))))
    };
    check(
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        &hcm::Rds::default(),
        read,
        expect![[r#"
        config_source: ignored
        route_config_name: acted on"#]],
    );
}

fn route_action() -> route::RouteAction {
    let cluster_specifier = Some(route::route_action::ClusterSpecifier::Cluster("c".into()));
    route::RouteAction { cluster_specifier, ..Default::default() }
}

fn route_match() -> route::RouteMatch {
    let path_specifier = Some(route::route_match::PathSpecifier::Prefix("/".into()));
    route::RouteMatch { path_specifier, ..Default::default() }
}

fn a_route(route_match: route::RouteMatch, action: route::route::Action) -> route::Route {
    route::Route { r#match: Some(route_match), action: Some(action), ..Default::default() }
}

fn forwarding(action: route::RouteAction) -> route::Route {
    a_route(route_match(), route::route::Action::Route(action))
}

fn host_of(route: route::Route) -> route::VirtualHost {
    route::VirtualHost { domains: vec!["a".into()], routes: vec![route], ..Default::default() }
}

#[test]
fn route_configuration_fields() {
    let valid =
        route::RouteConfiguration { virtual_hosts: vec![host_of(forwarding(route_action()))], ..Default::default() };
    let read = |message| route_configuration(&message, "");
    check(
        "envoy.config.route.v3.RouteConfiguration",
        &valid,
        read,
        expect![[r#"
        cluster_specifier_plugins: refused at cluster_specifier_plugins
        ignore_path_parameters_in_path_matching: refused at ignore_path_parameters_in_path_matching
        ignore_port_in_host_matching: ignored
        internal_only_headers: refused at internal_only_headers
        max_direct_response_body_size_bytes: ignored
        metadata: refused at metadata
        most_specific_header_mutations_wins: refused at most_specific_header_mutations_wins
        name: ignored
        request_headers_to_add: refused at request_headers_to_add
        request_headers_to_remove: refused at request_headers_to_remove
        request_mirror_policies: refused at request_mirror_policies
        response_headers_to_add: refused at response_headers_to_add
        response_headers_to_remove: refused at response_headers_to_remove
        route_specifiers: refused at route_specifiers
        typed_per_filter_config: refused at typed_per_filter_config
        validate_clusters: ignored
        vhds: acted on
        vhost_header: refused at vhost_header
        virtual_hosts: acted on"#]],
    );
}

#[test]
fn virtual_host_fields() {
    let valid = host_of(forwarding(route_action()));
    check(
        "envoy.config.route.v3.VirtualHost",
        &valid,
        |message| virtual_host(&message),
        expect![[r#"
        cors: refused at cors
        domains: acted on
        hedge_policy: refused at hedge_policy
        include_attempt_count_in_response: refused at include_attempt_count_in_response
        include_is_timeout_retry_header: refused at include_is_timeout_retry_header
        include_request_attempt_count: ignored
        matcher: refused at matcher
        metadata: refused at metadata
        name: ignored
        per_request_buffer_limit_bytes: refused at per_request_buffer_limit_bytes
        rate_limits: refused at rate_limits
        request_body_buffer_limit: refused at request_body_buffer_limit
        request_headers_to_add: refused at request_headers_to_add
        request_headers_to_remove: refused at request_headers_to_remove
        request_mirror_policies: refused at request_mirror_policies
        require_tls: refused at require_tls
        response_headers_to_add: refused at response_headers_to_add
        response_headers_to_remove: refused at response_headers_to_remove
        retry_policy: refused at retry_policy
        retry_policy_typed_config: refused at retry_policy_typed_config
        route_specifiers: refused at route_specifiers
        routes: refused at routes[0].match.path_specifier
        typed_per_filter_config: refused at typed_per_filter_config
        virtual_clusters: refused at virtual_clusters"#]],
    );
}

#[test]
fn route_fields() {
    let read = |message| virtual_host(&host_of(message));
    check(
        "envoy.config.route.v3.Route",
        &forwarding(route_action()),
        read,
        expect![[r#"
        decorator: ignored
        direct_response: refused at routes[0].direct_response.status
        filter_action: refused at routes[0].action
        match: refused at routes[0].match.path_specifier
        metadata: ignored
        name: ignored
        non_forwarding_action: refused at routes[0].action
        per_request_buffer_limit_bytes: refused at routes[0].per_request_buffer_limit_bytes
        redirect: refused at routes[0].action
        request_body_buffer_limit: refused at routes[0].request_body_buffer_limit
        request_headers_to_add: refused at routes[0].request_headers_to_add
        request_headers_to_remove: refused at routes[0].request_headers_to_remove
        response_headers_to_add: refused at routes[0].response_headers_to_add
        response_headers_to_remove: refused at routes[0].response_headers_to_remove
        route: refused at routes[0].route.cluster
        route_specifiers: refused at routes[0].route_specifiers
        stat_prefix: refused at routes[0].stat_prefix
        tracing: refused at routes[0].tracing
        typed_per_filter_config: refused at routes[0].typed_per_filter_config"#]],
    );
}

#[test]
fn route_match_fields() {
    let read = |message| virtual_host(&host_of(a_route(message, route::route::Action::Route(route_action()))));
    check(
        "envoy.config.route.v3.RouteMatch",
        &route_match(),
        read,
        expect![[r#"
        case_sensitive: ignored
        connect_matcher: refused at routes[0].match.path_specifier
        cookies: refused at routes[0].match.cookies
        dynamic_metadata: refused at routes[0].match.dynamic_metadata
        filter_state: refused at routes[0].match.filter_state
        grpc: refused at routes[0].match.grpc
        headers: acted on
        path: acted on
        path_match_policy: refused at routes[0].match.path_specifier
        path_separated_prefix: refused at routes[0].match.path_specifier
        prefix: acted on
        query_parameters: refused at routes[0].match.query_parameters
        runtime_fraction: refused at routes[0].match.runtime_fraction
        safe_regex: refused at routes[0].match.path_specifier
        tls_context: refused at routes[0].match.tls_context"#]],
    );
}

#[test]
fn header_matcher_fields() {
    let read = |header| {
        let with_header = route::RouteMatch { headers: vec![header], ..route_match() };
        virtual_host(&host_of(a_route(with_header, route::route::Action::Route(route_action()))))
    };
    let valid = route::HeaderMatcher { name: "other".into(), ..Default::default() };
    check(
        "envoy.config.route.v3.HeaderMatcher",
        &valid,
        read,
        expect![[r#"
            contains_match: refused at routes[0].match.headers[0]
            exact_match: refused at routes[0].match.headers[0]
            invert_match: refused at routes[0].match.headers[0].invert_match
            name: acted on
            prefix_match: refused at routes[0].match.headers[0]
            present_match: ignored
            range_match: refused at routes[0].match.headers[0]
            safe_regex_match: refused at routes[0].match.headers[0]
            string_match: refused at routes[0].match.headers[0]
            suffix_match: refused at routes[0].match.headers[0]
            treat_missing_header_as_empty: refused at routes[0].match.headers[0].treat_missing_header_as_empty"#]],
    );
}

#[test]
fn route_action_fields() {
    let read = |action| virtual_host(&host_of(forwarding(action)));
    check(
        "envoy.config.route.v3.RouteAction",
        &route_action(),
        read,
        expect![[r#"
            append_x_forwarded_host: refused at routes[0].route.append_x_forwarded_host
            auto_host_rewrite: refused at routes[0].route.host_rewrite_specifier
            cluster: acted on
            cluster_header: refused at routes[0].route.cluster_specifier
            cluster_not_found_response_code: refused at routes[0].route.cluster_not_found_response_code
            cluster_specifier_plugin: refused at routes[0].route.cluster_specifier
            cors: refused at routes[0].route.cors
            early_data_policy: refused at routes[0].route.early_data_policy
            flush_timeout: refused at routes[0].route.flush_timeout
            grpc_timeout_offset: refused at routes[0].route.grpc_timeout_offset
            hash_policy: refused at routes[0].route.hash_policy
            hedge_policy: refused at routes[0].route.hedge_policy
            host_rewrite: refused at routes[0].route.host_rewrite_specifier
            host_rewrite_header: refused at routes[0].route.host_rewrite_specifier
            host_rewrite_literal: refused at routes[0].route.host_rewrite_specifier
            host_rewrite_path_regex: refused at routes[0].route.host_rewrite_specifier
            idle_timeout: refused at routes[0].route.idle_timeout
            include_vh_rate_limits: refused at routes[0].route.include_vh_rate_limits
            inline_cluster_specifier_plugin: refused at routes[0].route.cluster_specifier
            internal_redirect_action: refused at routes[0].route.internal_redirect_action
            internal_redirect_policy: refused at routes[0].route.internal_redirect_policy
            max_grpc_timeout: ignored
            max_internal_redirects: refused at routes[0].route.max_internal_redirects
            max_stream_duration: ignored
            metadata_match: refused at routes[0].route.metadata_match
            path_rewrite: refused at routes[0].route.path_rewrite
            path_rewrite_policy: refused at routes[0].route.path_rewrite_policy
            prefix_rewrite: refused at routes[0].route.prefix_rewrite
            priority: refused at routes[0].route.priority
            rate_limits: refused at routes[0].route.rate_limits
            regex_rewrite: refused at routes[0].route.regex_rewrite
            request_mirror_policies: refused at routes[0].route.request_mirror_policies
            retry_policy: ignored
            retry_policy_typed_config: refused at routes[0].route.retry_policy_typed_config
            timeout: acted on
            upgrade_configs: refused at routes[0].route.upgrade_configs
            weighted_clusters: acted on"#]],
    );
}

fn weighted(clusters: route::WeightedCluster) -> route::Route {
    let cluster_specifier = Some(route::route_action::ClusterSpecifier::WeightedClusters(clusters));
    forwarding(route::RouteAction { cluster_specifier, ..Default::default() })
}

#[test]
fn weighted_cluster_fields() {
    let read = |clusters| virtual_host(&host_of(weighted(clusters)));
    check(
        "envoy.config.route.v3.WeightedCluster",
        &route::WeightedCluster::default(),
        read,
        expect![[r#"
        clusters: acted on
        header_name: refused at routes[0].route.weighted_clusters.random_value_specifier
        runtime_key_prefix: refused at routes[0].route.weighted_clusters.runtime_key_prefix
        total_weight: refused at routes[0].route.weighted_clusters.total_weight
        use_hash_policy: refused at routes[0].route.weighted_clusters.random_value_specifier"#]],
    );
}

#[test]
fn cluster_weight_fields() {
    let read = |cluster| {
        let clusters = route::WeightedCluster { clusters: vec![cluster], ..Default::default() };
        virtual_host(&host_of(weighted(clusters)))
    };
    let valid = route::weighted_cluster::ClusterWeight::default();
    check(
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        &valid,
        read,
        expect![[r#"
            cluster_header: refused at routes[0].route.weighted_clusters.clusters[0].cluster_header
            host_rewrite_literal: refused at routes[0].route.weighted_clusters.clusters[0].host_rewrite_specifier
            metadata_match: refused at routes[0].route.weighted_clusters.clusters[0].metadata_match
            name: acted on
            request_headers_to_add: refused at routes[0].route.weighted_clusters.clusters[0].request_headers_to_add
            request_headers_to_remove: refused at routes[0].route.weighted_clusters.clusters[0].request_headers_to_remove
            response_headers_to_add: refused at routes[0].route.weighted_clusters.clusters[0].response_headers_to_add
            response_headers_to_remove: refused at routes[0].route.weighted_clusters.clusters[0].response_headers_to_remove
            typed_per_filter_config: refused at routes[0].route.weighted_clusters.clusters[0].typed_per_filter_config
            weight: acted on"#]],
    );
}

#[test]
fn direct_response_fields() {
    let read =
        |response| virtual_host(&host_of(a_route(route_match(), route::route::Action::DirectResponse(response))));
    let valid = route::DirectResponseAction { status: 200, ..Default::default() };
    check(
        "envoy.config.route.v3.DirectResponseAction",
        &valid,
        read,
        expect![[r#"
            body: acted on
            body_format: refused at routes[0].direct_response.body_format
            status: refused at routes[0].direct_response.status"#]],
    );
}
