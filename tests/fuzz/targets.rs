//! What is fuzzed. `cargo fuzz` calls it with what it makes up (CONTRIBUTING.md says how), and a test with the
//! corpus that came of that.
#![allow(dead_code, reason = "each binary has one of them")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use rutter_api::pb::google::rpc::Status;
use rutter_core::ResourceWrite;
use rutter_core::stream::{Limits, ResourceState, ResourceStatus};
use rutter_core::{AdsStream, EncodedResource, Response, Snapshot, Variant, Version, View};

/// What happens, line by line, where `TRACE` is in the environment.
macro_rules! trace {
    ($($word:tt)*) => {
        if std::env::var_os("TRACE").is_some() {
            eprintln!($($word)*);
        }
    };
}

const VARIANTS: [Variant; 2] = [Variant::Delta, Variant::Sotw];
/// Few names, so that what is asked for is often there.
const NAMES: [&str; 6] = ["a", "b", "80", "80/a", "80/b", "*"];
/// Far more than any stream of this size has to say at a time.
const RESPONSES_MAX: usize = 1000;

fn put(resource_type: ResourceType, name: &str, body: u8) -> ResourceWrite {
    ResourceWrite::Put(resource_type, EncodedResource::new(resource_type, name.into(), &[body]))
}

/// The name of a resource that there may be: a virtual host is of a table.
fn named(resource_type: ResourceType, name: &'static str) -> &'static str {
    match (resource_type, name) {
        (ResourceType::VirtualHost, "80/b" | "b") => "80/b",
        (ResourceType::VirtualHost, _) => "80/a",
        (_, "80/a" | "80/b" | "*") => "80",
        (_, name) => name,
    }
}

fn view(snapshot: &Snapshot) -> View {
    View { scope: Arc::new(snapshot.clone()), ..View::default() }
}

fn world() -> Snapshot {
    let all = ResourceType::ALL
        .into_iter()
        .flat_map(|resource_type| ["a", "80"].map(|name| put(resource_type, named(resource_type, name), 1)));
    Snapshot::new(1).apply(all.collect()).unwrap_or_default()
}

/// Everything that is to be sent now; it must come to an end, and be well-formed.
fn drain(stream: &mut AdsStream, variant: Variant, now: Instant, nonces: &mut BTreeSet<u64>) -> Vec<Response> {
    let mut all = Vec::new();
    while let Some(response) = stream.next_response(now) {
        assert!(nonces.insert(response.nonce), "a nonce came twice");
        let bytes: Vec<u8> = response.clone().into_frames().flatten().collect();
        assert_eq!(bytes.len(), response.wire_len());
        let names = match variant {
            Variant::Delta => {
                let decoded = DeltaDiscoveryResponse::decode(&bytes[5..]).expect("a response");
                let gone = decoded.removed_resources;
                decoded.resources.into_iter().map(|one| one.name).chain(gone).collect::<Vec<_>>()
            }
            Variant::Sotw => {
                DiscoveryResponse::decode(&bytes[5..]).expect("a response");
                response.resources.iter().map(|one| one.name.to_string()).collect()
            }
        };
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name came twice: {names:?}");
        trace!("sent {} {} {names:?}", response.nonce, response.type_url);
        all.push(response);
        assert!(all.len() < RESPONSES_MAX, "it does not come to an end");
    }
    assert!(stream.wake_at(now).is_none_or(|at| at > now), "it would be looked at again and again");
    all
}

/// Any bytes as the first request of a stream of either variant, and again as a later one.
pub fn request(data: &[u8]) {
    let now = Instant::now();
    for variant in VARIANTS {
        // Whether that is an error or not: it must not be the end of us.
        let _ = variant.node_of(data);
        let limits = Limits { names_max: 1000, resource_bytes_max: 1 << 20 };
        let mut stream = AdsStream::new(variant, view(&world()), limits);
        let mut nonces = BTreeSet::new();
        for _ in 0..2 {
            if stream.on_request(now, data).is_err() {
                break;
            }
            drain(&mut stream, variant, now, &mut nonces);
        }
    }
}

/// Takes decisions from bytes; nothing more to decide at their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, limit: usize) -> Option<usize> {
        Some(usize::from(self.next()?) % limit)
    }

    fn name(&mut self) -> Option<&'static str> {
        Some(NAMES[self.below(NAMES.len())?])
    }

    fn names(&mut self) -> Option<Vec<String>> {
        (0..self.below(4)?).map(|_| self.name().map(str::to_owned)).collect()
    }
}

