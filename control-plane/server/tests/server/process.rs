//! A control plane that runs in the test, and the clients that talk to it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3 as discovery;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_server::{App, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// A control plane that keeps config in memory. It ends with this value, or when it is told to.
pub(crate) struct Process {
    pub(crate) admin: pb::admin_client::AdminClient<Channel>,
    pub(crate) monitoring_addr: SocketAddr,
    /// The folder of the admin socket.
    _dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) xds_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Process {
    pub(crate) async fn start() -> Self {
        Self::with_settings(|_| {}).await
    }

    /// Starts with settings that the test changes.
    pub(crate) async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let mut settings = Settings::for_tests(std::path::Path::new(""));
        settings.addresses.admin_socket = Some(socket.clone());
        settings.store.data_dir = None;
        settings.store.memory = true;
        change(&mut settings);
        let app = App::bind(settings).await.unwrap();
        let (monitoring_addr, xds_addr) = (app.monitoring_addr().unwrap(), app.xds_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(app.run(async { drop(stopped.await) }));
        let admin = pb::admin_client::AdminClient::new(admin_channel(&socket).await);
        Self { admin, monitoring_addr, _dir: dir, socket, xds_addr, stop: Some(stop), task }
    }

    /// Tells the process to end, and waits until it has.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }

    /// Returns the whole answer of the monitoring address, its head included.
    pub(crate) async fn monitoring(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.monitoring_addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Applies a YAML text, and returns the revision afterwards.
    pub(crate) async fn apply(&mut self, text: &str) -> u64 {
        self.try_apply(text, false).await.unwrap().revision
    }

    pub(crate) async fn try_apply(&mut self, text: &str, dry_run: bool) -> Result<pb::ApplyResponse, Status> {
        let source = pb::Source { name: "test.yaml".into(), text: text.to_owned().into() };
        let request = pb::ApplyRequest { sources: vec![source], dry_run, ..Default::default() };
        self.admin.apply(request).await.map(tonic::Response::into_inner)
    }
}

/// Returns a request for objects: a kind, a namespace and a name, of which the last two may be empty.
pub(crate) fn wanted(kind: &str, namespace: &str, name: &str) -> pb::GetRequest {
    let key = pb::ObjectKey { kind: kind.into(), namespace: namespace.into(), name: name.into() };
    pb::GetRequest { wanted: vec![key], selector: String::new() }
}

pub(crate) async fn admin_channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

pub(crate) async fn channel(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
}

/// Connects from an address of this machine.
pub(crate) async fn channel_from(from: IpAddr, addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    endpoint.local_address(Some(from)).connect().await.unwrap()
}

/// A sidecar on a delta stream. It answers what it is told to.
pub(crate) struct Sidecar {
    requests: mpsc::Sender<discovery::DeltaDiscoveryRequest>,
    responses: Streaming<discovery::DeltaDiscoveryResponse>,
}

impl Sidecar {
    /// Connects a pod of the namespace `shop`, which asks for everything of a type.
    pub(crate) async fn connect(process: &Process, pod: &str, resource_type: ResourceType) -> Self {
        Self::try_connect(process, pod, resource_type).await.unwrap()
    }

    pub(crate) async fn try_connect(process: &Process, pod: &str, resource_type: ResourceType) -> Result<Self, Status> {
        let id = format!("sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local");
        let node = Some(Node { id, user_agent_name: "test".into(), ..Default::default() });
        let request =
            discovery::DeltaDiscoveryRequest { node, type_url: resource_type.type_url().into(), ..Default::default() };
        Self::with_request(process, request).await
    }

    pub(crate) async fn with_request(
        process: &Process,
        first: discovery::DeltaDiscoveryRequest,
    ) -> Result<Self, Status> {
        Self::over(channel(process.xds_addr).await, first).await
    }

    /// Opens a stream on a connection.
    pub(crate) async fn over(channel: Channel, first: discovery::DeltaDiscoveryRequest) -> Result<Self, Status> {
        use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let (requests, waiting) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let responses = client.delta_aggregated_resources(ReceiverStream::new(waiting)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    pub(crate) async fn send(&self, request: discovery::DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// Returns the next response, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<discovery::DeltaDiscoveryResponse, Status> {
        self.responses.message().await?.ok_or_else(|| Status::ok("finished"))
    }

    /// Takes the next response and acknowledges it, and returns the names in it.
    pub(crate) async fn acknowledge(&mut self) -> Vec<String> {
        let response = self.next().await.unwrap();
        self.answer(&response, None).await;
        response.resources.into_iter().map(|resource| resource.name).collect()
    }

    /// Takes the next response and refuses it.
    pub(crate) async fn refuse(&mut self, reason: &str) -> discovery::DeltaDiscoveryResponse {
        let response = self.next().await.unwrap();
        self.answer(&response, Some(reason)).await;
        response
    }

    async fn answer(&self, response: &discovery::DeltaDiscoveryResponse, error: Option<&str>) {
        let error_detail = error.map(|message| rutter_api::pb::google::rpc::Status {
            code: 13,
            message: message.into(),
            details: Vec::new(),
        });
        self.send(discovery::DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..Default::default()
        })
        .await;
    }
}

/// Returns a service of the namespace `shop`.
pub(crate) fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

/// Returns a VirtualService of the namespace `shop` that sends the requests of one service to another.
pub(crate) fn routes(name: &str, host: &str, destination: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {destination}}}}}]}}]}}\n---\n"
    )
}
