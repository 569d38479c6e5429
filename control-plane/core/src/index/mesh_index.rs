//! The index as a whole: batches go in, and what they changed comes out.

mod endpoints;
mod mesh_config;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::ServiceEntry;
use rutter_api::config::kubernetes::MeshConfig;
use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname, Kind, Labels};

use super::address_pool::{AddressPool, Given};
use super::delta::{ChangedDestinationRule, IndexDelta};
use super::destination_rules::{self, DestinationRuleIndex, RuleGroup};
use super::endpoints::{EndpointIndex, service_key_of_slice};
use super::exports::Exports;
use super::host_suffixes::HostSuffixes;
use super::label_sets::LabelSets;
use super::localities::LocalityIndex;
use super::objects::Objects;
use super::services::ServiceIndex;
use super::virtual_services::{self, VirtualServiceIndex};
use super::workloads::WorkloadIndex;
use crate::copy_on_write::CopyOnWrite;
use crate::debounce::{ConfigBatch, ConfigChange};
use crate::model::{
    Endpoint, LocalityNeeds, MeshDefaults, Service, ServiceKey, services_of, shapes_routes, with_delegates,
};
use crate::settings::MeshSettings;

/// Every object of the mesh, and the lookups that the engine needs. Its clones share what is not written since.
#[derive(Debug, Default, Clone)]
pub struct MeshIndex {
    settings: MeshSettings,
    objects: CopyOnWrite<Objects>,
    services: CopyOnWrite<ServiceIndex>,
    address_pool: CopyOnWrite<AddressPool>,
    workloads: CopyOnWrite<WorkloadIndex>,
    endpoints: CopyOnWrite<EndpointIndex>,
    virtual_services: CopyOnWrite<VirtualServiceIndex>,
    destination_rules: CopyOnWrite<DestinationRuleIndex>,
    /// The label sets by which DestinationRules of a namespace choose clients of it.
    rule_labels: CopyOnWrite<BTreeMap<Arc<str>, LabelSets>>,
    localities: CopyOnWrite<LocalityIndex>,
    exports: CopyOnWrite<Exports>,
    /// The mesh config of the root namespace, as it was when it last said something else of the mesh.
    mesh_config: Option<Arc<Config>>,
    mesh_defaults: MeshDefaults,
    /// The objects that nobody has written: those that Ingresses mean.
    derived: CopyOnWrite<BTreeSet<ConfigKey>>,
    /// The objects that are taken with an `exportTo` of the mesh config, as they are written.
    without_export: CopyOnWrite<BTreeMap<ConfigKey, Arc<Config>>>,
    host_suffixes: CopyOnWrite<HostSuffixes>,
}

/// One object before and after a change. `None` means that it does not exist.
struct Replacement<'a> {
    old: Option<&'a Arc<Config>>,
    new: Option<&'a Arc<Config>>,
}

impl<'a> Replacement<'a> {
    /// Returns the object as it was and as it is, as far as it exists.
    fn both(&self) -> impl Iterator<Item = &'a Arc<Config>> {
        self.old.into_iter().chain(self.new)
    }
}

/// What a batch comes to while it is taken in.
#[derive(Default)]
struct Progress {
    delta: IndexDelta,
    /// The services whose endpoints have to be collected again.
    stale: BTreeSet<ServiceKey>,
}

