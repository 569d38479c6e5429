//! One delta ADS stream as a value: requests, views and the time go in, responses come out.
//!
//! A stream is a position (the view it follows) and the exceptions to it: what is due, what is not
//! answered, what was refused. The letters in comments are items of `docs/xds.md`.

pub(crate) mod request;
mod response;
mod send;
mod show;
mod type_state;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rutter_api::ResourceType;

use crate::batch::Sums;
use crate::encode::route::table_of;
use crate::encode::{EncodedResource, Version};
use crate::others::{OtherAnswer, Others};
use crate::snapshot::{ResourceName, View};
use crate::subscription::Wildcard;
pub use request::{Malformed, Request};
pub(crate) use response::Missing;
pub use response::{Frames, Push, Response};
pub use show::{ResourceState, TypeSync};
use type_state::{Due, Outstanding, Refused, TypeState};

/// How long routes wait for the clusters they need, and clusters for the routes that leave them.
pub(crate) const ORDER_GRACE: Duration = Duration::from_secs(5);
/// A response is closed when it has this many bytes.
pub(crate) const RESPONSE_BYTES: usize = 1 << 20;
/// The latest pushes that are remembered for people to look at.
pub(crate) const PUSHES_MAX: usize = 16;
/// A refusal's text is kept up to here, in bytes.
const ERROR_BYTES_MAX: usize = 2048;

/// What refers to clusters: it follows new ones, and goes before old ones.
const FIRST: [ResourceType; 3] = [ResourceType::Listener, ResourceType::Route, ResourceType::VirtualHost];

/// Why a stream is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// It asks for more names, or types, than one sidecar can need.
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { what, max } => write!(f, "want at most {max} {what} on one stream, got more"),
        }
    }
}

impl std::error::Error for StreamError {}

/// What one stream may ask for, and be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Names that it may subscribe to, over all types.
    pub names_max: usize,
    /// What a resource may weigh that the client is to take, in bytes.
    pub resource_bytes_max: usize,
}

impl Limits {
    /// Names of a mesh of 20,000 services with subsets.
    pub const NAMES_MAX: usize = 100_000;
    /// A gRPC client breaks the stream off over a message of more than 4 MiB; the rest is for the envelope.
    pub const GRPC_RESOURCE_BYTES_MAX: usize = (4 << 20) - (64 << 10);

    pub(crate) fn check_names(&self, names: usize) -> Result<(), StreamError> {
        if names > self.names_max {
            return Err(StreamError::TooMany { what: "names", max: self.names_max });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { names_max: Self::NAMES_MAX, resource_bytes_max: usize::MAX }
    }
}

/// A stream.
#[derive(Debug)]
pub struct DeltaStream {
    view: View,
    limits: Limits,
    types: [TypeState; ResourceType::COUNT],
    others: Others,
    last_nonce: u64,
    pushes: VecDeque<Push>,
}

impl DeltaStream {
    /// A stream at whose start the sidecar sees `view`.
    pub fn new(view: View) -> Self {
        Self::with_limits(view, Limits::default())
    }

