//! What is sent next, and in which order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rutter_api::ResourceType;

use super::type_state::{ChangedResource, UnansweredResponse};
use super::{SotwStream, is_referring, is_whole, resource};
use crate::resource::{EncodedResource, ResourceName, Sums};
use crate::stream::frame::Cause;
use crate::stream::limits::RESPONSE_BYTES;
use crate::stream::push_log::Push;
use crate::stream::wire::{Missing, Response, SotwResponse};

/// What a response of one type is made from.
#[derive(Default)]
struct Outgoing {
    resources: Vec<EncodedResource>,
    /// The resources that are new in the response.
    changed: Vec<ChangedResource>,
    /// The resources that were in the whole state before, and are not in this one.
    removed: Vec<EncodedResource>,
}

/// The resources of a whole state by name.
type WholeState = BTreeMap<ResourceName, EncodedResource>;

impl SotwStream {
    pub(super) fn may_send(&self, now: Instant, resource_type: ResourceType) -> bool {
        let state = &self.types[resource_type];
        let mut clusters = self.types[ResourceType::Cluster].unanswered.iter();
        let is_warming = clusters.any(|response| !response.changed.is_empty() && !response.is_late(now));
        // What changed follows the clusters that it may need. What was asked for goes at once.
        let waits_for_clusters = is_referring(resource_type) && is_warming && !state.sent.is_empty();
        // One response at a time, so that it is known what is refused. Endpoints never wait (O6).
        let is_urgent = state.is_asked || resource_type == ResourceType::Endpoint && !state.due.is_empty();
        state.is_due() && (is_urgent || state.is_calm(now)) && !waits_for_clusters
    }

    pub(super) fn send_whole(&mut self, now: Instant, resource_type: ResourceType) -> Response {
        let mut whole = self.whole_state(resource_type);
        self.keep_what_was_refused(now, resource_type, &mut whole);
        let state = &mut self.types[resource_type];
        let resources: Vec<EncodedResource> = whole.values().cloned().collect();
        let removed = state.sent.values().filter(|sent| !whole.contains_key(&sent.name)).cloned().collect();
        let previous = std::mem::replace(&mut state.sent, whole);
        let mut changed = Vec::new();
        for resource in &resources {
            let previous = previous.get(&resource.name);
            if previous.is_none_or(|previous| previous.version != resource.version) {
                let (name, version) = (resource.name.clone(), resource.version);
                changed.push(ChangedResource { name, version, previous: previous.cloned() });
            }
        }
        if resource_type == ResourceType::Cluster {
            self.owe_endpoints(&changed);
        }
        self.respond(now, resource_type, Outgoing { resources, changed, removed })
    }

    /// Returns everything that the client wants and can take, with the clusters that are kept for a while.
    fn whole_state(&self, resource_type: ResourceType) -> WholeState {
        let state = &self.types[resource_type];
        let mut whole: WholeState = if state.is_wildcard {
            let resources = self.frame.view.iter(resource_type);
            resources.map(|resource| (resource.name.clone(), resource.clone())).collect()
        } else {
            let known = state.names.iter().filter_map(|name| resource(&self.frame.view, resource_type, name));
            let fits = |resource: &EncodedResource| resource.entry.len() <= self.frame.limits.resource_bytes_max;
            known.filter(fits).map(|resource| (resource.name.clone(), resource)).collect()
        };
        let kept = state.kept.iter().filter(|(name, _)| state.is_wanted(name));
        whole.extend(kept.map(|(name, resource)| (name.clone(), resource.clone())));
        whole
    }

    /// Leaves what the client refused as it was, or away, until it changes.
    fn keep_what_was_refused(&mut self, now: Instant, resource_type: ResourceType, whole: &mut WholeState) {
        let state = &mut self.types[resource_type];
        state
            .refused
            .retain(|name, refused| whole.get(name).is_some_and(|resource| resource.version == refused.version));
        let due = std::mem::take(&mut state.due);
        state.do_not_retry(|name| due.contains(name) || !whole.contains_key(name));
        if state.is_calm(now) {
            // It is the turn of the first part.
            state.retry.pop_front();
        }
        for name in state.refused.keys().chain(state.retry.iter().flatten()) {
            match state.sent.get(name) {
                Some(good) => drop(whole.insert(name.clone(), good.clone())),
                None => drop(whole.remove(name)),
            }
        }
    }

