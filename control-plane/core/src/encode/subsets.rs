//! The groups of endpoints of a service.

use rutter_api::config::istio::{DestinationRule, Subset};

/// Returns the groups of endpoints that have a cluster: first all endpoints, as `None`, then each subset of the rule.
pub(crate) fn all_and_each_subset(rule: Option<&DestinationRule>) -> impl Iterator<Item = Option<&Subset>> {
    std::iter::once(None).chain(rule.into_iter().flat_map(|rule| rule.subsets.iter().map(Some)))
}
