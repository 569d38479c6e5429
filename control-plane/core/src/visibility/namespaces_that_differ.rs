//! Where namespaces differ: which clients may see a host otherwise than a client of no namespace does.
//!
//! An answer may name more than really differ; that costs a comparison. It never names less: the laws of
//! `mesh/tests.rs` compare every scope with one that shares nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Config, Hostname, Kind};

use crate::index::MeshIndex;
use crate::model::{ExportTo, sources_of};

/// Returns the namespaces whose clients may see a host otherwise than a client of no namespace does.
pub(crate) fn namespaces_that_differ(index: &MeshIndex, host: &Hostname) -> BTreeSet<Arc<str>> {
    let mut namespaces = BTreeSet::new();
    add_definitions(index, host, &mut namespaces);
    // Short names are for clients of the namespace that the name has in it.
    let (_, rest) = host.as_str().split_once('.').unwrap_or_default();
    namespaces.extend(rest.strip_suffix(&kubernetes_suffix(index)).map(Arc::from));
    add_rules(index, host, &mut namespaces);
    for virtual_service in index.virtual_services_routing(host) {
        add_exports(virtual_service, &mut namespaces);
        let named = sources_of(virtual_service).filter_map(|(_, namespace)| namespace);
        namespaces.extend(named.map(Arc::from));
        for destination in index.destinations_of(virtual_service) {
            add_definitions(index, &destination, &mut namespaces);
            if index.has_route_shaping_rule(&destination) {
                add_rules(index, &destination, &mut namespaces);
            }
        }
    }
    namespaces
}

fn add_rules(index: &MeshIndex, host: &Hostname, namespaces: &mut BTreeSet<Arc<str>>) {
    for rule in index.destination_rules_about(host) {
        // A client's own rules come first.
        namespaces.insert(rule.key.namespace.clone());
        add_exports(rule, namespaces);
    }
}

fn add_definitions(index: &MeshIndex, host: &Hostname, namespaces: &mut BTreeSet<Arc<str>>) {
    for service in index.definitions(host) {
        namespaces.insert(service.namespace().clone());
        if let ExportTo::Namespaces(names) = &service.export_to {
            namespaces.extend(names.iter().cloned());
        }
    }
}

fn add_exports(config: &Config, namespaces: &mut BTreeSet<Arc<str>>) {
    if let ExportTo::Namespaces(names) = ExportTo::of_config(config) {
        namespaces.extend(names);
    }
}

/// Returns the hosts that clients of a namespace may see otherwise than a client of no namespace does.
pub(crate) fn hosts_that_differ(index: &MeshIndex, namespace: &Arc<str>) -> BTreeSet<Hostname> {
    let mut hosts: BTreeSet<Hostname> = index.hosts_of_namespace(namespace).cloned().collect();
    let mut patterns: BTreeSet<Hostname> = BTreeSet::new();
    for config in index.exported_to(namespace) {
        match config.key.kind {
            Kind::Service | Kind::ServiceEntry => hosts.extend(index.hosts_defined_by(config)),
            Kind::VirtualService | Kind::DestinationRule => patterns.extend(hosts_about(index, config)),
            Kind::Namespace
            | Kind::Pod
            | Kind::EndpointSlice
            | Kind::WorkloadGroup
            | Kind::WorkloadEntry
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::Ingress
            | Kind::Gateway
            | Kind::Sidecar => {}
        }
    }
    // What is routed to hosts that differ, differs too.
    for rule in index.of_namespace(Kind::DestinationRule, namespace).chain(index.exported_to(namespace)) {
        if let Some(host) = index.destination_rule_host(rule) {
            hosts.extend(index.covered_by(&host).filter(|host| index.has_route_shaping_rule(host)).cloned());
        }
    }
    for host in &hosts {
        for virtual_service in index.virtual_services_sending_to(host) {
            patterns.extend(index.routed_hosts_of(virtual_service));
        }
    }
    for virtual_service in index.virtual_services_for_clients_of(namespace) {
        patterns.extend(index.routed_hosts_of(virtual_service));
    }
    for rule in index.of_namespace(Kind::DestinationRule, namespace) {
        patterns.extend(index.destination_rule_host(rule));
    }
    patterns.extend(format!("*.{namespace}{}", kubernetes_suffix(index)).parse::<Hostname>());
    for pattern in patterns {
        hosts.extend(index.covered_by(&pattern).cloned());
        if !pattern.is_wildcard() {
            hosts.insert(pattern);
        }
    }
    hosts
}

/// Returns the hosts that a VirtualService or a DestinationRule is about.
fn hosts_about(index: &MeshIndex, config: &Config) -> Vec<Hostname> {
    let mut hosts = index.routed_hosts_of(config);
    hosts.extend(index.destination_rule_host(config));
    hosts
}

fn kubernetes_suffix(index: &MeshIndex) -> String {
    format!(".svc.{}", index.settings().domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs};

    fn index(text: &str) -> MeshIndex {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(text)));
        index
    }

    fn namespaces(index: &MeshIndex, host: &str) -> Vec<String> {
        namespaces_that_differ(index, &host.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    fn hosts(index: &MeshIndex, namespace: &str) -> Vec<String> {
        hosts_that_differ(index, &namespace.into()).iter().map(ToString::to_string).collect()
    }

    const SERVICE: &str =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{port: 80}]}\n---\n";
    const A: &str = "a.shop.svc.cluster.local";

    #[test]
    fn a_service_differs_in_its_own_namespace() {
        let index = index(SERVICE);
        assert_eq!(namespaces(&index, A), ["shop"]);
        assert_eq!(hosts(&index, "shop"), [A]);
        assert!(hosts(&index, "bank").is_empty());
    }

    #[test]
    fn exports_and_rules_of_other_namespaces_differ_there() {
        let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: bank}\n\
                    spec: {host: a.shop.svc.cluster.local}\n---\n";
        let routes = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n\
                      spec: {hosts: [a], exportTo: [club], http: [{route: [{destination: {host: a}}]}]}\n";
        let index = index(&format!("{SERVICE}{rule}{routes}"));
        assert_eq!(namespaces(&index, A), ["bank", "club", "shop"]);
        assert_eq!((hosts(&index, "bank"), hosts(&index, "club")), (vec![A.to_owned()], vec![A.to_owned()]));
    }

    #[test]
    fn a_route_to_what_differs_differs_too() {
        let private =
            SERVICE.replace("namespace: shop}", "namespace: shop, annotations: {networking.istio.io/exportTo: bank}}");
        let routes = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: club}\n\
                      spec: {hosts: [front.x], http: [{route: [{destination: {host: a.shop.svc.cluster.local}}]}]}\n";
        let index = index(&format!("{private}{routes}"));
        assert_eq!(namespaces(&index, "front.x"), ["bank", "shop"]);
        assert_eq!(hosts(&index, "bank"), [A, "front.x"]);
    }
}
