//! Listeners: where traffic arrives, and which filter chain takes it.
//!
//! - `outbound`: what a captured application sends.
//! - `inbound`: what arrives for a captured application.
//! - `bound`: listeners of a sidecar whose traffic is not captured.
//! - `gateway`: listeners of gateways.
//! - `grpc`: listeners that the gRPC library asks for by name.
//! - `listener_filters`, `chains`, `connections` and `managers`: the listener filters, the filter chains, which connections
//!   these take, and the HTTP connection managers that these consist of.

mod bound;
mod chains;
mod connections;
mod gateway;
mod grpc;
mod inbound;
mod inbound_port;
mod listener_filters;
mod managers;
mod outbound;
mod server_tls;

use std::fmt::Display;
use std::sync::Arc;

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::listener::v3 as pb;

use crate::resource::EncodedResource;

pub use bound::{BoundListener, encode_bound, encode_bound_at_socket};
pub use chains::ConnectionTarget;
pub use connections::{ConnectionMatch, ConnectionTargets, target_of_service, targets_of_routes};
pub use gateway::{ServerOfListener, encode_gateway_listener};
pub use grpc::{encode_grpc_client, encode_grpc_server};
pub use inbound::encode_virtual_inbound;
pub use inbound_port::InboundPort;
pub use managers::{CORS_FILTER, FAULT_FILTER};
pub use outbound::{
    OutboundPort, encode_outbound_address, encode_outbound_port, encode_outbound_port_at, encode_virtual_outbound,
};

/// The port at which captured outbound traffic arrives.
pub const OUTBOUND_PORT: u16 = 15001;
/// The port at which captured inbound traffic arrives.
pub const INBOUND_PORT: u16 = 15006;

fn encoded(name: impl Display, listener: pb::Listener) -> EncodedResource {
    let name = name.to_string();
    let listener = pb::Listener { name: name.clone(), ..listener };
    EncodedResource::new(ResourceType::Listener, Arc::from(name), &listener.encode_to_vec())
}

#[cfg(test)]
mod tests;
