//! Clusters that lead to a sidecar's own application.

use std::net::SocketAddr;
use std::sync::Arc;

use rutter_api::ClusterName;
use rutter_api::config::istio::ConnectionPool;
use rutter_api::pb::envoy::config::cluster::v3 as pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::outbound::service_field;
use super::passthrough::{INBOUND_SOURCE, original_destination};
use super::policy::{limit_connections, set_protocol};
use super::{discovery_type, encoded};
use crate::encode::endpoint::locality_with_one_address;
use crate::encode::wire::{istio_metadata, pipe_address, socket_address};
use crate::model::{Protocol, Service};
use crate::resource::EncodedResource;

/// Where an application listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ApplicationAddress {
    /// The application listens where the caller addressed it; the original destination is known.
    AsAddressed,
    /// The application listens at a fixed address.
    Fixed(SocketAddr),
    /// The application listens at a Unix socket, by its path.
    Socket(Arc<str>),
}

impl ApplicationAddress {
    /// Returns the address, if the cluster has one of its own.
    fn own(&self) -> Option<core::Address> {
        match self {
            Self::AsAddressed => None,
            Self::Fixed(address) => Some(socket_address(&address.ip().to_string(), address.port())),
            Self::Socket(path) => Some(pipe_address(path)),
        }
    }
}

/// What the cluster of a port of the own application is made from.
#[derive(Debug)]
pub struct InboundClusterInputs<'a> {
    /// The port to which peers connect.
    pub port: u16,
    /// The protocol that is spoken.
    pub protocol: Protocol,
    /// The service that is reached by the port; it is named in the metadata only.
    pub service: Option<&'a Service>,
    /// Where the application listens.
    pub address: &'a ApplicationAddress,
    /// Limits on the connections to the application.
    pub connection_pool: Option<&'a ConnectionPool>,
}

/// Encodes the cluster that leads to a port of the own application. Without capture it is a cluster of one fixed address,
/// since there is no original destination.
pub fn encode_inbound_cluster(inputs: &InboundClusterInputs<'_>) -> EncodedResource {
    let InboundClusterInputs { port, protocol, service, address, connection_pool } = *inputs;
    let name = ClusterName::inbound(port).to_string();
    let mut cluster = original_destination(&name, Some(INBOUND_SOURCE));
    if let Some(address) = address.own() {
        cluster.cluster_discovery_type = discovery_type(pb::cluster::DiscoveryType::Static);
        cluster.lb_policy = pb::cluster::LbPolicy::RoundRobin as i32;
        cluster.upstream_bind_config = None;
        cluster.load_assignment = Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![locality_with_one_address(address)],
            ..Default::default()
        });
    }
    cluster.alt_stat_name = format!("{name};");
    cluster.common_lb_config = Some(Default::default());
    cluster.metadata = service.map(|service| istio_metadata(vec![service_field(service)]));
    match connection_pool {
        Some(pool) => limit_connections(&mut cluster, protocol, pool),
        None => set_protocol(&mut cluster, protocol),
    }
    encoded(&cluster)
}
