//! One state-of-the-world ADS stream as a value: what gRPC clients speak, and Envoys that are told to.
//!
//! Of listeners and clusters every response is the whole state, so that what is missing is gone; of
//! endpoints and routes it is what changed. The letters in comments are items of `docs/xds.md`.

mod request;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use rutter_api::ResourceType;

use crate::batch::Sums;
use crate::delta_stream::{
    Limits, Missing, ORDER_GRACE, PUSHES_MAX, Push, RESPONSE_BYTES, ResourceState, Response, StreamError, TypeSync,
    truncated,
};
use crate::encode::{EncodedResource, Version, endpoint, listener};
use crate::others::{OtherAnswer, Others};
use crate::snapshot::{ResourceName, View};
pub use request::SotwRequest;

/// Clusters first, then what refers to them (O1).
const ORDER: [ResourceType; 5] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Listener, ResourceType::Route, ResourceType::Secret];
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

/// One type on one stream.
#[derive(Debug, Default)]
struct TypeState {
    requested: bool,
    /// All resources: the first request named none. Ends with the first name.
    wildcard: bool,
    names: BTreeSet<ResourceName>,
    /// What the client was sent; of a whole state, the last of it.
    sent: BTreeMap<ResourceName, EncodedResource>,
    /// What it had before what it has not answered, and keeps if it refuses.
    good: BTreeMap<ResourceName, EncodedResource>,
    due: BTreeSet<ResourceName>,
    /// A response is due, whatever is in it: the client asked.
    asked: bool,
    /// The last response; requests that answer another are late (Q3).
    nonce: u64,
    outstanding: Option<Outstanding>,
    refused: BTreeMap<ResourceName, (Version, String)>,
    /// Parts of refused responses, to find what is at fault (N4): until its turn comes, each stays as it was.
    retry: VecDeque<BTreeSet<ResourceName>>,
    /// Clusters that are gone and stay for those who still use them (O2).
    kept: BTreeMap<ResourceName, EncodedResource>,
    kept_since: Option<Instant>,
    state_since: Option<Instant>,
}

#[derive(Debug)]
struct Outstanding {
    /// What was new in it.
    changed: Vec<(ResourceName, Version)>,
    at: Instant,
}

impl TypeState {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn is_due(&self) -> bool {
        self.asked || !self.due.is_empty() || !self.retry.is_empty()
    }

