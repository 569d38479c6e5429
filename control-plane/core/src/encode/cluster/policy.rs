//! What a DestinationRule's policy and a port's protocol make of a cluster.

use std::time::Duration;

use rutter_api::config::istio::{
    ConnectionPool, ConsistentHash, HttpSettings, LoadBalancer, OutlierDetection, RetryBudget, SimpleLb, TcpKeepalive,
    TcpSettings, Warmup,
};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;
use rutter_api::pb::envoy::r#type::v3 as percent;
use upstream::http_protocol_options::{self as options, UpstreamProtocolOptions};

use super::transport::{names_host_of_request, verifies_host_of_request};
use crate::encode::wire::any;
use crate::model::{LocalityPlan, Policy, Protocol, Service};

/// Istio's default for the time that a connection may take to be established.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Istio's default for the smallest number of places in a ring.
const RING_SIZE_MIN: u64 = 1024;
/// Istio's default for the share that a new endpoint begins with, in per cent.
const WARMUP_PERCENT_MIN: f64 = 10.0;

/// Returns a cluster that has no more than a policy, or Istio's defaults where the policy says nothing.
pub(super) fn cluster_with_policy(policy: &Policy<'_>, service: &Service) -> pb::Cluster {
    // A new part of a policy does not compile until it is encoded here. Encryption and the PROXY protocol are the
    // transport socket's, and the versions of HTTP depend on the protocol of the port.
    let Policy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls: _,
        retry_budget,
        proxy_protocol: _,
        service_names: _,
        // It is said by the routes.
        tunnel: _,
        connection_defaults,
        locality_default: _,
    } = policy;
    let no_limits = ConnectionPool::default();
    let pool = connection_pool.unwrap_or(&no_limits);
    let TcpSettings { max_connections: _, connect_timeout, tcp_keepalive, max_connection_duration: _, idle_timeout: _ } =
        &pool.tcp;
    let of_mesh = connection_defaults.cloned().unwrap_or_default();
    let tcp_keepalive = tcp_keepalive.as_ref().or(of_mesh.tcp_keepalive.as_ref());
    let panic_percent = outlier_detection.and_then(|detection| detection.min_health_percent).unwrap_or(0);
    let panic_threshold = percent::Percent { value: f64::from(panic_percent) };
    let mut cluster = pb::Cluster {
        connect_timeout: Some(to_pb(connect_timeout.or(of_mesh.connect_timeout).unwrap_or(CONNECT_TIMEOUT))),
        circuit_breakers: Some(circuit_breakers(pool, *retry_budget)),
        outlier_detection: outlier_detection.map(encode_outlier_detection),
        common_lb_config: Some(pb::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(panic_threshold),
            locality_config_specifier: locality_weights(policy, service),
            ..Default::default()
        }),
        upstream_connection_options: tcp_keepalive.map(kept_alive),
        ..Default::default()
    };
    balance(&mut cluster, load_balancer.unwrap_or(&LoadBalancer::default()));
    cluster
}

/// Returns whether the weights of localities count, which are then their shares.
fn locality_weights(
    policy: &Policy<'_>,
    service: &Service,
) -> Option<pb::cluster::common_lb_config::LocalityConfigSpecifier> {
    use pb::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    match LocalityPlan::of_policy(policy, service) {
        LocalityPlan::Alike | LocalityPlan::Priorities { .. } => None,
        LocalityPlan::Shares(_) => Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})),
    }
}

/// Returns the options of connections that are tried when they are silent.
fn kept_alive(keepalive: &TcpKeepalive) -> pb::UpstreamConnectionOptions {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let tcp_keepalive = core::TcpKeepalive {
        keepalive_probes: keepalive.probes,
        keepalive_time: keepalive.time.map(seconds),
        keepalive_interval: keepalive.interval.map(seconds),
    };
    pb::UpstreamConnectionOptions { tcp_keepalive: Some(tcp_keepalive), ..Default::default() }
}

/// Sets how an endpoint is chosen.
fn balance(cluster: &mut pb::Cluster, load_balancer: &LoadBalancer) {
    use pb::cluster::{LbConfig, LbPolicy};
    let LoadBalancer { simple, consistent_hash, warmup, warmup_duration_secs, locality_lb_setting: _ } = load_balancer;
    if let Some(hash) = consistent_hash {
        return balance_by_hash(cluster, hash);
    }
    let slow_start = match (warmup, warmup_duration_secs) {
        (Some(warmup), _) => Some(slow_start(warmup)),
        (None, Some(window)) => Some(slow_start(&Warmup { duration: Some(*window), ..Warmup::default() })),
        (None, None) => None,
    };
    let lb_policy = match simple.unwrap_or(SimpleLb::Unspecified) {
        SimpleLb::Unspecified | SimpleLb::LeastRequest | SimpleLb::LeastConn => {
            cluster.lb_config = slow_start.map(|slow_start_config| {
                LbConfig::LeastRequestLbConfig(pb::cluster::LeastRequestLbConfig {
                    slow_start_config: Some(slow_start_config),
                    ..Default::default()
                })
            });
            LbPolicy::LeastRequest
        }
        SimpleLb::RoundRobin => {
            cluster.lb_config = slow_start.map(|slow_start_config| {
                LbConfig::RoundRobinLbConfig(pb::cluster::RoundRobinLbConfig {
                    slow_start_config: Some(slow_start_config),
                })
            });
            LbPolicy::RoundRobin
        }
        SimpleLb::Random => LbPolicy::Random,
        SimpleLb::Passthrough => LbPolicy::ClusterProvided,
    };
    cluster.lb_policy = lb_policy as i32;
}

