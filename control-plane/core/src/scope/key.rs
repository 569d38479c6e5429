//! What makes clients share a scope, and scopes share a base.

use std::sync::Arc;

use rutter_api::SidecarNode;

use crate::client::ClientClass;
use crate::index::MeshIndex;
use crate::model::{Capture, ClientLocality};
use crate::visibility::{Egress, WorkloadObjects};

/// Names a scope for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub(super) u64);

/// What makes two clients see the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeKey {
    /// The namespace of the clients.
    pub namespace: Arc<str>,
    /// The class of the clients.
    pub client: ClientClass,
    /// The objects that are about the clients' workloads.
    pub objects: WorkloadObjects,
    /// What matters of where the clients are.
    pub locality: Arc<ClientLocality>,
    /// Whether the clients are gateways that may be sent Secrets.
    pub takes_secrets: bool,
    /// Whether the clients can learn the addresses that services were given which have none.
    pub learns_addresses: bool,
}

impl ScopeKey {
    /// Returns the key of the scope that a client is in.
    pub fn of_node(node: &SidecarNode, index: &MeshIndex) -> Self {
        let client = ClientClass::new(node, index.settings());
        Self {
            namespace: node.namespace.clone(),
            client,
            locality: Arc::new(index.locality_needs().of_client(node)),
            learns_addresses: client.is_captured() && node.captures_dns,
            takes_secrets: client.is_gateway() && node.may_be_sent_secrets,
            objects: WorkloadObjects::of_node(index, node),
        }
    }
}

impl ScopeKey {
    /// Returns what the Sidecar objects of the clients let them see, if these are no gateways.
    pub fn sidecar_egress(&self, index: &MeshIndex) -> Egress {
        let objects = [&self.objects.egress_from, &self.objects.sidecar];
        let mut specs = objects.into_iter().flatten().filter_map(|key| index.config(key)?.spec.as_sidecar());
        specs.next().map_or_else(Egress::everything, |spec| Egress::new(spec, &self.namespace))
    }
}

/// What makes two scopes that restrict nothing lie over the same base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BaseKey {
    /// The class of the clients.
    pub(super) client: ClientClass,
    /// How captured traffic is treated of which nothing is known.
    pub(super) capture: Capture,
    /// What matters of where the clients are.
    pub(super) locality: Arc<ClientLocality>,
    /// Whether the clients can learn the addresses that services were given which have none.
    pub(super) learns_addresses: bool,
}
