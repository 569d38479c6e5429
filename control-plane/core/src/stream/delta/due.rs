//! What of one type is to be sent.

use std::collections::BTreeMap;

use crate::resource::{ResourceList, ResourceName};

/// Why something is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendReason {
    /// The client asked. It is never made to wait for another type (S4).
    Asked,
    /// The resource changed after the client asked for it.
    Changed,
}

/// The names that are due. To ask for everything there is costs no name: it is held as the list of a snapshot, as long
/// as none of it has changed.
#[derive(Debug, Default)]
pub(super) struct DueNames {
    /// Resources that the client asked for as a whole, none of which has changed since.
    unchanged: ResourceList,
    listed: BTreeMap<ResourceName, SendReason>,
}

impl DueNames {
    pub(super) fn is_empty(&self) -> bool {
        self.unchanged.is_empty() && self.listed.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.listed.contains_key(name) || self.unchanged.contains(name)
    }

    /// Takes in that a resource is another now: it must not be sent as it was.
    pub(super) fn outdate(&mut self, name: &str) {
        if self.unchanged.contains(name) {
            self.list_by_name();
        }
    }

    /// Makes everything due that a client asked for as a whole.
    pub(super) fn insert_all(&mut self, resources: ResourceList) {
        self.unchanged = resources;
    }

    pub(super) fn insert(&mut self, name: ResourceName, reason: SendReason) {
        if reason == SendReason::Asked && self.unchanged.contains(&name) {
            return;
        }
        self.list_by_name();
        let held = self.listed.entry(name).or_insert(reason);
        if reason == SendReason::Asked {
            *held = reason;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<SendReason> {
        self.outdate(name);
        self.listed.remove(name)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&ResourceName) -> bool) {
        self.list_by_name();
        self.listed.retain(|name, _| keep(name));
    }

    fn list_by_name(&mut self) {
        let unchanged = std::mem::take(&mut self.unchanged);
        self.listed.extend(unchanged.iter().map(|resource| (resource.name.clone(), SendReason::Asked)));
    }

    /// Takes the first of what is due as it is, so many bytes or a little more.
    pub(super) fn take_unchanged(&mut self, bytes: usize) -> ResourceList {
        self.unchanged.take_front(bytes)
    }

    /// Returns whether everything that is due as it is has been taken.
    pub(super) fn has_only_names(&self) -> bool {
        self.unchanged.is_empty()
    }

    /// Returns whether something can be sent now. What changed has to wait if `changes_wait` says so.
    pub(super) fn is_ready(&self, changes_wait: bool) -> bool {
        !self.unchanged.is_empty() || self.listed.values().any(|reason| is_ready(*reason, changes_wait))
    }

    /// Returns the names that can be sent now, without those that are due as they are.
    pub(super) fn ready_names(&self, changes_wait: bool) -> Vec<ResourceName> {
        let ready = self.listed.iter().filter(|(_, reason)| is_ready(**reason, changes_wait));
        ready.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.unchanged.iter().map(|resource| &resource.name).chain(self.listed.keys())
    }
}

fn is_ready(reason: SendReason, changes_wait: bool) -> bool {
    match reason {
        SendReason::Asked => true,
        SendReason::Changed => !changes_wait,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rutter_api::ResourceType;

    use super::*;
    use crate::resource::EncodedResource;

    fn resources(names: &[&str]) -> ResourceList {
        let resource = |name: &&str| EncodedResource::new(ResourceType::Cluster, Arc::from(*name), b"x");
        names.iter().map(resource).collect::<Vec<_>>().into()
    }

    #[test]
    fn what_was_asked_for_as_a_whole_is_listed_only_when_some_of_it_changes() {
        let mut due = DueNames::default();
        due.insert_all(resources(&["a", "b"]));
        due.insert("a".into(), SendReason::Asked);
        assert!(!due.has_only_names() && due.is_ready(true) && due.contains("b"));
        due.outdate("c");
        assert!(!due.has_only_names());
        due.outdate("a");
        assert!(due.has_only_names());
        assert_eq!(due.ready_names(true), ["a".into(), "b".into()]);
    }

    #[test]
    fn changes_wait_and_what_was_asked_for_does_not() {
        let mut due = DueNames::default();
        due.insert("changed".into(), SendReason::Changed);
        assert!(!due.is_ready(true) && due.is_ready(false));
        due.insert("changed".into(), SendReason::Asked);
        due.insert("changed".into(), SendReason::Changed);
        assert!(due.is_ready(true), "asking is not forgotten");
        assert_eq!(due.remove("changed"), Some(SendReason::Asked));
        assert!(due.is_empty());
    }
}
