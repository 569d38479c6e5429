//! A sidecar that behaves as Envoy does, against a stream, through random changes, delays, refusals and cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use rutter_api::ResourceType::{Cluster, Endpoint, Listener, Route, VirtualHost};
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use rutter_api::pb::google::rpc::Status;

use super::*;
use crate::resource::Version;
use crate::snapshot::{ResourceWrite, Snapshot};
use crate::stream::wire::DeltaRequest;

/// The sidecar refuses resources of this version.
const BAD: u8 = 9;

#[derive(Debug, Clone)]
enum Op {
    Service(u8, u8),
    Endpoints(u8, u8),
    NoService(u8),
    Listener(u8, u8),
    Table(u8, u8),
    NoListener(u8),
    Host(u8, u8, u8),
    NoHost(u8, u8),
    Send,
    Deliver,
    Cut,
}

fn ops() -> impl Strategy<Value = Op> {
    let id = || 0u8..3;
    let version = || prop_oneof![6 => 0u8..4, 1 => Just(BAD)];
    prop_oneof![
        3 => (id(), version()).prop_map(|(id, version)| Op::Service(id, version)),
        2 => (id(), 0u8..4).prop_map(|(id, version)| Op::Endpoints(id, version)),
        1 => id().prop_map(Op::NoService),
        2 => (id(), 0u8..4).prop_map(|(id, version)| Op::Listener(id, version)),
        1 => (id(), 0u8..4).prop_map(|(id, version)| Op::Table(id, version)),
        1 => id().prop_map(Op::NoListener),
        3 => (id(), id(), version()).prop_map(|(id, host, version)| Op::Host(id, host, version)),
        1 => (id(), id()).prop_map(|(id, host)| Op::NoHost(id, host)),
        4 => Just(Op::Send),
        6 => Just(Op::Deliver),
        1 => Just(Op::Cut),
    ]
}

type Held = BTreeMap<(ResourceType, String), (Version, Vec<u8>)>;

/// What a real Envoy does, as far as the server can tell.
#[derive(Default)]
struct Sidecar {
    held: Held,
    asked: BTreeMap<ResourceType, BTreeSet<String>>,
    asked_clusters: bool,
    asked_hosts: bool,
    warming: BTreeSet<String>,
    withheld: Vec<DeltaDiscoveryRequest>,
}

impl Sidecar {
    fn names(&self, resource_type: ResourceType) -> BTreeSet<String> {
        self.held.keys().filter(|(other, _)| *other == resource_type).map(|(_, name)| name.clone()).collect()
    }

    fn first(&self, resource_type: ResourceType) -> DeltaDiscoveryRequest {
        let versions = self.held.iter().filter(|((other, _), _)| *other == resource_type);
        DeltaDiscoveryRequest {
            type_url: resource_type.type_url().into(),
            initial_resource_versions: versions
                .map(|((_, name), (version, _))| (name.clone(), version.to_string()))
                .collect(),
            ..Default::default()
        }
    }