/// The client of a stream.
struct Client {
    variant: Variant,
    stream: AdsStream,
    now: Instant,
    nonces: BTreeSet<u64>,
    /// What it has not answered.
    open: Vec<Response>,
    /// Of the state of the world: what it asks for.
    asked: BTreeMap<ResourceType, Vec<String>>,
    /// Of the state of the world: the nonce that it knows of a type.
    last: BTreeMap<ResourceType, u64>,
    /// What it has taken.
    held: BTreeMap<(ResourceType, String), Version>,
}

/// A stream through a sequence of requests, changes, answers and pauses that the bytes say.
pub fn stream(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(variant) = bytes.below(2).map(|number| VARIANTS[number]) else { return };
    let mut snapshot = world();
    let mut client = Client {
        variant,
        stream: AdsStream::new(variant, view(&snapshot), Limits::default()),
        now: Instant::now(),
        nonces: BTreeSet::new(),
        open: Vec::new(),
        asked: BTreeMap::new(),
        last: BTreeMap::new(),
        held: BTreeMap::new(),
    };
    while let Some(op) = bytes.below(6) {
        let Some(resource_type) = bytes.below(ResourceType::COUNT).map(|number| ResourceType::ALL[number]) else {
            break;
        };
        match op {
            0 => {
                let (Some(name), Some(body)) = (bytes.name(), bytes.below(3)) else { break };
                let name = named(resource_type, name);
                trace!("{resource_type} {name} is {body} now");
                let writes = match (resource_type, name, body) {
                    // Virtual hosts go with their table, and come with it or later.
                    (ResourceType::Route, "80", 0) => vec![
                        ResourceWrite::Remove(resource_type, name.into()),
                        ResourceWrite::Remove(ResourceType::VirtualHost, "80/a".into()),
                        ResourceWrite::Remove(ResourceType::VirtualHost, "80/b".into()),
                    ],
                    (_, _, 0) => vec![ResourceWrite::Remove(resource_type, name.into())],
                    (ResourceType::VirtualHost, ..) if snapshot.get(ResourceType::Route, "80").is_none() => Vec::new(),
                    _ => vec![put(resource_type, name, body as u8)],
                };
                if let Some(next) = snapshot.apply(writes) {
                    snapshot = next;
                    client.stream.on_view(client.now, view(&snapshot));
                }
            }
            1 | 2 => {
                let (Some(more), Some(fewer), Some(held)) = (bytes.names(), bytes.names(), bytes.names()) else {
                    break;
                };
                let is_fresh = op == 2 && bytes.below(8) == Some(0);
                client.ask(resource_type, (more, fewer, held), is_fresh);
            }
            3 => client.take(),
            4 if !client.open.is_empty() => {
                let (Some(at), Some(bad)) = (bytes.below(client.open.len()), bytes.below(4)) else { break };
                client.answer(at, bad == 0);
            }
            _ => client.now += Duration::from_secs(1),
        }
    }
    client.settle();
}

impl Client {
    fn request(&mut self, request: &[u8]) {
        self.stream.on_request(self.now, request).expect("a request that is well-formed and small");
    }

    fn take(&mut self) {
        let more = drain(&mut self.stream, self.variant, self.now, &mut self.nonces);
        self.open.extend(more);
    }

