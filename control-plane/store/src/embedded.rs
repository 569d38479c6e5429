//! The embedded store: sled 0.34, made durable.
//!
//! The `flush` of sled does not reach the disk on Linux, and its subscribers block the writer. Therefore one thread
//! writes, makes each group of commits durable itself, and only then answers. The history of commits is kept here, and
//! every record has a checksum that is verified when the folder is opened.

mod copy;
mod database;
mod lock;
mod opening;
mod shared;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rutter_api::{ConfigKey, CreationTimestamp};
use tokio::sync::{oneshot, watch};

use crate::restore::finish_restore;
use crate::{Commit, CommitError, ConfigStore, ConfigWrite, Listing, Owner, StoreError, Stored, Wanted, Writable};
use opening::Opened;
use shared::Shared;
use writer::{CommitJob, Job, QUEUE, Writer};

pub(crate) use copy::{Copy, is_of_database};
pub(crate) use database::{Database, Loaded};
pub(crate) use lock::FolderLock;
pub(crate) use opening::is_as_known;

/// The number of commits that are read from the history at once.
const READ_MAX: usize = 256;

/// Config in a folder.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// The queue and the thread of the writer. `None` means that the store is being dropped.
    writer: Option<(SyncSender<Job>, JoinHandle<()>)>,
    /// Goes last, when nothing of the folder is open any more.
    _lock: FolderLock,
}

impl Drop for EmbeddedStore {
    /// Waits for the writer, so that the folder is free afterwards.
    fn drop(&mut self) {
        if let Some((queue, thread)) = self.writer.take() {
            drop(queue);
            // A writer that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl EmbeddedStore {
    /// Opens a folder, which is made if it is missing, and verifies that everything is in it that was acknowledged. The
    /// objects that are read stay in memory until they were listed once or something is written. A folder that cannot be
    /// written, because the disk is full or read-only, is read, and is written as soon as it can be.
    ///
    /// # Errors
    /// Fails if another process has the folder open, if something is damaged or missing, or if the operating system
    /// refuses. Then every file is as it was.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = FolderLock::take(dir)?;
        finish_restore(dir).map_err(StoreError::Failed)?;
        let Opened { database, loaded, state, journal, writable } = opening::open(dir)?;
        let shared = Arc::new(Shared::new(dir.to_owned(), database, state, loaded.listing, writable));
        let (queue, jobs) = sync_channel(QUEUE);
        let writer = Writer::new(shared.clone(), journal)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&jobs))
            .map_err(|error| StoreError::Failed(format!("a thread for the store: {error}")))?;
        Ok(Self { shared, writer: Some((queue, thread)), _lock: lock })
    }

    /// Hands something to the writer, and waits for room in its queue if there is none.
    async fn queue(&self, job: Job) -> Result<(), CommitError> {
        let queue = self.writer.as_ref().map(|(queue, _)| queue.clone()).ok_or_else(closed)?;
        match queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(closed()),
            Err(TrySendError::Full(job)) => {
                let sent = tokio::task::spawn_blocking(move || queue.send(job).is_ok()).await;
                if sent.unwrap_or(false) { Ok(()) } else { Err(closed()) }
            }
        }
    }
}

#[async_trait]
impl ConfigStore for EmbeddedStore {
    async fn list(&self, wanted: Wanted<'_>) -> Result<Listing, StoreError> {
        // The writer waits meanwhile, so that everything is of one revision.
        let state = self.shared.state();
        if let Some(mut opened) = self.shared.take_opened() {
            opened.objects.retain(|stored| wanted(&stored.key));
            return Ok(opened);
        }
        let keys = state.objects.keys().filter(|key| wanted(key));
        let found = keys.map(|key| self.shared.read(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(Listing { revision: state.revision, objects: found.into_iter().flatten().collect() })
    }

    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        self.shared.read(key)
    }

    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError> {
        let state = self.shared.state();
        Ok(state.objects.iter().map(|(key, held)| (key.clone(), held.owner.clone())).collect())
    }

    async fn owners_of(&self, keys: &[ConfigKey]) -> Result<Vec<Option<Owner>>, StoreError> {
        Ok(self.shared.state().owners_of(keys))
    }

    async fn check(&self, writes: Vec<ConfigWrite>) -> Result<(), CommitError> {
        if let Writable::No(reason) = &*self.shared.writable.borrow() {
            return Err(CommitError::Failed(reason.clone()));
        }
        self.shared.state().decide(CreationTimestamp::default(), "", writes).map(drop)
    }

    async fn commit_by(&self, author: &str, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let (answer, result) = oneshot::channel();
        self.queue(Job::Commit(CommitJob { author: author.into(), writes, answer })).await?;
        result.await.map_err(|_| closed())?
    }

    async fn give_back_memory(&self) {
        let (answer, done) = oneshot::channel();
        if self.queue(Job::GiveBack(answer)).await.is_ok() {
            // A writer that has stopped holds nothing.
            let _ = done.await;
        }
    }

    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError> {
        let shared = self.shared.clone();
        let latest = *shared.latest.borrow();
        if let Some(recent) = shared.recent_after(revision, latest) {
            return Ok(recent);
        }
        let read = tokio::task::spawn_blocking(move || {
            let last = latest.min(revision.saturating_add(READ_MAX as u64));
            (revision + 1..=last)
                .map(|revision| shared.with_database(|database| database.commit(revision)))
                .collect::<Result<Vec<Commit>, StoreError>>()
        });
        read.await.map_err(|error| StoreError::Failed(error.to_string()))?
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.shared.latest.subscribe()
    }

    fn writable(&self) -> watch::Receiver<Writable> {
        self.shared.writable.subscribe()
    }
}

fn closed() -> CommitError {
    CommitError::Failed("its writer has stopped".into())
}
