//! Names that are asked for because something else needs them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The names of one type that other resources need, and those that were asked for. The cost of a look at them follows
/// what changed since the last one. Clusters need load assignments, and listeners need route tables.
#[derive(Debug, Default)]
pub(super) struct NeededNames {
    /// The number of resources that need a name.
    counts: HashMap<Arc<str>, usize>,
    /// The names that may have become needed, or no longer, since the last look.
    changed: BTreeSet<Arc<str>>,
    /// The names that were asked for on this stream.
    asked: BTreeSet<Arc<str>>,
}

/// What has to be asked for and what no longer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NameChanges {
    pub(super) subscribe: Vec<Arc<str>>,
    pub(super) unsubscribe: Vec<Arc<str>>,
    /// Whether nothing had been asked for before on the stream.
    pub(super) is_first: bool,
}

impl NeededNames {
    /// Takes in that one more resource needs a name.
    pub(super) fn add(&mut self, name: &Arc<str>) {
        *self.counts.entry(name.clone()).or_default() += 1;
        self.changed.insert(name.clone());
    }

    /// Takes in that one resource less needs a name.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        if let Some(count) = self.counts.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(name);
            }
        }
        self.changed.insert(name.clone());
    }

    /// Takes in that a stream begins, on which nothing was asked for.
    pub(super) fn start_again(&mut self) {
        self.asked.clear();
        self.changed = self.counts.keys().cloned().collect();
    }

    /// Returns what has to be asked for now, and what no longer.
    pub(super) fn take_changes(&mut self) -> NameChanges {
        let mut changes = NameChanges { is_first: self.asked.is_empty(), ..NameChanges::default() };
        for name in std::mem::take(&mut self.changed) {
            if self.counts.contains_key(&name) {
                if self.asked.insert(name.clone()) {
                    changes.subscribe.push(name);
                }
            } else if self.asked.remove(&name) {
                changes.unsubscribe.push(name);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_left_when_nobody_needs_it() {
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let mut needed = NeededNames::default();
        needed.add(&a);
        needed.add(&a);
        needed.add(&b);
        let changes = needed.take_changes();
        assert_eq!((changes.subscribe, changes.is_first), (vec![a.clone(), b.clone()], true));
        needed.remove(&a);
        assert_eq!(needed.take_changes(), NameChanges::default());
        needed.remove(&a);
        assert_eq!(needed.take_changes().unsubscribe, [a]);
        needed.start_again();
        assert_eq!(needed.take_changes().subscribe, [b]);
    }

    #[test]
    fn what_is_needed_again_at_once_is_not_asked_for_again() {
        let a = Arc::from("a");
        let mut needed = NeededNames::default();
        needed.add(&a);
        needed.take_changes();
        needed.remove(&a);
        needed.add(&a);
        assert_eq!(needed.take_changes(), NameChanges::default());
    }
}
