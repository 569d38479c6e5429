//! Endpoints of a service, from slices, entries and workloads.

use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::WorkloadEntry;
use rutter_api::config::kubernetes::EndpointSlice;
use rutter_api::{Config, Labels};

use super::service::Service;

/// One place where a service is reached. A mesh has more of these than of anything else: what several have
/// in common they share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Region, zone and sub-zone; empty where not told.
    pub locality: Arc<[Box<str>; 3]>,
    /// An IP address, or a DNS name.
    pub address: Arc<str>,
    /// Service port and the port here.
    pub ports: Arc<[(u16, u16)]>,
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
        let mut locality = entry.locality.splitn(3, '/');
        let mut part = || locality.next().unwrap_or_default().into();
        Self {
            locality: Arc::new([part(), part(), part()]),
            address: entry.address.clone(),
            ports: service.ports.iter().map(|port| (port.number, target(&port.name, port.target))).collect(),
            labels: entry.labels.clone(),
            weight: entry.weight.unwrap_or(1),
        }
    }

    /// Shares what is equal with the one before; endpoints of a service are much alike.
    pub(crate) fn share(&mut self, other: &Self) {
        if self.locality == other.locality {
            self.locality = other.locality.clone();
        }
        if self.ports == other.ports {
            self.ports = other.ports.clone();
        }
        if self.labels == other.labels {
            self.labels = other.labels.clone();
        }
    }
}

/// The ready endpoints of a slice. Their labels are the slice's own, without Kubernetes' bookkeeping:
/// the pods, which have the labels in a cluster, are not known here.
pub(crate) fn of_slice(config: &Config, slice: &EndpointSlice, service: &Service) -> Vec<Endpoint> {
    let is_own = |key: &str| !key.split('/').next().is_some_and(|prefix| prefix.ends_with("kubernetes.io"));
    let labels = config.labels.iter().filter(|(key, _)| is_own(key));
    let labels: Labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let port_of = |name: &str| slice.ports.iter().find(|(other, _)| other == name).map(|(_, number)| *number);
    let ports: Arc<[(u16, u16)]> =
        service.ports.iter().filter_map(|port| Some((port.number, port_of(&port.name)?))).collect();
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    ready
        .flat_map(|endpoint| endpoint.addresses.iter().map(move |address| (&*endpoint.zone, address)))
        .map(|(zone, address)| Endpoint {
            locality: Arc::new(["".into(), zone.into(), "".into()]),
            address: address.clone(),
            ports: ports.clone(),
            labels: labels.clone(),
            weight: 1,
        })
        .collect()
}
