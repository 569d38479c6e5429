//! The names of virtual hosts that travel on their own, by VHDS.

use std::fmt;
use std::str::FromStr;

use super::{HostPort, Hostname, RouteTableName};

/// The name of a virtual host as a resource: the route table that it belongs to, a slash, and its own name, a host and
/// the port that clients use: `80/reviews.default.svc.cluster.local:80`, or `http.8080/shop.example.com:8080` at a
/// gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualHostName {
    table: RouteTableName,
    name: HostPort,
}

impl VirtualHostName {
    /// Returns the name of the virtual host of a service host in the table of a port.
    pub fn new(host: &Hostname, port: u16) -> Self {
        Self { table: RouteTableName::Port(port), name: HostPort::new(host, port) }
    }

    /// Returns the name of the virtual host of a host in the table of a gateway.
    pub fn of_gateway(table: RouteTableName, host: &Hostname, port: u16) -> Self {
        Self { table, name: HostPort::new(host, port) }
    }

    /// Returns the host whose requests the virtual host routes.
    pub fn host(&self) -> &Hostname {
        &self.name.host
    }

    /// Returns the port that clients use.
    pub fn port(&self) -> u16 {
        self.name.port
    }

    /// Returns the table that the virtual host belongs to.
    pub fn table(&self) -> &RouteTableName {
        &self.table
    }
}

impl fmt::Display for VirtualHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.name)
    }
}

impl FromStr for VirtualHostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (table, name) = text.rsplit_once('/').ok_or_else(|| refusal(text))?;
        let (table, name): (RouteTableName, HostPort) = (table.parse()?, name.parse()?);
        let is_its_port = match &table {
            RouteTableName::Port(port) | RouteTableName::Gateway { port, .. } => *port == name.port,
            RouteTableName::Service(_) | RouteTableName::Socket(_) | RouteTableName::Grpc(_) => false,
        };
        if is_its_port { Ok(Self { table, name }) } else { Err(refusal(text)) }
    }
}

/// Returns the route table of any virtual host resource, whoever named it: what stands before the last slash, or
/// nothing where there is no slash. A client may ask for names that no [`VirtualHostName`] has. Streams follow a table
/// with its virtual hosts by this, whatever client or control plane made up the name.
pub fn table_of_virtual_host(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(table, _)| table)
}

fn refusal(text: &str) -> String {
    format!("want TABLE/HOST:PORT, got {text:?}")
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
