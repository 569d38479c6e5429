//! What is the same for the whole mesh.

use std::sync::Arc;

/// Settings of the mesh, which the server reads once at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// The namespace whose Sidecar and DestinationRule objects are defaults for every namespace.
    pub root_namespace: Arc<str>,
    /// The suffix of Kubernetes' service names.
    pub domain: Arc<str>,
    /// Whether every sidecar is sent whole route tables, even one that takes virtual hosts as resources of their own.
    pub whole_route_tables: bool,
    /// Whether a Sidecar object without `egress` lets its workloads see what the default of the root namespace does, and not
    /// everything.
    pub inherit_egress: bool,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            root_namespace: "istio-system".into(),
            domain: "cluster.local".into(),
            whole_route_tables: false,
            inherit_egress: false,
        }
    }
}
