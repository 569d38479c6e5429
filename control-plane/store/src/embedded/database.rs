//! What is in the folder of an embedded store, and how it is opened and read.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rutter_api::{ConfigKey, CreationTimestamp};
use tempfile::TempDir;

use super::lock::try_for_a_moment;
use crate::journal::Contents;
use crate::record::{EventRecord, EventText, Record, seal, seal_json, unseal};
use crate::state::{Before, Decision, Head};
use crate::{Commit, HISTORY_MAX, Listing, StoreError, Stored};

/// The length of a segment. Values above a quarter of it go to files that sled never syncs. A quarter is 4 MiB and
/// objects have 1 MiB at most, so that no object ever goes to such a file.
const SEGMENT_BYTES: usize = 16 << 20;
/// The memory that sled may use for itself, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// The first byte of the keys of objects.
const OBJECT: u8 = b'c';
/// The first byte of the keys of commits.
const COMMIT: u8 = b'h';
/// The first byte of the keys of who made commits. Versions of Rutter that do not know them leave them as they are.
const AUTHOR: u8 = b'w';
/// The key of the latest revision.
const REVISION: &[u8] = b"m/revision";
/// The key of the latest instant that was given to new objects, in microseconds since 1970.
const LAST_INSTANT: &[u8] = b"m/last-instant";
/// The key of the sum of all objects, with the revision that it is of. Versions of Rutter that do not know it leave it as
/// it is, at a revision that has passed.
const SUM: &[u8] = b"m/sum";

/// The database in a folder, with its path for messages.
pub(crate) struct Database {
    sled: sled::Db,
    path: String,
    /// The folder that goes after the database, because only a copy is in it.
    _folder: Option<TempDir>,
}

/// Everything in a database at one revision.
pub(crate) struct Loaded {
    pub(crate) listing: Listing,
    /// The latest instant that was given to new objects. `None` means that none was.
    pub(crate) last_instant: Option<CreationTimestamp>,
    /// The sum that the objects should have, and the revision at which they should have it. `None` means that only
    /// versions without sums wrote the database.
    pub(crate) recorded: Option<Head>,
}

