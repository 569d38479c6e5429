//! The letters are the items of `docs/xds.md` that a test proves.
#![expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use rutter_api::ResourceType::{Cluster, Endpoint, Listener, Route, VirtualHost};
use rutter_api::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use rutter_api::pb::google::rpc::Status;

use super::*;
use crate::snapshot::{ResourceWrite, Snapshot};
use crate::stream::status::{ResourceState, TypeSync};
use crate::stream::wire::SotwRequest;

struct Bench {
    stream: SotwStream,
    snapshot: Snapshot,
    now: Instant,
    names: BTreeMap<ResourceType, Vec<String>>,
}

fn put(resource_type: ResourceType, name: &str, body: &str) -> ResourceWrite {
    ResourceWrite::Put(resource_type, EncodedResource::new(resource_type, name.into(), body.as_bytes()))
}

fn view(snapshot: &Snapshot) -> View {
    View { scope: Arc::new(snapshot.clone()), ..View::default() }
}

impl Bench {
    fn new(resources: &[(ResourceType, &str)]) -> Self {
        let empty = Snapshot::new(1);
        let writes = resources.iter().map(|(resource_type, name)| put(*resource_type, name, "1")).collect();
        let snapshot = empty.apply(writes).unwrap_or(empty);
        Self {
            stream: SotwStream::new(view(&snapshot), Limits::default()),
            snapshot,
            now: Instant::now(),
            names: BTreeMap::new(),
        }
    }

    fn change(&mut self, writes: Vec<ResourceWrite>) {
        if let Some(next) = self.snapshot.apply(writes) {
            self.snapshot = next;
            self.stream.on_view(self.now, view(&self.snapshot));
        }
    }

    fn request(&mut self, resource_type: ResourceType, nonce: &str, error: Option<&str>) {
        let request = DiscoveryRequest {
            type_url: resource_type.type_url().into(),
            resource_names: self.names.get(&resource_type).cloned().unwrap_or_default(),
            response_nonce: nonce.into(),
            error_detail: error.map(|message| Status { message: message.into(), ..Default::default() }),
            ..Default::default()
        };
        let bytes = request.encode_to_vec();
        self.stream.on_request(self.now, &SotwRequest::parse(&bytes).unwrap()).unwrap();
    }

    fn subscribe(&mut self, resource_type: ResourceType, names: &[&str], nonce: &str) {
        self.names.insert(resource_type, names.iter().map(|name| (*name).to_owned()).collect());
        self.request(resource_type, nonce, None);
    }

    fn responses(&mut self) -> Vec<DiscoveryResponse> {
        std::iter::from_fn(|| self.stream.next_response(self.now)).map(|response| decoded(&response)).collect()
    }

    /// Sends and acknowledges until nothing is left.
    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let responses = self.responses();
            if responses.is_empty() {
                return all;
            }
            for response in responses {
                all.push(text(&response));
                let resource_type = ResourceType::from_type_url(&response.type_url).unwrap();
                self.request(resource_type, &response.nonce, None);
            }
        }
    }
}

fn decoded(response: &Response) -> DiscoveryResponse {
    let bytes: Vec<u8> = response.clone().into_frames().flatten().collect();
    assert_eq!(bytes.len(), response.wire_len());
    DiscoveryResponse::decode(&bytes[5..]).unwrap()
}

/// The type, and the bodies: tests name a resource by its body too.
fn text(response: &DiscoveryResponse) -> String {
    let resource_type =
        ResourceType::from_type_url(&response.type_url).map_or("?".into(), |resource_type| resource_type.to_string());
    let bodies = response.resources.iter().map(|any| String::from_utf8_lossy(&any.value).into_owned());
    let missing =
        response.resource_errors.iter().map(|error| format!("!{}", error.resource_name.as_ref().unwrap().name));
    std::iter::once(resource_type).chain(bodies).chain(missing).collect::<Vec<_>>().join(" ")
}

#[test]
fn q1_of_clusters_and_listeners_all_is_sent_and_of_others_what_changed() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b"), (Endpoint, "a"), (Endpoint, "b")]);
    bench.subscribe(Cluster, &[], "");
    bench.subscribe(Endpoint, &["a", "b"], "");
    assert_eq!(bench.settle(), ["cluster 1 1", "endpoint 1 1"]);
    bench.change(vec![put(Endpoint, "b", "2")]);
    assert_eq!(bench.settle(), ["endpoint 2"]);
    bench.change(vec![put(Cluster, "b", "2")]);
    // O3: its endpoints follow.
    assert_eq!(bench.settle(), ["cluster 1 2", "endpoint 2"]);
    bench.change(vec![ResourceWrite::Remove(Endpoint, "a".into())]);
    assert_eq!(bench.settle(), [""; 0]);
}

