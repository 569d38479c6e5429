//! What one sidecar asked for, of one type.

use std::collections::BTreeSet;

use crate::snapshot::ResourceName;

/// Whether all resources are wanted. Legal beside names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wildcard {
    /// No.
    #[default]
    Off,
    /// Yes: the first request named nothing. Ends, as a way of asking, with the first name.
    Implied,
    /// Yes: `*` was named.
    Asked,
}

/// A subscription. What is wanted, not what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// All resources.
    pub wildcard: Wildcard,
    /// By name, whether they exist or not.
    pub names: BTreeSet<ResourceName>,
}

impl Subscription {
    /// Whether a resource is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.is_wildcard() || self.names.contains(name)
    }

    /// Whether all are.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::Off
    }
}
