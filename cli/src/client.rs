//! The connection to the control plane.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

/// How long a control plane may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The length of the largest answer that is taken, in bytes. It has room for every resource of one sidecar in a large
/// mesh. tonic's own limit of 4 MiB would refuse the config of a sidecar that sees 10,000 services.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API of a control plane.
pub(crate) type Admin = AdminClient<Channel>;

/// The address of the admin API.
#[derive(Debug, Clone)]
pub(crate) struct ServerAddress {
    /// The address as `HOST:PORT`.
    text: String,
    endpoint: Endpoint,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    /// Reads an address. A URL of the scheme `http` without a path means the same.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("want HOST:PORT, got a URL of https (TLS is not built yet)".into());
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let is_host = |host: &str| match host.strip_prefix('[') {
            Some(rest) => rest.ends_with(']'),
            None => !host.is_empty() && !host.contains([':', '/', ' ']),
        };
        let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| is_host(host)) else {
            return Err("want HOST:PORT (the admin port is 15014 unless `rutter serve --admin` says otherwise)".into());
        };
        match port.parse() {
            Ok(1..=u16::MAX) => {}
            Ok(0) | Err(_) => return Err(format!("want a port of 1..=65535, got {port}")),
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| format!("want HOST:PORT: {host}: {error}"))?;
        Ok(Self { text: address.to_owned(), endpoint })
    }
}

/// Connects to a control plane.
pub(crate) async fn connect(server: &ServerAddress) -> Result<Admin> {
    let channel = server.endpoint.clone().connect_timeout(CONNECT_TIMEOUT).connect().await;
    let channel = channel.map_err(|error| {
        // The errors around it only say again that it is one of the connection.
        let error = anyhow::Error::from(error);
        let cause = error.root_cause();
        anyhow!("no control plane answers at {server} (is `rutter serve` running? another address: --server): {cause}")
    })?;
    Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_may_be_written_as_a_url() {
        let read = |text: &str| text.parse::<ServerAddress>().map(|address| address.to_string());
        for text in ["127.0.0.1:15014", "http://127.0.0.1:15014", "http://127.0.0.1:15014/"] {
            assert_eq!(read(text), Ok("127.0.0.1:15014".to_owned()));
        }
        assert_eq!(read("[::1]:80"), Ok("[::1]:80".to_owned()));
        assert_eq!(read("rutter.mesh-system.svc:15014"), Ok("rutter.mesh-system.svc:15014".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_wanted() {
        let refused = |text: &str| text.parse::<ServerAddress>().unwrap_err();
        let want = "want HOST:PORT (the admin port is 15014 unless `rutter serve --admin` says otherwise)";
        for text in ["", "localhost", ":15014", "::1", "a b:1", "http://"] {
            assert_eq!(refused(text), want, "{text}");
        }
        assert_eq!(refused("a:99999"), "want a port of 1..=65535, got 99999");
        assert_eq!(refused("a:0"), "want a port of 1..=65535, got 0");
        assert_eq!(refused("http://a:1/path"), "want a port of 1..=65535, got 1/path");
        assert_eq!(refused("a:http"), "want a port of 1..=65535, got http");
        assert_eq!(refused("https://a:1"), "want HOST:PORT, got a URL of https (TLS is not built yet)");
        assert!(refused("a\u{7f}:1").starts_with("want HOST:PORT: a"), "{}", refused("a\u{7f}:1"));
    }
}
