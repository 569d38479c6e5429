//! One delta ADS stream as a value: requests, views and the time go in, responses come out.
//!
//! A stream is a position (the view it follows) and the exceptions to it: what is due, what is not
//! answered, what was refused. The letters in comments are items of `docs/xds.md`.

mod response;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::encode::{EncodedResource, Version};
use crate::snapshot::{ResourceName, View};
use crate::subscription::{Subscription, Wildcard};
pub use response::{Push, Response};

/// How long routes wait for the clusters they need, and clusters for the routes that leave them.
const ORDER_GRACE: Duration = Duration::from_secs(5);
/// A response is closed when it has this many bytes.
const RESPONSE_BYTES: usize = 1 << 20;
/// Names a stream may subscribe to, over all types: a mesh of 20,000 services with subsets.
const NAMES_MAX: usize = 100_000;
/// Types that Rutter does not serve and a stream may yet ask for.
const OTHER_TYPES_MAX: usize = 16;
/// The latest pushes that are remembered for people to look at.
const PUSHES_MAX: usize = 16;
/// A refusal's text is kept up to here, in bytes.
const ERROR_BYTES_MAX: usize = 2048;

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
    types: [TypeState; 4],
    others: BTreeMap<String, OtherType>,
    last_nonce: u64,
    pushes: VecDeque<Push>,
}

/// Why something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The sidecar asked; it is never made to wait for another type (S4).
    Asked,
    /// It changed.
    Changed,
}

/// One type on one stream.
#[derive(Debug)]
struct TypeState {
    requested: bool,
    subscription: Subscription,
    due: BTreeMap<ResourceName, Due>,
    gone: BTreeSet<ResourceName>,
    gone_since: Option<Instant>,
    /// An empty response is due (N10).
    owes_empty: bool,
    /// Endpoints of clusters sent before the sidecar asked for them (O3).
    owed: BTreeSet<ResourceName>,
    /// Parts of refused responses, to find the one that is at fault (N4).
    retry: VecDeque<Vec<ResourceName>>,
    outstanding: VecDeque<Outstanding>,
    refused: BTreeMap<ResourceName, Refused>,
    acked: View,
    state_since: Option<Instant>,
}

#[derive(Debug)]
struct Outstanding {
    nonce: u64,
    names: Vec<ResourceName>,
    sent: Instant,
}

/// What the sidecar refused of a resource, and why, in its words; it keeps what it had.
#[derive(Debug)]
struct Refused {
    version: Version,
    error: String,
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
    pub fn on_request(&mut self, now: Instant, request: &DeltaDiscoveryRequest) -> Result<(), StreamError> {
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else {
            return self.on_other(request);
        };
        if let Ok(nonce) = request.response_nonce.parse() {
            let error = request.error_detail.as_ref().map(|detail| truncated(&detail.message));
            self.on_answer(now, (kind, nonce), error);
        }
        let is_first = !std::mem::replace(&mut self.types[kind.index()].requested, true);
        // V5: before the first CDS request Envoy is warming and needs its endpoints whatever it lists.
        let trusts_versions = kind != ResourceType::Endpoint || self.types[ResourceType::Cluster.index()].requested;
        self.subscribe(kind, request, is_first);
        self.unsubscribe(kind, request);
        if is_first {
            self.start(kind, request, trusts_versions);
        }
        let names: usize = self.types.iter().map(|state| state.subscription.names.len()).sum();
        if names > NAMES_MAX {
            return Err(StreamError::TooMany { what: "names", max: NAMES_MAX });
        }
        Ok(())
    }

    /// Follows its scope to a newer view.
    pub fn on_view(&mut self, now: Instant, view: View) {
        let old = std::mem::replace(&mut self.view, view);
        for kind in ResourceType::ALL {
            let state = &mut self.types[kind.index()];
            if !state.requested {
                continue;
            }
            for name in self.view.changed_since(&old, kind) {
                if !state.subscription.wants(&name) {
                    continue;
                }
                match self.view.get(kind, &name) {
                    Some(resource) => state.changed(resource),
                    None => state.vanished(now, &name),
                }
            }
        }
    }