    /// The same, with bounds on what the client may ask for.
    pub fn with_limits(view: View, limits: Limits) -> Self {
        let types = std::array::from_fn(|_| TypeState::new(view.clone()));
        Self { view, limits, types, others: Others::default(), last_nonce: 0, pushes: VecDeque::new() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, request: &Request<'_>) -> Result<(), StreamError> {
        let Some(kind) = ResourceType::from_type_url(request.type_url) else {
            return self.others.on_delta(&self.limits, request.type_url, &request.subscribe);
        };
        if let Ok(nonce) = request.nonce.parse() {
            let error = request.error.as_deref().map(truncated);
            self.on_answer(now, (kind, nonce), error);
        }
        let is_first = !std::mem::replace(&mut self.types[kind.index()].requested, true);
        if is_first && self.start_whole(kind, request) {
            return Ok(());
        }
        let found = self.subscribe(kind, request, is_first);
        self.unsubscribe(kind, request);
        if is_first {
            self.start(kind, request, found);
        } else if !request.subscribe.is_empty() {
            self.types[kind.index()].subscription.compact(&self.view, kind);
        }
        let names: usize = self.types.iter().map(|state| state.subscription.told()).sum();
        self.limits.check_names(names)
    }

    /// Follows its scope to a newer view.
    pub fn on_view(&mut self, now: Instant, view: View) {
        let old = std::mem::replace(&mut self.view, view);
        for kind in ResourceType::ALL {
            if !self.types[kind.index()].requested {
                continue;
            }
            for name in self.view.changed_since(&old, kind) {
                let (before, after) = (old.get(kind, &name), self.view.get(kind, &name).cloned());
                let state = &mut self.types[kind.index()];
                match (before, &after) {
                    (None, Some(_)) => {
                        state.subscription.appeared(&name);
                        state.not_gone(&name);
                    }
                    (Some(_), None) => state.subscription.vanished(&name),
                    (Some(_), Some(_)) | (None, None) => {}
                }
                state.due.outdate(&name);
                if !self.wants(kind, &name, after.is_some()) {
                    continue;
                }
                let state = &mut self.types[kind.index()];
                match after {
                    Some(resource) => state.changed(&resource),
                    None => state.vanished(now, &name),
                }
            }
            if kind == ResourceType::VirtualHost {
                self.try_refused_again();
            }
            let state = &mut self.types[kind.index()];
            if state.is_settled() {
                // Else an old view, and all that it holds, would be kept.
                state.acked = self.view.clone();
            }
        }
    }

    /// Whether a virtual host is valid depends on the others of its table: it is tried again with them.
    fn try_refused_again(&mut self) {
        let state = &mut self.types[ResourceType::VirtualHost.index()];
        let moved: BTreeSet<&str> = state.due.names().chain(&state.gone).map(|name| table_of(name)).collect();
        let again: Vec<ResourceName> =
            state.refused.keys().filter(|name| moved.contains(table_of(name))).cloned().collect();
        for name in again {
            state.refused.remove(&name);
            state.due.insert(name, Due::Changed);
        }
    }

    /// Whether a resource is to be sent to the sidecar. A virtual host is where its table was sent; with a
    /// table that is yet to be sent it goes anyway (V6).
    fn wants(&self, kind: ResourceType, name: &str, exists: bool) -> bool {
        if !self.types[kind.index()].subscription.wants(name, exists) {
            return false;
        }
        if kind != ResourceType::VirtualHost {
            return true;
        }
        let (table, tables) = (table_of(name), &self.types[ResourceType::Route.index()]);
        tables.subscription.wants(table, self.view.get(ResourceType::Route, table).is_some())
            && !(exists && tables.due.contains(table))
    }

    /// What is to be sent next, if anything. To be called until it says None.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        if let Some(OtherAnswer { type_url, resources, absent }) = self.others.next() {
            self.last_nonce += 1;
            return Some(Response::new(type_url, self.last_nonce, (resources, absent)));
        }
        let kind = ResourceType::ALL.into_iter().find(|kind| self.has_updates(now, *kind));
        if let Some(kind) = kind {
            return Some(self.send_updates(now, kind));
        }
        // O1: what nobody refers to any more goes last.
        let mut order = FIRST.into_iter().chain([ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Secret]);
        let kind = order.find(|kind| self.may_remove(now, *kind))?;
        Some(self.send_removals(now, kind))
    }

    /// When [`Self::next_response`] has something to send though nothing else happens, it having said None now.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let gone = self.types.iter().filter_map(|state| state.gone_since);
        let waits = self.types.iter().any(|state| !state.due.is_empty());
        let clusters = self.types[ResourceType::Cluster.index()].outstanding.iter().map(|one| one.at).max();
        let since = gone.chain(clusters.filter(|_| waits));
        // What is over has changed nothing.
        since.map(|since| since + ORDER_GRACE).filter(|at| *at > now).min()
    }
}

/// Requests.
impl DeltaStream {
    /// The first request of a type, where it is about everything that there is of it and the sidecar holds
    /// all of that or nothing: whether it was so.
    fn start_whole(&mut self, kind: ResourceType, request: &Request<'_>) -> bool {
        let sums = self.view.sums(kind);
        let wildcard = match &request.subscribe[..] {
            [] => Wildcard::Implied,
            ["*"] => Wildcard::Asked,
            names if Sums::all(names.iter().map(|name| (*name, 0))).names == sums.names => Wildcard::Off,
            _ => return false,
        };
        let tables = &self.types[ResourceType::Route.index()];
        let is_partial = kind == ResourceType::VirtualHost
            && !(tables.subscription.wants_all() && tables.due.is_empty() && tables.requested);
        let state = &self.types[kind.index()];
        let believed = !state.owes_all
            && state.owed.is_empty()
            // V5: before the first CDS request Envoy is warming and needs its endpoints whatever it lists.
            && (kind != ResourceType::Endpoint || self.types[ResourceType::Cluster.index()].requested);
        let holds_all = || believed && request.held().is_some_and(|held| held.versions == sums.versions);
        if is_partial || !request.unsubscribe.is_empty() || !(request.versions.is_empty() || holds_all()) {
            return false;
        }
        let state = &mut self.types[kind.index()];
        state.subscription.wildcard = wildcard;
        if wildcard == Wildcard::Off {
            state.subscription.list_all();
        }
        if request.versions.is_empty() {
            state.due.insert_all(self.view.batch(kind));
            // N10, W13: as in `start`.
            state.owes_empty = state.due.is_empty() && kind != ResourceType::VirtualHost;
        }
        self.settle_owed(kind);
        true
    }

