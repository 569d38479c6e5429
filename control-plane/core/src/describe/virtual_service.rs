//! What is said of a VirtualService.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind, ResourceType};

use super::description::{Description, export_words, joined, known_hosts};
use crate::mesh::Mesh;
use crate::model::{bound_gateways, delegates_of, hosts_at_gateway, is_for_mesh};
use crate::resource::ResourceName;

pub(super) fn describe(mesh: &Mesh, config: &Arc<Config>) -> Description {
    let index = mesh.index();
    let mut description = Description::new(&config.key);
    let Some(spec) = config.spec.as_virtual_service() else { return description };
    let hosts = index.routed_hosts_of(config);
    description.fact("hosts", joined(&hosts));
    let gateways = bound_gateways(config);
    let mesh_word = is_for_mesh(config).then(|| "mesh".to_owned());
    description.fact("gateways", joined(mesh_word.into_iter().chain(gateways.iter().map(ToString::to_string))));
    description.fact("rules", format!("{} http, {} tls, {} tcp", spec.http.len(), spec.tls.len(), spec.tcp.len()));
    description.fact("exported to", export_words(&spec.export_to));
    description.fact("sends to", joined(index.destinations_of(config)));
    for delegate in delegates_of(config) {
        match index.config(&delegate) {
            Some(_) => description.shaped(&delegate, "is a delegate, whose rules take the place of one here", 0),
            None => description.idle(&delegate, "is a delegate that does not exist", 0),
        }
    }
    if hosts.is_empty() {
        of_delegate(mesh, &config.key, &mut description);
        return description;
    }
    for gateway in &gateways {
        match index.config(gateway) {
            None => description.idle(gateway, "does not exist", 0),
            Some(found) if hosts_at_gateway(found, &hosts, &config.key).is_empty() => {
                description.idle(gateway, "has no server for any of the hosts", 0);
            }
            Some(_) => description.shaped(gateway, "serves it at gateways", 0),
        }
    }
    let known: BTreeSet<Hostname> = hosts.iter().flat_map(|host| known_hosts(index, host, &mut description)).collect();
    add_clients(mesh, config, (&hosts, &known), &mut description);
    description
}

fn add_clients(
    mesh: &Mesh,
    config: &Arc<Config>,
    (hosts, known): (&[Hostname], &BTreeSet<Hostname>),
    description: &mut Description,
) {
    let index = mesh.index();
    for (scope, ids) in mesh.groups() {
        let viewpoint = scope.viewpoint();
        let why_not = |host: &Hostname| viewpoint.why_not_virtual_service(index, config, host, scope.objects());
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut routed = Vec::new();
        let wildcards = hosts.iter().filter(|_| known.is_empty());
        for host in known.iter().chain(wildcards) {
            match why_not(host) {
                None => routed.push(host),
                Some(why) => *reasons.entry(why).or_default() += 1,
            }
        }
        if routed.is_empty() {
            description.leave_out(reasons, "no host of it is known", ids.len());
            continue;
        }
        description.seen_by.extend(ids);
        let Some(view) = ids.first().and_then(|id| mesh.view(*id)) else { continue };
        if scope.is_gateway() {
            let is_meant = |name: &ResourceName| {
                let sources = ids.first().map(|id| mesh.sources(*id, ResourceType::VirtualHost, name));
                sources.is_some_and(|sources| sources.contains(&config.key))
            };
            description.cost.add_with(view, ResourceType::VirtualHost, ids.len(), is_meant);
            continue;
        }
        for host in routed {
            let service = viewpoint.service(index, host).map(|service| &**service);
            description.cost.add_routes(view, host, service, ids.len());
        }
    }
}

/// Says which VirtualServices delegate to one that has no hosts, and who follows these.
fn of_delegate(mesh: &Mesh, key: &ConfigKey, description: &mut Description) {
    let roots = mesh.index().of_kind(Kind::VirtualService).filter_map(|root| mesh.index().written(&root.key));
    let delegating: Vec<&Arc<Config>> = roots.filter(|root| delegates_of(root).contains(key)).collect();
    if delegating.is_empty() {
        description.fact("delegated to by", "nobody: it has no hosts, so that it has no effect");
        return;
    }
    description.fact("delegated to by", joined(delegating.iter().map(|root| &root.key)));
    for root in delegating {
        let Description { seen_by, cost, .. } = describe(mesh, root);
        description.seen_by.extend(seen_by);
        description.cost.resources.extend(cost.resources);
    }
}
