//! What one sidecar asked for, of one type.

use std::collections::BTreeSet;

use rutter_api::ResourceType;

use crate::snapshot::{ResourceName, View};

/// Whether all resources are wanted. Legal beside names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wildcard {
    /// No.
    #[default]
    Off,
    /// Yes: the first request named nothing. Ends, as a way of asking, with the first name.
    Implied,
    /// Yes: `*` was named.
    Asked,
}

/// A subscription. What is wanted, not what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// All resources.
    pub wildcard: Wildcard,
    /// By name, whether they exist or not.
    names: Names,
}

/// Names, told one by one or by the difference to a view: a sidecar asks for the endpoints of every
/// cluster that it sees, and to list these again for every sidecar would cost more than all else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    /// Beside those of `all_but`.
    listed: BTreeSet<ResourceName>,
    /// Some: every name in the view but these.
    all_but: Option<BTreeSet<ResourceName>>,
}

/// Names in a view that may be left out of a subscription told by the difference.
const DIFFERENCE_MAX: usize = 64;
/// Fewer names than this are listed.
const LISTED_MIN: usize = 16;

impl Subscription {
    /// Whether a resource is wanted; `exists` says whether the view has it.
    pub fn wants(&self, name: &str, exists: bool) -> bool {
        self.is_wildcard() || self.names.contains(name, exists)
    }

    /// Whether all are.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::Off
    }

    /// Whether a resource is wanted by its name.
    pub fn names(&self, name: &str, exists: bool) -> bool {
        self.names.contains(name, exists)
    }

    /// Whether all names in the view are.
    pub fn wants_all(&self) -> bool {
        self.is_wildcard() || self.names.all_but.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Every name in the view, and no other.
    pub fn list_all(&mut self) {
        self.names = Names { listed: BTreeSet::new(), all_but: Some(BTreeSet::new()) };
    }

    /// Takes names in, of which there are none yet.
    pub fn list(&mut self, names: &[&str], view: &View, kind: ResourceType) {
        let mut names: Vec<&str> = names.iter().copied().filter(|name| *name != "*").collect();
        names.sort_unstable();
        self.names.all_but = difference(names.len(), view, kind, |name| names.binary_search(&name).is_ok());
        let by_difference = self.names.all_but.is_some();
        let listed = names.into_iter().filter(|name| !by_difference || view.get(kind, name).is_none());
        self.names.listed = listed.map(ResourceName::from).collect();
    }

    /// Adds a name.
    pub fn insert(&mut self, name: ResourceName, exists: bool) {
        match &mut self.names.all_but {
            Some(all_but) if exists => drop(all_but.remove(&name)),
            Some(_) | None => drop(self.names.listed.insert(name)),
        }
    }

    /// Takes a name off; whether it was there.
    pub fn remove(&mut self, name: &ResourceName, exists: bool) -> bool {
        match &mut self.names.all_but {
            Some(all_but) if exists => all_but.insert(name.clone()),
            Some(_) | None => self.names.listed.remove(name),
        }
    }

    /// The view has a name now that it had not.
    pub fn appeared(&mut self, name: &ResourceName) {
        if let Some(all_but) = &mut self.names.all_but
            && !self.names.listed.remove(name)
        {
            all_but.insert(name.clone());
        }
    }

    /// The view no longer has a name.
    pub fn vanished(&mut self, name: &ResourceName) {
        if let Some(all_but) = &mut self.names.all_but
            && !all_but.remove(name)
        {
            self.names.listed.insert(name.clone());
        }
    }

    /// How many names are told: what it costs.
    pub fn told(&self) -> usize {
        self.names.listed.len() + self.names.all_but.as_ref().map_or(0, BTreeSet::len)
    }

    /// Tells it the shorter way.
    pub fn compact(&mut self, view: &View, kind: ResourceType) {
        if self.names.all_but.is_some() {
            return;
        }
        let listed = &mut self.names.listed;
        self.names.all_but = difference(listed.len(), view, kind, |name| listed.contains(name));
        if self.names.all_but.is_some() {
            listed.retain(|name| view.get(kind, name).is_none());
        }
    }
}

/// What the view has beside the names that are listed. None: to list those is shorter.
fn difference(
    listed: usize,
    view: &View,
    kind: ResourceType,
    is_listed: impl Fn(&str) -> bool,
) -> Option<BTreeSet<ResourceName>> {
    if listed < LISTED_MIN {
        return None;
    }
    let others = view.iter(kind).filter(|resource| !is_listed(&resource.name));
    let others: BTreeSet<_> = others.take(DIFFERENCE_MAX + 1).map(|resource| resource.name.clone()).collect();
    (others.len() <= DIFFERENCE_MAX).then_some(others)
}

impl Names {
    fn contains(&self, name: &str, exists: bool) -> bool {
        match &self.all_but {
            Some(all_but) if exists => !all_but.contains(name),
            Some(_) | None => self.listed.contains(name),
        }
    }
}
