//! Who sees what: the only place in which `exportTo`, a Sidecar's `egress` and workload selectors are interpreted.
//!
//! - [`WorkloadObjects`]: the objects that are about a workload, found by its namespace and labels.
//! - [`Egress`]: what a Sidecar object lets its workloads see.
//! - [`Viewpoint`]: from where a client looks at the mesh; it finds the service, the VirtualService and the
//!   DestinationRule that a host means there.
//! - `left_out`: why an object has no effect for a client.
//! - `namespaces_that_differ` and `hosts_that_differ`: where clients of a namespace may see a host otherwise than
//!   a client of no namespace, which is what scopes over a shared base consist of.

mod egress;
mod left_out;
mod namespaces_that_differ;
mod viewpoint;
mod workload_objects;

pub use egress::{Egress, ListenerPlace, SeenListener};
pub(crate) use namespaces_that_differ::{hosts_that_differ, namespaces_that_differ};
pub use viewpoint::Viewpoint;
pub use workload_objects::WorkloadObjects;
