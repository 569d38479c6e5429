//! Where config is kept. Every store keeps one contract (`tests/contract.rs`):
//!
//! - A commit lands whole or not at all, and is acknowledged only when it will survive a crash.
//! - Revisions count commits, from 1. An object's version is the revision that last wrote it.
//! - A watch from a revision sees every later commit, in order, each as one batch.

mod embedded;
mod memory;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use rutter_api::ConfigKey;
use tokio::sync::watch;

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;

/// How many commits a watch may be behind. Further back it has to list again.
pub const HISTORY_MAX: u64 = 10_000;

/// Who may write an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Whoever uses the admin API.
    Api,
    /// A file of the watched folder, by its path in the folder.
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
    /// Which one.
    pub key: ConfigKey,
    /// As it was applied: JSON.
    pub json: Arc<str>,
    /// The commit that last wrote it.
    pub revision: u64,
    /// The commit that created it.
    pub created: u64,
    /// Who may write it.
    pub owner: Owner,
}

/// What an object must be for a write to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// This version.
    Revision(u64),
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which object.
    pub key: ConfigKey,
    /// What it becomes. None: it goes.
    pub json: Option<Arc<str>>,
    /// Who writes. An object of another owner is left alone, and the commit fails.
    pub owner: Owner,
    /// What it must be.
    pub expected: Expected,
}

/// An object after a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigEvent {
    /// It is this.
    Put(Stored),
    /// It is gone.
    Delete(ConfigKey),
}

/// A commit, as a watch sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Its number.
    pub revision: u64,
    /// What it changed.
    pub events: Vec<ConfigEvent>,
}

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else wrote it meanwhile.
    #[error(
        "{key}: want resourceVersion {want}, got {got} (somebody else changed it: get it again and repeat the change)"
    )]
    Conflict {
        /// The object.
        key: ConfigKey,
        /// The version that the writer had seen.
        want: u64,
        /// The version that it is. 0: there is none.
        got: u64,
    },
    /// It belongs to another source.
    #[error("{key}: want an object of {writer}, got one of {owner} (change it there)")]
    Owned {
        /// The object.
        key: ConfigKey,
        /// Who has it.
        owner: String,
        /// Who wanted to write.
        writer: String,
    },
    /// There is no such object to delete.
    #[error("{0}: not found")]
    NotFound(ConfigKey),
    /// The store failed; nothing was acknowledged.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Why a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{0}: another process uses this data folder (stop it, or name another folder)")]
    InUse(String),
    /// A record is not what was written.
    #[error(
        "{path}: record {record} is damaged: {problem} (the folder is left as it is; restore it from a copy, or start with another one)"
    )]
    Damaged {
        /// The folder.
        path: String,
        /// The record's key.
        record: String,
        /// What is wrong.
        problem: String,
    },
    /// The system refused.
    #[error("{0}")]
    Failed(String),
    /// The commits asked for are no longer kept; list again.
    #[error("commits up to {0} are no longer kept")]
    Compacted(u64),
}

/// Which objects somebody asks for.
pub type Wanted<'a> = &'a (dyn Fn(&ConfigKey) -> bool + Send + Sync);

/// Everything.
pub const ALL: Wanted<'static> = &|_| true;

/// A place where config is kept.
#[async_trait]
pub trait ConfigStore: Send + Sync + 'static {
    /// The objects that are wanted, and the revision they are of.
    async fn list(&self, wanted: Wanted<'_>) -> Result<(u64, Vec<Stored>), StoreError>;

    /// Who may write each object.
    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError>;

    /// One object.
    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError>;

    /// Lands all writes, or none. Writes that change nothing are left out; with none left the revision
    /// stays as it is.
    async fn commit(&self, writes: Vec<Write>) -> Result<u64, CommitError>;

    /// The commits after a revision, at most a few hundred of them.
    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError>;

    /// The latest revision, as it moves.
    fn latest(&self) -> watch::Receiver<u64>;
}

/// Sees every commit after a revision.
pub struct Watch {
    store: Arc<dyn ConfigStore>,
    latest: watch::Receiver<u64>,
    seen: u64,
}

impl Watch {
    /// Starts after `revision`.
    pub fn new(store: Arc<dyn ConfigStore>, revision: u64) -> Self {
        let latest = store.latest();
        Self { store, latest, seen: revision }
    }

    /// The next commits; waits until there is one. Safe to be dropped while it waits.
    ///
    /// # Errors
    /// When the store cannot be read or no longer keeps what comes next.
    pub async fn next(&mut self) -> Result<Vec<Commit>, StoreError> {
        let seen = self.seen;
        let closed = self.latest.wait_for(|latest| *latest > seen).await.is_err();
        if closed {
            return Err(StoreError::Failed("the store is closed".into()));
        }
        let commits = self.store.commits_after(self.seen).await?;
        if let Some(last) = commits.last() {
            self.seen = last.revision;
        }
        Ok(commits)
    }
}