impl MeshIndex {
    /// Returns the index of a mesh without objects.
    pub fn new(settings: MeshSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes a batch in and returns what it changed. An object that is written as it was changes nothing. The cost
    /// follows the batch and what refers to its objects.
    pub fn apply(&mut self, batch: &ConfigBatch) -> IndexDelta {
        let mut progress = Progress::default();
        for (key, change) in &batch.changes {
            let new = match change {
                ConfigChange::Put(config) => Some(config),
                ConfigChange::Delete => None,
            };
            if self.written(key) != new {
                let old = self.taken(key).cloned();
                self.without_export.remove(key);
                let new = new.map(|written| self.with_export(written));
                self.replace(key, &Replacement { old: old.as_ref(), new: new.as_ref() }, &mut progress);
            }
        }
        for service in progress.stale {
            self.collect_endpoints_again(&service, &mut progress.delta);
        }
        progress.delta
    }

    fn replace(&mut self, key: &ConfigKey, replacement: &Replacement<'_>, progress: &mut Progress) {
        if key.kind == Kind::VirtualService {
            return self.replace_virtual_service(key, replacement.new, &mut progress.delta);
        }
        if key.kind == Kind::DestinationRule {
            return self.replace_destination_rule(key, replacement, &mut progress.delta);
        }
        self.replace_object(key, replacement);
        match key.kind {
            Kind::Namespace | Kind::WorkloadGroup | Kind::VirtualService | Kind::DestinationRule => {}
            Kind::Service | Kind::ServiceEntry => self.replace_services(replacement, progress),
            Kind::EndpointSlice => self.replace_slice(replacement, progress),
            Kind::WorkloadEntry => self.replace_workload(replacement, progress),
            Kind::Pod => self.replace_pod(replacement, progress),
            Kind::ConfigMap => self.read_mesh_config(progress),
            Kind::Ingress => self.replace_ingress(replacement, progress),
            Kind::Secret => drop(progress.delta.secrets.insert(key.clone())),
            Kind::Gateway => drop(progress.delta.gateways.insert(key.clone())),
            Kind::Sidecar => drop(progress.delta.sidecars.insert(key.clone())),
        }
    }

    fn replace_object(&mut self, key: &ConfigKey, replacement: &Replacement<'_>) {
        if let Some(old) = replacement.old {
            self.exports.remove(old);
        }
        match replacement.new {
            Some(new) => {
                self.exports.insert(new);
                self.objects.insert(new.clone());
            }
            None => self.objects.remove(key),
        }
    }

    fn replace_services(&mut self, replacement: &Replacement<'_>, progress: &mut Progress) {
        let old = self.services_of(replacement.old);
        let new = self.services_of(replacement.new);
        for service in old.iter().filter(|old| !new.iter().any(|new| new.key == old.key)) {
            self.remove_service(service, &mut progress.delta);
            progress.stale.insert(service.key.clone());
        }
        for service in new {
            progress.stale.insert(service.key.clone());
            let previous = old.iter().find(|old| old.key == service.key);
            if previous == Some(&service) {
                continue;
            }
            if let Some(previous) = previous {
                self.remove_service(previous, &mut progress.delta);
            }
            self.insert_service(service, &mut progress.delta);
        }
    }

    fn services_of(&self, config: Option<&Arc<Config>>) -> Vec<Service> {
        config.map(|config| services_of(config, &self.settings.domain)).unwrap_or_default()
    }

    fn insert_service(&mut self, service: Service, delta: &mut IndexDelta) {
        delta.locality_needs |= self.localities.replace_service(None, Some(&service));
        let service = Arc::new(service);
        self.note_service(&service, delta);
        self.workloads.insert_service(&service);
        let host = service.key.host.clone();
        self.services.insert(service.clone());
        if service.wants_address {
            let given = self.address_pool.insert(&service);
            self.give_addresses(given, delta);
        }
        self.note_host(&host);
    }

    /// Takes over which addresses services were given that have none.
    fn give_addresses(&mut self, given: Vec<Given>, delta: &mut IndexDelta) {
        for (key, address) in given {
            if let Some(service) = self.services.give_address(&key, address) {
                delta.services.entry(key.host).or_default().push(service);
            }
        }
    }

    fn remove_service(&mut self, service: &Service, delta: &mut IndexDelta) {
        let Some(removed) = self.services.remove(&service.key) else { return };
        if removed.wants_address {
            let given = self.address_pool.remove(&removed);
            self.give_addresses(given, delta);
        }
        delta.locality_needs |= self.localities.replace_service(Some(&removed), None);
        self.note_host(&service.key.host);
        self.note_service(&removed, delta);
        self.workloads.remove_service(&removed);
    }

    fn note_service(&self, service: &Arc<Service>, delta: &mut IndexDelta) {
        delta.services.entry(service.key.host.clone()).or_default().push(service.clone());
        delta.addresses.extend(self.endpoints.get(&service.key).iter().filter_map(Endpoint::ip));
    }

    /// Keeps the known hosts up to date after a host came, or may have gone.
    fn note_host(&mut self, host: &Hostname) {
        let is_routed = !host.is_wildcard() && self.virtual_services.routes(host);
        if is_routed || !self.services.definitions(host).is_empty() {
            self.host_suffixes.insert(host);
        } else {
            self.host_suffixes.remove(host);
        }
    }

    /// Takes a VirtualService over, and with it those that delegate to it.
    fn replace_virtual_service(&mut self, key: &ConfigKey, written: Option<&Arc<Config>>, delta: &mut IndexDelta) {
        self.virtual_services.note_delegates(key, written);
        self.put_virtual_service(key, written, delta);
        for root in self.virtual_services.delegating_to(key) {
            if root.key != *key {
                self.put_virtual_service(&root.key, Some(&root), delta);
            }
        }
    }

    /// Takes a VirtualService over as it is written, with the routes of its delegates in it.
    fn put_virtual_service(&mut self, key: &ConfigKey, written: Option<&Arc<Config>>, delta: &mut IndexDelta) {
        let old = self.objects.get(key).cloned();
        let new = written.map(|written| with_delegates(written, |delegate| self.objects.get(delegate)));
        if old == new {
            return;
        }
        let replacement = Replacement { old: old.as_ref(), new: new.as_ref() };
        self.replace_object(key, &replacement);
        if let Some(old) = replacement.old {
            self.virtual_services.remove(old, &self.settings.domain, delta);
        }
        if let Some(new) = replacement.new {
            self.virtual_services.insert(new, &self.settings.domain, delta);
        }
        for config in replacement.both() {
            self.routed_hosts_of(config).iter().for_each(|host| self.note_host(host));
            delta.virtual_services.push(config.clone());
        }
    }

    /// Takes a DestinationRule over, and with it what the rules of its group come to.
    fn replace_destination_rule(&mut self, key: &ConfigKey, replacement: &Replacement<'_>, delta: &mut IndexDelta) {
        let needs = self.localities.needs().clone();
        if let Some(labels) = replacement.old.and_then(|old| destination_rules::workload_labels(old)) {
            self.rule_labels.entry(key.namespace.clone()).or_default().remove(labels, delta);
        }
        if let Some(labels) = replacement.new.and_then(|new| destination_rules::workload_labels(new)) {
            self.rule_labels.entry(key.namespace.clone()).or_default().add(labels, delta);
        }
        let domain = self.settings.domain.clone();
        let groups: BTreeSet<RuleGroup> =
            replacement.both().filter_map(|config| RuleGroup::of(config, &domain)).collect();
        for group in &groups {
            if let Some(merged) = self.destination_rules.merged(group) {
                self.localities.replace_rule(Some(&merged), None);
                self.destination_rules.hide(group, &merged);
                self.note_destination_rule(&merged, delta);
            }
        }
        self.replace_object(key, replacement);
        if let Some(config) = replacement.old {
            RuleGroup::of(config, &domain).iter().for_each(|group| self.destination_rules.remove(group, config));
        }
        if let Some(config) = replacement.new {
            RuleGroup::of(config, &domain).iter().for_each(|group| self.destination_rules.insert(group, config));
        }
        for group in &groups {
            let written: Vec<Arc<Config>> = self.destination_rules.written(group).cloned().collect();
            written.into_iter().for_each(|config| self.objects.insert(config));
            if let Some(merged) = self.destination_rules.merged(group) {
                self.localities.replace_rule(None, Some(&merged));
                self.destination_rules.show(group, &merged);
                self.note_destination_rule(&merged, delta);
                self.objects.insert(merged);
            }
        }
        delta.locality_needs |= needs != *self.localities.needs();
    }

    fn note_destination_rule(&self, config: &Config, delta: &mut IndexDelta) {
        if let Some(host) = self.destination_rule_host(config) {
            let namespace = config.key.namespace.clone();
            let shapes_routes = config.spec.as_destination_rule().is_some_and(shapes_routes);
            delta.destination_rules.insert(ChangedDestinationRule { host, namespace, shapes_routes });
        }
    }
}

/// Lookups, none of which costs more than what it returns.
impl MeshIndex {
    /// Returns the settings of the mesh.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// Returns a service as clients see it that can learn the address which it was given because it has none.
    pub fn addressed<'a>(&'a self, service: &'a Arc<Service>) -> &'a Arc<Service> {
        self.services.addressed(service)
    }

