//! What a client asks for, and its answers.

use std::collections::BTreeSet;
use std::time::Instant;

use rutter_api::{ResourceType, StateOfTheWorldForm};

use super::type_state::ChangedResource;
use super::{SotwStream, is_whole};
use crate::resource::ResourceName;
use crate::stream::limits::StreamError;
use crate::stream::push_log::truncated;
use crate::stream::status::RefusedVersion;
use crate::stream::unserved_types::UnservedSotwRequest;
use crate::stream::wire::SotwRequest;

/// The number of parts and refused resources above which a refused response is no longer taken apart (N4): each part
/// costs a response with the whole state.
const PARTS_MAX: usize = 32;

/// Whether a request begins anew or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The request is the first of its type, or has an empty nonce: the client starts over (Q3), perhaps in the middle of
    /// a stream.
    Fresh,
    Later,
}

impl SotwStream {
    /// Takes in a request.
    ///
    /// # Errors
    /// Fails if the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, request: &SotwRequest<'_>) -> Result<(), StreamError> {
        let resource_type = ResourceType::from_type_url(request.type_url);
        let is_served =
            |resource_type: &ResourceType| resource_type.state_of_the_world_form() != StateOfTheWorldForm::NotServed;
        let Some(resource_type) = resource_type.filter(is_served) else {
            let is_fresh = request.nonce.is_empty();
            let unserved = UnservedSotwRequest { type_url: request.type_url, names: &request.names, is_fresh };
            return self.frame.unserved.on_sotw(&self.frame.limits, unserved);
        };
        let state = &mut self.types[resource_type];
        let is_first = !std::mem::replace(&mut state.is_requested, true);
        let turn = if is_first || request.nonce.is_empty() { Turn::Fresh } else { Turn::Later };
        if turn == Turn::Later {
            let Ok(nonce) = request.nonce.parse() else { return Ok(()) };
            let is_latest = nonce == state.nonce;
            self.on_answer(now, resource_type, nonce, request.error.as_deref().map(truncated));
            if !is_latest {
                return Ok(());
            }
        }
        self.subscribe(resource_type, request, turn);
        self.frame.limits.check_names(self.types.values().map(|state| state.names.len()).sum())
    }

    /// Takes in the names that a client wants, which are all that it wants.
    fn subscribe(&mut self, resource_type: ResourceType, request: &SotwRequest<'_>, turn: Turn) {
        let state = &mut self.types[resource_type];
        let named = request.names.iter().filter(|name| **name != "*");
        let names: BTreeSet<ResourceName> = named.map(|name| ResourceName::from(*name)).collect();
        // Q2: an empty list means everything only in the beginning. After names it means nothing.
        let may_be_implied = turn == Turn::Fresh || state.is_wildcard && state.names.is_empty();
        let is_wildcard = request.names.contains(&"*") || request.names.is_empty() && may_be_implied;
        let was_wildcard = std::mem::replace(&mut state.is_wildcard, is_whole(resource_type) && is_wildcard);
        match turn {
            Turn::Fresh => {
                (state.sent, state.kept, state.unanswered) = Default::default();
                (state.retry, state.refused) = Default::default();
                state.due.clone_from(&names);
                // N10: a client that waits for a state which is empty is told so. Q1: of other types an empty response
                // says nothing.
                state.is_asked = is_whole(resource_type);
            }
            Turn::Later => {
                let added: Vec<&ResourceName> = names.difference(&state.names).collect();
                // Q5: what a client names in addition is answered even if nothing changed.
                let asks_for_more = !added.is_empty() || state.is_wildcard && !was_wildcard;
                state.is_asked |= is_whole(resource_type) && asks_for_more;
                state.due.extend(added.into_iter().cloned());
            }
        }
        if !is_whole(resource_type) && resource_type != ResourceType::Endpoint {
            state.due.retain(|name| self.frame.view.get(resource_type, name).is_some());
        }
        state.names = names;
        let (is_wildcard, names) = (state.is_wildcard, state.names.clone());
        let is_wanted = |name: &ResourceName| is_wildcard || names.contains(name);
        state.due.retain(is_wanted);
        state.sent.retain(|name, _| is_wanted(name));
        state.refused.retain(|name, _| is_wanted(name));
        state.do_not_retry(|name| !is_wanted(name));
    }

    fn on_answer(&mut self, now: Instant, resource_type: ResourceType, nonce: u64, error: Option<String>) {
        let state = &mut self.types[resource_type];
        let Some(answered) = state.take_answered(nonce) else { return };
        state.state_since = Some(now);
        self.frame.pushes.answered(now, nonce, error.as_deref());
        let Some(error) = error else {
            state.refused.retain(|name, refused| {
                let is_taken = |changed: &ChangedResource| changed.name == *name && changed.version == refused.version;
                !answered.changed.iter().any(is_taken)
            });
            return;
        };
        state.restore(&answered);
        // What has changed since goes its usual way.
        let is_latest = |changed: &&ChangedResource| self.frame.view.has(resource_type, &changed.name, changed.version);
        let is_usual =
            |name: &ResourceName| state.due.contains(name) || state.is_unanswered(name) || !state.is_wanted(name);
        let suspects = answered.changed.iter().filter(is_latest).filter(|changed| !is_usual(&changed.name));
        let suspects: Vec<&ChangedResource> = suspects.collect();
        if answered.changed.len() == 1 || state.retry.len() + state.refused.len() >= PARTS_MAX {
            // N3: what the client refused is not sent again until it changes. The client keeps what it had.
            for changed in suspects {
                let refused = RefusedVersion { version: changed.version, error: error.clone() };
                state.refused.insert(changed.name.clone(), refused);
            }
            return;
        }
        // N4: halves are sent again to find the faulty resource.
        let (first, second) = suspects.split_at(suspects.len().div_ceil(2));
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            state.retry.push_back(half.iter().map(|changed| changed.name.clone()).collect());
        }
    }
}
