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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::{Proxy, closed_port, echo};

    #[tokio::test]
    async fn bytes_go_both_ways_until_both_sides_have_finished() {
        let mut proxy = Proxy::start().await;
        let upstream = echo().await;
        proxy.cluster("c", &[upstream]);
        let address = proxy.tcp_listener("c").await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"hello");
    }

    #[tokio::test]
    async fn an_endpoint_that_cannot_be_reached_is_passed_over() {
        let mut proxy = Proxy::start().await;
        let upstream = echo().await;
        proxy.cluster("c", &[closed_port().await, closed_port().await, upstream]);
        let address = proxy.tcp_listener("c").await;
        for _ in 0..6 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            let mut answer = [0; 1];
            client.read_exact(&mut answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_to_nowhere_is_closed() {
        let mut proxy = Proxy::start().await;
        proxy.cluster("empty", &[]);
        for cluster in ["empty", "unknown"] {
            let address = proxy.tcp_listener(cluster).await;
            let mut client = TcpStream::connect(address).await.unwrap();
            let ended = client.read(&mut [0; 1]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{cluster}: {ended:?}");
        }
    }
}
