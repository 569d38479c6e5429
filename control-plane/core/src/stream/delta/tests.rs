//! The letters are the items of `docs/xds.md` that a test proves.
#![expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]

use std::sync::Arc;

use prost::Message;
use rutter_api::ResourceType::{Cluster, Endpoint, Listener, Route, Secret, VirtualHost};
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use rutter_api::pb::google::rpc::Status;

use super::*;
use crate::resource::Version;
use crate::snapshot::{ResourceWrite, Snapshot};
use crate::stream::limits::{RESPONSE_BYTES, StreamError};
use crate::stream::status::{Refusal, ResourceState, TypeSync};
use crate::stream::wire::DeltaRequest;

/// A stream, the scope it follows and a clock.
struct Bench {
    stream: DeltaStream,
    snapshot: Snapshot,
    now: Instant,
}

fn resource(resource_type: ResourceType, name: &str, body: &str) -> EncodedResource {
    EncodedResource::new(resource_type, name.into(), body.as_bytes())
}

fn view(snapshot: &Snapshot) -> View {
    View { scope: Arc::new(snapshot.clone()), ..View::default() }
}

impl Bench {
    fn new(resources: &[(ResourceType, &str)]) -> Self {
        let writes = resources
            .iter()
            .map(|(resource_type, name)| ResourceWrite::Put(*resource_type, resource(*resource_type, name, "1")))
            .collect();
        let empty = Snapshot::new(1);
        let snapshot = empty.apply(writes).unwrap_or(empty);
        Self { stream: DeltaStream::new(view(&snapshot), Limits::default()), snapshot, now: Instant::now() }
    }

    fn change(&mut self, writes: Vec<ResourceWrite>) {
        if let Some(next) = self.snapshot.apply(writes) {
            self.snapshot = next;
            self.stream.on_view(self.now, view(&self.snapshot));
        }
    }

    fn put(&mut self, resource_type: ResourceType, name: &str, body: &str) {
        self.change(vec![ResourceWrite::Put(resource_type, resource(resource_type, name, body))]);
    }

    fn remove(&mut self, resource_type: ResourceType, name: &str) {
        self.change(vec![ResourceWrite::Remove(resource_type, name.into())]);
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) {
        self.try_request(&request).unwrap();
    }

    fn try_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), StreamError> {
        self.stream.on_request(self.now, &DeltaRequest::parse(&request.encode_to_vec()).unwrap())
    }

    fn subscribe(&mut self, resource_type: ResourceType, names: &[&str]) {
        self.request(asks(resource_type, names));
    }

    /// Everything that is to be sent, as `CDS +a -b`.
    fn sent(&mut self) -> Vec<String> {
        self.responses().iter().map(text).collect()
    }

    fn responses(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.stream.next_response(self.now)).collect()
    }

    fn answer(&mut self, response: &Response, error: Option<&str>) {
        let error_detail = error.map(|message| Status { message: message.into(), ..Default::default() });
        let (type_url, response_nonce) = (response.type_url.clone().into(), response.nonce.to_string());
        self.request(DeltaDiscoveryRequest { type_url, response_nonce, error_detail, ..Default::default() });
    }

    /// Sends and acknowledges until nothing is left.
    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let responses = self.responses();
            if responses.is_empty() {
                return all;
            }
            all.extend(responses.iter().map(text));
            responses.iter().for_each(|response| self.answer(response, None));
        }
    }
}

fn asks(resource_type: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    DeltaDiscoveryRequest {
        type_url: resource_type.type_url().into(),
        resource_names_subscribe: names,
        ..Default::default()
    }
}

fn leaves(resource_type: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    DeltaDiscoveryRequest {
        type_url: resource_type.type_url().into(),
        resource_names_unsubscribe: names,
        ..Default::default()
    }
}

fn brings(mut request: DeltaDiscoveryRequest, versions: &[(&str, Version)]) -> DeltaDiscoveryRequest {
    request.initial_resource_versions =
        versions.iter().map(|(name, version)| ((*name).to_owned(), version.to_string())).collect();
    request
}

