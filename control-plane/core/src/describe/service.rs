//! What is said of a service.

use std::sync::Arc;

use rutter_api::Config;

use super::description::{Description, joined};
use crate::mesh::Mesh;
use crate::model::{ExportTo, Service};

pub(super) fn describe(mesh: &Mesh, config: &Arc<Config>) -> Vec<Description> {
    let index = mesh.index();
    let hosts = index.hosts_defined_by(config);
    let of_config = |service: &&Arc<Service>| service.key.origin == config.key;
    let services = hosts.iter().filter_map(|host| index.definitions(host).iter().find(of_config));
    services.map(|service| of_service(mesh, service)).collect()
}

fn of_service(mesh: &Mesh, service: &Arc<Service>) -> Description {
    let index = mesh.index();
    let host = &service.key.host;
    let mut description = Description::new(&service.key.origin);
    description.fact("host", host);
    let ports = service.ports.iter().map(|port| format!("{} {:?}", port.number, port.protocol).to_lowercase());
    description.fact("ports", joined(ports));
    description.fact("addresses", joined(&service.addresses));
    let endpoints = index.endpoints(&service.key);
    description.fact("endpoints", endpoints.len());
    let exported = match &service.export_to {
        ExportTo::All => "every namespace".to_owned(),
        ExportTo::Namespaces(namespaces) => joined(namespaces),
    };
    description.fact("exported to", exported);
    for (scope, ids) in mesh.groups() {
        let viewpoint = scope.viewpoint();
        if let Some(why) = viewpoint.why_not_service(index, service, scope.objects()) {
            description.not_for(why, ids.len());
            continue;
        }
        description.seen_by.extend(ids);
        let Some(view) = ids.first().and_then(|id| mesh.view(*id)) else { continue };
        description.cost.add_clusters(view, (index, viewpoint), service, ids.len());
        description.cost.add_routes(view, host, Some(service), ids.len());
        for rule in index.destination_rules_about(host) {
            match viewpoint.why_not_rule(index, rule, service) {
                None => {
                    for part in index.destination_rules_with(rule) {
                        description.shaped(&part.key, "applies to connections", ids.len());
                    }
                }
                Some(why) => description.idle(&rule.key, why, ids.len()),
            }
        }
        let routing = index.virtual_services_routing(host);
        for virtual_service in routing.chain(index.virtual_services_at_gateways(host)) {
            match viewpoint.why_not_virtual_service(index, virtual_service, host, scope.objects()) {
                None => description.shaped(&virtual_service.key, "routes requests", ids.len()),
                Some(why) => description.idle(&virtual_service.key, why, ids.len()),
            }
        }
    }
    for virtual_service in index.virtual_services_sending_to(host) {
        description.shaped(&virtual_service.key, "sends requests to it", 0);
    }
    description
}
