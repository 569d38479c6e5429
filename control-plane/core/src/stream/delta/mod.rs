//! The delta variant of a stream, which Envoy and our own proxy speak.
//!
//! - `requests`: what a client asks for and no longer asks for.
//! - `reconnect`: what a client that comes back says it has, and how far it is believed.
//! - `answers`: acknowledgements and refusals.
//! - `send`: what is sent next, and in which order.

mod answers;
mod due;
mod reconnect;
mod requests;
mod send;
mod status;
mod type_state;

use std::collections::BTreeSet;
use std::time::Instant;

use rutter_api::names::table_of_virtual_host;
use rutter_api::{PerType, ResourceType};

use super::frame::StreamFrame;
use super::limits::{Limits, ORDER_GRACE};
use super::push_log::Push;
use super::wire::Response;
use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::View;
use due::SendReason;
use type_state::TypeState;

/// A stream of the delta variant.
#[derive(Debug)]
pub struct DeltaStream {
    frame: StreamFrame,
    types: PerType<TypeState>,
}

/// How one name differs between two views.
struct ChangedName<'a> {
    resource_type: ResourceType,
    name: &'a ResourceName,
    /// Whether the older view had such a resource.
    existed: bool,
    /// What the newer view has.
    resource: Option<EncodedResource>,
}

impl DeltaStream {
    /// Returns a stream at whose start the client sees `view`.
    pub fn new(view: View, limits: Limits) -> Self {
        let types = PerType::from_fn(|_| TypeState::new(view.clone()));
        Self { frame: StreamFrame::new(view, limits), types }
    }

    /// Takes in a newer view of the client.
    pub fn on_view(&mut self, now: Instant, view: View) {
        let old = std::mem::replace(&mut self.frame.view, view);
        for resource_type in ResourceType::ALL {
            if !self.types[resource_type].is_requested {
                continue;
            }
            for name in self.frame.view.changed_since(&old, resource_type) {
                let existed = old.get(resource_type, &name).is_some();
                let resource = self.frame.view.get(resource_type, &name).cloned();
                self.on_changed_name(now, ChangedName { resource_type, name: &name, existed, resource });
            }
            if resource_type == ResourceType::VirtualHost {
                self.retry_refused_virtual_hosts();
            }
            let state = &mut self.types[resource_type];
            if state.is_settled() {
                // Otherwise an old view would be kept, with everything that it holds.
                state.acked = self.frame.view.clone();
            }
        }
    }

    fn on_changed_name(&mut self, now: Instant, changed: ChangedName<'_>) {
        let ChangedName { resource_type, name, existed, resource } = changed;
        let state = &mut self.types[resource_type];
        match (existed, &resource) {
            (false, Some(_)) => {
                state.subscription.appeared(name);
                state.not_gone(name);
            }
            (true, None) => state.subscription.vanished(name),
            (true, Some(_)) | (false, None) => {}
        }
        state.due.outdate(name);
        if !self.is_wanted(resource_type, name, resource.is_some()) {
            return;
        }
        let state = &mut self.types[resource_type];
        match resource {
            Some(resource) => state.changed(&resource),
            None => state.vanished(now, name),
        }
    }

    /// Makes refused virtual hosts due again whose tables changed otherwise: whether one is valid depends on the others
    /// of its table. A domain that two of them had, for example, may be free by now.
    fn retry_refused_virtual_hosts(&mut self) {
        let state = &mut self.types[ResourceType::VirtualHost];
        let changed_tables: BTreeSet<&str> =
            state.due.names().chain(&state.gone).map(|name| table_of_virtual_host(name)).collect();
        let again: Vec<ResourceName> =
            state.refused.keys().filter(|name| changed_tables.contains(table_of_virtual_host(name))).cloned().collect();
        for name in again {
            state.refused.remove(&name);
            state.due.insert(name, SendReason::Changed);
        }
    }

    /// Returns whether a resource is to be sent to the client. A virtual host is sent where its table was sent; with a
    /// table that is yet to be sent it goes anyway (V6).
    fn is_wanted(&self, resource_type: ResourceType, name: &str, exists: bool) -> bool {
        if !self.types[resource_type].subscription.wants(name, exists) {
            return false;
        }
        if resource_type != ResourceType::VirtualHost {
            return true;
        }
        let (table, tables) = (table_of_virtual_host(name), &self.types[ResourceType::Route]);
        let table_exists = self.frame.view.get(ResourceType::Route, table).is_some();
        tables.subscription.wants(table, table_exists) && !(exists && tables.due.contains(table))
    }

    /// Returns what is to be sent next. It has to be called until it returns `None`.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        if let Some(answer) = self.frame.unserved.next_answer() {
            let nonce = self.frame.next_nonce();
            return Some(Response::delta(answer.type_url, nonce, answer.resources, answer.absent));
        }
        let with_updates = ResourceType::ALL.into_iter().find(|resource_type| self.has_updates(now, *resource_type));
        if let Some(resource_type) = with_updates {
            return Some(self.send_updates(now, resource_type));
        }
        // O1: what nothing refers to any more goes last.
        let mut order = ResourceType::in_removal_order().into_iter();
        let resource_type = order.find(|resource_type| self.may_remove(now, *resource_type))?;
        Some(self.send_removals(now, resource_type))
    }

    /// Returns when [`Self::next_response`] has something to send although nothing else happens. It must have returned
    /// `None` at `now`.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let gone = self.types.values().filter_map(|state| state.gone_since);
        let is_waiting = self.types.values().any(|state| !state.due.is_empty());
        let clusters = &self.types[ResourceType::Cluster];
        let latest_clusters = clusters.unanswered.iter().map(|response| response.sent_at).max();
        let since = gone.chain(latest_clusters.filter(|_| is_waiting));
        // A wait that is over has changed nothing.
        since.map(|since| since + ORDER_GRACE).filter(|at| *at > now).min()
    }

    /// Returns the latest responses, the oldest first.
    pub fn pushes(&self) -> std::collections::vec_deque::Iter<'_, Push> {
        self.frame.pushes.iter()
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
