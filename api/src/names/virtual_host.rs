//! The names of virtual hosts that travel on their own, by VHDS.

use std::fmt;
use std::str::FromStr;

use super::{HostPort, Hostname};

/// The name of a virtual host as a resource: the route table that it belongs to, a slash, and its own name:
/// `80/reviews.default.svc.cluster.local:80`. The table is the port that clients use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualHostName(HostPort);

impl VirtualHostName {
    /// Returns the name of the virtual host of a service host in the table of a port.
    pub fn new(host: &Hostname, port: u16) -> Self {
        Self(HostPort::new(host, port))
    }

    /// Returns the service host whose requests the virtual host routes.
    pub fn host(&self) -> &Hostname {
        &self.0.host
    }

    /// Returns the port whose route table the virtual host belongs to.
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

impl fmt::Display for VirtualHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.port, self.0)
    }
}

impl FromStr for VirtualHostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (table, name) = text.rsplit_once('/').ok_or_else(|| refusal(text))?;
        let name: HostPort = name.parse()?;
        if table.parse() == Ok(name.port) { Ok(Self(name)) } else { Err(refusal(text)) }
    }
}

/// Returns the route table of any virtual host resource, whoever named it: what stands before the last slash, or
/// nothing where there is no slash. A client may ask for names that no [`VirtualHostName`] has. Streams follow a table
/// with its virtual hosts by this, whatever client or control plane made up the name.
pub fn table_of_virtual_host(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(table, _)| table)
}

fn refusal(text: &str) -> String {
    format!("want PORT/HOST:PORT, got {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_host_names_print_and_parse() {
        let text = "80/reviews.shop.svc.cluster.local:80";
        let name: VirtualHostName = text.parse().unwrap();
        assert_eq!((name.to_string().as_str(), name.port()), (text, 80));
        assert_eq!(name.host().as_str(), "reviews.shop.svc.cluster.local");
        for text in ["80", "80/a", "80/a:81", "x/a:80", "/a:80"] {
            assert!(text.parse::<VirtualHostName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_name_has_a_table_even_one_that_is_not_ours() {
        assert_eq!(table_of_virtual_host("80/a:80"), "80");
        assert_eq!(table_of_virtual_host("edge/80/a"), "edge/80");
        assert_eq!(table_of_virtual_host("a"), "");
    }
}
