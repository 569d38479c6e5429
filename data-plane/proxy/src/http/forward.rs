//! Requests on their way to endpoints.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as upstream, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rutter_proxy_core::ProxyConfig;
use rutter_proxy_core::config::ClusterState;
use tokio::task::JoinSet;
use tracing::debug;

use super::response::Body;
use crate::connect::{addresses_in_turn, dial};

/// The headers that end at each hop.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"];

/// The connections to endpoints of one client connection. They end with it.
#[derive(Default)]
pub(super) struct Upstreams {
    /// The connections that wait for the next request.
    idle: Mutex<HashMap<SocketAddr, SendRequest<Incoming>>>,
    /// The tasks that drive the connections.
    drivers: Mutex<JoinSet<()>>,
}

/// A connection to an endpoint that can take a request.
struct Upstream {
    sender: SendRequest<Incoming>,
    address: SocketAddr,
}

impl Upstreams {
    fn idle(&self) -> MutexGuard<'_, HashMap<SocketAddr, SendRequest<Incoming>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request to an endpoint of a cluster.
    pub(super) async fn send(
        &self,
        config: &ProxyConfig,
        cluster: &str,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>> {
        strip_hop_by_hop(request.headers_mut());
        let state = config.cluster(cluster).context("no such cluster")?;
        let mut upstream = self.connect(config, state).await?;
        let response = upstream.sender.send_request(request).await?;
        // The connection is free again when this body has been read, which is before the client's next request.
        self.idle().insert(upstream.address, upstream.sender);
        let (mut parts, body) = response.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        Ok(Response::from_parts(parts, body.boxed()))
    }

    /// Returns a connection to the next endpoint in turn, or to one after it if that cannot be reached.
    async fn connect(&self, config: &ProxyConfig, cluster: &ClusterState) -> Result<Upstream> {
        let mut failure = anyhow!("no healthy upstream");
        for address in addresses_in_turn(config, cluster) {
            let waiting = self.idle().remove(&address);
            if let Some(mut sender) = waiting
                && sender.ready().await.is_ok()
            {
                return Ok(Upstream { sender, address });
            }
            match dial(address, cluster.cluster.connect_timeout).await {
                Ok(stream) => {
                    let (sender, connection) = upstream::handshake(TokioIo::new(stream)).await?;
                    self.drivers.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
                        if let Err(error) = connection.await {
                            debug!(error = %error, "a connection to an endpoint ended");
                        }
                    });
                    return Ok(Upstream { sender, address });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_owned()))
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn headers_of_a_hop_end_there_with_those_that_connection_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Hop"), ("te", "trailers"), ("x-hop", "1"), ("x-kept", "1")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-kept"]);
    }
}