fn text(response: &Response) -> String {
    let resource_type = ResourceType::from_type_url(&response.type_url);
    let mut text = resource_type.map_or(response.type_url.to_string(), |resource_type| resource_type.to_string());
    response.resources.iter().for_each(|resource| text.push_str(&format!(" +{}", resource.name)));
    response.removed.iter().for_each(|name| text.push_str(&format!(" -{name}")));
    text
}

fn version(body: &str) -> Version {
    resource(Cluster, "", body).version
}

#[test]
fn s3_an_unknown_type_is_answered_and_harms_nobody() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    let runtime = |names: &[&str]| DeltaDiscoveryRequest { type_url: "x/Runtime".into(), ..asks(Cluster, names) };
    bench.request(runtime(&["rtds"]));
    bench.subscribe(Cluster, &[]);
    assert_eq!(bench.sent(), ["x/Runtime -rtds", "cluster +a"]);
    // O10: said not to exist, a filter would fail every request. RTDS: an Envoy waits for its layer.
    let other = |type_url: &str, names: &[&str]| DeltaDiscoveryRequest {
        type_url: format!("type.googleapis.com/{type_url}"),
        ..asks(Cluster, names)
    };
    bench.request(other("envoy.config.core.v3.TypedExtensionConfig", &["filter"]));
    assert_eq!(bench.sent(), [""; 0]);
    bench.request(other("envoy.service.runtime.v3.Runtime", &["layer"]));
    let sent = bench.responses();
    assert_eq!(text(&sent[0]), "type.googleapis.com/envoy.service.runtime.v3.Runtime +layer");
    let body = sent[0].resources.iter().next().unwrap().body();
    assert_eq!(&body[..], b"\x0a\x05layer");
    let known = 3;
    for number in known..=crate::stream::unserved_types::UNSERVED_TYPES_MAX {
        let request = DeltaDiscoveryRequest { type_url: format!("x/{number}"), ..Default::default() };
        let result = bench.try_request(&request);
        assert_eq!(result.is_err(), number == crate::stream::unserved_types::UNSERVED_TYPES_MAX);
    }
}

#[test]
fn s4_types_are_answered_in_any_order() {
    let mut bench = Bench::new(&[(Cluster, "c"), (Endpoint, "c"), (Listener, "l"), (Route, "r")]);
    bench.subscribe(Endpoint, &["c"]);
    assert_eq!(bench.sent(), ["endpoint +c"]);
    bench.subscribe(Route, &["r"]);
    bench.subscribe(Listener, &[]);
    assert_eq!(bench.sent(), ["listener +l", "route +r"]);
}

#[test]
fn w1_an_empty_first_request_is_the_wildcard() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &[]);
    assert_eq!(bench.settle(), ["cluster +a +b"]);
    bench.put(Cluster, "c", "1");
    assert_eq!(bench.settle(), ["cluster +c"]);
}

#[test]
fn w2_a_name_ends_the_implied_form_and_keeps_the_wildcard() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.subscribe(Cluster, &[]);
    bench.settle();
    bench.subscribe(Cluster, &["x"]);
    bench.put(Cluster, "b", "1");
    assert_eq!(bench.settle(), ["cluster +b", "cluster -x"]);
    bench.request(leaves(Cluster, &["*"]));
    bench.put(Cluster, "c", "1");
    bench.put(Cluster, "x", "1");
    assert_eq!(bench.settle(), ["cluster +x"]);
}

#[test]
fn w3_a_later_empty_request_is_no_wildcard() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &["a"]);
    bench.settle();
    bench.subscribe(Cluster, &[]);
    assert!(bench.settle().is_empty());
}

#[test]
fn w4_wildcard_and_names_come_together() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.subscribe(Cluster, &["*", "nope", "a"]);
    assert_eq!(bench.settle(), ["cluster +a", "cluster -nope"]);
    bench.put(Cluster, "nope", "1");
    assert_eq!(bench.settle(), ["cluster +nope"]);
}

#[test]
fn w6_what_is_named_again_is_sent_again() {
    let mut bench = Bench::new(&[(Route, "a")]);
    bench.subscribe(Route, &["a"]);
    bench.settle();
    bench.subscribe(Route, &["a"]);
    assert_eq!(bench.settle(), ["route +a"]);
}

