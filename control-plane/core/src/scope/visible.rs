//! Which services and rules a scope may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::config::istio::Sidecar;
use rutter_api::{ClusterName, Config, ConfigKey, Hostname, ResourceType};

use super::Scope;
use crate::encode::route::host_of;
use crate::index::{ExportTo, MeshIndex, Service, virtual_service};

/// A Sidecar's `egress.hosts`, all listeners together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Egress {
    patterns: Vec<(Namespaces, Hostname)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Namespaces {
    Any,
    One(Arc<str>),
}

impl Egress {
    /// `*/*`
    pub(crate) fn everything() -> Self {
        Self { patterns: "*".parse().map(|host| (Namespaces::Any, host)).into_iter().collect() }
    }

    /// A Sidecar without egress restricts nothing.
    pub(crate) fn new(spec: &Sidecar, own: &Arc<str>) -> Self {
        if spec.egress.is_empty() {
            return Self::everything();
        }
        let hosts = spec.egress.iter().flat_map(|egress| &egress.hosts);
        Self { patterns: hosts.filter_map(|text| pattern(text, own)).collect() }
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.patterns.iter().any(|(namespaces, host)| *namespaces == Namespaces::Any && host.as_str() == "*")
    }

    /// The namespaces that it is about. None: all.
    pub(crate) fn namespaces(&self) -> Option<Vec<&Arc<str>>> {
        self.patterns
            .iter()
            .map(|(namespaces, _)| match namespaces {
                Namespaces::Any => None,
                Namespaces::One(name) => Some(name),
            })
            .collect()
    }

    fn admits(&self, namespace: &str, host: &Hostname) -> bool {
        self.patterns.iter().any(|(namespaces, pattern)| {
            let namespace_ok = match namespaces {
                Namespaces::Any => true,
                Namespaces::One(name) => **name == *namespace,
            };
            namespace_ok && (pattern.covers(host) || host.is_wildcard() && host.covers(pattern))
        })
    }
}

fn pattern(text: &str, own: &Arc<str>) -> Option<(Namespaces, Hostname)> {
    let (namespace, host) = text.split_once('/')?;
    let namespaces = match namespace {
        "*" => Namespaces::Any,
        "." => Namespaces::One(own.clone()),
        "~" => return None,
        name => Namespaces::One(name.into()),
    };
    Some((namespaces, host.parse().ok()?))
}

impl Scope {
    /// The service that a host means here: of several, Kubernetes' own, then that of the own
    /// namespace, then the oldest.
    pub(super) fn select<'a>(&self, index: &'a MeshIndex, host: &Hostname) -> Option<&'a Arc<Service>> {
        let own = &*self.key.namespace;
        let is_inferred = self.inferred.contains_key(host);
        let seen = index.definitions(host).filter(|service| {
            service.export_to.reaches(own) && (is_inferred || self.egress.admits(service.namespace(), host))
        });
        seen.min_by_key(|service| {
            (!service.is_kubernetes(), **service.namespace() != *own, service.created, &service.key)
        })
    }

    /// The VirtualService that routes a host here: the most specific; of several the one kept to the
    /// own namespace, then the oldest.
    pub(super) fn route_rule<'a>(&self, index: &'a MeshIndex, host: &Hostname) -> Option<&'a Arc<Config>> {
        let rank = |config: &Arc<Config>| {
            let hosts = index.virtual_service_hosts(config);
            let length =
                hosts.iter().filter(|one| one.covers(host)).map(|one| (!one.is_wildcard(), one.as_str().len())).max();
            (std::cmp::Reverse(length), !self.is_private(config), config.created)
        };
        index
            .virtual_services_for(host)
            .filter(|config| self.sees_rule(index, config))
            .min_by_key(|config| rank(config))
    }

    /// Whether a VirtualService is exported to here and about hosts that may be seen.
    pub(super) fn sees_rule(&self, index: &MeshIndex, config: &Config) -> bool {
        let own = &*self.key.namespace;
        let Some(spec) = virtual_service(config) else { return false };
        ExportTo::new(&spec.export_to, &config.key.namespace).reaches(own)
            && index.virtual_service_hosts(config).iter().any(|host| self.egress.admits(&config.key.namespace, host))
    }

    /// The objects that a resource is made from, as its name tells: those of its host; of what belongs to no
    /// host, the Sidecar object.
    pub fn sources(&self, index: &MeshIndex, kind: ResourceType, name: &str) -> BTreeSet<ConfigKey> {
        let host = match kind {
            ResourceType::VirtualHost => host_of(name),
            ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Listener | ResourceType::Route => {
                name.parse::<ClusterName>().ok().and_then(|cluster| cluster.host)
            }
            ResourceType::Secret => None,
        };
        let Some(host) = host else { return self.key.sidecar.iter().cloned().collect() };
        let service = self.select(index, &host);
        let policy = || service.and_then(|service| index.rule_for(service, &self.key.namespace));
        let rule = match kind {
            ResourceType::Cluster => policy(),
            ResourceType::Route | ResourceType::VirtualHost => self.route_rule(index, &host),
            ResourceType::Endpoint | ResourceType::Listener | ResourceType::Secret => None,
        };
        let services = service.map(|service| service.key.origin.clone());
        rule.map(|rule| rule.key.clone()).into_iter().chain(services).collect()
    }

    fn is_private(&self, config: &Config) -> bool {
        virtual_service(config).is_some_and(|spec| spec.export_to == ["."])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(hosts: &[&str]) -> Egress {
        let own: Arc<str> = "shop".into();
        Egress { patterns: hosts.iter().filter_map(|text| pattern(text, &own)).collect() }
    }

    #[test]
    fn patterns_admit_by_namespace_and_name() {
        let check = |patterns: &[&str], namespace: &str, host: &str, want: bool| {
            assert_eq!(
                egress(patterns).admits(namespace, &host.parse().unwrap()),
                want,
                "{patterns:?} {namespace}/{host}"
            );
        };
        check(&["./*"], "shop", "a.shop.svc", true);
        check(&["./*"], "bank", "a.bank.svc", false);
        check(&["*/*"], "bank", "a.bank.svc", true);
        check(&["bank/a.bank.svc"], "bank", "a.bank.svc", true);
        check(&["bank/a.bank.svc"], "bank", "b.bank.svc", false);
        check(&["*/*.example.com"], "x", "api.example.com", true);
        check(&["~/*"], "shop", "a.shop.svc", false);
        check(&["bank/a.example.com"], "bank", "*.example.com", true);
    }

    #[test]
    fn only_a_full_wildcard_is_everything() {
        assert!(egress(&["./*", "*/*"]).is_everything());
        assert!(!egress(&["*/*.example.com"]).is_everything());
        assert!(egress(&["*/*"]).namespaces().is_none());
        assert_eq!(egress(&["./*", "~/*"]).namespaces().unwrap().len(), 1);
    }
}
