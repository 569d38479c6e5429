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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
mod tests {
    use std::time::Duration;

    use rutter_api::ResourceType;

    use super::*;
    use crate::stream::status::RefusedVersion;

    fn resource(name: &str, body: &str) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), body.as_bytes())
    }

    fn state() -> TypeState {
        TypeState::new(View::default())
    }

    fn refuse(state: &mut TypeState, refused: &EncodedResource) {
        let version = RefusedVersion { version: refused.version, error: "no".into() };
        state.refused.insert(refused.name.clone(), version);
    }

    fn due(state: &TypeState) -> Vec<&str> {
        state.due.names().map(|name| &**name).collect()
    }

    fn gone(state: &TypeState) -> Vec<&str> {
        state.gone.iter().map(|name| &**name).collect()
    }

    fn unanswered(unchanged: ResourceList, listed: &[&EncodedResource]) -> UnansweredResponse {
        let listed = listed.iter().map(|resource| (resource.name.clone(), resource.version)).collect();
        UnansweredResponse { nonce: 1, unchanged, listed, removed: Box::new([]), sent_at: Instant::now() }
    }

    #[test]
    fn a_new_state_is_settled_and_has_not_been_asked_for() {
        let state = state();
        assert!(state.is_settled() && !state.is_requested && !state.owes_response && !state.owes_all);
        assert_eq!(state.state_since, None);
    }

    #[test]
    fn a_version_that_was_refused_is_not_sent_again_and_another_one_is() {
        let mut state = state();
        let (refused, better) = (resource("a", "bad"), resource("a", "good"));
        refuse(&mut state, &refused);
        state.changed(&refused);
        assert!(state.is_settled());
        state.changed(&better);
        assert_eq!(due(&state), ["a"]);
        assert!(state.refused.contains_key("a"), "it is refused until the other one is answered");
    }

    #[test]
    fn what_comes_back_is_sent_and_no_longer_said_to_be_gone() {
        let mut state = state();
        state.vanished(Instant::now(), &"a".into());
        state.changed(&resource("a", "1"));
        assert_eq!((due(&state), gone(&state), state.gone_since), (vec!["a"], vec![], None));
    }

    #[test]
    fn what_vanishes_is_neither_due_nor_refused() {
        let mut state = state();
        let vanishing = resource("a", "1");
        refuse(&mut state, &vanishing);
        state.changed(&resource("a", "2"));
        state.vanished(Instant::now(), &"a".into());
        assert_eq!((due(&state), gone(&state)), (vec![], vec!["a"]));
        assert!(state.refused.is_empty() && !state.is_settled());
    }

    #[test]
    fn the_time_of_what_is_gone_is_that_of_the_first() {
        let mut state = state();
        let start = Instant::now();
        state.vanished(start, &"a".into());
        state.vanished(start + Duration::from_secs(1), &"b".into());
        assert_eq!(state.gone_since, Some(start));
        state.not_gone("a");
        assert_eq!(state.gone_since, Some(start), "b is still gone");
        state.not_gone("b");
        assert_eq!(state.gone_since, None);
    }

    #[test]
    fn a_client_that_asks_is_told_what_is_and_what_is_not() {
        let mut state = state();
        state.tell("there".into(), true);
        state.tell("absent".into(), false);
        assert_eq!((due(&state), gone(&state), state.gone_since), (vec!["there"], vec!["absent"], None));
        state.tell("there".into(), false);
        state.tell("absent".into(), true);
        assert_eq!((due(&state), gone(&state)), (vec!["absent"], vec!["there"]), "the latest word counts");
    }

    #[test]
    fn a_name_that_is_given_up_leaves_nothing_behind() {
        let mut state = state();
        let given_up = resource("a", "1");
        refuse(&mut state, &given_up);
        state.changed(&resource("a", "2"));
        state.retry.push_back(vec!["a".into(), "b".into()]);
        state.retry.push_back(vec!["a".into()]);
        state.forget(&"a".into());
        assert!(state.due.is_empty() && state.refused.is_empty());
        assert_eq!(state.retry, [vec!["b".into()]], "a part without names is dropped");
    }

    #[test]
    fn whatever_is_open_keeps_a_type_from_being_settled() {
        let opened: [fn(&mut TypeState); 4] = [
            |state| state.tell("a".into(), true),
            |state| state.tell("a".into(), false),
            |state| state.retry.push_back(vec!["a".into()]),
            |state| state.unanswered.push_back(unanswered(ResourceList::default(), &[])),
        ];
        for open in opened {
            let mut state = state();
            open(&mut state);
            assert!(!state.is_settled(), "{state:?}");
        }
    }

    #[test]
    fn a_response_knows_all_that_was_sent_in_it() {
        let (whole, listed) = (resource("whole", "1"), resource("listed", "1"));
        let response = unanswered(vec![whole.clone()].into(), &[&listed]);
        let sent: Vec<(&str, Version)> = response.sent().map(|(name, version)| (&**name, version)).collect();
        assert_eq!(sent, [("whole", whole.version), ("listed", listed.version)]);
        assert!(!response.is_empty());
        let response = unanswered(ResourceList::default(), &[]);
        assert!(response.is_empty() && response.sent().next().is_none());
    }
}