#[test]
fn w7_what_is_absent_is_said_to_be_and_comes_later() {
    let mut bench = Bench::new(&[]);
    bench.subscribe(Route, &["a"]);
    assert_eq!(bench.settle(), ["route -a"]);
    bench.put(Route, "a", "1");
    assert_eq!(bench.settle(), ["route +a"]);
}

#[test]
fn d2_a_virtual_host_that_was_asked_for_and_is_not_there_comes_without_content() {
    let mut bench = Bench::new(&[(Route, "80"), (VirtualHost, "80/a")]);
    bench.subscribe(Route, &["80"]);
    bench.subscribe(VirtualHost, &[]);
    assert_eq!(bench.settle(), ["route +80", "virtualhost +80/a"]);
    bench.subscribe(VirtualHost, &["80/none", "80/a"]);
    let sent = bench.responses();
    assert_eq!(text(&sent[0]), "virtualhost +80/a +80/none");
    let miss = sent[0].resources.iter().find(|one| &*one.name == "80/none").unwrap();
    let decoded = DeltaDiscoveryResponse::decode(&miss.entry[..]).unwrap().resources.remove(0);
    assert_eq!((decoded.resource, &decoded.aliases[..]), (None, &["80/none".to_owned()][..]));
    bench.answer(&sent[0], None);
    // D1, W7: it comes when it is there, and is said to be gone when it goes.
    bench.put(VirtualHost, "80/none", "1");
    bench.remove(VirtualHost, "80/none");
    bench.put(VirtualHost, "80/none", "2");
    assert_eq!(bench.settle(), ["virtualhost +80/none"]);
    bench.remove(VirtualHost, "80/none");
    assert_eq!(bench.settle(), ["virtualhost -80/none"]);
}

#[test]
fn v6_a_virtual_host_that_changes_while_it_and_its_table_are_due_is_sent_as_it_is() {
    let mut bench = Bench::new(&[(Route, "80"), (VirtualHost, "80/a")]);
    bench.subscribe(Route, &["80"]);
    bench.settle();
    bench.subscribe(VirtualHost, &[]);
    bench.put(Route, "80", "2");
    bench.put(VirtualHost, "80/a", "2");
    let sent = bench.responses();
    let latest = sent.iter().flat_map(|response| response.resources.iter()).filter(|one| &*one.name == "80/a").last();
    assert_eq!(latest.unwrap().version, version("2"));
}

#[test]
fn w4_n7_a_virtual_host_that_the_sidecar_holds_and_is_gone_is_said_to_be() {
    let mut bench = Bench::new(&[(Route, "80")]);
    bench.subscribe(Route, &["80"]);
    let request = asks(VirtualHost, &["*", "80/gone", "80/never"]);
    bench.request(brings(request, &[("80/gone", version("1"))]));
    assert_eq!(bench.settle(), ["route +80", "virtualhost +80/never -80/gone -80/none"]);
}

#[test]
fn secrets_run_through_the_same_engine() {
    let mut bench = Bench::new(&[(Cluster, "c"), (Secret, "default")]);
    bench.subscribe(Secret, &["default", "ROOTCA"]);
    assert_eq!(bench.settle(), ["secret +default", "secret -ROOTCA"]);
    bench.put(Secret, "ROOTCA", "1");
    bench.put(Secret, "other", "1");
    assert_eq!(bench.settle(), ["secret +ROOTCA"]);
    bench.put(Secret, "default", "bad");
    let refused = bench.responses().remove(0);
    bench.answer(&refused, Some("no"));
    assert!(matches!(bench.stream.sync(Secret).sync, TypeSync::Refused(_)) && bench.sent().is_empty());
    bench.put(Secret, "default", "3");
    assert_eq!(bench.settle(), ["secret +default"]);
}

#[test]
fn w8_unsubscribing_says_nothing_unless_the_wildcard_still_wants_it() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Route, "r")]);
    bench.subscribe(Route, &["r"]);
    bench.subscribe(Cluster, &["*", "a", "x"]);
    bench.settle();
    bench.request(leaves(Route, &["r", "never"]));
    assert!(bench.settle().is_empty());
    bench.put(Route, "r", "2");
    assert!(bench.settle().is_empty());
    bench.request(leaves(Cluster, &["a", "x"]));
    assert_eq!(bench.settle(), ["cluster +a", "cluster -x"]);
}

