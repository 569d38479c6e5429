//! How urgent a commit is, told before it is taken in.

use rutter_api::{Config, ConfigKey, Spec};

use super::MeshIndex;
use super::service::services_of;
use crate::debounce::{ConfigBatch, ConfigChange, Urgency};

impl MeshIndex {
    /// Whether a commit is about endpoints only, and whether some endpoint goes.
    pub fn urgency(&self, batch: &ConfigBatch) -> Urgency {
        let mut urgency = Urgency { only_endpoints: true, removes_endpoints: false };
        for (key, change) in &batch.changes {
            let one = self.urgency_of(key, change);
            urgency.only_endpoints &= one.only_endpoints;
            urgency.removes_endpoints |= one.removes_endpoints;
        }
        urgency
    }

    fn urgency_of(&self, key: &ConfigKey, change: &ConfigChange) -> Urgency {
        let old = self.configs.get(key).map(|config| &**config);
        let new = match change {
            ConfigChange::Put(config) => Some(&**config),
            ConfigChange::Delete => None,
        };
        let only_endpoints = match (old, new) {
            (Some(Config { spec: Spec::EndpointSlice(_) | Spec::WorkloadEntry(_), .. }), _)
            | (None, Some(Config { spec: Spec::EndpointSlice(_) | Spec::WorkloadEntry(_), .. })) => true,
            (Some(old), Some(new)) if matches!(old.spec, Spec::ServiceEntry(_)) => {
                let services = |config: &Config| {
                    let mut all = services_of(config, &self.settings.domain);
                    // Who created it is known when it is taken in.
                    all.iter_mut().for_each(|service| service.created = 0);
                    all
                };
                services(old) == services(new)
            }
            _ => false,
        };
        Urgency { only_endpoints, removes_endpoints: removes(old, new) }
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
        let urgency = |batch| {
            let urgency = index.urgency(&batch);
            (urgency.only_endpoints, urgency.removes_endpoints)
        };
        let of = |text: &str| urgency(batch(configs(text)));
        assert_eq!(of(&ENTRY.replace("{address: 10.0.0.1}, ", "")), (true, true));
        assert_eq!(of(&ENTRY.replace("endpoints: [", "endpoints: [{address: 10.0.0.3}, ")), (true, false));
        assert_eq!(of(&ENTRY.replace("number: 80", "number: 81")), (false, false));
        assert_eq!(of(&SLICE.replace("[10.0.0.1]", "[10.0.0.1], conditions: {ready: false}")), (true, true));
        assert_eq!(of(&SLICE.replace("[10.0.0.1]", "[10.0.0.1, 10.0.0.2]")), (true, false));
        assert_eq!(urgency(delete(Kind::EndpointSlice, "default", "s")), (true, true));
        assert_eq!(urgency(delete(Kind::ServiceEntry, "default", "e")), (false, true));
    }
}
