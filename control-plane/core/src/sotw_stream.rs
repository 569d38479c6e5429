//! One state-of-the-world ADS stream as a value: what gRPC clients speak, and Envoys that are told to.
//!
//! Of listeners and clusters every response is the whole state, so that what is missing is gone; of
//! endpoints and routes it is what changed. The letters in comments are items of `docs/xds.md`.

mod request;
mod show;
mod type_state;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use rutter_api::ResourceType;

use crate::batch::Sums;
use crate::delta_stream::{
    Limits, Missing, ORDER_GRACE, PUSHES_MAX, Push, RESPONSE_BYTES, Response, StreamError, truncated,
};
use crate::encode::{EncodedResource, endpoint, listener};
use crate::others::{OtherAnswer, Others};
use crate::snapshot::{ResourceName, View};
pub use request::SotwRequest;
use type_state::{Changed, Outstanding, TypeState};

/// Clusters first, then what refers to them (O1).
const ORDER: [ResourceType; 5] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener, ResourceType::Route, ResourceType::Secret];
/// When so many parts and resources are refused, the rest of a response is no longer taken apart (N4): each part
/// is a whole state.
const PARTS_MAX: usize = 32;
/// What refers to clusters.
const REFERRING: [ResourceType; 2] = [ResourceType::Listener, ResourceType::Route];

/// A stream.
#[derive(Debug)]
pub struct SotwStream {
    view: View,
    limits: Limits,
    types: [TypeState; ResourceType::COUNT],
    others: Others,
    last_nonce: u64,
    pushes: VecDeque<Push>,
}

/// Whether responses of a type are the whole state.
fn is_whole(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener)
}

/// A resource, also one that is made for who asks.
fn resource(view: &View, kind: ResourceType, name: &str) -> Option<EncodedResource> {
    let known = view.get(kind, name).cloned();
    known.or_else(|| match kind {
        // O7: an Envoy that comes back warming waits for the endpoints of a cluster that is gone, and asks for
        // clusters only then.
        ResourceType::Endpoint => Some(endpoint::encode_none(name)),
        ResourceType::Listener => listener::encode_grpc_inbound(name),
        ResourceType::Cluster | ResourceType::Route | ResourceType::Secret | ResourceType::VirtualHost => None,
    })
}

impl SotwStream {
    /// A stream at whose start the client sees `view`.
    pub fn new(view: View) -> Self {
        Self::with_limits(view, Limits::default())
    }

