//! What checks look up beside the object itself, and the notes of what that was.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::config::kubernetes::MeshConfig;
use rutter_api::{Config, ConfigKey, Hostname, Kind, Labels};

use super::facts::Facts;
use super::gateway_rule::GatewayRule;
use super::read::Read;
use crate::index::MeshIndex;
use crate::model::{Endpoint, ExportTo, Service, ServiceKey, with_default_export};
use crate::settings::MeshSettings;

/// The mesh around an object that is checked. Everything that a check learns of other objects comes from here.
pub(super) struct Surroundings<'a> {
    index: &'a MeshIndex,
    facts: &'a Facts,
    reads: RefCell<BTreeSet<Read>>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(index: &'a MeshIndex, facts: &'a Facts) -> Self {
        Self { index, facts, reads: RefCell::default() }
    }

    /// Returns what was looked at.
    pub(super) fn into_reads(self) -> BTreeSet<Read> {
        self.reads.into_inner()
    }

    fn note(&self, read: Read) {
        self.reads.borrow_mut().insert(read);
    }

    /// Returns the settings of the mesh, which do not change.
    pub(super) fn settings(&self) -> &'a MeshSettings {
        self.index.settings()
    }

    /// Returns the mesh config. A change of it checks every object again.
    pub(super) fn mesh(&self) -> Option<&'a MeshConfig> {
        self.index.mesh()
    }

    /// Returns whether Pods or clients are known. Otherwise nothing can be said of what selects none.
    pub(super) fn knows_workloads(&self) -> bool {
        self.note(Read::AnyWorkload);
        !self.facts.pods.is_empty()
    }

    /// Returns whether Pods or clients of a namespace are known.
    pub(super) fn knows_workloads_of(&self, namespace: &Arc<str>) -> bool {
        self.note(Read::Workloads(namespace.clone()));
        self.facts.pods.contains_key(namespace)
    }

    /// Returns the label sets of the workloads of a namespace.
    pub(super) fn workloads_of(&self, namespace: &Arc<str>) -> impl Iterator<Item = &'a Labels> {
        self.note(Read::Workloads(namespace.clone()));
        self.facts.workloads.get(namespace).into_iter().flat_map(|sets| sets.keys())
    }

    /// Returns the label sets of all workloads, each with its namespace.
    pub(super) fn workloads(&self) -> impl Iterator<Item = (&'a Arc<str>, &'a Labels)> {
        self.note(Read::AllWorkloads);
        self.facts.workloads.iter().flat_map(|(namespace, sets)| sets.keys().map(move |labels| (namespace, labels)))
    }

    /// Returns the Sidecars of a namespace.
    pub(super) fn sidecars_of(&self, namespace: &Arc<str>) -> Vec<&'a Arc<Config>> {
        self.note(Read::Sidecars(namespace.clone()));
        let keys = self.facts.sidecars.get(namespace).into_iter().flatten();
        keys.filter_map(|key| self.index.written(key)).collect()
    }

    /// Returns all Gateways that somebody has written.
    pub(super) fn gateways(&self) -> impl Iterator<Item = &'a Arc<Config>> {
        self.note(Read::Gateways);
        self.index.of_kind(Kind::Gateway).filter(|config| !self.index.is_derived(&config.key))
    }

    /// Returns the Gateways of which some server shows a certificate.
    pub(super) fn gateways_with(&self, certificate: &str) -> impl Iterator<Item = &'a ConfigKey> {
        self.note(Read::Certificate(certificate.to_owned()));
        self.facts.certificates.get(certificate).into_iter().flatten()
    }

    /// Returns whether a Secret of one of some names is known in any namespace.
    pub(super) fn knows_secret(&self, names: &[ConfigKey]) -> bool {
        self.note(Read::Secrets);
        self.index.of_kind(Kind::Secret).any(|secret| names.iter().any(|key| key.name == secret.key.name))
    }

    /// Returns an object as it is written.
    pub(super) fn written(&self, key: &ConfigKey) -> Option<&'a Arc<Config>> {
        self.note(Read::Object(key.clone()));
        self.index.written(key)
    }

    /// Returns the full name of a host that an object of a namespace writes.
    pub(super) fn full_host(&self, host: &Hostname, namespace: &str) -> Hostname {
        host.resolve(namespace, &self.index.settings().domain)
    }

    /// Returns the full hosts that a VirtualService routes.
    pub(super) fn routed_hosts_of(&self, config: &Config) -> Vec<Hostname> {
        self.index.routed_hosts_of(config)
    }

    /// Returns the VirtualServices for sidecars that route a host.
    pub(super) fn routing(&self, host: &Hostname) -> impl Iterator<Item = &'a Arc<Config>> {
        self.note(Read::Routes(host.clone()));
        self.index.virtual_services_routing(host)
    }

    /// Returns the oldest VirtualService with a rule at a gateway.
    pub(super) fn first_with(&self, rule: &GatewayRule) -> Option<&'a ConfigKey> {
        self.note(Read::GatewayRule(Arc::new(rule.clone())));
        self.facts.gateway_rules.get(rule)?.first().map(|(_, key)| key)
    }

    /// Returns the VirtualServices that send to a host.
    pub(super) fn sending_to(&self, host: &Hostname) -> impl Iterator<Item = &'a Arc<Config>> {
        self.note(Read::SendsTo(host.clone()));
        self.index.virtual_services_sending_to(host)
    }

    /// Returns the DestinationRules about a host.
    pub(super) fn rules_about(&self, host: &Hostname) -> impl Iterator<Item = &'a Arc<Config>> {
        self.note(Read::Rules(host.clone()));
        self.index.destination_rules_about(host)
    }

    /// Returns whether some route leads to a subset.
    pub(super) fn is_subset_routed(&self, host: &Hostname, subset: &str) -> bool {
        let subset = (host.clone(), subset.to_owned());
        self.note(Read::Subset(Arc::new(subset.clone())));
        self.facts.routed_subsets.contains_key(&subset)
    }

    /// Returns the definitions of a host.
    pub(super) fn definitions(&self, host: &Hostname) -> &'a [Arc<Service>] {
        self.note(Read::Host(host.clone()));
        self.index.definitions(host)
    }

    /// Returns the definitions of a host that clients of a namespace may see.
    pub(super) fn services_seen(&self, host: &Hostname, namespace: &str) -> Vec<&'a Arc<Service>> {
        self.definitions(host).iter().filter(|service| service.export_to.reaches(namespace)).collect()
    }

    /// Returns one definition of a service, with the address that it was given.
    pub(super) fn addressed(&self, key: &ServiceKey) -> Option<&'a Arc<Service>> {
        self.note(Read::Host(key.host.clone()));
        Some(self.index.addressed(self.index.service(key)?))
    }

    /// Returns the hosts that a host covers.
    pub(super) fn covered_by(&self, host: &Hostname) -> Vec<Hostname> {
        self.note(Read::Hosts);
        self.index.covered_by(host).cloned().collect()
    }

    /// Returns the definitions of a host, and those of wildcards that cover it.
    pub(super) fn services_named(&self, host: &Hostname) -> Vec<&'a Arc<Service>> {
        self.note(Read::Wildcards);
        let wildcards = self.facts.wildcards.iter().filter(|known| known.covers(host));
        let by_wildcard = wildcards.flat_map(|wildcard| self.index.definitions(wildcard));
        self.definitions(host).iter().chain(by_wildcard).collect()
    }

    /// Returns the services of a namespace.
    pub(super) fn services_of(&self, namespace: &Arc<str>) -> impl Iterator<Item = &'a Arc<Service>> {
        self.note(Read::HostsOf(namespace.clone()));
        self.index.hosts_of_namespace(namespace).flat_map(|host| self.index.definitions(host))
    }

    /// Returns a service that clients of a namespace may see, and of which the host is a wildcard that covers a host.
    pub(super) fn wildcard_covering(&self, host: &Hostname, namespace: &str) -> Option<&'a Arc<Service>> {
        self.note(Read::Wildcards);
        let covering = self.facts.wildcards.iter().filter(|wildcard| wildcard.covers(host));
        let mut services = covering.flat_map(|wildcard| self.index.definitions(wildcard));
        services.find(|service| service.export_to.reaches(namespace))
    }

    /// Returns the endpoints of a service.
    pub(super) fn endpoints(&self, key: &ServiceKey) -> &'a [Endpoint] {
        self.note(Read::Endpoints(key.host.clone()));
        self.index.endpoints(key)
    }

    /// Returns the services that have a port for TCP, as they are addressed.
    pub(super) fn tcp_services_at(&self, port: u16) -> impl Iterator<Item = &'a Arc<Service>> {
        self.note(Read::TcpPort(port));
        let keys = self.facts.tcp_services.get(&port).into_iter().flatten();
        keys.filter_map(|key| Some(self.index.addressed(self.index.service(key)?)))
    }

    /// Returns the namespaces whose clients see an object, by what it says or by the mesh config.
    pub(super) fn export_of(&self, config: &Config) -> ExportTo {
        let exported = self.index.mesh().and_then(|mesh| with_default_export(config, mesh));
        ExportTo::of_config(exported.as_ref().unwrap_or(config))
    }
}

/// Returns whether some namespace sees two objects.
pub(super) fn meet(one: &ExportTo, other: &ExportTo) -> bool {
    match (one, other) {
        (ExportTo::All, _) | (_, ExportTo::All) => true,
        (ExportTo::Namespaces(names), other) => names.iter().any(|name| other.reaches(name)),
    }
}
