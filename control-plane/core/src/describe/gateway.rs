//! What is said of a Gateway.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Config, ResourceType};

use super::description::{Description, joined};
use crate::mesh::Mesh;
use crate::model::hosts_at_gateway;

pub(super) fn describe(mesh: &Mesh, config: &Arc<Config>) -> Description {
    let index = mesh.index();
    let mut description = Description::new(&config.key);
    let Some(spec) = config.spec.as_gateway() else { return description };
    let labels = spec.selector.iter().map(|(key, value)| format!("{key}={value}"));
    description.fact("selector", joined(labels));
    for server in &spec.servers {
        let hosts = joined(server.hosts.iter().map(|host| &host.host));
        description.fact("server", format!("{}/{} {hosts}", server.port.number, server.port.protocol));
    }
    for virtual_service in index.virtual_services_bound_to(&config.key) {
        let hosts = index.routed_hosts_of(virtual_service);
        let common = hosts_at_gateway(config, &hosts, &virtual_service.key);
        match common.is_empty() {
            false => description.shaped(&virtual_service.key, format!("routes {}", joined(&common)), 0),
            true => description.idle(
                &virtual_service.key,
                "none of its hosts is one of a server, or its namespace is not admitted",
                0,
            ),
        }
    }
    for (scope, ids) in mesh.groups().filter(|(scope, _)| scope.is_gateway()) {
        if !scope.objects().gateways.contains(&config.key) {
            description.not_for("its selector does not select them".to_owned(), ids.len());
            continue;
        }
        description.seen_by.extend(ids);
        let Some(view) = ids.first().and_then(|id| mesh.view(*id)) else { continue };
        let own = spec.servers.iter().map(|server| server.port.number.get());
        let targets = &scope.objects().target_ports;
        let ports: BTreeSet<u16> = own.map(|port| targets.get(&port).copied().unwrap_or(port)).collect();
        for port in ports {
            let (listener, table) = (format!("_{port}"), format!(".{port}"));
            description.cost.add_with(view, ResourceType::Listener, ids.len(), |name| name.ends_with(&listener));
            let is_table = |name: &str| {
                name.split('/').next().is_some_and(|name| format!("{name}.").contains(&format!("{table}.")))
            };
            for resource_type in [ResourceType::Route, ResourceType::VirtualHost] {
                description.cost.add_with(view, resource_type, ids.len(), |name| is_table(name));
            }
        }
    }
    description
}
