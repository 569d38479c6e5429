//! What a client asks for, and no longer asks for.

use std::sync::Arc;
use std::time::Instant;

use rutter_api::ResourceType;

use super::DeltaStream;
use super::due::SendReason;
use crate::resource::ResourceName;
use crate::stream::limits::StreamError;
use crate::stream::push_log::truncated;
use crate::stream::subscription::Wildcard;
use crate::stream::wire::DeltaRequest;

/// Whether a request is the first of its type on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Later,
}

impl DeltaStream {
    /// Takes in a request.
    ///
    /// # Errors
    /// Fails if the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, request: &DeltaRequest<'_>) -> Result<(), StreamError> {
        let Some(resource_type) = ResourceType::from_type_url(request.type_url) else {
            return self.frame.unserved.on_delta(&self.frame.limits, request.type_url, &request.subscribe);
        };
        if let Ok(nonce) = request.nonce.parse() {
            self.on_answer(now, resource_type, nonce, request.error.as_deref().map(truncated));
        }
        let was_requested = std::mem::replace(&mut self.types[resource_type].is_requested, true);
        let turn = if was_requested { Turn::Later } else { Turn::First };
        if turn == Turn::First && self.start_with_everything(resource_type, request) {
            return Ok(());
        }
        let found = self.subscribe(resource_type, request, turn);
        self.unsubscribe(resource_type, request);
        match turn {
            Turn::First => self.start(resource_type, request, found),
            Turn::Later if request.subscribe.is_empty() => {}
            Turn::Later => self.types[resource_type].subscription.compact(&self.frame.view, resource_type),
        }
        let names: usize = self.types.values().map(|state| state.subscription.held_names()).sum();
        self.frame.limits.check_names(names)
    }

    /// Takes the names in to which the client subscribes. Returns how many of them the client says it has and exist.
    fn subscribe(&mut self, resource_type: ResourceType, request: &DeltaRequest<'_>, turn: Turn) -> usize {
        let subscription = &mut self.types[resource_type].subscription;
        if turn == Turn::First && request.subscribe.is_empty() {
            subscription.wildcard = Wildcard::Implied;
        }
        if !request.subscribe.is_empty() && subscription.wildcard == Wildcard::Implied {
            subscription.wildcard = Wildcard::Asked;
        }
        let had_no_wildcard = subscription.wildcard == Wildcard::Off && turn == Turn::Later;
        if turn == Turn::First {
            subscription.start(&request.subscribe, &self.frame.view, resource_type);
        }
        let mut found = 0;
        for name in &request.subscribe {
            if *name == "*" {
                self.types[resource_type].subscription.wildcard = Wildcard::Asked;
                if had_no_wildcard {
                    self.tell_everything(resource_type);
                }
                continue;
            }
            found += usize::from(self.subscribe_to(resource_type, name, request, turn));
        }
        found
    }

    /// Subscribes to one name. Returns whether the client says it has such a resource and it exists.
    fn subscribe_to(
        &mut self,
        resource_type: ResourceType,
        name: &str,
        request: &DeltaRequest<'_>,
        turn: Turn,
    ) -> bool {
        let known = self.frame.view.get(resource_type, name);
        let version = request.initial_versions.get(name);
        let is_found = turn == Turn::First && known.is_some() && version.is_some();
        if let Some(resource) = known.filter(|_| turn == Turn::First)
            && self.is_held(resource_type, version, resource)
        {
            return is_found;
        }
        let state = &mut self.types[resource_type];
        let shared = known.map_or_else(|| Arc::from(name), |resource| resource.name.clone());
        if turn == Turn::Later {
            state.subscription.insert(shared.clone(), known.is_some());
        }
        state.refused.remove(&shared);
        // D2: a client that waits for a virtual host is told by an empty one that there is none. A client that has one
        // which no longer exists is told that it is gone.
        let is_missed = resource_type == ResourceType::VirtualHost && version.is_none();
        state.tell(shared, known.is_some() || is_missed);
        is_found
    }

    /// Makes everything of a type due. Virtual hosts of tables that are due follow with those.
    fn tell_everything(&mut self, resource_type: ResourceType) {
        let names = self.frame.view.iter(resource_type).map(|resource| resource.name.clone());
        let wanted: Vec<ResourceName> = names.filter(|name| self.is_wanted(resource_type, name, true)).collect();
        let due = &mut self.types[resource_type].due;
        wanted.into_iter().for_each(|name| due.insert(name, SendReason::Asked));
    }

    fn unsubscribe(&mut self, resource_type: ResourceType, request: &DeltaRequest<'_>) {
        let state = &mut self.types[resource_type];
        for name in &request.unsubscribe {
            if *name == "*" {
                state.subscription.wildcard = Wildcard::Off;
                let subscription = &state.subscription;
                state.due.retain(|name| subscription.names(name, true));
                state.gone.retain(|name| subscription.names(name, false));
                state.gone_since = state.gone_since.filter(|_| !state.gone.is_empty());
                continue;
            }
            let exists = self.frame.view.get(resource_type, name).is_some();
            let name: ResourceName = (*name).into();
            if !state.subscription.remove(&name, exists) {
                continue;
            }
            if state.subscription.is_wildcard() {
                // W8: the name is still wanted by the wildcard, so the client is told its state.
                state.tell(name, exists);
            } else {
                state.forget(&name);
            }
        }
    }
}
