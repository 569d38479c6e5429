//! What a change concerns: the hosts, and the clients that may see them.
//!
//! This is the only place that decides it for objects about hosts. Bases look at all the hosts; restricted scopes are
//! found by reverse edges among the clients that are named here. What selects workloads instead, such as a Sidecar
//! object, is followed by `ScopeTable`, which reads it again, and by `Mesh`, which moves clients to other scopes.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname};

use crate::index::{ChangedDestinationRule, IndexDelta, MeshIndex};
use crate::model::{ExportTo, Service, ServiceKey, bound_gateways, hosts_at_gateway, is_for_mesh};

/// Hosts that a change may alter, and the clients for which it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affected {
    pub(super) hosts: Vec<Hostname>,
    pub(super) audience: Audience,
}

/// The clients for which a change may alter hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    /// Clients that may see an object.
    MaySee(Export),
    /// Clients that may see an object, if they have something for the host already. A wildcard brings no host into
    /// being.
    MaySeeAndHasHost(Export),
    /// Clients for which the host means this service; if a namespace is given, only those of that namespace.
    Selects {
        /// The service, by the definition that the clients have selected.
        service: ServiceKey,
        /// The namespace of the clients.
        client_namespace: Option<Arc<str>>,
    },
    /// Gateways that a Gateway object selects.
    Gateways(ConfigKey),
    /// Clients that see the host only because a VirtualService which they see sends there.
    Infers,
}

/// What decides who may see an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    /// The namespace of the object.
    pub(super) namespace: Arc<str>,
    /// The namespaces to which the object is exported.
    pub(super) export_to: ExportTo,
}

/// Returns everything that a change concerns.
pub(super) fn affected(delta: &IndexDelta, index: &MeshIndex) -> Vec<Affected> {
    // Sidecar objects restrict scopes, Gateway objects make them, Secrets belong to gateways, and the mesh config is about every
    // host, which `ScopeTable` follows itself; addresses and labels concern single sidecars.
    let IndexDelta {
        services,
        endpoints,
        addresses: _,
        destination_rules,
        virtual_services,
        sidecars: _,
        gateways: _,
        secrets: _,
        locality_needs: _,
        mesh_defaults: _,
        capture: _,
        source_labels: _,
    } = delta;
    let mut affected = Vec::new();
    for virtual_service in virtual_services {
        add_routed_hosts(virtual_service, index, &mut affected);
    }
    for (host, definitions) in services {
        for service in definitions {
            let export = Export { namespace: service.namespace().clone(), export_to: service.export_to.clone() };
            affected.push(Affected { hosts: vec![host.clone()], audience: Audience::MaySee(export) });
            affected.push(for_those_who_select(&service.key, None));
        }
        affected.push(Affected { hosts: vec![host.clone()], audience: Audience::Infers });
        for virtual_service in index.virtual_services_sending_to(host) {
            add_routed_hosts(virtual_service, index, &mut affected);
        }
    }
    affected.extend(endpoints.iter().map(|service| for_those_who_select(service, None)));
    for rule in destination_rules {
        add_ruled_services(rule, index, &mut affected);
    }
    affected
}

/// Returns every host that is affected for somebody.
pub(super) fn hosts_of(affected: &[Affected]) -> BTreeSet<Hostname> {
    affected.iter().flat_map(|affected| &affected.hosts).cloned().collect()
}

fn for_those_who_select(service: &ServiceKey, client_namespace: Option<Arc<str>>) -> Affected {
    let audience = Audience::Selects { service: service.clone(), client_namespace };
    Affected { hosts: vec![service.host.clone()], audience }
}

/// Adds the hosts that a VirtualService routes, in sidecars and at gateways.
fn add_routed_hosts(virtual_service: &Config, index: &MeshIndex, affected: &mut Vec<Affected>) {
    let routed = index.routed_hosts_of(virtual_service);
    for gateway in bound_gateways(virtual_service) {
        let Some(config) = index.config(&gateway) else { continue };
        let hosts = hosts_at_gateway(config, &routed, &virtual_service.key).into_iter().collect();
        affected.push(Affected { hosts, audience: Audience::Gateways(gateway) });
    }
    if !is_for_mesh(virtual_service) {
        return;
    }
    let export =
        Export { namespace: virtual_service.key.namespace.clone(), export_to: ExportTo::of_config(virtual_service) };
    for host in routed {
        affected.push(if host.is_wildcard() {
            let hosts = index.covered_by(&host).cloned().collect();
            Affected { hosts, audience: Audience::MaySeeAndHasHost(export.clone()) }
        } else {
            Affected { hosts: vec![host], audience: Audience::MaySee(export.clone()) }
        });
    }
}

