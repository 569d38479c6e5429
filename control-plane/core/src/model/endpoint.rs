//! Endpoints of services, from EndpointSlices, ServiceEntries, WorkloadEntries and Pods.

use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::WorkloadEntry;
use rutter_api::config::kubernetes::{EndpointSlice, EndpointUse, Pod, SliceEndpoint, SlicePort, TrafficDistribution};
use rutter_api::node::{Locality, locality_of_text};
use rutter_api::{Config, Labels, socket_path};

use super::service::Service;

/// One place where a service is reached. A mesh has more of these than of anything else, so endpoints of a service
/// share what they have in common. The locality, the ports and the labels are counted references for that reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where the endpoint is.
    pub locality: Arc<Locality>,
    /// An IP address, that of a Unix socket, or a DNS name if sidecars ask DNS for the service.
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

    /// Returns whether the endpoint is a Unix socket.
    pub fn is_socket(&self) -> bool {
        socket_path(&self.address).is_some()
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

    /// Returns the endpoint that a Pod is for a service that selects it: its first address, if it is ready.
    pub(crate) fn of_pod(config: &Config, pod: &Pod, service: &Service) -> Option<Self> {
        let address = pod.addresses.first().filter(|_| pod.ready)?;
        Some(Self {
            locality: Arc::new(locality_of_labels(&config.labels).unwrap_or_default()),
            address: address.clone(),
            ports: service.ports.iter().map(|port| (port.number, port.target)).collect(),
            labels: config.labels.clone(),
            weight: 1,
        })
    }

    /// Returns the ready endpoints of a slice for a service. Their labels are those of their Pods, which `pod_of` finds by
    /// name; without a Pod, they are those of the slice without Kubernetes' own.
    pub(crate) fn of_slice<'a>(
        slice_labels: &Labels,
        slice: &EndpointSlice,
        service: &Service,
        pod_of: impl Fn(&str) -> Option<&'a Config>,
    ) -> Vec<Self> {
        let labels = slice_labels.iter().filter(|(key, _)| !is_kubernetes_label(key));
        let labels: Labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let ports =
            service.ports.iter().filter_map(|port| Some((port.number, slice_target(&slice.ports, &port.name)?)));
        let ports: Arc<[(u16, u16)]> = ports.collect();
        let mut endpoints = Vec::new();
        let EndpointUse { with_not_ready, is_node_local, distribution, .. } = service.endpoint_use;
        let is_node_needed = is_node_local || distribution == TrafficDistribution::SameNode;
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready || with_not_ready) {
            let pod = endpoint.pod.as_deref().and_then(&pod_of).filter(|pod| is_pod_of(pod, endpoint));
            let labels = pod.map_or(&labels, |pod| &pod.labels);
            let locality = pod.and_then(|pod| locality_of_labels(&pod.labels));
            let labels = if is_node_needed { with_node(labels, &endpoint.node) } else { labels.clone() };
            let locality: Arc<Locality> =
                Arc::new(locality.unwrap_or_else(|| ["".into(), (*endpoint.zone).into(), "".into()]));
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

/// The label by which Istio lets a Pod say where it is: `region.zone.sub-zone`.
const LOCALITY_LABEL: &str = "istio-locality";

/// Returns where a workload is, if its labels say so.
fn locality_of_labels(labels: &Labels) -> Option<Locality> {
    let text = labels.get(LOCALITY_LABEL).filter(|text| !text.is_empty())?;
    // Values of labels have no slashes.
    Some(locality_of_text(&text.replace('.', "/")))
}

/// Returns whether a Pod is at an address of an endpoint that names it. If it is not, one of the two is out of date.
fn is_pod_of(config: &Config, endpoint: &SliceEndpoint) -> bool {
    let addresses = config.spec.as_pod().map(|pod| &pod.addresses);
    addresses.is_some_and(|addresses| addresses.iter().any(|address| endpoint.addresses.contains(address)))
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
        let endpoints = Endpoint::of_slice(&config.labels, slice, &service(), |_| None);
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
