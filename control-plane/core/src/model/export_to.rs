//! The namespaces whose clients see an object.

use std::sync::Arc;

use rutter_api::config::istio::{DestinationRule, ServiceEntry, VirtualService};
use rutter_api::config::kubernetes::MeshConfig;
use rutter_api::{Config, Labels, Spec};

/// The annotation by which a Kubernetes service says `exportTo`.
const EXPORT_TO_ANNOTATION: &str = "networking.istio.io/exportTo";

/// The namespaces whose clients see an object: Istio's `exportTo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTo {
    /// Clients of every namespace see the object.
    All,
    /// Only clients of these namespaces see the object.
    Namespaces(Vec<Arc<str>>),
}

impl ExportTo {
    /// Reads the words of an `exportTo` in an object of a namespace. `.` stands for that namespace, `*` for every one;
    /// without any word every namespace is meant. Words that are neither are the names of namespaces; unknown names do
    /// no harm.
    pub fn new(words: &[String], object_namespace: &Arc<str>) -> Self {
        if words.is_empty() || words.iter().any(|word| word == "*") {
            return Self::All;
        }
        let namespaces = words.iter().map(|word| match word.as_str() {
            "." => object_namespace.clone(),
            name => Arc::from(name),
        });
        Self::Namespaces(namespaces.collect())
    }

    /// Returns the export of an object. Kinds that have no `exportTo` are for every namespace.
    pub fn of_config(config: &Config) -> Self {
        let namespace = &config.key.namespace;
        match &config.spec {
            Spec::Service(_) => {
                let annotation = config.annotations.get(EXPORT_TO_ANNOTATION).unwrap_or_default();
                let words = annotation.split(',').map(str::trim).filter(|word| !word.is_empty());
                Self::new(&words.map(str::to_owned).collect::<Vec<_>>(), namespace)
            }
            Spec::ServiceEntry(entry) => Self::new(&entry.export_to, namespace),
            Spec::VirtualService(spec) => Self::new(&spec.export_to, namespace),
            Spec::DestinationRule(spec) => Self::new(&spec.export_to, namespace),
            Spec::Namespace
            | Spec::Pod(_)
            | Spec::EndpointSlice(_)
            | Spec::WorkloadGroup(_)
            | Spec::WorkloadEntry(_)
            | Spec::MeshConfig(_)
            | Spec::Secret(_)
            | Spec::Ingress(_)
            | Spec::Gateway(_)
            | Spec::Sidecar(_) => Self::All,
        }
    }

    /// Returns whether clients of a namespace see the object.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.iter().any(|name| **name == *namespace),
        }
    }
}

/// Returns an object with what the mesh config says of objects whose `exportTo` says nothing. `None` means that the object is
/// as it is written.
pub fn with_default_export(config: &Config, mesh: &MeshConfig) -> Option<Config> {
    let spec = match &config.spec {
        Spec::Service(_) => {
            let words = &mesh.default_service_export_to;
            let says_nothing = config.annotations.get(EXPORT_TO_ANNOTATION).unwrap_or_default().trim().is_empty();
            return (says_nothing && !words.is_empty()).then(|| {
                let annotations = config.annotations.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                let export = (EXPORT_TO_ANNOTATION.to_owned(), words.join(","));
                Config { annotations: annotations.chain([export]).collect::<Labels>(), ..config.clone() }
            });
        }
        Spec::ServiceEntry(entry) => {
            let export_to = default_words(&entry.export_to, &mesh.default_service_export_to)?;
            Spec::ServiceEntry(ServiceEntry { export_to, ..entry.clone() })
        }
        Spec::VirtualService(spec) => {
            let export_to = default_words(&spec.export_to, &mesh.default_virtual_service_export_to)?;
            Spec::VirtualService(VirtualService { export_to, ..spec.clone() })
        }
        Spec::DestinationRule(spec) => {
            let export_to = default_words(&spec.export_to, &mesh.default_destination_rule_export_to)?;
            Spec::DestinationRule(DestinationRule { export_to, ..spec.clone() })
        }
        Spec::Namespace
        | Spec::Pod(_)
        | Spec::EndpointSlice(_)
        | Spec::WorkloadGroup(_)
        | Spec::WorkloadEntry(_)
        | Spec::MeshConfig(_)
        | Spec::Secret(_)
        | Spec::Ingress(_)
        | Spec::Gateway(_)
        | Spec::Sidecar(_) => return None,
    };
    Some(Config { spec, ..config.clone() })
}

/// Returns the default for an object that says nothing, or `None` if it says something or there is no default.
fn default_words(said: &[String], default: &[String]) -> Option<Vec<String>> {
    (said.is_empty() && !default.is_empty()).then(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    fn export_to(words: &[&str]) -> ExportTo {
        ExportTo::new(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &"shop".into())
    }

    #[test]
    fn words_stand_for_namespaces() {
        assert_eq!(export_to(&[]), ExportTo::All);
        assert_eq!(export_to(&["bank", "*"]), ExportTo::All);
        assert_eq!(export_to(&[".", "bank"]), ExportTo::Namespaces(vec!["shop".into(), "bank".into()]));
        assert!(export_to(&["."]).reaches("shop") && !export_to(&["."]).reaches("bank"));
    }

    #[test]
    fn a_kubernetes_service_says_it_by_an_annotation() {
        let text = "apiVersion: v1\nkind: Service\n\
                    metadata: {name: a, namespace: shop, annotations: {networking.istio.io/exportTo: '., bank'}}\n\
                    spec: {ports: [{port: 1}]}";
        let export_to = ExportTo::of_config(&config(text));
        assert!(export_to.reaches("shop") && export_to.reaches("bank") && !export_to.reaches("other"));
    }
}
