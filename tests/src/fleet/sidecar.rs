//! A simulated sidecar: one TCP connection, delta ADS as Envoy speaks it, and no memory but of names and versions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::config::route::v3::RouteConfiguration;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use rutter_api::pb::envoy::r#type::v3::SemanticVersion;
use rutter_api::pb::google::rpc::Status;
use rutter_api::{PerType, ResourceType};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;
use twox_hash::XxHash3_64;

/// The number of bytes that a server may send before they are read: the window of a connection.
const WINDOW: u32 = 4 << 20;
/// The longest time between two attempts to connect. Half of it is fixed, and up to half is random, as in the first
/// backoff of Envoy.
const RECONNECT: Duration = Duration::from_millis(100);

/// The identity of a sidecar.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name of the pod.
    pub pod: String,
    /// The namespace of the pod.
    pub namespace: String,
    /// The address of the pod.
    pub ip: Ipv4Addr,
    /// Whether it is a gateway.
    pub is_gateway: bool,
}

impl Identity {
    /// Returns the node of an Envoy of some minor version, with the metadata of Istio.
    pub fn node(&self, minor_number: u32) -> core::Node {
        let text =
            |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
        let fields = [
            ("NAMESPACE", text(&self.namespace)),
            ("CLUSTER_ID", text("Kubernetes")),
            ("INSTANCE_IPS", text(&self.ip.to_string())),
            ("INTERCEPTION_MODE", text("REDIRECT")),
            ("ISTIO_VERSION", text("1.32.0")),
            ("SERVICE_ACCOUNT", text("default")),
        ];
        let labels = prost_types::Struct { fields: [("app".to_owned(), text(&self.pod))].into() };
        let labels = prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(labels)) };
        let fields = fields.into_iter().chain([("LABELS", labels)]);
        let version = SemanticVersion { major_number: 1, minor_number, patch: 0 };
        let version = core::BuildVersion { version: Some(version), ..Default::default() };
        let namespace = &self.namespace;
        let role = if self.is_gateway { "router" } else { "sidecar" };
        core::Node {
            id: format!("{role}~{}~{}.{namespace}~{namespace}.svc.cluster.local", self.ip, self.pod),
            cluster: format!("{}.{namespace}", self.pod),
            metadata: Some(prost_types::Struct {
                fields: fields.map(|(key, value)| (key.to_owned(), value)).collect(),
            }),
            user_agent_name: "envoy".into(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentBuildVersion(version)),
            ..Default::default()
        }
    }
}

/// The names for which a resource makes a sidecar ask.
type Needs = Arc<Vec<(ResourceType, String)>>;

/// The names and versions that a sidecar holds, by type.
pub type Held = PerType<BTreeMap<String, String>>;

/// What is known of one sidecar from outside.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the sidecar holds.
    pub held: Held,
    /// The instant at which the sidecar last answered a response.
    pub last_ack: Option<Instant>,
    /// The number of responses that the sidecar was sent.
    pub responses: u64,
}

/// What all sidecars share.
#[derive(Debug)]
pub struct Fleet {
    /// The address of the server.
    pub target: SocketAddr,
    /// The minor version of Envoy that the sidecars say they are.
    pub minor: u32,
    /// The length of all responses with the heads of their gRPC messages, in bytes.
    pub bytes: AtomicU64,
    /// The number of resources and removals in all responses.
    pub resources: AtomicU64,
    /// The number of streams that the server accepted.
    pub open: AtomicU64,
    /// The instant at which some sidecar last received anything.
    pub last_heard: Mutex<Option<Instant>>,
    /// The name of a resource that every sidecar refuses.
    pub refused: Mutex<Option<String>>,
    /// How many sidecars, counted from the first, read nothing.
    pub asleep: watch::Sender<usize>,
    /// The number of times that all connections were cut.
    pub cuts: watch::Sender<u64>,
    needs: Mutex<HashMap<u64, Needs>>,
    uses_virtual_hosts: AtomicBool,
}

