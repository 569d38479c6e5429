//! The objects that are about a workload: found by its namespace and its labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::node::Role;
use rutter_api::{Config, ConfigKey, CreationTimestamp, Kind, Labels, SidecarNode};

use crate::index::MeshIndex;
use crate::model::{Endpoint, Service};

/// The objects that decide, by the namespace and the labels of a workload, what its client is sent. They are a part
/// of the scope's key: clients for which other objects are selected are in other scopes.
///
/// This is the place for every kind that selects workloads. Scopes take the value apart without `..`, so that a new
/// field does not compile until it is decided whether such a scope can lie over a base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorkloadObjects {
    /// The Sidecar object. `None` means that the client sees everything that is exported.
    pub sidecar: Option<ConfigKey>,
    /// The Sidecar object of the root namespace, if it says what is seen because the other does not.
    pub egress_from: Option<ConfigKey>,
    /// The label sets that conditions of VirtualServices ask of clients (`sourceLabels`) and the workload has.
    pub source_labels: BTreeSet<Labels>,
    /// The Gateway objects of a gateway. A sidecar has none.
    pub gateways: BTreeSet<ConfigKey>,
    /// Where a gateway listens for ports of the services in front of it, if that is another port.
    pub target_ports: BTreeMap<u16, u16>,
}

impl WorkloadObjects {
    /// Finds the objects that are about a workload.
    pub fn of_node(index: &MeshIndex, node: &SidecarNode) -> Self {
        let source_labels = index.source_labels(&node.namespace).filter(|labels| labels.selects(&node.labels));
        let source_labels = source_labels.cloned().collect();
        match node.role {
            Role::Sidecar => {
                let sidecar = sidecar_of(index, node);
                let egress_from = sidecar.and_then(|sidecar| egress_from(index, sidecar));
                let sidecar = sidecar.map(|config| config.key.clone());
                Self { sidecar, egress_from, source_labels, ..Self::default() }
            }
            Role::Gateway => {
                let gateways = gateways_of(index, node);
                Self { source_labels, gateways, target_ports: target_ports(index, node), ..Self::default() }
            }
        }
    }
}

/// Returns the ports of the services that reach a gateway at other ports of its pod: clients ask for port 80 of the
/// service, and the pod, which may not open that, has 8080. Of several services the oldest counts.
fn target_ports(index: &MeshIndex, node: &SidecarNode) -> BTreeMap<u16, u16> {
    // A pod that is not ready is no endpoint, and listens where it will.
    let is_selected = |service: &&Arc<Service>| {
        service.selector.as_ref().is_some_and(|selector| !selector.is_empty() && selector.selects(&node.labels))
    };
    let of_namespace = index.hosts_of_namespace(&node.namespace).flat_map(|host| index.definitions(host));
    let mut services: Vec<&Arc<Service>> = of_namespace.filter(is_selected).collect();
    services.extend(node.addresses.iter().flat_map(|ip| index.services_at(ip)));
    services.retain(|service| *service.namespace() == node.namespace && service.is_kubernetes());
    services.sort_by_key(|service| service.age());
    services.dedup_by_key(|service| &service.key);
    let mut targets = BTreeMap::new();
    for service in services {
        let is_here = |endpoint: &&Endpoint| endpoint.ip().is_some_and(|ip| node.addresses.contains(&ip));
        let endpoints = index.endpoints(&service.key);
        for port in &service.ports {
            let at_endpoint = endpoints.iter().filter(is_here).find_map(|endpoint| endpoint.target(port.number));
            targets.entry(port.number).or_insert(at_endpoint.unwrap_or(port.target));
        }
    }
    targets.retain(|port, target| port != target);
    targets
}

/// Returns the Gateway objects, of whatever namespace, whose selector a gateway has.
fn gateways_of(index: &MeshIndex, node: &SidecarNode) -> BTreeSet<ConfigKey> {
    let selects =
        |config: &&Arc<Config>| config.spec.as_gateway().is_some_and(|gateway| gateway.selector.selects(&node.labels));
    index.of_kind(Kind::Gateway).filter(selects).map(|config| config.key.clone()).collect()
}

/// Returns the Sidecar object of a workload in Istio's order: one of its namespace that selects it by label, one of
/// its namespace that selects nothing in particular, and the default of the root namespace. Of several the oldest.
fn sidecar_of<'a>(index: &'a MeshIndex, node: &'a SidecarNode) -> Option<&'a Arc<Config>> {
    let of_namespace = || index.of_namespace(Kind::Sidecar, &node.namespace);
    let selecting =
        of_namespace().filter(|config| selector_of(config).is_some_and(|labels| labels.selects(&node.labels)));
    let of_all = of_namespace().filter(|config| selector_of(config).is_none());
    let selecting = selecting.min_by_key(|config| age(config));
    selecting.or_else(|| of_all.min_by_key(|config| age(config))).or_else(|| root_sidecar(index))
}

/// Returns the Sidecar object of the root namespace from which one that says nothing of what is seen has that.
fn egress_from(index: &MeshIndex, sidecar: &Config) -> Option<ConfigKey> {
    let is_silent = sidecar.spec.as_sidecar().is_some_and(|spec| spec.egress.is_empty());
    if !index.settings().inherit_egress || !is_silent {
        return None;
    }
    root_sidecar(index).filter(|root| root.key != sidecar.key).map(|root| root.key.clone())
}

/// Returns the default of the root namespace.
fn root_sidecar(index: &MeshIndex) -> Option<&Arc<Config>> {
    let root = &index.settings().root_namespace;
    let of_root = index.of_namespace(Kind::Sidecar, root).filter(|config| selector_of(config).is_none());
    of_root.min_by_key(|config| age(config))
}

fn selector_of(config: &Config) -> Option<&Labels> {
    let selector = config.spec.as_sidecar()?.workload_selector.as_ref()?;
    Some(&selector.labels)
}

fn age(config: &Config) -> (CreationTimestamp, ConfigKey) {
    (config.created, config.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs, delete, node};

    fn sidecar(namespace: &str, name: &str, selector: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{{selector}}}\n---\n"
        )
    }

    #[test]
    fn a_selecting_object_comes_before_that_of_the_namespace_and_that_before_the_root() {
        let all = [
            sidecar("istio-system", "root", ""),
            sidecar("shop", "all", ""),
            sidecar("shop", "web", "workloadSelector: {labels: {app: web}}"),
            sidecar("shop", "younger", "workloadSelector: {labels: {app: web}}"),
            sidecar("istio-system", "selects", "workloadSelector: {labels: {app: web}}"),
        ];
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(&all.concat())));
        let found = |index: &MeshIndex, pod: &str, namespace: &str| {
            let objects = WorkloadObjects::of_node(index, &node(pod, namespace, "10.0.0.1"));
            objects.sidecar.map(|key| key.name.to_string())
        };
        assert_eq!(found(&index, "web", "shop").as_deref(), Some("web"));
        assert_eq!(found(&index, "db", "shop").as_deref(), Some("all"));
        assert_eq!(found(&index, "web", "bank").as_deref(), Some("root"));
        index.apply(&delete(Kind::Sidecar, "shop", "web"));
        assert_eq!(found(&index, "web", "shop").as_deref(), Some("younger"));
        index.apply(&delete(Kind::Sidecar, "istio-system", "root"));
        assert_eq!(found(&index, "web", "bank"), None);
    }
}
