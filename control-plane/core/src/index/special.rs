//! Where namespaces differ: which clients may see a host otherwise than a client of no namespace does.
//!
//! An answer may name more than really differ; that costs a comparison. It never names less.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind};

use super::{ExportTo, MeshIndex, Service, covering};

impl MeshIndex {
    /// The namespaces whose clients may see a host otherwise.
    pub(crate) fn special_namespaces(&self, host: &Hostname) -> BTreeSet<Arc<str>> {
        let mut all: BTreeSet<Arc<str>> = BTreeSet::new();
        self.definitions(host).for_each(|service| add_definition(&mut all, service));
        // Short names are for clients of the namespace that the name has in it.
        let (_, rest) = host.as_str().split_once('.').unwrap_or_default();
        all.extend(rest.strip_suffix(&self.kubernetes_suffix()).map(Arc::from));
        for rule in covering(&self.rules, host).filter_map(|key| self.configs.get(key)) {
            // A client's own rules come first.
            all.insert(rule.key.namespace.clone());
            add_exports(&mut all, &ExportTo::of(rule));
        }
        for rule in self.virtual_services_for(host) {
            add_exports(&mut all, &ExportTo::of(rule));
            for destination in self.destinations(rule) {
                self.definitions(&destination).for_each(|service| add_definition(&mut all, service));
            }
        }
        all
    }

    /// The hosts that clients of a namespace may see otherwise.
    pub(crate) fn special_hosts(&self, namespace: &Arc<str>) -> BTreeSet<Hostname> {
        let exported = || self.exported_to.get(namespace).into_iter().flatten();
        let of_kind = |key: &&ConfigKey, kinds: &[Kind]| kinds.contains(&key.kind);
        let mut all: BTreeSet<Hostname> = self.hosts_of_namespace(namespace).cloned().collect();
        let services = exported().filter(|key| of_kind(key, &[Kind::Service, Kind::ServiceEntry]));
        all.extend(services.filter_map(|key| self.configs.get(key)).flat_map(|config| self.defined_by(config)));
        // What rules send to these differs too.
        let routed: Vec<&Arc<Config>> = all.iter().flat_map(|host| self.virtual_services_to(host)).collect();
        let own_rules = self.of_namespace(Kind::DestinationRule, namespace);
        let rules = exported().filter(|key| of_kind(key, &[Kind::VirtualService, Kind::DestinationRule]));
        let rules = routed.into_iter().chain(rules.filter_map(|key| self.configs.get(key))).chain(own_rules);
        let mut patterns: BTreeSet<Hostname> =
            rules.flat_map(|rule| self.virtual_service_hosts(rule).into_iter().chain(self.rule_host(rule))).collect();
        patterns.extend(format!("*.{namespace}{}", self.kubernetes_suffix()).parse::<Hostname>());
        for pattern in patterns {
            all.extend(self.covered_by(&pattern).cloned());
            if !pattern.is_wildcard() {
                all.insert(pattern);
            }
        }
        all
    }

    fn kubernetes_suffix(&self) -> String {
        format!(".svc.{}", self.settings.domain)
    }

    fn defined_by(&self, config: &Config) -> Vec<Hostname> {
        super::service::services_of(config, &self.settings.domain).into_iter().map(|service| service.key.host).collect()
    }
}

fn add_definition(all: &mut BTreeSet<Arc<str>>, service: &Service) {
    all.insert(service.namespace().clone());
    add_exports(all, &service.export_to);
}

fn add_exports(all: &mut BTreeSet<Arc<str>>, export_to: &ExportTo) {
    if let ExportTo::Namespaces(names) = export_to {
        all.extend(names.iter().cloned());
    }
}