impl Fleet {
    /// Returns what the sidecars of a server share.
    pub fn new(target: SocketAddr, minor: u32) -> Self {
        Self {
            target,
            minor,
            bytes: AtomicU64::new(0),
            resources: AtomicU64::new(0),
            open: AtomicU64::new(0),
            last_heard: Mutex::default(),
            refused: Mutex::default(),
            asleep: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            needs: Mutex::default(),
            uses_virtual_hosts: AtomicBool::new(false),
        }
    }

    /// Sets the counters of bytes and resources to zero.
    pub fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.resources.store(0, Ordering::Relaxed);
    }

    /// Returns what a resource makes a sidecar ask for. Each content is decoded once.
    fn needs(&self, resource_type: ResourceType, body: &[u8]) -> Needs {
        if !needs_something(resource_type) {
            return Arc::default();
        }
        let key = XxHash3_64::oneshot(body);
        if let Some(known) = lock(&self.needs).get(&key) {
            return known.clone();
        }
        let needs: Vec<(ResourceType, String)> = match resource_type {
            ResourceType::Cluster => {
                needs_of_cluster(body).map(|name| (ResourceType::Endpoint, name)).into_iter().collect()
            }
            ResourceType::Listener => {
                needs_of_listener(body).into_iter().map(|name| (ResourceType::Route, name)).collect()
            }
            ResourceType::Route => {
                if RouteConfiguration::decode(body).is_ok_and(|table| table.vhds.is_some()) {
                    self.uses_virtual_hosts.store(true, Ordering::Relaxed);
                }
                Vec::new()
            }
            ResourceType::Endpoint | ResourceType::Secret | ResourceType::VirtualHost => Vec::new(),
        };
        let needs = Arc::new(needs);
        lock(&self.needs).insert(key, needs.clone());
        needs
    }
}

/// Returns whether resources of a type can make a sidecar ask for others.
fn needs_something(resource_type: ResourceType) -> bool {
    match resource_type {
        ResourceType::Cluster | ResourceType::Listener | ResourceType::Route => true,
        ResourceType::Endpoint | ResourceType::Secret | ResourceType::VirtualHost => false,
    }
}

/// Locks a mutex, whether or not a thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn needs_of_cluster(body: &[u8]) -> Option<String> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let pb = cluster::Cluster::decode(body).ok()?;
    let is_eds = pb.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32));
    let service = pb.eds_cluster_config.map(|eds| eds.service_name).filter(|name| !name.is_empty());
    is_eds.then(|| service.unwrap_or(pb.name))
}

fn needs_of_listener(body: &[u8]) -> BTreeSet<String> {
    use hcm::http_connection_manager::RouteSpecifier;
    let pb = listener::Listener::decode(body).unwrap_or_default();
    let filters = pb.filter_chains.iter().chain(&pb.default_filter_chain).flat_map(|chain| &chain.filters);
    let configs = filters.filter_map(|filter| match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Some(any),
        _ => None,
    });
    let managers = configs.filter(|any| any.type_url.ends_with("HttpConnectionManager"));
    let managers = managers.filter_map(|any| hcm::HttpConnectionManager::decode(&any.value[..]).ok());
    managers
        .filter_map(|manager| match manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
            _ => None,
        })
        .collect()
}

/// A simulated sidecar, which may have any number of connections one after the other.
pub struct Sidecar {
    number: usize,
    identity: Identity,
    fleet: Arc<Fleet>,
    seen: Arc<Mutex<Seen>>,
    /// The names that were asked for on this stream.
    asked: PerType<BTreeSet<String>>,
    /// What each cluster, listener or route table makes the sidecar ask for.
    needs: BTreeMap<(ResourceType, String), Needs>,
    asked_virtual_hosts: bool,
    /// The clusters of this stream whose endpoints have not come. Envoy withholds its answer until they have.
    warming: BTreeSet<String>,
    withheld: Vec<DeltaDiscoveryRequest>,
}

struct Stream {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
    buffer: BytesMut,
}

