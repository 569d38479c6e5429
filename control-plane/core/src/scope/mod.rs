//! Scopes: what some clients may see, kept up to date host by host.
//!
//! Clients with the same [`ScopeKey`] share a scope. A scope that restricts nothing lies over a *base*, which is the
//! mesh as a client of no namespace sees it; such a scope itself has only the hosts at which its namespace differs.
//!
//! The way of a change:
//!
//! ```text
//! IndexDelta ── affected ──> hosts, and who may see them        the only place that decides what a change concerns
//!            ── table ─────> scopes by reverse edges, and bases
//!            ── refresh ───> the resources of those hosts, through the caches of the encoder
//!            ── writes ────> the next snapshot of each scope
//! ```

mod affected;
mod bases;
mod delta;
mod domains;
mod elsewhere;
mod encoder;
mod gateway_host;
mod gateway_table;
mod host;
mod key;
mod port_uses;
mod refresh;
mod reverse_edges;
mod route_sources;
mod sources;
mod state;
mod table;
mod writes;

pub use delta::ScopeDelta;
pub use encoder::{Encoder, Spread};
pub use key::{ScopeId, ScopeKey};
pub use route_sources::{RuleOfRoute, rule_of_route};
pub use sources::sources;
pub use state::Scope;
pub use table::ScopeTable;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
