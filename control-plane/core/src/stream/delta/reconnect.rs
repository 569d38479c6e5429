//! The first request of a type, in which a client that comes back says what it has.

use std::sync::Arc;

use rutter_api::ResourceType;
use rutter_api::names::table_of_virtual_host;

use super::DeltaStream;
use super::due::SendReason;
use crate::resource::{EncodedResource, Sums};
use crate::stream::subscription::Wildcard;
use crate::stream::wire::DeltaRequest;

impl DeltaStream {
    /// Takes in the first request of a type if it is about everything that exists, and the client has all of that or
    /// nothing: then no name has to be looked at. Returns whether it is such a request.
    pub(super) fn start_with_everything(&mut self, resource_type: ResourceType, request: &DeltaRequest<'_>) -> bool {
        let sums = self.frame.view.sums(resource_type);
        let wildcard = match &request.subscribe[..] {
            [] => Wildcard::Implied,
            ["*"] => Wildcard::Asked,
            names if sums_of_names(names).names == sums.names => Wildcard::Off,
            _ => return false,
        };
        let has_nothing = request.initial_versions.is_empty();
        let has_everything = || {
            let held = self.believes_everything(resource_type).then(|| request.initial_versions.sums()).flatten();
            held.is_some_and(|held| held.versions == sums.versions)
        };
        let is_simple = request.unsubscribe.is_empty() && !self.lacks_tables(resource_type);
        if !is_simple || !(has_nothing || has_everything()) {
            return false;
        }
        let state = &mut self.types[resource_type];
        state.subscription.wildcard = wildcard;
        if wildcard == Wildcard::Off {
            state.subscription.name_all();
        }
        if has_nothing {
            state.due.insert_all(self.frame.view.list(resource_type));
            // N10, W13: as in `start`.
            state.owes_response = state.due.is_empty() && resource_type != ResourceType::VirtualHost;
        }
        self.settle_owed(resource_type);
        true
    }

    /// Virtual hosts are sent only where the client has their tables, or they follow with those.
    fn lacks_tables(&self, resource_type: ResourceType) -> bool {
        let tables = &self.types[ResourceType::Route];
        let has_all_tables = tables.is_requested && tables.subscription.wants_all() && tables.due.is_empty();
        resource_type == ResourceType::VirtualHost && !has_all_tables
    }

    /// Returns whether a client may be believed that it has everything it says.
    fn believes_everything(&self, resource_type: ResourceType) -> bool {
        let state = &self.types[resource_type];
        !state.owes_all && state.owed.is_empty() && !self.is_warming(resource_type)
    }

    /// V5: before its first request for clusters an Envoy is warming, and needs its endpoints whatever it says it has.
    /// An Envoy that is told nothing about an endpoint it lists would wait for it.
    fn is_warming(&self, resource_type: ResourceType) -> bool {
        resource_type == ResourceType::Endpoint && !self.types[ResourceType::Cluster].is_requested
    }

    /// Returns whether a client has a resource as it is, by the version that it names in its first request, and may be
    /// believed. A version that is not one of ours was given by another control plane, and is never believed.
    pub(super) fn is_held(
        &self,
        resource_type: ResourceType,
        version: Option<&str>,
        resource: &EncodedResource,
    ) -> bool {
        if self.is_warming(resource_type) {
            return false;
        }
        let name = &*resource.name;
        let belongs_to = match resource_type {
            ResourceType::VirtualHost => table_of_virtual_host(name),
            ResourceType::Cluster
            | ResourceType::Endpoint
            | ResourceType::Listener
            | ResourceType::Route
            | ResourceType::Secret => name,
        };
        let state = &self.types[resource_type];
        let is_owed = state.owes_all || state.owed.contains(belongs_to);
        !is_owed && version.is_some_and(|version| resource.version.is(version))
    }

    /// Takes in the first request of a type: everything wanted is due except for what the client has (N7). `found` is
    /// the number of resources by name that the client says it has and that exist.
    pub(super) fn start(&mut self, resource_type: ResourceType, request: &DeltaRequest<'_>, found: usize) {
        let versions = &request.initial_versions;
        let found = if self.types[resource_type].subscription.is_wildcard() {
            self.start_wildcard(resource_type, request)
        } else {
            found
        };
        // If all that the client has was found, there is nothing that no longer exists.
        if found < versions.len() {
            for name in versions.names() {
                let exists = self.frame.view.get(resource_type, name).is_some();
                if !exists && self.is_wanted(resource_type, name, false) {
                    self.types[resource_type].gone.insert(Arc::from(name));
                }
            }
        }
        self.settle_owed(resource_type);
    }

    /// Makes everything due that the client does not have. Returns how much of what it says it has exists.
    fn start_wildcard(&mut self, resource_type: ResourceType, request: &DeltaRequest<'_>) -> usize {
        let mut found = 0;
        let mut due = Vec::new();
        for resource in self.frame.view.iter(resource_type) {
            let version = request.initial_versions.get(&resource.name);
            found += usize::from(version.is_some());
            if self.is_wanted(resource_type, &resource.name, true) && !self.is_held(resource_type, version, resource) {
                due.push(resource.name.clone());
            }
        }
        let state = &mut self.types[resource_type];
        due.into_iter().for_each(|name| state.due.insert(name, SendReason::Asked));
        // N10: otherwise Envoy waits for what will not come. W13: of virtual hosts Envoy wants no empty response.
        let is_empty = state.due.is_empty() && request.initial_versions.is_empty();
        state.owes_response = is_empty && resource_type != ResourceType::VirtualHost;
        found
    }

    /// Makes good what was sent before the first request of a type.
    fn settle_owed(&mut self, resource_type: ResourceType) {
        let state = &mut self.types[resource_type];
        state.owes_all = false;
        let owed = std::mem::take(&mut state.owed);
        if resource_type == ResourceType::VirtualHost {
            owed.iter().for_each(|table| self.owe_virtual_hosts(table));
        }
    }
}

fn sums_of_names(names: &[&str]) -> Sums {
    Sums::of_resources(names.iter().map(|name| (*name, 0)))
}
