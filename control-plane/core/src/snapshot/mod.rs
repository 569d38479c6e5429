//! What a client sees: immutable snapshots, one over the other.
//!
//! A [`View`] has three layers. Each is a [`Snapshot`], shared by everybody who sees the same:
//!
//! ```text
//!   sidecar   what leads to the sidecar's own application          shared by the sidecars of a service
//!   scope     what the sidecars of a scope see otherwise           shared by the sidecars of a scope
//!   base      what everybody sees who is not restricted            shared by all such scopes
//! ```
//!
//! A name is looked up from the top. Each layer says one of three things of a name: *this resource*, *hidden* (there
//! is no such resource, whatever is below), or nothing, in which case the next layer is asked:
//!
//! ```text
//!   name           a            b            c
//!   sidecar        -            -            -
//!   scope          version 2    hidden       -
//!   base           version 1    version 1    version 1
//!   the view has   version 2    nothing      version 1
//! ```
//!
//! The next snapshot shares with its predecessor everything that did not change, and remembers what its latest changes
//! altered, so that a stream is told the difference between two views without a comparison.

mod layer;
mod view;

pub use layer::{ResourceWrite, Snapshot};
pub use view::View;