impl Database {
    /// Opens a folder, which is made if it is missing. A folder that is in use is tried for a moment.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_as(dir, dir)
    }

    /// Opens a folder that is told under the path of another: it is a copy of it, or is to become it.
    pub(crate) fn open_as(dir: &Path, told: &Path) -> Result<Self, StoreError> {
        let path = told.display().to_string();
        let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).cache_capacity(CACHE_BYTES);
        let sled = try_for_a_moment(|| config.open().map_err(|error| open_error(&path, &error)))?;
        Ok(Self { sled, path, _folder: None })
    }

    /// Keeps the folder of the database for as long as the database itself.
    pub(super) fn with_folder(self, folder: TempDir) -> Self {
        Self { _folder: Some(folder), ..self }
    }

    /// Returns the latest revision.
    pub(super) fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.number(REVISION)?.unwrap_or_default())
    }

    /// Reads everything, and verifies every record.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let mut objects = Vec::new();
        for item in self.sled.scan_prefix([OBJECT]) {
            let (key, bytes) = item.map_err(|error| self.failed(&error))?;
            objects.push(self.stored(&String::from_utf8_lossy(&key), &bytes)?);
        }
        let revision = self.revision()?;
        let last_instant = self.number(LAST_INSTANT)?.map(CreationTimestamp::from_microseconds);
        let recorded = self.number(SUM)?;
        Ok(Loaded { listing: Listing { revision, objects }, last_instant, recorded })
    }

    /// Returns one object, or `None` if there is no such object.
    pub(super) fn read(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        let bytes = self.sled.get(object_key(key)).map_err(|error| self.failed(&error))?;
        bytes.map(|bytes| self.stored(&key.to_string(), &bytes)).transpose()
    }

    /// Returns the commit of a revision.
    pub(super) fn commit(&self, revision: u64) -> Result<Commit, StoreError> {
        let record = || format!("h{revision}");
        let mut events = Vec::new();
        for value in self.sled.scan_prefix(commit_key(revision)).values() {
            let bytes = value.map_err(|error| self.failed(&error))?;
            let event: EventRecord = unseal(&bytes).map_err(|problem| self.damaged(&record(), problem))?;
            events.push(event.event().ok_or_else(|| self.damaged(&record(), "an unknown kind".into()))?);
        }
        if events.is_empty() {
            return Err(StoreError::Compacted(revision));
        }
        let written = self.sled.get(author_key(revision)).map_err(|error| self.failed(&error))?;
        let written = written.map(|bytes| unseal(&bytes)).transpose();
        let written = written.map_err(|problem| self.damaged(&record(), problem))?;
        Ok(Commit { revision, events, written })
    }

    /// Returns everything that a commit writes. `texts` are those of its events.
    pub(super) fn batch_of(&self, decision: &Decision, texts: &[EventText]) -> Result<sled::Batch, StoreError> {
        let commit = &decision.commit;
        let mut batch = sled::Batch::default();
        for (key, text) in commit.keys().zip(texts) {
            match &text.record {
                Some(record) => batch.insert(object_key(key), seal_json(record)),
                None => batch.remove(object_key(key)),
            }
        }
        add_history(commit, texts, &mut batch);
        if let Some(old) = commit.revision.checked_sub(HISTORY_MAX) {
            self.remove_commit(old, &mut batch)?;
        }
        batch.insert(REVISION, seal(&commit.revision));
        batch.insert(LAST_INSTANT, seal(&decision.instant.microseconds()));
        Ok(batch)
    }

    /// Returns every commit up to a revision that is still kept.
    pub(crate) fn history(&self, revision: u64) -> Result<BTreeMap<u64, Commit>, StoreError> {
        let mut history = BTreeMap::new();
        for revision in revision.saturating_sub(HISTORY_MAX) + 1..=revision {
            match self.commit(revision) {
                Err(StoreError::Compacted(_)) => {}
                result => drop(history.insert(revision, result?)),
            }
        }
        Ok(history)
    }

    /// Fills an empty database, which is not durable afterwards.
    pub(crate) fn fill(&self, contents: &Contents, history: &BTreeMap<u64, Commit>) -> Result<(), StoreError> {
        for stored in contents.objects.values() {
            let inserted = self.sled.insert(object_key(&stored.key), seal(&Record::of(stored)));
            inserted.map_err(|error| self.failed(&error))?;
        }
        for commit in history.values() {
            let mut batch = sled::Batch::default();
            let texts: Vec<EventText> = commit.events.iter().map(EventText::of).collect();
            add_history(commit, &texts, &mut batch);
            self.apply(batch)?;
        }
        let Contents { objects: _, revision, last_instant } = contents;
        let mut batch = sled::Batch::default();
        batch.insert(REVISION, seal(revision));
        batch.insert(SUM, seal(&contents.state().head()));
        if let Some(instant) = last_instant {
            batch.insert(LAST_INSTANT, seal(&instant.microseconds()));
        }
        self.apply(batch)
    }

    /// Writes the sum of all objects at the latest revision.
    pub(super) fn write_sum(&self, head: Head) -> Result<(), StoreError> {
        self.sled.insert(SUM, seal(&head)).map(drop).map_err(|error| self.failed(&error))
    }

    /// Makes the database durably what it was before some commits. `file` is the file of sled.
    pub(super) fn go_back(&self, before: &Before, file: &File) -> Result<(), StoreError> {
        self.apply(self.batch_back_to(before)?)?;
        self.sync(file)
    }

    fn batch_back_to(&self, before: &Before) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
        for (key, old) in &before.objects {
            match old {
                Some(stored) => batch.insert(object_key(key), seal(&Record::of(stored))),
                None => batch.remove(object_key(key)),
            }
        }
        let revision = self.revision()?;
        for later in before.revision + 1..=revision {
            self.remove_commit(later, &mut batch)?;
        }
        batch.insert(REVISION, seal(&before.revision));
        batch.insert(SUM, seal(&before.head()));
        match before.last_instant {
            Some(instant) => batch.insert(LAST_INSTANT, seal(&instant.microseconds())),
            None => batch.remove(LAST_INSTANT),
        }
        Ok(batch)
    }

    fn remove_commit(&self, revision: u64, batch: &mut sled::Batch) -> Result<(), StoreError> {
        for key in self.sled.scan_prefix(commit_key(revision)).keys() {
            batch.remove(key.map_err(|error| self.failed(&error))?);
        }
        batch.remove(author_key(revision));
        Ok(())
    }

    fn number<T: for<'de> serde::Deserialize<'de>>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let bytes = self.sled.get(key).map_err(|error| self.failed(&error))?;
        let number = bytes.map(|bytes| unseal(&bytes)).transpose();
        number.map_err(|problem| self.damaged(&String::from_utf8_lossy(key), problem))
    }

    fn stored(&self, record: &str, bytes: &[u8]) -> Result<Stored, StoreError> {
        let object: Record = unseal(bytes).map_err(|problem| self.damaged(record, problem))?;
        object.stored().ok_or_else(|| self.damaged(record, "an unknown kind".into()))
    }

    fn damaged(&self, record: &str, problem: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), record: record.to_owned(), problem }
    }

    /// Writes a batch, which is not durable afterwards.
    pub(crate) fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        self.sled.apply_batch(batch).map_err(|error| self.failed(&error))
    }

    /// Makes everything durable that was written: sled hands its pages to the operating system, which has to hand them
    /// to the disk. `file` is the file of sled.
    pub(crate) fn sync(&self, file: &File) -> Result<(), StoreError> {
        self.sled.flush().map_err(|error| self.failed(&error))?;
        file.sync_data().map_err(|error| StoreError::Failed(format!("{}: {error}", self.path)))
    }

    fn failed(&self, error: &sled::Error) -> StoreError {
        StoreError::Failed(format!("{}: {}", self.path, text_of(error)))
    }
}

