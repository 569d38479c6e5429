//! DNS names of services, and the wildcards that stand for several of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

/// A lower-case DNS name, a wildcard such as `*.example.com`, or `*` for every name. Clones share one allocation,
/// because a mesh holds the same name in many places. Case is folded when a name is read, so that two names are equal
/// if DNS says so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Returns the name as text, in lower case and without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name begins with `*`, and so stands for several hosts.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Returns whether this name covers every host that `other` stands for: `*.example.com` covers `a.example.com` and
    /// `*.b.example.com`, but not `example.com`. A name without a wildcard covers only itself. `*` covers everything.
    /// This is how hosts of VirtualServices, DestinationRules and egress are compared.
    pub fn covers(&self, other: &Hostname) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => other.0.trim_start_matches('*').ends_with(suffix) && self.0.len() <= other.0.len(),
            None => self == other,
        }
    }

    /// Returns the full name of a host that an object in `namespace` writes. A name without a dot is the short name of
    /// a Kubernetes service in that namespace (`reviews` becomes `reviews.shop.svc.cluster.local`); any other name is
    /// already full. Istio resolves the hosts of VirtualServices, DestinationRules and destinations in this way.
    #[must_use]
    pub fn resolve(&self, namespace: &str, domain: &str) -> Hostname {
        if self.0.contains('.') || self.is_wildcard() {
            return self.clone();
        }
        Hostname::kubernetes(&self.0, namespace, domain)
    }

    /// Returns the DNS name that Kubernetes gives to a service: `NAME.NAMESPACE.svc.DOMAIN`.
    pub fn kubernetes(name: &str, namespace: &str, domain: &str) -> Hostname {
        Hostname(format!("{name}.{namespace}.svc.{domain}").into())
    }

    /// Returns the short name and the namespace of a Kubernetes service name under `domain`. `None` means that
    /// Kubernetes gives no such name, so that short forms of it do not exist.
    pub fn kubernetes_parts(&self, domain: &str) -> Option<(&str, &str)> {
        self.0.strip_suffix(domain)?.strip_suffix(".svc.")?.split_once('.')
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

    /// Takes at most 253 characters, in labels of 1 to 63 letters, digits, `-` and `_`; the first label may be `*`.
    /// Underscores are no part of DNS, but people use them, and Istio takes them too.
    fn from_str(text: &str) -> Result<Self, String> {
        let labels = text.strip_prefix("*.").unwrap_or(text);
        if text != "*" && (text.len() > 253 || !labels.split('.').all(is_label)) {
            return Err(format!("want a DNS name, perhaps with a leading \"*.\", got {text:?}"));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

fn is_label(label: &str) -> bool {
    let has_valid_characters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    has_valid_characters && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
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

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
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
        assert_eq!(host("*").resolve("shop", "cluster.local").as_str(), "*");
    }

    #[test]
    fn only_names_of_kubernetes_services_have_a_short_form() {
        let reviews = host("reviews.shop.svc.cluster.local");
        assert_eq!(reviews.kubernetes_parts("cluster.local"), Some(("reviews", "shop")));
        assert_eq!(reviews.kubernetes_parts("mesh.local"), None);
        assert_eq!(host("api.example.com").kubernetes_parts("cluster.local"), None);
        assert_eq!(host("svc.cluster.local").kubernetes_parts("cluster.local"), None);
    }

    #[test]
    fn bad_hosts_are_refused() {
        for text in ["", "a..b", "a b", "-a", "a-", "a.*", "**", "*a.b", "ü.de"] {
            assert!(text.parse::<Hostname>().is_err(), "{text:?}");
        }
        let long = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 63].concat()].join(".");
        assert!(long.parse::<Hostname>().is_err(), "255 characters");
        assert_eq!(host("API.Example.com").as_str(), "api.example.com");
    }
}