#[test]
fn w9_subscribing_and_leaving_at_once_means_nothing_is_wanted() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    let mut request = asks(Cluster, &["*"]);
    request.resource_names_unsubscribe = vec!["*".into()];
    bench.request(request);
    bench.put(Cluster, "b", "1");
    assert!(bench.settle().is_empty());
}

#[test]
fn w10_a_subscription_counts_even_with_a_stale_nonce() {
    let mut bench = Bench::new(&[(Route, "a"), (Route, "b")]);
    bench.subscribe(Route, &["a"]);
    bench.settle();
    bench.request(DeltaDiscoveryRequest { response_nonce: "77".into(), ..asks(Route, &["b"]) });
    assert_eq!(bench.settle(), ["route +b"]);
}

#[test]
fn w12_names_are_bounded() {
    let mut bench = Bench::new(&[]);
    let names: Vec<String> = (0..=Limits::NAMES_MAX).map(|number| format!("n{number}")).collect();
    let request = DeltaDiscoveryRequest { resource_names_subscribe: names, ..asks(Endpoint, &[]) };
    let error = bench.try_request(&request).unwrap_err();
    assert_eq!(error.to_string(), "want at most 100000 names on one stream, got more");
}

#[test]
fn n1_n2_nonces_are_unique_and_several_may_be_open() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.subscribe(Cluster, &[]);
    let first = bench.responses().remove(0);
    bench.put(Cluster, "a", "2");
    let second = bench.responses().remove(0);
    assert_ne!(first.nonce, second.nonce);
    bench.answer(&second, None);
    assert_eq!(bench.stream.sync(Cluster).sync, TypeSync::Stale);
    bench.answer(&first, None);
    assert_eq!(bench.stream.sync(Cluster).sync, TypeSync::Synced);
}

#[test]
fn n3_a_refused_version_is_not_sent_again_and_the_next_is() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b")]);
    bench.subscribe(Cluster, &[]);
    bench.settle();
    bench.put(Cluster, "a", "bad");
    let refused = bench.responses().remove(0);
    bench.answer(&refused, Some("no"));
    assert!(bench.sent().is_empty());
    bench.put(Cluster, "b", "2");
    assert_eq!(bench.settle(), ["cluster +b"]);
    let expected = TypeSync::Refused(vec![Refusal {
        resource_type: Cluster,
        name: "a".into(),
        version: version("bad"),
        error: "no".into(),
    }]);
    assert_eq!(bench.stream.sync(Cluster).sync, expected);
    bench.put(Cluster, "a", "good");
    assert_eq!(bench.settle(), ["cluster +a"]);
    assert_eq!(bench.stream.sync(Cluster).sync, TypeSync::Synced);
}

#[test]
fn n4_a_mixed_refusal_is_halved_until_the_one_at_fault_stands_alone() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b"), (Cluster, "c"), (Cluster, "d")]);
    bench.subscribe(Cluster, &[]);
    let mut log = Vec::new();
    loop {
        let responses = bench.responses();
        if responses.is_empty() {
            break;
        }
        for response in responses {
            log.push(text(&response));
            let has_bad = response.resources.iter().any(|resource| &*resource.name == "c");
            bench.answer(&response, has_bad.then_some("c is bad"));
        }
    }
    assert_eq!(log, ["cluster +a +b +c +d", "cluster +a +b", "cluster +c +d", "cluster +c", "cluster +d"]);
    let states: Vec<_> = bench.stream.resources(Cluster).into_iter().map(|status| status.state).collect();
    let bad = ResourceState::Refused("c is bad".into());
    assert_eq!(states, [ResourceState::Acked, ResourceState::Acked, bad, ResourceState::Acked]);
}

#[test]
fn n7_a_reconnect_costs_the_difference() {
    let mut bench = Bench::new(&[(Cluster, "same"), (Cluster, "new")]);
    bench.put(Cluster, "other", "2");
    let held = [("same", version("1")), ("other", version("1")), ("gone", version("1"))];
    bench.request(brings(asks(Cluster, &[]), &held));
    assert_eq!(bench.settle(), ["cluster +new +other", "cluster -gone"]);
    let held = [("same", version("1")), ("unwanted", version("1"))];
    let mut bench = Bench::new(&[(Route, "same")]);
    bench.request(brings(asks(Route, &["same"]), &held));
    assert!(bench.settle().is_empty());
}