fn open_error(path: &str, error: &sled::Error) -> StoreError {
    if let sled::Error::Io(io) = error
        && (io.kind() == std::io::ErrorKind::WouldBlock || io.to_string().contains("lock"))
    {
        return StoreError::InUse(path.to_owned());
    }
    StoreError::Failed(format!("{path}: {}", text_of(error)))
}

/// Returns the text of an error. sled prints one of the operating system for programmers, so its kind is named instead.
fn text_of(error: &sled::Error) -> String {
    if let sled::Error::Io(io) = error
        && io.kind() != std::io::ErrorKind::Other
    {
        return io.kind().to_string();
    }
    error.to_string()
}

fn object_key(key: &ConfigKey) -> Vec<u8> {
    format!("{}/{}/{}/{}", OBJECT as char, key.kind, key.namespace, key.name).into_bytes()
}

fn commit_key(revision: u64) -> Vec<u8> {
    [&[COMMIT][..], &revision.to_be_bytes()].concat()
}

fn author_key(revision: u64) -> Vec<u8> {
    [&[AUTHOR][..], &revision.to_be_bytes()].concat()
}

/// Adds the history of a commit to a batch. Each event is a record of its own, because sled writes a page again with
/// everything that is in it.
fn add_history(commit: &Commit, texts: &[EventText], batch: &mut sled::Batch) {
    for (text, number) in texts.iter().zip(0u32..) {
        let key = [commit_key(commit.revision), number.to_be_bytes().to_vec()].concat();
        batch.insert(key, seal_json(&text.event));
    }
    if let Some(written) = &commit.written {
        batch.insert(author_key(commit.revision), seal(written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;
    use crate::testing::{key, write};
    use crate::{ConfigEvent, ConfigWrite};

    /// Commits to a database at an instant, and takes the commit over into its state.
    fn commit(database: &Database, state: &mut State, now: i64, writes: Vec<ConfigWrite>) {
        let decision = state.decide(CreationTimestamp::from_microseconds(now), "", writes).unwrap().unwrap();
        state.apply(&decision);
        let texts: Vec<EventText> = decision.commit.events.iter().map(EventText::of).collect();
        database.apply(database.batch_of(&decision, &texts).unwrap()).unwrap();
        database.write_sum(state.head()).unwrap();
    }

    fn loaded(database: &Database) -> State {
        let Loaded { listing, last_instant, recorded } = database.load().unwrap();
        let state = State::of_objects(&listing.objects, listing.revision, last_instant);
        assert_eq!(recorded, Some(state.head()));
        state
    }

    #[test]
    fn what_was_written_is_loaded_and_read_by_revision() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        let mut state = State::default();
        commit(&database, &mut state, 5, vec![write("a", Some("{}")), write("b", Some("{}"))]);
        commit(&database, &mut state, 6, vec![write("a", None)]);
        assert_eq!(loaded(&database), state);
        let keys: Vec<ConfigKey> = database.commit(1).unwrap().keys().cloned().collect();
        assert_eq!(keys, [key("a"), key("b")]);
        assert_eq!(database.commit(2).unwrap().events, [ConfigEvent::Delete(key("a"))]);
        assert_eq!(database.commit(3), Err(StoreError::Compacted(3)));
        assert_eq!(database.read(&key("a")), Ok(None));
    }

    #[test]
    fn commits_that_failed_are_taken_out_as_if_they_had_never_been() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        let file = File::open(dir.path().join("db")).unwrap();
        let mut state = State::default();
        commit(&database, &mut state, 5, vec![write("changed", Some("{\"v\":1}")), write("deleted", Some("{}"))]);
        let acknowledged = loaded(&database);
        let names = ["changed", "deleted", "new"];
        let objects = names.map(|name| (key(name), database.read(&key(name)).unwrap())).into();
        let before = Before { objects, ..state.before() };

        commit(&database, &mut state, 6, vec![write("changed", Some("{\"v\":2}")), write("deleted", None)]);
        commit(&database, &mut state, 7, vec![write("new", Some("{}"))]);
        assert_ne!(loaded(&database), acknowledged);
        database.go_back(&before, &file).unwrap();
        assert_eq!(loaded(&database), acknowledged);
        for revision in [2, 3] {
            assert_eq!(database.commit(revision), Err(StoreError::Compacted(revision)));
        }
        state.go_back(&before);
        assert_eq!(state, acknowledged, "the state in memory goes the same way");
    }

    #[test]
    fn a_database_goes_back_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        let file = File::open(dir.path().join("db")).unwrap();
        let mut state = State::default();
        commit(&database, &mut state, 5, vec![write("a", Some("{}"))]);
        let before = Before { objects: [(key("a"), None)].into(), ..Before::default() };
        database.go_back(&before, &file).unwrap();
        assert_eq!(loaded(&database), State::default());
    }

    #[test]
    fn an_error_of_the_operating_system_is_told_by_its_kind() {
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "Os { code: 28 }");
        assert_eq!(text_of(&sled::Error::Io(full)), "no storage space");
        assert_eq!(text_of(&sled::Error::Io(std::io::Error::other("strange"))), "IO error: strange");
    }
}