    /// O7: while a cluster is warming, clusters are not asked for.
    fn connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asked.clear();
        self.withheld.clear();
        (self.asked_clusters, self.asked_hosts) = (false, false);
        let mut requests = self.ask_clusters();
        requests.extend(self.follow(Endpoint));
        requests.push(self.first(Listener));
        requests.extend(self.follow(Route));
        requests.extend(self.ask_hosts());
        requests
    }

    fn ask_clusters(&mut self) -> Vec<DeltaDiscoveryRequest> {
        if self.asked_clusters || !self.warming.is_empty() {
            return Vec::new();
        }
        self.asked_clusters = true;
        vec![self.first(Cluster)]
    }

    fn ask_hosts(&mut self) -> Vec<DeltaDiscoveryRequest> {
        if self.asked_hosts || self.names(Route).is_empty() {
            return Vec::new();
        }
        self.asked_hosts = true;
        vec![self.first(VirtualHost)]
    }

    /// Endpoints of clusters, held or warming; tables of listeners, which are called alike.
    fn follow(&mut self, resource_type: ResourceType) -> Vec<DeltaDiscoveryRequest> {
        let mut needed = self.names(if resource_type == Endpoint { Cluster } else { Listener });
        if resource_type == Endpoint {
            needed.extend(self.warming.iter().cloned());
        }
        let is_first = !self.asked.contains_key(&resource_type);
        let asked = self.asked.entry(resource_type).or_default();
        let (new, old): (Vec<String>, Vec<String>) =
            (needed.difference(asked).cloned().collect(), asked.difference(&needed).cloned().collect());
        if new.is_empty() && old.is_empty() {
            if asked.is_empty() {
                self.asked.remove(&resource_type);
            }
            return Vec::new();
        }
        *asked = needed;
        for name in &old {
            self.held.remove(&(resource_type, name.clone()));
            if resource_type == Route {
                self.held.retain(|(resource_type, host), _| {
                    *resource_type != VirtualHost || table_of_virtual_host(host) != name
                });
            }
        }
        let mut request = DeltaDiscoveryRequest { type_url: resource_type.type_url().into(), ..Default::default() };
        if is_first {
            request = self.first(resource_type);
        }
        request.resource_names_subscribe = new;
        request.resource_names_unsubscribe = old;
        vec![request]
    }

    fn on_response(&mut self, response: &Response) -> Vec<DeltaDiscoveryRequest> {
        let resource_type = ResourceType::from_type_url(&response.type_url).unwrap();
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone().into(),
            response_nonce: response.nonce.to_string(),
            ..Default::default()
        };
        let names: BTreeSet<_> = response.resources.iter().map(|one| &one.name).chain(&response.removed).collect();
        assert_eq!(names.len(), response.resources.len() + response.removed.len(), "N9");
        if response.resources.iter().any(|one| one.body()[..] == [BAD]) {
            answer.error_detail = Some(Status { message: "bad".into(), ..Default::default() });
            return vec![answer];
        }
        for resource in response.resources.iter() {
            let name = resource.name.to_string();
            // What crosses with a change of mind is for nobody.
            let is_for_somebody = match resource_type {
                Cluster | Listener => true,
                Endpoint | Route => self.asked.get(&resource_type).is_some_and(|names| names.contains(&name)),
                VirtualHost => self.held.contains_key(&(Route, table_of_virtual_host(&name).to_owned())),
                ResourceType::Secret => false,
            };
            if !is_for_somebody {
                continue;
            }
            if resource_type == Cluster {
                self.warming.insert(name.clone());
            }
            if resource_type == Endpoint {
                self.warming.remove(&name);
            }
            self.held.insert((resource_type, name), (resource.version, resource.body().to_vec()));
        }
        for name in &response.removed {
            if matches!(resource_type, Cluster | Listener | VirtualHost) {
                self.held.remove(&(resource_type, name.to_string()));
            }
            // Endpoints that are not there end the warming as well: the cluster begins without any.
            if matches!(resource_type, Cluster | Endpoint) {
                self.warming.remove(&**name);
            }
        }
        self.withheld.push(answer);
        let is_warm = self.warming.is_empty();
        let is_now = |one: &DeltaDiscoveryRequest| is_warm || one.type_url != Cluster.type_url();
        let (mut requests, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.withheld).into_iter().partition(is_now);
        self.withheld = later;
        requests.extend(self.ask_clusters());
        requests.extend(self.follow(Endpoint));
        requests.extend(self.follow(Route));
        requests.extend(self.ask_hosts());
        requests
    }
}

struct World {
    snapshot: Snapshot,
    stream: DeltaStream,
    sidecar: Sidecar,
    wire: VecDeque<Response>,
    now: Instant,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the test")]
    fn new() -> Self {
        let snapshot = Snapshot::new(1);
        let stream = DeltaStream::new(View::default(), Limits::default());
        let (sidecar, wire) = (Sidecar::default(), VecDeque::new());
        let mut world = Self { snapshot, stream, sidecar, wire, now: Instant::now() };
        world.cut();
        world
    }

    fn view(&self) -> View {
        View { scope: Arc::new(self.snapshot.clone()), ..View::default() }
    }

    fn ask(&mut self, requests: Vec<DeltaDiscoveryRequest>) {
        for request in requests {
            let bytes = request.encode_to_vec();
            self.stream.on_request(self.now, &DeltaRequest::parse(&bytes).unwrap()).unwrap();
        }
    }

    fn cut(&mut self) {
        self.stream = DeltaStream::new(self.view(), Limits::default());
        self.wire.clear();
        let requests = self.sidecar.connect();
        self.ask(requests);
    }

    fn deliver(&mut self) -> bool {
        let Some(response) = self.wire.pop_front() else { return false };
        let requests = self.sidecar.on_response(&response);
        self.ask(requests);
        true
    }

    fn has(&self, resource_type: ResourceType, name: &str) -> bool {
        self.snapshot.get(resource_type, name).is_some()
    }

