//! The endpoints of services: what changes them, and where they come from.

use rutter_api::{Config, ConfigKey, Kind, Spec};

use super::{MeshIndex, Progress, Replacement};
use crate::index::delta::IndexDelta;
use crate::index::workloads::workload_labels;
use crate::model::{Endpoint, Service, ServiceKey};

impl MeshIndex {
    pub(super) fn replace_slice(&mut self, replacement: &Replacement<'_>, progress: &mut Progress) {
        if let Some(old) = replacement.old {
            self.endpoints.remove_slice(old);
        }
        if let Some(new) = replacement.new {
            self.endpoints.insert_slice(new);
        }
        progress.stale.extend(replacement.both().filter_map(|config| self.service_of_slice(config)));
    }

    pub(super) fn replace_workload(&mut self, replacement: &Replacement<'_>, progress: &mut Progress) {
        if let Some(old) = replacement.old {
            self.workloads.remove_workload(old);
        }
        if let Some(new) = replacement.new {
            self.workloads.insert_workload(new);
        }
        for config in replacement.both() {
            progress.stale.extend(self.services_selecting(config));
        }
    }

    /// Takes a Pod over: a workload, and what its endpoints in EndpointSlices have their labels from.
    pub(super) fn replace_pod(&mut self, replacement: &Replacement<'_>, progress: &mut Progress) {
        self.replace_workload(replacement, progress);
        let addresses = replacement.both().filter_map(|config| config.spec.as_pod()).flat_map(|pod| &pod.addresses);
        for ip in addresses.filter_map(|address| address.parse().ok()) {
            progress.stale.extend(self.endpoints.services_at(&ip).iter().cloned());
        }
    }

    fn services_selecting(&self, workload: &Config) -> Vec<ServiceKey> {
        let Some(labels) = workload_labels(workload) else { return Vec::new() };
        let may_select = self.workloads.services_that_may_select(workload);
        let selects =
            |key: &&&ServiceKey| self.services.get(key).is_some_and(|service| service.selects(&workload.key, labels));
        may_select.iter().filter(selects).map(|key| (*key).clone()).collect()
    }

    pub(super) fn collect_endpoints_again(&mut self, key: &ServiceKey, delta: &mut IndexDelta) {
        let endpoints = self.services.get(key).map(|service| self.collect_endpoints(service)).unwrap_or_default();
        if let Some(addresses) = self.endpoints.replace(key, endpoints) {
            delta.addresses.extend(addresses);
            delta.endpoints.insert(key.clone());
        }
    }

    /// Returns the endpoints of a service from every object that names some, sorted.
    fn collect_endpoints(&self, service: &Service) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let origin = &service.key.origin;
        for config in self.endpoints.slices_of(origin).filter_map(|key| self.objects.get(key)) {
            if let Some(slice) = config.spec.as_endpoint_slice() {
                let pod_of = |name: &str| {
                    let key = ConfigKey::new(Kind::Pod, &config.key.namespace, name);
                    self.objects.get(&key).map(|pod| &**pod)
                };
                endpoints.extend(Endpoint::of_slice(&config.labels, slice, service, pod_of));
            }
        }
        if let Some(Spec::ServiceEntry(entry)) = self.objects.get(origin).map(|config| &config.spec) {
            endpoints.extend(entry.endpoints.iter().map(|workload| Endpoint::of_workload(workload, service)));
        }
        for key in self.workloads.workloads_that_may_be_selected(service) {
            let Some(config) = self.objects.get(key) else { continue };
            if !workload_labels(config).is_some_and(|labels| service.selects(key, labels)) {
                continue;
            }
            let entry = config.spec.as_workload_entry();
            endpoints.extend(entry.map(|entry| Endpoint::of_workload(entry, service)));
            endpoints.extend(config.spec.as_pod().and_then(|pod| Endpoint::of_pod(config, pod, service)));
        }
        if !service.discovery.is_told() {
            // An Envoy that asks DNS takes no Unix socket.
            endpoints.retain(|endpoint| !endpoint.is_socket());
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        for at in 1..endpoints.len() {
            let (earlier, rest) = endpoints.split_at_mut(at);
            rest[0].share_with(&earlier[at - 1]);
        }
        endpoints.shrink_to_fit();
        endpoints
    }
}
