//! What is sent next, and in which order.

use std::borrow::Cow;
use std::time::Instant;

use rutter_api::{ResourceType, RouteTableName};

use super::DeltaStream;
use super::due::SendReason;
use super::type_state::UnansweredResponse;
use crate::resource::{EncodedResource, ResourceList, ResourceName};
use crate::snapshot::View;
use crate::stream::frame::Cause;
use crate::stream::limits::{ORDER_GRACE, RESPONSE_BYTES};
use crate::stream::wire::Response;

/// What a response of one type is made from.
struct Outgoing {
    resource_type: ResourceType,
    cause: Cause,
    /// Resources that the client asked for as a whole.
    unchanged: ResourceList,
    /// The other resources, in the order in which they are sent.
    listed: Vec<EncodedResource>,
    removed: Vec<ResourceName>,
}

/// Returns a resource, or, for a virtual host that the client asked for by name and that does not exist, the answer
/// which says so (D2). Such an answer has no content, and Envoy lets the waiting request go on to 404.
fn resource_to_send(
    view: &View,
    resource_type: ResourceType,
    name: &ResourceName,
    is_named: bool,
) -> Option<EncodedResource> {
    let known = view.get(resource_type, name).cloned();
    let is_missed = is_named && resource_type == ResourceType::VirtualHost;
    known.or_else(|| is_missed.then(|| EncodedResource::without_body(name.clone())))
}

impl DeltaStream {
    pub(super) fn has_updates(&self, now: Instant, resource_type: ResourceType) -> bool {
        let state = &self.types[resource_type];
        state.owes_response
            || !state.retry.is_empty()
            || state.due.is_ready(self.waits_for_clusters(now, resource_type))
    }

    /// A listener or a route table that changed follows the clusters that it may need, so that something new works
    /// before it is used. Endpoints never wait: Envoy acknowledges clusters only when it has them (O6).
    fn waits_for_clusters(&self, now: Instant, resource_type: ResourceType) -> bool {
        let is_late = |response: &UnansweredResponse| now >= response.sent_at + ORDER_GRACE;
        let mut clusters = self.types[ResourceType::Cluster].unanswered.iter();
        resource_type.refers_to_clusters() && clusters.any(|response| !response.is_empty() && !is_late(response))
    }

    pub(super) fn may_remove(&self, now: Instant, resource_type: ResourceType) -> bool {
        let state = &self.types[resource_type];
        // A virtual host goes together with those that get its domains.
        if state.gone.is_empty() || resource_type == ResourceType::VirtualHost && !state.due.is_empty() {
            return false;
        }
        // O2: a cluster goes when everything that used it has been answered.
        let is_asked_for = state.gone_since.is_none();
        let is_late = state.gone_since.is_some_and(|since| now >= since + ORDER_GRACE);
        let is_unused = || {
            let mut states = self.types.iter().filter(|(other, _)| other.refers_to_clusters());
            states.all(|(_, state)| state.due.is_empty() && state.unanswered.is_empty())
        };
        resource_type.refers_to_clusters() || is_asked_for || is_late || is_unused()
    }

    pub(super) fn send_updates(&mut self, now: Instant, resource_type: ResourceType) -> Response {
        let changes_wait = self.waits_for_clusters(now, resource_type);
        self.types[resource_type].owes_response = false;
        let mut outgoing = match self.types[resource_type].retry.pop_front() {
            Some(names) => self.resources_to_retry(resource_type, &names),
            None => self.take_due(resource_type, changes_wait),
        };
        match resource_type {
            ResourceType::Cluster => self.owe_endpoints(&outgoing),
            ResourceType::Route => self.owe_virtual_hosts_of_tables(&outgoing),
            ResourceType::VirtualHost => {
                // Told apart, one that goes and one that gets its domain would clash.
                let state = &mut self.types[resource_type];
                state.gone_since = None;
                outgoing.removed = std::mem::take(&mut state.gone).into_iter().collect();
            }
            ResourceType::Endpoint | ResourceType::Listener | ResourceType::Secret => {}
        }
        self.respond(now, outgoing)
    }

    /// Returns the part of a refused response that is sent again. What is due or gone anyway goes its usual way.
    fn resources_to_retry(&self, resource_type: ResourceType, names: &[ResourceName]) -> Outgoing {
        let state = &self.types[resource_type];
        let is_usual = |name: &ResourceName| state.due.contains(name) || state.gone.contains(name);
        let resources = names.iter().filter(|name| !is_usual(name)).filter_map(|name| {
            let is_named = state.subscription.names(name, false);
            resource_to_send(&self.frame.view, resource_type, name, is_named)
        });
        Outgoing {
            resource_type,
            cause: Cause::Request,
            unchanged: ResourceList::default(),
            listed: resources.collect(),
            removed: Vec::new(),
        }
    }

