//! What every store does alike: deciding what a commit comes to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use rutter_api::{ConfigKey, CreationTimestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

use crate::{Commit, CommitError, ConfigEvent, ConfigWrite, Expected, Owner, Stored, Written};

/// What is held in memory of an object. Its text is not: most of it is read only when somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldObject {
    hash: u128,
    revision: u64,
    first_revision: u64,
    created: CreationTimestamp,
    pub(crate) owner: Owner,
}

impl HeldObject {
    fn of(stored: &Stored) -> Self {
        let Stored { key: _, json, revision, first_revision, created, owner } = stored;
        let (revision, first_revision, created) = (*revision, *first_revision, *created);
        Self { hash: hash(json), revision, first_revision, created, owner: owner.clone() }
    }

    /// Returns what the object adds to the sum of all objects.
    fn sum(&self, key: &ConfigKey) -> u128 {
        let Self { hash, revision, first_revision, created, owner } = self;
        let file = match owner {
            Owner::Api => "",
            Owner::File(path) => path,
        };
        let created = created.microseconds();
        // No name has a zero byte, and the path is last.
        let text = format!("{key}\0{hash:x}\0{revision}\0{first_revision}\0{created}\0{file}");
        self::hash(&text)
    }
}

/// The sum of some objects: of each it adds a hash of everything that is kept of it, so that it costs the same for each
/// write, whatever else there is. Two sets of objects that have the same sum are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum(u128);

impl Sum {
    fn add(&mut self, key: &ConfigKey, object: &HeldObject) {
        self.0 = self.0.wrapping_add(object.sum(key));
    }

    fn subtract(&mut self, key: &ConfigKey, object: &HeldObject) {
        self.0 = self.0.wrapping_sub(object.sum(key));
    }
}

impl fmt::Display for Sum {
    /// Prints 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Sum {
    /// Writes the digits as a string, because numbers in JSON are shorter.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits: Cow<'_, str> = Deserialize::deserialize(deserializer)?;
        u128::from_str_radix(&digits, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// How far a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) revision: u64,
    /// The sum of all objects.
    pub(crate) sum: Sum,
}

fn hash(json: &str) -> u128 {
    XxHash3_128::oneshot(json.as_bytes())
}

/// Everything that decides what a commit comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<ConfigKey, HeldObject>,
    /// The number of the latest commit.
    pub(crate) revision: u64,
    /// The latest instant that was given to new objects. `None` means that none was.
    pub(crate) last_instant: Option<CreationTimestamp>,
    /// The sum of the objects.
    pub(crate) sum: Sum,
}

/// What a store was before commits that are not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The objects that the commits write, as they were. `None` means that there was no such object.
    pub(crate) objects: BTreeMap<ConfigKey, Option<Stored>>,
    pub(crate) revision: u64,
    pub(crate) last_instant: Option<CreationTimestamp>,
    pub(crate) sum: Sum,
}

impl Before {
    /// Returns how far the store had come.
    pub(crate) fn head(&self) -> Head {
        Head { revision: self.revision, sum: self.sum }
    }
}

/// A commit that is to be made, and the instant that its new objects were given.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) commit: Commit,
    pub(crate) instant: CreationTimestamp,
}

