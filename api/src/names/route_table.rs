//! The names of route tables.

use std::fmt;
use std::str::FromStr;

use super::{ClusterName, HostPort};
use crate::socket_path::socket_path;

/// The name of a route table (a RouteConfiguration), which says what the table is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTableName {
    /// `80`: the table of every service with this port. Its virtual hosts may travel on their own.
    Port(u16),
    /// `db.shop.svc.cluster.local:3306`: the table of one service that is reached at its own address, for what turns
    /// out to be HTTP.
    Service(HostPort),
    /// `unix:///run/app.sock`: the table of a sidecar's listener at a Unix socket, which has requests to every port.
    Socket(Box<str>),
    /// `outbound|80||reviews.shop.svc.cluster.local`: the table of one service for the gRPC library, which has a table
    /// for each target. It is called as the cluster is, as with Istio. Only clients of the class `Grpc` are sent such
    /// tables.
    Grpc(ClusterName),
    /// `http.8080`: the table of all servers of a gateway that take plain requests at a port. `https.8443.web.edge.shop`:
    /// the table of one server that decrypts, so that no other server's requests can come by its connections; after the
    /// port stand the name of the port, that of the Gateway object and its namespace.
    Gateway {
        /// The port of the servers.
        port: u16,
        /// The name of the port, of the Gateway object and its namespace, if the table is that of one server.
        server: Option<Box<str>>,
    },
}

impl RouteTableName {
    /// Returns whether the virtual hosts of the table travel on their own (VHDS), where the client takes that. Those of a
    /// port do. The other tables have their virtual hosts in them.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Port(_) | Self::Gateway { .. } => true,
            Self::Service(_) | Self::Socket(_) | Self::Grpc(_) => false,
        }
    }
}

impl fmt::Display for RouteTableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Service(service) => write!(f, "{service}"),
            Self::Socket(path) => write!(f, "unix://{path}"),
            Self::Grpc(cluster) => write!(f, "{cluster}"),
            Self::Gateway { port, server: None } => write!(f, "http.{port}"),
            Self::Gateway { port, server: Some(server) } => write!(f, "https.{port}.{server}"),
        }
    }
}

impl FromStr for RouteTableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(Self::Port(port));
        }
        if let Some(path) = socket_path(text) {
            return Ok(Self::Socket(path.into()));
        }
        if let Ok(cluster) = text.parse() {
            return Ok(Self::Grpc(cluster));
        }
        if let Some(port) = text.strip_prefix("http.").and_then(|port| port.parse().ok()) {
            return Ok(Self::Gateway { port, server: None });
        }
        if let Some((port, server)) = text.strip_prefix("https.").and_then(|rest| rest.split_once('.'))
            && let Ok(port) = port.parse()
        {
            return Ok(Self::Gateway { port, server: Some(server.into()) });
        }
        text.parse()
            .map(Self::Service)
            .map_err(|_| format!("want PORT, HOST:PORT or the name of a cluster, got {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_table_names_print_and_parse() {
        for (text, is_shared) in [("80", true), ("a.b:3306", false), ("outbound|80||a.b", false), ("unix:///a", false)]
        {
            let name: RouteTableName = text.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.is_shared()), (text, is_shared));
        }
        for text in ["", "a.b", "70000", "outbound|80"] {
            assert!(text.parse::<RouteTableName>().is_err(), "{text:?}");
        }
    }
}
