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
use rutter_core::delta_stream::Limits;
use rutter_core::snapshot::Write;
use rutter_core::{AdsStream, EncodedResource, Response, ScopeSnapshot, Variant, View};

const VARIANTS: [Variant; 2] = [Variant::Delta, Variant::Sotw];
/// Few names, so that what is asked for is often there.
const NAMES: [&str; 6] = ["a", "b", "80", "80/a", "80/b", "*"];
/// Far more than any stream of this size has to say at a time.
const RESPONSES_MAX: usize = 1000;

fn put(kind: ResourceType, name: &str, body: u8) -> Write {
    Write::Put(kind, EncodedResource::new(kind, name.into(), &[body]))
}

fn view(snapshot: &ScopeSnapshot) -> View {
    View { shared: Arc::new(snapshot.clone()), ..View::default() }
}

fn world() -> ScopeSnapshot {
    let all = ResourceType::ALL.into_iter().flat_map(|kind| ["a", "80"].map(|name| put(kind, name, 1)));
    ScopeSnapshot::new(1).apply(all.collect()).unwrap_or_default()
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
        all.push(response);
        assert!(all.len() < RESPONSES_MAX, "it does not come to an end");
    }
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

/// A stream through a sequence of requests, changes, answers and pauses that the bytes say.
pub fn stream(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(variant) = bytes.below(2).map(|number| VARIANTS[number]) else { return };
    let mut snapshot = world();
    let mut stream = AdsStream::new(variant, view(&snapshot), Limits::default());
    let (mut now, mut nonces) = (Instant::now(), BTreeSet::new());
    // What is not answered, and of the state of the world what was asked for last.
    let (mut open, mut asked): (Vec<Response>, BTreeMap<ResourceType, Vec<String>>) = Default::default();
    while let Some(op) = bytes.below(6) {
        let Some(kind) = bytes.below(ResourceType::COUNT).map(|number| ResourceType::ALL[number]) else { break };
        match op {
            0 => {
                let (Some(name), Some(body)) = (bytes.name(), bytes.below(3)) else { break };
                let write = if body == 0 { Write::Remove(kind, name.into()) } else { put(kind, name, body as u8) };
                if let Some(next) = snapshot.apply(vec![write]) {
                    snapshot = next;
                    stream.on_view(now, view(&snapshot));
                }
            }
            1 | 2 => {
                let (Some(more), Some(fewer), Some(held)) = (bytes.names(), bytes.names(), bytes.names()) else {
                    break;
                };
                let request = ask(variant, kind, (more, fewer, held), &mut asked);
                stream.on_request(now, &request).expect("a request that is well-formed and small");
            }
            3 => open.extend(drain(&mut stream, variant, now, &mut nonces)),
            4 if !open.is_empty() => {
                let (Some(at), Some(bad)) = (bytes.below(open.len()), bytes.below(4)) else { break };
                let response = open.remove(at);
                answer(&mut stream, variant, now, (&response, bad == 0, &asked));
            }
            _ => now += Duration::from_secs(1),
        }
    }
    settle(&mut stream, variant, (now, open, nonces, asked));
}

type Open = (Instant, Vec<Response>, BTreeSet<u64>, BTreeMap<ResourceType, Vec<String>>);

/// When everything is answered and time goes on, nothing is left to be said.
fn settle(stream: &mut AdsStream, variant: Variant, (mut now, mut open, mut nonces, asked): Open) {
    for _ in 0..RESPONSES_MAX {
        for response in std::mem::take(&mut open) {
            answer(stream, variant, now, (&response, false, &asked));
        }
        open = drain(stream, variant, now, &mut nonces);
        if open.is_empty() {
            match stream.wake_at() {
                Some(at) if at > now => now = at,
                _ => break,
            }
        }
    }
    assert!(open.is_empty() && stream.is_settled(), "it does not come to rest");
}

type Asked = (Vec<String>, Vec<String>, Vec<String>);

fn ask(
    variant: Variant,
    kind: ResourceType,
    (more, fewer, held): Asked,
    asked: &mut BTreeMap<ResourceType, Vec<String>>,
) -> Vec<u8> {
    let type_url = kind.type_url().to_owned();
    if variant == Variant::Sotw {
        asked.insert(kind, more.clone());
        return DiscoveryRequest { type_url, resource_names: more, ..Default::default() }.encode_to_vec();
    }
    let held = held.into_iter().map(|name| (name, "0000000000000001".to_owned())).collect();
    DeltaDiscoveryRequest {
        type_url,
        resource_names_subscribe: more,
        resource_names_unsubscribe: fewer,
        initial_resource_versions: held,
        ..Default::default()
    }
    .encode_to_vec()
}

fn answer(
    stream: &mut AdsStream,
    variant: Variant,
    now: Instant,
    (response, is_bad, asked): (&Response, bool, &BTreeMap<ResourceType, Vec<String>>),
) {
    let (type_url, response_nonce) = (response.type_url.to_string(), response.nonce.to_string());
    let error_detail = is_bad.then(|| Status { message: "no".into(), ..Default::default() });
    let bytes = match variant {
        Variant::Delta => {
            DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() }.encode_to_vec()
        }
        Variant::Sotw => {
            let kind = ResourceType::from_type_url(&type_url);
            let resource_names = kind.and_then(|kind| asked.get(&kind)).cloned().unwrap_or_default();
            DiscoveryRequest { type_url, response_nonce, error_detail, resource_names, ..Default::default() }
                .encode_to_vec()
        }
    };
    stream.on_request(now, &bytes).expect("an answer");
}