impl State {
    /// Returns the state of a store with these objects.
    pub(crate) fn of_objects<'a>(
        objects: impl IntoIterator<Item = &'a Stored>,
        revision: u64,
        last_instant: Option<CreationTimestamp>,
    ) -> Self {
        let mut state = Self { revision, last_instant, ..Self::default() };
        for stored in objects {
            state.set(&stored.key, Some(stored));
        }
        state
    }

    fn set(&mut self, key: &ConfigKey, object: Option<&Stored>) {
        let new = object.map(HeldObject::of);
        if let Some(new) = &new {
            self.sum.add(key, new);
        }
        let old = match new {
            Some(new) => self.objects.insert(key.clone(), new),
            None => self.objects.remove(key),
        };
        if let Some(old) = old {
            self.sum.subtract(key, &old);
        }
    }

    /// Returns the next commit, or `None` if the writes change nothing. New objects that have no creation timestamp all
    /// get the same instant: `now`, or, if the clock does not go forward, the one after the last that was given. Fails
    /// if a write is not allowed, and then nothing of any write is done.
    pub(crate) fn decide(
        &self,
        now: CreationTimestamp,
        author: &str,
        writes: Vec<ConfigWrite>,
    ) -> Result<Option<Decision>, CommitError> {
        let revision = self.revision + 1;
        let instant = self.last_instant.map_or(now, |last| now.max(last.plus_microseconds(1)));
        let mut events: BTreeMap<ConfigKey, ConfigEvent> = BTreeMap::new();
        for write in writes {
            let old = self.objects.get(&write.key);
            check(old, &write)?;
            let Some(json) = write.json else {
                if old.is_none() {
                    return Err(CommitError::NotFound(write.key));
                }
                events.insert(write.key.clone(), ConfigEvent::Delete(write.key));
                continue;
            };
            let created = write.created.or(old.map(|old| old.created)).unwrap_or(instant);
            let is_same =
                |old: &HeldObject| old.hash == hash(&json) && old.owner == write.owner && old.created == created;
            if old.is_some_and(is_same) {
                events.remove(&write.key);
                continue;
            }
            let first_revision = old.map_or(revision, |old| old.first_revision);
            let stored = Stored { key: write.key.clone(), json, revision, first_revision, created, owner: write.owner };
            events.insert(write.key, ConfigEvent::Put(stored));
        }
        let events: Vec<ConfigEvent> = events.into_values().collect();
        if events.is_empty() {
            return Ok(None);
        }
        let written = Some(Written { at: instant.microseconds(), by: author.into() });
        Ok(Some(Decision { commit: Commit { revision, events, written }, instant }))
    }

    /// Takes a commit over that was made.
    pub(crate) fn apply(&mut self, decision: &Decision) {
        self.revision = decision.commit.revision;
        self.last_instant = Some(decision.instant);
        for event in &decision.commit.events {
            match event {
                ConfigEvent::Put(stored) => self.set(&stored.key, Some(stored)),
                ConfigEvent::Delete(key) => self.set(key, None),
            }
        }
    }

    /// Returns how far the store has come.
    pub(crate) fn head(&self) -> Head {
        Head { revision: self.revision, sum: self.sum }
    }

    /// Returns the owner of each of some objects, in their order.
    pub(crate) fn owners_of(&self, keys: &[ConfigKey]) -> Vec<Option<Owner>> {
        keys.iter().map(|key| self.objects.get(key).map(|held| held.owner.clone())).collect()
    }

    /// Returns what there is now, without objects.
    pub(crate) fn before(&self) -> Before {
        let Self { objects: _, revision, last_instant, sum } = self;
        Before { objects: BTreeMap::new(), revision: *revision, last_instant: *last_instant, sum: *sum }
    }

    /// Goes back to what was before commits that failed.
    pub(crate) fn go_back(&mut self, before: &Before) {
        self.revision = before.revision;
        self.last_instant = before.last_instant;
        for (key, old) in &before.objects {
            self.set(key, old.as_ref());
        }
    }
}

fn check(old: Option<&HeldObject>, write: &ConfigWrite) -> Result<(), CommitError> {
    if let Some(old) = old.filter(|old| !may_write(&old.owner, &write.owner)) {
        let (key, owner) = (write.key.clone(), old.owner.to_string());
        return Err(CommitError::Owned { key, owner, writer: write.owner.to_string() });
    }
    let got = old.map_or(0, |old| old.revision);
    match write.expected {
        Expected::Revision(want) if want != got => Err(CommitError::Conflict { key: write.key.clone(), want, got }),
        Expected::Any | Expected::Revision(_) => Ok(()),
    }
}