    fn ask(&mut self, resource_type: ResourceType, (more, fewer, held): Asked, is_fresh: bool) {
        trace!("{resource_type}: +{more:?} -{fewer:?}, holds {held:?}, fresh {is_fresh}");
        let type_url = resource_type.type_url().to_owned();
        let request = match self.variant {
            Variant::Delta => {
                let held = held.into_iter().map(|name| (name, "0000000000000001".to_owned())).collect();
                let (resource_names_subscribe, resource_names_unsubscribe) = (more, fewer);
                DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe,
                    resource_names_unsubscribe,
                    initial_resource_versions: held,
                    ..Default::default()
                }
                .encode_to_vec()
            }
            Variant::Sotw => {
                let names = self.asked.entry(resource_type).or_default();
                names.retain(|name| !fewer.contains(name));
                names.extend(more);
                names.dedup();
                let nonce = self.last.get(&resource_type).filter(|_| !is_fresh).map(u64::to_string).unwrap_or_default();
                let resource_names = names.clone();
                DiscoveryRequest { type_url, resource_names, response_nonce: nonce, ..Default::default() }
                    .encode_to_vec()
            }
        };
        self.request(&request);
    }

    /// Answers the first response of the type that one is of: clients answer in order.
    fn answer(&mut self, at: usize, is_bad: bool) {
        let of_type = |one: &Response| one.type_url == self.open[at].type_url;
        let Some(at) = self.open.iter().position(of_type) else { return };
        let response = self.open.remove(at);
        trace!("answers {} {} bad {is_bad}", response.nonce, response.type_url);
        let (type_url, response_nonce) = (response.type_url.to_string(), response.nonce.to_string());
        let error_detail = is_bad.then(|| Status { message: "no".into(), ..Default::default() });
        if let Some(resource_type) = ResourceType::from_type_url(&type_url) {
            self.last.insert(resource_type, response.nonce);
            if !is_bad {
                self.hold(resource_type, &response);
            }
        }
        let request = match self.variant {
            Variant::Delta => {
                DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() }.encode_to_vec()
            }
            Variant::Sotw => {
                let resource_type = ResourceType::from_type_url(&type_url);
                let resource_names =
                    resource_type.and_then(|resource_type| self.asked.get(&resource_type)).cloned().unwrap_or_default();
                DiscoveryRequest { type_url, response_nonce, error_detail, resource_names, ..Default::default() }
                    .encode_to_vec()
            }
        };
        self.request(&request);
    }

    fn hold(&mut self, resource_type: ResourceType, response: &Response) {
        if self.variant == Variant::Sotw && matches!(resource_type, ResourceType::Cluster | ResourceType::Listener) {
            self.held.retain(|(other, _), _| *other != resource_type);
        }
        for one in response.resources.iter() {
            self.held.insert((resource_type, one.name.to_string()), one.version);
        }
        for name in &response.removed {
            self.held.remove(&(resource_type, name.to_string()));
        }
    }

    /// When everything is answered and time goes on, nothing is left to be said, and the client has what the
    /// stream says that it has.
    fn settle(mut self) {
        for _ in 0..RESPONSES_MAX {
            while !self.open.is_empty() {
                self.answer(0, false);
            }
            self.take();
            if self.open.is_empty() {
                match self.stream.wake_at(self.now) {
                    Some(at) => self.now = at,
                    None => break,
                }
            }
        }
        assert!(self.open.is_empty() && self.stream.is_settled(), "it does not come to rest");
        for resource_type in ResourceType::ALL {
            for ResourceStatus { resource, state } in self.stream.resources(resource_type) {
                let held = self.held.get(&(resource_type, resource.name.to_string()));
                let is_right = state != ResourceState::Acked || held == Some(&resource.version);
                assert!(
                    is_right,
                    "{resource_type} {}: said to be {}, and the client has {held:?}",
                    resource.name, resource.version
                );
            }
        }
    }
}

type Asked = (Vec<String>, Vec<String>, Vec<String>);
