//! VirtualServices: by the hosts that they route, by the hosts that they send to, and by what they ask of clients.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::config::istio::VirtualService;
use rutter_api::{Config, ConfigKey, Hostname, Labels};

use super::by_host::ByHost;
use super::delta::IndexDelta;
use super::label_sets::LabelSets;
use crate::edges::{link, unlink};
use crate::model::{bound_gateways, delegates_of, is_for_mesh, sources_of};

/// The VirtualServices, with the routes of their delegates in them.
#[derive(Debug, Default, Clone)]
pub(super) struct VirtualServiceIndex {
    /// Those for sidecars, by the hosts that they route.
    routing: ByHost,
    /// Those for gateways, by the hosts that they route.
    bound: ByHost,
    /// Those that are bound to a Gateway object, which need not exist.
    bound_to: HashMap<ConfigKey, BTreeSet<ConfigKey>>,
    sending_to: ByHost,
    /// The VirtualServices with a condition for clients of a namespace.
    for_clients_of: HashMap<Box<str>, BTreeSet<ConfigKey>>,
    /// The label sets that conditions ask of clients.
    source_labels: LabelSets,
    /// The VirtualServices that delegate, as they are written.
    delegating: BTreeMap<ConfigKey, Arc<Config>>,
    /// Those that delegate to a VirtualService, which need not exist.
    delegating_to: HashMap<ConfigKey, BTreeSet<ConfigKey>>,
}

impl VirtualServiceIndex {
    pub(super) fn insert(&mut self, config: &Config, domain: &str, delta: &mut IndexDelta) {
        if is_for_mesh(config) {
            routed_hosts(config, domain).into_iter().for_each(|host| self.routing.insert(host, config));
        }
        for gateway in bound_gateways(config) {
            link(&mut self.bound_to, gateway, config.key.clone());
            routed_hosts(config, domain).into_iter().for_each(|host| self.bound.insert(host, config));
        }
        destinations(config, domain).into_iter().for_each(|host| self.sending_to.insert(host, config));
        for (labels, namespace) in sources_of(config) {
            if let Some(namespace) = namespace {
                link(&mut self.for_clients_of, namespace.into(), config.key.clone());
            }
            self.source_labels.add(labels, delta);
        }
    }

    pub(super) fn remove(&mut self, config: &Config, domain: &str, delta: &mut IndexDelta) {
        routed_hosts(config, domain).iter().for_each(|host| self.routing.remove(host, config));
        routed_hosts(config, domain).iter().for_each(|host| self.bound.remove(host, config));
        bound_gateways(config).iter().for_each(|gateway| unlink(&mut self.bound_to, gateway, &config.key));
        destinations(config, domain).iter().for_each(|host| self.sending_to.remove(host, config));
        for (labels, namespace) in sources_of(config) {
            if let Some(namespace) = namespace {
                unlink(&mut self.for_clients_of, &namespace.into(), &config.key);
            }
            self.source_labels.remove(labels, delta);
        }
    }

    /// Takes over to which others a VirtualService delegates, as it is written. `None` means that it does not exist.
    pub(super) fn note_delegates(&mut self, key: &ConfigKey, written: Option<&Arc<Config>>) {
        if let Some(old) = self.delegating.remove(key) {
            delegates_of(&old).iter().for_each(|delegate| unlink(&mut self.delegating_to, delegate, key));
        }
        let Some(written) = written else { return };
        let delegates = delegates_of(written);
        if !delegates.is_empty() {
            self.delegating.insert(key.clone(), written.clone());
            delegates.into_iter().for_each(|delegate| link(&mut self.delegating_to, delegate, key.clone()));
        }
    }

    /// Returns a VirtualService as it is written, if it delegates.
    pub(super) fn delegating(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        self.delegating.get(key)
    }

    /// Returns the VirtualServices that delegate to another, as they are written.
    pub(super) fn delegating_to(&self, delegate: &ConfigKey) -> Vec<Arc<Config>> {
        let keys = self.delegating_to.get(delegate).into_iter().flatten();
        keys.filter_map(|key| self.delegating.get(key)).cloned().collect()
    }

    /// Returns the VirtualServices for gateways that route a host by its name or by a wildcard.
    pub(super) fn bound(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        self.bound.covering(host)
    }

    /// Returns the VirtualServices that are bound to a Gateway object.
    pub(super) fn bound_to(&self, gateway: &ConfigKey) -> impl Iterator<Item = &ConfigKey> {
        self.bound_to.get(gateway).into_iter().flatten()
    }

    /// Returns whether some VirtualService for sidecars names exactly this host.
    pub(super) fn routes(&self, host: &Hostname) -> bool {
        self.routing.contains(host)
    }

    /// Returns every host, wildcards included, that some VirtualService for sidecars routes.
    pub(super) fn routed_hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.routing.hosts()
    }

    /// Returns the VirtualServices for sidecars that route a host by its name or by a wildcard, the most specific first.
    pub(super) fn routing(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        self.routing.covering(host)
    }

    /// Returns the VirtualServices that send to a host.
    pub(super) fn sending_to(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> {
        self.sending_to.at(host)
    }

    /// Returns the VirtualServices with a condition for clients of a namespace.
    pub(super) fn for_clients_of(&self, namespace: &str) -> impl Iterator<Item = &ConfigKey> {
        self.for_clients_of.get(namespace).into_iter().flatten()
    }

    /// Returns the label sets that conditions ask of clients.
    pub(super) fn source_labels(&self) -> impl Iterator<Item = &Labels> {
        self.source_labels.iter()
    }
}

/// Returns the full hosts that a VirtualService routes, or none for other kinds.
pub(super) fn routed_hosts(config: &Config, domain: &str) -> Vec<Hostname> {
    let hosts = config.spec.as_virtual_service().map(|spec| spec.hosts.as_slice()).unwrap_or_default();
    hosts.iter().map(|host| host.resolve(&config.key.namespace, domain)).collect()
}

/// Returns the full hosts that a VirtualService sends to, or none for other kinds.
pub(super) fn destinations(config: &Config, domain: &str) -> BTreeSet<Hostname> {
    let destinations = config.spec.as_virtual_service().into_iter().flat_map(VirtualService::destinations);
    destinations.map(|destination| destination.host.resolve(&config.key.namespace, domain)).collect()
}
