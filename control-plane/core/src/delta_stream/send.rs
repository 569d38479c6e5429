//! What is sent next, and in which order.

use std::borrow::Cow;
use std::time::Instant;

use rutter_api::ResourceType;

use super::type_state::{Due, Outstanding};
use super::{DeltaStream, FIRST, ORDER_GRACE, PUSHES_MAX, Push, RESPONSE_BYTES, Response};
use crate::batch::Batch;
use crate::encode::EncodedResource;
use crate::encode::route::is_split;
use crate::snapshot::{ResourceName, View};

/// A resource, or the word that there is none, where that is one.
fn resource(view: &View, kind: ResourceType, (name, is_named): (&ResourceName, bool)) -> Option<EncodedResource> {
    let known = view.get(kind, name).cloned();
    let is_miss = is_named && kind == ResourceType::VirtualHost;
    known.or_else(|| is_miss.then(|| EncodedResource::without_body(name.clone())))
}

impl DeltaStream {
    pub(super) fn has_updates(&self, now: Instant, kind: ResourceType) -> bool {
        let state = &self.types[kind.index()];
        if state.owes_empty || !state.retry.is_empty() {
            return true;
        }
        let waits = self.waits_for_clusters(now, kind);
        state.due.is_ready(waits)
    }

    /// Make before break: a changed listener or route table follows the clusters it may need. Endpoints
    /// never wait: Envoy withholds the ACK of clusters until it has them (O6).
    fn waits_for_clusters(&self, now: Instant, kind: ResourceType) -> bool {
        let clusters = &self.types[ResourceType::Cluster.index()];
        let is_late = |one: &Outstanding| now >= one.at + ORDER_GRACE;
        let warming = clusters.outstanding.iter().any(|one| !one.is_empty() && !is_late(one));
        FIRST.contains(&kind) && warming
    }

    pub(super) fn may_remove(&self, now: Instant, kind: ResourceType) -> bool {
        let state = &self.types[kind.index()];
        // A virtual host goes together with those that get its domains.
        if state.gone.is_empty() || kind == ResourceType::VirtualHost && !state.due.is_empty() {
            return false;
        }
        let is_idle = |kind: ResourceType| {
            let state = &self.types[kind.index()];
            state.due.is_empty() && state.outstanding.is_empty()
        };
        // O2: a cluster goes when those that used it have answered.
        let asked = state.gone_since.is_none();
        let late = state.gone_since.is_some_and(|since| now >= since + ORDER_GRACE);
        FIRST.contains(&kind) || asked || late || FIRST.into_iter().all(is_idle)
    }

    pub(super) fn send_updates(&mut self, now: Instant, kind: ResourceType) -> Response {
        let waits = self.waits_for_clusters(now, kind);
        let state = &mut self.types[kind.index()];
        state.owes_empty = false;
        let mut cause = Due::Asked;
        let mut all = Batch::default();
        let mut listed = Vec::new();
        if let Some(names) = state.retry.pop_front() {
            // What is due anyway, or gone, goes its usual way.
            let usual = |name: &ResourceName| state.due.contains(name) || state.gone.contains(name);
            let of = |name| resource(&self.view, kind, (name, state.subscription.names(name, false)));
            listed.extend(names.iter().filter(|name| !usual(name)).filter_map(of));
        } else {
            all = state.due.take_all(RESPONSE_BYTES);
            let mut bytes: usize = all.iter().map(|resource| resource.entry.len()).sum();
            for name in state.due.ready(waits) {
                if bytes >= RESPONSE_BYTES || !state.due.is_listed() {
                    break;
                }
                if state.due.remove(&name) == Some(Due::Changed) {
                    cause = Due::Changed;
                }
                let is_named = state.subscription.names(&name, false);
                let Some(resource) = resource(&self.view, kind, (&name, is_named)) else { continue };
                bytes += resource.entry.len();
                listed.push(resource);
            }
        }
        match kind {
            ResourceType::Cluster => self.owe_endpoints(&all, &listed),
            ResourceType::Route => {
                let tables = all.iter().chain(&listed).filter(|table| is_split(&table.name));
                tables.for_each(|table| self.owe_virtual_hosts(&table.name));
            }
            ResourceType::Endpoint | ResourceType::Listener | ResourceType::Secret | ResourceType::VirtualHost => {}
        }
        let mut removed = Vec::new();
        if kind == ResourceType::VirtualHost {
            // One that goes and one that gets its domain would clash, were they told apart.
            let state = &mut self.types[kind.index()];
            state.gone_since = None;
            removed.extend(std::mem::take(&mut state.gone));
        }
        self.respond(now, (kind, cause), (all, listed), removed)
    }

    /// O3: a cluster that was sent is warm only when its endpoints follow, even unchanged ones.
    fn owe_endpoints(&mut self, all: &Batch, listed: &[EncodedResource]) {
        let state = &mut self.types[ResourceType::Endpoint.index()];
        if !state.requested && !all.is_empty() {
            state.owes_all = true;
            return;
        }
        for cluster in all.iter().chain(listed) {
            let Some(assignment) = self.view.get(ResourceType::Endpoint, &cluster.name) else { continue };
            if !state.requested {
                state.owed.insert(assignment.name.clone());
            } else if state.subscription.wants(&cluster.name, true) {
                state.due.insert(assignment.name.clone(), Due::Asked);
            }
        }
    }

    /// V6: a table that was sent is followed by its virtual hosts, even unchanged ones, or by the word
    /// that it has none (W13).
    pub(super) fn owe_virtual_hosts(&mut self, table: &ResourceName) {
        let state = &mut self.types[ResourceType::VirtualHost.index()];
        if !state.requested {
            state.owed.insert(table.clone());
            return;
        }
        let start = format!("{table}/");
        let mut hosts = self.view.starting(ResourceType::VirtualHost, &start).peekable();
        if hosts.peek().is_none() {
            state.gone.insert(format!("{start}none").into());
        }
        hosts.for_each(|host| state.tell(host.name.clone(), true));
    }

    pub(super) fn send_removals(&mut self, now: Instant, kind: ResourceType) -> Response {
        let state = &mut self.types[kind.index()];
        let cause = if state.gone_since.take().is_some() { Due::Changed } else { Due::Asked };
        let removed = std::mem::take(&mut state.gone).into_iter().collect();
        self.respond(now, (kind, cause), Default::default(), removed)
    }

    fn respond(
        &mut self,
        now: Instant,
        (kind, cause): (ResourceType, Due),
        (all, listed): (Batch, Vec<EncodedResource>),
        removed: Vec<ResourceName>,
    ) -> Response {
        self.last_nonce += 1;
        let state = &mut self.types[kind.index()];
        let outstanding = Outstanding {
            nonce: self.last_nonce,
            listed: listed.iter().map(|resource| (resource.name.clone(), resource.version)).collect(),
            // Removals alone cannot fail.
            removed: if all.is_empty() && listed.is_empty() {
                Box::default()
            } else {
                removed.iter().cloned().collect()
            },
            all: all.clone(),
            at: now,
        };
        state.outstanding.push_back(outstanding);
        state.state_since = Some(now);
        let mut resources = all;
        resources.push(listed.into());
        let response = Response::new(Cow::from(kind.type_url()), self.last_nonce, (resources, removed));
        if self.pushes.len() == PUSHES_MAX {
            self.pushes.pop_front();
        }
        let cause = (cause == Due::Changed).then_some(&self.view);
        self.pushes.push_back(Push::new(now, kind, &response, cause));
        response
    }
}