fn balance_by_hash(cluster: &mut pb::Cluster, hash: &ConsistentHash) {
    use pb::cluster::{LbConfig, LbPolicy};
    if let Some(maglev) = &hash.maglev {
        cluster.lb_policy = LbPolicy::Maglev as i32;
        cluster.lb_config =
            Some(LbConfig::MaglevLbConfig(pb::cluster::MaglevLbConfig { table_size: maglev.table_size }));
        return;
    }
    let size = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size).or(hash.minimum_ring_size);
    let size = size.filter(|size| *size > 0).unwrap_or(RING_SIZE_MIN);
    cluster.lb_policy = LbPolicy::RingHash as i32;
    cluster.lb_config = Some(LbConfig::RingHashLbConfig(pb::cluster::RingHashLbConfig {
        minimum_ring_size: Some(size),
        // Envoy refuses a ring that is larger than its bound, which is 8 Mi unless it is given.
        maximum_ring_size: (size > 8 << 20).then_some(size),
        ..Default::default()
    }));
}

fn slow_start(warmup: &Warmup) -> pb::cluster::SlowStartConfig {
    let Warmup { duration, minimum_percent, aggression } = warmup;
    pb::cluster::SlowStartConfig {
        slow_start_window: duration.map(to_pb),
        aggression: aggression.map(|default_value| core::RuntimeDouble {
            default_value,
            runtime_key: "rutter.slow_start.aggression".into(),
        }),
        min_weight_percent: Some(percent::Percent { value: minimum_percent.unwrap_or(WARMUP_PERCENT_MIN) }),
    }
}

fn encode_outlier_detection(settings: &OutlierDetection) -> pb::OutlierDetection {
    let OutlierDetection {
        consecutive_5xx_errors,
        consecutive_gateway_errors,
        split_external_local_origin_errors,
        consecutive_local_origin_failures,
        interval,
        base_ejection_time,
        max_ejection_percent,
        // It is the cluster's panic threshold.
        min_health_percent: _,
    } = settings;
    let enforced = |count: u32| if count > 0 { 100 } else { 0 };
    let split = *split_external_local_origin_errors;
    pb::OutlierDetection {
        consecutive_5xx: *consecutive_5xx_errors,
        interval: interval.map(to_pb),
        base_ejection_time: base_ejection_time.map(to_pb),
        max_ejection_percent: *max_ejection_percent,
        enforcing_consecutive_5xx: consecutive_5xx_errors.map(enforced),
        enforcing_success_rate: Some(0),
        consecutive_gateway_failure: *consecutive_gateway_errors,
        enforcing_consecutive_gateway_failure: consecutive_gateway_errors.map(enforced),
        split_external_local_origin_errors: split,
        consecutive_local_origin_failure: consecutive_local_origin_failures.filter(|_| split),
        enforcing_consecutive_local_origin_failure: consecutive_local_origin_failures.filter(|_| split).map(enforced),
        enforcing_local_origin_success_rate: split.then_some(0),
        ..Default::default()
    }
}

/// Returns the circuit breakers of a policy. What it does not limit is not limited; Envoy's own defaults would be 1,024.
fn circuit_breakers(pool: &ConnectionPool, retry_budget: Option<&RetryBudget>) -> pb::CircuitBreakers {
    let HttpSettings { http1_max_pending_requests, http2_max_requests, max_retries, .. } = &pool.http;
    let mut breakers = connection_limit(pool.tcp.max_connections.unwrap_or(u32::MAX));
    for thresholds in &mut breakers.thresholds {
        thresholds.max_pending_requests = http1_max_pending_requests.or(thresholds.max_pending_requests);
        thresholds.max_requests = http2_max_requests.or(thresholds.max_requests);
        thresholds.max_retries = max_retries.or(thresholds.max_retries);
        thresholds.retry_budget = retry_budget.map(|budget| pb::circuit_breakers::thresholds::RetryBudget {
            budget_percent: budget.percent.map(|value| percent::Percent { value }),
            min_retry_concurrency: budget.min_retry_concurrency,
            ..Default::default()
        });
    }
    breakers
}

