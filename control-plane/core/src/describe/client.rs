//! What is said of a client.

use std::collections::BTreeMap;

use rutter_api::ConfigKey;

use super::description::{Description, joined};
use crate::client::ClientClass;
use crate::mesh::{Mesh, NodeId};

/// Describes a client. `None` means that there is none.
pub fn describe_client(mesh: &Mesh, id: NodeId) -> Option<Description> {
    let node = mesh.node(id)?;
    let (scope, _) = mesh.scope_of(id)?;
    let index = mesh.index();
    let mut description = Description::new(format!("sidecar {}", node.id()));
    description.fact("addresses", joined(&node.addresses));
    description.fact("version", &node.version);
    description.fact("labels", joined(node.labels.iter().map(|(key, value)| format!("{key}={value}"))));
    description.fact("locality", node.locality.join("/").trim_end_matches('/'));
    let class = match ClientClass::new(node, index.settings()) {
        ClientClass::CapturedSidecar(_) => "a sidecar to which traffic is redirected",
        ClientClass::BoundSidecar(_) => "a sidecar whose listeners are bound",
        ClientClass::Grpc => "the gRPC library",
        ClientClass::Gateway(_) => "a gateway",
    };
    description.fact("class", class);
    let others = mesh.groups().find(|(_, ids)| ids.contains(&id)).map_or(0, |(_, ids)| ids.len() - 1);
    let others = if others == 1 { "1 other".to_owned() } else { format!("{others} others") };
    description.fact("sees the same as", others);
    let mut services: Vec<String> = Vec::new();
    for service in node.addresses.iter().flat_map(|ip| index.services_at(ip)) {
        if *service.namespace() == node.namespace {
            services.push(service.key.origin.to_string());
        }
    }
    services.sort();
    services.dedup();
    description.fact("services", joined(services));
    let objects = scope.objects();
    let own = objects.sidecar.iter().map(|key| (key, "says what it sees"));
    let inherited = objects.egress_from.iter().map(|key| (key, "says what it sees, because the other does not"));
    let gateways = objects.gateways.iter().map(|key| (key, "says what it listens for"));
    for (key, what) in own.chain(inherited).chain(gateways) {
        description.shaped(key, what, 1);
    }
    let mut used: BTreeMap<(ConfigKey, &str), usize> = BTreeMap::new();
    let viewpoint = scope.viewpoint();
    for host in index.hosts() {
        let Some(service) = viewpoint.service(index, host) else { continue };
        if let Some(rule) = viewpoint.destination_rule(index, service) {
            *used.entry((rule.key.clone(), "applies to connections to")).or_default() += 1;
        }
        let routing = (!scope.is_gateway()).then(|| viewpoint.virtual_service(index, host)).flatten();
        if let Some(virtual_service) = routing {
            *used.entry((virtual_service.key.clone(), "routes requests to")).or_default() += 1;
        }
    }
    for ((key, what), hosts) in used {
        let noun = if hosts == 1 { "host" } else { "hosts" };
        description.shaped(&key, format!("{what} {hosts} {noun}"), 1);
    }
    for gateway in &objects.gateways {
        for virtual_service in index.virtual_services_bound_to(gateway) {
            description.shaped(&virtual_service.key, format!("routes requests at {gateway}"), 1);
        }
    }
    description.cost.add_all(mesh, id, 1);
    Some(description)
}
