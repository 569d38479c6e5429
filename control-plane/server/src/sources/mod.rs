//! Where config comes from.
//!
//! A source is what is there at the start and a stream of commits. The engine merges the commits of all sources before
//! they are gathered into batches:
//!
//! ```text
//! admin API ──┐
//!             ├──> store ──> commits, durable ────┐
//! folder ─────┘                                   ├──> engine ──> debounce ──> mesh
//!              another source ──> commits ────────┘
//! ```
//!
//! The watched [`folder`] and the admin API write to the store, so that their objects have an age and survive a restart.
//! A source that is not durable, such as the API of Kubernetes, has no revisions. Two sources must not have the same
//! object: the latest commit of either counts.

pub(crate) mod folder;
pub(crate) mod manifests;
mod store;

use std::sync::Arc;

use futures::stream::BoxStream;
use rutter_api::{Config, ConfigKey};
use rutter_core::ConfigChange;

pub(crate) use store::open_store;

/// A source of config, opened.
pub(crate) struct Source {
    /// What the source is called in errors.
    pub(crate) name: &'static str,
    /// The objects that are there at the start.
    pub(crate) configs: Vec<Arc<Config>>,
    /// The revision at the start. It is 0 for a source that is not durable.
    pub(crate) revision: u64,
    /// What happens afterwards, in order. An error ends the process.
    pub(crate) commits: BoxStream<'static, anyhow::Result<SourceCommit>>,
}

/// Changes that a source makes at once.
#[derive(Debug, Clone)]
pub(crate) struct SourceCommit {
    /// The revision of the store after the changes. It is 0 for a source that is not durable.
    pub(crate) revision: u64,
    /// The changes, of which no two are of one object.
    pub(crate) changes: Vec<(ConfigKey, ConfigChange)>,
}
