//! Rutter's shared vocabulary: names of resources, kinds of config, and the messages on the wire.
//!
//! There is no I/O, no clock and no runtime here. Both planes and the CLI depend on this crate, and it depends on
//! none of them.

mod admin_files;
mod brief;
pub mod config;
mod creation_timestamp;
mod dns_name;
pub mod duration;
pub mod invalid;
#[cfg(feature = "reflect")]
pub mod json;
mod json_documents;
mod label_selector;
pub mod labels;
pub mod names;
pub mod node;
pub mod pb;
mod printable;
mod re2;
pub mod resource_type;
mod socket_path;
mod spelling;
pub mod yaml;

pub use admin_files::{ADMIN_SOCKET, MEMORY_ADMIN_SOCKET, TOKENS_FILE};
pub use brief::brief;
pub use config::{Config, ConfigKey, Kind, Spec};
pub use creation_timestamp::CreationTimestamp;
pub use dns_name::{LABEL_MAX, NAME_MAX, check_dns_name, check_label_value};
pub use invalid::Invalid;
pub use label_selector::LabelSelector;
pub use labels::Labels;
pub use names::{ClusterName, Direction, HostPort, Hostname, ListenerName, RouteTableName, VirtualHostName};
pub use node::SidecarNode;
pub use printable::{LogWriter, PrintableWriter, printable, printable_line};
pub use re2::as_rust as re2_as_rust;
pub use resource_type::{PerType, ResourceType, StateOfTheWorldForm};
pub use socket_path::socket_path;
