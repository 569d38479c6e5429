//! Maps whose copies share what did not change.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The number of shards of a group, and of groups in a map.
const WIDTH: usize = 64;

type Shard<V> = Arc<BTreeMap<Arc<str>, V>>;
type Group<V> = Arc<Vec<Shard<V>>>;

/// A map by name in two levels of shards. A clone costs nothing, and a change copies one group, one shard and the list
/// of groups: about 128 pointers and one entry of 4,096, however large the map is.
#[derive(Debug, Clone)]
pub(crate) struct ShardedMap<V> {
    groups: Arc<Vec<Group<V>>>,
    len: usize,
}

impl<V> Default for ShardedMap<V> {
    fn default() -> Self {
        let group: Group<V> = Arc::new(vec![Shard::default(); WIDTH]);
        Self { groups: Arc::new(vec![group; WIDTH]), len: 0 }
    }
}

/// The place of a name in a map.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: usize,
    shard: usize,
}

fn place_of(name: &str) -> Place {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hash = usize::try_from(hasher.finish() % (WIDTH * WIDTH) as u64).unwrap_or_default();
    Place { group: hash / WIDTH, shard: hash % WIDTH }
}

impl<V: Clone> ShardedMap<V> {
    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let place = place_of(name);
        self.groups[place.group][place.shard].get(name)
    }

    /// Returns whether there is a value of a name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns every entry, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.groups.iter().flat_map(|group| group.iter()).flat_map(|shard| shard.iter())
    }

    /// Puts a value, and returns the one that it replaces.
    pub(crate) fn insert(&mut self, name: Arc<str>, value: V) -> Option<V> {
        let old = self.shard_mut(&name).insert(name, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a value, and returns it.
    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        if !self.contains(name) {
            return None;
        }
        let old = self.shard_mut(name).remove(name);
        self.len -= usize::from(old.is_some());
        old
    }

    fn shard_mut(&mut self, name: &str) -> &mut BTreeMap<Arc<str>, V> {
        let place = place_of(name);
        let group = Arc::make_mut(&mut Arc::make_mut(&mut self.groups)[place.group]);
        Arc::make_mut(&mut group[place.shard])
    }

    /// Returns the entries of the shards in which the two maps differ: first those of `self`, then those of `other`.
    /// Shards that the maps share are passed over, so the cost follows the difference. An entry that is the same in
    /// both may be among them, if its shard has another change.
    pub(crate) fn unshared<'a>(&'a self, other: &'a Self) -> [Vec<(&'a Arc<str>, &'a V)>; 2] {
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        if Arc::ptr_eq(&self.groups, &other.groups) {
            return [ours, theirs];
        }
        let groups = self.groups.iter().zip(other.groups.iter()).filter(|(a, b)| !Arc::ptr_eq(a, b));
        for (group, other_group) in groups {
            let shards = group.iter().zip(other_group.iter()).filter(|(a, b)| !Arc::ptr_eq(a, b));
            for (shard, other_shard) in shards {
                ours.extend(shard.iter());
                theirs.extend(other_shard.iter());
            }
        }
        [ours, theirs]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> ShardedMap<usize> {
        let mut map = ShardedMap::default();
        for number in 0..10_000 {
            map.insert(format!("name-{number}").into(), number);
        }
        map
    }

    #[test]
    fn values_are_put_found_and_removed() {
        let mut map = large();
        assert_eq!((map.len(), map.get("name-77"), map.get("none")), (10_000, Some(&77), None));
        assert_eq!(map.insert("name-77".into(), 1), Some(77));
        assert_eq!((map.remove("name-77"), map.remove("name-77"), map.len()), (Some(1), None, 9_999));
        assert_eq!(map.iter().count(), 9_999);
    }

    #[test]
    fn a_copy_shares_everything_but_what_changed() {
        let old = large();
        let mut new = old.clone();
        new.insert("name-5".into(), 6);
        assert_eq!((old.get("name-5"), new.get("name-5")), (Some(&5), Some(&6)));
        let [ours, theirs] = new.unshared(&old);
        assert!(ours.len() < 30 && theirs.len() < 30, "one shard of 4,096: {}", ours.len());
        assert!(ours.contains(&(&"name-5".into(), &6)) && theirs.contains(&(&"name-5".into(), &5)));
        assert!(old.unshared(&old.clone())[0].is_empty());
    }
}