#[test]
fn q2_an_empty_list_after_names_is_none_and_not_all() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &["a"], "");
    assert_eq!(bench.settle(), ["cluster 1"]);
    bench.subscribe(Cluster, &[], "1");
    bench.change(vec![put(Cluster, "a", "2"), put(Cluster, "b", "2")]);
    assert_eq!(bench.settle(), [""; 0]);
}

#[test]
fn q3_late_requests_are_passed_over_and_without_a_nonce_all_begins_anew() {
    let mut bench = Bench::new(&[(Endpoint, "a"), (Endpoint, "b")]);
    bench.subscribe(Endpoint, &["a"], "");
    assert_eq!(bench.settle(), ["endpoint 1"]);
    bench.subscribe(Endpoint, &["a", "b"], "77");
    assert_eq!(bench.settle(), [""; 0]);
    bench.subscribe(Endpoint, &["b"], "");
    assert_eq!(bench.settle(), ["endpoint 1"]);
}

#[test]
fn q5_q7_new_names_bring_everything_and_what_is_not_there_is_said() {
    let mut bench = Bench::new(&[(Listener, "a"), (Listener, "b"), (Route, "r")]);
    bench.subscribe(Listener, &["a"], "");
    bench.subscribe(Route, &["r", "none"], "");
    assert_eq!(bench.settle(), ["listener 1", "route 1"]);
    bench.subscribe(Listener, &["a", "b", "c"], "1");
    assert_eq!(bench.settle(), ["listener 1 1 !c"]);
    bench.change(vec![put(Listener, "c", "3"), put(Route, "none", "3")]);
    assert_eq!(bench.settle(), ["listener 1 1 3", "route 3"]);
}

#[test]
fn o7_who_asks_for_the_endpoints_of_what_is_gone_is_told_that_there_are_none() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Endpoint, "a")]);
    bench.subscribe(Endpoint, &["a", "gone"], "");
    let sent = bench.responses();
    let none = encode_empty_assignment("gone").body();
    assert_eq!(sent[0].resources.iter().map(|any| &any.value[..]).collect::<Vec<_>>(), [&b"1"[..], &none[..]]);
}

#[test]
fn n10_who_asks_for_all_of_nothing_is_told_so() {
    let mut bench = Bench::new(&[]);
    bench.subscribe(Cluster, &[], "");
    bench.subscribe(Route, &["r"], "");
    assert_eq!(bench.settle(), ["cluster"]);
}

#[test]
fn n3_what_is_refused_stays_as_it_was_until_it_changes() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &[], "");
    bench.settle();
    bench.change(vec![put(Cluster, "b", "bad")]);
    let sent = bench.responses();
    assert_eq!(text(&sent[0]), "cluster 1 bad");
    bench.request(Cluster, &sent[0].nonce, Some("no"));
    assert_eq!(bench.settle(), [""; 0]);
    assert!(matches!(bench.stream.sync(Cluster).sync, TypeSync::Refused(refused) if refused[0].error == "no"));
    bench.change(vec![put(Cluster, "a", "2")]);
    assert_eq!(bench.settle(), ["cluster 2 1"]);
    bench.change(vec![put(Cluster, "b", "3")]);
    assert_eq!(bench.settle(), ["cluster 2 3"]);
    assert_eq!(bench.stream.sync(Cluster).sync, TypeSync::Synced);
}

/// Answers everything; what has a body that begins with `bad` is refused.
fn refuse_bad(bench: &mut Bench) -> Vec<String> {
    let mut log = Vec::new();
    loop {
        let responses = bench.responses();
        if responses.is_empty() {
            return log;
        }
        for response in responses {
            log.push(text(&response));
            let has_bad = response.resources.iter().any(|any| any.value.starts_with(b"bad"));
            let resource_type = ResourceType::from_type_url(&response.type_url).unwrap();
            bench.request(resource_type, &response.nonce, has_bad.then_some("it is bad"));
        }
    }
}

