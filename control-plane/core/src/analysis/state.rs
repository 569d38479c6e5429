//! The findings of a mesh, and what has to be known to keep them up to date.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind, Labels, Spec};

use super::facts::{Facts, Turn};
use super::finding::{Finding, Found};
use super::read::Read;
use super::surroundings::Surroundings;
use super::{destination_rule, gateway, service, sidecar, virtual_service};
use crate::copy_on_write::CopyOnWrite;
use crate::debounce::ConfigBatch;
use crate::index::{IndexDelta, MeshIndex};

/// The findings of a mesh. Each check notes what it looks at, and the object is checked again when some of that changes.
///
/// A change is noted at once, which costs little. What it can alter is checked when somebody asks, or when there is time
/// ([`Analysis::settle`]). Clones share what is not written since.
#[derive(Debug, Default, Clone)]
pub struct Analysis {
    facts: CopyOnWrite<Facts>,
    /// The objects about which something is found.
    findings: CopyOnWrite<BTreeMap<ConfigKey, Vec<Finding>>>,
    /// What the checks of each object have looked at.
    reads: CopyOnWrite<HashMap<ConfigKey, Arc<[Read]>>>,
    /// The objects whose checks have looked at something.
    readers: CopyOnWrite<BTreeMap<Read, Readers>>,
    /// What has changed since those who looked at it were checked.
    touched: CopyOnWrite<BTreeSet<Read>>,
    /// The objects that have to be checked.
    stale: CopyOnWrite<BTreeSet<ConfigKey>>,
    /// The objects about which something else is found than when somebody asked for the news, each with what was found then.
    news: CopyOnWrite<BTreeMap<ConfigKey, Vec<Finding>>>,
    checks: u64,
}

/// The objects whose checks have looked at one thing. Nearly always it is one, and then there is no set.
#[derive(Debug, Clone)]
enum Readers {
    One(ConfigKey),
    Several(BTreeSet<ConfigKey>),
}

impl Readers {
    fn insert(&mut self, key: &ConfigKey) {
        match self {
            Self::One(only) if only == key => {}
            Self::One(only) => *self = Self::Several([only.clone(), key.clone()].into()),
            Self::Several(keys) => drop(keys.insert(key.clone())),
        }
    }