    fn is_settled(&self) -> bool {
        !self.is_due() && self.outstanding.is_none() && self.kept.is_empty()
    }
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
            return self.others.on_sotw(request.type_url, &request.names, request.nonce.is_empty());
        };
        let state = &mut self.types[kind.index()];
        // Q3: without a nonce it begins anew, also in the middle of a stream.
        let is_fresh = !std::mem::replace(&mut state.requested, true) || request.nonce.is_empty();
        if !is_fresh {
            if request.nonce.parse() != Ok(state.nonce) {
                return Ok(());
            }
            self.on_answer(now, kind, request.error.as_deref().map(truncated));
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
        state.wildcard = request.names.contains(&"*") || is_whole(kind) && request.names.is_empty() && was_implied;
        if is_fresh {
            (state.sent, state.kept, state.outstanding) = Default::default();
            state.retry.clear();
            state.due.clone_from(&names);
            // N10: who waits for an empty state is told so. Q1: of other types empty says nothing.
            state.asked = is_whole(kind);
        } else {
            let added: Vec<&ResourceName> = names.difference(&state.names).collect();
            // Q5
            state.asked |= is_whole(kind) && !added.is_empty();
            state.due.extend(added.into_iter().cloned());
        }
        if !is_whole(kind) && kind != ResourceType::Endpoint {
            state.due.retain(|name| self.view.get(kind, name).is_some());
        }
        state.names = names;
        let (wildcard, names) = (state.wildcard, &state.names);
        state.due.retain(|name| wildcard || names.contains(name));
        state.sent.retain(|name, _| wildcard || names.contains(name));
        state.refused.retain(|name, _| wildcard || names.contains(name));
    }

    fn on_answer(&mut self, now: Instant, kind: ResourceType, error: Option<String>) {
        let state = &mut self.types[kind.index()];
        let Some(answered) = state.outstanding.take() else { return };
        state.state_since = Some(now);
        if let Some(push) = self.pushes.iter_mut().find(|push| push.nonce == state.nonce) {
            push.answered = Some(now);
            push.error.clone_from(&error);
        }
        let good = std::mem::take(&mut state.good);
        let Some(error) = error else {
            answered.changed.iter().for_each(|(name, _)| drop(state.refused.remove(name)));
            return;
        };
        let mut at_fault = BTreeSet::new();
        for (name, version) in answered.changed {
            match good.get(&name) {
                Some(old) => drop(state.sent.insert(name.clone(), old.clone())),
                None => drop(state.sent.remove(&name)),
            }
            if self.view.has(kind, &name, version) {
                at_fault.insert((name, version));
            }
        }
        if at_fault.len() > 1 {
            // N4: halves find the one at fault. What changes meanwhile goes its usual way.
            let half = at_fault.len() / 2;
            let names = at_fault.into_iter().map(|(name, _)| name).filter(|name| !state.due.contains(name));
            let mut first: BTreeSet<ResourceName> = names.collect();
            let second = first.iter().nth(half).cloned().map(|middle| first.split_off(&middle));
            state.retry.extend([Some(first), second].into_iter().flatten().filter(|part| !part.is_empty()));
            return;
        }
        // N3: what it refused is not sent again until it changes; it keeps what it had.
        let refused = at_fault.into_iter().map(|(name, version)| (name, (version, error.clone())));
        state.refused.extend(refused);
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
                    && let Some(gone) = state.sent.get(&name)
                {
                    state.kept.insert(name, gone.clone());
                    state.kept_since.get_or_insert(now);
                    continue;
                }
                state.kept.remove(&name);
                state.retry.iter_mut().for_each(|part| part.retain(|other| *other != name));
                state.retry.retain(|part| !part.is_empty());
                if is_whole(kind) || self.view.get(kind, &name).is_some() {
                    state.due.insert(name);
                } else {
                    // Q1: it cannot be taken away from the client. Who still waits for endpoints is told that there are none.
                    if kind != ResourceType::Endpoint {
                        state.due.remove(&name);
                    }
                    state.sent.remove(&name);
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

    /// When [`Self::next_response`] has something to send though nothing else happens.
    pub fn wake_at(&self) -> Option<Instant> {
        let clusters = &self.types[ResourceType::Cluster.index()];
        let waits = REFERRING.into_iter().any(|kind| self.types[kind.index()].is_due());
        let warming = clusters.outstanding.as_ref().filter(|_| waits).map(|one| one.at);
        let unanswered =
            self.types.iter().filter(|state| state.is_due()).filter_map(|state| state.outstanding.as_ref());
        let since = clusters.kept_since.into_iter().chain(warming).chain(unanswered.map(|one| one.at));
        since.min().map(|since| since + ORDER_GRACE)
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
        let warming = clusters.outstanding.as_ref();
        let is_warming = warming.is_some_and(|one| !one.changed.is_empty() && now < one.at + ORDER_GRACE);
        // Make before break: what changed follows the clusters that it may need; what was asked for goes at once.
        let waits = REFERRING.contains(&kind) && is_warming && !state.sent.is_empty();
        // One at a time, so that it is known what is refused; endpoints never wait (O6).
        let is_late = |one: &Outstanding| now >= one.at + ORDER_GRACE;
        let is_free = kind == ResourceType::Endpoint || state.asked || state.outstanding.as_ref().is_none_or(is_late);
        state.is_due() && is_free && !waits
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
        state.retry.iter_mut().for_each(|part| part.retain(|name| whole.contains_key(name) && !due.contains(name)));
        state.retry.retain(|part| !part.is_empty());
        state.retry.pop_front();
        for name in state.refused.keys().chain(state.retry.iter().flatten()) {
            match state.sent.get(name) {
                Some(good) => drop(whole.insert(name.clone(), good.clone())),
                None => drop(whole.remove(name)),
            }
        }
        let is_new = |one: &&EncodedResource| state.sent.get(&one.name).is_none_or(|old| old.version != one.version);
        let changed: Vec<EncodedResource> = whole.values().filter(is_new).cloned().collect();
        let removed = state.sent.keys().filter(|name| !whole.contains_key(*name)).count();
        let resources: Vec<EncodedResource> = whole.values().cloned().collect();
        state.good = std::mem::replace(&mut state.sent, whole);
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&changed);
        }
        self.respond(now, kind, (resources, removed), &changed)
    }

    fn send_changed(&mut self, now: Instant, kind: ResourceType) -> Response {
        let state = &mut self.types[kind.index()];
        let mut bytes = 0;
        let mut changed = Vec::new();
        let mut again =
            if state.due.is_empty() { state.retry.pop_front().unwrap_or_default() } else { BTreeSet::new() };
        while bytes < RESPONSE_BYTES
            && let Some(name) = again.pop_first().or_else(|| state.due.pop_first())
        {
            let Some(resource) = resource(&self.view, kind, &name) else {
                state.refused.remove(&name);
                continue;
            };
            if state.refused.get(&name).is_some_and(|(version, _)| *version == resource.version) {
                continue;
            }
            if resource.entry.len() > self.limits.resource_bytes_max {
                continue;
            }
            bytes += resource.entry.len();
            if let Some(old) = state.sent.insert(name.clone(), resource.clone()) {
                state.good.entry(name).or_insert(old);
            }
            changed.push(resource);
        }
        self.respond(now, kind, (changed.clone(), 0), &changed)
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
        (resources, removed): (Vec<EncodedResource>, usize),
        changed: &[EncodedResource],
    ) -> Response {
        self.last_nonce += 1;
        let state = &mut self.types[kind.index()];
        let asked = std::mem::take(&mut state.asked);
        let changed = changed.iter().map(|one| (one.name.clone(), one.version)).collect();
        state.outstanding = Some(Outstanding { changed, at: now });
        (state.nonce, state.state_since) = (self.last_nonce, Some(now));
        // Q7: what does not exist is said to, for those who listen to that.
        let is_missing = |name: &&ResourceName| is_whole(kind) && !state.sent.contains_key(*name);
        let why = |name| match resource(&self.view, kind, name) {
            Some(one) if one.entry.len() > self.limits.resource_bytes_max => Missing::TooLarge(one.entry.len()),
            Some(_) | None => Missing::Absent,
        };
        let missing = state.names.iter().filter(is_missing).map(|name| (name, why(name)));
        let missing: Vec<(&ResourceName, Missing)> = missing.collect();
        let sums = Sums::all(resources.iter().map(|one| (&*one.name, one.version.number())));
        let version = sums.versions.to_string();
        let type_url = Cow::from(kind.type_url());
        let response = Response::whole(type_url, self.last_nonce, (&version, resources.into()), &missing);
        if self.pushes.len() == PUSHES_MAX {
            self.pushes.pop_front();
        }
        let mut push = Push::new(now, kind, &response, Some(&self.view).filter(|_| !asked));
        push.removed = removed;
        self.pushes.push_back(push);
        response
    }
}

