//! Clusters: where requests can go.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::{ListValue, Struct, Value, value::Kind};
use rutter_api::config::istio::{DestinationRule, OutlierDetection, SimpleLb, Subset, TrafficPolicy};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;
use rutter_api::{ClusterName, Config, ResourceType};

use super::{EncodedResource, ads, any, config_path, endpoint, istio_metadata, socket_address, text};
use crate::index::{Endpoint, Protocol, Service, ServicePort, destination_rule};

/// Where traffic goes that must not go anywhere.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// Where outbound traffic goes on as it was addressed.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// Where inbound traffic to unknown ports goes on to the application.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Istio's default for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection to a passed-through destination is kept.
const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);
/// Between two questions to DNS.
const DNS_REFRESH: Duration = Duration::from_secs(60);
/// Source address of inbound connections to the application, so that capture can tell them apart.
const INBOUND_SOURCE: &str = "127.0.0.6";

/// The clusters of a service under a rule: for each port one for all endpoints and one for each subset.
pub fn encode_clusters(service: &Service, rule: Option<&Config>, endpoints: &[Endpoint]) -> Vec<EncodedResource> {
    let spec = rule.and_then(destination_rule);
    let mut all = Vec::new();
    for port in &service.ports {
        for subset in subsets(spec) {
            let cluster = outbound(service, port, &Choice { rule, spec, subset, endpoints });
            let name = Arc::from(cluster.name.as_str());
            all.push(EncodedResource::new(ResourceType::Cluster, name, &cluster.encode_to_vec()));
        }
    }
    all
}

/// The same for the gRPC library, as far as it can: one name to ask DNS for, turns, and no options of HTTP.
pub fn encode_grpc_clusters(service: &Service, rule: Option<&Config>, endpoints: &[Endpoint]) -> Vec<EncodedResource> {
    if service.dns && endpoints.len() > 1 {
        return Vec::new();
    }
    let spec = rule.and_then(destination_rule);
    let of_port = |port| subsets(spec).map(move |subset| (port, Choice { rule, spec, subset, endpoints }));
    let grpc = |(port, choice): (&ServicePort, Choice<'_>)| {
        let mut cluster = outbound(service, port, &choice);
        cluster.lb_policy = pb::cluster::LbPolicy::RoundRobin as i32;
        cluster.typed_extension_protocol_options.clear();
        if service.dns {
            cluster.cluster_discovery_type = discovery(pb::cluster::DiscoveryType::LogicalDns);
        }
        encoded(&cluster)
    };
    service.ports.iter().flat_map(of_port).map(grpc).collect()
}

/// All endpoints first, then each subset of the rule.
pub(crate) fn subsets(rule: Option<&DestinationRule>) -> impl Iterator<Item = Option<&Subset>> {
    std::iter::once(None).chain(rule.into_iter().flat_map(|rule| rule.subsets.iter().map(Some)))
}

struct Choice<'a> {
    rule: Option<&'a Config>,
    spec: Option<&'a DestinationRule>,
    subset: Option<&'a Subset>,
    endpoints: &'a [Endpoint],
}

fn outbound(service: &Service, port: &ServicePort, choice: &Choice<'_>) -> pb::Cluster {
    let name = ClusterName::outbound(port.number, &service.key.host)
        .with_subset(choice.subset.map(|subset| subset.name.as_str()))
        .to_string();
    let mut cluster = with_policy(choice.spec.and_then(|rule| rule.traffic_policy.as_ref()));
    cluster.alt_stat_name = format!("{name};");
    cluster.metadata = Some(origin(service, choice));
    cluster.common_lb_config =
        Some(pb::cluster::CommonLbConfig { healthy_panic_threshold: Some(Default::default()), ..Default::default() });
    if service.dns {
        by_dns(&mut cluster);
        let subset = choice.subset.map(|subset| &subset.labels);
        cluster.load_assignment = Some(match choice.endpoints {
            [] => endpoint::single(&name, service.key.host.as_str(), port.number),
            some => endpoint::load_assignment(&name, port.number, some, subset),
        });
    } else {
        cluster.cluster_discovery_type = discovery(pb::cluster::DiscoveryType::Eds);
        cluster.eds_cluster_config =
            Some(pb::cluster::EdsClusterConfig { eds_config: Some(ads()), service_name: name.clone() });
    }
    set_protocol(&mut cluster, port.protocol);
    cluster.name = name;
    cluster
}