    /// Removes an object, and returns whether none is left.
    fn remove(&mut self, key: &ConfigKey) -> bool {
        match self {
            Self::One(only) => only == key,
            Self::Several(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &ConfigKey> {
        let (one, several) = match self {
            Self::One(only) => (Some(only), None),
            Self::Several(keys) => (None, Some(keys)),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }
}

/// The objects of a batch as they were before it.
#[derive(Debug)]
pub(crate) struct Before(Vec<Arc<Config>>);

impl Before {
    /// Returns the objects of a batch that an index has, which has not taken it in yet.
    pub(crate) fn of(batch: &ConfigBatch, index: &MeshIndex) -> Self {
        Self(batch.changes.keys().filter_map(|key| index.written(key)).cloned().collect())
    }
}

impl Analysis {
    /// Returns everything that is wrong, in the order of the objects, as far as it is settled.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values().flatten()
    }

    /// Returns what is wrong with an object, as far as it is settled.
    pub fn of(&self, object: &ConfigKey) -> &[Finding] {
        self.findings.get(object).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns how often an object was checked.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// Returns whether nothing has to be checked.
    pub fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.stale.is_empty()
    }

    /// Notes what a batch can alter, which the index has taken in.
    pub(crate) fn note(&mut self, batch: &ConfigBatch, before: &Before, delta: &IndexDelta, index: &MeshIndex) {
        let domain = &index.settings().domain;
        let mut touched = BTreeSet::new();
        for config in &before.0 {
            self.facts.turn(config, Turn::Goes, domain, &mut touched);
        }
        for config in batch.changes.keys().filter_map(|key| index.written(key)) {
            self.facts.turn(config, Turn::Comes, domain, &mut touched);
        }
        touched.extend(batch.changes.keys().cloned().map(Read::Object));
        self.take_in(delta, index, &mut touched);
        self.touched.extend(touched);
        self.stale.extend(batch.changes.keys().cloned());
        if batch.changes.keys().any(|key| key.kind == Kind::ConfigMap) {
            // What it says of objects that say nothing is in no note.
            self.stale.extend(index.configs().map(|config| config.key.clone()));
        }
    }

    /// Takes in that the workload of a client comes.
    pub fn connect(&mut self, namespace: &Arc<str>, labels: &Labels) {
        self.turn_workload(namespace, labels, Turn::Comes);
    }

    /// Takes in that the workload of a client goes.
    pub fn disconnect(&mut self, namespace: &Arc<str>, labels: &Labels) {
        self.turn_workload(namespace, labels, Turn::Goes);
    }

    fn turn_workload(&mut self, namespace: &Arc<str>, labels: &Labels, turn: Turn) {
        let mut touched = BTreeSet::new();
        self.facts.turn_pod(namespace, labels, turn, &mut touched);
        self.touched.extend(touched);
    }

    /// Takes in what a batch came to, and notes what that alters.
    fn take_in(&mut self, delta: &IndexDelta, index: &MeshIndex, touched: &mut BTreeSet<Read>) {
        // What is not read here is about clients, or is noted with the objects themselves.
        let IndexDelta {
            services,
            endpoints,
            addresses: _,
            destination_rules,
            virtual_services,
            sidecars: _,
            gateways,
            secrets: _,
            mesh_defaults: _,
            capture: _,
            locality_needs: _,
            source_labels: _,
        } = delta;
        for (host, definitions) in services {
            self.facts.replace_host(host, definitions, index);
            touched.extend([Read::Host(host.clone()), Read::Hosts]);
            touched.extend(host.is_wildcard().then_some(Read::Wildcards));
            for service in definitions {
                touched.insert(Read::HostsOf(service.namespace().clone()));
                touched.extend(service.tcp_ports().map(Read::TcpPort));
            }
        }
        // Ingresses mean some as well.
        touched.extend((!gateways.is_empty()).then_some(Read::Gateways));
        touched.extend(gateways.iter().cloned().map(Read::Object));
        touched.extend(virtual_services.iter().map(|config| Read::Object(config.key.clone())));
        touched.extend(endpoints.iter().map(|service| Read::Endpoints(service.host.clone())));
        let mut about: BTreeSet<Hostname> = destination_rules.iter().map(|rule| rule.host.clone()).collect();
        for config in virtual_services {
            about.extend(index.routed_hosts_of(config));
            touched.extend(index.destinations_of(config).into_iter().map(Read::SendsTo));
        }
        for host in about {
            if host.is_wildcard() {
                touched.extend(self.readers.keys().filter(|read| read.is_about(&host)).cloned());
            } else {
                touched.extend([Read::Routes(host.clone()), Read::Rules(host.clone())]);
                // Somebody may have looked at a wildcard that covers the host.
                touched.extend(self.wildcard_reads().filter(|read| read.is_about(&host)).cloned());
            }
        }
    }

    /// Returns what was looked at of VirtualServices and DestinationRules for wildcards. Wildcards come first among hosts.
    fn wildcard_reads(&self) -> impl Iterator<Item = &Read> {
        let any: Option<Hostname> = "*".parse().ok();
        let firsts = any.into_iter().flat_map(|any| [Read::Routes(any.clone()), Read::Rules(any)]);
        firsts.flat_map(|first| self.readers.range(first..).map(|(read, _)| read).take_while(|read| read.is_wildcard()))
    }

    /// Checks what changes can have altered, but at most `most` objects, and returns whether nothing is left to be checked.
    pub fn settle(&mut self, index: &MeshIndex, most: usize) -> bool {
        self.spread_touched();
        for _ in 0..most {
            let Some(key) = self.stale.pop_first() else { break };
            self.check(&key, index);
        }
        self.is_settled()
    }

    /// Checks those of some objects that changes can have altered.
    pub fn settle_objects<'a>(&mut self, objects: impl Iterator<Item = &'a ConfigKey>, index: &MeshIndex) {
        self.spread_touched();
        for object in objects {
            if self.stale.contains(object) {
                self.stale.remove(object);
                self.check(object, index);
            }
        }
    }

    /// Returns the objects about which something else is found than when the news were last taken, each with what was found then.
    pub fn take_news(&mut self) -> BTreeMap<ConfigKey, Vec<Finding>> {
        std::mem::take(&mut *self.news)
    }

    /// Returns what is wrong with each object that is not settled, without keeping it.
    pub fn unsettled(&mut self, index: &MeshIndex) -> BTreeMap<ConfigKey, Vec<Finding>> {
        self.spread_touched();
        let stale = self.stale.iter().cloned();
        stale
            .map(|key| {
                (key.clone(), index.written(&key).map(|config| self.of_object(config, index).0).unwrap_or_default())
            })
            .collect()
    }

    /// Marks those who have looked at what changed.
    fn spread_touched(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let touched = std::mem::take(&mut *self.touched);
        self.stale.extend(touched.iter().filter_map(|read| self.readers.get(read)).flat_map(Readers::iter).cloned());
    }

    fn check(&mut self, key: &ConfigKey, index: &MeshIndex) {
        for read in self.reads.remove(key).iter().flat_map(|reads| reads.iter()) {
            if self.readers.get_mut(read).is_some_and(|readers| readers.remove(key)) {
                self.readers.remove(read);
            }
        }
        let Some(config) = index.written(key) else {
            if let Some(before) = self.findings.remove(key) {
                self.news.entry(key.clone()).or_insert(before);
            }
            return;
        };
        self.checks += 1;
        let (findings, reads) = self.of_object(config, index);
        for read in &reads {
            match self.readers.get_mut(read) {
                Some(readers) => readers.insert(key),
                None => drop(self.readers.insert(read.clone(), Readers::One(key.clone()))),
            }
        }
        if !reads.is_empty() {
            self.reads.insert(key.clone(), reads.into_iter().collect());
        }
        if findings != self.of(key) {
            let before = self.of(key).to_vec();
            self.news.entry(key.clone()).or_insert(before);
        }
        if findings.is_empty() {
            self.findings.remove(key);
        } else {
            self.findings.insert(key.clone(), findings);
        }
    }

    /// Returns what is wrong with one object, and what was looked at.
    fn of_object(&self, config: &Config, index: &MeshIndex) -> (Vec<Finding>, BTreeSet<Read>) {
        let surroundings = Surroundings::new(index, &self.facts);
        let mut findings = of_object(config, &surroundings);
        findings.sort();
        findings.dedup();
        (findings, surroundings.into_reads())
    }
}

/// Returns whether writing an object of a kind can be what something is wrong with. Others only matter to what refers to them.
pub fn is_checked(kind: Kind) -> bool {
    match kind {
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::Sidecar
        | Kind::Service
        | Kind::ServiceEntry
        | Kind::Gateway
        | Kind::ConfigMap
        | Kind::Ingress => true,
        Kind::Namespace
        | Kind::Pod
        | Kind::EndpointSlice
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Secret => false,
    }
}

/// Returns what is wrong with one object that nobody has silenced.
fn of_object(config: &Config, surroundings: &Surroundings<'_>) -> Vec<Finding> {
    let mut found = Found::of(config);
    match &config.spec {
        Spec::VirtualService(spec) => virtual_service::check(config, spec, surroundings, &mut found),
        Spec::DestinationRule(spec) => destination_rule::check(config, spec, surroundings, &mut found),
        Spec::Sidecar(spec) => sidecar::check(config, spec, surroundings, &mut found),
        Spec::Service(spec) => service::check(config, spec, surroundings, &mut found),
        Spec::ServiceEntry(spec) => service::check_entry(config, spec, surroundings, &mut found),
        Spec::Gateway(spec) => gateway::check(config, spec, surroundings, &mut found),
        Spec::MeshConfig(spec) => service::check_mesh_config(config, spec, surroundings, &mut found),
        Spec::Ingress(spec) => service::check_ingress(config, spec, surroundings, &mut found),
        Spec::Namespace
        | Spec::Pod(_)
        | Spec::EndpointSlice(_)
        | Spec::WorkloadGroup(_)
        | Spec::WorkloadEntry(_)
        | Spec::Secret(_) => {}
    }
    found.findings
}
