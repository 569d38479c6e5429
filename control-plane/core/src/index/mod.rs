//! The mesh as it is configured: what is where, and what a change of one object alters.

mod endpoint;
mod service;
mod special;
mod urgency;
mod weight;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::{DestinationRule, Sidecar, VirtualService};
use rutter_api::{Config, ConfigKey, Hostname, Kind, Spec};

use crate::debounce::{ConfigBatch, ConfigChange};
use crate::edges::unlink;
pub use endpoint::Endpoint;
pub use service::{ExportTo, Protocol, Service, ServiceKey, ServicePort};
pub use weight::check_routes;

/// What is the same for the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Its Sidecar and DestinationRule objects are defaults for every namespace.
    pub root_namespace: Arc<str>,
    /// The suffix of Kubernetes' service names.
    pub domain: String,
    /// Every sidecar is sent whole route tables, even where it takes virtual hosts one by one.
    pub whole_route_tables: bool,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self { root_namespace: "istio-system".into(), domain: "cluster.local".into(), whole_route_tables: false }
    }
}

/// The objects whose value a batch changed, and what follows from them directly.
#[derive(Debug, Default)]
pub struct IndexDelta {
    /// Hosts of which some definition changed, with every definition of before and after.
    pub services: BTreeMap<Hostname, Vec<Arc<Service>>>,
    /// Services whose endpoints changed.
    pub endpoints: BTreeSet<ServiceKey>,
    /// Addresses that became or ceased to be an endpoint, or whose service changed.
    pub addresses: BTreeSet<IpAddr>,
    /// Hosts (perhaps wildcards) that a DestinationRule of a namespace is about.
    pub rules: BTreeSet<(Hostname, Arc<str>)>,
    /// VirtualService objects, before and after.
    pub virtual_services: Vec<Arc<Config>>,
    /// Sidecar objects.
    pub sidecars: BTreeSet<ConfigKey>,
}

/// Every object, and the lookups that scopes need.
#[derive(Debug, Default)]
pub struct MeshIndex {
    settings: MeshSettings,
    configs: BTreeMap<ConfigKey, Arc<Config>>,
    /// The definitions of each host, nearly always one, by their origins.
    services: BTreeMap<Hostname, Vec<Arc<Service>>>,
    hosts_of_namespace: HashMap<Arc<str>, BTreeMap<Hostname, usize>>,
    /// Every host of a service or a VirtualService, ordered from its end, for wildcards.
    suffixes: BTreeMap<Box<[u8]>, Hostname>,
    /// Hosts by virtual address.
    hosts_at: HashMap<IpAddr, BTreeSet<Hostname>>,
    /// Services that select workloads, by their namespace and the first label that they want.
    selecting: HashMap<Label, BTreeSet<ServiceKey>>,
    /// WorkloadEntry objects by namespace and each of their labels.
    workloads: HashMap<Label, BTreeSet<ConfigKey>>,
    /// Objects by the namespaces that their `exportTo` names.
    exported_to: HashMap<Arc<str>, BTreeSet<ConfigKey>>,
    endpoints: HashMap<ServiceKey, Arc<Vec<Endpoint>>>,
    /// One empty list for all: pieces made from it are told apart by its address.
    no_endpoints: Arc<Vec<Endpoint>>,
    slices: HashMap<(Arc<str>, String), BTreeSet<ConfigKey>>,
    /// Services by the addresses of their endpoints. Those of one service, nearly always, share one list.
    own_services: HashMap<IpAddr, Arc<[ServiceKey]>>,
    rules: BTreeMap<Hostname, Keys>,
    virtual_services: BTreeMap<Hostname, Keys>,
    virtual_services_to: BTreeMap<Hostname, Keys>,
}

/// A label in a namespace: the namespace, the key, the value.
type Label = (Arc<str>, String, String);

