//! Rutter's shared vocabulary: resource names, config kinds and the messages on the wire.
//!
//! No I/O, no clock, no runtime. Both planes and the CLI depend on it, and it on none of them.

mod brief;
pub mod config;
pub mod duration;
pub mod invalid;
#[cfg(feature = "reflect")]
pub mod json;
pub mod labels;
pub mod names;
pub mod node;
pub mod pb;
pub mod resource_type;
pub mod yaml;

pub use brief::brief;
pub use config::{Config, ConfigKey, Kind, Spec};
pub use invalid::Invalid;
pub use labels::Labels;
pub use names::{ClusterName, Direction, Hostname};
pub use node::SidecarNode;
pub use resource_type::ResourceType;
