//! Every object by its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Kind};

/// Every object by its key.
#[derive(Debug, Default, Clone)]
pub(super) struct Objects(BTreeMap<ConfigKey, Arc<Config>>);

impl Objects {
    pub(super) fn get(&self, key: &ConfigKey) -> Option<&Arc<Config>> {
        self.0.get(key)
    }

    pub(super) fn insert(&mut self, config: Arc<Config>) {
        self.0.insert(config.key.clone(), config);
    }

    pub(super) fn remove(&mut self, key: &ConfigKey) {
        self.0.remove(key);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.0.values()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the objects of a kind in a namespace. The cost is their number.
    pub(super) fn of_namespace<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a Arc<Config>> {
        let start = ConfigKey { kind, namespace: namespace.clone(), name: "".into() };
        self.0
            .range(start..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == *namespace)
            .map(|(_, config)| config)
    }

    /// Returns the objects of a kind in every namespace. The cost is their number.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Config>> {
        let start = ConfigKey { kind, namespace: "".into(), name: "".into() };
        self.0.range(start..).take_while(move |(key, _)| key.kind == kind).map(|(_, config)| config)
    }
}
