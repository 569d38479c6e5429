//! Definitions of services: by host, by namespace, and by virtual address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rutter_api::Hostname;

use crate::edges::{link, unlink};
use crate::model::{Service, ServiceKey};

/// The definitions of services, by host, by namespace and by virtual address. One host may have several definitions.
#[derive(Debug, Default, Clone)]
pub(super) struct ServiceIndex {
    /// The definitions of each host, nearly always one, in the order of the objects that define them.
    definitions: BTreeMap<Hostname, Vec<Arc<Service>>>,
    /// The hosts that objects of a namespace define, each with the number of its definitions there.
    hosts_of_namespace: HashMap<Arc<str>, BTreeMap<Hostname, usize>>,
    /// The services without a virtual address that were given one, as clients see them that can learn it.
    addressed: HashMap<ServiceKey, Arc<Service>>,
    /// The hosts that have a virtual address.
    hosts_at: HashMap<IpAddr, BTreeSet<Hostname>>,
}

impl ServiceIndex {
    pub(super) fn insert(&mut self, service: Arc<Service>) {
        let host = &service.key.host;
        let hosts = self.hosts_of_namespace.entry(service.namespace().clone()).or_default();
        *hosts.entry(host.clone()).or_default() += 1;
        for ip in &service.addresses {
            link(&mut self.hosts_at, *ip, host.clone());
        }
        // Nearly every host has one definition: a vector would otherwise make room for four.
        let definitions = self.definitions.entry(host.clone()).or_insert_with(|| Vec::with_capacity(1));
        match definitions.binary_search_by_key(&&service.key.origin, |definition| &definition.key.origin) {
            Ok(at) => definitions[at] = service,
            Err(at) => definitions.insert(at, service),
        }
    }

    /// Removes a definition and returns it as it was kept.
    pub(super) fn remove(&mut self, key: &ServiceKey) -> Option<Arc<Service>> {
        let definitions = self.definitions.get_mut(&key.host)?;
        let at = definitions.binary_search_by_key(&&key.origin, |definition| &definition.key.origin).ok()?;
        let removed = definitions.remove(at);
        let given = self.addressed.remove(key);
        let given = given.iter().flat_map(|addressed| &addressed.addresses);
        for ip in removed.addresses.iter().chain(given) {
            if !definitions.iter().any(|definition| definition.addresses.contains(ip)) {
                unlink(&mut self.hosts_at, ip, &key.host);
            }
        }
        if definitions.is_empty() {
            self.definitions.remove(&key.host);
        }
        if let Some(hosts) = self.hosts_of_namespace.get_mut(removed.namespace()) {
            let left = hosts.remove(&key.host).unwrap_or_default();
            if left > 1 {
                hosts.insert(key.host.clone(), left - 1);
            }
        }
        Some(removed)
    }

    pub(super) fn get(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.definitions.get(&key.host)?.iter().find(|definition| definition.key.origin == key.origin)
    }

    /// Takes over which address a service was given that has none.
    pub(super) fn give_address(&mut self, key: &ServiceKey, address: Option<Ipv4Addr>) -> Option<Arc<Service>> {
        let service = self.get(key)?.clone();
        if let Some(before) = self.addressed.remove(key) {
            let is_written = |ip: &IpAddr| self.definitions(&key.host).iter().any(|other| other.addresses.contains(ip));
            for ip in before.addresses.iter().filter(|ip| !is_written(ip)).copied().collect::<Vec<_>>() {
                unlink(&mut self.hosts_at, &ip, &key.host);
            }
        }
        if let Some(address) = address {
            let address = IpAddr::V4(address);
            link(&mut self.hosts_at, address, key.host.clone());
            self.addressed.insert(key.clone(), Arc::new(Service { addresses: vec![address], ..(*service).clone() }));
        }
        Some(service)
    }

    /// Returns a service as clients see it that can learn the address which it was given.
    pub(super) fn addressed<'a>(&'a self, service: &'a Arc<Service>) -> &'a Arc<Service> {
        self.addressed.get(&service.key).unwrap_or(service)
    }

    /// Returns every definition of a host.
    pub(super) fn definitions(&self, host: &Hostname) -> &[Arc<Service>] {
        self.definitions.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns every host that some service has.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.definitions.keys()
    }

    pub(super) fn hosts_of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Hostname> {
        self.hosts_of_namespace.get(namespace).into_iter().flat_map(BTreeMap::keys)
    }

    pub(super) fn hosts_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Hostname> {
        self.hosts_at.get(ip).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::services_of;
    use crate::testing::config;

    fn service(name: &str, namespace: &str, host: &str) -> Arc<Service> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [{host}], addresses: [240.0.0.1], resolution: STATIC, ports: [{{number: 80, name: http}}]}}"
        );
        Arc::new(services_of(&config(&text), "cluster.local").remove(0))
    }

    #[test]
    fn a_host_is_found_by_namespace_and_address_until_its_last_definition_goes() {
        let mut index = ServiceIndex::default();
        let definitions = [service("e1", "shop", "a.x"), service("e2", "shop", "a.x"), service("e1", "bank", "a.x")];
        definitions.iter().for_each(|definition| index.insert(definition.clone()));
        let (host, ip): (Hostname, IpAddr) = ("a.x".parse().unwrap(), "240.0.0.1".parse().unwrap());
        let namespaces: Vec<&str> =
            index.definitions(&host).iter().map(|definition| &**definition.namespace()).collect();
        assert_eq!(namespaces, ["bank", "shop", "shop"], "in the order of the objects' keys");

        index.remove(&definitions[0].key);
        assert_eq!(index.hosts_of_namespace("shop").count(), 1, "another object of the namespace still defines it");
        index.remove(&definitions[1].key);
        assert_eq!(index.hosts_of_namespace("shop").count(), 0);
        assert_eq!(index.hosts_at(&ip).count(), 1);
        assert!(index.get(&definitions[2].key).is_some());
        index.remove(&definitions[2].key);
        assert_eq!((index.hosts().count(), index.hosts_at(&ip).count()), (0, 0));
        assert!(index.remove(&definitions[2].key).is_none());
    }
}
