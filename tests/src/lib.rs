//! What the end-to-end tests and the demo share: a real control plane, real Envoys and small applications.
//!
//! Every process that is started here ends with the value that owns it. It dies with this process
//! even if that is killed (`setpriv --pdeathsig`).

pub mod adapter;
pub mod apps;
pub mod bytes_apps;
pub mod client;
pub mod cutter;
pub mod dice;
pub mod echo;
pub mod edge;
pub mod expect;
pub mod fleet;
pub mod http;
pub mod meshes;
pub mod otlp;
pub mod process;
pub mod schema;
pub mod tls;
pub mod walks;

use std::path::{Path, PathBuf};

/// The folders of the crates of the product.
pub const CRATES: [&str; 8] = [
    "api",
    "control-plane/core",
    "control-plane/store",
    "control-plane/malloc",
    "control-plane/server",
    "data-plane/core",
    "data-plane/proxy",
    "cli",
];

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Returns the part of a file before its module of tests, whose declaration may have further attributes.
pub fn production_of(text: &str) -> &str {
    for (start, _) in text.match_indices("#[cfg(test)]\n") {
        let rest = text[start..].lines().find(|line| !line.starts_with("#["));
        if rest.is_some_and(|line| line.starts_with("mod tests {")) {
            return &text[..start];
        }
    }
    text
}