/// The folder is one source: an object may move from one of its files to another.
fn may_write(owner: &Owner, writer: &Owner) -> bool {
    match (owner, writer) {
        (Owner::Api, Owner::Api) | (Owner::File(_), Owner::File(_)) => true,
        (Owner::Api, Owner::File(_)) | (Owner::File(_), Owner::Api) => false,
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;

    fn put(name: &str, created: Option<i64>) -> ConfigWrite {
        ConfigWrite {
            key: ConfigKey::new(Kind::VirtualService, "default", name),
            json: Some("{}".into()),
            created: created.map(CreationTimestamp::from_microseconds),
            owner: Owner::Api,
            expected: Expected::Any,
        }
    }

    /// Commits at an instant, and returns the ages of the objects that were written.
    fn commit(state: &mut State, now: i64, writes: Vec<ConfigWrite>) -> Vec<i64> {
        let decision = state.decide(CreationTimestamp::from_microseconds(now), "", writes).unwrap();
        let Some(decision) = decision else { return Vec::new() };
        state.apply(&decision);
        let ages = decision.commit.events.iter().filter_map(|event| match event {
            ConfigEvent::Put(stored) => Some(stored.created.microseconds()),
            ConfigEvent::Delete(_) => None,
        });
        ages.collect()
    }

    #[test]
    fn a_given_age_is_kept_and_one_that_is_missing_is_the_instant_of_the_transaction() {
        let mut state = State::default();
        assert_eq!(commit(&mut state, 100, vec![put("a", Some(7)), put("b", None), put("c", None)]), [7, 100, 100]);
    }

    #[test]
    fn an_instant_is_never_earlier_than_the_last_one_even_if_the_clock_goes_back() {
        let mut state = State::default();
        let mut ages = Vec::new();
        for (now, name) in [(100, "a"), (100, "b"), (50, "c"), (300, "d")] {
            ages.extend(commit(&mut state, now, vec![put(name, None)]));
        }
        assert_eq!(ages, [100, 101, 102, 300]);
    }

    #[test]
    fn updates_keep_the_age_and_the_same_age_again_is_no_change() {
        let mut state = State::default();
        commit(&mut state, 100, vec![put("a", Some(7))]);
        let changed = ConfigWrite { json: Some("{\"v\":1}".into()), ..put("a", None) };
        assert_eq!(commit(&mut state, 200, vec![changed.clone()]), [7]);
        assert!(commit(&mut state, 300, vec![changed.clone()]).is_empty());
        let same_age = ConfigWrite { created: Some(CreationTimestamp::from_microseconds(7)), ..changed.clone() };
        assert!(commit(&mut state, 300, vec![same_age]).is_empty());
        let other_age = ConfigWrite { created: Some(CreationTimestamp::from_microseconds(8)), ..changed };
        assert_eq!(commit(&mut state, 400, vec![other_age]), [8]);
    }

    fn deletion(name: &str) -> ConfigWrite {
        ConfigWrite { json: None, ..put(name, None) }
    }

    fn by_file(write: ConfigWrite, file: &str) -> ConfigWrite {
        ConfigWrite { owner: Owner::File(file.into()), ..write }
    }

    /// Returns why writes are refused.
    fn refused(state: &State, writes: Vec<ConfigWrite>) -> String {
        state.decide(CreationTimestamp::default(), "", writes).unwrap_err().to_string()
    }

    #[test]
    fn of_several_writes_of_an_object_the_last_counts() {
        let mut state = State::default();
        let events = |state: &State, writes| {
            let decision = state.decide(CreationTimestamp::from_microseconds(1), "", writes).unwrap();
            decision.map(|decision| decision.commit.events.len())
        };
        let changed = ConfigWrite { json: Some("{\"v\":2}".into()), ..put("a", None) };
        assert_eq!(events(&state, vec![put("a", None), changed.clone()]), Some(1));
        commit(&mut state, 1, vec![put("a", None)]);
        assert_eq!(events(&state, vec![changed.clone(), put("a", None)]), None, "in the end nothing is another");
        assert_eq!(events(&state, vec![deletion("a"), put("a", None)]), None);
        assert_eq!(events(&state, vec![changed, deletion("a")]), Some(1));
    }

    #[test]
    fn a_deleted_object_that_comes_again_is_new() {
        let mut state = State::default();
        commit(&mut state, 100, vec![put("a", None)]);
        commit(&mut state, 200, vec![deletion("a")]);
        assert_eq!(commit(&mut state, 300, vec![put("a", None)]), [300]);
        let held = &state.objects[&put("a", None).key];
        assert_eq!((held.first_revision, held.revision), (3, 3));
    }

    #[test]
    fn a_version_that_is_expected_must_be_that_of_the_object() {
        let mut state = State::default();
        let expecting = |revision| ConfigWrite { expected: Expected::Revision(revision), ..put("a", None) };
        let want = "want version 1, got no such object (somebody else deleted it; without the annotation rutter/revision it is made anew)";
        assert_eq!(refused(&state, vec![expecting(1)]), format!("virtualService default/a: {want}"));
        commit(&mut state, 1, vec![put("a", None)]);
        assert!(state.decide(CreationTimestamp::default(), "", vec![expecting(1)]).is_ok());
        assert!(refused(&state, vec![expecting(2)]).contains("want version 2, got 1"));
    }

    #[test]
    fn an_object_belongs_to_one_source() {
        let mut state = State::default();
        commit(&mut state, 1, vec![put("api", None), by_file(put("file", None), "x.yaml")]);
        assert!(refused(&state, vec![put("file", None)]).contains("want an object of api, got one of x.yaml"));
        assert!(
            refused(&state, vec![by_file(put("api", None), "x.yaml")])
                .contains("want an object of x.yaml, got one of api")
        );
        assert!(refused(&state, vec![by_file(deletion("api"), "")]).contains("got one of api"));
        assert_eq!(
            commit(&mut state, 2, vec![by_file(put("file", None), "y.yaml")]).len(),
            1,
            "it may move to another file"
        );
        assert!(state.decide(CreationTimestamp::default(), "", vec![by_file(deletion("file"), "")]).is_ok());
    }

    #[test]
    fn a_write_that_is_refused_leaves_everything_as_it_was() {
        let mut state = State::default();
        commit(&mut state, 1, vec![put("a", None)]);
        let before = state.objects.clone();
        assert_eq!(refused(&state, vec![put("b", None), deletion("gone")]), "virtualService default/gone: not found");
        assert_eq!((state.objects.clone(), state.revision), (before, 1));
    }

    #[test]
    fn the_state_of_a_folder_is_that_of_its_objects() {
        let mut state = State::default();
        let now = CreationTimestamp::from_microseconds(5);
        let decision = state.decide(now, "", vec![put("a", None), put("b", Some(3))]).unwrap().unwrap();
        state.apply(&decision);
        let stored: Vec<Stored> = decision
            .commit
            .events
            .iter()
            .filter_map(|event| match event {
                ConfigEvent::Put(stored) => Some(stored.clone()),
                ConfigEvent::Delete(_) => None,
            })
            .collect();
        assert_eq!(State::of_objects(&stored, 1, Some(now)), state);
    }

    #[test]
    fn the_sum_is_of_the_objects_alone_however_they_came_about() {
        let mut state = State::default();
        commit(&mut state, 1, vec![put("a", Some(1)), put("b", Some(1))]);
        let sum = state.sum;
        commit(&mut state, 2, vec![put("c", None)]);
        assert_ne!(state.sum, sum);
        commit(&mut state, 3, vec![deletion("c")]);
        assert_eq!(state.sum, sum);
        commit(&mut state, 4, vec![by_file(put("d", None), "x.yaml")]);
        let by_x = state.sum;
        commit(&mut state, 5, vec![by_file(put("d", None), "y.yaml")]);
        assert_ne!(state.sum, by_x, "the owner counts");
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!((json.len(), serde_json::from_str(&json).ok()), (34, Some(sum)));
    }
}
