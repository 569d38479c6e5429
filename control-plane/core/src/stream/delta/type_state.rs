//! One type on one stream.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::due::{DueNames, SendReason};
use crate::resource::{EncodedResource, ResourceList, ResourceName, Version};
use crate::snapshot::View;
use crate::stream::status::RefusedVersions;
use crate::stream::subscription::Subscription;

/// What is known of one type at one client. The words are explained in the module `stream`.
#[derive(Debug)]
pub(super) struct TypeState {
    /// Whether the client has sent a request of this type.
    pub(super) is_requested: bool,
    pub(super) subscription: Subscription,
    pub(super) due: DueNames,
    /// The names of which the client is to be told that they do not exist.
    pub(super) gone: BTreeSet<ResourceName>,
    /// The instant since which something is gone that vanished. `None` means that the client asked for all of it.
    pub(super) gone_since: Option<Instant>,
    /// Whether a response is due even if there is nothing in it (N10).
    pub(super) owes_response: bool,
    /// What was sent before the client asked for this type, which belongs to it: for endpoints the names of clusters
    /// (O3), for virtual hosts the names of tables (V6).
    pub(super) owed: BTreeSet<ResourceName>,
    /// Whether everything is owed.
    pub(super) owes_all: bool,
    /// The parts of refused responses that are sent again to find the faulty resource (N4).
    pub(super) retry: VecDeque<Vec<ResourceName>>,
    pub(super) unanswered: VecDeque<UnansweredResponse>,
    pub(super) refused: RefusedVersions,
    /// The view of which the client has everything that it wants. It is what the client keeps of what it refused.
    pub(super) acked: View,
    /// The instant of the latest response or answer.
    pub(super) state_since: Option<Instant>,
}

/// A response that was sent and not answered.
#[derive(Debug)]
pub(super) struct UnansweredResponse {
    pub(super) nonce: u64,
    /// The resources that were sent because the client asked for everything.
    pub(super) unchanged: ResourceList,
    /// The other resources that were sent.
    pub(super) listed: Box<[(ResourceName, Version)]>,
    /// The names that the same response said to be gone. It is empty if the response had nothing else, because then
    /// nothing in it can be refused.
    pub(super) removed: Box<[ResourceName]>,
    pub(super) sent_at: Instant,
}

impl UnansweredResponse {
    /// Returns the resources that were sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        let unchanged = self.unchanged.iter().map(|resource| (&resource.name, resource.version));
        unchanged.chain(self.listed.iter().map(|(name, version)| (name, *version)))
    }

    /// Returns whether no resource was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.unchanged.is_empty() && self.listed.is_empty()
    }
}

impl TypeState {
    pub(super) fn new(view: View) -> Self {
        Self {
            is_requested: false,
            subscription: Subscription::default(),
            due: DueNames::default(),
            gone: BTreeSet::new(),
            gone_since: None,
            owes_response: false,
            owed: BTreeSet::new(),
            owes_all: false,
            retry: VecDeque::new(),
            unanswered: VecDeque::new(),
            refused: RefusedVersions::new(),
            acked: view,
            state_since: None,
        }
    }

    /// Takes in that a resource which the client wants is another now.
    pub(super) fn changed(&mut self, resource: &EncodedResource) {
        let refused = self.refused.get(&resource.name);
        if refused.is_some_and(|refused| refused.version == resource.version) {
            return;
        }
        self.not_gone(&resource.name);
        self.due.insert(resource.name.clone(), SendReason::Changed);
    }

    /// Takes in that a resource which the client wants no longer exists.
    pub(super) fn vanished(&mut self, now: Instant, name: &ResourceName) {
        self.due.remove(name);
        self.refused.remove(name);
        self.gone.insert(name.clone());
        self.gone_since.get_or_insert(now);
    }

    /// Makes sure that the client is sent a resource, or told that there is none, whatever it is believed to have (W6,
    /// W7).
    pub(super) fn tell(&mut self, name: ResourceName, exists: bool) {
        if exists {
            self.not_gone(&name);
            self.due.insert(name, SendReason::Asked);
        } else {
            self.due.remove(&name);
            self.gone.insert(name);
        }
    }

    /// Drops everything that is known of a name which the client no longer wants.
    pub(super) fn forget(&mut self, name: &ResourceName) {
        self.due.remove(name);
        self.not_gone(name);
        self.refused.remove(name);
        self.retry.iter_mut().for_each(|part| part.retain(|other| other != name));
        self.retry.retain(|part| !part.is_empty());
    }

    /// Takes in that the client must not be told that a name does not exist.
    pub(super) fn not_gone(&mut self, name: &str) {
        self.gone.remove(name);
        if self.gone.is_empty() {
            self.gone_since = None;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty() && self.gone.is_empty() && self.unanswered.is_empty() && self.retry.is_empty()
    }
}
