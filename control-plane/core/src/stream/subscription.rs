//! What a client wants of one type, in the delta variant.

use std::collections::BTreeSet;

use rutter_api::ResourceType;

use crate::resource::ResourceName;
use crate::snapshot::View;

/// Whether a client wants all resources. It may name some as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// The client wants only what it names.
    #[default]
    Off,
    /// The client wants everything, because its first request named nothing. As a way of asking this ends with the
    /// first name.
    Implied,
    /// The client wants everything, because it named `*`.
    Asked,
}

/// What a client wants, which is not the same as what it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Whether the client wants all resources.
    pub(super) wildcard: Wildcard,
    /// The names that the client wants, whether there are such resources or not.
    names: Names,
}

/// Names, which are held one by one or as the difference to the view. A sidecar asks for the endpoints of every cluster
/// that it sees, and to hold all these names for every sidecar would cost more than everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    /// The names beside those of `all_but`.
    listed: BTreeSet<ResourceName>,
    /// If there is such a set: every name in the view except these.
    all_but: Option<BTreeSet<ResourceName>>,
}

/// The number of names in a view that may be missing in a subscription which is held as a difference.
const DIFFERENCE_MAX: usize = 64;
/// The number of names below which names are always held one by one.
const LISTED_MIN: usize = 16;

impl Subscription {
    /// Returns whether a resource is wanted. `exists` says whether the view has it.
    pub(super) fn wants(&self, name: &str, exists: bool) -> bool {
        self.is_wildcard() || self.names.contains(name, exists)
    }

    /// Returns whether all resources are wanted.
    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::Off
    }

    /// Returns whether a resource is wanted by its name. `exists` says whether the view has it.
    pub(super) fn names(&self, name: &str, exists: bool) -> bool {
        self.names.contains(name, exists)
    }

    /// Returns whether every resource in the view is wanted.
    pub(super) fn wants_all(&self) -> bool {
        self.is_wildcard() || self.names.all_but.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Subscribes to every name in the view and to no other.
    pub(super) fn name_all(&mut self) {
        self.names = Names { listed: BTreeSet::new(), all_but: Some(BTreeSet::new()) };
    }

    /// Subscribes to names for the first time.
    pub(super) fn start(&mut self, names: &[&str], view: &View, resource_type: ResourceType) {
        let mut names: Vec<&str> = names.iter().copied().filter(|name| *name != "*").collect();
        names.sort_unstable();
        self.names.all_but = difference(names.len(), view, resource_type, |name| names.binary_search(&name).is_ok());
        let by_difference = self.names.all_but.is_some();
        let listed = names.into_iter().filter(|name| !by_difference || view.get(resource_type, name).is_none());
        self.names.listed = listed.map(ResourceName::from).collect();
    }

    /// Subscribes to a name. `exists` says whether the view has such a resource.
    pub(super) fn insert(&mut self, name: ResourceName, exists: bool) {
        match &mut self.names.all_but {
            Some(all_but) if exists => drop(all_but.remove(&name)),
            Some(_) | None => drop(self.names.listed.insert(name)),
        }
    }

    /// Ends the subscription to a name, and returns whether there was one.
    pub(super) fn remove(&mut self, name: &ResourceName, exists: bool) -> bool {
        match &mut self.names.all_but {
            Some(all_but) if exists => all_but.insert(name.clone()),
            Some(_) | None => self.names.listed.remove(name),
        }
    }

    /// Takes in that the view has a name now that it had not.
    pub(super) fn appeared(&mut self, name: &ResourceName) {
        if let Some(all_but) = &mut self.names.all_but
            && !self.names.listed.remove(name)
        {
            all_but.insert(name.clone());
        }
    }

    /// Takes in that the view no longer has a name.
    pub(super) fn vanished(&mut self, name: &ResourceName) {
        if let Some(all_but) = &mut self.names.all_but
            && !all_but.remove(name)
        {
            self.names.listed.insert(name.clone());
        }
    }

    /// Returns the number of names that are held, which is what the subscription costs.
    pub(super) fn held_names(&self) -> usize {
        self.names.listed.len() + self.names.all_but.as_ref().map_or(0, BTreeSet::len)
    }

    /// Holds the names in the shorter way.
    pub(super) fn compact(&mut self, view: &View, resource_type: ResourceType) {
        if self.names.all_but.is_some() {
            return;
        }
        let listed = &mut self.names.listed;
        self.names.all_but = difference(listed.len(), view, resource_type, |name| listed.contains(name));
        if self.names.all_but.is_some() {
            listed.retain(|name| view.get(resource_type, name).is_none());
        }
    }
}

/// Returns the names in the view that are not listed. `None` means that it is shorter to list the others.
fn difference(
    listed: usize,
    view: &View,
    resource_type: ResourceType,
    is_listed: impl Fn(&str) -> bool,
) -> Option<BTreeSet<ResourceName>> {
    if listed < LISTED_MIN {
        return None;
    }
    let others = view.iter(resource_type).filter(|resource| !is_listed(&resource.name));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resource::EncodedResource;
    use crate::snapshot::{ResourceWrite, Snapshot};

    const TYPE: ResourceType = ResourceType::Endpoint;

    fn view(names: &[String]) -> View {
        let put = |name: &String| ResourceWrite::Put(TYPE, EncodedResource::new(TYPE, name.as_str().into(), b"x"));
        let snapshot = Snapshot::new(1).apply(names.iter().map(put).collect()).unwrap();
        View { scope: Arc::new(snapshot), ..View::default() }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("name-{number:03}")).collect()
    }

    #[test]
    fn few_names_are_listed_and_nearly_all_are_held_as_a_difference() {
        let all = names(100);
        let view = view(&all);
        let asked: Vec<&str> = all.iter().map(String::as_str).skip(1).chain(["absent"]).collect();
        let mut many = Subscription::default();
        many.start(&asked, &view, TYPE);
        // The one that is left out, and the one that does not exist.
        assert_eq!(many.held_names(), 2);
        assert!(many.wants("name-001", true) && many.wants("absent", false));
        assert!(!many.wants("name-000", true) && !many.wants("other", false));
        let mut few = Subscription::default();
        few.start(&asked[..3], &view, TYPE);
        assert_eq!(few.held_names(), 3);
    }

    #[test]
    fn a_difference_follows_the_view() {
        let all = names(20);
        let view = view(&all);
        let asked: Vec<&str> = all.iter().map(String::as_str).chain(["later"]).collect();
        let mut subscription = Subscription::default();
        subscription.start(&asked, &view, TYPE);
        subscription.appeared(&"later".into());
        subscription.appeared(&"not-asked".into());
        assert!(subscription.wants("later", true) && !subscription.wants("not-asked", true));
        subscription.vanished(&"later".into());
        subscription.vanished(&"not-asked".into());
        assert!(subscription.wants("later", false) && !subscription.wants("not-asked", false));
    }

    #[test]
    fn names_come_and_go_in_both_forms() {
        let all = names(20);
        let view = view(&all);
        let mut subscription = Subscription::default();
        for name in &all {
            subscription.insert(name.as_str().into(), true);
        }
        assert_eq!(subscription.held_names(), 20);
        subscription.compact(&view, TYPE);
        assert_eq!(subscription.held_names(), 0);
        assert!(subscription.wants_all());
        assert!(subscription.remove(&"name-003".into(), true));
        assert!(!subscription.remove(&"name-003".into(), true));
        assert!(!subscription.wants_all());
        subscription.insert("name-003".into(), true);
        assert!(subscription.wants_all());
    }
}
