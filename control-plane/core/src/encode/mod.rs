//! From the model to protobuf bytes, once per content.
//!
//! What many scopes see is encoded through a [`Cache`]. Its encoders are plain functions of one `Inputs` struct and see
//! nothing else; the key of the cache is derived from all fields of that struct. So scopes that would get the same
//! bytes get the same allocation, and an input that the key does not name cannot change the bytes:
//!
//! ```text
//! ClusterInputs      service, DestinationRule, form of the client      -> clusters
//! EndpointInputs     service, DestinationRule, endpoints               -> load assignments
//! VirtualHostInputs  host, port, VirtualService, destinations, …       -> virtual host
//! CapturedInputs     the ports of an application (in `workload`)       -> inbound clusters and listener
//! ```

pub mod cache;
pub mod cluster;
mod dns_cache;
pub mod endpoint;
pub mod inputs;
pub mod listener;
pub mod route;
pub mod secret;
mod subsets;
#[cfg(test)]
pub(crate) mod testing;
mod transport;
mod wire;

pub(crate) use subsets::all_and_each_subset;

pub use cache::{Cache, Encoded};
pub use inputs::Shared;
