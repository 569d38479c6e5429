//! The caches through which scopes encode, and the counts of the work.

use crate::encode::cluster::ClusterInputs;
use crate::encode::endpoint::EndpointInputs;
use crate::encode::route::{GatewayVirtualHostInputs, VirtualHostInputs};
use crate::encode::{Cache, Encoded};
use crate::resource::EncodedResource;

/// The clusters of a service.
pub(super) type EncodedClusters = Encoded<ClusterInputs, Box<[EncodedResource]>>;
/// The load assignments of a service.
pub(super) type EncodedEndpoints = Encoded<EndpointInputs, Box<[EncodedResource]>>;
/// A virtual host, or the route table of a gRPC target.
pub(super) type EncodedVirtualHost = Encoded<VirtualHostInputs, EncodedResource>;

/// A virtual host of a gateway.
pub(super) type EncodedGatewayVirtualHost = Encoded<GatewayVirtualHostInputs, EncodedResource>;

/// Runs a job for each number below a count, in any order, perhaps on several threads at once.
pub type Spread = fn(usize, &(dyn Fn(usize) + Sync));

/// Encodes for all scopes, each thing once for each set of inputs, and counts the work.
#[derive(Debug, Default)]
pub struct Encoder {
    pub(super) clusters: Cache<ClusterInputs, Box<[EncodedResource]>>,
    pub(super) endpoints: Cache<EndpointInputs, Box<[EncodedResource]>>,
    pub(super) virtual_hosts: Cache<VirtualHostInputs, EncodedResource>,
    /// The route tables of listeners at the addresses of one service.
    pub(super) own_tables: Cache<VirtualHostInputs, EncodedResource>,
    /// The virtual hosts of gateways.
    pub(super) gateway_virtual_hosts: Cache<GatewayVirtualHostInputs, EncodedResource>,
    /// The number of times that a host of a scope was looked at.
    pub visits: u64,
    /// The number of times that the listener and the route table of a port were put together.
    pub tables: u64,
    /// How the hosts of a large scope are divided among threads. `None` means that one is built after the other.
    pub(crate) spread: Option<Spread>,
}

impl Encoder {
    /// Returns an encoder that finds what this one has encoded, and counts its own work from nothing.
    pub(super) fn branch(&self) -> Self {
        Self {
            clusters: self.clusters.branch(),
            endpoints: self.endpoints.branch(),
            virtual_hosts: self.virtual_hosts.branch(),
            own_tables: self.own_tables.branch(),
            gateway_virtual_hosts: self.gateway_virtual_hosts.branch(),
            visits: 0,
            tables: 0,
            spread: self.spread,
        }
    }

    /// Returns the number of things that were encoded: the clusters, the load assignments or the virtual host of one
    /// service count as one each. Tests assert it, because it says more about a change than a time does.
    pub fn encodes(&self) -> u64 {
        let tables = self.virtual_hosts.encoded() + self.own_tables.encoded() + self.gateway_virtual_hosts.encoded();
        self.clusters.encoded() + self.endpoints.encoded() + tables
    }
}
