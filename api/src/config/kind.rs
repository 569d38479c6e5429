//! The kinds of config that Rutter takes, with their real API versions.

use std::fmt;
use std::sync::Arc;

/// A kind of config object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1 Namespace`
    Namespace,
    /// `v1 Service`
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice,
    /// `networking.istio.io/v1 ServiceEntry`
    ServiceEntry,
    /// `networking.istio.io/v1 WorkloadEntry`
    WorkloadEntry,
    /// `networking.istio.io/v1 VirtualService`
    VirtualService,
    /// `networking.istio.io/v1 DestinationRule`
    DestinationRule,
    /// `networking.istio.io/v1 Sidecar`
    Sidecar,
}

const ISTIO: &[&str] = &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];

impl Kind {
    /// Every kind, in an order in which what is referred to comes first.
    pub const ALL: [Self; 8] = [
        Self::Namespace,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceEntry,
        Self::WorkloadEntry,
        Self::VirtualService,
        Self::DestinationRule,
        Self::Sidecar,
    ];

    /// The name as in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Sidecar => "Sidecar",
        }
    }

    /// The API versions it is taken in, the preferred one first.
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Namespace | Self::Service => &["v1"],
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
            Self::ServiceEntry | Self::WorkloadEntry | Self::VirtualService | Self::DestinationRule | Self::Sidecar => {
                ISTIO
            }
        }
    }

    /// kubectl's and istioctl's short names.
    fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::Namespace => &["ns"],
            Self::Service => &["svc"],
            Self::EndpointSlice => &[],
            Self::ServiceEntry => &["se"],
            Self::WorkloadEntry => &["we"],
            Self::VirtualService => &["vs"],
            Self::DestinationRule => &["dr"],
            Self::Sidecar => &[],
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self != Self::Namespace
    }

    /// The kind of a word: its name in any case, its plural or a short name.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| {
            let name = kind.name().to_ascii_lowercase();
            let plural = match name.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None => format!("{name}s"),
            };
            word == name || word == plural || kind.short_names().contains(&word.as_str())
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object: kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// The kind.
    pub kind: Kind,
    /// Empty for a kind without namespaces.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ConfigKey {
    /// The key of a namespaced object; the namespace of other kinds is dropped.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ConfigKey {
    /// As in messages: `virtualService default/reviews`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kind = self.kind.name().to_owned();
        kind[..1].make_ascii_lowercase();
        if self.namespace.is_empty() {
            return write!(f, "{kind} {}", self.name);
        }
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_kubectl_are_understood() {
        let check = |word: &str, want: Kind| assert_eq!(Kind::from_word(word), Some(want), "{word}");
        check("virtualservice", Kind::VirtualService);
        check("VirtualServices", Kind::VirtualService);
        check("vs", Kind::VirtualService);
        check("serviceentries", Kind::ServiceEntry);
        check("svc", Kind::Service);
        check("ns", Kind::Namespace);
        assert_eq!(Kind::from_word("pod"), None);
    }

    #[test]
    fn keys_print_as_people_say_them() {
        assert_eq!(ConfigKey::new(Kind::VirtualService, "a", "b").to_string(), "virtualService a/b");
        assert_eq!(ConfigKey::new(Kind::Namespace, "a", "b").to_string(), "namespace b");
    }
}