    /// Returns the hosts of an object that were given an address because they have none, each with it.
    pub fn given_addresses(&self, key: &ConfigKey) -> Vec<(Hostname, IpAddr)> {
        let entry = self.config(key).and_then(|config| config.spec.as_service_entry());
        let hosts = entry.into_iter().flat_map(ServiceEntry::distinct_hosts);
        let given = hosts.filter_map(|host| {
            let service = self.services.get(&ServiceKey { host: host.clone(), origin: key.clone() })?;
            let address = self.services.addressed(service).addresses.first().filter(|_| service.wants_address)?;
            Some((host.clone(), *address))
        });
        given.collect()
    }

    /// Returns what holds for hosts of which nothing else says it.
    pub fn mesh_defaults(&self) -> &MeshDefaults {
        &self.mesh_defaults
    }

    /// Returns what the mesh config says. `None` means that there is none.
    pub fn mesh(&self) -> Option<&MeshConfig> {
        self.mesh_config.as_ref()?.spec.as_mesh_config()
    }

    /// Returns what has to be known of the places of clients.
    pub fn locality_needs(&self) -> &LocalityNeeds {
        self.localities.needs()
    }

    /// Returns an object as it is written, or `None` if there is no such object.
    pub fn written(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        let config = self.objects.get(key)?;
        Some(self.as_written(config))
    }

