//! How large the scopes are.

use std::sync::Arc;

use rutter_api::ResourceType;

use super::description::joined;
use crate::mesh::Mesh;

/// A scope, and how much one of its clients has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSize {
    /// The namespace of the clients.
    pub namespace: Arc<str>,
    /// What makes the scope what it is, in words.
    pub what: String,
    /// The number of clients.
    pub clients: usize,
    /// The number of resources of one client.
    pub resources: usize,
    /// The bytes of their entries in responses.
    pub bytes: usize,
}

/// Returns all scopes that have clients, those with the most bytes first. It looks at everything that they have.
pub fn scope_sizes(mesh: &Mesh) -> Vec<ScopeSize> {
    let sizes = mesh.groups().filter_map(|(scope, ids)| {
        let view = mesh.view(*ids.first()?)?;
        let objects = scope.objects();
        let what = match (&objects.sidecar, objects.gateways.is_empty()) {
            (Some(sidecar), _) => sidecar.to_string(),
            (None, false) => joined(&objects.gateways),
            (None, true) if scope.is_gateway() => "no Gateway".to_owned(),
            (None, true) => "everything".to_owned(),
        };
        let (mut resources, mut bytes) = (0, 0);
        for resource_type in ResourceType::ALL {
            for resource in view.iter(resource_type) {
                resources += 1;
                bytes += resource.entry.len();
            }
        }
        let namespace = mesh.node(*ids.first()?)?.namespace.clone();
        Some(ScopeSize { namespace, what, clients: ids.len(), resources, bytes })
    });
    let mut sizes: Vec<ScopeSize> = sizes.collect();
    sizes.sort_by(|a, b| (b.bytes, &a.namespace, &a.what).cmp(&(a.bytes, &b.namespace, &b.what)));
    sizes
}