#[expect(deprecated, reason = "the fields that istiod sends; their successor is an extension of its own")]
fn by_dns(cluster: &mut pb::Cluster) {
    cluster.cluster_discovery_type = discovery(pb::cluster::DiscoveryType::StrictDns);
    cluster.dns_lookup_family = pb::cluster::DnsLookupFamily::V4Only as i32;
    cluster.dns_refresh_rate = Some(to_pb(DNS_REFRESH));
    cluster.respect_dns_ttl = true;
}

fn origin(service: &Service, choice: &Choice<'_>) -> core::Metadata {
    let host = service.key.host.as_str();
    let name = if service.is_kubernetes() { &service.key.origin.name } else { host };
    let fields = [("host", host), ("name", name), ("namespace", service.namespace())];
    let fields = fields.map(|(key, value)| (key.to_owned(), text(value))).into();
    let one = Value { kind: Some(Kind::StructValue(Struct { fields })) };
    let mut all = vec![("services", Value { kind: Some(Kind::ListValue(ListValue { values: vec![one] })) })];
    all.extend(choice.rule.map(|rule| ("config", config_path(rule))));
    all.extend(choice.subset.map(|subset| ("subset", text(&subset.name))));
    istio_metadata(all)
}

fn discovery(kind: pb::cluster::DiscoveryType) -> Option<pb::cluster::ClusterDiscoveryType> {
    Some(pb::cluster::ClusterDiscoveryType::Type(kind as i32))
}

fn with_policy(policy: Option<&TrafficPolicy>) -> pb::Cluster {
    let lb = policy.and_then(|policy| policy.load_balancer.as_ref()).map_or(SimpleLb::Unspecified, |lb| lb.simple);
    let lb_policy = match lb {
        SimpleLb::Unspecified | SimpleLb::LeastRequest | SimpleLb::LeastConn => pb::cluster::LbPolicy::LeastRequest,
        SimpleLb::RoundRobin => pb::cluster::LbPolicy::RoundRobin,
        SimpleLb::Random => pb::cluster::LbPolicy::Random,
    };
    let tcp = policy.and_then(|policy| policy.connection_pool.as_ref()).map(|pool| &pool.tcp);
    let max_connections = tcp.and_then(|tcp| tcp.max_connections).unwrap_or(u32::MAX);
    pb::Cluster {
        connect_timeout: Some(to_pb(tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(CONNECT_TIMEOUT))),
        lb_policy: lb_policy as i32,
        circuit_breakers: Some(limits(max_connections)),
        outlier_detection: policy.and_then(|policy| policy.outlier_detection.as_ref()).map(outlier_detection),
        ..Default::default()
    }
}

fn outlier_detection(rule: &OutlierDetection) -> pb::OutlierDetection {
    pb::OutlierDetection {
        consecutive_5xx: rule.consecutive_5xx_errors,
        interval: rule.interval.map(to_pb),
        base_ejection_time: rule.base_ejection_time.map(to_pb),
        max_ejection_percent: rule.max_ejection_percent,
        enforcing_consecutive_5xx: rule.consecutive_5xx_errors.map(|count| if count > 0 { 100 } else { 0 }),
        enforcing_success_rate: Some(0),
        ..Default::default()
    }
}

/// No limits but the given one: Envoy's own defaults would bite at 1,024.
fn limits(max_connections: u32) -> pb::CircuitBreakers {
    let thresholds = pb::circuit_breakers::Thresholds {
        max_connections: Some(max_connections),
        max_pending_requests: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        ..Default::default()
    };
    pb::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

fn set_protocol(cluster: &mut pb::Cluster, protocol: Protocol) {
    use upstream::http_protocol_options as options;
    let choice = match protocol {
        Protocol::Http2 | Protocol::Grpc => {
            let config = options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(Default::default());
            options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
                protocol_config: Some(config),
            })
        }
        Protocol::Unknown => use_downstream(),
        Protocol::Http | Protocol::Tls | Protocol::Tcp => return,
    };
    set_http_options(
        cluster,
        upstream::HttpProtocolOptions { upstream_protocol_options: Some(choice), ..Default::default() },
    );
}

