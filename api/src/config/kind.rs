//! The kinds of config that Rutter takes, with their real API versions.

use std::fmt;
use std::sync::Arc;

use strum::{EnumCount, VariantArray};

use crate::spelling::nearest;

/// A kind of config object. The variants stand in an order in which an object comes after those that it refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumCount, VariantArray)]
pub enum Kind {
    /// `v1 Namespace`
    Namespace,
    /// `v1 ConfigMap`, if it is Istio's mesh config
    ConfigMap,
    /// `v1 Service`
    Service,
    /// `v1 Pod`, if a cluster knows it
    Pod,
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice,
    /// `networking.istio.io/v1 ServiceEntry`
    ServiceEntry,
    /// `networking.istio.io/v1 WorkloadGroup`
    WorkloadGroup,
    /// `networking.istio.io/v1 WorkloadEntry`
    WorkloadEntry,
    /// `v1 Secret`, if TLS needs it
    Secret,
    /// `networking.istio.io/v1 Gateway`
    Gateway,
    /// `networking.k8s.io/v1 Ingress`
    Ingress,
    /// `networking.istio.io/v1 VirtualService`
    VirtualService,
    /// `networking.istio.io/v1 DestinationRule`
    DestinationRule,
    /// `networking.istio.io/v1 Sidecar`
    Sidecar,
}

/// What is fixed for a kind: one exhaustive row each, so that a new kind does not compile until every column of it is
/// answered. The public methods of the kind are views of the columns.
struct Row {
    /// The name as in YAML.
    name: &'static str,
    /// The API versions in which the kind is taken, the preferred one first.
    api_versions: &'static [&'static str],
    /// The short names of kubectl and istioctl.
    short_names: &'static [&'static str],
    /// Whether objects of the kind live in a namespace.
    is_namespaced: bool,
}

const ISTIO: &[&str] = &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];

impl Kind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Namespace; Self::COUNT];
        let mut at = 0;
        while at < Self::COUNT {
            all[at] = Self::VARIANTS[at];
            at += 1;
        }
        all
    };

    const fn row(self) -> Row {
        const fn row(name: &'static str, api_versions: &'static [&'static str], short: &'static [&'static str]) -> Row {
            Row { name, api_versions, short_names: short, is_namespaced: true }
        }
        match self {
            Self::Namespace => Row { is_namespaced: false, ..row("Namespace", &["v1"], &["ns"]) },
            Self::ConfigMap => row("ConfigMap", &["v1"], &["cm"]),
            Self::Service => row("Service", &["v1"], &["svc"]),
            Self::Pod => row("Pod", &["v1"], &["po"]),
            Self::EndpointSlice => row("EndpointSlice", &["discovery.k8s.io/v1"], &[]),
            Self::ServiceEntry => row("ServiceEntry", ISTIO, &["se"]),
            Self::WorkloadGroup => row("WorkloadGroup", ISTIO, &["wg"]),
            Self::WorkloadEntry => row("WorkloadEntry", ISTIO, &["we"]),
            Self::Secret => row("Secret", &["v1"], &[]),
            Self::Gateway => row("Gateway", ISTIO, &["gw"]),
            Self::Ingress => row("Ingress", &["networking.k8s.io/v1"], &["ing"]),
            Self::VirtualService => row("VirtualService", ISTIO, &["vs"]),
            Self::DestinationRule => row("DestinationRule", ISTIO, &["dr"]),
            Self::Sidecar => row("Sidecar", ISTIO, &[]),
        }
    }

    /// Returns the name as in YAML.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the API versions in which the kind is taken, the preferred one first.
    pub fn api_versions(self) -> &'static [&'static str] {
        self.row().api_versions
    }

    /// Returns whether objects of the kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self.row().is_namespaced
    }

    /// Returns the kind that a word means to kubectl: its name in any case, its plural, or a short name, alone or with
    /// the group or version and group behind it: `virtualservices`, `VirtualService`, `vs` and
    /// `vs.networking.istio.io` are one. `None` means that Rutter takes no such kind.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let (word, group) = word.split_once('.').map_or((word.as_str(), None), |(word, group)| (word, Some(group)));
        Self::ALL.into_iter().find(|kind| {
            let is_word = kind.words().any(|known| known == word);
            is_word && group.is_none_or(|group| kind.api_versions().iter().any(|version| is_of_group(version, group)))
        })
    }

    /// Returns the kind whose word somebody probably meant who wrote another.
    pub fn nearest(word: &str) -> Option<&'static str> {
        nearest(word, Self::ALL.into_iter().map(Self::name))
    }

    /// Returns the plural by which Kubernetes names the kind, in lower case.
    fn plural(self) -> String {
        let name = self.name().to_ascii_lowercase();
        match name.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
            Some(stem) => format!("{stem}ies"),
            None if name.ends_with('s') => format!("{name}es"),
            None => format!("{name}s"),
        }
    }

    fn words(self) -> impl Iterator<Item = String> {
        let short_names = self.row().short_names.iter().map(|name| (*name).to_owned());
        [self.name().to_ascii_lowercase(), self.plural()].into_iter().chain(short_names)
    }
}

