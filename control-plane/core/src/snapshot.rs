//! What a scope contains: immutable, sharing structure with what it was before.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rpds::RedBlackTreeMapSync;
use rutter_api::ResourceType;

use crate::batch::{Batch, Piece, Sums};
use crate::encode::{EncodedResource, Version};

/// How many changes a snapshot remembers. A stream that is further behind compares whole maps.
const HISTORY_MAX: usize = 64;

/// A resource's name; shared wherever it is held.
pub type ResourceName = Arc<str>;

/// None: what is under this is hidden.
type Resources = RedBlackTreeMapSync<ResourceName, Option<EncodedResource>>;

/// The resources that one change altered, by type: those that are new, different or gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SnapshotDelta {
    names: [BTreeSet<ResourceName>; ResourceType::COUNT],
}

/// All resources of a scope at one moment.
#[derive(Debug, Clone, Default)]
pub struct ScopeSnapshot {
    /// Which scope's history this is a part of.
    lineage: u64,
    /// Counts the changes of the lineage.
    sequence: u64,
    resources: [Resources; ResourceType::COUNT],
    /// Of what is there and not hidden.
    sums: [Sums; ResourceType::COUNT],
    history: VecDeque<Arc<SnapshotDelta>>,
    pieces: Pieces,
}

/// The resources of each type in a list, while somebody is being sent it.
#[derive(Debug, Default)]
struct Pieces([Mutex<Weak<Vec<Piece>>>; ResourceType::COUNT]);

impl Clone for Pieces {
    /// A clone is about to change.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Resources in a piece: few enough that leaving one out costs little.
const PIECE_LEN: usize = 64;
/// Bytes of the resources in a piece, unless it is one.
const PIECE_BYTES: usize = 64 << 10;

impl ScopeSnapshot {
    /// An empty one; `lineage` is unique to its scope.
    pub fn new(lineage: u64) -> Self {
        Self { lineage, ..Self::default() }
    }

    /// A resource.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&EncodedResource> {
        self.entry(kind, name)?.as_ref()
    }

    /// What it says of a name. None: nothing; `Some(&None)`: that there is no such resource.
    fn entry(&self, kind: ResourceType, name: &str) -> Option<&Option<EncodedResource>> {
        self.resources[kind.index()].get(name)
    }

    /// All resources of a type, by name.
    pub fn iter(&self, kind: ResourceType) -> impl Iterator<Item = &EncodedResource> {
        self.resources[kind.index()].values().flatten()
    }

    /// Those whose names begin so.
    fn starting<'a>(&'a self, kind: ResourceType, start: &'a str) -> impl Iterator<Item = &'a EncodedResource> {
        let from = self.resources[kind.index()].range::<str, _>((Bound::Included(start), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(start)).filter_map(|(_, resource)| resource.as_ref())
    }

    /// How many names it says something of.
    fn told(&self, kind: ResourceType) -> usize {
        self.resources[kind.index()].size()
    }

    /// All resources of a type in pieces, by name.
    fn pieces(&self, kind: ResourceType) -> Arc<Vec<Piece>> {
        let mut held = self.pieces.0[kind.index()].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pieces) = held.upgrade() {
            return pieces;
        }
        let mut all = self.iter(kind).cloned().peekable();
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some(first) = all.next() {
            let mut bytes = first.entry.len();
            let mut piece = vec![first];
            while let Some(next) =
                all.next_if(|next| piece.len() < PIECE_LEN && bytes + next.entry.len() <= PIECE_BYTES)
            {
                bytes += next.entry.len();
                piece.push(next);
            }
            pieces.push(piece.into());
        }
        let pieces = Arc::new(pieces);
        *held = Arc::downgrade(&pieces);
        pieces
    }

