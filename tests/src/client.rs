//! A delta stream whose messages are written by a test.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Connects to the control plane.
///
/// # Errors
/// Fails if nobody takes it.
pub async fn channel(addr: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{addr}"))?.connect().await?)
}

/// Connects to the admin API of a control plane at its Unix socket.
///
/// # Errors
/// Fails if nobody listens there.
pub async fn admin_channel(socket: &Path) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?)
}

/// Returns the first request of a node, which asks for everything of a type.
pub fn request(id: &str, resource_type: ResourceType) -> DeltaDiscoveryRequest {
    let node = Some(Node { id: id.into(), ..Default::default() });
    DeltaDiscoveryRequest { node, type_url: resource_type.type_url().into(), ..Default::default() }
}

/// A client with a connection of its own.
pub struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Option<Streaming<DeltaDiscoveryResponse>>,
    client: AggregatedDiscoveryServiceClient<Channel>,
    waiting: Option<mpsc::Receiver<DeltaDiscoveryRequest>>,
}

impl Client {
    /// Connects. The stream begins when a response is looked for the first time.
    ///
    /// # Errors
    /// Fails if nobody takes the connection.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let client = AggregatedDiscoveryServiceClient::new(channel(addr).await?);
        let (requests, waiting) = mpsc::channel(8);
        Ok(Self { requests, responses: None, client, waiting: Some(waiting) })
    }

    /// Sends a request.
    pub async fn send(&mut self, request: DeltaDiscoveryRequest) {
        // A stream that the server has closed takes no more.
        let _ = self.requests.send(request).await;
    }

    /// Waits for the next response.
    ///
    /// # Errors
    /// Fails with the status with which the stream ended.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        if let Some(waiting) = self.waiting.take() {
            let stream = self.client.delta_aggregated_resources(ReceiverStream::new(waiting)).await?;
            self.responses = Some(stream.into_inner());
        }
        let next = match &mut self.responses {
            Some(responses) => responses.message().await?,
            None => None,
        };
        next.ok_or_else(|| Status::cancelled("the stream ended"))
    }
}
