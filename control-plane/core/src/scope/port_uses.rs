//! How the hosts of a scope use the ports that they share.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::Hostname;

use super::encoder::EncodedVirtualHost;
use crate::encode::listener::{ConnectionTargets, OutboundPort};
use crate::model::{Protocol, ServicePort};

/// Something for each of a few ports. A host has one port or two, so a sorted list is smaller than a map.
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

/// How a host uses a port that it shares with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortUse {
    /// Requests to the host are routed by the table of the port.
    Http,
    /// Connections go to where this says.
    Connections(ConnectionTargets),
}

/// How a host uses listeners at Unix sockets.
#[derive(Debug, Default, Clone)]
pub(super) struct SocketUses {
    /// The virtual hosts for the tables of those that route requests, in the order of the service's ports.
    pub(super) virtual_hosts: Vec<(u16, Arc<EncodedVirtualHost>)>,
    /// Where the others pass connections on to.
    pub(super) connections: Option<PortUse>,
}

impl SocketUses {
    /// Returns whether both are made from the same inputs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let virtual_hosts = || self.virtual_hosts.iter().map(|(_, encoded)| Arc::as_ptr(encoded));
        virtual_hosts().eq(other.virtual_hosts.iter().map(|(_, encoded)| Arc::as_ptr(encoded)))
            && self.connections == other.connections
    }
}

/// Returns the protocol of a port as a listener has it that may say itself whether requests are routed.
pub(super) fn protocol_at(port: &ServicePort, is_http: Option<bool>) -> Protocol {
    match is_http {
        Some(true) => Protocol::Http,
        Some(false) if port.protocol.is_http() || port.protocol == Protocol::Unknown => Protocol::Tcp,
        Some(false) | None => port.protocol,
    }
}

/// How all hosts of a scope use a port.
#[derive(Debug, Default, Clone)]
pub(super) struct PortUses {
    /// The number of hosts that use the port for HTTP.
    pub(super) http: usize,
    /// The uses of the other hosts.
    pub(super) not_http: BTreeMap<Hostname, PortUse>,
}

impl PortUses {
    pub(super) fn add(&mut self, host: &Hostname, port_use: PortUse) {
        match port_use {
            PortUse::Http => self.http += 1,
            PortUse::Connections(_) => drop(self.not_http.insert(host.clone(), port_use)),
        }
    }

    pub(super) fn remove(&mut self, host: &Hostname, port_use: &PortUse) {
        match port_use {
            PortUse::Http => self.http -= 1,
            PortUse::Connections(_) => drop(self.not_http.remove(host)),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.http == 0 && self.not_http.is_empty()
    }
}

/// Returns what a port comes to, given how many hosts use it for HTTP and the uses of the others. Of several hosts
/// that take the same connections the first in the order of the names has them.
pub(super) fn merge<'a>(
    http_hosts: usize,
    not_http: impl Iterator<Item = (&'a Hostname, &'a PortUse)>,
) -> Option<OutboundPort> {
    let mut port = OutboundPort { http: http_hosts > 0, ..OutboundPort::default() };
    let not_http: BTreeMap<&Hostname, &PortUse> = not_http.collect();
    for port_use in not_http.into_values() {
        match port_use {
            PortUse::Http => port.http = true,
            PortUse::Connections(connections) => {
                for (connection_match, target) in connections {
                    port.connections.entry(connection_match.clone()).or_insert_with(|| target.clone());
                }
            }
        }
    }
    (port != OutboundPort::default()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::listener::{ConnectionMatch, ConnectionTarget};

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    #[test]
    fn values_are_kept_in_the_order_of_the_ports() {
        let mut per_port = PerPort::default();
        for (port, value) in [(80, "a"), (79, "b"), (80, "c")] {
            per_port.insert(port, value);
        }
        assert_eq!(per_port.iter().collect::<Vec<_>>(), [(79, &"b"), (80, &"c")]);
        assert_eq!((per_port.get(80), per_port.get(81)), (Some(&"c"), None));
    }

    fn tcp(cluster: &str) -> PortUse {
        PortUse::Connections([(ConnectionMatch::default(), ConnectionTarget::cluster(cluster))].into())
    }

    #[test]
    fn the_first_tcp_host_of_a_port_gets_the_rest() {
        let tls = [(ConnectionMatch::server_name("t"), ConnectionTarget::cluster("outbound|1||t"))].into();
        let uses = [
            (host("b"), tcp("outbound|1||b")),
            (host("a"), tcp("outbound|1||a")),
            (host("t"), PortUse::Connections(tls)),
        ];
        let merged = merge(1, uses.iter().map(|(host, port_use)| (host, port_use))).unwrap();
        assert!(merged.http);
        let clusters =
            merged.connections.iter().map(|(matched, target)| (matched.server_name.as_deref(), &*target.clusters[0].0));
        assert_eq!(clusters.collect::<Vec<_>>(), [(None, "outbound|1||a"), (Some("t"), "outbound|1||t")]);
        assert_eq!(merge(0, std::iter::empty()), None);
    }

    #[test]
    fn uses_are_counted_until_nobody_is_left() {
        let mut uses = PortUses::default();
        uses.add(&host("a"), PortUse::Http);
        uses.add(&host("b"), tcp("outbound|1||x"));
        uses.remove(&host("a"), &PortUse::Http);
        assert!(!uses.is_unused());
        uses.remove(&host("b"), &tcp("outbound|1||x"));
        assert!(uses.is_unused());
    }
}
