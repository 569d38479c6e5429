//! What is known of a stream, for people who look at it.

use rutter_api::ResourceType;

use super::SotwStream;
use super::type_state::TypeState;
use crate::resource::EncodedResource;
use crate::stream::status::{Refusal, ResourceState, ResourceStatus, SyncStatus, TypeProgress, refusals};
use crate::stream::wire::too_large;

impl SotwStream {
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
        self.types[resource_type].names.contains(name)
    }

    /// Returns every resource of a type that the client was sent or is to be sent, in the order of the names.
    pub fn resources(&self, resource_type: ResourceType) -> Vec<ResourceStatus> {
        let state = &self.types[resource_type];
        let wanted = self.frame.view.iter(resource_type).filter(|resource| state.is_wanted(&resource.name));
        // Clusters that stay for a while, and what was made for the client that asked.
        let not_in_view = state.sent.values();
        let not_in_view = not_in_view.filter(|resource| self.frame.view.get(resource_type, &resource.name).is_none());
        let bytes_max = self.frame.limits.resource_bytes_max;
        let mut resources: Vec<ResourceStatus> =
            wanted.chain(not_in_view).map(|resource| state.status(resource, bytes_max)).collect();
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

    fn status(&self, resource: &EncodedResource, bytes_max: usize) -> ResourceStatus {
        let (name, bytes) = (&resource.name, resource.entry.len());
        if bytes > bytes_max {
            let error = too_large("it", bytes);
            return ResourceStatus { resource: resource.clone(), state: ResourceState::Refused(error) };
        }
        let is_in_retry = self.retry.iter().any(|part| part.contains(name));
        let state = if self.due.contains(name) || self.kept.contains_key(name) || is_in_retry {
            ResourceState::Due
        } else if self.is_unanswered(name) {
            ResourceState::Sent
        } else if let Some(refused) = self.refused.get(name) {
            ResourceState::Refused(refused.error.clone())
        } else if self.sent.contains_key(name) {
            ResourceState::Acked
        } else {
            // The client has just asked for it.
            ResourceState::Due
        };
        let resource = match state {
            ResourceState::Due | ResourceState::Sent => {
                self.acknowledged(name).or_else(|| self.sent.get(name)).unwrap_or(resource)
            }
            ResourceState::Acked | ResourceState::Refused(_) => resource,
        };
        ResourceStatus { resource: resource.clone(), state }
    }
}
