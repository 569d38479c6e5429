//! What a DestinationRule's policy and a port's protocol make of a cluster.

use std::time::Duration;

use rutter_api::config::istio::{OutlierDetection, SimpleLb, TcpSettings, TrafficPolicy};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;
use upstream::http_protocol_options::{self as options, UpstreamProtocolOptions};

use crate::encode::wire::any;
use crate::model::Protocol;

/// Istio's default for the time that a connection may take to be established.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a cluster that has no more than a policy, or Istio's defaults where the policy says nothing.
pub(super) fn cluster_with_policy(policy: Option<&TrafficPolicy>) -> pb::Cluster {
    // A new field of a policy does not compile until it is encoded here.
    let no_policy = TrafficPolicy::default();
    let TrafficPolicy { load_balancer, connection_pool, outlier_detection } = policy.unwrap_or(&no_policy);
    let lb_policy = match load_balancer.as_ref().map_or(SimpleLb::Unspecified, |load_balancer| load_balancer.simple) {
        SimpleLb::Unspecified | SimpleLb::LeastRequest | SimpleLb::LeastConn => pb::cluster::LbPolicy::LeastRequest,
        SimpleLb::RoundRobin => pb::cluster::LbPolicy::RoundRobin,
        SimpleLb::Random => pb::cluster::LbPolicy::Random,
    };
    let no_limits = TcpSettings::default();
    let TcpSettings { max_connections, connect_timeout } =
        connection_pool.as_ref().map_or(&no_limits, |pool| &pool.tcp);
    pb::Cluster {
        connect_timeout: Some(to_pb(connect_timeout.unwrap_or(CONNECT_TIMEOUT))),
        lb_policy: lb_policy as i32,
        circuit_breakers: Some(connection_limit(max_connections.unwrap_or(u32::MAX))),
        outlier_detection: outlier_detection.as_ref().map(encode_outlier_detection),
        ..Default::default()
    }
}

fn encode_outlier_detection(settings: &OutlierDetection) -> pb::OutlierDetection {
    let OutlierDetection { consecutive_5xx_errors, interval, base_ejection_time, max_ejection_percent } = settings;
    pb::OutlierDetection {
        consecutive_5xx: *consecutive_5xx_errors,
        interval: interval.map(to_pb),
        base_ejection_time: base_ejection_time.map(to_pb),
        max_ejection_percent: *max_ejection_percent,
        enforcing_consecutive_5xx: consecutive_5xx_errors.map(|count| if count > 0 { 100 } else { 0 }),
        enforcing_success_rate: Some(0),
        ..Default::default()
    }
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
    let protocol_options = match protocol {
        Protocol::Http2 | Protocol::Grpc => {
            let config = options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(Default::default());
            UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig { protocol_config: Some(config) })
        }
        Protocol::Unknown => same_as_downstream(),
        Protocol::Http | Protocol::Tls | Protocol::Tcp => return,
    };
    let http_options =
        upstream::HttpProtocolOptions { upstream_protocol_options: Some(protocol_options), ..Default::default() };
    set_http_options(cluster, &http_options);
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
