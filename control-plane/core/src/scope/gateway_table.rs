//! The route tables of a gateway.

use std::collections::BTreeMap;

use rutter_api::{Hostname, RouteTableName};

use crate::index::MeshIndex;
use crate::model::{GatewayAddress, GatewayServer, servers_of};
use crate::visibility::Viewpoint;

/// A route table of a gateway, and the servers whose requests come by it.
#[derive(Debug)]
pub(super) struct GatewayTable {
    pub(super) name: RouteTableName,
    pub(super) servers: Vec<GatewayServer>,
}

impl GatewayTable {
    /// Returns whether requests to a host are answered with a redirect to HTTPS although no VirtualService routes it: a
    /// server that redirects names exactly this host.
    pub(super) fn redirects_without_routes(&self, host: &Hostname) -> bool {
        let redirecting = self.servers.iter().filter(|server| server.redirects_to_https());
        redirecting.flat_map(|server| &server.server().hosts).any(|server_host| server_host.host == *host)
    }
}

/// Returns the servers of a gateway by the address at which they are bound.
pub(super) fn servers_seen(
    viewpoint: Viewpoint<'_>,
    index: &MeshIndex,
) -> BTreeMap<GatewayAddress, Vec<GatewayServer>> {
    servers_of(viewpoint.gateways.iter().filter_map(|key| index.config(key)), viewpoint.target_ports)
}

/// Returns the route tables of some servers.
pub(super) fn tables_of(servers: &BTreeMap<GatewayAddress, Vec<GatewayServer>>) -> Vec<GatewayTable> {
    let mut tables: BTreeMap<RouteTableName, Vec<GatewayServer>> = BTreeMap::new();
    for server in servers.values().flatten() {
        if let Some(name) = server.table() {
            tables.entry(name).or_default().push(server.clone());
        }
    }
    tables.into_iter().map(|(name, servers)| GatewayTable { name, servers }).collect()
}