/// Objects about one host, the oldest first.
type Keys = BTreeSet<(u64, ConfigKey)>;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl MeshIndex {
    /// An empty mesh.
    pub fn new(settings: MeshSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes a batch in and says what it changed; an object that is written as it was changes nothing.
    pub fn apply(&mut self, batch: &ConfigBatch) -> IndexDelta {
        let mut delta = IndexDelta::default();
        let mut stale = BTreeSet::new();
        for (key, change) in &batch.changes {
            let old = self.configs.get(key).cloned();
            let new = match change {
                ConfigChange::Put(config) => Some(config.clone()),
                ConfigChange::Delete => None,
            };
            if old != new {
                self.replace(key, (old, new), &mut delta, &mut stale);
            }
        }
        for service in stale {
            self.rebuild_endpoints(&service, &mut delta);
        }
        delta
    }

    fn replace(
        &mut self,
        key: &ConfigKey,
        (old, new): (Option<Arc<Config>>, Option<Arc<Config>>),
        delta: &mut IndexDelta,
        stale: &mut BTreeSet<ServiceKey>,
    ) {
        match &new {
            Some(config) => self.configs.insert(key.clone(), config.clone()),
            None => self.configs.remove(key),
        };
        old.iter().for_each(|config| self.link_exports(config, false));
        new.iter().for_each(|config| self.link_exports(config, true));
        let both = || old.iter().chain(&new);
        match key.kind {
            Kind::Namespace => {}
            Kind::Service | Kind::ServiceEntry => self.replace_services((old, new), delta, stale),
            Kind::EndpointSlice => {
                old.iter().for_each(|config| self.link_slice(config, false));
                new.iter().for_each(|config| self.link_slice(config, true));
                stale.extend(both().filter_map(|config| self.service_of_slice(config)));
            }
            Kind::WorkloadEntry => {
                old.iter().for_each(|config| self.link_workload(config, false));
                new.iter().for_each(|config| self.link_workload(config, true));
                for config in both() {
                    stale.extend(self.services_selecting(config));
                }
            }
            Kind::VirtualService => {
                old.iter().for_each(|config| self.link_virtual_service(config, false));
                new.iter().for_each(|config| self.link_virtual_service(config, true));
                delta.virtual_services.extend(both().cloned());
            }
            Kind::DestinationRule => {
                old.iter().for_each(|config| self.link_rule(config, false));
                new.iter().for_each(|config| self.link_rule(config, true));
                delta.rules.extend(both().filter_map(|config| Some((self.rule_host(config)?, key.namespace.clone()))));
            }
            Kind::Sidecar => {
                delta.sidecars.insert(key.clone());
            }
        }
    }

    fn replace_services(
        &mut self,
        (old, new): (Option<Arc<Config>>, Option<Arc<Config>>),
        delta: &mut IndexDelta,
        stale: &mut BTreeSet<ServiceKey>,
    ) {
        let domain = self.settings.domain.clone();
        let of = |config: &Option<Arc<Config>>| {
            config.iter().flat_map(|c| service::services_of(c, &domain)).collect::<Vec<_>>()
        };
        let (old, new) = (of(&old), of(&new));
        for service in old.iter().filter(|old| !new.iter().any(|new| new.key == old.key)) {
            self.remove_service(service, delta);
            stale.insert(service.key.clone());
        }
        for service in new {
            stale.insert(service.key.clone());
            let before = old.iter().find(|old| old.key == service.key);
            if before == Some(&service) {
                continue;
            }
            before.into_iter().for_each(|before| self.remove_service(before, delta));
            self.insert_service(service, delta);
        }
    }

    fn insert_service(&mut self, service: Service, delta: &mut IndexDelta) {
        let service = Arc::new(service);
        let key = service.key.clone();
        self.note_service(&service, delta);
        *self
            .hosts_of_namespace
            .entry(service.namespace().clone())
            .or_default()
            .entry(key.host.clone())
            .or_default() += 1;
        if let Some(label) = first_label(&service) {
            self.selecting.entry(label).or_default().insert(key.clone());
        }
        for ip in &service.addresses {
            self.hosts_at.entry(*ip).or_default().insert(key.host.clone());
        }
        let definitions = self.services.entry(key.host.clone()).or_insert_with(|| Vec::with_capacity(1));
        match definitions.binary_search_by_key(&&key.origin, |one| &one.key.origin) {
            Ok(at) => definitions[at] = service,
            Err(at) => definitions.insert(at, service),
        }
        self.note_host(&key.host);
    }

    fn remove_service(&mut self, service: &Service, delta: &mut IndexDelta) {
        let key = &service.key;
        let Some(definitions) = self.services.get_mut(&key.host) else { return };
        let Ok(at) = definitions.binary_search_by_key(&&key.origin, |one| &one.key.origin) else { return };
        let removed = definitions.remove(at);
        for ip in &removed.addresses {
            if !definitions.iter().any(|other| other.addresses.contains(ip)) {
                unlink(&mut self.hosts_at, ip, key.host.clone());
            }
        }
        if definitions.is_empty() {
            self.services.remove(&key.host);
            self.note_host(&key.host);
        }
        self.note_service(&removed, delta);
        if let Some(hosts) = self.hosts_of_namespace.get_mut(service.namespace()) {
            let left = hosts.remove(&key.host).unwrap_or_default();
            if left > 1 {
                hosts.insert(key.host.clone(), left - 1);
            }
        }
        if let Some(label) = first_label(&removed) {
            unlink(&mut self.selecting, &label, key.clone());
        }
    }

    /// A host came, or may have gone.
    fn note_host(&mut self, host: &Hostname) {
        let is_routed = !host.is_wildcard() && self.virtual_services.contains_key(host);
        if self.services.contains_key(host) || is_routed {
            self.suffixes.entry(reversed(host)).or_insert_with(|| host.clone());
        } else {
            self.suffixes.remove(&reversed(host));
        }
    }

    fn note_service(&self, service: &Arc<Service>, delta: &mut IndexDelta) {
        delta.services.entry(service.key.host.clone()).or_default().push(service.clone());
        let endpoints = self.endpoints(&service.key);
        delta.addresses.extend(endpoints.iter().filter_map(Endpoint::ip));
    }

    fn link_slice(&mut self, config: &Arc<Config>, add: bool) {
        let Some(name) = config.labels.get(SERVICE_NAME) else { return };
        let slices = self.slices.entry((config.key.namespace.clone(), name.to_owned())).or_default();
        if add {
            slices.insert(config.key.clone());
        } else {
            slices.remove(&config.key);
        }
    }

    fn service_of_slice(&self, config: &Config) -> Option<ServiceKey> {
        let name = config.labels.get(SERVICE_NAME)?;
        let origin = ConfigKey::new(Kind::Service, &config.key.namespace, name);
        let host = Hostname::kubernetes(name, &config.key.namespace, &self.settings.domain);
        Some(ServiceKey { host, origin })
    }

    fn services_selecting(&self, workload: &Config) -> Vec<ServiceKey> {
        let Spec::WorkloadEntry(entry) = &workload.spec else { return Vec::new() };
        let labels = entry.labels.iter().map(|(key, value)| label(&workload.key.namespace, (key, value)));
        let keys = labels.filter_map(|label| self.selecting.get(&label)).flatten();
        let selects_it = |key: &&ServiceKey| {
            let selector = self.service(key).and_then(|service| service.selector.as_ref());
            selector.is_some_and(|selector| selector.selects(&entry.labels))
        };
        keys.filter(selects_it).cloned().collect()
    }

    fn link_workload(&mut self, config: &Config, add: bool) {
        let Spec::WorkloadEntry(entry) = &config.spec else { return };
        for (key, value) in entry.labels.iter() {
            let label = label(&config.key.namespace, (key, value));
            if add {
                self.workloads.entry(label).or_default().insert(config.key.clone());
            } else {
                unlink(&mut self.workloads, &label, config.key.clone());
            }
        }
    }

    fn link_exports(&mut self, config: &Config, add: bool) {
        let ExportTo::Namespaces(names) = ExportTo::of(config) else { return };
        for name in names {
            if add {
                self.exported_to.entry(name).or_default().insert(config.key.clone());
            } else {
                unlink(&mut self.exported_to, &name, config.key.clone());
            }
        }
    }

    fn link_virtual_service(&mut self, config: &Arc<Config>, add: bool) {
        for host in self.virtual_service_hosts(config) {
            link(&mut self.virtual_services, host.clone(), config, add);
            self.note_host(&host);
        }
        for host in self.destinations(config) {
            link(&mut self.virtual_services_to, host, config, add);
        }
    }

    fn link_rule(&mut self, config: &Arc<Config>, add: bool) {
        if let Some(host) = self.rule_host(config) {
            link(&mut self.rules, host, config, add);
        }
    }

    fn rebuild_endpoints(&mut self, key: &ServiceKey, delta: &mut IndexDelta) {
        let new = self.service(key).map(|service| self.collect_endpoints(service)).unwrap_or_default();
        let old = self.endpoints(key);
        if *old == new {
            return;
        }
        let ips = |endpoints: &[Endpoint]| endpoints.iter().filter_map(Endpoint::ip).collect::<BTreeSet<_>>();
        let (old_ips, new_ips) = (ips(&old), ips(&new));
        let alone = old_ips.iter().filter_map(|ip| self.own_services.get(ip)).find(|services| services.len() == 1);
        let alone = alone.cloned().unwrap_or_else(|| [key.clone()].into());
        for ip in old_ips.difference(&new_ips) {
            let Some(services) = self.own_services.remove(ip) else { continue };
            let others: Vec<ServiceKey> = services.iter().filter(|other| *other != key).cloned().collect();
            if !others.is_empty() {
                self.own_services.insert(*ip, others.into());
            }
        }
        for ip in new_ips.difference(&old_ips) {
            let services = self.own_services.entry(*ip).or_insert_with(|| alone.clone());
            if !services.contains(key) {
                *services = services.iter().chain([key]).cloned().collect();
            }
        }
        // Both are sorted.
        let gone = old.iter().filter(|endpoint| new.binary_search(endpoint).is_err());
        let come = new.iter().filter(|endpoint| old.binary_search(endpoint).is_err());
        let changed = gone.chain(come);
        delta.addresses.extend(changed.filter_map(Endpoint::ip));
        delta.endpoints.insert(key.clone());
        if new.is_empty() {
            self.endpoints.remove(key);
        } else {
            self.endpoints.insert(key.clone(), Arc::new(new));
        }
    }

    fn collect_endpoints(&self, service: &Arc<Service>) -> Vec<Endpoint> {
        let mut all = Vec::new();
        let origin = &service.key.origin;
        let slices = self.slices.get(&(origin.namespace.clone(), origin.name.to_string()));
        if let Some(slices) = slices.filter(|_| service.is_kubernetes()) {
            for config in slices.iter().filter_map(|key| self.configs.get(key)) {
                if let Spec::EndpointSlice(slice) = &config.spec {
                    all.extend(endpoint::of_slice(config, slice, service));
                }
            }
        }
        if let Some(Spec::ServiceEntry(entry)) = self.configs.get(origin).map(|config| &config.spec) {
            all.extend(entry.endpoints.iter().map(|entry| Endpoint::of_workload(entry, service)));
        }
        if let (Some(label), Some(selector)) = (first_label(service), &service.selector) {
            let workloads = self.workloads.get(&label).into_iter().flatten();
            for config in workloads.filter_map(|key| self.configs.get(key)) {
                if let Spec::WorkloadEntry(entry) = &config.spec
                    && selector.selects(&entry.labels)
                {
                    all.push(Endpoint::of_workload(entry, service));
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        for at in 1..all.len() {
            let (before, rest) = all.split_at_mut(at);
            rest[0].share(&before[at - 1]);
        }
        all.shrink_to_fit();
        all
    }
}

fn label(namespace: &Arc<str>, (key, value): (&str, &str)) -> Label {
    (namespace.clone(), key.to_owned(), value.to_owned())
}

/// The label under which a service that selects workloads is kept.
fn first_label(service: &Service) -> Option<Label> {
    let (key, value) = service.selector.as_ref()?.iter().next()?;
    Some(label(service.namespace(), (key, value)))
}

fn reversed(host: &Hostname) -> Box<[u8]> {
    host.as_str().bytes().rev().collect()
}

fn link(map: &mut BTreeMap<Hostname, Keys>, host: Hostname, config: &Config, add: bool) {
    let entry = (config.created, config.key.clone());
    if add {
        map.entry(host).or_default().insert(entry);
        return;
    }
    let Some(keys) = map.get_mut(&host) else { return };
    keys.remove(&entry);
    if keys.is_empty() {
        map.remove(&host);
    }
}

/// Lookups.
impl MeshIndex {
    /// What is the same for the whole mesh.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// An object.
    pub fn config(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        self.configs.get(key)
    }

    /// Every object.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.configs.values()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.configs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// The objects of a kind in a namespace.
    pub fn of_namespace<'a>(&'a self, kind: Kind, namespace: &'a Arc<str>) -> impl Iterator<Item = &'a Arc<Config>> {
        let start = ConfigKey { kind, namespace: namespace.clone(), name: "".into() };
        self.configs
            .range(start..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == *namespace)
            .map(|(_, config)| config)
    }

    /// One definition of a service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(&key.host)?.iter().find(|service| service.key.origin == key.origin)
    }

    /// Every definition of a host.
    pub fn definitions(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Service>> {
        self.services.get(host).into_iter().flatten()
    }

    /// The hosts of services and VirtualServices that a host, perhaps a wildcard, covers.
    pub fn covered_by<'a>(&'a self, host: &'a Hostname) -> impl Iterator<Item = &'a Hostname> {
        let text = host.as_str().strip_prefix('*').unwrap_or(host.as_str());
        let end: Box<[u8]> = text.bytes().rev().collect();
        let from = self.suffixes.range(end.clone()..);
        from.take_while(move |(name, _)| name.starts_with(&end)).map(|(_, one)| one).filter(|one| host.covers(one))
    }

    /// The hosts of services with a virtual address.
    pub fn hosts_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Hostname> {
        self.hosts_at.get(ip).into_iter().flatten()
    }

    /// Every host that some service has.
    pub fn hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.services.keys()
    }

    /// The hosts of services defined in a namespace.
    pub fn hosts_of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Hostname> {
        self.hosts_of_namespace.get(namespace).into_iter().flat_map(BTreeMap::keys)
    }

    /// The endpoints of a service.
    pub fn endpoints(&self, key: &ServiceKey) -> Arc<Vec<Endpoint>> {
        self.endpoints.get(key).unwrap_or(&self.no_endpoints).clone()
    }

    /// The services that have an endpoint at an address.
    pub fn own_services(&self, ip: &IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.own_services.get(ip).into_iter().flat_map(|keys| &keys[..]).filter_map(|key| self.service(key))
    }

    /// The hosts that a VirtualService is about, in full.
    pub fn virtual_service_hosts(&self, config: &Config) -> Vec<Hostname> {
        let full = |host: &Hostname| host.resolve(&config.key.namespace, &self.settings.domain);
        virtual_service(config).map(|spec| spec.hosts.iter().map(full).collect()).unwrap_or_default()
    }

    /// The hosts that a VirtualService sends to, in full.
    pub fn destinations(&self, config: &Config) -> BTreeSet<Hostname> {
        let full = |host: &Hostname| host.resolve(&config.key.namespace, &self.settings.domain);
        let routes = virtual_service(config).into_iter().flat_map(|spec| &spec.http).flat_map(|http| &http.route);
        routes.map(|route| full(&route.destination.host)).collect()
    }

    /// VirtualServices about a host itself or a wildcard that covers it, most specific first.
    pub fn virtual_services_for(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        covering(&self.virtual_services, host).filter_map(|key| self.configs.get(key))
    }

    /// VirtualServices that send to a host.
    pub fn virtual_services_to(&self, host: &Hostname) -> impl Iterator<Item = &Arc<Config>> {
        self.virtual_services_to.get(host).into_iter().flatten().filter_map(|(_, key)| self.configs.get(key))
    }

    /// Every host, perhaps a wildcard, that some VirtualService is about.
    pub fn routed_hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.virtual_services.keys()
    }

    /// The rule that a client namespace applies to a service: its own, else the service's, else the
    /// root namespace's; there the most specific host, and of equals the oldest.
    pub fn rule_for(&self, service: &Service, client: &str) -> Option<&Arc<Config>> {
        let rules: Vec<&Arc<Config>> =
            covering(&self.rules, &service.key.host).filter_map(|key| self.configs.get(key)).collect();
        let levels = [client, service.namespace(), &self.settings.root_namespace];
        levels.iter().find_map(|namespace| {
            rules.iter().copied().find(|rule| &*rule.key.namespace == *namespace && rule_reaches(rule, client))
        })
    }

    /// The host of a DestinationRule, in full.
    pub fn rule_host(&self, config: &Config) -> Option<Hostname> {
        let rule = destination_rule(config)?;
        Some(rule.host.resolve(&config.key.namespace, &self.settings.domain))
    }
}

/// Keys under `host` and under the wildcards that cover it: the longest first, of equals the oldest first.
fn covering<'a>(map: &'a BTreeMap<Hostname, Keys>, host: &Hostname) -> impl Iterator<Item = &'a ConfigKey> + use<'a> {
    let mut found: Vec<&'a Keys> = map.get(host).into_iter().collect();
    let text = host.as_str();
    let dots = text.match_indices('.').map(|(at, _)| format!("*{}", &text[at..]));
    for wildcard in dots.chain(["*".to_owned()]).filter(|wildcard| wildcard != text) {
        found.extend(wildcard.parse().ok().and_then(|host: Hostname| map.get(&host)));
    }
    found.into_iter().flatten().map(|(_, key)| key)
}

fn rule_reaches(rule: &Config, client: &str) -> bool {
    let own = &rule.key.namespace;
    destination_rule(rule).is_some_and(|spec| &**own == client || ExportTo::new(&spec.export_to, own).reaches(client))
}

/// The spec, where the object is a VirtualService.
pub fn virtual_service(config: &Config) -> Option<&VirtualService> {
    if let Spec::VirtualService(spec) = &config.spec { Some(spec) } else { None }
}

/// The spec, where the object is a DestinationRule.
pub fn destination_rule(config: &Config) -> Option<&DestinationRule> {
    if let Spec::DestinationRule(spec) = &config.spec { Some(spec) } else { None }
}

/// The spec, where the object is a Sidecar.
pub fn sidecar(config: &Config) -> Option<&Sidecar> {
    if let Spec::Sidecar(spec) = &config.spec { Some(spec) } else { None }
}

#[cfg(test)]
pub(crate) mod tests;
