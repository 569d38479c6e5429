//! One type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::batch::Batch;
use crate::encode::{EncodedResource, Version};
use crate::snapshot::{ResourceName, View};
use crate::subscription::Subscription;

/// Why something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The sidecar asked; it is never made to wait for another type (S4).
    Asked,
    /// It changed.
    Changed,
}

/// What is due.
#[derive(Debug, Default)]
pub(super) struct DueSet {
    /// Asked for, all of a type: none of it has changed since.
    all: Batch,
    listed: BTreeMap<ResourceName, Due>,
}

impl DueSet {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.listed.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.listed.contains_key(name) || self.all.contains(name)
    }

    /// Something is another now, whoever wants it: it is not sent as it was.
    pub(super) fn outdate(&mut self, name: &str) {
        if self.all.contains(name) {
            self.list();
        }
    }

    /// Everything of a type.
    pub(super) fn insert_all(&mut self, all: Batch) {
        self.all = all;
    }

    pub(super) fn insert(&mut self, name: ResourceName, due: Due) {
        if due == Due::Changed || !self.all.contains(&name) {
            self.list();
            let held = self.listed.entry(name).or_insert(due);
            if due == Due::Asked {
                *held = due;
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Due> {
        self.outdate(name);
        self.listed.remove(name)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&ResourceName) -> bool) {
        self.list();
        self.listed.retain(|name, _| keep(name));
    }

    /// Name by name, because some of it has changed or is no longer wanted.
    fn list(&mut self) {
        let all = std::mem::take(&mut self.all);
        self.listed.extend(all.iter().map(|resource| (resource.name.clone(), Due::Asked)));
    }

    /// The first of what is due as it is, so many bytes or a little more.
    pub(super) fn take_all(&mut self, bytes: usize) -> Batch {
        self.all.split_off(bytes)
    }

    /// Whether anything is, that need not wait where `waits`.
    pub(super) fn is_ready(&self, waits: bool) -> bool {
        !self.all.is_empty() || self.listed.values().any(|due| *due == Due::Asked || !waits)
    }

    /// What is ready and listed, by name.
    pub(super) fn ready(&self, waits: bool) -> Vec<ResourceName> {
        let ready = self.listed.iter().filter(|(_, due)| **due == Due::Asked || !waits);
        ready.map(|(name, _)| name.clone()).collect()
    }

    /// Whether what is due next is listed.
    pub(super) fn is_listed(&self) -> bool {
        self.all.is_empty()
    }

    /// The names.
    pub(super) fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.all.iter().map(|resource| &resource.name).chain(self.listed.keys())
    }
}

/// One type on one stream.
#[derive(Debug)]
pub(super) struct TypeState {
    pub(super) requested: bool,
    pub(super) subscription: Subscription,
    pub(super) due: DueSet,
    pub(super) gone: BTreeSet<ResourceName>,
    pub(super) gone_since: Option<Instant>,
    /// An empty response is due (N10).
    pub(super) owes_empty: bool,
    /// What went before the sidecar asked for what belongs to it: endpoints of clusters (O3), by their
    /// own names; virtual hosts (V6), by the names of their tables.
    pub(super) owed: BTreeSet<ResourceName>,
    /// The same of all that there is.
    pub(super) owes_all: bool,
    /// Parts of refused responses, to find the one that is at fault (N4).
    pub(super) retry: VecDeque<Vec<ResourceName>>,
    pub(super) outstanding: VecDeque<Outstanding>,
    pub(super) refused: BTreeMap<ResourceName, Refused>,
    pub(super) acked: View,
    pub(super) state_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: u64,
    /// What was sent because it was asked for as a whole.
    pub(super) all: Batch,
    /// What was sent else.
    pub(super) listed: Box<[(ResourceName, Version)]>,
    /// What was said to be gone in the same response.
    pub(super) removed: Box<[ResourceName]>,
    pub(super) at: Instant,
}

impl Outstanding {
    /// What was sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        let all = self.all.iter().map(|resource| (&resource.name, resource.version));
        all.chain(self.listed.iter().map(|(name, version)| (name, *version)))
    }

    /// Whether nothing was.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.listed.is_empty()
    }
}

/// What the sidecar refused of a resource, and why, in its words; it keeps what it had.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) version: Version,
    pub(super) error: String,
}

impl TypeState {
    pub(super) fn new(view: View) -> Self {
        Self {
            requested: false,
            subscription: Subscription::default(),
            due: DueSet::default(),
            gone: BTreeSet::new(),
            gone_since: None,
            owes_empty: false,
            owed: BTreeSet::new(),
            owes_all: false,
            retry: VecDeque::new(),
            outstanding: VecDeque::new(),
            refused: BTreeMap::new(),
            acked: view,
            state_since: None,
        }
    }

    pub(super) fn changed(&mut self, resource: &EncodedResource) {
        if self.refused.get(&resource.name).is_some_and(|refused| refused.version == resource.version) {
            return;
        }
        self.not_gone(&resource.name);
        self.due.insert(resource.name.clone(), Due::Changed);
    }

    pub(super) fn vanished(&mut self, now: Instant, name: &ResourceName) {
        self.due.remove(name);
        self.refused.remove(name);
        self.gone.insert(name.clone());
        self.gone_since.get_or_insert(now);
    }

    /// What is named is sent, or said to be absent, whatever is believed of it (W6, W7).
    pub(super) fn tell(&mut self, name: ResourceName, exists: bool) {
        if exists {
            self.not_gone(&name);
            self.due.insert(name, Due::Asked);
        } else {
            self.due.remove(&name);
            self.gone.insert(name);
        }
    }

    pub(super) fn forget(&mut self, name: &ResourceName) {
        self.due.remove(name);
        self.not_gone(name);
        self.refused.remove(name);
        self.retry.iter_mut().for_each(|part| part.retain(|other| other != name));
        self.retry.retain(|part| !part.is_empty());
    }

    /// Something is not to be said to be gone.
    pub(super) fn not_gone(&mut self, name: &str) {
        self.gone.remove(name);
        if self.gone.is_empty() {
            self.gone_since = None;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty() && self.gone.is_empty() && self.outstanding.is_empty() && self.retry.is_empty()
    }
}
