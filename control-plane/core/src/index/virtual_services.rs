//! VirtualServices: by the hosts that they route, and by the hosts that they send to.

use std::collections::BTreeSet;

use rutter_api::{Config, ConfigKey, Hostname};

use super::by_host::ByHost;

/// The VirtualServices, by the hosts that they route and by the hosts that they send to.
#[derive(Debug, Default)]
pub(super) struct VirtualServiceIndex {
    routing: ByHost,
    sending_to: ByHost,
}

impl VirtualServiceIndex {
    pub(super) fn insert(&mut self, config: &Config, domain: &str) {
        routed_hosts(config, domain).into_iter().for_each(|host| self.routing.insert(host, config));
        destinations(config, domain).into_iter().for_each(|host| self.sending_to.insert(host, config));
    }

    pub(super) fn remove(&mut self, config: &Config, domain: &str) {
        routed_hosts(config, domain).iter().for_each(|host| self.routing.remove(host, config));
        destinations(config, domain).iter().for_each(|host| self.sending_to.remove(host, config));
    }

    /// Returns whether some VirtualService names exactly this host.
    pub(super) fn routes(&self, host: &Hostname) -> bool {
        self.routing.contains(host)
    }

    /// Returns every host, wildcards included, that some VirtualService routes.
    pub(super) fn routed_hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.routing.hosts()
    }

    /// Returns the VirtualServices that route a host by its name or by a wildcard, the most specific first.
    pub(super) fn routing(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        self.routing.covering(host)
    }

    /// Returns the VirtualServices that send to a host.
    pub(super) fn sending_to(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> {
        self.sending_to.at(host)
    }
}

/// Returns the full hosts that a VirtualService routes, or none for other kinds.
pub(super) fn routed_hosts(config: &Config, domain: &str) -> Vec<Hostname> {
    let hosts = config.spec.as_virtual_service().map(|spec| spec.hosts.as_slice()).unwrap_or_default();
    hosts.iter().map(|host| host.resolve(&config.key.namespace, domain)).collect()
}

/// Returns the full hosts that a VirtualService sends to, or none for other kinds.
pub(super) fn destinations(config: &Config, domain: &str) -> BTreeSet<Hostname> {
    let http = config.spec.as_virtual_service().map(|spec| spec.http.as_slice()).unwrap_or_default();
    let routes = http.iter().flat_map(|http| &http.route);
    routes.map(|route| route.destination.host.resolve(&config.key.namespace, domain)).collect()
}
