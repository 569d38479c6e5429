//! Objects by the namespaces that their `exportTo` names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rutter_api::{Config, ConfigKey};

use crate::edges::{link, unlink};
use crate::model::ExportTo;

/// Objects by the namespaces that their `exportTo` names. Objects that are for every namespace are not in it.
#[derive(Debug, Default, Clone)]
pub(super) struct Exports(HashMap<Arc<str>, BTreeSet<ConfigKey>>);

impl Exports {
    pub(super) fn insert(&mut self, config: &Config) {
        if let ExportTo::Namespaces(namespaces) = ExportTo::of_config(config) {
            namespaces.into_iter().for_each(|namespace| link(&mut self.0, namespace, config.key.clone()));
        }
    }

    pub(super) fn remove(&mut self, config: &Config) {
        if let ExportTo::Namespaces(namespaces) = ExportTo::of_config(config) {
            namespaces.iter().for_each(|namespace| unlink(&mut self.0, namespace, &config.key));
        }
    }

    /// Returns the objects whose `exportTo` names a namespace.
    pub(super) fn to(&self, namespace: &str) -> impl Iterator<Item = &ConfigKey> {
        self.0.get(namespace).into_iter().flatten()
    }
}
