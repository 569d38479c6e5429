//! What the tests of several modules share: a proxy that is sent resources, and the applications around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prost::Message;
use prost_types::Any;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use rutter_core::encode::listener::{BoundListener, encode_bound};
use rutter_proxy_core::{AdsClient, ProxyConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::current::Current;
use crate::listeners::Listeners;

/// A proxy in the test, which is sent resources as a control plane would send them.
pub(crate) struct Proxy {
    client: AdsClient,
    updates: mpsc::Sender<Arc<ProxyConfig>>,
    pub(crate) ready: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let mut client = AdsClient::new(core::Node::default(), 7);
        client.on_connect();
        let (updates, receiver) = mpsc::channel(1);
        let listeners = Listeners::new(Current::default());
        let ready = listeners.ready();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { listeners.run(receiver).await.unwrap() });
        Self { client, updates, ready, _tasks: tasks }
    }

    /// Takes in a resource, which must be valid. It is in force after the next [`Self::carry_out`].
    fn put(&mut self, resource_type: ResourceType, name: &str, body: Vec<u8>) {
        let resource = Resource {
            name: name.into(),
            version: "1".into(),
            resource: Some(Any { type_url: resource_type.type_url().into(), value: body }),
            ..Default::default()
        };
        let response = DeltaDiscoveryResponse {
            type_url: resource_type.type_url().into(),
            resources: vec![resource],
            ..Default::default()
        };
        let requests = self.client.on_response(&response);
        assert_eq!(requests[0].error_detail, None);
    }

    /// Puts a cluster with fixed addresses.
    pub(crate) fn cluster(&mut self, name: &str, addresses: &[SocketAddr]) {
        let lb_endpoints = addresses.iter().map(|address| {
            let endpoint = endpoint::Endpoint { address: Some(address_of(*address)), ..Default::default() };
            endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..Default::default()
            }
        });
        let locality = endpoint::LocalityLbEndpoints { lb_endpoints: lb_endpoints.collect(), ..Default::default() };
        let assignment = endpoint::ClusterLoadAssignment { endpoints: vec![locality], ..Default::default() };
        let cluster = cluster::Cluster { name: name.into(), load_assignment: Some(assignment), ..Default::default() };
        self.put(ResourceType::Cluster, name, cluster.encode_to_vec());
    }

    /// Puts the route table `80` with the routes of one host.
    pub(crate) fn routes(&mut self, host: &str, routes: Vec<route::Route>) {
        let host = route::VirtualHost { name: "h".into(), domains: vec![host.into()], routes, ..Default::default() };
        let table = route::RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
        self.put(ResourceType::Route, "80", table.encode_to_vec());
    }

    /// Opens a listener at a free port that routes by the table `80`, and returns its address.
    pub(crate) async fn http_listener(&mut self) -> SocketAddr {
        self.listener(&BoundListener::Routes("80".into())).await
    }

    /// Opens a listener at a free port that passes bytes on to a cluster, and returns its address.
    pub(crate) async fn tcp_listener(&mut self, cluster: &str) -> SocketAddr {
        self.listener(&BoundListener::cluster(cluster)).await
    }

    async fn listener(&mut self, listener: &BoundListener) -> SocketAddr {
        let address = closed_port().await;
        self.listener_at(address, listener).await;
        address
    }

    /// Puts a listener at an address, whether or not that is free.
    pub(crate) async fn listener_at(&mut self, address: SocketAddr, listener: &BoundListener) {
        let resource = encode_bound(address.ip(), address.port(), listener);
        self.put(ResourceType::Listener, &resource.name, resource.body().to_vec());
        self.carry_out().await;
    }

    /// Removes the listener at an address.
    pub(crate) async fn remove_listener(&mut self, address: SocketAddr) {
        self.client.on_response(&DeltaDiscoveryResponse {
            type_url: ResourceType::Listener.type_url().into(),
            removed_resources: vec![format!("{}_{}", address.ip(), address.port())],
            ..Default::default()
        });
        self.carry_out().await;
    }

    /// Puts everything that was taken in into force, and waits until the sockets are as it says.
    pub(crate) async fn carry_out(&mut self) {
        // A config is received when the previous one was carried out: the third of three has found the first two so.
        for _ in 0..3 {
            self.updates.send(self.client.config()).await.unwrap();
        }
    }
}

fn address_of(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Returns the route of requests whose path begins with a text.
pub(crate) fn prefix(path: &str, action: route::route::Action) -> route::Route {
    let path_specifier = Some(route::route_match::PathSpecifier::Prefix(path.into()));
    let route_match = Some(route::RouteMatch { path_specifier, ..Default::default() });
    route::Route { r#match: route_match, action: Some(action), ..Default::default() }
}

/// Returns the action that forwards to a cluster, within a number of milliseconds unless that is 0.
pub(crate) fn forward(cluster: &str, timeout_ms: u32) -> route::route::Action {
    let nanos = i32::try_from(timeout_ms).unwrap() * 1_000_000;
    route::route::Action::Route(route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        timeout: Some(prost_types::Duration { seconds: 0, nanos }),
        ..Default::default()
    })
}

/// Returns the action that answers with a status and a text.
pub(crate) fn direct(status: u32, text: &str) -> route::route::Action {
    let specifier = Some(core::data_source::Specifier::InlineString(text.into()));
    let body = Some(core::DataSource { specifier, ..Default::default() });
    route::route::Action::DirectResponse(route::DirectResponseAction { status, body, ..Default::default() })
}

/// Returns an address of loopback at which nothing listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Starts an application that sends back what it is sent.
pub(crate) async fn echo() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
                drop(write.shutdown().await);
            });
        }
    });
    address
}

/// An application that answers requests over HTTP/1.1.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    /// The number of connections that it accepted.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Application {
    /// Starts an application that answers each request with its name, the first line and some headers of the request. A
    /// request for `/slow` is never answered.
    pub(crate) async fn start(name: &'static str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(name, stream));
            }
        });
        Self { address, connections }
    }
}

async fn answer(name: &'static str, mut stream: TcpStream) {
    while let Some(head) = read_head(&mut stream).await {
        let first = head.lines().next().unwrap_or_default().to_owned();
        if first.contains("/slow") {
            std::future::pending::<()>().await;
        }
        let hop = head.to_ascii_lowercase().contains("x-hop");
        let body = format!("{name}: {first}{}", if hop { " with x-hop" } else { "" });
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: x-up\r\nx-up: 1\r\nx-kept: 1\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Returns the head of the next message on a connection, or `None` at its end.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Sends one request on a connection of its own, and returns the status and the body of the answer.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> String {
    raw(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
}

/// Sends the bytes of a request on a connection of its own, and returns the status and the body of the answer.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let Some(response) = response(&mut stream).await else { return "closed".to_owned() };
    format!("{} {}", response.status, response.body.trim_end())
}

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Reads one answer, or returns `None` if the connection ended before.
pub(crate) async fn response(stream: &mut TcpStream) -> Option<Answer> {
    let head = read_head(stream).await?;
    let status = head.split(' ').nth(1)?.to_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Answer { status, head: lower, body: String::from_utf8(body).ok()? })
}
