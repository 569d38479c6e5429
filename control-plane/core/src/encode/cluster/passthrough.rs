//! The clusters that every sidecar has whose traffic is captured.

use std::time::Duration;

use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::upstreams::http::v3 as upstream;

use super::policy::{CONNECT_TIMEOUT, connection_limit, same_as_downstream, set_http_options};
use super::{discovery_type, encoded};
use crate::model::UnknownTraffic;
use crate::resource::EncodedResource;

/// Istio's name of the cluster for traffic that must not go anywhere. It has no endpoint.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// Istio's name of the cluster by which outbound traffic goes on to where the application sent it.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// Istio's name of the cluster by which inbound traffic to unknown ports goes on to the application.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// The source address of inbound connections to the application, by which traffic capture tells them apart.
pub(super) const INBOUND_SOURCE: &str = "127.0.0.6";
/// How long an idle connection to a passed-through destination is kept.
const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);

/// Returns the cluster that captured traffic to unknown destinations goes to.
pub fn unknown_destination_cluster(unknown: &UnknownTraffic) -> &str {
    match unknown {
        UnknownTraffic::Passes => PASSTHROUGH,
        UnknownTraffic::IsRefused => BLACK_HOLE,
        UnknownTraffic::GoesTo(cluster) => cluster,
    }
}

/// Encodes the clusters that every sidecar has whose traffic is captured.
pub fn encode_capture_clusters() -> Vec<EncodedResource> {
    let clusters =
        [black_hole(), passthrough(PASSTHROUGH, None), passthrough(INBOUND_PASSTHROUGH, Some(INBOUND_SOURCE))];
    clusters.iter().map(encoded).collect()
}

fn black_hole() -> pb::Cluster {
    pb::Cluster {
        name: BLACK_HOLE.into(),
        alt_stat_name: format!("{BLACK_HOLE};"),
        cluster_discovery_type: discovery_type(pb::cluster::DiscoveryType::Static),
        connect_timeout: Some(to_pb(CONNECT_TIMEOUT)),
        ..Default::default()
    }
}

fn passthrough(name: &str, source: Option<&str>) -> pb::Cluster {
    let mut cluster = original_destination(name, source);
    cluster.alt_stat_name = format!("{PASSTHROUGH};");
    let http_options = upstream::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(to_pb(PASSTHROUGH_IDLE)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(same_as_downstream()),
        ..Default::default()
    };
    set_http_options(&mut cluster, &http_options);
    cluster
}

/// Returns a cluster whose connections go to the address that the client chose, from a given source address.
pub(super) fn original_destination(name: &str, source: Option<&str>) -> pb::Cluster {
    let bind_config = source.map(|source| core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: source.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        }),
        ..Default::default()
    });
    pb::Cluster {
        name: name.into(),
        cluster_discovery_type: discovery_type(pb::cluster::DiscoveryType::OriginalDst),
        connect_timeout: Some(to_pb(CONNECT_TIMEOUT)),
        lb_policy: pb::cluster::LbPolicy::ClusterProvided as i32,
        circuit_breakers: Some(connection_limit(u32::MAX)),
        upstream_bind_config: bind_config,
        ..Default::default()
    }
}