/// For people who look.
impl SotwStream {
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

    /// What the client refuses now of a type, in which version, and why.
    pub(crate) fn refused(&self, kind: ResourceType) -> impl Iterator<Item = (&ResourceName, Version, &str)> {
        self.types[kind.index()].refused.iter().map(|(name, (version, error))| (name, *version, error.as_str()))
    }

    /// Whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(TypeState::is_settled)
    }

    /// Every resource of a type that the client was sent or is to be sent: what it has, or what it refused.
    pub fn resources(&self, kind: ResourceType) -> Vec<(EncodedResource, ResourceState)> {
        let state = &self.types[kind.index()];
        let in_flight = |name: &ResourceName| {
            state.outstanding.as_ref().is_some_and(|one| one.changed.iter().any(|(other, _)| other == name))
        };
        let wanted = self.view.iter(kind).filter(|resource| state.wants(&resource.name));
        // Clusters that stay for a while, and what was made for those who asked.
        let kept = state.sent.values().filter(|resource| self.view.get(kind, &resource.name).is_none());
        let of = |resource: &EncodedResource| {
            let name = &resource.name;
            let had = || state.good.get(name).or(state.sent.get(name)).unwrap_or(resource).clone();
            match state.refused.get(name) {
                _ if state.due.contains(name) || state.kept.contains_key(name) => (had(), ResourceState::Due),
                _ if in_flight(name) => (had(), ResourceState::Sent),
                Some((_, error)) => (resource.clone(), ResourceState::Refused(error.clone())),
                None => (resource.clone(), ResourceState::Acked),
            }
        };
        let mut all: Vec<_> = wanted.chain(kept).map(of).collect();
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// The latest pushes, the oldest first.
    pub fn pushes(&self) -> &VecDeque<Push> {
        &self.pushes
    }
}

#[cfg(test)]
mod tests;
