//! The state-of-the-world variant of a stream, which gRPC clients speak, and Envoys that are told to.
//!
//! Of listeners and clusters every response is the whole state, so that what is missing in it is gone. Of endpoints and
//! routes a response is what changed.
//!
//! - `requests`: what a client asks for, and its answers.
//! - `send`: what is sent next, and in which order.

mod requests;
mod send;
mod status;
mod type_state;

use std::time::Instant;

use rutter_api::{PerType, ResourceType, StateOfTheWorldForm};

use super::frame::StreamFrame;
use super::limits::{Limits, ORDER_GRACE};
use super::push_log::Push;
use super::wire::{Response, SotwResponse};
use crate::encode::endpoint::encode_empty_assignment;
use crate::encode::listener::encode_grpc_server;
use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::View;
use type_state::TypeState;

/// The version of responses about types that Rutter does not serve.
const UNSERVED_VERSION: &str = "0";

/// A stream of the state-of-the-world variant.
#[derive(Debug)]
pub struct SotwStream {
    frame: StreamFrame,
    types: PerType<TypeState>,
}

/// Returns the types that are served in this variant, in the order in which they are sent: clusters first, then what
/// refers to them (O1). Virtual hosts are not among them: the state of the world has whole tables.
fn served_types() -> impl Iterator<Item = ResourceType> {
    let types = ResourceType::ALL.into_iter();
    types.filter(|resource_type| resource_type.state_of_the_world_form() != StateOfTheWorldForm::NotServed)
}

/// Returns whether responses of a type are the whole state.
fn is_whole(resource_type: ResourceType) -> bool {
    match resource_type.state_of_the_world_form() {
        StateOfTheWorldForm::Whole => true,
        StateOfTheWorldForm::Changed | StateOfTheWorldForm::NotServed => false,
    }
}

/// Returns a resource, which for some types is made for the client that asks.
fn resource(view: &View, resource_type: ResourceType, name: &str) -> Option<EncodedResource> {
    let known = view.get(resource_type, name).cloned();
    known.or_else(|| match resource_type {
        // O7: an Envoy that comes back warming waits for the endpoints of a cluster that is gone, and asks for
        // clusters only then.
        ResourceType::Endpoint => Some(encode_empty_assignment(name)),
        ResourceType::Listener => encode_grpc_server(name),
        ResourceType::Cluster | ResourceType::Route | ResourceType::Secret | ResourceType::VirtualHost => None,
    })
}

impl SotwStream {
    /// Returns a stream at whose start the client sees `view`.
    pub fn new(view: View, limits: Limits) -> Self {
        Self { frame: StreamFrame::new(view, limits), types: PerType::default() }
    }

    /// Takes in a newer view of the client.
    pub fn on_view(&mut self, now: Instant, view: View) {
        let old = std::mem::replace(&mut self.frame.view, view);
        for resource_type in served_types() {
            if !self.types[resource_type].is_requested {
                continue;
            }
            for name in self.frame.view.changed_since(&old, resource_type) {
                if self.types[resource_type].is_wanted(&name) {
                    self.on_changed_name(now, resource_type, name);
                }
            }
        }
    }

    fn on_changed_name(&mut self, now: Instant, resource_type: ResourceType, name: ResourceName) {
        let exists = self.frame.view.get(resource_type, &name).is_some();
        let state = &mut self.types[resource_type];
        if resource_type == ResourceType::Cluster
            && !exists
            && let Some(gone) = state.acknowledged(&name).or_else(|| state.sent.get(&name)).cloned()
        {
            state.kept.insert(name, gone);
            state.kept_since.get_or_insert(now);
            return;
        }
        state.kept.remove(&name);
        state.do_not_retry(|retried| *retried == name);
        if is_whole(resource_type) || exists {
            state.due.insert(name);
            return;
        }
        // Q1: it cannot be taken away from the client. A client that still waits for endpoints is told that there are
        // none.
        if resource_type != ResourceType::Endpoint {
            state.due.remove(&name);
        }
        state.sent.remove(&name);
        state.refused.remove(&name);
    }

    /// Returns what is to be sent next. It has to be called until it returns `None`.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        if let Some(answer) = self.frame.unserved.next_answer() {
            let nonce = self.frame.next_nonce();
            let (type_url, resources) = (answer.type_url, answer.resources);
            let response = SotwResponse { type_url, nonce, version: UNSERVED_VERSION, resources, missing: &[] };
            return Some(Response::state_of_the_world(response));
        }
        self.let_kept_clusters_go(now);
        let resource_type = served_types().find(|resource_type| self.may_send(now, *resource_type))?;
        Some(if is_whole(resource_type) {
            self.send_whole(now, resource_type)
        } else {
            self.send_changed(now, resource_type)
        })
    }

    /// Returns when [`Self::next_response`] has something to send although nothing else happens. It must have returned
    /// `None` at `now`.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let clusters = &self.types[ResourceType::Cluster];
        let is_waiting = self.types.iter().any(|(resource_type, state)| is_referring(resource_type) && state.is_due());
        let warming = clusters.unanswered.iter().filter(|_| is_waiting);
        let unanswered = self.types.values().filter(|state| state.is_due()).flat_map(|state| &state.unanswered);
        let since = warming.chain(unanswered).map(|response| response.sent_at).chain(clusters.kept_since);
        // A wait that is over has changed nothing.
        since.map(|since| since + ORDER_GRACE).filter(|at| *at > now).min()
    }

    /// O2: clusters that are gone go when everything that used them has been answered.
    fn let_kept_clusters_go(&mut self, now: Instant) {
        let Some(since) = self.types[ResourceType::Cluster].kept_since else { return };
        let is_unused =
            self.types.iter().all(|(resource_type, state)| !is_referring(resource_type) || state.is_settled());
        if is_unused || now >= since + ORDER_GRACE {
            let clusters = &mut self.types[ResourceType::Cluster];
            clusters.kept_since = None;
            clusters.due.extend(std::mem::take(&mut clusters.kept).into_keys());
        }
    }

    /// Returns the latest responses, the oldest first.
    pub fn pushes(&self) -> std::collections::vec_deque::Iter<'_, Push> {
        self.frame.pushes.iter()
    }
}

/// Returns whether resources of a type refer to clusters and are served in this variant.
fn is_referring(resource_type: ResourceType) -> bool {
    resource_type.refers_to_clusters() && resource_type.state_of_the_world_form() != StateOfTheWorldForm::NotServed
}

#[cfg(test)]
mod tests;
