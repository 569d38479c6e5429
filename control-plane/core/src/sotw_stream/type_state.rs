//! One type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::delta_stream::ORDER_GRACE;
use crate::encode::{EncodedResource, Version};
use crate::snapshot::ResourceName;

/// One type on one stream.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) requested: bool,
    /// All resources: the first request named none. Ends with the first name.
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<ResourceName>,
    /// What the client was sent; of a whole state, the last of it.
    pub(super) sent: BTreeMap<ResourceName, EncodedResource>,
    pub(super) due: BTreeSet<ResourceName>,
    /// A response is due, whatever is in it: the client asked, or refused that something is gone.
    pub(super) asked: bool,
    /// The last response; the names of requests that answer another are late (Q3).
    pub(super) nonce: u64,
    pub(super) outstanding: VecDeque<Outstanding>,
    pub(super) refused: BTreeMap<ResourceName, (Version, String)>,
    /// Parts of refused responses, to find what is at fault (N4): until its turn comes, each stays as it was.
    pub(super) retry: VecDeque<BTreeSet<ResourceName>>,
    /// Clusters that are gone and stay for those who still use them (O2).
    pub(super) kept: BTreeMap<ResourceName, EncodedResource>,
    pub(super) kept_since: Option<Instant>,
    pub(super) state_since: Option<Instant>,
}

/// A response that is not answered.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: u64,
    /// What was new in it.
    pub(super) changed: Vec<Changed>,
    /// What was in the whole state before, and not in this.
    pub(super) removed: Vec<EncodedResource>,
    pub(super) at: Instant,
}

/// A resource that was new in a response.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) name: ResourceName,
    pub(super) version: Version,
    /// What the client had, and keeps if it refuses.
    pub(super) before: Option<EncodedResource>,
}

impl Outstanding {
    /// Whether it has waited for so long that nothing else should wait for it.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.at + ORDER_GRACE
    }

    fn of(&self, name: &str) -> Option<&Changed> {
        self.changed.iter().find(|one| *one.name == *name)
    }
}

impl TypeState {
    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn is_due(&self) -> bool {
        self.asked || !self.due.is_empty() || !self.retry.is_empty()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.is_due() && self.outstanding.is_empty() && self.kept.is_empty()
    }

    /// Whether nothing is unanswered that is worth waiting for.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.outstanding.iter().all(|one| one.is_late(now))
    }

    /// Whether something of a name is unanswered.
    pub(super) fn is_in_flight(&self, name: &str) -> bool {
        self.outstanding.iter().any(|one| one.of(name).is_some())
    }

    /// What the client has of a name, as far as it has answered.
    pub(super) fn had(&self, name: &str) -> Option<&EncodedResource> {
        match self.outstanding.iter().find_map(|one| one.of(name)) {
            Some(changed) => changed.before.as_ref(),
            None => self.sent.get(name),
        }
    }

    /// The response that a nonce answers. Those before it were taken: a client answers in order.
    pub(super) fn take_answered(&mut self, nonce: u64) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|one| one.nonce == nonce)?;
        let answered = self.outstanding.drain(..=at).next_back();
        if self.outstanding.is_empty() {
            // Thousands of streams have nothing outstanding, nearly always.
            self.outstanding = VecDeque::new();
        }
        answered
    }

    /// The client keeps what it had before a response.
    pub(super) fn restore(&mut self, refused: &Outstanding) {
        for changed in &refused.changed {
            let mut later = self.outstanding.iter_mut().flat_map(|one| &mut one.changed);
            if let Some(later) = later.find(|one| one.name == changed.name) {
                later.before.clone_from(&changed.before);
                continue;
            }
            if self.sent.get(&changed.name).is_some_and(|sent| sent.version == changed.version) {
                match &changed.before {
                    Some(old) => drop(self.sent.insert(changed.name.clone(), old.clone())),
                    None => drop(self.sent.remove(&changed.name)),
                }
            }
        }
        if !refused.changed.is_empty() {
            // What is gone is told again; by itself it cannot be refused.
            for gone in &refused.removed {
                self.asked |= !self.sent.contains_key(&gone.name);
                self.sent.entry(gone.name.clone()).or_insert_with(|| gone.clone());
            }
        }
    }

    /// Something goes its usual way.
    pub(super) fn not_again(&mut self, is_usual: impl Fn(&ResourceName) -> bool) {
        self.retry.iter_mut().for_each(|part| part.retain(|name| !is_usual(name)));
        self.retry.retain(|part| !part.is_empty());
    }
}
