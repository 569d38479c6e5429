//! The pure core of the control plane: config changes in, delta responses out.
//!
//! No runtime, no socket, no clock, no environment. The way of a change, in the order of the modules:
//! [`debounce`] gathers it, [`index`] finds what it alters, [`scope`] who sees that, [`encode`] makes
//! the bytes, [`snapshot`] keeps them, [`mesh`] ties these together, and [`delta_stream`], or
//! [`sotw_stream`], decides what one sidecar is sent.

pub mod ads_stream;
pub mod batch;
pub mod debounce;
pub mod delta_stream;
mod edges;
pub mod encode;
pub mod inbound;
pub mod index;
pub mod mesh;
mod others;
mod resources;
pub mod scope;
pub mod snapshot;
pub mod sotw_stream;
pub mod subscription;
pub mod verify;

pub use ads_stream::{AdsStream, Variant};
pub use debounce::{ConfigBatch, ConfigChange, Debounce};
pub use delta_stream::Response;
pub use encode::{EncodedResource, Version};
pub use index::{MeshIndex, MeshSettings};
pub use mesh::{Mesh, NodeId};
pub use snapshot::{ScopeSnapshot, View};
