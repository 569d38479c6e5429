//! Connections to endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rutter_proxy_core::ProxyConfig;
use rutter_proxy_core::config::ClusterState;
use tokio::net::TcpStream;

/// The number of endpoints that are tried if a connection cannot be made. Nothing was sent yet.
const CONNECT_TRIES: usize = 3;

/// Returns the addresses of a cluster to try, beginning with the next in turn.
pub(crate) fn addresses_in_turn(config: &ProxyConfig, cluster: &ClusterState) -> Vec<SocketAddr> {
    let addresses = config.addresses(&cluster.cluster);
    cluster.turns.next(addresses.len(), CONNECT_TRIES).map(|at| addresses[at]).collect()
}

/// Connects to an endpoint of a cluster.
pub(crate) async fn connect(config: &ProxyConfig, name: &str) -> Result<TcpStream> {
    let cluster = config.cluster(name).with_context(|| format!("{name}: no such cluster"))?;
    let mut failure = anyhow!("{name}: no endpoint");
    for address in addresses_in_turn(config, cluster) {
        match dial(address, cluster.cluster.connect_timeout).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Connects to an address within a time limit.
pub(crate) async fn dial(address: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await;
    let stream = stream.with_context(|| format!("{address}: no connection within {limit:?}"))?;
    let stream = stream.with_context(|| address.to_string())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