#[test]
fn n9_a_response_never_holds_a_name_twice() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.subscribe(Cluster, &["*", "a", "a"]);
    bench.put(Cluster, "a", "2");
    bench.put(Cluster, "a", "3");
    assert_eq!(bench.settle(), ["cluster +a"]);
}

#[test]
fn n10_no_change_no_send_but_an_empty_world_is_told() {
    let mut bench = Bench::new(&[]);
    bench.subscribe(Listener, &[]);
    assert_eq!(bench.settle(), ["listener"]);
    assert!(bench.settle().is_empty());
    let mut bench = Bench::new(&[(Listener, "a")]);
    bench.request(brings(asks(Listener, &[]), &[("a", version("1"))]));
    assert!(bench.settle().is_empty());
    bench.put(Listener, "a", "1");
    assert!(bench.settle().is_empty());
}

#[test]
fn o1_o2_what_is_needed_goes_first_and_what_is_left_goes_last() {
    let mut bench = Bench::new(&[(Cluster, "old"), (Endpoint, "old"), (Listener, "l"), (Route, "r")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Endpoint, &["old"]);
    bench.subscribe(Listener, &[]);
    bench.subscribe(Route, &["r"]);
    bench.settle();
    bench.change(vec![
        ResourceWrite::Put(Route, resource(Route, "r", "2")),
        ResourceWrite::Put(Cluster, resource(Cluster, "new", "1")),
        ResourceWrite::Put(Endpoint, resource(Endpoint, "new", "1")),
        ResourceWrite::Remove(Cluster, "old".into()),
        ResourceWrite::Remove(Endpoint, "old".into()),
    ]);
    let clusters = bench.responses();
    assert_eq!(clusters.iter().map(text).collect::<Vec<_>>(), ["cluster +new"]);
    bench.subscribe(Endpoint, &["new"]);
    let endpoints = bench.responses();
    assert_eq!(endpoints.iter().map(text).collect::<Vec<_>>(), ["endpoint +new"]);
    bench.answer(&clusters[0], None);
    let routes = bench.responses();
    assert_eq!(routes.iter().map(text).collect::<Vec<_>>(), ["route +r"]);
    bench.answer(&routes[0], None);
    assert_eq!(bench.sent(), ["cluster -old", "endpoint -old"]);
}

#[test]
fn o2_a_route_that_is_never_acknowledged_does_not_hold_removals_for_ever() {
    let mut bench = Bench::new(&[(Cluster, "old"), (Route, "r")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Route, &["r"]);
    bench.settle();
    bench.change(vec![
        ResourceWrite::Put(Route, resource(Route, "r", "2")),
        ResourceWrite::Remove(Cluster, "old".into()),
    ]);
    assert_eq!(bench.sent(), ["route +r"]);
    bench.now = bench.stream.wake_at(bench.now).unwrap();
    assert_eq!(bench.sent(), ["cluster -old"]);
    assert!(bench.stream.wake_at(bench.now).is_none());
}

#[test]
fn o6_routes_wait_for_the_last_clusters_sent_and_then_no_longer() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Route, "r")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Route, &["r"]);
    bench.settle();
    bench.put(Cluster, "b", "1");
    assert_eq!(bench.sent(), ["cluster +b"]);
    bench.now += ORDER_GRACE / 2;
    bench.put(Cluster, "c", "1");
    bench.put(Route, "r", "2");
    assert_eq!(bench.sent(), ["cluster +c"]);
    let wake = bench.stream.wake_at(bench.now).unwrap();
    assert_eq!(wake, bench.now + ORDER_GRACE, "not earlier: there would be nothing to send");
    bench.now = wake;
    assert_eq!(bench.sent(), ["route +r"]);
}

