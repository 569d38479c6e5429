//! Where config is kept. Every store keeps one contract, which `tests/contract.rs` tries on each of them:
//!
//! - A commit is made as a whole or not at all, and it is acknowledged only when it will survive a crash.
//! - Revisions count commits, from 1. The version of an object is the revision that last wrote it.
//! - An object has an age, its creation timestamp: the one that it was written with, or, if it had none, the instant of
//!   the commit that created it. All new objects of a commit have the same instant, and a later commit has a later one.
//! - A watch that starts at a revision sees every later commit, in order.

mod embedded;
mod history;
mod journal;
mod memory;
mod record;
mod restore;
mod state;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use rutter_api::{ConfigKey, CreationTimestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use embedded::EmbeddedStore;
pub use history::{Difference, differences, history};
pub use memory::MemoryStore;
pub use restore::{Origin, RestoreReport, RestoreRequest, backup_lines, restore};

/// The number of commits that a watch may be behind. A watch that is further behind has to list everything again.
pub const HISTORY_MAX: u64 = 10_000;

/// Who may write an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Whoever uses the admin API.
    Api,
    /// A file of the watched folder, given by its path in the folder.
    File(String),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api => f.write_str("api"),
            Self::File(path) => f.write_str(path),
        }
    }
}

/// An object as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Names the object.
    pub key: ConfigKey,
    /// The object as it was applied, as JSON. Its creation timestamp is not in it.
    pub json: Arc<str>,
    /// The revision that last wrote the object.
    pub revision: u64,
    /// The revision that created the object.
    pub first_revision: u64,
    /// The age of the object, which decides between objects that say different things of one thing.
    pub created: CreationTimestamp,
    /// Who may write the object.
    pub owner: Owner,
}

/// What an object must be for a write to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The object may be anything, or not exist.
    Any,
    /// The object must have been written last by this revision.
    Revision(u64),
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigWrite {
    /// Names the object.
    pub key: ConfigKey,
    /// The new object, as JSON. `None` deletes the object.
    pub json: Option<Arc<str>>,
    /// The age of the object. `None` keeps the age that it has, and gives a new object the instant of the commit.
    pub created: Option<CreationTimestamp>,
    /// Who writes. If the object belongs to somebody else, the commit fails.
    pub owner: Owner,
    /// What the object must be.
    pub expected: Expected,
}

/// An object after a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigEvent {
    /// The object is now this.
    Put(Stored),
    /// The object no longer exists.
    Delete(ConfigKey),
}

/// A commit as a watch sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The number of the commit.
    pub revision: u64,
    /// What the commit changed.
    pub events: Vec<ConfigEvent>,
    /// Who made the commit, and when. `None` means that it is not known: an earlier version of Rutter made it, or it came
    /// back from a backup or a journal.
    pub written: Option<Written>,
}

/// Who made a commit, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The instant of the commit, in microseconds since 1970. No later commit has an earlier one.
    pub at: i64,
    /// Who made it, for people: `uid 0`, `token write from 127.0.0.1`, `folder`. It is empty if nobody said.
    pub by: Arc<str>,
}

/// Objects of a store at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The revision.
    pub revision: u64,
    /// The objects, in no particular order.
    pub objects: Vec<Stored>,
}

impl Commit {
    /// Returns the objects that the commit changed.
    pub fn keys(&self) -> impl Iterator<Item = &ConfigKey> {
        self.events.iter().map(|event| match event {
            ConfigEvent::Put(stored) => &stored.key,
            ConfigEvent::Delete(key) => key,
        })
    }
}

/// Whether a store takes commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writable {
    /// The store takes commits.
    Yes,
    /// The store takes none, for this reason. Everything can still be read. The store finds out by itself when it can be
    /// written again.
    No(String),
}

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the object meanwhile.
    #[error("{key}: want version {want}, got {}", shown_version(*got))]
    Conflict {
        /// The object.
        key: ConfigKey,
        /// The version that the writer had seen.
        want: u64,
        /// The version that the object has. It is 0 if there is no such object.
        got: u64,
    },
    /// The object belongs to another source.
    #[error("{key}: want an object of {writer}, got one of {owner} (change it there)")]
    Owned {
        /// The object.
        key: ConfigKey,
        /// To whom the object belongs.
        owner: String,
        /// Who wanted to write it.
        writer: String,
    },
    /// There is no such object to delete.
    #[error("{0}: not found")]
    NotFound(ConfigKey),
    /// The store failed, and nothing was acknowledged.
    #[error("the store failed: {0}")]
    Failed(String),
}

