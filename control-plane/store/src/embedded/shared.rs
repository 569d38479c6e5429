//! What the callers of an embedded store and its writer share.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rutter_api::ConfigKey;
use tokio::sync::watch;

use super::database::Database;
use crate::journal::{Journal, SnapshotHead};
use crate::state::{Before, State};
use crate::{Commit, Listing, StoreError, Stored, Writable};

/// The number of events of the latest commits that are kept in memory.
const RECENT_MAX: usize = 64;

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    /// The database. `None` means that it could not be opened again after a failure.
    database: RwLock<Option<Database>>,
    state: RwLock<State>,
    /// The objects that commits wrote which failed, as they were before. The database may have them as they were
    /// written, until it is opened again.
    failed: RwLock<BTreeMap<ConfigKey, Option<Stored>>>,
    /// What was read at opening, for the first listing.
    opened: Mutex<Option<Listing>>,
    /// The latest commits, without a gap, so that watches need not read them from the disk.
    recent: Mutex<VecDeque<Commit>>,
    pub(super) latest: watch::Sender<u64>,
    pub(super) writable: watch::Sender<Writable>,
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(dir: PathBuf, database: Database, state: State, listing: Listing, writable: Writable) -> Self {
        Self {
            dir,
            database: RwLock::new(Some(database)),
            state: RwLock::new(state),
            failed: RwLock::default(),
            recent: Mutex::default(),
            latest: watch::Sender::new(listing.revision),
            writable: watch::Sender::new(writable),
            opened: Mutex::new(Some(listing)),
        }
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        read_lock(&self.state)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        write_lock(&self.state)
    }

    pub(super) fn database_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        write_lock(&self.database)
    }

    /// Does something with the database, if it is open.
    pub(super) fn with_database<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*read_lock(&self.database) {
            Some(database) => act(database),
            None => Err(StoreError::Failed(format!("{}: it could not be opened again", self.dir.display()))),
        }
    }

    /// Returns an object as the latest commit that did not fail left it.
    pub(super) fn read(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        if let Some(before) = read_lock(&self.failed).get(key) {
            return Ok(before.clone());
        }
        self.with_database(|database| database.read(key))
    }

    /// Begins a generation of the journal with everything that there is. Only the writer may do this.
    pub(super) fn begin_journal(&self) -> Result<Journal, String> {
        let state = self.state();
        let objects =
            state.objects.keys().filter_map(|key| self.read(key).map_err(|error| error.to_string()).transpose());
        Journal::begin(&self.dir, &SnapshotHead::of(&state), objects)
    }

    /// Goes back to what was before commits that failed.
    pub(super) fn go_back(&self, before: &Before) {
        let mut state = self.state_mut();
        write_lock(&self.failed).clone_from(&before.objects);
        state.go_back(before);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|commit| commit.revision <= before.revision);
    }

    /// Takes in that the database no longer has anything of commits that failed.
    pub(super) fn forget_failed(&self) {
        write_lock(&self.failed).clear();
    }

    pub(super) fn remember(&self, commit: Commit) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(commit);
        while recent.iter().map(|commit| commit.events.len()).sum::<usize>() > RECENT_MAX {
            recent.pop_front();
        }
    }

    /// Returns the commits after a revision, if all of them are remembered.
    pub(super) fn recent_after(&self, revision: u64, latest: u64) -> Option<Vec<Commit>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = revision.saturating_add(1)..=latest;
        let commits: Vec<Commit> = recent.iter().filter(|commit| wanted.contains(&commit.revision)).cloned().collect();
        (commits.len() as u64 == latest.saturating_sub(revision)).then_some(commits)
    }

    /// Returns what was read at opening, if nothing was listed or written since then.
    pub(super) fn take_opened(&self) -> Option<Listing> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