    /// What went before the first request of a type is made good.
    fn settle_owed(&mut self, kind: ResourceType) {
        let state = &mut self.types[kind.index()];
        state.owes_all = false;
        let owed = std::mem::take(&mut state.owed);
        if kind == ResourceType::VirtualHost {
            owed.iter().for_each(|table| self.owe_virtual_hosts(table));
        }
    }

    /// How many of the names the sidecar says it holds, of those that there are.
    fn subscribe(&mut self, kind: ResourceType, request: &Request<'_>, is_first: bool) -> usize {
        let state = &mut self.types[kind.index()];
        if is_first && request.subscribe.is_empty() {
            state.subscription.wildcard = Wildcard::Implied;
        }
        if !request.subscribe.is_empty() && state.subscription.wildcard == Wildcard::Implied {
            state.subscription.wildcard = Wildcard::Asked;
        }
        let is_wildcard_new = state.subscription.wildcard == Wildcard::Off && !is_first;
        if is_first {
            state.subscription.list(&request.subscribe, &self.view, kind);
        }
        let mut found = 0;
        for name in &request.subscribe {
            let state = &mut self.types[kind.index()];
            if *name == "*" {
                state.subscription.wildcard = Wildcard::Asked;
                if is_wildcard_new {
                    self.tell_all(kind);
                }
                continue;
            }
            let known = self.view.get(kind, name);
            if let Some(resource) = known.filter(|_| is_first) {
                let version = request.version_of(name);
                found += usize::from(version.is_some());
                if self.is_held(kind, version, resource) {
                    continue;
                }
            }
            let state = &mut self.types[kind.index()];
            let shared = known.map_or_else(|| Arc::from(*name), |resource| resource.name.clone());
            if !is_first {
                state.subscription.insert(shared.clone(), known.is_some());
            }
            state.refused.remove(&shared);
            // D2: who waits for a virtual host is told by an empty one that there is none. Who has one that is
            // no longer there is told that it is gone.
            let is_miss = kind == ResourceType::VirtualHost && request.version_of(name).is_none();
            state.tell(shared, known.is_some() || is_miss);
        }
        found
    }

    /// Whether the sidecar holds a resource as it is, by what it says in its first request, and may be believed.
    fn is_held(&self, kind: ResourceType, version: Option<&str>, resource: &EncodedResource) -> bool {
        // V5: before the first CDS request Envoy is warming and needs its endpoints whatever it lists.
        if kind == ResourceType::Endpoint && !self.types[ResourceType::Cluster.index()].requested {
            return false;
        }
        let name = &*resource.name;
        let owed = if kind == ResourceType::VirtualHost { table_of(name) } else { name };
        let state = &self.types[kind.index()];
        version.is_some_and(|version| resource.version.is(version)) && !state.owes_all && !state.owed.contains(owed)
    }

    /// Everything of a type is due; virtual hosts, where their tables are not.
    fn tell_all(&mut self, kind: ResourceType) {
        let all = self.view.iter(kind).map(|resource| resource.name.clone());
        let wanted: Vec<ResourceName> = all.filter(|name| self.wants(kind, name, true)).collect();
        let due = &mut self.types[kind.index()].due;
        wanted.into_iter().for_each(|name| due.insert(name, Due::Asked));
    }

    fn unsubscribe(&mut self, kind: ResourceType, request: &Request<'_>) {
        let state = &mut self.types[kind.index()];
        for name in &request.unsubscribe {
            if *name == "*" {
                state.subscription.wildcard = Wildcard::Off;
                let subscription = &state.subscription;
                state.due.retain(|name| subscription.names(name, true));
                state.gone.retain(|name| subscription.names(name, false));
                state.gone_since = state.gone_since.filter(|_| !state.gone.is_empty());
                continue;
            }
            let exists = self.view.get(kind, name).is_some();
            let name: ResourceName = (*name).into();
            if !state.subscription.remove(&name, exists) {
                continue;
            }
            if state.subscription.is_wildcard() {
                // W8: it is still wanted by the wildcard, so its state is told.
                state.tell(name, exists);
            } else {
                state.forget(&name);
            }
        }
    }

