//! What a Sidecar object lets its workloads see.

use std::sync::Arc;

use rutter_api::Hostname;
use rutter_api::config::istio::Sidecar;

/// The `egress.hosts` of a Sidecar object, all of its listeners together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    patterns: Vec<EgressPattern>,
}

/// One pattern, `namespace/dnsName`. An object is admitted if its namespace and its host fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EgressPattern {
    /// The namespace of the object. `None` means any namespace.
    namespace: Option<Arc<str>>,
    /// The host, perhaps a wildcard. `None` means any host.
    host: Option<Hostname>,
}

impl Egress {
    /// Returns the egress that restricts nothing, `*/*`.
    pub fn everything() -> Self {
        Self { patterns: vec![EgressPattern { namespace: None, host: None }] }
    }

    /// Returns the egress that admits nothing. A gateway sees no more than what its routes lead to.
    pub fn nothing() -> Self {
        Self { patterns: Vec::new() }
    }

    /// Reads the egress of a Sidecar object for workloads of a namespace. Without any listener it restricts nothing.
    pub fn new(spec: &Sidecar, workload_namespace: &Arc<str>) -> Self {
        if spec.egress.is_empty() {
            return Self::everything();
        }
        let hosts = spec.egress.iter().flat_map(|egress| &egress.hosts);
        Self { patterns: hosts.filter_map(|text| EgressPattern::parse(text, workload_namespace)).collect() }
    }

    /// Returns whether the egress leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.namespace.is_none() && pattern.host.is_none())
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
        Egress { patterns: hosts.iter().filter_map(|text| EgressPattern::parse(text, &namespace)).collect() }
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
