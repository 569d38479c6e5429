//! Acknowledgements and refusals.

use std::collections::VecDeque;
use std::time::Instant;

use rutter_api::ResourceType;

use super::DeltaStream;
use super::due::SendReason;
use super::type_state::UnansweredResponse;
use crate::resource::{ResourceName, Version};
use crate::stream::status::RefusedVersion;

impl DeltaStream {
    /// Takes in the answer to a response. `error` is what the client says is wrong with it.
    pub(super) fn on_answer(&mut self, now: Instant, resource_type: ResourceType, nonce: u64, error: Option<String>) {
        let state = &mut self.types[resource_type];
        let Some(at) = state.unanswered.iter().position(|response| response.nonce == nonce) else { return };
        let Some(answered) = state.unanswered.remove(at) else { return };
        if state.unanswered.is_empty() {
            // Nearly always nothing is unanswered, on thousands of streams: the allocation is given back.
            state.unanswered = VecDeque::new();
        }
        state.state_since = Some(now);
        self.frame.pushes.answered(now, nonce, error.as_deref());
        match error {
            None => self.on_acknowledgement(resource_type, &answered),
            Some(error) => self.on_refusal(resource_type, &answered, error),
        }
        let state = &mut self.types[resource_type];
        if state.is_settled() {
            state.acked = self.frame.view.clone();
        }
    }

    fn on_acknowledgement(&mut self, resource_type: ResourceType, answered: &UnansweredResponse) {
        let state = &mut self.types[resource_type];
        if state.refused.is_empty() {
            return;
        }
        let view = &self.frame.view;
        let is_latest = |(name, version): &(&ResourceName, Version)| view.has(resource_type, name, *version);
        for (name, _) in answered.sent().filter(is_latest) {
            if state.refused.remove(name).is_some() && !state.unanswered.is_empty() {
                // It was taken at last, but something that was sent meanwhile may be in its place, or its removal.
                state.due.insert(name.clone(), SendReason::Changed);
            }
        }
    }

    fn on_refusal(&mut self, resource_type: ResourceType, refused: &UnansweredResponse, error: String) {
        let (state, view) = (&mut self.types[resource_type], &self.frame.view);
        // What the response said to be gone has to be said again, unless something else is due about it.
        let is_still_gone = |name: &&ResourceName| view.get(resource_type, name).is_none() && !state.due.contains(name);
        let still_gone: Vec<ResourceName> = refused.removed.iter().filter(is_still_gone).cloned().collect();
        state.gone.extend(still_gone);
        let sent: Vec<(&ResourceName, Version)> = refused.sent().collect();
        if let [(name, version)] = sent[..] {
            self.on_refused_resource(resource_type, name, RefusedVersion { version, error });
            return;
        }
        // N4: it is not known what the client took. Halves are sent again to find the faulty resource.
        let (first, second) = sent.split_at(sent.len() / 2);
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            state.retry.push_back(half.iter().map(|(name, _)| (*name).clone()).collect());
        }
    }

    /// N3: a resource that was refused alone is not sent again until it changes, which it may have done meanwhile.
    /// Until then the client keeps the last version that it took, and the refusal is shown.
    fn on_refused_resource(&mut self, resource_type: ResourceType, name: &ResourceName, refused: RefusedVersion) {
        let state = &mut self.types[resource_type];
        let is_latest = self.frame.view.has(resource_type, name, refused.version);
        if !is_latest || !state.subscription.wants(name, true) {
            return;
        }
        let was_due = state.due.remove(name).is_some();
        state.refused.insert(name.clone(), refused);
        if resource_type == ResourceType::Route && was_due {
            // Virtual hosts of the table that changed would have followed it.
            self.owe_virtual_hosts(name);
        }
    }
}
