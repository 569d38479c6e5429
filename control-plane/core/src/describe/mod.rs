//! What touches an object or a client: who sees it, what shapes it, what has no effect and why, and what it costs.
//!
//! Clients of one scope see the same, so that everything is found once for each scope.
//!
//! - `service`, `virtual_service`, `destination_rule`, `gateway`, `sidecar` and `client`: what is said of each.
//! - `cost`: the resources that come of it, with their bytes.

mod client;
mod cost;
mod destination_rule;
mod gateway;
mod service;
mod sidecar;
mod virtual_service;

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::{Config, ConfigKey, Hostname, Kind, ResourceType};

use crate::index::MeshIndex;
use crate::mesh::{Mesh, NodeId};
use crate::resource::ResourceName;
pub use client::describe_client;

/// What is said of an object or of a client.
#[derive(Debug, Default)]
pub struct Description {
    /// What is described: `virtualService shop/reviews`.
    pub title: String,
    /// Facts, each with its name.
    pub facts: Vec<(String, String)>,
    /// The clients that see it.
    pub seen_by: BTreeSet<NodeId>,
    /// Why others do not, with their number.
    pub unseen: BTreeMap<String, usize>,
    /// What shapes it: an object, and what it does. The number of clients is that of those for which it is so.
    pub shaped_by: BTreeMap<(ConfigKey, String), usize>,
    /// What might be expected to shape it and has no effect: an object, and why. The number of clients is that of those for which
    /// it is so.
    pub without_effect: BTreeMap<(ConfigKey, String), usize>,
    /// The resources that come of it.
    pub cost: Cost,
}

/// The resources that come of something, over all clients.
#[derive(Debug, Default)]
pub struct Cost {
    /// Each resource with the bytes of its entry in a response, and the number of clients that have it so. A resource that is not
    /// the same for all is there several times.
    pub resources: BTreeMap<(ResourceType, ResourceName, usize), usize>,
}

impl Cost {
    /// Returns the bytes of one copy for every client.
    pub fn bytes(&self) -> usize {
        self.resources.iter().map(|((_, _, bytes), clients)| bytes * clients).sum()
    }

    /// Returns the names of the resources.
    pub fn names(&self) -> BTreeSet<(ResourceType, ResourceName)> {
        self.resources.keys().map(|(resource_type, name, _)| (*resource_type, name.clone())).collect()
    }
}

impl Description {
    fn new(title: impl ToString) -> Self {
        Self { title: title.to_string(), ..Self::default() }
    }

    fn fact(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.facts.push((name.to_owned(), value));
        }
    }

    fn shaped(&mut self, object: &ConfigKey, what: impl Into<String>, clients: usize) {
        *self.shaped_by.entry((object.clone(), what.into())).or_default() += clients;
    }

    fn idle(&mut self, object: &ConfigKey, why: impl Into<String>, clients: usize) {
        *self.without_effect.entry((object.clone(), why.into())).or_default() += clients;
    }
}

/// Describes an object. A ServiceEntry of several hosts is described once for each of them. `None` means that there is no such object.
///
/// # Errors
/// Says which kinds can be described.
pub fn describe(mesh: &Mesh, key: &ConfigKey) -> Result<Option<Vec<Description>>, String> {
    let Some(config) = mesh.index().written(key) else { return Ok(None) };
    Ok(Some(match key.kind {
        Kind::Service | Kind::ServiceEntry => service::describe(mesh, config),
        Kind::VirtualService => vec![virtual_service::describe(mesh, config)],
        Kind::DestinationRule => vec![destination_rule::describe(mesh, config)],
        Kind::Gateway => vec![gateway::describe(mesh, config)],
        Kind::Sidecar => vec![sidecar::describe(mesh, config)],
        Kind::Namespace
        | Kind::Pod
        | Kind::EndpointSlice
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Secret
        | Kind::Ingress
        | Kind::ConfigMap => {
            return Err(format!(
                "want a sidecar, or a Service, ServiceEntry, VirtualService, DestinationRule, Gateway or Sidecar, got the kind {}",
                key.kind
            ));
        }
    }))
}

/// Returns the known hosts that a host of an object stands for: itself, and those that a wildcard covers.
fn known_hosts(index: &MeshIndex, host: &Hostname) -> BTreeSet<Hostname> {
    let covered = index.covered_by(host).filter(|known| !index.definitions(known).is_empty()).cloned();
    let own = (!host.is_wildcard()).then(|| host.clone());
    covered.chain(own).collect()
}

fn joined<T: ToString>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| text.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns the words of an `exportTo`.
fn export_words(words: &[String]) -> String {
    if words.is_empty() { "every namespace".to_owned() } else { words.join(", ") }
}

fn namespace_of(config: &Config) -> &str {
    &config.key.namespace
}

#[cfg(test)]
mod tests;