    /// The same, with bounds on what the client may ask for and be sent.
    pub fn with_limits(view: View, limits: Limits) -> Self {
        let others = Others::default();
        Self { view, limits, types: Default::default(), others, last_nonce: 0, pushes: VecDeque::new() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, request: &SotwRequest<'_>) -> Result<(), StreamError> {
        // Virtual hosts one by one are delta's only.
        let Some(kind) = ResourceType::from_type_url(request.type_url).filter(|kind| ORDER.contains(kind)) else {
            let asked = (request.type_url, &request.names[..], request.nonce.is_empty());
            return self.others.on_sotw(&self.limits, asked);
        };
        let state = &mut self.types[kind.index()];
        // Q3: without a nonce it begins anew, also in the middle of a stream.
        let is_fresh = !std::mem::replace(&mut state.requested, true) || request.nonce.is_empty();
        if !is_fresh && let Ok(nonce) = request.nonce.parse() {
            let is_latest = nonce == state.nonce;
            self.on_answer(now, (kind, nonce), request.error.as_deref().map(truncated));
            if !is_latest {
                return Ok(());
            }
        } else if !is_fresh {
            return Ok(());
        }
        self.subscribe(kind, request, is_fresh);
        self.limits.check_names(self.types.iter().map(|state| state.names.len()).sum())
    }

    fn subscribe(&mut self, kind: ResourceType, request: &SotwRequest<'_>, is_fresh: bool) {
        let state = &mut self.types[kind.index()];
        let named = request.names.iter().filter(|name| **name != "*");
        let names: BTreeSet<ResourceName> = named.map(|name| ResourceName::from(*name)).collect();
        // Q2: an empty list is all only in the beginning; after names it is none.
        let was_implied = is_fresh || state.wildcard && state.names.is_empty();
        let was_wildcard = state.wildcard;
        state.wildcard = is_whole(kind) && (request.names.contains(&"*") || request.names.is_empty() && was_implied);
        if is_fresh {
            (state.sent, state.kept, state.outstanding) = Default::default();
            (state.retry, state.refused) = Default::default();
            state.due.clone_from(&names);
            // N10: who waits for an empty state is told so. Q1: of other types empty says nothing.
            state.asked = is_whole(kind);
        } else {
            let added: Vec<&ResourceName> = names.difference(&state.names).collect();
            // Q5
            state.asked |= is_whole(kind) && (!added.is_empty() || state.wildcard && !was_wildcard);
            state.due.extend(added.into_iter().cloned());
        }
        if !is_whole(kind) && kind != ResourceType::Endpoint {
            state.due.retain(|name| self.view.get(kind, name).is_some());
        }
        state.names = names;
        let (wildcard, names) = (state.wildcard, state.names.clone());
        let is_wanted = |name: &ResourceName| wildcard || names.contains(name);
        state.due.retain(is_wanted);
        state.sent.retain(|name, _| is_wanted(name));
        state.refused.retain(|name, _| is_wanted(name));
        state.not_again(|name| !is_wanted(name));
    }

    fn on_answer(&mut self, now: Instant, (kind, nonce): (ResourceType, u64), error: Option<String>) {
        let state = &mut self.types[kind.index()];
        let Some(answered) = state.take_answered(nonce) else { return };
        state.state_since = Some(now);
        if let Some(push) = self.pushes.iter_mut().find(|push| push.nonce == nonce) {
            push.answered = Some(now);
            push.error.clone_from(&error);
        }
        let Some(error) = error else {
            state.refused.retain(|name, (version, _)| {
                !answered.changed.iter().any(|one| one.name == *name && one.version == *version)
            });
            return;
        };
        state.restore(&answered);
        // What has changed since goes its usual way.
        let is_latest = |one: &&Changed| self.view.has(kind, &one.name, one.version);
        let is_usual = |name: &ResourceName| state.due.contains(name) || state.is_in_flight(name) || !state.wants(name);
        let suspects = answered.changed.iter().filter(is_latest).filter(|one| !is_usual(&one.name));
        let suspects: Vec<&Changed> = suspects.collect();
        if answered.changed.len() == 1 || state.retry.len() + state.refused.len() >= PARTS_MAX {
            // N3: what it refused is not sent again until it changes; it keeps what it had.
            let refused = suspects.into_iter().map(|one| (one.name.clone(), (one.version, error.clone())));
            state.refused.extend(refused.collect::<Vec<_>>());
            return;
        }
        // N4: halves find the one at fault.
        let (first, second) = suspects.split_at(suspects.len().div_ceil(2));
        let parts = [first, second].map(|part| part.iter().map(|one| one.name.clone()).collect::<BTreeSet<_>>());
        state.retry.extend(parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// Follows its scope to a newer view.
    pub fn on_view(&mut self, now: Instant, view: View) {
        let old = std::mem::replace(&mut self.view, view);
        for kind in ORDER {
            if !self.types[kind.index()].requested {
                continue;
            }
            for name in self.view.changed_since(&old, kind) {
                let state = &mut self.types[kind.index()];
                if !state.wants(&name) {
                    continue;
                }
                if kind == ResourceType::Cluster
                    && self.view.get(kind, &name).is_none()
                    && let Some(gone) = state.had(&name).or_else(|| state.sent.get(&name)).cloned()
                {
                    state.kept.insert(name, gone);
                    state.kept_since.get_or_insert(now);
                    continue;
                }
                state.kept.remove(&name);
                state.not_again(|other| *other == name);
                if is_whole(kind) || self.view.get(kind, &name).is_some() {
                    state.due.insert(name);
                } else {
                    // Q1: it cannot be taken away from the client. Who still waits for endpoints is told that there are none.
                    if kind != ResourceType::Endpoint {
                        state.due.remove(&name);
                    }
                    state.sent.remove(&name);
                    state.refused.remove(&name);
                }
            }
        }
    }

    /// What is to be sent next, if anything. To be called until it says None.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        if let Some(OtherAnswer { type_url, resources, .. }) = self.others.next() {
            self.last_nonce += 1;
            return Some(Response::whole(type_url, self.last_nonce, ("0", resources), &[]));
        }
        self.let_go(now);
        let kind = ORDER.into_iter().find(|kind| self.may_send(now, *kind))?;
        Some(if is_whole(kind) { self.send_whole(now, kind) } else { self.send_changed(now, kind) })
    }

    /// When [`Self::next_response`] has something to send though nothing else happens, it having said None now.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let clusters = &self.types[ResourceType::Cluster.index()];
        let waits = REFERRING.into_iter().any(|kind| self.types[kind.index()].is_due());
        let warming = clusters.outstanding.iter().filter(|_| waits);
        let unanswered = self.types.iter().filter(|state| state.is_due()).flat_map(|state| &state.outstanding);
        let since = clusters.kept_since.into_iter().chain(warming.chain(unanswered).map(|one| one.at));
        // What is over has changed nothing.
        since.map(|since| since + ORDER_GRACE).filter(|at| *at > now).min()
    }