    pub(super) fn send_changed(&mut self, now: Instant, resource_type: ResourceType) -> Response {
        let state = &mut self.types[resource_type];
        let is_retry = state.due.is_empty() && state.is_calm(now);
        let part = if is_retry { state.retry.pop_front() } else { None };
        let mut names = part.unwrap_or_else(|| std::mem::take(&mut state.due));
        let outgoing = self.take_changed(resource_type, &mut names);
        let state = &mut self.types[resource_type];
        if is_retry && !names.is_empty() {
            state.retry.push_front(names);
        } else {
            state.due.append(&mut names);
        }
        self.respond(now, resource_type, outgoing)
    }

    /// Takes names until there is enough for a response.
    fn take_changed(&mut self, resource_type: ResourceType, names: &mut BTreeSet<ResourceName>) -> Outgoing {
        let (mut bytes, bytes_max) = (0usize, self.frame.limits.resource_bytes_max);
        let state = &mut self.types[resource_type];
        let mut outgoing = Outgoing::default();
        while bytes < RESPONSE_BYTES
            && let Some(name) = names.pop_first()
        {
            let Some(resource) = resource(&self.frame.view, resource_type, &name) else {
                state.refused.remove(&name);
                continue;
            };
            let refused = state.refused.get(&name);
            let is_refused = refused.is_some_and(|refused| refused.version == resource.version);
            if is_refused || resource.entry.len() > bytes_max {
                continue;
            }
            bytes = bytes.saturating_add(resource.entry.len());
            if bytes > bytes_max && !outgoing.resources.is_empty() {
                // F2: one by one the client can take them, together it could not.
                names.insert(name);
                break;
            }
            state.refused.remove(&name);
            let previous = state.sent.insert(name.clone(), resource.clone());
            outgoing.changed.push(ChangedResource { name, version: resource.version, previous });
            outgoing.resources.push(resource);
        }
        outgoing
    }

    /// O3: a cluster that was sent is warm only when its endpoints follow, even if these did not change. So a response
    /// with them follows, although the client has them.
    fn owe_endpoints(&mut self, clusters: &[ChangedResource]) {
        let state = &mut self.types[ResourceType::Endpoint];
        let owed = clusters.iter().map(|cluster| &cluster.name).filter(|name| state.names.contains(*name));
        state.due.extend(owed.cloned());
    }

    fn respond(&mut self, now: Instant, resource_type: ResourceType, outgoing: Outgoing) -> Response {
        let Outgoing { resources, changed, removed } = outgoing;
        let nonce = self.frame.next_nonce();
        let removals = removed.len();
        let state = &mut self.types[resource_type];
        let cause = if std::mem::take(&mut state.is_asked) { Cause::Request } else { Cause::View };
        state.unanswered.push_back(UnansweredResponse { nonce, changed, removed, sent_at: now });
        (state.nonce, state.state_since) = (nonce, Some(now));
        let versions = resources.iter().map(|resource| (&*resource.name, resource.version.number()));
        let version = Sums::of_resources(versions).versions.to_string();
        let response = Response::state_of_the_world(SotwResponse {
            type_url: Cow::from(resource_type.type_url()),
            nonce,
            version: &version,
            resources: resources.into(),
            missing: &self.missing(resource_type),
        });
        let push = Push::new(now, resource_type, &response, self.frame.view_behind(cause));
        self.frame.pushes.record(Push { removed: removals, ..push });
        response
    }

    /// Q7: what does not exist, or cannot be taken (F2), is said, for clients that listen to it.
    fn missing(&self, resource_type: ResourceType) -> Vec<(&ResourceName, Missing)> {
        let state = &self.types[resource_type];
        let mut missing = Vec::new();
        for name in &state.names {
            match resource(&self.frame.view, resource_type, name) {
                Some(resource) if resource.entry.len() > self.frame.limits.resource_bytes_max => {
                    missing.push((name, Missing::TooLarge(resource.entry.len())));
                }
                None if is_whole(resource_type) && !state.sent.contains_key(name) => {
                    missing.push((name, Missing::Absent));
                }
                Some(_) | None => {}
            }
        }
        missing
    }
}
