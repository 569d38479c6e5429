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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
mod tests {
    use std::time::Duration;

    use rutter_api::ResourceType;

    use super::*;

    fn resource(name: &str, body: &str) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), body.as_bytes())
    }

    /// Takes in that a response was sent which has another version of a resource.
    fn send(state: &mut TypeState, nonce: u64, resource: &EncodedResource) {
        let previous = state.sent.insert(resource.name.clone(), resource.clone());
        let changed = ChangedResource { name: resource.name.clone(), version: resource.version, previous };
        state.unanswered.push_back(UnansweredResponse {
            nonce,
            changed: vec![changed],
            removed: Vec::new(),
            sent_at: Instant::now(),
        });
    }

    fn version_of(state: &TypeState, name: &str) -> Option<Version> {
        state.sent.get(name).map(|resource| resource.version)
    }

    fn acknowledged(state: &TypeState, name: &str) -> Option<Version> {
        state.acknowledged(name).map(|resource| resource.version)
    }

    #[test]
    fn what_a_client_has_is_what_it_answered_and_not_what_was_sent() {
        let mut state = TypeState::default();
        let (first, second) = (resource("a", "1"), resource("a", "2"));
        send(&mut state, 1, &first);
        assert_eq!(acknowledged(&state, "a"), None);
        state.take_answered(1).unwrap();
        assert_eq!(acknowledged(&state, "a"), Some(first.version));
        send(&mut state, 2, &second);
        assert!(state.is_unanswered("a"));
        assert_eq!(acknowledged(&state, "a"), Some(first.version));
    }

    #[test]
    fn an_answer_takes_the_responses_before_it_along() {
        let mut state = TypeState::default();
        (1..=3).for_each(|nonce| send(&mut state, nonce, &resource("a", &nonce.to_string())));
        assert_eq!(state.take_answered(2).unwrap().nonce, 2);
        assert_eq!(state.unanswered.len(), 1);
        assert!(state.take_answered(1).is_none(), "an answer that comes twice answers nothing");
        assert_eq!(state.take_answered(3).unwrap().nonce, 3);
        assert_eq!(state.unanswered.capacity(), 0, "nothing is unanswered, so nothing is held");
    }

    #[test]
    fn a_refused_resource_is_again_what_it_was() {
        let mut state = TypeState::default();
        let (first, second) = (resource("a", "1"), resource("a", "2"));
        send(&mut state, 1, &first);
        state.take_answered(1).unwrap();
        send(&mut state, 2, &second);
        let refused = state.take_answered(2).unwrap();
        state.restore(&refused);
        assert_eq!(version_of(&state, "a"), Some(first.version));
        send(&mut state, 3, &resource("new", "1"));
        let refused = state.take_answered(3).unwrap();
        state.restore(&refused);
        assert_eq!(version_of(&state, "new"), None, "the client had nothing before");
    }

    #[test]
    fn a_refusal_does_not_undo_what_was_sent_after_it() {
        let mut state = TypeState::default();
        let versions = [resource("a", "1"), resource("a", "2"), resource("a", "3")];
        send(&mut state, 1, &versions[0]);
        state.take_answered(1).unwrap();
        send(&mut state, 2, &versions[1]);
        send(&mut state, 3, &versions[2]);
        let refused = state.take_answered(2).unwrap();
        state.restore(&refused);
        assert_eq!(version_of(&state, "a"), Some(versions[2].version));
        assert_eq!(acknowledged(&state, "a"), Some(versions[0].version), "should the client refuse the third as well");
    }

    #[test]
    fn what_is_gone_is_told_again_if_the_response_was_refused_for_something_else() {
        let mut state = TypeState::default();
        let (gone, other) = (resource("gone", "1"), resource("other", "1"));
        send(&mut state, 1, &other);
        state.unanswered[0].removed.push(gone.clone());
        let refused = state.take_answered(1).unwrap();
        state.restore(&refused);
        assert!(state.is_asked && state.sent.contains_key("gone"));

        let mut state = TypeState::default();
        let (changed, removed) = (Vec::new(), vec![gone]);
        state.restore(&UnansweredResponse { nonce: 1, changed, removed, sent_at: Instant::now() });
        assert!(!state.is_asked && state.sent.is_empty(), "a response that only removes cannot be refused");
    }

    #[test]
    fn a_response_is_waited_for_until_it_is_late() {
        let mut state = TypeState::default();
        send(&mut state, 1, &resource("a", "1"));
        let sent_at = state.unanswered[0].sent_at;
        assert!(!state.is_calm(sent_at + ORDER_GRACE - Duration::from_nanos(1)));
        assert!(state.is_calm(sent_at + ORDER_GRACE));
        assert!(!state.is_settled(), "late is not answered");
    }

    #[test]
    fn names_that_go_their_usual_way_are_not_sent_again_in_parts() {
        let mut state = TypeState::default();
        state.retry.push_back(["a".into(), "b".into()].into());
        state.retry.push_back(["b".into()].into());
        assert!(state.is_due());
        state.do_not_retry(|name| **name == *"b");
        assert_eq!(state.retry, [BTreeSet::from(["a".into()])]);
        state.do_not_retry(|_| true);
        assert!(!state.is_due() && state.is_settled());
    }
}