    /// Returns an object as it was taken, without what other objects of its kind add to it.
    fn taken(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        Some(self.as_taken(self.objects.get(key)?))
    }

    /// Returns an object as it is written, without what others add to it.
    fn as_written<'a>(&'a self, config: &'a Arc<Config>) -> &'a Arc<Config> {
        self.without_export.get(&config.key).unwrap_or_else(|| self.as_taken(config))
    }

    fn as_taken<'a>(&'a self, config: &'a Arc<Config>) -> &'a Arc<Config> {
        match config.key.kind {
            Kind::VirtualService => self.virtual_services.delegating(&config.key).unwrap_or(config),
            Kind::DestinationRule => {
                let group = RuleGroup::of(config, &self.settings.domain);
                let written = group
                    .and_then(|group| self.destination_rules.written(&group).find(|written| written.key == config.key));
                written.unwrap_or(config)
            }
            Kind::Namespace
            | Kind::Service
            | Kind::Pod
            | Kind::EndpointSlice
            | Kind::ServiceEntry
            | Kind::WorkloadGroup
            | Kind::WorkloadEntry
            | Kind::Secret
            | Kind::Ingress
            | Kind::ConfigMap
            | Kind::Gateway
            | Kind::Sidecar => config,
        }
    }

    /// Returns the object of a key, or `None` if there is no such object. A VirtualService has the routes of its
    /// delegates in it, and the oldest of several DestinationRules about one host what the others add; every lookup
    /// returns them so.
    pub fn config(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        self.objects.get(key)
    }

    /// Returns every object as it is written, in the order of the keys.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        let written = self.objects.iter().filter(|config| !self.derived.contains(&config.key));
        written.map(|config| self.as_written(config))
    }

    /// Returns an object that is to be written with the age that it will have: that of the one which is there, or else its own. Without
    /// either it is younger than all others.
    pub fn aged(&self, config: &Arc<Config>) -> Arc<Config> {
        let known = self.written(&config.key).map(|known| known.created);
        let own = Some(config.created).filter(|created| *created != CreationTimestamp::default());
        let created = known.or(own).unwrap_or(CreationTimestamp::YOUNGEST);
        match created == config.created {
            true => config.clone(),
            false => Arc::new(Config { created, ..(**config).clone() }),
        }
    }

    /// Returns whether nobody has written an object: an Ingress means it.
    pub fn is_derived(&self, key: &ConfigKey) -> bool {
        self.derived.contains(key)
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.objects.len() - self.derived.len()
    }