/// Adds the services that a DestinationRule may apply to: for clients of every namespace if the rule is in the root
/// namespace or in that of the service, otherwise for clients of the rule's namespace.
fn add_ruled_services(rule: &ChangedDestinationRule, index: &MeshIndex, affected: &mut Vec<Affected>) {
    let is_root = rule.namespace == index.settings().root_namespace;
    let covered = index.covered_by(&rule.host).filter(|host| **host != rule.host);
    let services: Vec<&Arc<Service>> =
        [&rule.host].into_iter().chain(covered).flat_map(|host| index.definitions(host)).collect();
    for service in services {
        let is_for_all = is_root || *service.namespace() == rule.namespace;
        let client_namespace = (!is_for_all).then(|| rule.namespace.clone());
        affected.push(for_those_who_select(&service.key, client_namespace));
        // A rule that says nothing of routes may take the place of one that does.
        if rule.shapes_routes || index.has_route_shaping_rule(&service.key.host) {
            for virtual_service in index.virtual_services_sending_to(&service.key.host) {
                add_routed_hosts(virtual_service, index, affected);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs};

    const SERVICES: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{port: 80}]}\n---\n\
        apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {ports: [{port: 80}]}\n";

    /// Applies a change to two services and returns what it affects, a line each.
    fn affected_by(text: &str) -> Vec<String> {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(SERVICES)));
        let delta = index.apply(&batch(configs(text)));
        let describe = |affected: &Affected| {
            let hosts: Vec<&str> = affected.hosts.iter().map(|host| host.as_str().split('.').next().unwrap()).collect();
            let audience = match &affected.audience {
                Audience::MaySee(export) => format!("may see {:?} of {}", export.export_to, export.namespace),
                Audience::MaySeeAndHasHost(export) => format!("has, may see from {}", export.namespace),
                Audience::Selects { client_namespace, .. } => format!("selects, in {client_namespace:?}"),
                Audience::Gateways(gateway) => format!("gateways of {gateway}"),
                Audience::Infers => "infers".to_owned(),
            };
            format!("{}: {audience}", hosts.join(" "))
        };
        affected(&delta, &index).iter().map(describe).collect()
    }

    #[test]
    fn a_service_concerns_those_who_may_see_it_who_have_it_and_who_are_led_there() {
        let service = SERVICES.split("---").next().unwrap().replace("name: a", "name: c");
        assert_eq!(affected_by(&service), ["c: may see All of shop", "c: selects, in None", "c: infers"]);
    }

    #[test]
    fn endpoints_concern_those_who_have_the_service() {
        let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                     metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: a}}\n\
                     addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]";
        assert_eq!(affected_by(slice), ["a: selects, in None"]);
    }

    #[test]
    fn a_wildcard_concerns_what_it_covers_where_it_is_there_already() {
        let virtual_service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n\
                               spec: {hosts: ['*.shop.svc.cluster.local', x.example.com], http: [{route: [{destination: {host: a}}]}]}";
        assert_eq!(affected_by(virtual_service), ["a b: has, may see from shop", "x: may see All of shop"]);
    }

    #[test]
    fn a_rule_concerns_everybody_if_it_is_beside_the_service_or_in_the_root() {
        let rule = |namespace: &str| {
            affected_by(&format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\n\
                 spec: {{host: a.shop.svc.cluster.local}}"
            ))
        };
        assert_eq!(rule("shop"), ["a: selects, in None"]);
        assert_eq!(rule("istio-system"), ["a: selects, in None"]);
        assert_eq!(rule("bank"), ["a: selects, in Some(\"bank\")"]);
    }
}
