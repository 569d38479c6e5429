//! Endpoints of services, from EndpointSlices, ServiceEntries and WorkloadEntries.

use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::Labels;
use rutter_api::config::istio::WorkloadEntry;
use rutter_api::config::kubernetes::{EndpointSlice, EndpointUse, SlicePort, TrafficDistribution};
use rutter_api::node::{Locality, locality_of_text};

use super::service::Service;

/// One place where a service is reached. A mesh has more of these than of anything else, so endpoints of a service
/// share what they have in common. The locality, the ports and the labels are counted references for that reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where the endpoint is.
    pub locality: Arc<Locality>,
    /// An IP address, or a DNS name if sidecars ask DNS for the service.
    pub address: Arc<str>,
    /// Pairs of a port of the service and the port here that serves it.
    pub ports: Arc<[(u16, u16)]>,
    /// The labels by which subsets choose endpoints.
    pub labels: Labels,
    /// The share of the requests, relative to the other endpoints of the locality. At least 1.
    pub weight: u32,
}

impl Endpoint {
    /// Returns the port here that serves a port of the service, or `None` if the endpoint does not serve that port.
    pub fn target(&self, service_port: u16) -> Option<u16> {
        self.ports.iter().find(|(number, _)| *number == service_port).map(|(_, target)| *target)
    }

    /// Returns the IP address, or `None` if the endpoint has a DNS name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// Returns the endpoint that a workload is for a service.
    pub(crate) fn of_workload(entry: &WorkloadEntry, service: &Service) -> Self {
        let locality = locality_of_text(&entry.locality);
        let ports = service.ports.iter().map(|port| {
            let target = entry.ports.get(&port.name).map_or(port.target, |target| target.get());
            (port.number, target)
        });
        Self {
            locality: Arc::new(locality),
            address: entry.address.clone(),
            ports: ports.collect(),
            labels: entry.labels.clone(),
            weight: entry.weight.unwrap_or(1),
        }
    }

    /// Returns the ready endpoints of a slice for a service. Their labels are those of the slice without Kubernetes'
    /// own: in a cluster the pods have the labels, but pods are not known here.
    pub(crate) fn of_slice(slice_labels: &Labels, slice: &EndpointSlice, service: &Service) -> Vec<Self> {
        let labels = slice_labels.iter().filter(|(key, _)| !is_kubernetes_label(key));
        let labels: Labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let ports =
            service.ports.iter().filter_map(|port| Some((port.number, slice_target(&slice.ports, &port.name)?)));
        let ports: Arc<[(u16, u16)]> = ports.collect();
        let mut endpoints = Vec::new();
        let EndpointUse { with_not_ready, is_node_local, distribution, .. } = service.endpoint_use;
        let is_node_needed = is_node_local || distribution == TrafficDistribution::SameNode;
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready || with_not_ready) {
            let labels = if is_node_needed { with_node(&labels, &endpoint.node) } else { labels.clone() };
            let locality: Arc<Locality> = Arc::new(["".into(), (*endpoint.zone).into(), "".into()]);
            for address in &endpoint.addresses {
                endpoints.push(Self {
                    locality: locality.clone(),
                    address: address.clone(),
                    ports: ports.clone(),
                    labels: labels.clone(),
                    weight: 1,
                });
            }
        }
        endpoints
    }

    /// Takes over the allocations of an endpoint for everything in which the two are equal.
    pub(crate) fn share_with(&mut self, neighbour: &Self) {
        if self.locality == neighbour.locality {
            self.locality = neighbour.locality.clone();
        }
        if self.ports == neighbour.ports {
            self.ports = neighbour.ports.clone();
        }
        if self.labels == neighbour.labels {
            self.labels = neighbour.labels.clone();
        }
    }
}

/// The label that says on which node a workload is.
pub(super) const NODE_LABEL: &str = "kubernetes.io/hostname";

/// Adds the node to the labels of an endpoint, for services whose clients look for endpoints on their own.
fn with_node(labels: &Labels, node: &str) -> Labels {
    let labels = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    labels.chain([(NODE_LABEL.to_owned(), node.to_owned())]).collect()
}

fn is_kubernetes_label(key: &str) -> bool {
    key.split('/').next().is_some_and(|prefix| prefix.ends_with("kubernetes.io"))
}

fn slice_target(ports: &[SlicePort], name: &str) -> Option<u16> {
    ports.iter().find(|port| port.name == name).map(|port| port.number)
}

#[cfg(test)]
mod tests {
    use rutter_api::Spec;

    use super::*;
    use crate::model::services_of;
    use crate::testing::config;

    fn service() -> Service {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n\
                    spec: {ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 81}]}";
        services_of(&config(text), "cluster.local").remove(0)
    }

    #[test]
    fn a_workload_serves_every_port_at_its_own_number() {
        let text = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n\
                    spec: {address: 10.0.0.1, ports: {admin: 9000}, locality: r/z, weight: 3, labels: {v: '1'}}";
        let config = config(text);
        let endpoint = Endpoint::of_workload(config.spec.as_workload_entry().unwrap(), &service());
        assert_eq!((endpoint.target(80), endpoint.target(81), endpoint.target(82)), (Some(8080), Some(9000), None));
        assert_eq!(*endpoint.locality, ["r".into(), "z".into(), "".into()]);
        assert_eq!((endpoint.weight, endpoint.ip()), (3, Some("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn a_slice_serves_the_ports_that_it_names_with_its_own_labels() {
        let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                    metadata: {name: s, labels: {kubernetes.io/service-name: a, endpointslice.kubernetes.io/managed-by: them, version: v1}}\n\
                    addressType: IPv4\nports: [{name: http, port: 9090}]\n\
                    endpoints: [{addresses: [10.0.0.1, 10.0.0.2], zone: z1}, {addresses: [10.0.0.3], conditions: {ready: false}}]";
        let config = config(text);
        let Spec::EndpointSlice(slice) = &config.spec else { panic!() };
        let endpoints = Endpoint::of_slice(&config.labels, slice, &service());
        assert_eq!(endpoints.len(), 2);
        assert_eq!((endpoints[0].target(80), endpoints[0].target(81)), (Some(9090), None));
        let labels: Vec<_> = endpoints[0].labels.iter().collect();
        assert_eq!(labels, [("version", "v1")]);
        assert!(Arc::ptr_eq(&endpoints[0].locality, &endpoints[1].locality));
    }

    #[test]
    fn equal_parts_are_shared_and_others_are_left() {
        let workload = |address: &str, version: &str| {
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w}}\n\
                 spec: {{address: {address}, labels: {{version: {version}}}}}"
            );
            Endpoint::of_workload(config(&text).spec.as_workload_entry().unwrap(), &service())
        };
        let (first, mut second) = (workload("10.0.0.1", "v1"), workload("10.0.0.2", "v2"));
        second.share_with(&first);
        assert!(Arc::ptr_eq(&first.ports, &second.ports) && Arc::ptr_eq(&first.locality, &second.locality));
        assert_eq!(second.labels.get("version"), Some("v2"));
    }
}
