//! Route tables: a small head, and virtual hosts that are encoded one by one and shared.
//!
//! - `virtual_host`: the virtual host of a host at a port, and the names under which clients ask for it.
//! - `table`: the route tables that virtual hosts are in.
//! - `gateway`: the route tables of gateways, and the virtual hosts in them.
//! - `socket`: the route tables of listeners at Unix sockets.
//! - `matches` and `action`: the two halves of a route; `filters`: what HTTP filters do for it.

mod action;
mod filters;
mod gateway;
mod matches;
mod socket;
mod table;
mod virtual_host;

pub use gateway::{
    GatewayRoutes, GatewayVirtualHostInputs, encode_gateway_head, encode_gateway_table, encode_gateway_virtual_host,
    gateway_route_sources,
};
pub use socket::{SocketVirtualHost, encode_socket_table};
pub use table::{encode_head, encode_own_table, encode_table};
pub(crate) use virtual_host::{DomainInputs, domains, ip_domain};
pub use virtual_host::{
    LookedUpService, RouteSource, ShortNames, VirtualHostInputs, encode_virtual_host, mesh_route_sources,
    without_domains,
};

#[cfg(test)]
mod tests;
