//! What a change comes to, by scope.

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::Hostname;

use super::key::ScopeId;
use super::refresh::Refreshed;

/// The hosts that scopes have to look at again.
pub(super) type StaleHosts = BTreeMap<ScopeId, BTreeSet<Hostname>>;

/// The scopes that a batch changed.
#[derive(Debug, Default)]
pub struct ScopeDelta {
    /// The scopes of which some resource has other bytes.
    pub changed: BTreeSet<ScopeId>,
    /// The scopes of which some port came, went, or is used otherwise.
    pub listeners_moved: BTreeSet<ScopeId>,
}

impl ScopeDelta {
    pub(super) fn note(&mut self, id: ScopeId, refreshed: &Refreshed) {
        if refreshed.changed {
            self.changed.insert(id);
        }
        if !refreshed.ports.is_empty() {
            self.listeners_moved.insert(id);
        }
    }
}