    /// O2: clusters go when those that used them have answered.
    fn let_go(&mut self, now: Instant) {
        let is_idle = |kind: ResourceType| self.types[kind.index()].is_settled();
        let idle = REFERRING.into_iter().all(is_idle);
        let clusters = &mut self.types[ResourceType::Cluster.index()];
        let late = clusters.kept_since.is_some_and(|since| now >= since + ORDER_GRACE);
        if clusters.kept_since.is_some() && (idle || late) {
            clusters.kept_since = None;
            clusters.due.extend(std::mem::take(&mut clusters.kept).into_keys());
        }
    }

    fn may_send(&self, now: Instant, kind: ResourceType) -> bool {
        let state = &self.types[kind.index()];
        let clusters = &self.types[ResourceType::Cluster.index()];
        let is_warming = clusters.outstanding.iter().any(|one| !one.changed.is_empty() && !one.is_late(now));
        // Make before break: what changed follows the clusters that it may need; what was asked for goes at once.
        let waits = REFERRING.contains(&kind) && is_warming && !state.sent.is_empty();
        // One at a time, so that it is known what is refused; endpoints never wait (O6).
        let is_urgent = state.asked || kind == ResourceType::Endpoint && !state.due.is_empty();
        state.is_due() && (is_urgent || state.is_calm(now)) && !waits
    }

