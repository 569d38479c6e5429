//! What is said of an object or of a client.

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::{Config, ConfigKey, Hostname, ResourceType};

use crate::index::MeshIndex;
use crate::mesh::NodeId;
use crate::resource::ResourceName;

/// The number of hosts under a wildcard that are looked at.
const HOSTS_MAX: usize = 1_000;

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
    pub(super) fn new(title: impl ToString) -> Self {
        Self { title: title.to_string(), ..Self::default() }
    }

    /// Notes that clients do not follow it, for the most frequent of some reasons.
    pub(super) fn leave_out(&mut self, reasons: BTreeMap<String, usize>, otherwise: &str, clients: usize) {
        let most = reasons.into_iter().max_by(|a, b| (a.1, &b.0).cmp(&(b.1, &a.0)));
        let why = most.map_or_else(|| otherwise.to_owned(), |(why, _)| why);
        self.not_for(why, clients);
    }

    /// Notes that so many clients do not have the object, and why.
    pub(super) fn not_for(&mut self, why: String, clients: usize) {
        *self.unseen.entry(why).or_default() += clients;
    }

    pub(super) fn fact(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.facts.push((name.to_owned(), value));
        }
    }

    pub(super) fn shaped(&mut self, object: &ConfigKey, what: impl Into<String>, clients: usize) {
        *self.shaped_by.entry((object.clone(), what.into())).or_default() += clients;
    }

    pub(super) fn idle(&mut self, object: &ConfigKey, why: impl Into<String>, clients: usize) {
        *self.without_effect.entry((object.clone(), why.into())).or_default() += clients;
    }
}

/// Returns the known hosts that a host of an object stands for: itself, and those that a wildcard covers. Of more than [`HOSTS_MAX`] the
/// first are looked at, which the description says.
pub(super) fn known_hosts(index: &MeshIndex, host: &Hostname, description: &mut Description) -> BTreeSet<Hostname> {
    if !host.is_wildcard() {
        return [host.clone()].into();
    }
    let covered = index.covered_by(host).filter(|known| !index.definitions(known).is_empty());
    let covered: BTreeSet<&Hostname> = covered.collect();
    if covered.len() > HOSTS_MAX {
        description.fact("looked at", format!("the first {HOSTS_MAX} of {} hosts that {host} covers", covered.len()));
    }
    covered.into_iter().take(HOSTS_MAX).cloned().collect()
}

pub(super) fn joined<T: ToString>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| text.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns the words of an `exportTo`.
pub(super) fn export_words(words: &[String]) -> String {
    if words.is_empty() { "every namespace".to_owned() } else { words.join(", ") }
}

pub(super) fn namespace_of(config: &Config) -> &str {
    &config.key.namespace
}
