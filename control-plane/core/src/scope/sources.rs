//! The objects that a resource is made from.

use std::collections::BTreeSet;

use rutter_api::{ClusterName, ConfigKey, Hostname, ResourceType, VirtualHostName};

use super::state::Scope;
use crate::index::MeshIndex;
use crate::visibility::WorkloadObjects;

/// Returns the objects that a resource of a scope is made from, as its name tells: those of its host, or, for a
/// resource that belongs to no host, the objects that select the workloads of the scope.
pub fn sources(scope: &Scope, index: &MeshIndex, resource_type: ResourceType, name: &str) -> BTreeSet<ConfigKey> {
    let Some(host) = host_of(resource_type, name) else {
        let WorkloadObjects { sidecar, source_labels: _ } = &scope.key.objects;
        return sidecar.iter().cloned().collect();
    };
    let viewpoint = scope.viewpoint();
    let service = viewpoint.service(index, &host);
    let config = match resource_type {
        ResourceType::Cluster => service.and_then(|service| viewpoint.destination_rule(index, service)),
        ResourceType::Route | ResourceType::VirtualHost => viewpoint.virtual_service(index, &host),
        ResourceType::Endpoint | ResourceType::Listener | ResourceType::Secret => None,
    };
    let service = service.map(|service| service.key.origin.clone());
    config.map(|config| config.key.clone()).into_iter().chain(service).collect()
}

fn host_of(resource_type: ResourceType, name: &str) -> Option<Hostname> {
    match resource_type {
        ResourceType::VirtualHost => Some(name.parse::<VirtualHostName>().ok()?.host().clone()),
        ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Listener | ResourceType::Route => {
            name.parse::<ClusterName>().ok()?.host
        }
        ResourceType::Secret => None,
    }
}
