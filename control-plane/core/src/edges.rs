//! Reverse edges: maps from a thing to those that depend on it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Adds a dependent of a thing.
pub(crate) fn link<K: Hash + Eq, V: Ord>(edges: &mut HashMap<K, BTreeSet<V>>, thing: K, dependent: V) {
    edges.entry(thing).or_default().insert(dependent);
}

/// Removes a dependent of a thing. A thing that has no dependent left is removed from the map, so that the map never
/// grows with what has gone. A dependent that is not there is no error, so callers need not know whether it was linked.
pub(crate) fn unlink<K: Hash + Eq, V: Ord>(edges: &mut HashMap<K, BTreeSet<V>>, thing: &K, dependent: &V) {
    if let Some(dependents) = edges.get_mut(thing) {
        dependents.remove(dependent);
        if dependents.is_empty() {
            edges.remove(thing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_without_dependents_is_forgotten() {
        let mut edges: HashMap<&str, BTreeSet<u32>> = HashMap::new();
        link(&mut edges, "a", 1);
        link(&mut edges, "a", 2);
        unlink(&mut edges, &"a", &1);
        assert_eq!(edges["a"], [2].into());
        unlink(&mut edges, &"a", &2);
        unlink(&mut edges, &"b", &2);
        assert!(edges.is_empty());
    }
}