    /// What is to be sent next, if anything. To be called until it says None.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        let other = self.others.iter_mut().find(|(_, other)| other.owes_empty || !other.gone.is_empty());
        if let Some((type_url, other)) = other {
            other.owes_empty = false;
            let removed = std::mem::take(&mut other.gone).into_iter().collect();
            self.last_nonce += 1;
            return Some(Response { type_url: type_url.clone(), nonce: self.last_nonce, resources: vec![], removed });
        }
        let kind = ResourceType::ALL.into_iter().find(|kind| self.has_updates(now, *kind));
        if let Some(kind) = kind {
            return Some(self.send_updates(now, kind));
        }
        // O1: what nobody refers to any more goes last.
        let order = [ResourceType::Listener, ResourceType::Route, ResourceType::Cluster, ResourceType::Endpoint];
        let kind = order.into_iter().find(|kind| self.may_remove(now, *kind))?;
        Some(self.send_removals(now, kind))
    }

    /// When [`Self::next_response`] has something to send though nothing else happens.
    pub fn wake_at(&self) -> Option<Instant> {
        let gone = self.types.iter().filter_map(|state| state.gone_since);
        let waits = self.types.iter().any(|state| !state.due.is_empty());
        let clusters = self.types[ResourceType::Cluster.index()].outstanding.iter().map(|one| one.sent).max();
        gone.chain(clusters.filter(|_| waits)).min().map(|since| since + ORDER_GRACE)
    }
}

impl TypeState {
    fn new(view: View) -> Self {
        Self {
            requested: false,
            subscription: Subscription::default(),
            due: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_since: None,
            owes_empty: false,
            owed: BTreeSet::new(),
            retry: VecDeque::new(),
            outstanding: VecDeque::new(),
            refused: BTreeMap::new(),
            acked: view,
            state_since: None,
        }
    }

    fn changed(&mut self, resource: &EncodedResource) {
        if self.refused.get(&resource.name).is_some_and(|refused| refused.version == resource.version) {
            return;
        }
        self.gone.remove(&resource.name);
        self.due.entry(resource.name.clone()).or_insert(Due::Changed);
    }

    fn vanished(&mut self, now: Instant, name: &ResourceName) {
        self.due.remove(name);
        self.refused.remove(name);
        self.gone.insert(name.clone());
        self.gone_since.get_or_insert(now);
    }

    fn is_settled(&self) -> bool {
        self.due.is_empty() && self.gone.is_empty() && self.outstanding.is_empty() && self.retry.is_empty()
    }
}

/// Requests.
impl DeltaStream {
    fn subscribe(&mut self, kind: ResourceType, request: &DeltaDiscoveryRequest, is_first: bool) {
        let state = &mut self.types[kind.index()];
        if is_first && request.resource_names_subscribe.is_empty() {
            state.subscription.wildcard = Wildcard::Implied;
        }
        if !request.resource_names_subscribe.is_empty() && state.subscription.wildcard == Wildcard::Implied {
            state.subscription.wildcard = Wildcard::Asked;
        }
        for name in &request.resource_names_subscribe {
            if name == "*" {
                let all_new = state.subscription.wildcard == Wildcard::Off && !is_first;
                state.subscription.wildcard = Wildcard::Asked;
                if all_new {
                    state.due.extend(self.view.iter(kind).map(|resource| (resource.name.clone(), Due::Asked)));
                }
                continue;
            }
            let known = self.view.get(kind, name);
            let name = known.map_or_else(|| Arc::from(name.as_str()), |resource| resource.name.clone());
            state.subscription.names.insert(name.clone());
            state.refused.remove(&name);
            match known {
                // W6: what is named is sent, whatever we believe.
                Some(_) => drop(state.due.insert(name, Due::Asked)),
                // W7: what is named and absent is said to be absent.
                None => drop(state.gone.insert(name)),
            }
        }
    }

