//! The connection to the control plane.

use std::time::Duration;

use anyhow::{Context, Result};
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

/// How long a control plane may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of the largest answer that is taken, in bytes. It has room for every resource of one sidecar in a large
/// mesh. tonic's own limit of 4 MiB would refuse the config of a sidecar that sees 10,000 services.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API of a control plane.
pub(crate) type Admin = AdminClient<Channel>;

/// Connects to a control plane.
pub(crate) async fn connect(server: &str) -> Result<Admin> {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).with_context(|| format!("--server {server}"))?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
    let channel = channel.with_context(|| {
        format!("no control plane answers at {server} (is `rutter serve` running? another address: --server)")
    })?;
    Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}
