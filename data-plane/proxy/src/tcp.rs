//! Connections whose bytes are passed on.

use anyhow::Result;
use rutter_proxy_core::ProxyConfig;
use tokio::net::TcpStream;

use crate::connect::connect;

/// Passes the bytes of a client connection on to a cluster, in both directions.
pub(crate) async fn serve(config: &ProxyConfig, cluster: &str, mut stream: TcpStream) -> Result<()> {
    let mut upstream = connect(config, cluster).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}
