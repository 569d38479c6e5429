//! How urgent a commit is, told before it is taken in.

use rutter_api::{Config, Spec};

use super::MeshIndex;
use crate::debounce::{ConfigBatch, ConfigChange};

impl MeshIndex {
    /// Whether some endpoint goes with a commit.
    pub fn removes_endpoints(&self, batch: &ConfigBatch) -> bool {
        batch.changes.iter().any(|(key, change)| {
            let old = self.configs.get(key).map(|config| &**config);
            match change {
                ConfigChange::Put(new) => removes(old, Some(&**new)),
                ConfigChange::Delete => removes(old, None),
            }
        })
    }
}

/// Whether an address that took traffic no longer does, or has other labels.
fn removes(old: Option<&Config>, new: Option<&Config>) -> bool {
    match (old.map(|config| &config.spec), new.map(|config| &config.spec)) {
        (Some(Spec::EndpointSlice(old)), new) => {
            let ready = |slice: &rutter_api::config::kubernetes::EndpointSlice, address: &str| {
                let here = |one: &&rutter_api::config::kubernetes::SliceEndpoint| one.ready;
                slice.endpoints.iter().filter(here).flat_map(|one| &one.addresses).any(|other| **other == *address)
            };
            let kept = |address: &str| matches!(new, Some(Spec::EndpointSlice(new)) if ready(new, address));
            let before = old.endpoints.iter().filter(|one| one.ready).flat_map(|one| &one.addresses);
            before.into_iter().any(|address| !kept(address))
        }
        (Some(Spec::WorkloadEntry(old)), new) => !matches!(new, Some(Spec::WorkloadEntry(new)) if new == old),
        (Some(Spec::ServiceEntry(old)), Some(Spec::ServiceEntry(new))) => {
            old.endpoints.iter().any(|endpoint| !new.endpoints.contains(endpoint))
        }
        (Some(Spec::ServiceEntry(old)), None) => !old.endpoints.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MeshSettings;
    use crate::index::tests::{batch, configs, delete};
    use rutter_api::Kind;

    const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
        spec: {hosts: [e.x], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]}\n---\n";
    const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: {kubernetes.io/service-name: a}}\n\
        addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\n";

    #[test]
    fn what_removes_an_endpoint_is_told_from_what_adds_one() {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(&format!("{ENTRY}{SLICE}"))));
        let of = |text: &str| index.removes_endpoints(&batch(configs(text)));
        assert!(of(&ENTRY.replace("{address: 10.0.0.1}, ", "")));
        assert!(!of(&ENTRY.replace("endpoints: [", "endpoints: [{address: 10.0.0.3}, ")));
        assert!(!of(&ENTRY.replace("number: 80", "number: 81")));
        assert!(of(&SLICE.replace("[10.0.0.1]", "[10.0.0.1], conditions: {ready: false}")));
        assert!(!of(&SLICE.replace("[10.0.0.1]", "[10.0.0.1, 10.0.0.2]")));
        assert!(index.removes_endpoints(&delete(Kind::EndpointSlice, "default", "s")));
        assert!(index.removes_endpoints(&delete(Kind::ServiceEntry, "default", "e")));
    }
}