#[test]
fn o3_a_cluster_that_is_sent_owes_its_endpoints() {
    let mut bench = Bench::new(&[(Cluster, "c"), (Endpoint, "c")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Endpoint, &["c"]);
    bench.settle();
    bench.put(Cluster, "c", "2");
    assert_eq!(bench.settle(), ["cluster +c", "endpoint +c"]);
}

#[test]
fn o6_endpoints_never_wait_for_the_answer_to_clusters() {
    let mut bench = Bench::new(&[(Cluster, "c"), (Endpoint, "c")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Endpoint, &["c"]);
    assert_eq!(bench.sent(), ["cluster +c", "endpoint +c"]);
    bench.put(Endpoint, "c", "2");
    assert_eq!(bench.sent(), ["endpoint +c"]);
}

#[test]
fn o7_endpoints_asked_for_before_clusters_are_sent_whatever_the_sidecar_holds() {
    let held = [("c", version("1"))];
    let mut bench = Bench::new(&[(Cluster, "c"), (Endpoint, "c")]);
    bench.request(brings(asks(Endpoint, &["c"]), &held));
    assert_eq!(bench.settle(), ["endpoint +c"]);
}

#[test]
fn o7_endpoints_asked_for_after_unchanged_clusters_cost_nothing() {
    let held = [("c", version("1"))];
    let mut bench = Bench::new(&[(Cluster, "c"), (Endpoint, "c")]);
    bench.request(brings(asks(Cluster, &[]), &held));
    bench.request(brings(asks(Endpoint, &["c"]), &held));
    assert!(bench.settle().is_empty());
}

#[test]
fn o7_a_cluster_sent_before_endpoints_were_asked_for_still_owes_them() {
    let mut bench = Bench::new(&[(Endpoint, "c")]);
    bench.put(Cluster, "c", "2");
    bench.request(brings(asks(Cluster, &[]), &[("c", version("1"))]));
    assert_eq!(bench.sent(), ["cluster +c"]);
    bench.request(brings(asks(Endpoint, &["c"]), &[("c", version("1"))]));
    assert_eq!(bench.sent(), ["endpoint +c"]);
}

#[test]
fn o8_a_large_first_answer_comes_in_parts_before_the_listeners() {
    let mut bench = Bench::new(&[(Listener, "l")]);
    let big = "x".repeat(RESPONSE_BYTES / 2);
    let writes = (0..5)
        .map(|number| ResourceWrite::Put(Cluster, resource(Cluster, &format!("c{number}"), &format!("{number}{big}"))));
    bench.change(writes.collect());
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Listener, &[]);
    assert_eq!(bench.sent(), ["cluster +c0 +c1", "cluster +c2 +c3", "cluster +c4", "listener +l"]);
}

#[test]
fn f3_changes_while_the_stream_is_slow_become_one() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.subscribe(Cluster, &[]);
    bench.settle();
    for body in ["2", "3", "4"] {
        bench.put(Cluster, "a", body);
    }
    bench.put(Cluster, "b", "1");
    bench.remove(Cluster, "b");
    assert_eq!(bench.settle(), ["cluster +a", "cluster -b"]);
}

#[test]
fn frames_are_a_grpc_message_of_the_announced_length() {
    let mut bench = Bench::new(&[(Cluster, "a")]);
    bench.put(Cluster, "b", &"x".repeat(10_000));
    bench.subscribe(Cluster, &["*", "nope"]);
    let responses = bench.responses();
    let frames: Vec<_> = responses[0].clone().into_frames().collect();
    let bytes = frames.concat();
    assert_eq!(bytes.len(), responses[0].wire_len());
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    assert_eq!(length, bytes.len() - 5);
    let message = DeltaDiscoveryResponse::decode(&bytes[5..]).unwrap();
    assert_eq!((message.resources.len(), message.nonce.as_str()), (2, "1"));
    assert_eq!(responses[1].removed.len(), 1);
    let large = responses[0].resources.iter().nth(1).unwrap();
    let shared = frames.iter().any(|frame| frame.as_ptr() == large.entry.as_ptr());
    assert!(shared, "large entries are shared, not copied");
}