    fn run(&mut self, op: &Op) {
        let put = |resource_type: ResourceType, name: &str, version: u8| {
            ResourceWrite::Put(resource_type, EncodedResource::new(resource_type, name.into(), &[version]))
        };
        let table = |id: u8| format!("{}", 80 + id);
        let writes = match *op {
            Op::Service(id, version) => {
                let name = format!("c{id}");
                let endpoints = (!self.has(Endpoint, &name)).then(|| put(Endpoint, &name, 0));
                [Some(put(Cluster, &name, version)), endpoints].into_iter().flatten().collect()
            }
            Op::Endpoints(id, version) if self.has(Cluster, &format!("c{id}")) => {
                vec![put(Endpoint, &format!("c{id}"), version)]
            }
            Op::NoService(id) => [Cluster, Endpoint]
                .map(|resource_type| ResourceWrite::Remove(resource_type, format!("c{id}").into()))
                .into(),
            Op::Listener(id, version) => {
                let routes = (!self.has(Route, &table(id))).then(|| put(Route, &table(id), 0));
                [Some(put(Listener, &table(id), version)), routes].into_iter().flatten().collect()
            }
            Op::Table(id, version) if self.has(Route, &table(id)) => vec![put(Route, &table(id), version)],
            Op::NoListener(id) => {
                let hosts =
                    (0..3).map(|host| ResourceWrite::Remove(VirtualHost, format!("{}/h{host}", table(id)).into()));
                let rest =
                    [Listener, Route].map(|resource_type| ResourceWrite::Remove(resource_type, table(id).into()));
                hosts.chain(rest).collect()
            }
            Op::Host(id, host, version) if self.has(Route, &table(id)) => {
                vec![put(VirtualHost, &format!("{}/h{host}", table(id)), version)]
            }
            Op::NoHost(id, host) => vec![ResourceWrite::Remove(VirtualHost, format!("{}/h{host}", table(id)).into())],
            Op::Send => return self.wire.extend(self.stream.next_response(self.now)),
            Op::Deliver => {
                self.deliver();
                return;
            }
            Op::Cut => return self.cut(),
            Op::Endpoints(..) | Op::Table(..) | Op::Host(..) => return,
        };
        if let Some(next) = self.snapshot.apply(writes) {
            self.snapshot = next;
            self.stream.on_view(self.now, self.view());
        }
    }

    /// Lets everything come to rest, however long it takes.
    fn settle(&mut self) {
        for _ in 0..1000 {
            while let Some(response) = self.stream.next_response(self.now) {
                self.wire.push_back(response);
            }
            if !self.deliver() {
                match self.stream.wake_at(self.now) {
                    Some(wake) => self.now = wake,
                    None => return,
                }
            }
        }
        panic!("it does not come to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sidecar_converges_through_changes_delays_refusals_and_cuts(ops in prop::collection::vec(ops(), 1..80)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.settle();
        let sidecar = &world.sidecar;
        let is_wanted = |resource_type: ResourceType, name: &str| match resource_type {
            Cluster | Listener => true,
            Endpoint => sidecar.held.contains_key(&(Cluster, name.to_owned())),
            Route => sidecar.held.contains_key(&(Listener, name.to_owned())),
            VirtualHost => sidecar.held.contains_key(&(Route, table_of_virtual_host(name).to_owned())),
            ResourceType::Secret => false,
        };
        for resource_type in ResourceType::ALL {
            for resource in world.snapshot.iter(resource_type).filter(|one| is_wanted(resource_type, &one.name)) {
                let held = sidecar.held.get(&(resource_type, resource.name.to_string()));
                let is_bad = resource.body()[..] == [BAD];
                prop_assert!(is_bad || held.map(|(version, _)| *version) == Some(resource.version), "{} {}", resource_type, resource.name);
            }
            for name in sidecar.names(resource_type) {
                prop_assert!(world.has(resource_type, &name), "{} {} is held and gone", resource_type, name);
            }
        }
        prop_assert!(sidecar.warming.is_empty(), "stuck: {:?}", sidecar.warming);
        let has_bad = ResourceType::ALL.into_iter().any(|resource_type| world.snapshot.iter(resource_type).any(|one| one.body()[..] == [BAD]));
        if !has_bad {
            // And a reconnect costs nothing.
            world.cut();
            while let Some(response) = world.stream.next_response(world.now) {
                prop_assert!(response.resources.is_empty() && response.removed.is_empty(), "{:?}", response);
            }
        }
    }
}
