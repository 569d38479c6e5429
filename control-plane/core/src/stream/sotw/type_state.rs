//! One type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::resource::{EncodedResource, ResourceName, Version};
use crate::stream::limits::ORDER_GRACE;
use crate::stream::status::RefusedVersions;

/// What is known of one type at one client. The words are explained in the module `stream`.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    /// Whether the client has sent a request of this type.
    pub(super) is_requested: bool,
    /// Whether the client wants all resources: its first request named none. This ends with the first name.
    pub(super) is_wildcard: bool,
    pub(super) names: BTreeSet<ResourceName>,
    /// The resources that the client was sent; of a whole state, the latest one.
    pub(super) sent: BTreeMap<ResourceName, EncodedResource>,
    pub(super) due: BTreeSet<ResourceName>,
    /// Whether a response is due whatever is in it, because the client asked, or refused that something is gone.
    pub(super) is_asked: bool,
    /// The nonce of the latest response. The names of a request that answers another are late (Q3).
    pub(super) nonce: u64,
    pub(super) unanswered: VecDeque<UnansweredResponse>,
    pub(super) refused: RefusedVersions,
    /// The parts of refused responses that are sent again to find the faulty resource (N4). Until its turn comes, each
    /// resource stays as it was. A part is half of what was refused, until a part has one resource.
    pub(super) retry: VecDeque<BTreeSet<ResourceName>>,
    /// The clusters that are gone and stay for those that still use them (O2).
    pub(super) kept: BTreeMap<ResourceName, EncodedResource>,
    /// The instant since which a cluster is kept.
    pub(super) kept_since: Option<Instant>,
    /// The instant of the latest response or answer.
    pub(super) state_since: Option<Instant>,
}

/// A response that was sent and not answered.
#[derive(Debug)]
pub(super) struct UnansweredResponse {
    pub(super) nonce: u64,
    /// The resources that the response added, or had in another version than the client was sent before.
    pub(super) changed: Vec<ChangedResource>,
    /// The resources that were in the whole state before, and not in this one.
    pub(super) removed: Vec<EncodedResource>,
    pub(super) sent_at: Instant,
}

/// A resource that a response added, or had in another version than the client was sent before.
#[derive(Debug)]
pub(super) struct ChangedResource {
    pub(super) name: ResourceName,
    pub(super) version: Version,
    /// What the client had before, and keeps if it refuses.
    pub(super) previous: Option<EncodedResource>,
}

impl UnansweredResponse {
    /// Returns whether the response has waited for so long that nothing else should wait for it.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.sent_at + ORDER_GRACE
    }

    fn changed_resource(&self, name: &str) -> Option<&ChangedResource> {
        self.changed.iter().find(|changed| *changed.name == *name)
    }
}

impl TypeState {
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.is_wildcard || self.names.contains(name)
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_asked || !self.due.is_empty() || !self.retry.is_empty()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.is_due() && self.unanswered.is_empty() && self.kept.is_empty()
    }

    /// Returns whether nothing is unanswered that is worth waiting for.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.unanswered.iter().all(|response| response.is_late(now))
    }

    /// Returns whether a resource was sent and not answered.
    pub(super) fn is_unanswered(&self, name: &str) -> bool {
        self.unanswered.iter().any(|response| response.changed_resource(name).is_some())
    }

    /// Returns what the client has of a name, as far as it has answered.
    pub(super) fn acknowledged(&self, name: &str) -> Option<&EncodedResource> {
        match self.unanswered.iter().find_map(|response| response.changed_resource(name)) {
            Some(changed) => changed.previous.as_ref(),
            None => self.sent.get(name),
        }
    }

    /// Takes out the response that a nonce answers. A client answers in order, so those before it were taken.
    pub(super) fn take_answered(&mut self, nonce: u64) -> Option<UnansweredResponse> {
        let at = self.unanswered.iter().position(|response| response.nonce == nonce)?;
        let answered = self.unanswered.drain(..=at).next_back();
        if self.unanswered.is_empty() {
            // Nearly always nothing is unanswered, on thousands of streams: the allocation is given back.
            self.unanswered = VecDeque::new();
        }
        answered
    }

    /// Takes in that the client refused a response, and keeps what it had before.
    pub(super) fn restore(&mut self, refused: &UnansweredResponse) {
        for changed in &refused.changed {
            let mut later = self.unanswered.iter_mut().flat_map(|response| &mut response.changed);
            if let Some(later) = later.find(|later| later.name == changed.name) {
                later.previous.clone_from(&changed.previous);
                continue;
            }
            if self.sent.get(&changed.name).is_some_and(|sent| sent.version == changed.version) {
                match &changed.previous {
                    Some(old) => drop(self.sent.insert(changed.name.clone(), old.clone())),
                    None => drop(self.sent.remove(&changed.name)),
                }
            }
        }
        if refused.changed.is_empty() {
            return;
        }
        // What is gone is told again. By itself it cannot be refused.
        for gone in &refused.removed {
            self.is_asked |= !self.sent.contains_key(&gone.name);
            self.sent.entry(gone.name.clone()).or_insert_with(|| gone.clone());
        }
    }

    /// Takes resources out of what is sent again after a refusal, because they go their usual way.
    pub(super) fn do_not_retry(&mut self, is_usual: impl Fn(&ResourceName) -> bool) {
        self.retry.iter_mut().for_each(|part| part.retain(|name| !is_usual(name)));
        self.retry.retain(|part| !part.is_empty());
    }
}
