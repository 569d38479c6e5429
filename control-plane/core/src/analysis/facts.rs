//! What checks need to know of all objects together, kept up to date object by object.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use rutter_api::config::istio::ServerTls;
use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname, Labels, Spec};

use super::gateway_rule::GatewayRule;
use super::read::Read;
use crate::edges::{link, unlink};
use crate::index::MeshIndex;
use crate::model::{Service, ServiceKey, server_certificate_files};

/// Something that several have, each with how many.
type Counted<T> = BTreeMap<T, usize>;

/// What is known of all objects together.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    /// The label sets of the known workloads, by namespace.
    pub(super) workloads: BTreeMap<Arc<str>, Counted<Labels>>,
    /// The number of Pods and of clients in each namespace. Whoever has none of a namespace may have Deployments, of which nothing
    /// is known.
    pub(super) pods: Counted<Arc<str>>,
    /// The hosts of services that are wildcards.
    pub(super) wildcards: BTreeSet<Hostname>,
    /// The Sidecars of each namespace.
    pub(super) sidecars: HashMap<Arc<str>, BTreeSet<ConfigKey>>,
    /// The subsets to which routes lead, by their full host.
    pub(super) routed_subsets: Counted<(Hostname, String)>,
    /// The certificates that servers of Gateways have, each with the Gateways.
    pub(super) certificates: HashMap<String, BTreeSet<ConfigKey>>,
    /// The VirtualServices with a rule at a gateway, the oldest first.
    pub(super) gateway_rules: HashMap<GatewayRule, BTreeSet<(CreationTimestamp, ConfigKey)>>,
    /// The services that have a port for TCP, by the port.
    pub(super) tcp_services: HashMap<u16, BTreeSet<ServiceKey>>,
}

/// Whether an object comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It comes.
    Comes,
    /// It goes.
    Goes,
}

impl Facts {
    /// Takes in that an object comes or goes, as it is written, and notes what that alters.
    pub(super) fn turn(&mut self, config: &Config, turn: Turn, domain: &str, touched: &mut BTreeSet<Read>) {
        let key = &config.key;
        let namespace = &key.namespace;
        match &config.spec {
            Spec::Pod(_) => self.turn_pod(namespace, &config.labels, turn, touched),
            Spec::WorkloadEntry(entry) => self.turn_workload(namespace, &entry.labels, turn, touched),
            Spec::Sidecar(_) => {
                turn_edge(&mut self.sidecars, namespace.clone(), key, turn);
                touched.insert(Read::Sidecars(namespace.clone()));
            }
            Spec::VirtualService(spec) => {
                for to in spec.destinations() {
                    let Some(subset) = &to.subset else { continue };
                    let subset = (to.host.resolve(namespace, domain), subset.clone());
                    if count(&mut self.routed_subsets, subset.clone(), turn) {
                        touched.insert(Read::Subset(Arc::new(subset)));
                    }
                }
                for rule in spec.http.iter().flat_map(|http| GatewayRule::of(config, http, domain)) {
                    touched.insert(Read::GatewayRule(Arc::new(rule.clone())));
                    let aged = (config.created, key.clone());
                    match turn {
                        Turn::Comes => link(&mut self.gateway_rules, rule, aged),
                        Turn::Goes => unlink(&mut self.gateway_rules, &rule, &aged),
                    }
                }
            }
            Spec::Gateway(gateway) => {
                touched.insert(Read::Gateways);
                let of_servers = gateway.servers.iter().filter_map(|server| server.tls.as_deref());
                for certificate in of_servers.flat_map(certificates_of) {
                    touched.insert(Read::Certificate(certificate.clone()));
                    turn_edge(&mut self.certificates, certificate, key, turn);
                }
            }
            Spec::Secret(_) => drop(touched.insert(Read::Secrets)),
            Spec::Namespace
            | Spec::MeshConfig(_)
            | Spec::Service(_)
            | Spec::ServiceEntry(_)
            | Spec::EndpointSlice(_)
            | Spec::WorkloadGroup(_)
            | Spec::Ingress(_)
            | Spec::DestinationRule(_) => {}
        }
    }

    /// Takes in that a Pod, or the workload of a client, comes or goes.
    pub(super) fn turn_pod(&mut self, namespace: &Arc<str>, labels: &Labels, turn: Turn, touched: &mut BTreeSet<Read>) {
        if count(&mut self.pods, namespace.clone(), turn) {
            touched.extend([Read::Workloads(namespace.clone()), Read::AnyWorkload]);
        }
        self.turn_workload(namespace, labels, turn, touched);
    }

    fn turn_workload(&mut self, namespace: &Arc<str>, labels: &Labels, turn: Turn, touched: &mut BTreeSet<Read>) {
        let of_namespace = self.workloads.entry(namespace.clone()).or_default();
        // One more workload of the same labels alters nothing.
        if !count(of_namespace, labels.clone(), turn) {
            return;
        }
        if of_namespace.is_empty() {
            self.workloads.remove(namespace);
        }
        touched.extend([Read::Workloads(namespace.clone()), Read::AllWorkloads]);
    }

    /// Takes in that the definitions of a host are others. `changed` are those that came or went.
    pub(super) fn replace_host(&mut self, host: &Hostname, changed: &[Arc<Service>], index: &MeshIndex) {
        let now = index.definitions(host);
        if host.is_wildcard() {
            if now.is_empty() {
                self.wildcards.remove(host)
            } else {
                self.wildcards.insert(host.clone())
            };
        }
        for service in changed {
            service.tcp_ports().for_each(|port| unlink(&mut self.tcp_services, &port, &service.key));
        }
        for service in now {
            service.tcp_ports().for_each(|port| link(&mut self.tcp_services, port, service.key.clone()));
        }
    }
}

/// Counts something that comes or goes, and returns whether it is the first or the last.
fn count<T: Ord>(counted: &mut Counted<T>, value: T, turn: Turn) -> bool {
    match (counted.entry(value), turn) {
        (Entry::Occupied(mut entry), Turn::Comes) => {
            *entry.get_mut() += 1;
            false
        }
        (Entry::Vacant(entry), Turn::Comes) => {
            entry.insert(1);
            true
        }
        (Entry::Occupied(mut entry), Turn::Goes) if *entry.get() > 1 => {
            *entry.get_mut() -= 1;
            false
        }
        (Entry::Occupied(entry), Turn::Goes) => {
            entry.remove();
            true
        }
        (Entry::Vacant(_), Turn::Goes) => false,
    }
}

fn turn_edge<K: Hash + Eq>(edges: &mut HashMap<K, BTreeSet<ConfigKey>>, thing: K, object: &ConfigKey, turn: Turn) {
    match turn {
        Turn::Comes => link(edges, thing, object.clone()),
        Turn::Goes => unlink(edges, &thing, object),
    }
}

/// Returns the names of the certificates that a server shows.
pub(super) fn certificates_of(tls: &ServerTls) -> Vec<String> {
    let secrets = tls.credentials().iter().map(|name| format!("the Secret {name}")).collect::<Vec<_>>();
    let files = server_certificate_files(tls).into_iter().map(|files| files.to_string());
    secrets.into_iter().chain(files).collect()
}