/// Returns whether a group, or a version and a group as `v1.networking.istio.io`, is that of an API version.
fn is_of_group(api_version: &str, group: &str) -> bool {
    match api_version.split_once('/') {
        Some((own, version)) => group == own || group.split_once('.') == Some((version, own)),
        None => group == api_version,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names one object: its kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// The kind of the object.
    pub kind: Kind,
    /// The namespace. It is empty for a kind without namespaces.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ConfigKey {
    /// Returns the key of an object. The namespace is dropped for a kind that has none.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Returns the path under which Istio's `config` metadata names the object:
    /// `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews`. The group and version are the kind's
    /// preferred ones; Kubernetes' core group has no name and stands under `/api`.
    pub fn metadata_path(&self) -> String {
        let version = self.kind.api_versions()[0];
        let root = if version.contains('/') { "apis" } else { "api" };
        let mut kind = String::new();
        for c in self.kind.name().chars() {
            if c.is_ascii_uppercase() && !kind.is_empty() {
                kind.push('-');
            }
            kind.push(c.to_ascii_lowercase());
        }
        format!("/{root}/{version}/namespaces/{}/{kind}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ConfigKey {
    /// Prints the key as in messages: `virtualService default/reviews`.
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
        check("vs.networking.istio.io", Kind::VirtualService);
        check("virtualservices.v1beta1.networking.istio.io", Kind::VirtualService);
        check("services.v1", Kind::Service);
        assert_eq!(Kind::from_word("deployment"), None);
        assert_eq!(Kind::from_word("services.serving.knative.dev"), None);
        assert_eq!(Kind::from_word("vs.networking.istio.i"), None);
        assert_eq!(Kind::nearest("virtualservces"), Some("VirtualService"));
    }

    #[test]
    fn every_kind_is_found_by_its_name_and_by_each_short_name() {
        for kind in Kind::ALL.into_iter() {
            assert_eq!(Kind::from_word(kind.name()), Some(kind));
            for word in kind.row().short_names {
                assert_eq!(Kind::from_word(word), Some(kind), "{word}");
            }
        }
    }

    #[test]
    fn keys_print_as_people_say_them() {
        assert_eq!(ConfigKey::new(Kind::VirtualService, "a", "b").to_string(), "virtualService a/b");
        assert_eq!(ConfigKey::new(Kind::Namespace, "a", "b").to_string(), "namespace b");
    }

    #[test]
    fn metadata_paths_have_the_group_of_their_kind() {
        let path = |kind| ConfigKey::new(kind, "shop", "a").metadata_path();
        assert_eq!(path(Kind::VirtualService), "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/a");
        assert_eq!(path(Kind::EndpointSlice), "/apis/discovery.k8s.io/v1/namespaces/shop/endpoint-slice/a");
        assert_eq!(path(Kind::Service), "/api/v1/namespaces/shop/service/a");
    }
}
