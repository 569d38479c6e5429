//! What is known of a stream, for people who look.

use std::collections::VecDeque;
use std::time::Instant;

use rutter_api::ResourceType;

use super::type_state::TypeState;
use super::{DeltaStream, Push};
use crate::encode::{EncodedResource, Version};
use crate::snapshot::ResourceName;

/// What is known of one resource at one sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceState {
    /// The sidecar has it.
    Acked,
    /// Sent, not answered.
    Sent,
    /// To be sent.
    Due,
    /// Refused, for this reason.
    Refused(String),
}

/// What is known of one type at one sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeSync {
    /// The sidecar did not ask.
    NotRequested,
    /// All answered.
    Synced,
    /// Something is due or not answered.
    Stale,
    /// All answered, and these refused: name, version and the reason.
    Refused(Vec<(ResourceName, Version, String)>),
}

/// For people who look.
impl DeltaStream {
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

    /// What the sidecar refuses now of a type, in which version, and why.
    pub(crate) fn refused(&self, kind: ResourceType) -> impl Iterator<Item = (&ResourceName, Version, &str)> {
        self.types[kind.index()].refused.iter().map(|(name, one)| (name, one.version, one.error.as_str()))
    }

    /// Whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(TypeState::is_settled)
    }

    /// Every resource of a type that the sidecar was sent or is to be sent: what it has, or what it refused.
    pub fn resources(&self, kind: ResourceType) -> Vec<(EncodedResource, ResourceState)> {
        let state = &self.types[kind.index()];
        if !state.requested {
            return Vec::new();
        }
        let in_flight = |name: &str| state.outstanding.iter().any(|one| one.sent().any(|(other, _)| **other == *name));
        let of = |resource: &EncodedResource| {
            let name = &resource.name;
            if state.due.contains(name) || state.retry.iter().flatten().any(|other| other == name) {
                ResourceState::Due
            } else if in_flight(name) {
                ResourceState::Sent
            } else if let Some(refused) = state.refused.get(name) {
                ResourceState::Refused(refused.error.clone())
            } else {
                ResourceState::Acked
            }
        };
        let wanted = self.view.iter(kind).filter(|resource| self.wants(kind, &resource.name, true));
        let mut all: Vec<_> = wanted.map(|resource| (resource.clone(), of(resource))).collect();
        // What it keeps instead of what it refused or has not answered.
        for (resource, status) in &mut all {
            if matches!(status, ResourceState::Due | ResourceState::Sent)
                && let Some(kept) = state.acked.get(kind, &resource.name)
            {
                *resource = kept.clone();
            }
        }
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// The latest pushes, the oldest first.
    pub fn pushes(&self) -> &VecDeque<Push> {
        &self.pushes
    }
}