    /// The first request of a type: everything wanted is due, but for what the sidecar brought along (N7).
    fn start(&mut self, kind: ResourceType, request: &Request<'_>, mut found: usize) {
        if self.types[kind.index()].subscription.is_wildcard() {
            found = 0;
            let mut due = Vec::new();
            for resource in self.view.iter(kind) {
                let version = request.version_of(&resource.name);
                found += usize::from(version.is_some());
                if self.wants(kind, &resource.name, true) && !self.is_held(kind, version, resource) {
                    due.push((resource.name.clone(), Due::Asked));
                }
            }
            let state = &mut self.types[kind.index()];
            due.into_iter().for_each(|(name, due)| state.due.insert(name, due));
            // N10: otherwise Envoy waits for what will not come. W13: of virtual hosts it wants one word.
            let is_empty = state.due.is_empty() && request.versions.is_empty();
            state.owes_empty = is_empty && kind != ResourceType::VirtualHost;
        }
        // Else all that it holds is there.
        if found < request.versions.len() {
            for (name, _) in &request.versions {
                if self.view.get(kind, name).is_none() && self.wants(kind, name, false) {
                    self.types[kind.index()].gone.insert(Arc::from(*name));
                }
            }
        }
        self.settle_owed(kind);
    }

    fn on_answer(&mut self, now: Instant, (kind, nonce): (ResourceType, u64), error: Option<String>) {
        let state = &mut self.types[kind.index()];
        let Some(at) = state.outstanding.iter().position(|one| one.nonce == nonce) else { return };
        let Some(answered) = state.outstanding.remove(at) else { return };
        if state.outstanding.is_empty() {
            // Thousands of streams have nothing outstanding, nearly always.
            state.outstanding = VecDeque::new();
        }
        state.state_since = Some(now);
        if let Some(push) = self.pushes.iter_mut().find(|push| push.nonce == nonce) {
            push.answered = Some(now);
            push.error.clone_from(&error);
        }
        match error {
            None if state.refused.is_empty() => {}
            None => {
                let is_latest = |(name, version): &(&ResourceName, Version)| self.view.has(kind, name, *version);
                for (name, _) in answered.sent().filter(is_latest) {
                    if state.refused.remove(name).is_some() && !state.outstanding.is_empty() {
                        // It was taken at last; what has been sent meanwhile may be in its place, or its removal.
                        state.due.insert(name.clone(), Due::Changed);
                    }
                }
            }
            Some(error) => self.on_refusal(kind, &answered, error),
        }
        let state = &mut self.types[kind.index()];
        if state.is_settled() {
            state.acked = self.view.clone();
        }
    }

    fn on_refusal(&mut self, kind: ResourceType, refused: &Outstanding, error: String) {
        let state = &mut self.types[kind.index()];
        // Told again, unless something else is due about it.
        let is_still = |name: &&ResourceName| self.view.get(kind, name).is_none() && !state.due.contains(name);
        let still: Vec<ResourceName> = refused.removed.iter().filter(is_still).cloned().collect();
        state.gone.extend(still);
        let sent: Vec<(&ResourceName, Version)> = refused.sent().collect();
        if let [(name, version)] = sent[..] {
            // N3: not sent again until its content changes, which it may have done meanwhile.
            if self.view.has(kind, name, version) && state.subscription.wants(name, true) {
                let was_due = state.due.remove(name).is_some();
                state.refused.insert(name.clone(), Refused { version, error });
                if kind == ResourceType::Route && was_due {
                    // What has changed of its virtual hosts would have gone with it.
                    self.owe_virtual_hosts(&name.clone());
                }
            }
            return;
        }
        // N4: the sidecar's state is unknown; halves find the one at fault.
        let (a, b) = sent.split_at(sent.len() / 2);
        let names = |part: &[(&ResourceName, Version)]| part.iter().map(|(name, _)| (*name).clone()).collect();
        state.retry.extend([a, b].into_iter().filter(|part| !part.is_empty()).map(names));
    }
}

pub(crate) fn truncated(text: &str) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
