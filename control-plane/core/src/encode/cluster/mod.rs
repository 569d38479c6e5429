//! Clusters: where requests can go.

mod inbound;
mod outbound;
mod passthrough;
mod policy;
mod transport;

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::cluster::v3 as pb;

use crate::resource::EncodedResource;

pub use inbound::{ApplicationAddress, InboundClusterInputs, encode_inbound_cluster};
pub use outbound::{ClusterInputs, encode_clusters};
pub use passthrough::{
    BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH, encode_capture_clusters, unknown_destination_cluster,
};

fn encoded(cluster: &pb::Cluster) -> EncodedResource {
    EncodedResource::new(ResourceType::Cluster, cluster.name.as_str().into(), &cluster.encode_to_vec())
}

fn discovery_type(discovery_type: pb::cluster::DiscoveryType) -> Option<pb::cluster::ClusterDiscoveryType> {
    Some(pb::cluster::ClusterDiscoveryType::Type(discovery_type as i32))
}

#[cfg(test)]
mod tests;
