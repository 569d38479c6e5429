//! One layer of a view: an immutable set of resources that shares structure with what it was before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rutter_api::{PerType, ResourceType};

use crate::resource::{EncodedResource, ResourceChange, ResourceMap, ResourceName, Sums, Version};

/// The number of changes that a snapshot remembers. A stream that is further behind compares all names.
const HISTORY_MAX: usize = 64;

/// One change of a snapshot.
#[derive(Debug, Clone)]
pub enum ResourceWrite {
    /// The layer has this resource from now on.
    Put(ResourceType, EncodedResource),
    /// The layer says from now on that there is no resource of this name, whatever the layers below have.
    Hide(ResourceType, ResourceName),
    /// The layer says nothing of this name any more.
    Remove(ResourceType, ResourceName),
}

/// The names of the resources that one change altered, by type.
#[derive(Debug, Default, PartialEq, Eq)]
struct ChangedNames(PerType<BTreeSet<ResourceName>>);

/// All resources of one layer at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Names the sequence of snapshots that this one belongs to. Zero stands for none: such a snapshot is compared with
    /// another name by name. Two snapshots of one lineage are compared by what changed in between, which is far
    /// cheaper.
    lineage: u64,
    /// The number of changes since the beginning of the lineage.
    sequence: u64,
    resources: PerType<ResourceMap>,
    /// The names that the layer says do not exist.
    hidden: PerType<Arc<BTreeSet<ResourceName>>>,
    /// What the latest changes altered, the oldest first.
    history: VecDeque<Arc<ChangedNames>>,
}

/// What a layer says of a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// There is this resource.
    Resource(&'a EncodedResource),
    /// There is no such resource.
    Hidden,
}

impl<'a> Entry<'a> {
    pub(super) fn resource(self) -> Option<&'a EncodedResource> {
        match self {
            Self::Resource(resource) => Some(resource),
            Self::Hidden => None,
        }
    }
}

impl Snapshot {
    /// Returns an empty snapshot, the first of a lineage. The number must be unique to its owner and not zero.
    pub fn new(lineage: u64) -> Self {
        Self { lineage, ..Self::default() }
    }

