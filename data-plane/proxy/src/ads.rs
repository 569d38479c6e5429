//! The stream to the control plane: carries between the socket and the state of the protocol.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use rutter_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use rutter_proxy_core::{AdsClient, ProxyConfig};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use crate::bootstrap::Bootstrap;
use crate::seed::SEED;

/// The pause after a stream that brought something.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause after streams that brought nothing.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The length of the largest response that is taken, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// The number of requests on their way to the socket.
const REQUESTS: usize = 16;

/// Follows the control plane for ever. What is in force stays so while it is away.
pub(crate) async fn run(bootstrap: Bootstrap, updates: mpsc::Sender<Arc<ProxyConfig>>) -> Result<()> {
    let endpoint =
        Endpoint::from_shared(format!("http://{}", bootstrap.xds)).with_context(|| format!("xds {}", bootstrap.xds))?;
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .tcp_nodelay(true);
    let mut client = AdsClient::new(bootstrap.node, *SEED);
    let mut backoff = BACKOFF_MIN;
    loop {
        let mut follower = Follower { client: &mut client, updates: &updates, responses: 0 };
        let ended = follower.follow(&endpoint).await;
        let has_brought_something = follower.responses > 0;
        if updates.is_closed() {
            return Ok(());
        }
        backoff = if has_brought_something { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
        let reason = ended.err().map_or("closed".to_owned(), |error| format!("{error:#}"));
        warn!(
            reason,
            retry_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
            "no stream to the control plane; what is in force stays"
        );
        tokio::time::sleep(backoff).await;
    }
}

/// One stream to the control plane, with the subscription that outlives it.
struct Follower<'a> {
    client: &'a mut AdsClient,
    updates: &'a mpsc::Sender<Arc<ProxyConfig>>,
    /// The number of responses of the stream.
    responses: u64,
}

impl Follower<'_> {
    async fn follow(&mut self, endpoint: &Endpoint) -> Result<()> {
        let channel = endpoint.connect().await?;
        let mut service = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let (sender, receiver) = mpsc::channel::<DeltaDiscoveryRequest>(REQUESTS);
        for request in self.client.on_connect() {
            sender.send(request).await?;
        }
        let mut stream = service.delta_aggregated_resources(ReceiverStream::new(receiver)).await?.into_inner();
        info!("connected to the control plane");
        while let Some(response) = stream.message().await? {
            self.responses += 1;
            let requests = self.client.on_response(&response);
            // The config is in force before it is acknowledged: an ACK means that the next request is routed so.
            self.updates.send(self.client.config()).await?;
            for request in requests {
                if let Some(detail) = &request.error_detail {
                    warn!(error = detail.message, "resources are refused");
                }
                sender.send(request).await?;
            }
        }
        Ok(())
    }
}
