//! The fleet bench: a mesh as Istio YAML, many simulated sidecars, and scenarios that are measured.

pub mod mesh;
pub mod report;
pub mod scenario;
pub mod server;
pub mod sidecar;
