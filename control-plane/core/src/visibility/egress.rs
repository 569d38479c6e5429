//! What a Sidecar object lets its workloads see.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rutter_api::Hostname;
use rutter_api::config::istio::{CaptureMode, EgressBind, EgressListener, Sidecar};

use crate::model::Protocol;

/// The egress listeners of a Sidecar object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    listeners: Vec<SeenListener>,
}

/// One egress listener: what it lets workloads see, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenListener {
    patterns: Vec<EgressPattern>,
    /// The only port of services that is seen. `None` means all.
    pub port: Option<u16>,
    /// Whether requests are routed at the port, whatever the protocol of its services is. `None` leaves it to them.
    pub is_http: Option<bool>,
    /// Where it is.
    pub place: ListenerPlace,
    /// Whether the address is bound, so that the application connects to it.
    pub is_bound: bool,
}

/// Where an egress listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerPlace {
    /// At the addresses of the services.
    Services,
    /// At an address.
    Ip(IpAddr),
    /// At a Unix socket, which takes requests to every port.
    Socket(Arc<str>),
}

/// One pattern, `namespace/dnsName`. An object is admitted if its namespace and its host fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EgressPattern {
    /// The namespace of the object. `None` means any namespace.
    namespace: Option<Arc<str>>,
    /// The host, perhaps a wildcard. `None` means any host.
    host: Option<Hostname>,
}

impl SeenListener {
    fn usual(patterns: Vec<EgressPattern>) -> Self {
        Self { patterns, port: None, is_http: None, place: ListenerPlace::Services, is_bound: false }
    }

    fn of(listener: &EgressListener, workload_namespace: &Arc<str>) -> Self {
        let is_bound = match listener.capture_mode {
            CaptureMode::Default | CaptureMode::Iptables => false,
            CaptureMode::None => true,
        };
        let is_http = listener.port.as_ref().and_then(|port| match Protocol::from_word(&port.protocol) {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => Some(true),
            Protocol::Tls | Protocol::Tcp => Some(false),
            Protocol::Unknown => None,
        });
        Self {
            patterns: listener.hosts.iter().filter_map(|text| EgressPattern::parse(text, workload_namespace)).collect(),
            port: listener.port.as_ref().map(|port| port.number).filter(|number| *number != 0),
            is_http,
            place: match &listener.bind {
                Some(EgressBind::Ip(ip)) => ListenerPlace::Ip(*ip),
                Some(EgressBind::Socket(path)) => ListenerPlace::Socket(path.as_ref().into()),
                None if is_bound => ListenerPlace::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                None => ListenerPlace::Services,
            },
            is_bound,
        }
    }

    /// Returns the path of the socket at which the listener is.
    pub fn socket(&self) -> Option<&Arc<str>> {
        match &self.place {
            ListenerPlace::Socket(path) => Some(path),
            ListenerPlace::Services | ListenerPlace::Ip(_) => None,
        }
    }

    /// Returns the address at which the listener is.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.place {
            ListenerPlace::Ip(ip) => Some(*ip),
            ListenerPlace::Services | ListenerPlace::Socket(_) => None,
        }
    }

    fn is_usual(&self) -> bool {
        let Self { patterns: _, port, is_http, place, is_bound: _ } = self;
        port.is_none() && is_http.is_none() && *place == ListenerPlace::Services
    }

    fn takes(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    /// Returns whether an object of a namespace about a host is admitted.
    pub fn admits(&self, namespace: &str, host: &Hostname) -> bool {
        self.patterns.iter().any(|pattern| pattern.admits(namespace, host))
    }
}

impl Egress {
    /// Returns the egress that restricts nothing, `*/*`.
    pub fn everything() -> Self {
        Self { listeners: vec![SeenListener::usual(vec![EgressPattern { namespace: None, host: None }])] }
    }

    /// Returns the egress of a gateway: it admits the services to which connections may go that name them, each by its namespace,
    /// unless that is any, and its host. Beyond that a gateway sees no more than what its routes lead to.
    pub fn passing<'a>(services: impl Iterator<Item = (Option<&'a str>, &'a Hostname)>) -> Self {
        let pattern = |(namespace, host): (Option<&str>, &Hostname)| EgressPattern {
            namespace: namespace.map(Arc::from),
            host: (host.as_str() != "*").then(|| host.clone()),
        };
        let patterns: Vec<EgressPattern> = services.map(pattern).collect();
        let listener = (!patterns.is_empty()).then(|| SeenListener::usual(patterns));
        Self { listeners: listener.into_iter().collect() }
    }

    /// Reads the egress of a Sidecar object for workloads of a namespace. Without any listener it restricts nothing.
    pub fn new(spec: &Sidecar, workload_namespace: &Arc<str>) -> Self {
        if spec.egress.is_empty() {
            return Self::everything();
        }
        Self { listeners: spec.egress.iter().map(|listener| SeenListener::of(listener, workload_namespace)).collect() }
    }

    fn patterns(&self) -> impl Iterator<Item = &EgressPattern> {
        self.listeners.iter().flat_map(|listener| &listener.patterns)
    }

    /// Returns whether the egress leaves nothing out, and has everything where it usually is.
    pub fn is_everything(&self) -> bool {
        self.listeners.iter().all(SeenListener::is_usual)
            && self.patterns().any(|pattern| pattern.namespace.is_none() && pattern.host.is_none())
    }

    /// Returns the listeners by which a port of a service is seen, those for the port alone first.
    pub fn listeners_of(&self, namespace: &str, host: &Hostname, port: u16) -> Vec<&SeenListener> {
        let seeing = self.listeners.iter().filter(|listener| listener.takes(port) && listener.admits(namespace, host));
        let mut seeing: Vec<&SeenListener> = seeing.collect();
        seeing.sort_by_key(|listener| listener.port.is_none());
        seeing
    }

    /// Returns the listeners for a port that are at an address of their own.
    pub fn placed(&self, port: u16) -> impl Iterator<Item = (IpAddr, &SeenListener)> {
        let taking = self.listeners.iter().filter(move |listener| listener.takes(port));
        taking.filter_map(|listener| Some((listener.ip()?, listener)))
    }

    /// Returns the listeners that are at Unix sockets.
    pub fn at_sockets(&self) -> impl Iterator<Item = (&Arc<str>, &SeenListener)> {
        self.listeners.iter().filter_map(|listener| Some((listener.socket()?, listener)))
    }

    /// Returns the ports of a service that are admitted, or `None` if all are.
    pub fn ports(&self, namespace: &str, host: &Hostname) -> Option<BTreeSet<u16>> {
        let admitting = self.listeners.iter().filter(|listener| listener.admits(namespace, host));
        admitting.map(|listener| listener.port).collect()
    }

    /// Returns the namespaces whose objects may be admitted, or `None` if those of every namespace may.
    pub fn namespaces(&self) -> Option<Vec<&Arc<str>>> {
        self.patterns().map(|pattern| pattern.namespace.as_ref()).collect()
    }

    /// Returns whether an object of a namespace about a host is admitted.
    pub fn admits(&self, namespace: &str, host: &Hostname) -> bool {
        self.listeners.iter().any(|listener| listener.admits(namespace, host))
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
        Some(Self { namespace, host })
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
        Egress { listeners: vec![SeenListener::usual(patterns)] }
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
