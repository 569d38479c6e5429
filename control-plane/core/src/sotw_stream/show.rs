//! What is known of a stream, for people who look.

use std::collections::VecDeque;
use std::time::Instant;

use rutter_api::ResourceType;

use super::SotwStream;
use super::type_state::TypeState;
use crate::delta_stream::{Push, ResourceState, TypeSync};
use crate::encode::{EncodedResource, Version};
use crate::snapshot::ResourceName;

/// For people who look.
impl SotwStream {
    /// The state of a type, and since when it is so.
    pub fn sync(&self, kind: ResourceType) -> (TypeSync, Option<Instant>) {
        let state = &self.types[kind.index()];
        let refused = self.refused(kind).map(|(name, version, error)| (name.clone(), version, error.to_owned()));
        let sync = match () {
            () if !state.requested => TypeSync::NotRequested,
            () if !state.is_settled() => TypeSync::Stale,
            () if !state.refused.is_empty() => TypeSync::Refused(refused.collect()),
            () => TypeSync::Synced,
        };
        (sync, state.state_since)
    }

    /// What the client refuses now of a type, in which version, and why.
    pub(crate) fn refused(&self, kind: ResourceType) -> impl Iterator<Item = (&ResourceName, Version, &str)> {
        self.types[kind.index()].refused.iter().map(|(name, (version, error))| (name, *version, error.as_str()))
    }

    /// Whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(TypeState::is_settled)
    }

    /// Every resource of a type that the client was sent or is to be sent: what it has, or what it refused.
    pub fn resources(&self, kind: ResourceType) -> Vec<(EncodedResource, ResourceState)> {
        let state = &self.types[kind.index()];
        let in_retry = |name: &ResourceName| state.retry.iter().any(|part| part.contains(name));
        let wanted = self.view.iter(kind).filter(|resource| state.wants(&resource.name));
        // Clusters that stay for a while, and what was made for those who asked.
        let kept = state.sent.values().filter(|resource| self.view.get(kind, &resource.name).is_none());
        let of = |resource: &EncodedResource| {
            let name = &resource.name;
            let had = || state.had(name).or(state.sent.get(name)).unwrap_or(resource).clone();
            let is_due = state.due.contains(name) || state.kept.contains_key(name) || in_retry(name);
            let bytes = resource.entry.len();
            match state.refused.get(name) {
                _ if bytes > self.limits.resource_bytes_max => {
                    let error = format!("it weighs {bytes} bytes, which is more than this client can take");
                    (resource.clone(), ResourceState::Refused(error))
                }
                _ if is_due => (had(), ResourceState::Due),
                _ if state.is_in_flight(name) => (had(), ResourceState::Sent),
                Some((_, error)) => (resource.clone(), ResourceState::Refused(error.clone())),
                None => (resource.clone(), ResourceState::Acked),
            }
        };
        let mut all: Vec<_> = wanted.chain(kept).map(of).collect();
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// The latest pushes, the oldest first.
    pub fn pushes(&self) -> &VecDeque<Push> {
        &self.pushes
    }
}