    fn unsubscribe(&mut self, kind: ResourceType, request: &DeltaDiscoveryRequest) {
        let state = &mut self.types[kind.index()];
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                state.subscription.wildcard = Wildcard::Off;
                let names = &state.subscription.names;
                state.due.retain(|name, _| names.contains(name));
                state.gone.retain(|name| names.contains(name));
                continue;
            }
            let Some(name) = state.subscription.names.take(name.as_str()) else { continue };
            if state.subscription.is_wildcard() {
                // W8: it is still wanted by the wildcard, so its state is told.
                match self.view.get(kind, &name) {
                    Some(_) => drop(state.due.insert(name, Due::Asked)),
                    None => drop(state.gone.insert(name)),
                }
            } else {
                state.due.remove(&name);
                state.gone.remove(&name);
                state.refused.remove(&name);
                state.owed.remove(&name);
            }
        }
    }

    /// The first request of a type: everything wanted is due, but for what the sidecar brought along (N7).
    fn start(&mut self, kind: ResourceType, request: &DeltaDiscoveryRequest, trusts_versions: bool) {
        let state = &mut self.types[kind.index()];
        if state.subscription.is_wildcard() {
            state.due.extend(self.view.iter(kind).map(|resource| (resource.name.clone(), Due::Asked)));
            // N10: otherwise Envoy waits for what will not come.
            state.owes_empty = state.due.is_empty() && request.initial_resource_versions.is_empty();
        }
        for (name, version) in
            request.initial_resource_versions.iter().filter(|(name, _)| state.subscription.wants(name))
        {
            match self.view.get(kind, name) {
                Some(resource) if trusts_versions && resource.version.to_string() == *version => {
                    if !state.owed.contains(&resource.name) {
                        state.due.remove(&resource.name);
                    }
                }
                Some(_) => {}
                None => drop(state.gone.insert(Arc::from(name.as_str()))),
            }
        }
    }

    fn on_answer(&mut self, now: Instant, (kind, nonce): (ResourceType, u64), error: Option<String>) {
        let state = &mut self.types[kind.index()];
        let Some(at) = state.outstanding.iter().position(|one| one.nonce == nonce) else { return };
        let Some(answered) = state.outstanding.remove(at) else { return };
        state.state_since = Some(now);
        if let Some(push) = self.pushes.iter_mut().find(|push| push.nonce == nonce) {
            push.answered = Some(now);
            push.error.clone_from(&error);
        }
        match (error, &answered.names[..]) {
            (None, names) => {
                for name in names {
                    state.refused.remove(name);
                }
            }
            (Some(error), [name]) => {
                // N3: not sent again until its content changes.
                if let Some(resource) = self.view.get(kind, name).filter(|_| !state.due.contains_key(name)) {
                    state.refused.insert(name.clone(), Refused { version: resource.version, error });
                }
            }
            (Some(_), names) => {
                // N4: the sidecar's state is unknown; halves find the one at fault.
                let (a, b) = names.split_at(names.len() / 2);
                state.retry.extend([a, b].into_iter().filter(|part| !part.is_empty()).map(<[_]>::to_vec));
            }
        }
        if state.is_settled() {
            state.acked = self.view.clone();
        }
    }

    fn on_other(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), StreamError> {
        if !self.others.contains_key(&request.type_url) && self.others.len() >= OTHER_TYPES_MAX {
            return Err(StreamError::TooMany { what: "unknown types", max: OTHER_TYPES_MAX });
        }
        let other = self.others.entry(request.type_url.clone()).or_default();
        let is_first = !std::mem::replace(&mut other.requested, true);
        other.owes_empty |= is_first && request.resource_names_subscribe.is_empty();
        let named = request.resource_names_subscribe.iter().filter(|name| *name != "*");
        other.gone.extend(named.map(|name| Arc::from(name.as_str())));
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
        state.due.values().any(|due| *due == Due::Asked || !waits)
    }

    /// Make before break: a changed listener or route table follows the clusters it may need. Endpoints
    /// never wait: Envoy withholds the ACK of clusters until it has them (O6).
    fn waits_for_clusters(&self, now: Instant, kind: ResourceType) -> bool {
        let clusters = &self.types[ResourceType::Cluster.index()];
        let is_late = |one: &Outstanding| now >= one.sent + ORDER_GRACE;
        let warming = clusters.outstanding.iter().any(|one| !one.names.is_empty() && !is_late(one));
        matches!(kind, ResourceType::Listener | ResourceType::Route) && warming
    }

    fn may_remove(&self, now: Instant, kind: ResourceType) -> bool {
        let state = &self.types[kind.index()];
        if state.gone.is_empty() {
            return false;
        }
        let is_idle = |kind: ResourceType| {
            let state = &self.types[kind.index()];
            state.due.is_empty() && state.outstanding.is_empty()
        };
        // O2: a cluster goes when those that used it have answered.
        let asked = state.gone_since.is_none();
        let late = state.gone_since.is_some_and(|since| now >= since + ORDER_GRACE);
        let is_first = matches!(kind, ResourceType::Listener | ResourceType::Route);
        is_first || asked || late || (is_idle(ResourceType::Listener) && is_idle(ResourceType::Route))
    }

    fn send_updates(&mut self, now: Instant, kind: ResourceType) -> Response {
        let waits = self.waits_for_clusters(now, kind);
        let state = &mut self.types[kind.index()];
        state.owes_empty = false;
        let mut resources = Vec::new();
        let mut cause = Due::Asked;
        if let Some(names) = state.retry.pop_front() {
            // What is due anyway, or gone, goes its usual way.
            let usual = |name: &ResourceName| state.due.contains_key(name);
            resources
                .extend(names.iter().filter(|name| !usual(name)).filter_map(|name| self.view.get(kind, name)).cloned());
        } else {
            let mut bytes = 0;
            let ready: Vec<ResourceName> = state
                .due
                .iter()
                .filter(|(_, due)| **due == Due::Asked || !waits)
                .map(|(name, _)| name.clone())
                .collect();
            for name in ready {
                if bytes >= RESPONSE_BYTES {
                    break;
                }
                if state.due.remove(&name) == Some(Due::Changed) {
                    cause = Due::Changed;
                }
                let Some(resource) = self.view.get(kind, &name) else { continue };
                bytes += resource.entry.len();
                resources.push(resource.clone());
            }
        }
        if kind == ResourceType::Endpoint {
            state.owed.retain(|name| !resources.iter().any(|resource| resource.name == *name));
        }
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&resources);
        }
        self.respond(now, (kind, cause), (resources, Vec::new()))
    }

    /// O3: a cluster that was sent is warm only when its endpoints follow, even unchanged ones.
    fn owe_endpoints(&mut self, clusters: &[EncodedResource]) {
        let state = &mut self.types[ResourceType::Endpoint.index()];
        for cluster in clusters {
            let Some(assignment) = self.view.get(ResourceType::Endpoint, &cluster.name) else { continue };
            if state.subscription.wants(&cluster.name) {
                state.due.insert(assignment.name.clone(), Due::Asked);
            } else {
                state.owed.insert(assignment.name.clone());
            }
        }
    }

    fn send_removals(&mut self, now: Instant, kind: ResourceType) -> Response {
        let state = &mut self.types[kind.index()];
        let cause = if state.gone_since.take().is_some() { Due::Changed } else { Due::Asked };
        let removed = std::mem::take(&mut state.gone).into_iter().collect();
        self.respond(now, (kind, cause), (Vec::new(), removed))
    }

    fn respond(
        &mut self,
        now: Instant,
        (kind, cause): (ResourceType, Due),
        (resources, removed): (Vec<EncodedResource>, Vec<ResourceName>),
    ) -> Response {
        self.last_nonce += 1;
        let state = &mut self.types[kind.index()];
        let names = resources.iter().map(|resource| resource.name.clone()).collect();
        state.outstanding.push_back(Outstanding { nonce: self.last_nonce, names, sent: now });
        state.state_since = Some(now);
        let response = Response { type_url: kind.type_url().to_owned(), nonce: self.last_nonce, resources, removed };
        if self.pushes.len() == PUSHES_MAX {
            self.pushes.pop_front();
        }
        let cause = (cause == Due::Changed).then_some(&self.view);
        self.pushes.push_back(Push::new(now, kind, &response, cause));
        response
    }
}

