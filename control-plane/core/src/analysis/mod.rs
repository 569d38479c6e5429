//! What is wrong with config, or has no effect, although each object alone is valid.
//!
//! Every check is about one object and looks at others only through `Surroundings`. The codes, and most of the conditions, are
//! those of Istio's configuration analysis, so that people who know them find what they expect; `docs/analyze.md` lists them.
//! What cannot be known is not told: without any known workload nothing is said of selectors, for example.
//!
//! - `code`: the codes, with their levels; `finding`: what is told.
//! - `checks`: all checks of a mesh.
//! - `surroundings`: what checks look up.
//! - `audience`: the connected clients that a finding is about.
//! - `report`: the analysis of a mesh as it would be with some files.
//! - `virtual_service`, `unreachable`, `destination_rule`, `sidecar`, `service`, `gateway`: the checks, by kind.

mod audience;
mod checks;
mod code;
mod destination_rule;
mod finding;
mod gateway;
mod report;
mod service;
mod sidecar;
mod surroundings;
mod unreachable;
mod virtual_service;

pub use checks::analyze;
pub use code::{Code, Level};
pub use finding::Finding;
pub use report::{Input, Report, Row, Source, report};

#[cfg(test)]
mod tests;
