//! The findings of a mesh, kept up to date: a change checks again what it can alter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind, Labels, Spec};

use super::facts::{Facts, Turn};
use super::finding::{Finding, Found};
use super::read::Read;
use super::surroundings::Surroundings;
use super::{destination_rule, gateway, service, sidecar, virtual_service};
use crate::debounce::ConfigBatch;
use crate::index::{IndexDelta, MeshIndex};
use crate::settings::MeshSettings;

/// The findings of a mesh. Each check notes what it looks at, and the object is checked again when some of that changes.
#[derive(Debug, Default)]
pub struct Analyzer {
    index: MeshIndex,
    facts: Facts,
    /// The objects about which something is found.
    findings: BTreeMap<ConfigKey, Vec<Finding>>,
    /// What the checks of each object have looked at.
    reads: HashMap<ConfigKey, BTreeSet<Read>>,
    /// The objects whose checks have looked at something.
    readers: BTreeMap<Read, BTreeSet<ConfigKey>>,
    checks: u64,
}

impl Analyzer {
    /// Returns the analyzer of a mesh without objects.
    pub fn new(settings: MeshSettings) -> Self {
        Self { index: MeshIndex::new(settings), ..Self::default() }
    }

    /// Returns the objects.
    pub fn index(&self) -> &MeshIndex {
        &self.index
    }

    /// Returns everything that is wrong, in the order of the objects.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values().flatten()
    }

    /// Returns how often an object was checked.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// Takes a batch in, and checks what it can alter.
    pub fn apply(&mut self, batch: &ConfigBatch) {
        let domain = self.index.settings().domain.clone();
        let before: Vec<Arc<Config>> =
            batch.changes.keys().filter_map(|key| self.index.written(key)).cloned().collect();
        let delta = self.index.apply(batch);
        let mut touched = BTreeSet::new();
        for config in &before {
            self.facts.turn(config, Turn::Goes, &domain, &mut touched);
        }
        for config in batch.changes.keys().filter_map(|key| self.index.written(key)) {
            self.facts.turn(config, Turn::Comes, &domain, &mut touched);
        }
        touched.extend(batch.changes.keys().cloned().map(Read::Object));
        self.take_in(&delta, &mut touched);
        let mut stale: BTreeSet<ConfigKey> = batch.changes.keys().cloned().collect();
        if batch.changes.keys().any(|key| key.kind == Kind::ConfigMap) {
            // What it says of objects that say nothing is in no note.
            stale.extend(self.index.configs().map(|config| config.key.clone()));
        }
        self.check_again(touched, stale);
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
        self.check_again(touched, BTreeSet::new());
    }

    /// Takes in what a batch came to, and notes what that alters.
    fn take_in(&mut self, delta: &IndexDelta, touched: &mut BTreeSet<Read>) {
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
            self.facts.replace_host(host, definitions, &self.index);
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
            about.extend(self.index.routed_hosts_of(config));
            touched.extend(self.index.destinations_of(config).into_iter().map(Read::SendsTo));
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

    fn check_again(&mut self, touched: BTreeSet<Read>, mut stale: BTreeSet<ConfigKey>) {
        stale.extend(touched.iter().filter_map(|read| self.readers.get(read)).flatten().cloned());
        for key in stale {
            self.check(&key);
        }
    }

    fn check(&mut self, key: &ConfigKey) {
        for read in self.reads.remove(key).into_iter().flatten() {
            if let Some(readers) = self.readers.get_mut(&read) {
                readers.remove(key);
                if readers.is_empty() {
                    self.readers.remove(&read);
                }
            }
        }
        let Some(config) = self.index.written(key) else {
            self.findings.remove(key);
            return;
        };
        self.checks += 1;
        let surroundings = Surroundings::new(&self.index, &self.facts);
        let mut findings = of_object(config, &surroundings);
        findings.sort();
        findings.dedup();
        let reads = surroundings.into_reads();
        for read in &reads {
            self.readers.entry(read.clone()).or_default().insert(key.clone());
        }
        if !reads.is_empty() {
            self.reads.insert(key.clone(), reads);
        }
        if findings.is_empty() {
            self.findings.remove(key);
        } else {
            self.findings.insert(key.clone(), findings);
        }
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
