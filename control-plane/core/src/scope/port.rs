//! Ports at all addresses, and listeners at addresses of their own.

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::node::Interception;
use rutter_api::{Hostname, ResourceType};

use super::unit::HostUnit;
use super::{BoundListener, Encoder, Inputs, OutboundPort, Refreshed, ResourceName, Scope, Wanted, listener, route};
use crate::encode::EncodedResource;
use crate::encode::route::RouteTables;

/// Something for each of a few ports: a host has one or two.
#[derive(Debug, Clone)]
pub(super) struct PerPort<T>(Vec<(u16, T)>);

impl<T> Default for PerPort<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> PerPort<T> {
    pub(super) fn insert(&mut self, port: u16, value: T) {
        match self.0.binary_search_by_key(&port, |(port, _)| *port) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (port, value));
            }
        }
    }

    pub(super) fn get(&self, port: u16) -> Option<&T> {
        let at = self.0.binary_search_by_key(&port, |(port, _)| *port).ok()?;
        Some(&self.0[at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        self.0.iter().map(|(port, value)| (*port, value))
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|(port, _)| *port)
    }
}

/// How a host without an address of its own uses a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortUse {
    Http,
    Tls(String),
    Tcp(String),
}

/// How the hosts of a scope use a port.
#[derive(Debug, Default)]
pub(super) struct PortUses {
    /// How many for HTTP.
    http: usize,
    /// By those that do not.
    other: BTreeMap<Hostname, PortUse>,
}

impl PortUses {
    fn add(&mut self, host: &Hostname, port_use: &PortUse) {
        match port_use {
            PortUse::Http => self.http += 1,
            PortUse::Tls(_) | PortUse::Tcp(_) => drop(self.other.insert(host.clone(), port_use.clone())),
        }
    }

    fn remove(&mut self, host: &Hostname, port_use: &PortUse) {
        match port_use {
            PortUse::Http => self.http -= 1,
            PortUse::Tls(_) | PortUse::Tcp(_) => drop(self.other.remove(host)),
        }
    }
}

/// The first TCP service of a port gets what is neither HTTP nor TLS of a known name.
fn merge<'a>(http: bool, others: impl Iterator<Item = (&'a Hostname, &'a PortUse)>) -> OutboundPort {
    let mut port = OutboundPort { http, ..OutboundPort::default() };
    let others: BTreeMap<&Hostname, &PortUse> = others.collect();
    for (host, port_use) in others {
        match port_use {
            PortUse::Http => port.http = true,
            PortUse::Tls(cluster) => drop(port.tls.insert(host.to_string(), cluster.clone())),
            PortUse::Tcp(cluster) => drop(port.tcp.get_or_insert_with(|| cluster.clone())),
        }
    }
    port
}

fn resource_names(port: u16) -> [(ResourceType, ResourceName); 2] {
    let listener = format!("0.0.0.0_{port}");
    [(ResourceType::Listener, listener.into()), (ResourceType::Route, port.to_string().into())]
}

impl Scope {
    /// Counts a host's uses of ports; the ports at which they may differ, the base's being `under`.
    pub(super) fn place_uses(
        &mut self,
        host: &Hostname,
        (before, after): (Option<&HostUnit>, Option<&HostUnit>),
        under: Option<&HostUnit>,
    ) -> BTreeSet<u16> {
        let of = |unit: Option<&HostUnit>, port: u16| unit.and_then(|unit| unit.port_uses.get(port)).cloned();
        let ports = |unit: Option<&HostUnit>| -> BTreeSet<u16> {
            unit.into_iter().flat_map(|unit| unit.port_uses.ports()).collect()
        };
        let own: BTreeSet<u16> = [before, after].into_iter().flat_map(ports).collect();
        for port in &own {
            let (old, new) = (of(before, *port), of(after, *port));
            if old == new {
                continue;
            }
            let uses = self.ports.entry(*port).or_default();
            old.into_iter().for_each(|port_use| uses.remove(host, &port_use));
            new.into_iter().for_each(|port_use| uses.add(host, &port_use));
            if uses.http == 0 && uses.other.is_empty() {
                self.ports.remove(port);
            }
        }
        let is_other = |port: &u16| under.is_some() || of(before, *port) != of(after, *port);
        own.into_iter().filter(is_other).chain(ports(under)).collect()
    }

