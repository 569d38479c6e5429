//! What a scope contains: immutable, sharing structure with what it was before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rutter_api::ResourceType;

use crate::batch::{Batch, Sums};
use crate::encode::{EncodedResource, Version};
use crate::resources::Resources;

/// How many changes a snapshot remembers. A stream that is further behind compares whole maps.
const HISTORY_MAX: usize = 64;

/// A resource's name; shared wherever it is held.
pub type ResourceName = Arc<str>;

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
    /// What is under these is hidden.
    hidden: [Arc<BTreeSet<ResourceName>>; ResourceType::COUNT],
    history: VecDeque<Arc<SnapshotDelta>>,
}

/// What a snapshot says of a name.
#[derive(Debug, Clone, Copy)]
enum Entry<'a> {
    Resource(&'a EncodedResource),
    /// There is none.
    Hidden,
}

impl<'a> Entry<'a> {
    fn resource(self) -> Option<&'a EncodedResource> {
        match self {
            Self::Resource(resource) => Some(resource),
            Self::Hidden => None,
        }
    }
}

impl ScopeSnapshot {
    /// An empty one; `lineage` is unique to its scope.
    pub fn new(lineage: u64) -> Self {
        Self { lineage, ..Self::default() }
    }

    /// A resource.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&EncodedResource> {
        self.resources[kind.index()].get(name)
    }

    /// What it says of a name. None: nothing.
    fn entry(&self, kind: ResourceType, name: &str) -> Option<Entry<'_>> {
        let resource = self.get(kind, name).map(Entry::Resource);
        resource.or_else(|| self.hidden[kind.index()].contains(name).then_some(Entry::Hidden))
    }

    /// The names that it says something of.
    fn names(&self, kind: ResourceType) -> impl Iterator<Item = &ResourceName> {
        self.iter(kind).map(|resource| &resource.name).chain(self.hidden[kind.index()].iter())
    }

    /// What it hides that `base` does not have.
    pub(crate) fn hidden_without(&self, base: &Self) -> impl Iterator<Item = (ResourceType, &ResourceName)> {
        let hidden = ResourceType::ALL
            .into_iter()
            .flat_map(|kind| self.hidden[kind.index()].iter().map(move |name| (kind, name)));
        hidden.filter(|(kind, name)| base.get(*kind, name).is_none())
    }

    fn says_nothing(&self, kind: ResourceType) -> bool {
        self.resources[kind.index()].len() == 0 && self.hidden[kind.index()].is_empty()
    }

    /// All resources of a type, by name.
    pub fn iter(&self, kind: ResourceType) -> impl Iterator<Item = &EncodedResource> {
        self.resources[kind.index()].from("")
    }

    /// Those whose names begin so.
    fn starting<'a>(&'a self, kind: ResourceType, start: &'a str) -> impl Iterator<Item = &'a EncodedResource> {
        self.resources[kind.index()].from(start).take_while(move |resource| resource.name.starts_with(start))
    }

    /// The next snapshot; None: the writes changed no byte, so there is none.
    pub fn apply(&self, writes: Vec<Write>) -> Option<Self> {
        let mut changes: [BTreeMap<ResourceName, Write>; ResourceType::COUNT] = Default::default();
        for write in writes {
            let (kind, name) = match &write {
                Write::Put(kind, resource) => (*kind, resource.name.clone()),
                Write::Hide(kind, name) | Write::Remove(kind, name) => (*kind, name.clone()),
            };
            // The last write of a name is the one that counts.
            changes[kind.index()].insert(name, write);
        }
        let mut next = self.clone();
        let mut delta = SnapshotDelta::default();
        for (kind, mut changes) in ResourceType::ALL.into_iter().zip(changes) {
            changes.retain(|name, write| match (write, self.entry(kind, name)) {
                (Write::Put(_, new), Some(Entry::Resource(old))) => new.version != old.version,
                (Write::Hide(..), Some(Entry::Hidden)) | (Write::Remove(..), None) => false,
                (Write::Put(..) | Write::Hide(..) | Write::Remove(..), _) => true,
            });
            if !changes.is_empty() {
                delta.names[kind.index()] = changes.keys().cloned().collect();
                next.write(kind, changes);
            }
        }
        if delta.names.iter().all(BTreeSet::is_empty) {
            return None;
        }
        next.sequence += 1;
        if self.sequence > 0 {
            // Nobody has followed a scope since before it was built.
            next.history.push_back(Arc::new(delta));
        }
        if next.history.len() > HISTORY_MAX {
            next.history.pop_front();
        }
        Some(next)
    }

    fn write(&mut self, kind: ResourceType, changes: BTreeMap<ResourceName, Write>) {
        let hidden = &mut self.hidden[kind.index()];
        for (name, write) in &changes {
            match write {
                Write::Hide(..) => drop(Arc::make_mut(hidden).insert(name.clone())),
                Write::Put(..) | Write::Remove(..) if hidden.contains(name) => {
                    Arc::make_mut(hidden).remove(name);
                }
                Write::Put(..) | Write::Remove(..) => {}
            }
        }
        let value = |write| match write {
            Write::Put(_, resource) => Some(resource),
            Write::Hide(..) | Write::Remove(..) => None,
        };
        self.resources[kind.index()].write(changes.into_iter().map(|(name, write)| (name, value(write))));
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
        let said = |snapshot: &Self, name: &str| {
            snapshot.entry(kind, name).map(|entry| entry.resource().map(|resource| resource.version))
        };
        let differs = |name: &&ResourceName| said(self, name) != said(old, name);
        self.names(kind).chain(old.names(kind)).filter(differs).cloned().collect()
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
        entry.or_else(|| self.base.entry(kind, name))?.resource()
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
        let sums = |layer: &ScopeSnapshot| layer.resources[kind.index()].sums();
        let covered = |upper: &ScopeSnapshot, lower: &[&ScopeSnapshot]| {
            if lower.iter().all(|lower| lower.says_nothing(kind)) {
                return Sums::default();
            }
            let under = |name: &ResourceName| lower.iter().find_map(|lower| lower.entry(kind, name))?.resource();
            upper.names(kind).filter_map(under).fold(Sums::default(), |sums, resource| sums.plus(resource.sums()))
        };
        let (own, shared, base) = (&*self.own, &*self.shared, &*self.base);
        let shared_and_base = sums(base).plus(sums(shared)).minus(covered(shared, &[base]));
        shared_and_base.plus(sums(own)).minus(covered(own, &[shared, base]))
    }

    /// All resources of a type in pieces, shared with others who see them.
    pub fn batch(&self, kind: ResourceType) -> Batch {
        let mut batch = Batch::default();
        let mut covered: BTreeSet<&ResourceName> = BTreeSet::new();
        let layers = [&self.own, &self.shared, &self.base];
        for (number, layer) in layers.into_iter().enumerate() {
            for piece in layer.resources[kind.index()].pieces() {
                let ends = piece.first().zip(piece.last()).map(|(first, last)| &first.name..=&last.name);
                if ends.is_some_and(|ends| covered.range::<&ResourceName, _>(ends).next().is_some()) {
                    batch.push(piece.iter().filter(|one| !covered.contains(&one.name)).cloned().collect());
                } else {
                    batch.push(piece.clone());
                }
            }
            if layers[number + 1..].iter().any(|lower| !lower.says_nothing(kind)) {
                covered.extend(layer.names(kind));
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
