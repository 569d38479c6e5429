//! How urgent a batch is, told before it is taken in.

use rutter_api::{Config, Spec};

use super::mesh_index::MeshIndex;
use crate::debounce::{ConfigBatch, ConfigChange, Urgency};

/// Returns whether a batch removes an endpoint that the index has. Requests go on to that endpoint until every sidecar
/// knows, so such a batch must not wait. A batch that does something else as well goes at once as a whole.
pub fn urgency_of(batch: &ConfigBatch, index: &MeshIndex) -> Urgency {
    let removes = batch.changes.iter().any(|(key, change)| {
        let Some(old) = index.config(key) else { return false };
        match change {
            ConfigChange::Put(new) => removes_endpoint(old, Some(new)),
            ConfigChange::Delete => removes_endpoint(old, None),
        }
    });
    if removes { Urgency::RemovesEndpoints } else { Urgency::Usual }
}

/// Returns whether an address that took traffic no longer does, or has other labels, after an object changed.
fn removes_endpoint(old: &Config, new: Option<&Config>) -> bool {
    match &old.spec {
        Spec::EndpointSlice(old) => {
            let new = new.and_then(|config| config.spec.as_endpoint_slice());
            let is_kept = |address| new.is_some_and(|slice| slice.ready_addresses().any(|kept| kept == address));
            old.ready_addresses().any(|address| !is_kept(address))
        }
        Spec::WorkloadEntry(old) => new.and_then(|config| config.spec.as_workload_entry()) != Some(old),
        Spec::Pod(pod) => {
            let is_as_before = |new: &Config| new.spec.as_pod() == Some(pod) && new.labels == old.labels;
            !pod.addresses.is_empty() && !new.is_some_and(is_as_before)
        }
        Spec::ServiceEntry(old) => match new.map(|config| &config.spec) {
            Some(Spec::ServiceEntry(new)) => old.endpoints.iter().any(|endpoint| !new.endpoints.contains(endpoint)),
            // A key has one kind, so that any other spec means that the entry is gone.
            Some(_) | None => !old.endpoints.is_empty(),
        },
        Spec::Namespace
        | Spec::WorkloadGroup(_)
        | Spec::Service(_)
        | Spec::MeshConfig(_)
        | Spec::Secret(_)
        | Spec::Ingress(_)
        | Spec::Gateway(_)
        | Spec::VirtualService(_)
        | Spec::DestinationRule(_)
        | Spec::Sidecar(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;
    use crate::settings::MeshSettings;
    use crate::testing::{batch, configs, delete};

    const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
        spec: {hosts: [e.x], resolution: STATIC, ports: [{number: 80, name: http}], \
        endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]}\n---\n";
    const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
        metadata: {name: s, labels: {kubernetes.io/service-name: a}}\n\
        addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\n---\n";
    const WORKLOAD: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n\
        spec: {address: 10.0.0.9, labels: {version: v1}}\n";

    #[test]
    fn what_removes_an_endpoint_is_told_from_what_adds_one() {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(&format!("{ENTRY}{SLICE}{WORKLOAD}"))));
        let removes = |batch: &ConfigBatch| urgency_of(batch, &index) == Urgency::RemovesEndpoints;
        let put_removes = |text: &str| removes(&batch(configs(text)));
        assert!(put_removes(&ENTRY.replace("{address: 10.0.0.1}, ", "")));
        assert!(!put_removes(&ENTRY.replace("endpoints: [", "endpoints: [{address: 10.0.0.3}, ")));
        assert!(!put_removes(&ENTRY.replace("number: 80", "number: 81")));
        assert!(put_removes(&SLICE.replace("[10.0.0.1]", "[10.0.0.1], conditions: {ready: false}")));
        assert!(!put_removes(&SLICE.replace("[10.0.0.1]", "[10.0.0.1, 10.0.0.2]")));
        assert!(put_removes(&WORKLOAD.replace("version: v1", "version: v2")) && !put_removes(WORKLOAD));
        assert!(!put_removes(&WORKLOAD.replace("name: w", "name: new")));
        assert!(removes(&delete(Kind::EndpointSlice, "default", "s")));
        assert!(removes(&delete(Kind::ServiceEntry, "default", "e")));
        assert!(removes(&delete(Kind::WorkloadEntry, "default", "w")));
        assert!(!removes(&delete(Kind::WorkloadEntry, "default", "unknown")));
    }
}