/// What is known of one resource at one sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceState {
    /// The sidecar has it.
    Acked,
    /// Sent, not answered.
    Sent,
    /// To be sent.
    Due,
    /// Refused, for this reason.
    Refused(String),
}

/// What is known of one type at one sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeSync {
    /// The sidecar did not ask.
    NotRequested,
    /// All answered.
    Synced,
    /// Something is due or not answered.
    Stale,
    /// All answered, and these refused: name, version and the reason.
    Refused(Vec<(ResourceName, Version, String)>),
}

/// For people who look.
impl DeltaStream {
    /// The state of a type, and since when it is so.
    pub fn sync(&self, kind: ResourceType) -> (TypeSync, Option<Instant>) {
        let state = &self.types[kind.index()];
        let refused = state.refused.iter().map(|(name, one)| (name.clone(), one.version, one.error.clone()));
        let sync = match () {
            () if !state.requested => TypeSync::NotRequested,
            () if !state.is_settled() => TypeSync::Stale,
            () if !state.refused.is_empty() => TypeSync::Refused(refused.collect()),
            () => TypeSync::Synced,
        };
        (sync, state.state_since)
    }

    /// Whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(TypeState::is_settled)
    }

    /// Every resource of a type that the sidecar was sent or is to be sent: what it has, or what it refused.
    pub fn resources(&self, kind: ResourceType) -> Vec<(EncodedResource, ResourceState)> {
        let state = &self.types[kind.index()];
        if !state.requested {
            return Vec::new();
        }
        let in_flight = |name: &str| state.outstanding.iter().any(|one| one.names.iter().any(|other| **other == *name));
        let of = |resource: &EncodedResource| {
            let name = &resource.name;
            if state.due.contains_key(name) || state.retry.iter().flatten().any(|other| other == name) {
                ResourceState::Due
            } else if in_flight(name) {
                ResourceState::Sent
            } else if let Some(refused) = state.refused.get(name) {
                ResourceState::Refused(refused.error.clone())
            } else {
                ResourceState::Acked
            }
        };
        let wanted = self.view.iter(kind).filter(|resource| state.subscription.wants(&resource.name));
        let mut all: Vec<_> = wanted.map(|resource| (resource.clone(), of(resource))).collect();
        // What it keeps instead of what it refused or has not answered.
        for (resource, status) in &mut all {
            if matches!(status, ResourceState::Due | ResourceState::Sent)
                && let Some(kept) = state.acked.get(kind, &resource.name)
            {
                *resource = kept.clone();
            }
        }
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// The latest pushes, the oldest first.
    pub fn pushes(&self) -> impl Iterator<Item = &Push> {
        self.pushes.iter()
    }
}

fn truncated(text: &str) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