    /// Returns a resource of this layer.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&EncodedResource> {
        self.resources[resource_type].get(name)
    }

    /// Returns what the layer says of a name, or `None` if it says nothing.
    pub(super) fn entry(&self, resource_type: ResourceType, name: &str) -> Option<Entry<'_>> {
        let resource = self.get(resource_type, name).map(Entry::Resource);
        resource.or_else(|| self.hidden[resource_type].contains(name).then_some(Entry::Hidden))
    }

    /// Returns the names of which the layer says something.
    pub(super) fn names(&self, resource_type: ResourceType) -> impl Iterator<Item = &ResourceName> {
        self.iter(resource_type).map(|resource| &resource.name).chain(self.hidden[resource_type].iter())
    }

    /// Returns the names that this layer hides although `base` has no such resource. They should not stay hidden: the
    /// base may get one later. A name that stayed hidden would then hide a resource that the clients should see.
    pub(crate) fn hidden_in_vain(&self, base: &Self) -> Vec<(ResourceType, ResourceName)> {
        let mut in_vain = Vec::new();
        for (resource_type, names) in self.hidden.iter() {
            let names = names.iter().filter(|name| base.get(resource_type, name).is_none());
            in_vain.extend(names.map(|name| (resource_type, name.clone())));
        }
        in_vain
    }

    /// Returns whether the layer says nothing of any name of a type.
    pub(super) fn is_silent(&self, resource_type: ResourceType) -> bool {
        self.resources[resource_type].len() == 0 && self.hidden[resource_type].is_empty()
    }

    pub(super) fn resource_map(&self, resource_type: ResourceType) -> &ResourceMap {
        &self.resources[resource_type]
    }

    /// Returns the sums of the resources of a type in this layer.
    pub(super) fn sums(&self, resource_type: ResourceType) -> Sums {
        self.resources[resource_type].sums()
    }

    /// Returns all resources of a type, in the order of their names.
    pub fn iter(&self, resource_type: ResourceType) -> impl Iterator<Item = &EncodedResource> {
        self.resources[resource_type].starting_at("")
    }

    /// Returns the resources of a type whose names begin with `prefix`.
    pub(super) fn with_prefix<'a>(
        &'a self,
        resource_type: ResourceType,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a EncodedResource> {
        let resources = self.resources[resource_type].starting_at(prefix);
        resources.take_while(move |resource| resource.name.starts_with(prefix))
    }

    /// Carries out writes and returns the next snapshot. `None` means that the writes change no byte, so that there is
    /// no next snapshot. Of several writes of one name the last counts. The next one shares every chunk that no write
    /// touched.
    pub fn apply(&self, writes: Vec<ResourceWrite>) -> Option<Self> {
        let mut changes: PerType<BTreeMap<ResourceName, ResourceWrite>> = PerType::default();
        for write in writes {
            let (resource_type, name) = match &write {
                ResourceWrite::Put(resource_type, resource) => (*resource_type, resource.name.clone()),
                ResourceWrite::Hide(resource_type, name) | ResourceWrite::Remove(resource_type, name) => {
                    (*resource_type, name.clone())
                }
            };
            changes[resource_type].insert(name, write);
        }
        let mut next = self.clone();
        let mut changed_names = ChangedNames::default();
        for (resource_type, mut changes) in changes.into_pairs() {
            changes.retain(|name, write| self.is_changed_by(resource_type, name, write));
            if !changes.is_empty() {
                changed_names.0[resource_type] = changes.keys().cloned().collect();
                next.carry_out(resource_type, changes);
            }
        }
        if changed_names == ChangedNames::default() {
            return None;
        }
        next.sequence += 1;
        if self.sequence > 0 {
            // The first change fills the snapshot. Nobody has a view from before it.
            next.history.push_back(Arc::new(changed_names));
        }
        if next.history.len() > HISTORY_MAX {
            next.history.pop_front();
        }
        Some(next)
    }

    fn is_changed_by(&self, resource_type: ResourceType, name: &str, write: &ResourceWrite) -> bool {
        match (write, self.entry(resource_type, name)) {
            (ResourceWrite::Put(_, new), Some(Entry::Resource(old))) => new.version != old.version,
            (ResourceWrite::Hide(..), Some(Entry::Hidden)) | (ResourceWrite::Remove(..), None) => false,
            (ResourceWrite::Put(..) | ResourceWrite::Hide(..) | ResourceWrite::Remove(..), _) => true,
        }
    }

    fn carry_out(&mut self, resource_type: ResourceType, changes: BTreeMap<ResourceName, ResourceWrite>) {
        let hidden = &mut self.hidden[resource_type];
        for (name, write) in &changes {
            match write {
                ResourceWrite::Hide(..) => drop(Arc::make_mut(hidden).insert(name.clone())),
                ResourceWrite::Put(..) | ResourceWrite::Remove(..) if hidden.contains(name) => {
                    Arc::make_mut(hidden).remove(name);
                }
                ResourceWrite::Put(..) | ResourceWrite::Remove(..) => {}
            }
        }
        let changes = changes.into_iter().map(|(name, write)| match write {
            ResourceWrite::Put(_, resource) => ResourceChange { name, resource: Some(resource) },
            ResourceWrite::Hide(..) | ResourceWrite::Remove(..) => ResourceChange { name, resource: None },
        });
        self.resources[resource_type].change(changes);
    }

    /// Returns the names of a type of which this snapshot says something else than an older one. The cost is the
    /// number of changes in between, if both are of one lineage and this one remembers them; otherwise all names of
    /// both are compared.
    pub fn changed_since(&self, old: &Self, resource_type: ResourceType) -> BTreeSet<ResourceName> {
        if std::ptr::eq(self, old) {
            return BTreeSet::new();
        }
        let behind = self.sequence.checked_sub(old.sequence).and_then(|behind| usize::try_from(behind).ok());
        match behind {
            Some(behind) if self.lineage != 0 && self.lineage == old.lineage && behind <= self.history.len() => {
                let recent = self.history.iter().skip(self.history.len() - behind);
                recent.flat_map(|changed_names| changed_names.0[resource_type].iter().cloned()).collect()
            }
            Some(_) | None => self.compare(old, resource_type),
        }
    }

    /// Returns whether this snapshot says something else than an older one of any name.
    pub fn differs_from(&self, old: &Self) -> bool {
        ResourceType::ALL.into_iter().any(|resource_type| !self.changed_since(old, resource_type).is_empty())
    }

    /// Returns the version of a name, `Some(None)` if the name is hidden, and `None` if nothing is said of it.
    fn version_entry(&self, resource_type: ResourceType, name: &str) -> Option<Option<Version>> {
        self.entry(resource_type, name).map(|entry| entry.resource().map(|resource| resource.version))
    }

    fn compare(&self, old: &Self, resource_type: ResourceType) -> BTreeSet<ResourceName> {
        let names = self.names(resource_type).chain(old.names(resource_type));
        names
            .filter(|name| self.version_entry(resource_type, name) != old.version_entry(resource_type, name))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: ResourceType = ResourceType::Cluster;

    fn put(name: &str, body: &str) -> ResourceWrite {
        ResourceWrite::Put(TYPE, EncodedResource::new(TYPE, name.into(), body.as_bytes()))
    }

    fn names(set: BTreeSet<ResourceName>) -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn writes_without_a_new_byte_make_no_snapshot() {
        let snapshot = Snapshot::new(1).apply(vec![put("a", "x")]).unwrap();
        assert!(snapshot.apply(vec![put("a", "x"), ResourceWrite::Remove(TYPE, "b".into())]).is_none());
    }

    #[test]
    fn of_several_writes_of_a_name_the_last_counts() {
        let snapshot = Snapshot::new(1);
        let writes = vec![put("a", "x"), ResourceWrite::Remove(TYPE, "a".into()), put("a", "y")];
        let next = snapshot.apply(writes).unwrap();
        assert_eq!(&next.get(TYPE, "a").unwrap().body()[..], b"y");
        assert!(snapshot.apply(vec![put("a", "x"), ResourceWrite::Remove(TYPE, "a".into())]).is_none());
    }

    #[test]
    fn hiding_removes_the_resource_and_is_undone_by_either_other_write() {
        let snapshot = Snapshot::new(1).apply(vec![put("a", "x")]).unwrap();
        let hidden = snapshot.apply(vec![ResourceWrite::Hide(TYPE, "a".into())]).unwrap();
        assert!(hidden.get(TYPE, "a").is_none() && matches!(hidden.entry(TYPE, "a"), Some(Entry::Hidden)));
        assert!(hidden.apply(vec![ResourceWrite::Hide(TYPE, "a".into())]).is_none());
        let silent = hidden.apply(vec![ResourceWrite::Remove(TYPE, "a".into())]).unwrap();
        assert!(silent.is_silent(TYPE));
        let shown = hidden.apply(vec![put("a", "y")]).unwrap();
        assert!(matches!(shown.entry(TYPE, "a"), Some(Entry::Resource(_))));
    }

    #[test]
    fn what_is_hidden_in_vain_is_named() {
        let hide = ["a", "b"].map(|name| ResourceWrite::Hide(TYPE, name.into()));
        let upper = Snapshot::new(1).apply(hide.to_vec()).unwrap();
        let base = Snapshot::new(2).apply(vec![put("a", "x")]).unwrap();
        assert_eq!(upper.hidden_in_vain(&base), [(TYPE, "b".into())]);
    }

    #[test]
    fn differences_come_from_history_and_from_comparison_alike() {
        let start = Snapshot::new(1).apply(vec![put("a", "x"), put("b", "x")]).unwrap();
        let middle = start.apply(vec![put("a", "y")]).unwrap();
        let end = middle.apply(vec![ResourceWrite::Remove(TYPE, "b".into()), put("c", "z")]).unwrap();
        assert_eq!(names(end.changed_since(&start, TYPE)), ["a", "b", "c"]);
        assert_eq!(names(end.compare(&start, TYPE)), ["a", "b", "c"]);
        let mut of_another_lineage = start.clone();
        of_another_lineage.lineage = 2;
        assert_eq!(names(end.changed_since(&of_another_lineage, TYPE)), ["a", "b", "c"]);
        assert!(end.changed_since(&end, TYPE).is_empty());
    }

    #[test]
    fn snapshots_without_a_lineage_are_compared_though_their_sequences_are_equal() {
        let snapshot = |body: &str| Snapshot::default().apply(vec![put("a", body)]).unwrap();
        assert_eq!(names(snapshot("x").changed_since(&snapshot("y"), TYPE)), ["a"]);
        assert!(!snapshot("x").differs_from(&snapshot("x")));
    }

    #[test]
    fn a_stream_far_behind_still_gets_the_difference() {
        let start = Snapshot::new(1).apply(vec![put("a", "0")]).unwrap();
        let mut end = start.clone();
        for number in 0..=HISTORY_MAX {
            end = end.apply(vec![put(&format!("n{number}"), "x")]).unwrap();
        }
        assert_eq!(end.changed_since(&start, TYPE).len(), HISTORY_MAX + 1);
        assert_eq!(end.history.len(), HISTORY_MAX);
    }
}
