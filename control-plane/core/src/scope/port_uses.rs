//! How the hosts of a scope use the ports that they share.

use std::collections::BTreeMap;

use rutter_api::Hostname;

use crate::encode::listener::OutboundPort;

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
    /// TLS connections that name the host in SNI go to this cluster.
    Tls(String),
    /// Connections go to this cluster.
    Tcp(String),
}

/// How all hosts of a scope use a port.
#[derive(Debug, Default)]
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
            PortUse::Tls(_) | PortUse::Tcp(_) => drop(self.not_http.insert(host.clone(), port_use)),
        }
    }

    pub(super) fn remove(&mut self, host: &Hostname, port_use: &PortUse) {
        match port_use {
            PortUse::Http => self.http -= 1,
            PortUse::Tls(_) | PortUse::Tcp(_) => drop(self.not_http.remove(host)),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.http == 0 && self.not_http.is_empty()
    }
}

/// Returns what a port comes to, given how many hosts use it for HTTP and the uses of the others. Of several hosts
/// that use it for TCP the first in the order of the names gets what is neither HTTP nor TLS of a known name.
pub(super) fn merge<'a>(
    http_hosts: usize,
    not_http: impl Iterator<Item = (&'a Hostname, &'a PortUse)>,
) -> Option<OutboundPort> {
    let mut port = OutboundPort { http: http_hosts > 0, ..OutboundPort::default() };
    let not_http: BTreeMap<&Hostname, &PortUse> = not_http.collect();
    for (host, port_use) in not_http {
        match port_use {
            PortUse::Http => port.http = true,
            PortUse::Tls(cluster) => drop(port.tls.insert(host.to_string(), cluster.clone())),
            PortUse::Tcp(cluster) => drop(port.tcp.get_or_insert_with(|| cluster.clone())),
        }
    }
    (port != OutboundPort::default()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_first_tcp_host_of_a_port_gets_the_rest() {
        let uses = [
            (host("b"), PortUse::Tcp("to-b".into())),
            (host("a"), PortUse::Tcp("to-a".into())),
            (host("t"), PortUse::Tls("to-t".into())),
        ];
        let merged = merge(1, uses.iter().map(|(host, port_use)| (host, port_use))).unwrap();
        assert_eq!((merged.http, merged.tcp.as_deref()), (true, Some("to-a")));
        assert_eq!(merged.tls, [("t".to_owned(), "to-t".to_owned())].into());
        assert_eq!(merge(0, std::iter::empty()), None);
    }

    #[test]
    fn uses_are_counted_until_nobody_is_left() {
        let mut uses = PortUses::default();
        uses.add(&host("a"), PortUse::Http);
        uses.add(&host("b"), PortUse::Tcp("x".into()));
        uses.remove(&host("a"), &PortUse::Http);
        assert!(!uses.is_unused());
        uses.remove(&host("b"), &PortUse::Tcp("x".into()));
        assert!(uses.is_unused());
    }
}