fn use_downstream() -> upstream::http_protocol_options::UpstreamProtocolOptions {
    use upstream::http_protocol_options as options;
    options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options::UseDownstreamHttpConfig {
        http_protocol_options: Some(Default::default()),
        http2_protocol_options: Some(Default::default()),
        ..Default::default()
    })
}

fn set_http_options(cluster: &mut pb::Cluster, options: upstream::HttpProtocolOptions) {
    const NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster.typed_extension_protocol_options.insert(NAME.to_owned(), any(NAME, &options));
}

/// The clusters that every sidecar has whose traffic is captured.
pub fn encode_capture_clusters() -> Vec<EncodedResource> {
    [black_hole(), passthrough(PASSTHROUGH, None), passthrough(INBOUND_PASSTHROUGH, Some(INBOUND_SOURCE))]
        .iter()
        .map(encoded)
        .collect()
}

fn encoded(cluster: &pb::Cluster) -> EncodedResource {
    EncodedResource::new(ResourceType::Cluster, cluster.name.as_str().into(), &cluster.encode_to_vec())
}

fn black_hole() -> pb::Cluster {
    pb::Cluster {
        name: BLACK_HOLE.into(),
        alt_stat_name: format!("{BLACK_HOLE};"),
        cluster_discovery_type: discovery(pb::cluster::DiscoveryType::Static),
        connect_timeout: Some(to_pb(CONNECT_TIMEOUT)),
        ..Default::default()
    }
}

fn original_dst(name: &str, source: Option<&str>) -> pb::Cluster {
    let bind = |source: &str| core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: source.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        }),
        ..Default::default()
    };
    pb::Cluster {
        name: name.into(),
        cluster_discovery_type: discovery(pb::cluster::DiscoveryType::OriginalDst),
        connect_timeout: Some(to_pb(CONNECT_TIMEOUT)),
        lb_policy: pb::cluster::LbPolicy::ClusterProvided as i32,
        circuit_breakers: Some(limits(u32::MAX)),
        upstream_bind_config: source.map(bind),
        ..Default::default()
    }
}

fn passthrough(name: &str, source: Option<&str>) -> pb::Cluster {
    let mut cluster = original_dst(name, source);
    cluster.alt_stat_name = format!("{PASSTHROUGH};");
    let options = upstream::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(to_pb(PASSTHROUGH_IDLE)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(use_downstream()),
        ..Default::default()
    };
    set_http_options(&mut cluster, options);
    cluster
}

/// The way to the application's own port. `address`: where it really listens; None: as the caller addressed it.
pub fn encode_inbound(
    port: u16,
    protocol: Protocol,
    (service, address): (Option<&Service>, Option<(String, u16)>),
) -> EncodedResource {
    let name = ClusterName::inbound(port).to_string();
    let mut cluster = original_dst(&name, Some(INBOUND_SOURCE));
    if let Some((ip, target)) = address {
        cluster.cluster_discovery_type = discovery(pb::cluster::DiscoveryType::Static);
        cluster.lb_policy = pb::cluster::LbPolicy::RoundRobin as i32;
        cluster.upstream_bind_config = None;
        cluster.load_assignment = Some(rutter_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![endpoint::locality_of(socket_address(&ip, target))],
            ..Default::default()
        });
    }
    cluster.alt_stat_name = format!("{name};");
    cluster.common_lb_config = Some(Default::default());
    let choice = Choice { rule: None, spec: None, subset: None, endpoints: &[] };
    cluster.metadata = service.map(|service| origin(service, &choice));
    set_protocol(&mut cluster, protocol);
    encoded(&cluster)
}