#[test]
fn n4_a_mixed_refusal_is_halved_until_the_one_at_fault_stands_alone() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b"), (Cluster, "c"), (Cluster, "d")]);
    bench.subscribe(Cluster, &[], "");
    bench.settle();
    let bodies = [("a", "a2"), ("b", "b2"), ("c", "bad"), ("d", "d2")];
    bench.change(bodies.iter().map(|(name, body)| put(Cluster, name, body)).collect());
    let log = refuse_bad(&mut bench);
    assert_eq!(
        log,
        [
            "cluster a2 b2 bad d2",
            "cluster a2 b2 1 1",
            "cluster a2 b2 bad d2",
            "cluster a2 b2 bad 1",
            "cluster a2 b2 1 d2"
        ]
    );
    assert!(
        matches!(bench.stream.sync(Cluster).sync, TypeSync::Refused(refused) if &*refused[0].name == "c" && refused.len() == 1)
    );
    // What goes while it waits for its turn is gone.
    bench.change(vec![put(Cluster, "a", "bad3"), put(Cluster, "b", "b3"), put(Cluster, "c", "c3")]);
    let sent = bench.responses();
    bench.request(Cluster, &sent[0].nonce, Some("it is bad"));
    bench.change(vec![ResourceWrite::Remove(Cluster, "b".into())]);
    refuse_bad(&mut bench);
    let refused = bench.stream.resources(Cluster);
    let states: Vec<_> = refused.iter().map(|status| (&*status.resource.name, status.state.clone())).collect();
    let bad = ResourceState::Refused("it is bad".into());
    assert_eq!(states, [("a", bad), ("c", ResourceState::Acked), ("d", ResourceState::Acked)]);
}

#[test]
fn n4_of_other_types_too_the_good_ones_arrive() {
    let mut bench = Bench::new(&[(Route, "a"), (Route, "b"), (Route, "c")]);
    bench.subscribe(Route, &["a", "b", "c"], "");
    bench.settle();
    bench.change(vec![put(Route, "a", "bad"), put(Route, "b", "b2"), put(Route, "c", "c2")]);
    assert_eq!(refuse_bad(&mut bench), ["route bad b2 c2", "route bad b2", "route c2", "route bad", "route b2"]);
    assert!(matches!(bench.stream.sync(Route).sync, TypeSync::Refused(refused) if refused.len() == 1));
    bench.change(vec![put(Route, "a", "a3")]);
    assert_eq!(refuse_bad(&mut bench), ["route a3"]);
    assert_eq!(bench.stream.sync(Route).sync, TypeSync::Synced);
}

#[test]
fn f2_what_is_too_large_for_the_client_is_said_to_be_and_the_rest_is_sent() {
    let mut bench = Bench::new(&[(Listener, "l"), (Route, "r")]);
    let limits = Limits { resource_bytes_max: 200, ..Limits::default() };
    bench.change(vec![put(Listener, "large", &"x".repeat(300)), put(Route, "large", &"x".repeat(300))]);
    bench.stream = SotwStream::new(view(&bench.snapshot), limits);
    bench.subscribe(Listener, &["l", "large"], "");
    bench.subscribe(Route, &["r", "large"], "");
    let sent = bench.responses();
    assert_eq!(sent.iter().map(text).collect::<Vec<_>>(), ["listener 1 !large", "route 1 !large"]);
    let error = sent[0].resource_errors[0].error_detail.as_ref().unwrap();
    assert!(error.message.starts_with("large has ") && error.code == 8, "{error:?}");
}

#[test]
fn virtual_hosts_are_not_served_so_and_nobody_waits_for_them() {
    let mut bench = Bench::new(&[(VirtualHost, "80/a")]);
    bench.subscribe(VirtualHost, &["80/a"], "");
    let sent = bench.responses();
    assert!(sent.len() == 1 && sent[0].resources.is_empty() && bench.stream.is_settled());
}

#[test]
fn o1_o2_clusters_come_before_and_go_after_the_routes_that_use_them() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Route, "r")]);
    bench.subscribe(Cluster, &[], "");
    bench.subscribe(Route, &["r"], "");
    bench.settle();
    bench.change(vec![put(Cluster, "b", "new"), ResourceWrite::Remove(Cluster, "a".into()), put(Route, "r", "2")]);
    let first = bench.responses();
    assert_eq!(first.iter().map(text).collect::<Vec<_>>(), ["cluster 1 new"]);
    bench.request(Cluster, &first[0].nonce, None);
    assert_eq!(bench.settle(), ["route 2", "cluster new"]);
    assert!(bench.stream.is_settled());
}

