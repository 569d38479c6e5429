//! What checks look up beside the object itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::config::istio::ServerTls;
use rutter_api::{Config, ConfigKey, Hostname, Labels, Spec};

use crate::index::MeshIndex;
use crate::model::{ExportTo, Protocol, Service, server_certificate_files, with_default_export};

/// The mesh around the objects that are checked.
pub(super) struct Surroundings<'a> {
    pub(super) index: &'a MeshIndex,
    /// The label sets of the known workloads, by namespace.
    workloads: BTreeMap<Arc<str>, BTreeSet<Labels>>,
    /// The services of which the host is a wildcard.
    wildcards: Vec<&'a Arc<Service>>,
    /// The Sidecars of each namespace.
    sidecars: BTreeMap<Arc<str>, Vec<&'a Arc<Config>>>,
    /// The subsets to which routes lead, by their full host.
    routed_subsets: BTreeSet<(Hostname, &'a str)>,
    /// The services that have a port for TCP, by the port.
    tcp_services: BTreeMap<u16, Vec<&'a Arc<Service>>>,
    /// The certificates that servers of Gateways have, each with the Gateways.
    pub(super) certificates: BTreeMap<String, BTreeSet<&'a ConfigKey>>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new<'c>(index: &'a MeshIndex, clients: impl Iterator<Item = (&'c Arc<str>, &'c Labels)>) -> Self {
        let mut surroundings = Self {
            index,
            workloads: BTreeMap::new(),
            wildcards: index
                .hosts()
                .filter(|host| host.is_wildcard())
                .flat_map(|host| index.definitions(host))
                .collect(),
            sidecars: BTreeMap::new(),
            routed_subsets: BTreeSet::new(),
            tcp_services: BTreeMap::new(),
            certificates: BTreeMap::new(),
        };
        for service in index.hosts().flat_map(|host| index.definitions(host)) {
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
                surroundings.tcp_services.entry(port.number).or_default().push(service);
            }
        }
        for (namespace, labels) in clients {
            surroundings.add_workload(namespace, labels);
        }
        for config in index.configs() {
            surroundings.take_in(config);
        }
        surroundings
    }

    fn take_in(&mut self, config: &'a Arc<Config>) {
        let key = &config.key;
        match &config.spec {
            Spec::Pod(_) => self.add_workload(&key.namespace, &config.labels),
            Spec::WorkloadEntry(entry) => self.add_workload(&key.namespace, &entry.labels),
            Spec::ServiceEntry(entry) => {
                entry.endpoints.iter().for_each(|endpoint| self.add_workload(&key.namespace, &endpoint.labels));
            }
            Spec::Sidecar(_) => self.sidecars.entry(key.namespace.clone()).or_default().push(config),
            Spec::VirtualService(spec) => {
                let with_subset = spec.destinations().filter_map(|to| Some((&to.host, to.subset.as_deref()?)));
                let full = with_subset.map(|(host, subset)| (self.full_host(host, &key.namespace), subset));
                self.routed_subsets.extend(full.collect::<Vec<_>>());
            }
            Spec::Gateway(gateway) => {
                let of_servers = gateway.servers.iter().filter_map(|server| server.tls.as_deref());
                for certificate in of_servers.flat_map(certificates_of) {
                    self.certificates.entry(certificate).or_default().insert(key);
                }
            }
            Spec::Namespace
            | Spec::MeshConfig(_)
            | Spec::Service(_)
            | Spec::EndpointSlice(_)
            | Spec::WorkloadGroup(_)
            | Spec::Secret(_)
            | Spec::Ingress(_)
            | Spec::DestinationRule(_) => {}
        }
    }

    fn add_workload(&mut self, namespace: &Arc<str>, labels: &Labels) {
        match self.workloads.get_mut(namespace) {
            Some(known) => drop(known.insert(labels.clone())),
            None => drop(self.workloads.insert(namespace.clone(), [labels.clone()].into())),
        }
    }

    /// Returns whether any workload is known. Otherwise nothing can be said of what selects some.
    pub(super) fn knows_workloads(&self) -> bool {
        !self.workloads.is_empty()
    }

    /// Returns the label sets of the workloads of a namespace.
    pub(super) fn workloads_of(&self, namespace: &str) -> impl Iterator<Item = &Labels> {
        self.workloads.get(namespace).into_iter().flatten()
    }

    /// Returns the label sets of all workloads, each with its namespace.
    pub(super) fn workloads(&self) -> impl Iterator<Item = (&Arc<str>, &Labels)> {
        self.workloads.iter().flat_map(|(namespace, sets)| sets.iter().map(move |labels| (namespace, labels)))
    }

    /// Returns the Sidecars of a namespace.
    pub(super) fn sidecars_of(&self, namespace: &str) -> &[&'a Arc<Config>] {
        self.sidecars.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the full name of a host that an object of a namespace writes.
    pub(super) fn full_host(&self, host: &Hostname, namespace: &str) -> Hostname {
        host.resolve(namespace, &self.index.settings().domain)
    }

    /// Returns whether some route leads to a subset.
    pub(super) fn is_subset_routed(&self, host: &Hostname, subset: &str) -> bool {
        self.routed_subsets.contains(&(host.clone(), subset))
    }

    /// Returns the definitions of a host that clients of a namespace may see.
    pub(super) fn services_seen(&self, host: &Hostname, namespace: &str) -> Vec<&'a Arc<Service>> {
        self.index.definitions(host).iter().filter(|service| service.export_to.reaches(namespace)).collect()
    }

    /// Returns a service that clients of a namespace may see, and of which the host is a wildcard that covers a host.
    pub(super) fn wildcard_covering(&self, host: &Hostname, namespace: &str) -> Option<&'a Arc<Service>> {
        let covering = |service: &&&Arc<Service>| service.key.host.covers(host) && service.export_to.reaches(namespace);
        self.wildcards.iter().find(covering).copied()
    }

    /// Returns the namespaces whose clients see an object, by what it says or by the mesh config.
    pub(super) fn export_of(&self, config: &Config) -> ExportTo {
        let exported = self.index.mesh().and_then(|mesh| with_default_export(config, mesh));
        ExportTo::of_config(exported.as_ref().unwrap_or(config))
    }

    /// Returns the services that have a port for TCP.
    pub(super) fn tcp_services_at(&self, port: u16) -> impl Iterator<Item = &'a Arc<Service>> {
        self.tcp_services.get(&port).into_iter().flatten().copied()
    }
}

/// Returns whether some namespace sees two objects.
pub(super) fn meet(one: &ExportTo, other: &ExportTo) -> bool {
    match (one, other) {
        (ExportTo::All, _) | (_, ExportTo::All) => true,
        (ExportTo::Namespaces(names), other) => names.iter().any(|name| other.reaches(name)),
    }
}

/// Returns the names of the certificates that a server shows.
pub(super) fn certificates_of(tls: &ServerTls) -> Vec<String> {
    let secrets = tls.credentials().iter().map(|name| format!("the Secret {name}")).collect::<Vec<_>>();
    let files = server_certificate_files(tls).into_iter().map(|files| files.to_string());
    secrets.into_iter().chain(files).collect()
}