impl Sidecar {
    /// Returns a sidecar that is not connected yet.
    pub fn new(number: usize, identity: Identity, fleet: Arc<Fleet>, seen: Arc<Mutex<Seen>>) -> Self {
        Self {
            number,
            identity,
            fleet,
            seen,
            asked: Default::default(),
            needs: BTreeMap::new(),
            asked_virtual_hosts: false,
            warming: BTreeSet::new(),
            withheld: Vec::new(),
        }
    }

    /// Connects again and again.
    pub async fn run(mut self) {
        let mut cuts = self.fleet.cuts.subscribe();
        loop {
            cuts.mark_unchanged();
            let cut = async { drop(cuts.changed().await) };
            tokio::select! {
                // How a connection ended does not matter: the next one tells the difference.
                _ = self.connection() => {}
                () = cut => {}
            }
            let spread = RECONNECT / 2 + RECONNECT.mul_f64(self.number as f64 * 0.618 % 1.0) / 2;
            sleep(spread).await;
        }
    }

    async fn connection(&mut self) -> Result<()> {
        let socket = TcpStream::connect(self.fleet.target).await?;
        socket.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (client, connection) = builder.handshake::<_, Bytes>(socket).await?;
        tokio::select! {
            ended = connection => Ok(ended?),
            ended = self.stream(client) => ended,
        }
    }