    /// Takes what is due, up to the length of a response.
    fn take_due(&mut self, resource_type: ResourceType, changes_wait: bool) -> Outgoing {
        let state = &mut self.types[resource_type];
        let mut cause = Cause::Request;
        let mut listed = Vec::new();
        let unchanged = state.due.take_unchanged(RESPONSE_BYTES);
        let mut bytes: usize = unchanged.iter().map(|resource| resource.entry.len()).sum();
        for name in state.due.ready_names(changes_wait) {
            if bytes >= RESPONSE_BYTES || !state.due.has_only_names() {
                break;
            }
            if state.due.remove(&name) == Some(SendReason::Changed) {
                cause = Cause::View;
            }
            let is_named = state.subscription.names(&name, false);
            let resource = resource_to_send(&self.frame.view, resource_type, &name, is_named);
            let Some(resource) = resource else { continue };
            bytes += resource.entry.len();
            listed.push(resource);
        }
        Outgoing { resource_type, cause, unchanged, listed, removed: Vec::new() }
    }

    /// O3: a cluster that was sent is warm only when its endpoints follow, even if these did not change. So they are
    /// sent with it again, although the client has them.
    fn owe_endpoints(&mut self, clusters: &Outgoing) {
        let state = &mut self.types[ResourceType::Endpoint];
        if !state.is_requested && !clusters.unchanged.is_empty() {
            state.owes_all = true;
            return;
        }
        for cluster in clusters.unchanged.iter().chain(&clusters.listed) {
            let assignment = self.frame.view.get(ResourceType::Endpoint, &cluster.name);
            let Some(assignment) = assignment else { continue };
            if !state.is_requested {
                state.owed.insert(assignment.name.clone());
            } else if state.subscription.wants(&cluster.name, true) {
                state.due.insert(assignment.name.clone(), SendReason::Asked);
            }
        }
    }

    fn owe_virtual_hosts_of_tables(&mut self, tables: &Outgoing) {
        let names = tables.unchanged.iter().chain(&tables.listed).map(|table| &table.name);
        let is_shared = |name: &&ResourceName| name.parse::<RouteTableName>().is_ok_and(|name| name.is_shared());
        names.filter(is_shared).for_each(|name| self.owe_virtual_hosts(name));
    }

    /// V6: a table that was sent is followed by its virtual hosts, even if these did not change, or by the word that it
    /// has none (W13). Envoy drops the virtual hosts of a table when it gets the table again.
    pub(super) fn owe_virtual_hosts(&mut self, table: &ResourceName) {
        let state = &mut self.types[ResourceType::VirtualHost];
        if !state.is_requested {
            state.owed.insert(table.clone());
            return;
        }
        let prefix = format!("{table}/");
        let mut hosts = self.frame.view.with_prefix(ResourceType::VirtualHost, &prefix).peekable();
        if hosts.peek().is_none() {
            state.gone.insert(format!("{prefix}none").into());
        }
        hosts.for_each(|host| state.tell(host.name.clone(), true));
    }

    pub(super) fn send_removals(&mut self, now: Instant, resource_type: ResourceType) -> Response {
        let state = &mut self.types[resource_type];
        let outgoing = Outgoing {
            resource_type,
            cause: if state.gone_since.take().is_some() { Cause::View } else { Cause::Request },
            unchanged: ResourceList::default(),
            listed: Vec::new(),
            removed: std::mem::take(&mut state.gone).into_iter().collect(),
        };
        self.respond(now, outgoing)
    }

    fn respond(&mut self, now: Instant, outgoing: Outgoing) -> Response {
        let Outgoing { resource_type, cause, unchanged, listed, removed } = outgoing;
        let nonce = self.frame.next_nonce();
        let is_nothing_but_removals = unchanged.is_empty() && listed.is_empty();
        let state = &mut self.types[resource_type];
        state.unanswered.push_back(UnansweredResponse {
            nonce,
            listed: listed.iter().map(|resource| (resource.name.clone(), resource.version)).collect(),
            removed: if is_nothing_but_removals { Box::default() } else { removed.iter().cloned().collect() },
            unchanged: unchanged.clone(),
            sent_at: now,
        });
        state.state_since = Some(now);
        let mut resources = unchanged;
        resources.push(listed.into());
        let response = Response::delta(Cow::from(resource_type.type_url()), nonce, resources, removed);
        self.frame.record(now, resource_type, &response, cause);
        response
    }
}
