//! Names with a grammar: hosts, and Istio's cluster names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

/// A lower-case DNS name, or a wildcard `*.suffix`, or `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for several hosts.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether this name, perhaps a wildcard, covers all of `other`: `*.example.com` covers
    /// `a.example.com` and `*.b.example.com`, not `example.com`.
    pub fn covers(&self, other: &Hostname) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => other.0.trim_start_matches('*').ends_with(suffix) && self.0.len() <= other.0.len(),
            None => self == other,
        }
    }

    /// The name as seen from `namespace`: a short name is completed to Kubernetes' service DNS form.
    #[must_use]
    pub fn resolve(&self, namespace: &str, domain: &str) -> Hostname {
        if self.0.contains('.') || self.is_wildcard() {
            return self.clone();
        }
        Hostname::kubernetes(&self.0, namespace, domain)
    }

    /// The DNS name of a Kubernetes service.
    pub fn kubernetes(name: &str, namespace: &str, domain: &str) -> Hostname {
        Hostname(format!("{name}.{namespace}.svc.{domain}").into())
    }
}

impl TryFrom<String> for Hostname {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Hostname {
    type Err = String;

    /// At most 253 characters in labels of 1 to 63 letters, digits, `-` and `_`; a leading label may be `*`.
    fn from_str(text: &str) -> Result<Self, String> {
        let label_ok = |label: &str| {
            let chars_ok = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            chars_ok && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        let labels = text.strip_prefix("*.").unwrap_or(text);
        if text != "*" && (text.len() > 253 || !labels.split('.').all(label_ok)) {
            return Err(format!("want a DNS name, perhaps with a leading \"*.\", got {text:?}"));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which way traffic goes, seen from the application beside the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the application.
    Inbound,
    /// From the application.
    Outbound,
}

/// Istio's cluster name: `outbound|80|v1|reviews.default.svc.cluster.local`, `inbound|8080||`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// To or from the application.
    pub direction: Direction,
    /// Outbound: the service's port. Inbound: the port that the application serves on.
    pub port: u16,
    /// The DestinationRule's subset.
    pub subset: Option<Arc<str>>,
    /// The service. None: inbound.
    pub host: Option<Hostname>,
}

impl ClusterName {
    /// The cluster of all endpoints of a service's port.
    pub fn outbound(port: u16, host: &Hostname) -> Self {
        Self { direction: Direction::Outbound, port, subset: None, host: Some(host.clone()) }
    }

    /// The cluster of the application's own port.
    pub fn inbound(port: u16) -> Self {
        Self { direction: Direction::Inbound, port, subset: None, host: None }
    }

    /// The same port, only the endpoints of one subset.
    #[must_use]
    pub fn with_subset(mut self, subset: Option<&str>) -> Self {
        self.subset = subset.map(Arc::from);
        self
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        let subset = self.subset.as_deref().unwrap_or_default();
        let host = self.host.as_ref().map_or("", Hostname::as_str);
        write!(f, "{direction}|{}|{subset}|{host}", self.port)
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("want direction|port|subset|host, got {text:?}");
        let mut parts = text.splitn(4, '|');
        let mut part = || parts.next().ok_or_else(refuse);
        let direction = match part()? {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            _ => return Err(refuse()),
        };
        let port = part()?.parse().map_err(|_| refuse())?;
        let subset = Some(part()?).filter(|subset| !subset.is_empty()).map(Arc::from);
        let host = Some(part()?).filter(|host| !host.is_empty()).map(str::parse).transpose()?;
        Ok(Self { direction, port, subset, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    #[test]
    fn cluster_names_print_and_parse() {
        for text in ["outbound|80|v1|reviews.default.svc.cluster.local", "outbound|80||a.b", "inbound|8080||"] {
            assert_eq!(text.parse::<ClusterName>().unwrap().to_string(), text);
        }
        for text in ["outbound|80|v1", "sideways|80||a", "outbound|x||a", "outbound|99999||a"] {
            assert!(text.parse::<ClusterName>().is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_cover_what_they_should() {
        let check = |pattern: &str, name: &str, want: bool| {
            assert_eq!(host(pattern).covers(&host(name)), want, "{pattern} {name}");
        };
        check("*", "a.b", true);
        check("*.b", "a.b", true);
        check("*.b", "b", false);
        check("*.b", "*.a.b", true);
        check("*.a.b", "*.b", false);
        check("a.b", "a.b", true);
        check("a.b", "c.a.b", false);
    }

    #[test]
    fn short_names_resolve_in_their_namespace() {
        assert_eq!(host("reviews").resolve("shop", "cluster.local").as_str(), "reviews.shop.svc.cluster.local");
        assert_eq!(host("api.example.com").resolve("shop", "cluster.local").as_str(), "api.example.com");
    }

    #[test]
    fn bad_hosts_are_refused() {
        for text in ["", "a..b", "a b", "-a", "a-", "a.*", "**", "*a.b", "ü.de"] {
            assert!(text.parse::<Hostname>().is_err(), "{text:?}");
        }
        assert_eq!(host("API.Example.com").as_str(), "api.example.com");
    }
}