    /// The next snapshot; None: the writes changed no byte, so there is none.
    pub fn apply(&self, writes: Vec<Write>) -> Option<Self> {
        let mut next = self.clone();
        let mut delta = SnapshotDelta::default();
        for write in writes {
            let (kind, name, value) = match write {
                Write::Put(kind, resource) => (kind, resource.name.clone(), Some(Some(resource))),
                Write::Hide(kind, name) => (kind, name, Some(None)),
                Write::Remove(kind, name) => (kind, name, None),
            };
            let (resources, sums) = (&mut next.resources[kind.index()], &mut next.sums[kind.index()]);
            let version = |value: &Option<EncodedResource>| value.as_ref().map(|resource| resource.version);
            let sums_of = |value: Option<&Option<EncodedResource>>| {
                value.and_then(Option::as_ref).map_or_else(Sums::default, EncodedResource::sums)
            };
            let moved = sums.minus(sums_of(resources.get(&name))).plus(sums_of(value.as_ref()));
            let changed = match value {
                Some(value) if resources.get(&name).is_some_and(|old| version(old) == version(&value)) => false,
                Some(value) => {
                    resources.insert_mut(name.clone(), value);
                    true
                }
                None => resources.remove_mut(&name),
            };
            if changed {
                *sums = moved;
                delta.names[kind.index()].insert(name);
            }
        }
        if delta.names.iter().all(BTreeSet::is_empty) {
            return None;
        }
        next.sequence += 1;
        next.history.push_back(Arc::new(delta));
        if next.history.len() > HISTORY_MAX {
            next.history.pop_front();
        }
        Some(next)
    }

    /// The names of a type that differ between an older snapshot and this one.
    pub fn changed_since(&self, old: &Self, kind: ResourceType) -> BTreeSet<ResourceName> {
        let behind = self.sequence.checked_sub(old.sequence).and_then(|behind| usize::try_from(behind).ok());
        match behind {
            Some(behind) if self.lineage == old.lineage && behind <= self.history.len() => {
                let recent = self.history.iter().skip(self.history.len() - behind);
                recent.flat_map(|delta| delta.names[kind.index()].iter().cloned()).collect()
            }
            Some(_) | None => self.compare(old, kind),
        }
    }

    /// Whether any resource differs.
    pub fn differs_from(&self, old: &Self) -> bool {
        ResourceType::ALL.into_iter().any(|kind| !self.changed_since(old, kind).is_empty())
    }

    fn compare(&self, old: &Self, kind: ResourceType) -> BTreeSet<ResourceName> {
        let (new, old) = (&self.resources[kind.index()], &old.resources[kind.index()]);
        let version = |value: &Option<EncodedResource>| value.as_ref().map(|resource| resource.version);
        let differs = |name: &ResourceName| new.get(name).map(version) != old.get(name).map(version);
        new.keys().chain(old.keys()).filter(|name| differs(name)).cloned().collect()
    }
}

/// One change of a snapshot.
#[derive(Debug, Clone)]
pub enum Write {
    /// It is now this.
    Put(ResourceType, EncodedResource),
    /// There is none, whatever is under this.
    Hide(ResourceType, ResourceName),
    /// Nothing is said of it.
    Remove(ResourceType, ResourceName),
}

/// What one sidecar sees, in layers: the upper ones come first.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What all have who restrict nothing. Empty for those who do.
    pub base: Arc<ScopeSnapshot>,
    /// Shared by all sidecars of the scope.
    pub shared: Arc<ScopeSnapshot>,
    /// Its own: what leads to its application, and listeners that it must really bind.
    pub own: Arc<ScopeSnapshot>,
    /// The store's revision that made it so.
    pub revision: u64,
    /// When that change was made. None: it was so before the sidecar came.
    pub since: Option<Instant>,
}

