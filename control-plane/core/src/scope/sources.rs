//! The objects that a resource is made from.

use std::collections::BTreeSet;

use rutter_api::{ClusterName, ConfigKey, Hostname, Kind, ResourceType, VirtualHostName};

use super::state::Scope;
use crate::index::MeshIndex;
use crate::visibility::WorkloadObjects;

/// Returns the objects that a resource of a scope is made from, as its name tells: those of its host, or, for a
/// resource that belongs to no host, the objects that select the workloads of the scope.
pub fn sources(scope: &Scope, index: &MeshIndex, resource_type: ResourceType, name: &str) -> BTreeSet<ConfigKey> {
    if resource_type == ResourceType::Secret && !name.starts_with("file-") {
        let named = name.strip_prefix("kubernetes://").unwrap_or_default();
        let names = [Some(named), named.strip_suffix("-cacert")];
        let keys = names.into_iter().flatten().map(|name| ConfigKey::new(Kind::Secret, &scope.key.namespace, name));
        return keys.filter(|key| index.config(key).is_some()).collect();
    }
    let Some(host) = host_of(resource_type, name) else {
        let WorkloadObjects { sidecar, egress_from, source_labels: _, gateways, target_ports: _ } = &scope.key.objects;
        return sidecar.iter().chain(egress_from).chain(gateways).cloned().collect();
    };
    if scope.key.client.is_gateway() && resource_type == ResourceType::VirtualHost {
        return sources_at_gateway(scope, &host, name);
    }
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

/// Returns the objects that a virtual host of a gateway is made from: its Gateway objects and VirtualServices.
fn sources_at_gateway(scope: &Scope, host: &Hostname, name: &str) -> BTreeSet<ConfigKey> {
    let virtual_hosts = scope.host(None, host).into_iter().flat_map(|resources| &resources.gateway_virtual_hosts);
    let named = virtual_hosts.filter(|encoded| *encoded.value.name == *name);
    let routes = named.flat_map(|encoded| &encoded.inputs.virtual_services);
    routes.flat_map(|routes| routes.gateways.iter().chain([&routes.virtual_service.key])).cloned().collect()
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