fn shown_version(got: u64) -> String {
    match got {
        0 => "no such object (somebody else deleted it; without the annotation rutter/revision it is made anew)".into(),
        got => format!("{got} (somebody else changed it: get it again and repeat the change)"),
    }
}

/// Why a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data folder open.
    #[error("{0}: another process uses this data folder (stop it, or name another folder)")]
    InUse(String),
    /// A record fails its checksum, or cannot be decoded.
    #[error("{path}: record {record} is damaged: {problem}")]
    Damaged {
        /// The path of the folder.
        path: String,
        /// The key of the record.
        record: String,
        /// What is wrong with the record.
        problem: String,
    },
    /// What is in the folder is not what was acknowledged. Nothing of it was changed.
    #[error(
        "{path}: {problem} (no file was changed; `rutter restore --data-dir {path} --dry-run` shows what can be brought back, and without --dry-run brings it back)"
    )]
    Unsound {
        /// The path of the folder.
        path: String,
        /// What is damaged or missing.
        problem: String,
    },
    /// The operating system refused.
    #[error("{0}")]
    Failed(String),
    /// The commits that were asked for are no longer kept. Everything has to be listed again.
    #[error("commits up to {0} are no longer kept")]
    Compacted(u64),
}

/// Says which objects somebody wants.
pub type Wanted<'a> = &'a (dyn Fn(&ConfigKey) -> bool + Send + Sync);

/// Wants every object of every kind.
pub const ALL: Wanted<'static> = &|_| true;

/// A place where config is kept. Every method may be called from any task, and at the same time as any other.
#[async_trait]
pub trait ConfigStore: Send + Sync + 'static {
    /// Returns the objects that are wanted, all at one revision.
    async fn list(&self, wanted: Wanted<'_>) -> Result<Listing, StoreError>;

    /// Returns the owner of every object.
    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError>;

    /// Returns the owner of each of some objects, in their order. `None` means that there is no such object.
    async fn owners_of(&self, keys: &[ConfigKey]) -> Result<Vec<Option<Owner>>, StoreError>;

    /// Returns one object, or `None` if there is no such object.
    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError>;

    /// Makes all writes or none, and returns the revision afterwards. Writes that change nothing are left out; if none
    /// is left, there is no commit. When this returns, the commit has survived a crash of the process and of the
    /// machine. `author` says for people who writes.
    async fn commit_by(&self, author: &str, writes: Vec<ConfigWrite>) -> Result<u64, CommitError>;

    /// Makes all writes or none, as [`ConfigStore::commit_by`], and does not say who writes.
    async fn commit(&self, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        self.commit_by("", writes).await
    }

    /// Fails as a commit of these writes would fail now, and writes nothing.
    async fn check(&self, writes: Vec<ConfigWrite>) -> Result<(), CommitError>;

    /// Gives memory back that many commits took, which is worth its while after config was loaded. Everything else waits
    /// meanwhile.
    async fn give_back_memory(&self);

    /// Returns the commits after a revision, at most a few hundred of them.
    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError>;

    /// Returns the latest revision, which can be waited for.
    fn latest(&self) -> watch::Receiver<u64>;

    /// Returns whether the store takes commits, which can be waited for.
    fn writable(&self) -> watch::Receiver<Writable>;
}

/// Sees every commit after a revision.
pub struct Watch {
    store: Arc<dyn ConfigStore>,
    latest: watch::Receiver<u64>,
    seen: u64,
}

impl Watch {
    /// Returns a watch that starts after `revision`.
    pub fn new(store: Arc<dyn ConfigStore>, revision: u64) -> Self {
        let latest = store.latest();
        Self { store, latest, seen: revision }
    }

    /// Waits for the next commits and returns them. A call that is dropped while it waits misses nothing. The commits
    /// come in order and without a gap, each exactly once.
    ///
    /// # Errors
    /// Fails if the store cannot be read, or no longer keeps what comes next.
    pub async fn next(&mut self) -> Result<Vec<Commit>, StoreError> {
        let seen = self.seen;
        let is_closed = self.latest.wait_for(|latest| *latest > seen).await.is_err();
        if is_closed {
            return Err(StoreError::Failed("the store is closed".into()));
        }
        let commits = self.store.commits_after(self.seen).await?;
        if let Some(last) = commits.last() {
            self.seen = last.revision;
        }
        Ok(commits)
    }
}
