//! Resources as bytes: encoded once, named by the hash of their content, and shared by everybody who is sent them.
//!
//! ```text
//! EncodedResource   one resource: its name, its version, its entry of a response
//! Chunk             up to 64 resources with neighbouring names; the unit that is copied when one of them changes
//! ResourceMap       the resources of a type in a snapshot, as chunks in order
//! ResourceList      what a response holds: chunks of several maps, by reference
//! Sums              what a set of resources is in one number: tells whether two sets are equal without comparing them
//! ```
//!
//! Nothing here knows what a resource means: this module depends on no other module of the crate.

mod encoded;
mod resource_list;
mod resource_map;
mod sums;

use std::sync::Arc;

pub use encoded::{EncodedResource, Version};
pub use resource_list::{Chunk, ResourceList};
pub(crate) use resource_map::{ResourceChange, ResourceMap};
pub use sums::{Sum, Sums};

/// The name of a resource. It is shared wherever the resource is held.
pub type ResourceName = Arc<str>;
