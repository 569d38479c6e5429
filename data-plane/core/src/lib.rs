//! The pure core of the sidecar: xDS responses in; validated config, requests and decisions out.
//!
//! No runtime, no socket, no clock, no randomness: [`ads`] is the protocol as a value, [`validate`] the
//! door, [`proxy_config`] what is in force, [`route`] what becomes of a request.

pub mod ads;
pub mod proxy_config;
pub mod route;
pub mod validate;

pub use ads::AdsClient;
pub use proxy_config::{ListenerPlan, ProxyConfig};
