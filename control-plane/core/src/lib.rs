//! The pure core of the control plane: config changes in, xDS responses out.
//!
//! There is no runtime, no socket, no clock and no environment here. The way of a change, in the order of the modules:
//!
//! ```text
//! debounce      gathers changes into batches
//! index         takes a batch in and says what it changed; model is what objects are lowered to
//! visibility    who sees what
//! scope         what each group of clients sees; workload, what leads to one sidecar's application
//! encode        from the model to bytes, once per content
//! resource      the bytes; snapshot, what a client sees of them
//! mesh          all of this as one value
//! analysis      what is wrong with config; impact, what a change would send to whom
//! stream        what one client is sent
//! ```

pub mod analysis;
pub mod client;
mod copy_on_write;
pub mod debounce;
pub mod describe;
mod edges;
pub mod encode;
pub mod explain;
pub mod impact;
pub mod index;
pub mod mesh;
pub mod message_size;
pub mod model;
pub mod resource;
pub mod scope;
pub mod settings;
pub mod snapshot;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;
pub mod visibility;
pub mod walk;
mod workload;

pub use client::ClientClass;
pub use debounce::{ConfigBatch, ConfigChange, Debounce, Urgency};
pub use index::MeshIndex;
pub use mesh::{Mesh, NodeId};
pub use resource::{EncodedResource, Version};
pub use settings::MeshSettings;
pub use snapshot::{ResourceWrite, Snapshot, View};
pub use stream::{AdsStream, Response, Variant};
