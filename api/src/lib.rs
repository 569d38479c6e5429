//! Rutter's shared vocabulary: names of resources, kinds of config, and the messages on the wire.
//!
//! There is no I/O, no clock and no runtime here. Both planes and the CLI depend on this crate, and it depends on
//! none of them.

mod brief;
pub mod config;
mod creation_timestamp;
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
pub use creation_timestamp::CreationTimestamp;
pub use invalid::Invalid;
pub use labels::Labels;
pub use names::{ClusterName, Direction, HostPort, Hostname, ListenerName, RouteTableName, VirtualHostName};
pub use node::SidecarNode;
pub use resource_type::{PerType, ResourceType, StateOfTheWorldForm};
