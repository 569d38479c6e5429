//! From protobuf messages to typed resources. A message that needs what the proxy does not have is refused, with the path
//! of the field. `fields` says how that is made complete.

mod cluster;
mod endpoints;
mod fields;
mod listener;
mod route;

pub use cluster::{Addresses, Cluster, cluster};
pub use endpoints::load_assignment;
pub use fields::IgnoredFields;
pub use listener::{Chain, Listener, listener};
pub use route::{route_configuration, virtual_host};

/// Returns every field that the proxy ignores.
pub fn ignored_fields() -> impl Iterator<Item = IgnoredFields> {
    let lists =
        [cluster::Fields::IGNORED, endpoints::Fields::IGNORED, listener::Fields::IGNORED, route::Fields::IGNORED];
    lists.into_iter().flatten().copied().filter(|ignored| !ignored.fields.is_empty())
}

#[cfg(test)]
mod tests;