#[test]
fn v6_a_table_is_followed_by_its_virtual_hosts_and_then_only_by_what_changed() {
    let mut bench = Bench::new(&[
        (Route, "80"),
        (Route, "81"),
        (VirtualHost, "80/a"),
        (VirtualHost, "80/b"),
        (VirtualHost, "81/a"),
    ]);
    bench.subscribe(Route, &["80"]);
    bench.subscribe(VirtualHost, &[]);
    assert_eq!(bench.settle(), ["route +80", "virtualhost +80/a +80/b"], "nothing of a table that it has not");
    bench.put(VirtualHost, "80/a", "2");
    bench.put(VirtualHost, "81/a", "2");
    assert_eq!(bench.settle(), ["virtualhost +80/a"]);
    bench.put(Route, "80", "2");
    assert_eq!(bench.settle(), ["route +80", "virtualhost +80/a +80/b"]);
    bench.subscribe(Route, &["81"]);
    assert_eq!(bench.settle(), ["route +81", "virtualhost +81/a"], "it asks for virtual hosts once");
    bench.change(vec![
        ResourceWrite::Remove(VirtualHost, "80/a".into()),
        ResourceWrite::Put(VirtualHost, resource(VirtualHost, "80/b", "2")),
    ]);
    assert_eq!(bench.settle(), ["virtualhost +80/b -80/a"], "a domain that moves would clash, were they told apart");
}

#[test]
fn v6_a_reconnect_owes_nothing_where_the_table_is_known_and_everything_where_it_is_sent() {
    let start = [(Route, "80"), (VirtualHost, "80/a"), (VirtualHost, "80/b")];
    let held = [("80/a", version("1")), ("80/b", version("0")), ("80/gone", version("1"))];
    let mut bench = Bench::new(&start);
    bench.request(brings(asks(Route, &["80"]), &[("80", version("1"))]));
    bench.request(brings(asks(VirtualHost, &[]), &held));
    assert_eq!(bench.settle(), ["virtualhost +80/b -80/gone"]);
    let mut bench = Bench::new(&start);
    bench.request(brings(asks(Route, &["80"]), &[("80", version("0"))]));
    bench.request(brings(asks(VirtualHost, &[]), &held));
    assert_eq!(bench.settle(), ["route +80", "virtualhost +80/a +80/b -80/gone"]);
}

#[test]
fn w13_a_table_without_virtual_hosts_is_said_to_have_none() {
    let mut bench = Bench::new(&[(Route, "80")]);
    bench.subscribe(Route, &["80"]);
    bench.settle();
    bench.subscribe(VirtualHost, &[]);
    assert_eq!(bench.settle(), ["virtualhost -80/none"]);
}

#[test]
fn a_refused_virtual_host_is_tried_again_with_the_others_of_its_table() {
    let mut bench = Bench::new(&[(Route, "80"), (VirtualHost, "80/a"), (VirtualHost, "80/b")]);
    bench.subscribe(Route, &["80"]);
    bench.subscribe(VirtualHost, &[]);
    bench.settle();
    bench.put(VirtualHost, "80/a", "2");
    let refused = bench.responses().remove(0);
    bench.answer(&refused, Some("duplicate domain"));
    assert!(bench.sent().is_empty());
    bench.put(VirtualHost, "80/b", "2");
    assert_eq!(bench.settle(), ["virtualhost +80/a +80/b"]);
}

#[test]
fn what_is_there_again_before_its_removal_was_sent_wakes_nobody() {
    let mut bench = Bench::new(&[(Cluster, "a"), (Cluster, "b"), (Route, "r")]);
    bench.subscribe(Cluster, &[]);
    bench.subscribe(Route, &["r"]);
    bench.settle();
    bench.put(Route, "r", "2");
    let route = bench.responses();
    bench.remove(Cluster, "a");
    assert!(bench.sent().is_empty() && bench.stream.wake_at(bench.now).is_some());
    bench.put(Cluster, "a", "1");
    bench.answer(&route[0], None);
    bench.settle();
    assert_eq!(bench.stream.wake_at(bench.now), None);
    bench.now += 2 * ORDER_GRACE;
    // Nor is the next removal taken for a late one: it waits for the routes.
    bench.put(Route, "r", "3");
    let route = bench.responses();
    bench.remove(Cluster, "b");
    assert_eq!(bench.sent(), [""; 0]);
    bench.answer(&route[0], None);
    assert_eq!(bench.settle(), ["cluster -b"]);
}
