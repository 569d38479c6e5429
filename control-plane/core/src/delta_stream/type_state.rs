//! One type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

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

/// One type on one stream.
#[derive(Debug)]
pub(super) struct TypeState {
    pub(super) requested: bool,
    pub(super) subscription: Subscription,
    pub(super) due: BTreeMap<ResourceName, Due>,
    pub(super) gone: BTreeSet<ResourceName>,
    pub(super) gone_since: Option<Instant>,
    /// An empty response is due (N10).
    pub(super) owes_empty: bool,
    /// What went before the sidecar asked for what belongs to it: endpoints of clusters (O3), by their
    /// own names; virtual hosts (V6), by the names of their tables.
    pub(super) owed: BTreeSet<ResourceName>,
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
    pub(super) sent: Box<[(ResourceName, Version)]>,
    /// What was said to be gone in the same response.
    pub(super) removed: Box<[ResourceName]>,
    pub(super) at: Instant,
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
            due: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_since: None,
            owes_empty: false,
            owed: BTreeSet::new(),
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
        self.gone.remove(&resource.name);
        self.due.entry(resource.name.clone()).or_insert(Due::Changed);
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
            self.gone.remove(&name);
            self.due.insert(name, Due::Asked);
        } else {
            self.due.remove(&name);
            self.gone.insert(name);
        }
    }

    pub(super) fn forget(&mut self, name: &ResourceName) {
        self.due.remove(name);
        self.gone.remove(name);
        self.refused.remove(name);
        self.owed.remove(name);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty() && self.gone.is_empty() && self.outstanding.is_empty() && self.retry.is_empty()
    }
}
