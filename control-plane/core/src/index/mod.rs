//! The mesh as it is configured: every object, and the lookups that the engine needs.
//!
//! [`MeshIndex`] takes batches in and says what they changed. Each of its parts owns its maps:
//!
//! ```text
//! objects            every object by its key
//! services           definitions by host, by namespace, by virtual address
//! address_pool       addresses for services that have none
//! workloads          services by the labels that they select, WorkloadEntries by their labels
//! endpoints          endpoints by service, EndpointSlices by service, services by the address of their endpoints
//! virtual_services   VirtualServices by the hosts that they route, and by the hosts that they send to
//! destination_rules  DestinationRules by host
//! localities         what DestinationRules have to know of the places of clients
//! exports            objects by the namespaces that their `exportTo` names
//! host_suffixes      every known host, ordered from its end, for wildcards
//! ```
//!
//! Who may see an object is not decided here but in [`crate::visibility`].

mod address_pool;
mod by_host;
mod delta;
mod destination_rules;
mod endpoints;
mod exports;
mod host_suffixes;
mod label_sets;
mod localities;
mod mesh_index;
mod objects;
mod services;
mod urgency;
mod virtual_services;
mod workloads;

pub use delta::{ChangedDestinationRule, IndexDelta};
pub use mesh_index::MeshIndex;
pub use urgency::urgency_of;

#[cfg(test)]
mod tests;
