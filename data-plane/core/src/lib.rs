//! The pure core of the sidecar: xDS responses in; validated config, requests and decisions out.
//!
//! There is no runtime, no socket, no clock and no randomness here.
//!
//! ```text
//! ads           the protocol as a value: responses go in, requests come out
//! resources     from messages to typed resources; what the proxy does not act on is refused by the path of its field
//! config        what is in force; shards, the maps that it consists of
//! route_table   what becomes of a request
//! balance       which endpoint is next
//! ```

pub mod ads;
pub mod balance;
pub mod config;
pub mod resources;
pub mod route_table;
mod shards;

pub use ads::AdsClient;
pub use config::{ListenerPlan, ProxyConfig};
