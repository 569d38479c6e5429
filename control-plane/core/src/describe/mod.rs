//! What touches an object or a client: who sees it, what shapes it, what has no effect and why, and what it costs.
//!
//! Clients of one scope see the same, so that everything is found once for each scope.
//!
//! - `description`: what is said of anything.
//! - `cost`: the resources that come of it, with their bytes.
//! - `service`, `virtual_service`, `destination_rule`, `gateway`, `sidecar` and `client`: what is said of each.
//! - `scopes`: how large the scopes are.
//! - `object`: objects of every kind that can be described.

mod client;
mod cost;
mod description;
mod destination_rule;
mod gateway;
mod object;
mod scopes;
mod service;
mod sidecar;
mod virtual_service;

pub use client::describe_client;
pub use description::{Cost, Description};
pub use object::describe;
pub use scopes::{ScopeSize, scope_sizes};

#[cfg(test)]
mod tests;
