//! One delta ADS stream as a value: requests, views and the time go in, responses come out.
//!
//! A stream is a position (the view it follows) and the exceptions to it: what is due, what is not
//! answered, what was refused. The letters in comments are items of `docs/xds.md`.

pub(crate) mod request;
mod response;
mod show;
mod type_state;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rutter_api::ResourceType;

use crate::batch::{Batch, Sums};
use crate::encode::route::{is_split, table_of};
use crate::encode::{EncodedResource, Version};
use crate::snapshot::{ResourceName, View};
use crate::subscription::Wildcard;
pub use request::{Malformed, Request};
pub use response::{Frames, Push, Response};
pub use show::{ResourceState, TypeSync};
use type_state::{Due, Outstanding, Refused, TypeState};

/// How long routes wait for the clusters they need, and clusters for the routes that leave them.
pub(crate) const ORDER_GRACE: Duration = Duration::from_secs(5);
/// A response is closed when it has this many bytes.
pub(crate) const RESPONSE_BYTES: usize = 1 << 20;
/// Names a stream may subscribe to, over all types: a mesh of 20,000 services with subsets.
pub(crate) const NAMES_MAX: usize = 100_000;
/// Types that Rutter does not serve and a stream may yet ask for.
pub(crate) const OTHER_TYPES_MAX: usize = 16;
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

/// A stream.
#[derive(Debug)]
pub struct DeltaStream {
    view: View,
    types: [TypeState; ResourceType::COUNT],
    others: BTreeMap<String, OtherType>,
    last_nonce: u64,
    pushes: VecDeque<Push>,
}

/// A type that Rutter does not serve: whatever is asked for does not exist.
#[derive(Debug, Default)]
struct OtherType {
    requested: bool,
    owes_empty: bool,
    gone: BTreeSet<ResourceName>,
}

impl DeltaStream {
    /// A stream at whose start the sidecar sees `view`.
    pub fn new(view: View) -> Self {
        let types = std::array::from_fn(|_| TypeState::new(view.clone()));
        Self { view, types, others: BTreeMap::new(), last_nonce: 0, pushes: VecDeque::new() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, request: &Request<'_>) -> Result<(), StreamError> {
        let Some(kind) = ResourceType::from_type_url(request.type_url) else {
            return self.on_other(request);
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
        if names > NAMES_MAX {
            return Err(StreamError::TooMany { what: "names", max: NAMES_MAX });
        }
        Ok(())
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
                    (None, Some(_)) => state.subscription.appeared(&name),
                    (Some(_), None) => state.subscription.vanished(&name),
                    (Some(_), Some(_)) | (None, None) => {}
                }
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
        let other = self.others.iter_mut().find(|(_, other)| other.owes_empty || !other.gone.is_empty());
        if let Some((type_url, other)) = other {
            other.owes_empty = false;
            let removed = std::mem::take(&mut other.gone).into_iter().collect();
            self.last_nonce += 1;
            let type_url = Cow::from(type_url.clone());
            return Some(Response::new(type_url, self.last_nonce, (Batch::default(), removed)));
        }
        let kind = ResourceType::ALL.into_iter().find(|kind| self.has_updates(now, *kind));
        if let Some(kind) = kind {
            return Some(self.send_updates(now, kind));
        }
        // O1: what nobody refers to any more goes last.
        let mut order = FIRST.into_iter().chain([ResourceType::Cluster, ResourceType::Endpoint]);
        let kind = order.find(|kind| self.may_remove(now, *kind))?;
        Some(self.send_removals(now, kind))
    }

    /// When [`Self::next_response`] has something to send though nothing else happens.
    pub fn wake_at(&self) -> Option<Instant> {
        let gone = self.types.iter().filter_map(|state| state.gone_since);
        let waits = self.types.iter().any(|state| !state.due.is_empty());
        let clusters = self.types[ResourceType::Cluster.index()].outstanding.iter().map(|one| one.at).max();
        gone.chain(clusters.filter(|_| waits)).min().map(|since| since + ORDER_GRACE)
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
            state.tell(shared, known.is_some());
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
                answered.sent().filter(is_latest).for_each(|(name, _)| drop(state.refused.remove(name)));
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
        let still = refused.removed.iter().filter(|name| self.view.get(kind, name).is_none());
        state.gone.extend(still.cloned());
        let sent: Vec<(&ResourceName, Version)> = refused.sent().collect();
        if let [(name, version)] = sent[..] {
            // N3: not sent again until its content changes, which it may have done meanwhile.
            if self.view.has(kind, name, version) {
                state.due.remove(name);
                state.refused.insert(name.clone(), Refused { version, error });
            }
            return;
        }
        // N4: the sidecar's state is unknown; halves find the one at fault.
        let (a, b) = sent.split_at(sent.len() / 2);
        let names = |part: &[(&ResourceName, Version)]| part.iter().map(|(name, _)| (*name).clone()).collect();
        state.retry.extend([a, b].into_iter().filter(|part| !part.is_empty()).map(names));
    }

    fn on_other(&mut self, request: &Request<'_>) -> Result<(), StreamError> {
        if !self.others.contains_key(request.type_url) && self.others.len() >= OTHER_TYPES_MAX {
            return Err(StreamError::TooMany { what: "unknown types", max: OTHER_TYPES_MAX });
        }
        let other = self.others.entry(request.type_url.to_owned()).or_default();
        let is_first = !std::mem::replace(&mut other.requested, true);
        other.owes_empty |= is_first && request.subscribe.is_empty();
        let named = request.subscribe.iter().filter(|name| **name != "*");
        other.gone.extend(named.map(|name| Arc::from(*name)));
        Ok(())
    }
}

/// Responses.
impl DeltaStream {
    fn has_updates(&self, now: Instant, kind: ResourceType) -> bool {
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

    fn may_remove(&self, now: Instant, kind: ResourceType) -> bool {
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

    fn send_updates(&mut self, now: Instant, kind: ResourceType) -> Response {
        let waits = self.waits_for_clusters(now, kind);
        let state = &mut self.types[kind.index()];
        state.owes_empty = false;
        let mut cause = Due::Asked;
        let mut all = Batch::default();
        let mut listed = Vec::new();
        if let Some(names) = state.retry.pop_front() {
            // What is due anyway, or gone, goes its usual way.
            let usual = |name: &ResourceName| state.due.contains(name);
            listed
                .extend(names.iter().filter(|name| !usual(name)).filter_map(|name| self.view.get(kind, name)).cloned());
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
                let Some(resource) = self.view.get(kind, &name) else { continue };
                bytes += resource.entry.len();
                listed.push(resource.clone());
            }
        }
        match kind {
            ResourceType::Cluster => self.owe_endpoints(&all, &listed),
            ResourceType::Route => {
                let tables = all.iter().chain(&listed).filter(|table| is_split(&table.name));
                tables.for_each(|table| self.owe_virtual_hosts(&table.name));
            }
            ResourceType::Endpoint | ResourceType::Listener | ResourceType::VirtualHost => {}
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
    fn owe_virtual_hosts(&mut self, table: &ResourceName) {
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

    fn send_removals(&mut self, now: Instant, kind: ResourceType) -> Response {
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