impl View {
    /// A resource.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&EncodedResource> {
        let entry = self.own.entry(kind, name).or_else(|| self.shared.entry(kind, name));
        entry.or_else(|| self.base.entry(kind, name))?.as_ref()
    }

    /// Whether there is such a resource in this very version.
    pub fn has(&self, kind: ResourceType, name: &str, version: Version) -> bool {
        self.get(kind, name).is_some_and(|resource| resource.version == version)
    }

    /// All resources of a type.
    pub fn iter(&self, kind: ResourceType) -> impl Iterator<Item = &EncodedResource> {
        self.starting(kind, "")
    }

    /// Those whose names begin so.
    pub fn starting<'a>(&'a self, kind: ResourceType, start: &'a str) -> impl Iterator<Item = &'a EncodedResource> {
        let is_own = move |one: &&EncodedResource| self.own.entry(kind, &one.name).is_none();
        let is_shared = move |one: &&EncodedResource| self.shared.entry(kind, &one.name).is_none();
        let shared = self.shared.starting(kind, start).filter(is_own);
        let base = self.base.starting(kind, start).filter(is_shared).filter(is_own);
        self.own.starting(kind, start).chain(shared).chain(base)
    }

    /// What all resources of a type are together.
    pub fn sums(&self, kind: ResourceType) -> Sums {
        let layers = [&self.own, &self.shared, &self.base];
        let under = |upper: usize, name: &ResourceName| {
            let entry = layers[upper + 1..].iter().find_map(|layer| layer.entry(kind, name));
            entry.and_then(Option::as_ref).map_or_else(Sums::default, EncodedResource::sums)
        };
        let mut sums = self.base.sums[kind.index()];
        for upper in (0..2).rev() {
            sums = sums.plus(layers[upper].sums[kind.index()]);
            if layers[upper + 1..].iter().any(|layer| layer.told(kind) > 0) {
                let names = layers[upper].resources[kind.index()].keys();
                sums = names.fold(sums, |sums, name| sums.minus(under(upper, name)));
            }
        }
        sums
    }

    /// All resources of a type in pieces, shared with others who see them.
    pub fn batch(&self, kind: ResourceType) -> Batch {
        let mut batch = Batch::default();
        let mut covered: BTreeSet<&ResourceName> = BTreeSet::new();
        let layers = [&self.own, &self.shared, &self.base];
        for (number, layer) in layers.into_iter().enumerate() {
            for piece in layer.pieces(kind).iter() {
                let ends = piece.first().zip(piece.last()).map(|(first, last)| &first.name..=&last.name);
                if ends.is_some_and(|ends| covered.range::<&ResourceName, _>(ends).next().is_some()) {
                    batch.push(piece.iter().filter(|one| !covered.contains(&one.name)).cloned().collect());
                } else {
                    batch.push(piece.clone());
                }
            }
            if layers[number + 1..].iter().any(|lower| lower.told(kind) > 0) {
                covered.extend(layer.resources[kind.index()].keys());
            }
        }
        batch
    }

    /// The names of a type that differ between an older view and this one.
    pub fn changed_since(&self, old: &View, kind: ResourceType) -> BTreeSet<ResourceName> {
        let mut names = self.base.changed_since(&old.base, kind);
        names.append(&mut self.shared.changed_since(&old.shared, kind));
        names.append(&mut self.own.changed_since(&old.own, kind));
        let version = |view: &View, name: &str| view.get(kind, name).map(|resource| resource.version);
        names.retain(|name| version(self, name) != version(old, name));
        names
    }

    /// Whether any resource differs.
    pub fn differs_from(&self, old: &View) -> bool {
        ResourceType::ALL.into_iter().any(|kind| !self.changed_since(old, kind).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ResourceType = ResourceType::Cluster;

    fn put(name: &str, body: &str) -> Write {
        Write::Put(KIND, EncodedResource::new(KIND, name.into(), body.as_bytes()))
    }

    fn names(set: BTreeSet<ResourceName>) -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn writes_without_a_new_byte_make_no_snapshot() {
        let one = ScopeSnapshot::new(1).apply(vec![put("a", "x")]).unwrap();
        assert!(one.apply(vec![put("a", "x"), Write::Remove(KIND, "b".into())]).is_none());
    }

    #[test]
    fn differences_come_from_history_and_from_comparison_alike() {
        let start = ScopeSnapshot::new(1).apply(vec![put("a", "x"), put("b", "x")]).unwrap();
        let end = start
            .apply(vec![put("a", "y")])
            .unwrap()
            .apply(vec![Write::Remove(KIND, "b".into()), put("c", "z")])
            .unwrap();
        assert_eq!(names(end.changed_since(&start, KIND)), ["a", "b", "c"]);
        assert_eq!(names(end.compare(&start, KIND)), ["a", "b", "c"]);
        let mut other = start.clone();
        other.lineage = 2;
        assert_eq!(names(end.changed_since(&other, KIND)), ["a", "b", "c"]);
        assert!(end.changed_since(&end, KIND).is_empty());
    }

    #[test]
    fn a_stream_far_behind_still_gets_the_difference() {
        let start = ScopeSnapshot::new(1).apply(vec![put("a", "0")]).unwrap();
        let mut end = start.clone();
        for number in 0..=HISTORY_MAX {
            end = end.apply(vec![put(&format!("n{number}"), "x")]).unwrap();
        }
        assert_eq!(end.changed_since(&start, KIND).len(), HISTORY_MAX + 1);
        assert_eq!(end.history.len(), HISTORY_MAX);
    }
}
