//! A host and a port in one text.

use std::fmt;
use std::str::FromStr;

use super::Hostname;

/// A host and a port, printed as `HOST:PORT`. This is the inner name of a virtual host, the name of the route table
/// that a single service has for itself, and the target of a gRPC client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host, in full or in one of the short forms that Kubernetes allows.
    pub host: Hostname,
    /// The port that clients use.
    pub port: u16,
}

impl HostPort {
    /// Returns the pair of a host and a port.
    pub fn new(host: &Hostname, port: u16) -> Self {
        Self { host: host.clone(), port }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refusal(text))?;
        Ok(Self { host: host.parse()?, port: port.parse().map_err(|_| refusal(text))? })
    }
}

fn refusal(text: &str) -> String {
    format!("want HOST:PORT, got {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_print_and_parse() {
        assert_eq!("a.b:80".parse::<HostPort>().unwrap().to_string(), "a.b:80");
        for text in ["a.b", "a.b:", "a.b:x", "a.b:70000", ":80", "a b:80"] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?}");
        }
    }
}
