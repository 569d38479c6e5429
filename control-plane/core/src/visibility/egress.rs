//! What a Sidecar object lets its workloads see.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rutter_api::Hostname;
use rutter_api::config::istio::{CaptureMode, EgressListener, Sidecar};

use crate::model::Protocol;

/// The `egress.hosts` of a Sidecar object, all of its listeners together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    patterns: Vec<EgressPattern>,
    listeners: Vec<PlacedListener>,
}

/// A listener of a Sidecar object that is somewhere else than Istio would put it, or for something else than the services
/// say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedListener {
    /// The port. `None` means every port for which there is no other.
    pub port: Option<u16>,
    /// Whether requests are routed at the port, whatever the protocol of its services is. `None` leaves it to them.
    pub is_http: Option<bool>,
    /// The address. `None` means those of the services.
    pub ip: Option<IpAddr>,
    /// Whether the address is bound, so that the application connects to it.
    pub is_bound: bool,
}

impl PlacedListener {
    fn of(listener: &EgressListener) -> Option<Self> {
        let is_bound = match listener.capture_mode {
            CaptureMode::Default | CaptureMode::Iptables => false,
            CaptureMode::None => true,
        };
        let ip = listener.bind.or(is_bound.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let is_http = listener.port.as_ref().and_then(|port| match Protocol::from_word(&port.protocol) {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => Some(true),
            Protocol::Tls | Protocol::Tcp => Some(false),
            Protocol::Unknown => None,
        });
        let placed = Self { port: listener.port.as_ref().map(|port| port.number.get()), is_http, ip, is_bound };
        (placed.ip.is_some() || placed.is_http.is_some()).then_some(placed)
    }
}

/// One pattern, `namespace/dnsName`. An object is admitted if its namespace and its host fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EgressPattern {
    /// The namespace of the object. `None` means any namespace.
    namespace: Option<Arc<str>>,
    /// The host, perhaps a wildcard. `None` means any host.
    host: Option<Hostname>,
    /// The only port of a service that is admitted. `None` means all.
    port: Option<u16>,
}

impl Egress {
    /// Returns the egress that restricts nothing, `*/*`.
    pub fn everything() -> Self {
        let everything = EgressPattern { namespace: None, host: None, port: None };
        Self { patterns: vec![everything], listeners: Vec::new() }
    }

    /// Returns the egress that admits nothing. A gateway sees no more than what its routes lead to.
    pub fn nothing() -> Self {
        Self { patterns: Vec::new(), listeners: Vec::new() }
    }

    /// Reads the egress of a Sidecar object for workloads of a namespace. Without any listener it restricts nothing.
    pub fn new(spec: &Sidecar, workload_namespace: &Arc<str>) -> Self {
        if spec.egress.is_empty() {
            return Self::everything();
        }
        let patterns = spec.egress.iter().flat_map(|listener| {
            let port = listener.port.as_ref().map(|port| port.number.get());
            let patterns = listener.hosts.iter().filter_map(|text| EgressPattern::parse(text, workload_namespace));
            patterns.map(move |pattern| EgressPattern { port, ..pattern })
        });
        let listeners = spec.egress.iter().filter_map(PlacedListener::of);
        Self { patterns: patterns.collect(), listeners: listeners.collect() }
    }

    /// Returns whether the egress leaves nothing out.
    pub fn is_everything(&self) -> bool {
        let is_everything =
            |pattern: &EgressPattern| pattern.namespace.is_none() && pattern.host.is_none() && pattern.port.is_none();
        self.listeners.is_empty() && self.patterns.iter().any(is_everything)
    }

    /// Returns the listeners for a port that are somewhere else than usual: those of the port, or else those of every port.
    pub fn listeners(&self, port: u16) -> impl Iterator<Item = &PlacedListener> {
        let is_named = self.listeners.iter().any(|listener| listener.port == Some(port));
        let wanted = is_named.then_some(port);
        self.listeners.iter().filter(move |listener| listener.port == wanted)
    }

    /// Returns the ports of a service that are admitted, or `None` if all are.
    pub fn ports(&self, namespace: &str, host: &Hostname) -> Option<BTreeSet<u16>> {
        let admitting = self.patterns.iter().filter(|pattern| pattern.admits(namespace, host));
        admitting.map(|pattern| pattern.port).collect()
    }

    /// Returns the namespaces whose objects may be admitted, or `None` if those of every namespace may.
    pub fn namespaces(&self) -> Option<Vec<&Arc<str>>> {
        self.patterns.iter().map(|pattern| pattern.namespace.as_ref()).collect()
    }

    /// Returns whether an object of a namespace about a host is admitted.
    pub fn admits(&self, namespace: &str, host: &Hostname) -> bool {
        self.patterns.iter().any(|pattern| pattern.admits(namespace, host))
    }
}

impl EgressPattern {
    /// Reads `namespace/dnsName`. `None` means that the pattern admits nothing: its namespace is `~`.
    fn parse(text: &str, workload_namespace: &Arc<str>) -> Option<Self> {
        let (namespace, host) = text.split_once('/')?;
        let namespace = match namespace {
            "*" => None,
            "." => Some(workload_namespace.clone()),
            "~" => return None,
            name => Some(name.into()),
        };
        let host = if host == "*" { None } else { Some(host.parse().ok()?) };
        Some(Self { namespace, host, port: None })
    }

    fn admits(&self, namespace: &str, host: &Hostname) -> bool {
        let admits_namespace = self.namespace.as_ref().is_none_or(|wanted| **wanted == *namespace);
        let admits_host = self.host.as_ref().is_none_or(|pattern| {
            // A VirtualService for a wildcard is seen if a part of what it covers may be seen.
            pattern.covers(host) || host.is_wildcard() && host.covers(pattern)
        });
        admits_namespace && admits_host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(hosts: &[&str]) -> Egress {
        let namespace: Arc<str> = "shop".into();
        let patterns = hosts.iter().filter_map(|text| EgressPattern::parse(text, &namespace)).collect();
        Egress { patterns, listeners: Vec::new() }
    }

    #[test]
    fn patterns_admit_by_namespace_and_name() {
        let check = |patterns: &[&str], namespace: &str, host: &str, want: bool| {
            let admits = egress(patterns).admits(namespace, &host.parse().unwrap());
            assert_eq!(admits, want, "{patterns:?} {namespace}/{host}");
        };
        check(&["./*"], "shop", "a.shop.svc", true);
        check(&["./*"], "bank", "a.bank.svc", false);
        check(&["*/*"], "bank", "a.bank.svc", true);
        check(&["bank/a.bank.svc"], "bank", "a.bank.svc", true);
        check(&["bank/a.bank.svc"], "bank", "b.bank.svc", false);
        check(&["*/*.example.com"], "x", "api.example.com", true);
        check(&["~/*"], "shop", "a.shop.svc", false);
        check(&["bank/a.example.com"], "bank", "*.example.com", true);
    }

    #[test]
    fn only_a_full_wildcard_is_everything() {
        assert!(egress(&["./*", "*/*"]).is_everything());
        assert!(!egress(&["*/*.example.com"]).is_everything());
        assert!(egress(&["*/*"]).namespaces().is_none());
        assert_eq!(egress(&["./*", "~/*"]).namespaces().unwrap().len(), 1);
    }
}
