//! Endpoints of a service, from slices, entries and workloads.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as k8s;
use rutter_api::Config;
use rutter_api::config::istio::{Labels, WorkloadEntry};

use super::service::Service;

/// One place where a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Region, zone and sub-zone; empty where not told.
    pub locality: [String; 3],
    /// An IP address, or a DNS name.
    pub address: String,
    /// Service port and the port here.
    pub ports: Vec<(u16, u16)>,
    /// What subsets look at.
    pub labels: Labels,
    /// At least 1.
    pub weight: u32,
}

impl Endpoint {
    /// The port here that serves a port of the service.
    pub fn target(&self, service_port: u16) -> Option<u16> {
        self.ports.iter().find(|(number, _)| *number == service_port).map(|(_, target)| *target)
    }

    /// Its address, where that is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// The endpoint that a workload is for a service.
    pub(crate) fn of_workload(entry: &WorkloadEntry, service: &Service) -> Self {
        let target = |name: &str, default: u16| entry.ports.get(name).map_or(default, |port| port.get());
        let mut locality = entry.locality.splitn(3, '/').map(str::to_owned);
        let mut part = || locality.next().unwrap_or_default();
        Self {
            locality: [part(), part(), part()],
            address: entry.address.clone(),
            ports: service.ports.iter().map(|port| (port.number, target(&port.name, port.target))).collect(),
            labels: entry.labels.clone(),
            weight: entry.weight.unwrap_or(1),
        }
    }
}

/// The ready endpoints of a slice. Their labels are the slice's own, without Kubernetes' bookkeeping:
/// the pods, which have the labels in a cluster, are not known here.
pub(crate) fn of_slice(config: &Config, slice: &k8s::EndpointSlice, service: &Service) -> Vec<Endpoint> {
    let is_own = |key: &str| !key.split('/').next().is_some_and(|prefix| prefix.ends_with("kubernetes.io"));
    let labels: Labels =
        config.labels.iter().filter(|(key, _)| is_own(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let port_of = |name: &str| {
        let same = |port: &&k8s::EndpointPort| port.name.as_deref().unwrap_or_default() == name;
        slice.ports.iter().flatten().find(same).and_then(|port| u16::try_from(port.port?).ok())
    };
    let ports: Vec<(u16, u16)> =
        service.ports.iter().filter_map(|port| Some((port.number, port_of(&port.name)?))).collect();
    let is_ready = |endpoint: &&k8s::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let one = |endpoint: &k8s::Endpoint, address: &str| Endpoint {
        locality: [String::new(), endpoint.zone.clone().unwrap_or_default(), String::new()],
        address: address.to_owned(),
        ports: ports.clone(),
        labels: labels.clone(),
        weight: 1,
    };
    let ready = slice.endpoints.iter().flatten().filter(is_ready);
    ready
        .flat_map(|endpoint| endpoint.addresses.iter().map(move |address| (endpoint, address)))
        .map(|(endpoint, address)| one(endpoint, address))
        .collect()
}
