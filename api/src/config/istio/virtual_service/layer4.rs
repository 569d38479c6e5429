//! Routes of connections, which are told by addresses and, of TLS, by the host that the client names (SNI).

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::Destination;
use crate::labels::Labels;
use crate::names::Hostname;

/// A route of TLS connections that pass through as they are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TlsRoute {
    /// The conditions, at least one, any one of which must hold.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatch>,
    /// The destinations, among which connections are divided by weight.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// A route of connections whose content is not looked at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TcpRoute {
    /// The conditions, any one of which must hold. Empty means that every connection is taken.
    #[serde(default, rename = "match")]
    pub matches: Vec<TcpMatch>,
    /// The destinations, among which connections are divided by weight.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// One condition of a route of TLS connections. Everything that is given in it must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsMatch {
    /// The hosts that the client may name, at least one. Each is covered by a host of the VirtualService.
    #[serde(default)]
    pub sni_hosts: Vec<Hostname>,
    /// The addresses that the connection may be for. Empty means any.
    #[serde(default, deserialize_with = "subnets")]
    pub destination_subnets: Vec<IpNet>,
    /// The port of the service that the client uses, or the port of the gateway's server.
    #[serde(default)]
    pub port: Option<NonZeroU16>,
    /// The labels that the client's workload must have.
    #[serde(default)]
    pub source_labels: Labels,
    /// The namespace that the client must be in.
    #[serde(default)]
    pub source_namespace: Option<String>,
    /// Where the condition holds, `mesh` or gateways. Empty means where the VirtualService does.
    #[serde(default)]
    pub gateways: Vec<String>,
}

/// One condition of a route of connections. Everything that is given in it must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpMatch {
    /// The addresses that the connection may be for. Empty means any.
    #[serde(default, deserialize_with = "subnets")]
    pub destination_subnets: Vec<IpNet>,
    /// The port of the service that the client uses, or the port of the gateway's server.
    #[serde(default)]
    pub port: Option<NonZeroU16>,
    /// The labels that the client's workload must have.
    #[serde(default)]
    pub source_labels: Labels,
    /// The namespace that the client must be in.
    #[serde(default)]
    pub source_namespace: Option<String>,
    /// Where the condition holds, `mesh` or gateways. Empty means where the VirtualService does.
    #[serde(default)]
    pub gateways: Vec<String>,
}

/// One destination of connections, and its share of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RouteDestination {
    /// The service that the connections go to.
    pub destination: Destination,
    /// The share, relative to the sum of the weights of the route. Zero means no connections, unless the destination is
    /// the only one of its route.
    #[serde(default)]
    pub weight: u32,
}

/// Reads addresses and ranges of addresses: `10.0.0.0/8`, or `10.0.0.1` for that address alone.
pub(crate) fn subnets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| subnet(text).ok_or_else(|| refusal(text))).collect()
}

/// Returns a range of addresses, given as `10.0.0.0/8` or as one address, or `None` if it is neither.
fn subnet(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(net.trunc())
}

fn refusal<E: de::Error>(text: &str) -> E {
    E::custom(format!("want an IP address or a range such as 10.0.0.0/8, got {text:?}"))
}