    fn send_whole(&mut self, now: Instant, kind: ResourceType) -> Response {
        let state = &mut self.types[kind.index()];
        let is_wanted = |name: &str| state.wildcard || state.names.contains(name);
        let mut whole: BTreeMap<ResourceName, EncodedResource> = if state.wildcard {
            self.view.iter(kind).map(|resource| (resource.name.clone(), resource.clone())).collect()
        } else {
            let known = state.names.iter().filter_map(|name| resource(&self.view, kind, name));
            let fits = |resource: &EncodedResource| resource.entry.len() <= self.limits.resource_bytes_max;
            known.filter(fits).map(|resource| (resource.name.clone(), resource)).collect()
        };
        whole.extend(
            state.kept.iter().filter(|(name, _)| is_wanted(name)).map(|(name, one)| (name.clone(), one.clone())),
        );
        // What it refused stays as it was, or away, until it changes.
        state.refused.retain(|name, (version, _)| whole.get(name).is_some_and(|one| one.version == *version));
        let due = std::mem::take(&mut state.due);
        state.not_again(|name| due.contains(name) || !whole.contains_key(name));
        if state.is_calm(now) {
            // Its turn.
            state.retry.pop_front();
        }
        for name in state.refused.keys().chain(state.retry.iter().flatten()) {
            match state.sent.get(name) {
                Some(good) => drop(whole.insert(name.clone(), good.clone())),
                None => drop(whole.remove(name)),
            }
        }
        let is_new = |one: &&EncodedResource| state.sent.get(&one.name).is_none_or(|old| old.version != one.version);
        let new: Vec<EncodedResource> = whole.values().filter(is_new).cloned().collect();
        let removed = state.sent.values().filter(|one| !whole.contains_key(&one.name)).cloned().collect();
        let resources: Vec<EncodedResource> = whole.values().cloned().collect();
        let old = std::mem::replace(&mut state.sent, whole);
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&new);
        }
        let changed = new.into_iter().map(|one| changed(one, |name| old.get(name).cloned())).collect();
        self.respond(now, kind, resources, (changed, removed))
    }

    fn send_changed(&mut self, now: Instant, kind: ResourceType) -> Response {
        let state = &mut self.types[kind.index()];
        let (mut bytes, max) = (0, self.limits.resource_bytes_max);
        let (mut resources, mut new) = (Vec::new(), Vec::new());
        let is_again = state.due.is_empty() && state.is_calm(now);
        let mut names = if is_again { state.retry.pop_front() } else { None };
        let names = names.get_or_insert_with(|| std::mem::take(&mut state.due));
        while bytes < RESPONSE_BYTES
            && let Some(name) = names.pop_first()
        {
            let Some(resource) = resource(&self.view, kind, &name) else {
                state.refused.remove(&name);
                continue;
            };
            let is_refused = state.refused.get(&name).is_some_and(|(version, _)| *version == resource.version);
            if is_refused || resource.entry.len() > max {
                continue;
            }
            bytes = bytes.saturating_add(resource.entry.len());
            if bytes > max && !resources.is_empty() {
                // F2: one by one it can be taken, together it could not.
                names.insert(name);
                break;
            }
            state.refused.remove(&name);
            let old = state.sent.insert(name, resource.clone());
            new.push(changed(resource.clone(), |_| old));
            resources.push(resource);
        }
        if is_again && !names.is_empty() {
            state.retry.push_front(std::mem::take(names));
        } else {
            state.due.append(names);
        }
        self.respond(now, kind, resources, (new, Vec::new()))
    }

    /// O3: a cluster that was sent is warm only when its endpoints follow, even unchanged ones.
    fn owe_endpoints(&mut self, clusters: &[EncodedResource]) {
        let state = &mut self.types[ResourceType::Endpoint.index()];
        let owed = clusters.iter().map(|cluster| &cluster.name).filter(|name| state.names.contains(*name));
        state.due.extend(owed.cloned());
    }

    fn respond(
        &mut self,
        now: Instant,
        kind: ResourceType,
        resources: Vec<EncodedResource>,
        (changed, removed): (Vec<Changed>, Vec<EncodedResource>),
    ) -> Response {
        self.last_nonce += 1;
        let removals = removed.len();
        let state = &mut self.types[kind.index()];
        let asked = std::mem::take(&mut state.asked);
        state.outstanding.push_back(Outstanding { nonce: self.last_nonce, changed, removed, at: now });
        (state.nonce, state.state_since) = (self.last_nonce, Some(now));
        // Q7: what does not exist, or cannot be taken (F2), is said to, for those who listen to that.
        let why = |name| match resource(&self.view, kind, name) {
            Some(one) => {
                let bytes = one.entry.len();
                (bytes > self.limits.resource_bytes_max).then_some(Missing::TooLarge(bytes))
            }
            None => (is_whole(kind) && !state.sent.contains_key(name)).then_some(Missing::Absent),
        };
        let missing = state.names.iter().filter_map(|name| Some((name, why(name)?)));
        let missing: Vec<(&ResourceName, Missing)> = missing.collect();
        let sums = Sums::all(resources.iter().map(|one| (&*one.name, one.version.number())));
        let version = sums.versions.to_string();
        let type_url = Cow::from(kind.type_url());
        let response = Response::whole(type_url, self.last_nonce, (&version, resources.into()), &missing);
        if self.pushes.len() == PUSHES_MAX {
            self.pushes.pop_front();
        }
        let mut push = Push::new(now, kind, &response, Some(&self.view).filter(|_| !asked));
        push.removed = removals;
        self.pushes.push_back(push);
        response
    }
}

fn changed(resource: EncodedResource, before: impl FnOnce(&ResourceName) -> Option<EncodedResource>) -> Changed {
    let before = before(&resource.name);
    Changed { name: resource.name, version: resource.version, before }
}

#[cfg(test)]
mod tests;