    async fn stream(&mut self, client: h2::client::SendRequest<Bytes>) -> Result<()> {
        let mut client = client.ready().await?;
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let request = http::Request::post(format!("http://{}{path}", self.fleet.target))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut send) = client.send_request(request, false)?;
        for request in self.first_requests() {
            send_message(&mut send, &request)?;
        }
        let response = response.await?;
        if response.status() != 200 {
            bail!("want status 200, got {}", response.status());
        }
        self.fleet.open.fetch_add(1, Ordering::Relaxed);
        let mut stream = Stream { send, receive: response.into_body(), buffer: BytesMut::new() };
        let mut asleep = self.fleet.asleep.subscribe();
        loop {
            asleep.wait_for(|count| self.number >= *count).await?;
            let message = stream.next().await?;
            *lock(&self.fleet.last_heard) = Some(Instant::now());
            self.fleet.bytes.fetch_add(message.len() as u64 + 5, Ordering::Relaxed);
            let response = DeltaDiscoveryResponse::decode(message)?;
            for request in self.on_response(response) {
                send_message(&mut stream.send, &request)?;
            }
            lock(&self.seen).last_ack = Some(Instant::now());
        }
    }

    /// Returns the first requests of a stream, in the order of Envoy and with what the sidecar holds.
    fn first_requests(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asked = Default::default();
        self.asked_virtual_hosts = false;
        self.warming.clear();
        self.withheld.clear();
        let first = |resource_type: ResourceType| DeltaDiscoveryRequest {
            type_url: resource_type.type_url().into(),
            initial_resource_versions: lock(&self.seen).held[resource_type].clone(),
            ..Default::default()
        };
        let mut requests = vec![first(ResourceType::Cluster)];
        requests[0].node = Some(self.identity.node(self.fleet.minor));
        let listeners = first(ResourceType::Listener);
        requests.extend(self.follow(ResourceType::Endpoint));
        requests.push(listeners);
        requests.extend(self.follow(ResourceType::Route));
        requests.extend(self.ask_virtual_hosts());
        requests
    }

    fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        let count = response.resources.len() + response.removed_resources.len();
        self.fleet.resources.fetch_add(count as u64, Ordering::Relaxed);
        let Some(resource_type) = ResourceType::from_type_url(&response.type_url) else { return vec![answer] };
        let refused = lock(&self.fleet.refused).clone();
        if refused.is_some_and(|refused| response.resources.iter().any(|one| one.name == refused)) {
            answer.error_detail =
                Some(Status { code: 3, message: "the bench refuses it".into(), ..Default::default() });
            lock(&self.seen).responses += 1;
            return vec![answer];
        }
        {
            let mut seen = lock(&self.seen);
            seen.responses += 1;
            for resource in response.resources {
                if resource_type == ResourceType::Endpoint {
                    self.warming.remove(&resource.name);
                }
                let body = resource.resource.map(|any| any.value).unwrap_or_default();
                let needs = self.fleet.needs(resource_type, &body);
                if resource_type == ResourceType::Cluster {
                    self.warming.extend(needs.iter().map(|(_, name)| name.clone()));
                }
                if !needs.is_empty() {
                    self.needs.insert((resource_type, resource.name.clone()), needs);
                }
                seen.held[resource_type].insert(resource.name, resource.version);
            }
            for name in response.removed_resources {
                seen.held[resource_type].remove(&name);
                self.needs.remove(&(resource_type, name));
            }
        }
        let follow = match resource_type {
            ResourceType::Cluster => self.follow(ResourceType::Endpoint),
            ResourceType::Listener => self.follow(ResourceType::Route),
            ResourceType::Route => self.ask_virtual_hosts(),
            ResourceType::Endpoint | ResourceType::Secret | ResourceType::VirtualHost => None,
        };
        // Envoy answers for clusters when they are warm.
        self.withheld.push(answer);
        let is_warm = self.warming.is_empty();
        let is_cluster = |one: &DeltaDiscoveryRequest| one.type_url == ResourceType::Cluster.type_url();
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.withheld).into_iter().partition(|one| is_warm || !is_cluster(one));
        self.withheld = later;
        now.into_iter().chain(follow).collect()
    }

    fn follow(&mut self, resource_type: ResourceType) -> Option<DeltaDiscoveryRequest> {
        let needed: BTreeSet<String> = self
            .needs
            .values()
            .flat_map(|needs| needs.iter())
            .filter(|(of, _)| *of == resource_type)
            .map(|(_, n)| n.clone())
            .collect();
        let asked = std::mem::take(&mut self.asked[resource_type]);
        let new: Vec<String> = needed.difference(&asked).cloned().collect();
        let old: Vec<String> = asked.difference(&needed).cloned().collect();
        self.asked[resource_type] = needed;
        if new.is_empty() && old.is_empty() {
            return None;
        }
        let mut seen = lock(&self.seen);
        let mut held = BTreeMap::new();
        if asked.is_empty() {
            held.clone_from(&seen.held[resource_type]);
        }
        for name in &old {
            seen.held[resource_type].remove(name);
            if resource_type == ResourceType::Route {
                let start = format!("{name}/");
                seen.held[ResourceType::VirtualHost].retain(|name, _| !name.starts_with(&start));
            }
        }
        Some(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().into(),
            resource_names_subscribe: new,
            resource_names_unsubscribe: old,
            initial_resource_versions: held,
            ..Default::default()
        })
    }

    fn ask_virtual_hosts(&mut self) -> Option<DeltaDiscoveryRequest> {
        let seen = lock(&self.seen);
        let wants = self.fleet.uses_virtual_hosts.load(Ordering::Relaxed) && !seen.held[ResourceType::Route].is_empty();
        if !wants || std::mem::replace(&mut self.asked_virtual_hosts, true) {
            return None;
        }
        Some(DeltaDiscoveryRequest {
            type_url: ResourceType::VirtualHost.type_url().into(),
            initial_resource_versions: seen.held[ResourceType::VirtualHost].clone(),
            ..Default::default()
        })
    }
}

fn send_message(stream: &mut h2::SendStream<Bytes>, message: &DeltaDiscoveryRequest) -> Result<()> {
    let mut bytes = vec![0; 5];
    message.encode(&mut bytes)?;
    let length = u32::try_from(bytes.len() - 5)?;
    bytes[1..5].copy_from_slice(&length.to_be_bytes());
    Ok(stream.send_data(bytes.into(), false)?)
}

impl Stream {
    async fn next(&mut self) -> Result<Bytes> {
        loop {
            if let Some((head, _)) = self.buffer.split_at_checked(5) {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Ok(self.buffer.split_to(length).freeze());
                }
            }
            let data = self.receive.data().await.context("the stream ended")??;
            self.receive.flow_control().release_capacity(data.len())?;
            self.buffer.extend_from_slice(&data);
        }
    }
}
