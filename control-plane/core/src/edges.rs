//! Reverse edges: from a thing to those that depend on it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Takes one dependent off; a thing that has none left is forgotten.
pub(crate) fn unlink<K: Hash + Eq, V: Ord>(edges: &mut HashMap<K, BTreeSet<V>>, from: &K, to: V) {
    if let Some(dependents) = edges.get_mut(from) {
        dependents.remove(&to);
        if dependents.is_empty() {
            edges.remove(from);
        }
    }
}