    /// Returns whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.len() == 0
    }

    /// Returns the objects of a kind in a namespace.
    pub fn of_namespace<'a>(&'a self, kind: Kind, namespace: &'a Arc<str>) -> impl Iterator<Item = &'a Arc<Config>> {
        self.objects.of_namespace(kind, namespace)
    }

    /// Returns the objects of a kind in every namespace.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Config>> {
        self.objects.of_kind(kind)
    }

    /// Returns the objects whose `exportTo` names a namespace.
    pub fn exported_to(&self, namespace: &str) -> impl Iterator<Item = &Arc<Config>> {
        self.exports.to(namespace).filter_map(|key| self.objects.get(key))
    }

    /// Returns one definition of a service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Returns every definition of a host.
    pub fn definitions(&self, host: &Hostname) -> &[Arc<Service>] {
        self.services.definitions(host)
    }

    /// Returns the known hosts, those of services and of VirtualServices, that a host covers. The host itself may be
    /// a wildcard.
    pub fn covered_by<'a>(&'a self, host: &'a Hostname) -> impl Iterator<Item = &'a Hostname> {
        self.host_suffixes.covered_by(host)
    }

    /// Returns the hosts of services with a virtual address.
    pub fn hosts_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Hostname> {
        self.services.hosts_at(ip)
    }

    /// Returns every host that some service has.
    pub fn hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.services.hosts()
    }

    /// Returns the hosts of services that objects of a namespace define.
    pub fn hosts_of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Hostname> {
        self.services.hosts_of_namespace(namespace)
    }

    /// Returns the hosts that an object defines, whether or not it is in the index.
    pub fn hosts_defined_by(&self, config: &Config) -> Vec<Hostname> {
        services_of(config, &self.settings.domain).into_iter().map(|service| service.key.host).collect()
    }

    /// Returns the endpoints of a service. Services without endpoints share one empty list.
    pub fn endpoints(&self, key: &ServiceKey) -> &Arc<Vec<Endpoint>> {
        self.endpoints.get(key)
    }

    /// Returns the services that have an endpoint at an address.
    pub fn services_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.endpoints.services_at(ip).iter().filter_map(|key| self.services.get(key))
    }

    /// Returns the service whose endpoints an EndpointSlice holds. `None` means that it names no service.
    pub fn service_of_slice(&self, config: &Config) -> Option<ServiceKey> {
        service_key_of_slice(config, &self.settings.domain)
    }

    /// Returns the definition of a Kubernetes service and its EndpointSlices.
    pub fn objects_of_service(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<Config>> {
        let slices = self.endpoints.slices_of(&service.origin).filter_map(|key| self.objects.get(key));
        self.objects.get(&service.origin).into_iter().chain(slices)
    }

    /// Returns the full hosts that a VirtualService routes.
    pub fn routed_hosts_of(&self, config: &Config) -> Vec<Hostname> {
        virtual_services::routed_hosts(config, &self.settings.domain)
    }

    /// Returns the full hosts that a VirtualService sends to.
    pub fn destinations_of(&self, config: &Config) -> BTreeSet<Hostname> {
        virtual_services::destinations(config, &self.settings.domain)
    }

    /// Returns every host, wildcards included, that some VirtualService for sidecars routes.
    pub fn routed_hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.virtual_services.routed_hosts()
    }

    /// Returns the VirtualServices for sidecars that route a host by its name or by a wildcard: the most specific first, and of
    /// equally specific ones the oldest first. Whether a client sees them is decided by its `Viewpoint`.
    pub fn virtual_services_routing(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services.routing(host).filter_map(|key| self.objects.get(key))
    }

    /// Returns the VirtualServices for gateways that route a host by its name or by a wildcard. Whether a gateway takes
    /// the host is decided by its servers.
    pub fn virtual_services_at_gateways(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services.bound(host).filter_map(|key| self.objects.get(key))
    }

    /// Returns the VirtualServices that are bound to a Gateway object.
    pub fn virtual_services_bound_to(&self, gateway: &ConfigKey) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services.bound_to(gateway).filter_map(|key| self.objects.get(key))
    }

    /// Returns the VirtualServices that send to a host.
    pub fn virtual_services_sending_to(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services.sending_to(host).filter_map(|key| self.objects.get(key))
    }

    /// Returns the VirtualServices with a condition for clients of a namespace.
    pub fn virtual_services_for_clients_of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services.for_clients_of(namespace).filter_map(|key| self.objects.get(key))
    }

    /// Returns the label sets by which conditions of VirtualServices, and DestinationRules of a namespace, choose clients of
    /// that namespace.
    pub fn source_labels(&self, namespace: &str) -> impl Iterator<Item = &Labels> {
        let of_rules = self.rule_labels.get(namespace).into_iter().flat_map(LabelSets::iter);
        self.virtual_services.source_labels().chain(of_rules)
    }

    /// Returns the DestinationRules about a host or about a wildcard that covers it: the most specific first, and of
    /// equally specific ones the oldest first. Which of them applies to a client is decided by its `Viewpoint`.
    pub fn destination_rules_about(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        self.destination_rules.about(host).filter_map(|key| self.objects.get(key))
    }

    /// Returns whether routes to a host depend on some DestinationRule about it.
    pub fn has_route_shaping_rule(&self, host: &Hostname) -> bool {
        self.destination_rules.some_shape_routes()
            && self.destination_rules_about(host).any(|rule| rule.spec.as_destination_rule().is_some_and(shapes_routes))
    }

    /// Returns the DestinationRules as they are written that are one rule together with another, in the order of their age. That
    /// one is among them.
    pub fn destination_rules_with<'a>(&'a self, config: &Config) -> impl Iterator<Item = &'a Arc<Config>> + use<'a> {
        let group = RuleGroup::of(config, &self.settings.domain);
        group.into_iter().flat_map(|group| self.destination_rules.written(&group).collect::<Vec<_>>())
    }

    /// Returns the full host of a DestinationRule.
    pub fn destination_rule_host(&self, config: &Config) -> Option<Hostname> {
        destination_rules::rule_host(config, &self.settings.domain)
    }
}