/// Returns circuit breakers that limit nothing but connections. Envoy's own defaults would limit the rest to 1,024.
pub(super) fn connection_limit(max_connections: u32) -> pb::CircuitBreakers {
    let thresholds = pb::circuit_breakers::Thresholds {
        max_connections: Some(max_connections),
        max_pending_requests: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        ..Default::default()
    };
    pb::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

/// Sets the HTTP version in which endpoints are spoken to. HTTP/1.1 is Envoy's default and needs no option.
pub(super) fn set_protocol(cluster: &mut pb::Cluster, protocol: Protocol) {
    set_http(cluster, protocol, &Policy::default());
}

/// Sets the limits on connections to a cluster that has no other policy.
pub(super) fn limit_connections(cluster: &mut pb::Cluster, protocol: Protocol, pool: &ConnectionPool) {
    cluster.circuit_breakers = Some(circuit_breakers(pool, None));
    if let Some(timeout) = pool.tcp.connect_timeout {
        cluster.connect_timeout = Some(to_pb(timeout));
    }
    cluster.upstream_connection_options = pool.tcp.tcp_keepalive.as_ref().map(kept_alive);
    set_http(cluster, protocol, &Policy { connection_pool: Some(pool), ..Policy::default() });
}

/// Sets the HTTP version in which endpoints are spoken to, and what a policy says of connections for HTTP.
pub(super) fn set_http(cluster: &mut pb::Cluster, protocol: Protocol, policy: &Policy<'_>) {
    let no_limits = ConnectionPool::default();
    let pool = policy.connection_pool.unwrap_or(&no_limits);
    // What is limited by circuit breakers is left out here.
    let HttpSettings {
        http1_max_pending_requests: _,
        http2_max_requests: _,
        max_retries: _,
        max_requests_per_connection,
        idle_timeout,
        h2_upgrade_policy: _,
        use_client_protocol,
        max_concurrent_streams,
    } = &pool.http;
    let max_requests = max_requests_per_connection.filter(|max| *max > 0);
    let max_duration = pool.tcp.max_connection_duration;
    let common = (max_requests.is_some() || idle_timeout.is_some() || max_duration.is_some()).then(|| {
        core::HttpProtocolOptions {
            idle_timeout: idle_timeout.map(to_pb),
            max_requests_per_connection: max_requests,
            max_connection_duration: max_duration.map(to_pb),
            ..Default::default()
        }
    });
    let names_host = policy.tls.is_some_and(names_host_of_request) && protocol.is_http();
    let is_upgraded = policy.upgrades_to_http2();
    let protocol_options = match protocol {
        _ if *use_client_protocol => same_as_downstream(),
        Protocol::Http2 | Protocol::Grpc => http2(*max_concurrent_streams),
        Protocol::Http | Protocol::Tls | Protocol::Tcp if is_upgraded => http2(*max_concurrent_streams),
        Protocol::Unknown if is_upgraded => http2(*max_concurrent_streams),
        Protocol::Unknown => same_as_downstream(),
        Protocol::Http | Protocol::Tls | Protocol::Tcp if common.is_none() && !names_host => return,
        Protocol::Http | Protocol::Tls | Protocol::Tcp => {
            let config = options::explicit_http_config::ProtocolConfig::HttpProtocolOptions(Default::default());
            UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig { protocol_config: Some(config) })
        }
    };
    let http_options = upstream::HttpProtocolOptions {
        upstream_protocol_options: Some(protocol_options),
        common_http_protocol_options: common,
        upstream_http_protocol_options: names_host.then(|| core::UpstreamHttpProtocolOptions {
            auto_sni: true,
            auto_san_validation: policy.tls.is_some_and(|settings| verifies_host_of_request(settings, policy)),
            ..Default::default()
        }),
        ..Default::default()
    };
    set_http_options(cluster, &http_options);
}

fn http2(max_concurrent_streams: Option<u32>) -> UpstreamProtocolOptions {
    let config = core::Http2ProtocolOptions { max_concurrent_streams, ..Default::default() };
    let config = options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(config);
    UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig { protocol_config: Some(config) })
}

/// Returns the option by which endpoints are spoken to in the HTTP version that the client used.
pub(super) fn same_as_downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(options::UseDownstreamHttpConfig {
        http_protocol_options: Some(Default::default()),
        http2_protocol_options: Some(Default::default()),
        ..Default::default()
    })
}

pub(super) fn set_http_options(cluster: &mut pb::Cluster, http_options: &upstream::HttpProtocolOptions) {
    const NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster.typed_extension_protocol_options.insert(NAME.to_owned(), any(NAME, http_options));
}
