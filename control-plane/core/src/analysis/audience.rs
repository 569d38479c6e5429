//! The connected clients that a finding is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, SidecarNode, Spec};

use crate::index::MeshIndex;
use crate::model::{Service, services_of};
use crate::scope::ScopeKey;
use crate::visibility::{Egress, Viewpoint};

/// The connected clients, those together that see the same.
pub(super) struct Clients<'a> {
    index: &'a MeshIndex,
    groups: Vec<Group<'a>>,
}

struct Group<'a> {
    key: ScopeKey,
    egress: Egress,
    nodes: Vec<&'a Arc<SidecarNode>>,
}

impl<'a> Clients<'a> {
    pub(super) fn new(index: &'a MeshIndex, nodes: &'a [Arc<SidecarNode>]) -> Self {
        let mut by_key: BTreeMap<ScopeKey, Vec<&Arc<SidecarNode>>> = BTreeMap::new();
        for node in nodes {
            by_key.entry(ScopeKey::of_node(node, index)).or_default().push(node);
        }
        let groups = by_key.into_iter().map(|(key, nodes)| Group { egress: egress_of(&key, index), key, nodes });
        Self { index, groups: groups.collect() }
    }

    /// Returns the clients for which an object has an effect, or would have one if nothing were wrong with it.
    pub(super) fn of(&self, object: &ConfigKey) -> Vec<&'a SidecarNode> {
        let Some(config) = self.index.config(object) else { return Vec::new() };
        let hit = self.groups.iter().filter(|group| group.is_hit(config, self.index));
        hit.flat_map(|group| group.nodes.iter().map(|node| &***node)).collect()
    }
}

/// Returns what the Sidecar object of clients lets them see. Gateways see what is bound to them.
fn egress_of(key: &ScopeKey, index: &MeshIndex) -> Egress {
    if key.client.is_gateway() {
        return Egress::passing(std::iter::empty());
    }
    key.sidecar_egress(index)
}

impl Group<'_> {
    fn is_hit(&self, config: &Config, index: &MeshIndex) -> bool {
        let objects = &self.key.objects;
        let nothing = BTreeMap::new();
        let viewpoint = Viewpoint {
            namespace: &self.key.namespace,
            egress: &self.egress,
            inferred_hosts: &nothing,
            gateways: &objects.gateways,
            labels: &objects.source_labels,
            target_ports: &objects.target_ports,
        };
        match &config.spec {
            Spec::VirtualService(_) => viewpoint.sees_virtual_service(index, config),
            Spec::DestinationRule(_) => self.is_ruled(config, viewpoint, index),
            Spec::Service(_) | Spec::ServiceEntry(_) => {
                let services = services_of(config, &index.settings().domain);
                services.iter().any(|service| {
                    viewpoint.service(index, &service.key.host).is_some_and(|seen| seen.key == service.key)
                })
            }
            Spec::Sidecar(_) => {
                [&objects.sidecar, &objects.egress_from].into_iter().flatten().any(|key| *key == config.key)
            }
            Spec::Gateway(_) => objects.gateways.contains(&config.key),
            Spec::MeshConfig(_) => true,
            Spec::Namespace
            | Spec::Pod(_)
            | Spec::EndpointSlice(_)
            | Spec::WorkloadGroup(_)
            | Spec::WorkloadEntry(_)
            | Spec::Secret(_)
            | Spec::Ingress(_) => false,
        }
    }

    /// Returns whether a rule acts on connections of the clients to some service, or would if no other came before it.
    fn is_ruled(&self, rule: &Config, viewpoint: Viewpoint<'_>, index: &MeshIndex) -> bool {
        let Some(host) = index.destination_rule_host(rule) else { return false };
        let namespaces = [&self.key.namespace, &index.settings().root_namespace];
        let is_for = |service: &Arc<Service>| {
            namespaces.contains(&&rule.key.namespace) || *service.namespace() == rule.key.namespace
        };
        let covered: BTreeSet<_> = index.covered_by(&host).chain([&host]).collect();
        covered.into_iter().any(|host| viewpoint.service(index, host).is_some_and(is_for))
    }
}
