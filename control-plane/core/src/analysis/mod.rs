//! What is wrong with config, or has no effect, although each object alone is valid.
//!
//! Every check is about one object and looks at others only through `Surroundings`, which notes what it looks at. The codes, and most
//! of the conditions, are those of Istio's configuration analysis, so that people who know them find what they expect;
//! `docs/analyze.md` lists them. What cannot be known is not told: where no Pod and no client is known, nothing is said of selectors.
//!
//! - `code`: the codes, with their levels; `finding`: what is told.
//! - `state`: the findings of a mesh, kept up to date; `analyzer`: the same beside objects of its own.
//! - `gateway_rule`: what rules of VirtualServices are at gateways.
//! - `surroundings`: what checks look up; `read`: what that was; `facts`: what is known of all objects together.
//! - `audience`: the connected clients that a finding is about.
//! - `report`: the analysis of a mesh as it would be with some files.
//! - `virtual_service`, `unreachable`, `destination_rule`, `sidecar`, `service`, `gateway`: the checks, by kind.

mod analyzer;
mod audience;
mod code;
mod destination_rule;
mod facts;
mod finding;
mod gateway;
mod gateway_rule;
mod read;
mod report;
mod service;
mod sidecar;
mod state;
mod surroundings;
mod unreachable;
mod virtual_service;

pub use analyzer::{Analyzer, Outlook};
pub use code::{Code, Level};
pub use finding::Finding;
pub use report::{Input, Report, Row, Source, report};
pub(crate) use state::Before;
pub use state::{Analysis, is_checked};

#[cfg(test)]
mod tests;
