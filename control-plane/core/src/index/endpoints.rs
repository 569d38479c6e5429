//! Endpoints: by service, and services by the addresses of their endpoints.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind};

use crate::edges::{link, unlink};
use crate::model::{Endpoint, ServiceKey};

/// The label by which an EndpointSlice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The endpoints of services, the EndpointSlices that they come from, and the services by the addresses of their
/// endpoints. They are computed again for a service when one of its slices or workloads changes, and for no other.
#[derive(Debug, Default, Clone)]
pub(super) struct EndpointIndex {
    by_service: HashMap<ServiceKey, Arc<Vec<Endpoint>>>,
    /// The one empty list. Encodings are told apart by the addresses of their inputs, so every service without
    /// endpoints must have the same list. Otherwise every such service would be encoded once for each scope.
    none: Arc<Vec<Endpoint>>,
    /// The EndpointSlices of each Kubernetes Service.
    slices: HashMap<ConfigKey, BTreeSet<ConfigKey>>,
    /// The services that have an endpoint at an address. The addresses of one service nearly always share a list.
    services_at: HashMap<IpAddr, Arc<[ServiceKey]>>,
}

impl EndpointIndex {
    pub(super) fn insert_slice(&mut self, config: &Config) {
        if let Some(service) = service_of_slice(config) {
            link(&mut self.slices, service, config.key.clone());
        }
    }

    pub(super) fn remove_slice(&mut self, config: &Config) {
        if let Some(service) = service_of_slice(config) {
            unlink(&mut self.slices, &service, &config.key);
        }
    }

    /// Returns the EndpointSlices of a Kubernetes Service.
    pub(super) fn slices_of(&self, service: &ConfigKey) -> impl Iterator<Item = &ConfigKey> {
        self.slices.get(service).into_iter().flatten()
    }

    /// Returns the endpoints of a service.
    pub(super) fn get(&self, key: &ServiceKey) -> &Arc<Vec<Endpoint>> {
        self.by_service.get(key).unwrap_or(&self.none)
    }

    /// Returns the services that have an endpoint at an address.
    pub(super) fn services_at(&self, ip: &IpAddr) -> &[ServiceKey] {
        self.services_at.get(ip).map(|keys| &**keys).unwrap_or_default()
    }

    /// Replaces the endpoints of a service; both the old and the new list are sorted. Returns the addresses of the
    /// endpoints that came, went or changed, or `None` if the endpoints are what they were.
    pub(super) fn replace(&mut self, key: &ServiceKey, new: Vec<Endpoint>) -> Option<Vec<IpAddr>> {
        let old = self.get(key).clone();
        if *old == new {
            return None;
        }
        self.replace_addresses(key, &old, &new);
        let gone = old.iter().filter(|endpoint| new.binary_search(endpoint).is_err());
        let come = new.iter().filter(|endpoint| old.binary_search(endpoint).is_err());
        let changed = gone.chain(come).filter_map(Endpoint::ip).collect();
        if new.is_empty() {
            self.by_service.remove(key);
        } else {
            self.by_service.insert(key.clone(), Arc::new(new));
        }
        Some(changed)
    }

    fn replace_addresses(&mut self, key: &ServiceKey, old: &[Endpoint], new: &[Endpoint]) {
        let old_ips: BTreeSet<IpAddr> = old.iter().filter_map(Endpoint::ip).collect();
        let new_ips: BTreeSet<IpAddr> = new.iter().filter_map(Endpoint::ip).collect();
        let alone = old_ips.iter().filter_map(|ip| self.services_at.get(ip)).find(|services| services.len() == 1);
        let alone = alone.cloned().unwrap_or_else(|| [key.clone()].into());
        for ip in old_ips.difference(&new_ips) {
            let Some(services) = self.services_at.remove(ip) else { continue };
            let rest: Vec<ServiceKey> = services.iter().filter(|service| *service != key).cloned().collect();
            if !rest.is_empty() {
                self.services_at.insert(*ip, rest.into());
            }
        }
        for ip in new_ips.difference(&old_ips) {
            let services = self.services_at.entry(*ip).or_insert_with(|| alone.clone());
            if !services.contains(key) {
                *services = services.iter().chain([key]).cloned().collect();
            }
        }
    }
}

/// Returns the Kubernetes Service that an EndpointSlice belongs to.
fn service_of_slice(config: &Config) -> Option<ConfigKey> {
    let name = config.labels.get(SERVICE_NAME_LABEL)?;
    Some(ConfigKey::new(Kind::Service, &config.key.namespace, name))
}

/// Returns the key of the service whose endpoints an EndpointSlice holds.
pub(super) fn service_key_of_slice(config: &Config, domain: &str) -> Option<ServiceKey> {
    let origin = service_of_slice(config)?;
    Some(ServiceKey { host: Hostname::kubernetes(&origin.name, &origin.namespace, domain), origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rutter_api::Labels;

    fn key(name: &str) -> ServiceKey {
        let origin = ConfigKey::new(Kind::Service, "shop", name);
        ServiceKey { host: Hostname::kubernetes(name, "shop", "cluster.local"), origin }
    }

    fn endpoints(addresses: &[&str]) -> Vec<Endpoint> {
        let endpoint = |address: &&str| Endpoint {
            locality: Arc::default(),
            address: (*address).into(),
            ports: [(80, 8080)].into(),
            labels: Labels::default(),
            weight: 1,
        };
        addresses.iter().map(endpoint).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_endpoints_that_differ_are_reported() {
        let mut index = EndpointIndex::default();
        assert_eq!(index.replace(&key("a"), endpoints(&["10.0.0.1", "10.0.0.2"])).unwrap().len(), 2);
        assert_eq!(index.replace(&key("a"), endpoints(&["10.0.0.1", "10.0.0.2"])), None);
        let changed = index.replace(&key("a"), endpoints(&["10.0.0.2", "10.0.0.3"]));
        assert_eq!(changed, Some(vec![ip("10.0.0.1"), ip("10.0.0.3")]));
    }

    #[test]
    fn an_address_may_belong_to_several_services() {
        let mut index = EndpointIndex::default();
        index.replace(&key("a"), endpoints(&["10.0.0.1"]));
        index.replace(&key("b"), endpoints(&["10.0.0.1"]));
        assert_eq!(index.services_at(&ip("10.0.0.1")), [key("a"), key("b")]);
        index.replace(&key("a"), Vec::new());
        assert_eq!(index.services_at(&ip("10.0.0.1")), [key("b")]);
        index.replace(&key("b"), Vec::new());
        assert!(index.services_at(&ip("10.0.0.1")).is_empty());
        assert!(Arc::ptr_eq(index.get(&key("a")), index.get(&key("b"))), "there is one empty list");
    }

    #[test]
    fn the_addresses_of_a_service_share_their_list_of_services() {
        let mut index = EndpointIndex::default();
        index.replace(&key("a"), endpoints(&["10.0.0.1", "10.0.0.2"]));
        index.replace(&key("a"), endpoints(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
        let lists: Vec<_> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].iter().map(|text| &index.services_at[&ip(text)]).collect();
        assert!(lists.iter().all(|list| Arc::ptr_eq(list, lists[0])));
    }
}