#[test]
fn s3_unknown_types_are_empty_and_answered_once() {
    let mut bench = Bench::new(&[]);
    let ask = |nonce: &str| DiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".into(),
        resource_names: vec!["x".into()],
        response_nonce: nonce.into(),
        ..Default::default()
    };
    for (nonce, answers) in [("", 1), ("1", 0)] {
        let bytes = ask(nonce).encode_to_vec();
        bench.stream.on_request(bench.now, &SotwRequest::parse(&bytes).unwrap()).unwrap();
        assert_eq!(bench.responses().len(), answers);
    }
}

#[test]
fn n4_of_endpoints_too_each_answer_counts_though_several_are_open() {
    let names = ["a", "b", "c", "d"];
    let mut bench = Bench::new(&names.map(|name| (Endpoint, name)));
    bench.subscribe(Endpoint, &names, "");
    bench.settle();
    let bodies = ["a2", "bad", "c2", "d2"];
    bench.change(names.iter().zip(bodies).map(|(name, body)| put(Endpoint, name, body)).collect());
    refuse_bad(&mut bench);
    assert!(
        matches!(bench.stream.sync(Endpoint).sync, TypeSync::Refused(refused) if refused.len() == 1 && &*refused[0].name == "b")
    );
    // Two open at once, and the first is refused: its answer is no less an answer.
    bench.change(vec![put(Endpoint, "a", "bad3")]);
    let first = bench.responses();
    bench.change(vec![put(Endpoint, "c", "c3")]);
    let second = bench.responses();
    bench.request(Endpoint, &first[0].nonce, Some("it is bad"));
    bench.request(Endpoint, &second[0].nonce, None);
    let refused: Vec<_> = bench.stream.refusals(Endpoint).map(|refusal| refusal.name.to_string()).collect();
    assert_eq!(refused, ["a", "b"]);
}

#[test]
fn n4_blame_is_laid_by_what_was_sent_and_not_by_what_is_left_of_it() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &[], "");
    bench.settle();
    bench.change(vec![put(Cluster, "a", "bad"), put(Cluster, "b", "b2")]);
    let sent = bench.responses();
    // The one at fault is mended before the refusal comes.
    bench.change(vec![put(Cluster, "a", "a3")]);
    bench.request(Cluster, &sent[0].nonce, Some("it is bad"));
    assert_eq!(bench.stream.refusals(Cluster).count(), 0);
    refuse_bad(&mut bench);
    let held: Vec<_> =
        bench.stream.resources(Cluster).into_iter().map(|status| (status.resource.body(), status.state)).collect();
    assert_eq!(held, [(&b"a3"[..]).into(), (&b"b2"[..]).into()].map(|body| (body, ResourceState::Acked)));
}

#[test]
fn n4_a_listener_that_is_gone_is_missing_again_after_a_refusal() {
    let mut bench = Bench::new(&[(Listener, "a"), (Listener, "z")]);
    bench.subscribe(Listener, &[], "");
    bench.settle();
    bench.change(vec![put(Listener, "a", "bad"), ResourceWrite::Remove(Listener, "z".into())]);
    assert_eq!(refuse_bad(&mut bench), ["listener bad", "listener 1"]);
    assert!(bench.stream.is_settled());
}

#[test]
fn f2_what_fits_one_by_one_is_sent_one_by_one() {
    let mut bench = Bench::new(&[(Route, "a"), (Route, "b")]);
    bench.change(vec![put(Route, "a", &"x".repeat(150)), put(Route, "b", &"y".repeat(150))]);
    let limits = Limits { resource_bytes_max: 300, ..Limits::default() };
    bench.stream = SotwStream::new(view(&bench.snapshot), limits);
    bench.subscribe(Route, &["a", "b"], "");
    let counts: Vec<usize> = {
        let mut counts = Vec::new();
        loop {
            let sent = bench.responses();
            if sent.is_empty() {
                break counts;
            }
            counts.extend(sent.iter().map(|one| one.resources.len()));
            sent.iter().for_each(|one| bench.request(Route, &one.nonce, None));
        }
    };
    assert_eq!(counts, [1, 1]);
}

#[test]
fn nobody_is_woken_for_what_is_over() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Route, "r")]);
    bench.subscribe(Cluster, &[], "");
    bench.subscribe(Route, &["r"], "");
    bench.settle();
    // Clusters are never answered, and routes are not either.
    bench.change(vec![put(Cluster, "a", "2"), put(Route, "r", "2")]);
    bench.responses();
    for _ in 0..4 {
        bench.now += ORDER_GRACE;
        bench.change(vec![put(Route, "r", &format!("{:?}", bench.now))]);
        bench.responses();
        assert!(bench.stream.wake_at(bench.now).is_none_or(|at| at > bench.now));
    }
}