    /// How a port is used, the base's hosts being taken where they are not hidden.
    fn merged(&self, base: Option<&Scope>, port: u16) -> Option<OutboundPort> {
        let own = self.ports.get(&port);
        let under = base.and_then(|base| base.ports.get(&port));
        let mut http = own.map_or(0, |uses| uses.http) + under.map_or(0, |uses| uses.http);
        if let Some(base) = base.filter(|_| under.is_some()) {
            let hidden = self.hosts.keys().filter_map(|host| base.hosts.get(host)?.as_ref()?.port_uses.get(port));
            http -= hidden.filter(|port_use| **port_use == PortUse::Http).count();
        }
        let shown = under.into_iter().flat_map(|uses| &uses.other).filter(|(host, _)| !self.hosts.contains_key(host));
        let merged = merge(http > 0, own.into_iter().flat_map(|uses| &uses.other).chain(shown));
        (merged != OutboundPort::default()).then_some(merged)
    }

    pub(super) fn want_ports(
        &mut self,
        from: Inputs<'_>,
        ports: &BTreeSet<u16>,
        is_fallback_stale: bool,
        (wanted, refreshed, encoder): (&mut Wanted, &mut Refreshed, &mut Encoder),
    ) {
        for port in ports {
            let merged = self.merged(from.base, *port);
            let is_same = self.merged.get(port) == merged.as_ref();
            if !is_same {
                refreshed.ports.insert(*port);
            }
            match from.base {
                Some(base) if base.merged.get(port) == merged.as_ref() => wanted.extend(base.ready_resources(*port)),
                None if is_same && self.key.tables == RouteTables::Split && !is_fallback_stale => {}
                Some(_) | None => {
                    encoder.tables += 1;
                    wanted.extend(self.port_resources(*port, merged.as_ref()));
                }
            }
            match merged {
                Some(merged) => self.merged.insert(*port, merged),
                None => self.merged.remove(port),
            };
        }
    }

    /// The listener and the route table of a port at all addresses.
    fn port_resources(&self, port: u16, merged: Option<&OutboundPort>) -> Wanted {
        let name = port.to_string();
        let captured = self.key.interception == Interception::Redirect;
        let listener = merged.filter(|_| captured);
        let listener = listener.map(|merged| listener::encode_outbound_port(port, merged, self.allow_any));
        let table = merged.filter(|merged| merged.http).map(|_| match self.key.tables {
            RouteTables::Split => route::encode_head(&name, self.allow_any),
            RouteTables::Whole | RouteTables::PerHost => {
                let hosts = self.tables.get(&port).into_iter().flat_map(BTreeMap::values);
                route::encode_table(&name, hosts, self.allow_any)
            }
        });
        let [one, other] = resource_names(port);
        vec![(one.0, one.1, listener), (other.0, other.1, table)]
    }

    /// The same as they are.
    fn ready_resources(&self, port: u16) -> Wanted {
        let ready = |(kind, name): (ResourceType, ResourceName)| {
            let resource = self.snapshot.get(kind, &name).cloned();
            (kind, name, resource)
        };
        resource_names(port).into_iter().map(ready).collect()
    }

    /// The listeners that a sidecar without capture has to bind, by port.
    pub(crate) fn bound_listeners<'a>(
        &'a self,
        base: Option<&'a Scope>,
    ) -> impl Iterator<Item = (u16, BoundListener)> + 'a {
        let ports: BTreeSet<u16> =
            self.ports.keys().chain(base.iter().flat_map(|base| base.ports.keys())).copied().collect();
        ports.into_iter().filter_map(move |port| {
            let listener = match self.merged(base, port)? {
                OutboundPort { http: true, .. } => BoundListener::Routes(port.to_string()),
                OutboundPort { tcp: Some(cluster), .. } => BoundListener::Tcp(cluster),
                OutboundPort { tls, .. } => BoundListener::Tcp(tls.into_values().next()?),
            };
            Some((port, listener))
        })
    }

    /// Registers what a host claims at addresses of its own.
    pub(super) fn claim(&mut self, host: &Hostname, (before, after): (Option<&HostUnit>, Option<&HostUnit>)) {
        for listener in before.into_iter().flat_map(|unit| &unit.addressed) {
            if let Some(claims) = self.addressed.get_mut(&listener.name) {
                claims.remove(host);
                if claims.is_empty() {
                    self.addressed.remove(&listener.name);
                }
            }
        }
        for listener in after.into_iter().flat_map(|unit| &unit.addressed) {
            self.addressed.entry(listener.name.clone()).or_default().insert(host.clone(), listener.clone());
        }
    }

    /// The listener at an address of its own: that of the first host that claims it.
    pub(super) fn addressed_listener(&self, base: Option<&Scope>, name: &str) -> Option<EncodedResource> {
        let own = self.addressed.get(name).and_then(BTreeMap::first_key_value);
        let under = base.and_then(|base| base.addressed.get(name)).into_iter().flatten();
        let shown = under.filter(|(host, _)| !self.hosts.contains_key(*host)).min_by_key(|(host, _)| *host);
        own.into_iter().chain(shown).min_by_key(|(host, _)| *host).map(|(_, listener)| listener.clone())
    }
}
