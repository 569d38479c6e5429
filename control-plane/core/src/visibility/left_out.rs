//! Why an object has no effect for a client.

use rutter_api::{Config, Hostname};

use super::viewpoint::{chooses, is_private, is_rule_visible, specificity};
use super::{Viewpoint, WorkloadObjects};
use crate::index::MeshIndex;
use crate::model::{ExportTo, Service, bound_gateways, hosts_at_gateway, is_for_mesh};

impl Viewpoint<'_> {
    /// Returns why a definition of a service is not what its host means here. `None` means that it is.
    pub fn why_not_service(&self, index: &MeshIndex, service: &Service, objects: &WorkloadObjects) -> Option<String> {
        let host = &service.key.host;
        match self.service(index, host) {
            Some(found) if found.key == service.key => None,
            Some(other) => Some(format!("{} defines the host there", other.key.origin)),
            None if !service.export_to.reaches(self.namespace) => {
                Some("it is not exported to their namespace".to_owned())
            }
            None if !self.gateways.is_empty() => Some("no route of the gateway leads to it".to_owned()),
            None => Some(match objects.egress_from.as_ref().or(objects.sidecar.as_ref()) {
                Some(sidecar) => format!("{sidecar} does not admit it"),
                None => "nothing leads to it".to_owned(),
            }),
        }
    }

    /// Returns why a VirtualService does not route a host here. `None` means that it does.
    pub fn why_not_virtual_service(
        &self,
        index: &MeshIndex,
        config: &Config,
        host: &Hostname,
        objects: &WorkloadObjects,
    ) -> Option<String> {
        let spec = config.spec.as_virtual_service()?;
        if !ExportTo::new(&spec.export_to, &config.key.namespace).reaches(self.namespace) {
            return Some("it is not exported to their namespace".to_owned());
        }
        if !self.gateways.is_empty() {
            let bound = bound_gateways(config);
            let mut bound = bound.intersection(self.gateways).filter_map(|key| index.config(key)).peekable();
            if bound.peek().is_none() {
                return Some("it is bound to none of their Gateways".to_owned());
            }
            let hosts = index.routed_hosts_of(config);
            let is_served = bound.any(|gateway| !hosts_at_gateway(gateway, &hosts, &config.key).is_empty());
            return (!is_served).then(|| "none of its hosts is one of a server".to_owned());
        }
        if !is_for_mesh(config) {
            return Some("it is for gateways alone".to_owned());
        }
        if !self.sees_virtual_service(index, config) {
            return Some(match objects.egress_from.as_ref().or(objects.sidecar.as_ref()) {
                Some(sidecar) => format!("{sidecar} admits none of its hosts"),
                None => "they see none of its hosts".to_owned(),
            });
        }
        let other = self.virtual_service(index, host).filter(|other| other.key != config.key)?;
        let rank = |config: &Config| specificity(index, config, host);
        let why = if rank(other) > rank(config) {
            "which names it more exactly"
        } else if is_private(other) && !is_private(config) {
            "which is exported to its own namespace alone"
        } else {
            "which is older"
        };
        Some(format!("{} routes {host}, {why}", other.key))
    }

    /// Returns why a DestinationRule does not apply to a service here. `None` means that it does, by itself or as a part of another
    /// one about the same host.
    pub fn why_not_rule(&self, index: &MeshIndex, rule: &Config, service: &Service) -> Option<String> {
        let namespace = &*rule.key.namespace;
        let root = &*index.settings().root_namespace;
        let order = [self.namespace, &**service.namespace(), root];
        if !order.contains(&namespace) {
            return Some("its namespace is neither theirs, nor the service's, nor the root namespace".to_owned());
        }
        if !is_rule_visible(rule, self.namespace) {
            return Some("it is not exported to their namespace".to_owned());
        }
        if !self.is_chosen_by(rule) {
            return Some("its workloadSelector does not select them".to_owned());
        }
        let other = self.destination_rule(index, service).filter(|other| other.key != rule.key)?;
        if index.destination_rules_with(other).any(|part| part.key == rule.key) {
            return None;
        }
        let (own_host, other_host) = (index.destination_rule_host(rule), index.destination_rule_host(other));
        let place = |namespace: &str| order.iter().position(|known| *known == namespace);
        let why = if place(&other.key.namespace) < place(namespace) {
            "whose namespace comes first"
        } else if own_host != other_host {
            "which names the host more exactly"
        } else if chooses(other) && !chooses(rule) {
            "which selects them by their labels"
        } else {
            "which is older"
        };
        Some(format!("{} applies, {why}", other.key))
    }
}
