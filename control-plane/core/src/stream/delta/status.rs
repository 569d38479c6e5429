//! What is known of a stream, for people who look at it.

use rutter_api::ResourceType;

use super::DeltaStream;
use super::type_state::TypeState;
use crate::resource::EncodedResource;
use crate::stream::status::{Refusal, ResourceState, ResourceStatus, SyncStatus, TypeProgress, refusals};

impl DeltaStream {
    /// Returns what is known of a type.
    pub fn sync(&self, resource_type: ResourceType) -> SyncStatus {
        self.types[resource_type].progress().status(resource_type)
    }

    /// Returns what the client refuses now of a type.
    pub fn refusals(&self, resource_type: ResourceType) -> impl Iterator<Item = Refusal> {
        refusals(resource_type, &self.types[resource_type].refused)
    }

    /// Returns whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        self.types.values().all(TypeState::is_settled)
    }

    /// Returns whether the client has asked for a resource by its name, whether there is one or not.
    pub fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool {
        let exists = self.frame.view.get(resource_type, name).is_some();
        self.types[resource_type].subscription.names(name, exists)
    }

    /// Returns every resource of a type that the client was sent or is to be sent, in the order of the names.
    pub fn resources(&self, resource_type: ResourceType) -> Vec<ResourceStatus> {
        let state = &self.types[resource_type];
        if !state.is_requested {
            return Vec::new();
        }
        let wanted = self.frame.view.iter(resource_type);
        let wanted = wanted.filter(|resource| self.is_wanted(resource_type, &resource.name, true));
        let mut resources: Vec<ResourceStatus> = wanted.map(|resource| state.status(resource_type, resource)).collect();
        resources.sort_by(|a, b| a.resource.name.cmp(&b.resource.name));
        resources
    }
}

impl TypeState {
    fn progress(&self) -> TypeProgress<'_> {
        TypeProgress {
            is_requested: self.is_requested,
            is_settled: self.is_settled(),
            refused: &self.refused,
            since: self.state_since,
        }
    }

    fn status(&self, resource_type: ResourceType, resource: &EncodedResource) -> ResourceStatus {
        let name = &resource.name;
        let is_in_retry = self.retry.iter().flatten().any(|other| other == name);
        let is_sent = || self.unanswered.iter().any(|response| response.sent().any(|(other, _)| other == name));
        let state = if self.due.contains(name) || is_in_retry {
            ResourceState::Due
        } else if is_sent() {
            ResourceState::Sent
        } else if let Some(refused) = self.refused.get(name) {
            ResourceState::Refused(refused.error.clone())
        } else {
            ResourceState::Acked
        };
        // What the client still has while it has not been sent, or has not answered, something else.
        let kept = match state {
            ResourceState::Due | ResourceState::Sent => self.acked.get(resource_type, name),
            ResourceState::Acked | ResourceState::Refused(_) => None,
        };
        ResourceStatus { resource: kept.unwrap_or(resource).clone(), state }
    }
}
