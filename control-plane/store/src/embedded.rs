//! The embedded store: sled 0.34, made durable.
//!
//! The `flush` of sled does not reach the disk on Linux, and its subscribers block the writer. Therefore one thread
//! writes, makes each group of commits durable itself, and only then answers. The history of commits is kept here, and
//! every record has a checksum that is verified when the folder is opened.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::SystemTime;

use async_trait::async_trait;
use rutter_api::{ConfigKey, CreationTimestamp};
use tokio::sync::{oneshot, watch};

use crate::record::{EventRecord, Record, seal, unseal};
use crate::state::{Decision, State};
use crate::{
    Commit, CommitError, ConfigEvent, ConfigStore, ConfigWrite, HISTORY_MAX, Listing, Owner, StoreError, Stored, Wanted,
};

/// The length of a segment. Values above a quarter of it go to files that sled never syncs; objects have 1 MiB at most.
/// A quarter is 4 MiB, so that no
/// object ever goes to such a file.
const SEGMENT_BYTES: usize = 16 << 20;
/// The memory that sled may use for itself, in bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// The number of commits that may wait for the writer. Callers of further ones wait themselves.
const QUEUE: usize = 128;
/// The number of commits that are read from the history at once.
const READ_MAX: usize = 256;
/// The number of events of the latest commits that are kept in memory.
const RECENT_MAX: usize = 64;

/// The first byte of the keys of objects.
const OBJECT: u8 = b'c';
/// The first byte of the keys of commits.
const COMMIT: u8 = b'h';
/// The key of the latest revision.
const REVISION: &[u8] = b"m/revision";
/// The key of the latest instant that was given to new objects, in microseconds since 1970.
const LAST_INSTANT: &[u8] = b"m/last-instant";

/// Config in a folder.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// The queue and the thread of the writer. `None` means that the store is being dropped.
    writer: Option<(SyncSender<Job>, JoinHandle<()>)>,
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

struct Shared {
    db: sled::Db,
    path: String,
    state: RwLock<State>,
    /// What was read at opening, for the first listing.
    opened: Mutex<Option<Listing>>,
    /// The latest commits, without a gap, so that watches need not read them from the disk.
    recent: Mutex<VecDeque<Commit>>,
    latest: watch::Sender<u64>,
}

struct Job {
    writes: Vec<ConfigWrite>,
    answer: oneshot::Sender<Result<u64, CommitError>>,
}

impl EmbeddedStore {
    /// Opens a folder, which is made if it is missing, and verifies every record in it. The objects that are read stay
    /// in memory until they were listed once or something is written.
    ///
    /// # Errors
    /// Fails if another process has the folder open, if a record is damaged, or if the operating system refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.display().to_string();
        let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).cache_capacity(CACHE_BYTES);
        let db = config.open().map_err(|error| open_error(&path, &error))?;
        let (listing, last_instant) = load(&db, &path)?;
        let state = State::of_objects(&listing.objects, listing.revision, last_instant);
        let file = File::open(dir.join("db")).map_err(|error| StoreError::Failed(format!("{path}: {error}")))?;
        let latest = watch::Sender::new(listing.revision);
        let (state, opened) = (RwLock::new(state), Mutex::new(Some(listing)));
        let shared = Arc::new(Shared { db, path, state, opened, recent: Mutex::default(), latest });
        let (queue, jobs) = sync_channel(QUEUE);
        let writer = Writer { shared: shared.clone(), file };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&jobs))
            .map_err(|error| StoreError::Failed(format!("a thread for the store: {error}")))?;
        Ok(Self { shared, writer: Some((queue, thread)) })
    }
}

fn open_error(path: &str, error: &sled::Error) -> StoreError {
    if let sled::Error::Io(io) = error
        && (io.kind() == std::io::ErrorKind::WouldBlock || io.to_string().contains("lock"))
    {
        return StoreError::InUse(path.to_owned());
    }
    StoreError::Failed(format!("{path}: {error}"))
}

/// Reads everything in a folder, and the latest instant that was given to new objects.
fn load(db: &sled::Db, path: &str) -> Result<(Listing, Option<CreationTimestamp>), StoreError> {
    let failed = |error: sled::Error| StoreError::Failed(format!("{path}: {error}"));
    let damaged = |record: &[u8], problem: String| StoreError::Damaged {
        path: path.to_owned(),
        record: String::from_utf8_lossy(record).into_owned(),
        problem,
    };
    let mut objects = Vec::new();
    for item in db.scan_prefix([OBJECT]) {
        let (key, bytes) = item.map_err(failed)?;
        let record: Record = unseal(&bytes).map_err(|problem| damaged(&key, problem))?;
        let stored = record.stored().ok_or_else(|| damaged(&key, "an unknown kind".into()))?;
        objects.push(stored);
    }
    let revision = match db.get(REVISION).map_err(failed)? {
        Some(bytes) => unseal(&bytes).map_err(|problem| damaged(REVISION, problem))?,
        None => 0,
    };
    let last_instant = match db.get(LAST_INSTANT).map_err(failed)? {
        Some(bytes) => Some(unseal(&bytes).map_err(|problem| damaged(LAST_INSTANT, problem))?),
        None => None,
    };
    let listing = Listing { revision, objects };
    Ok((listing, last_instant.map(CreationTimestamp::from_microseconds)))
}

/// The only writer, so that commits are decided one after the other.
struct Writer {
    shared: Arc<Shared>,
    file: File,
}

impl Writer {
    fn run(self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let group: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(QUEUE)).collect();
            let before = self.shared.revision();
            let answers: Vec<_> = group.into_iter().map(|job| (job.answer, self.write(job.writes))).collect();
            let after = self.shared.revision();
            let durable = if after > before { self.sync() } else { Ok(()) };
            if durable.is_ok() && after > before {
                self.shared.latest.send_replace(after);
            }
            for (answer, result) in answers {
                // A caller that has gone does not need its answer.
                let _ = answer.send(durable.clone().and(result));
            }
        }
    }

    fn write(&self, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        let now = CreationTimestamp::from(SystemTime::now());
        let Some(decision) = state.decide(now, writes)? else { return Ok(state.revision) };
        let batch = self.batch(&decision)?;
        self.shared.db.apply_batch(batch).map_err(|error| CommitError::Failed(error.to_string()))?;
        self.shared.take_opened();
        state.apply(&decision);
        self.shared.remember(decision.commit);
        Ok(state.revision)
    }

    /// Returns everything that a commit writes.
    fn batch(&self, decision: &Decision) -> Result<sled::Batch, CommitError> {
        let commit = &decision.commit;
        let mut batch = sled::Batch::default();
        for event in &commit.events {
            match event {
                ConfigEvent::Put(stored) => batch.insert(object_key(&stored.key), seal(&Record::of(stored))),
                ConfigEvent::Delete(key) => batch.remove(object_key(key)),
            }
        }
        // Each event is a record of its own, because sled writes a page again with everything that is in it.
        for (event, number) in commit.events.iter().zip(0u32..) {
            batch.insert(
                [commit_key(commit.revision), number.to_be_bytes().to_vec()].concat(),
                seal(&EventRecord::of(event)),
            );
        }
        if let Some(old) = commit.revision.checked_sub(HISTORY_MAX) {
            for key in self.shared.db.scan_prefix(commit_key(old)).keys() {
                batch.remove(key.map_err(|error| CommitError::Failed(error.to_string()))?);
            }
        }
        batch.insert(REVISION, seal(&commit.revision));
        batch.insert(LAST_INSTANT, seal(&decision.instant.microseconds()));
        Ok(batch)
    }

    /// Makes everything durable: sled hands its pages to the operating system, which has to hand them to the disk.
    fn sync(&self) -> Result<(), CommitError> {
        self.shared.db.flush().map_err(|error| CommitError::Failed(error.to_string()))?;
        self.file.sync_data().map_err(|error| CommitError::Failed(error.to_string()))
    }
}

impl Shared {
    fn revision(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).revision
    }
}

#[async_trait]
impl ConfigStore for EmbeddedStore {
    async fn list(&self, wanted: Wanted<'_>) -> Result<Listing, StoreError> {
        // The writer waits meanwhile, so that everything is of one revision.
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
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
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.objects.iter().map(|(key, held)| (key.clone(), held.owner.clone())).collect())
    }

    async fn commit(&self, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let (answer, result) = oneshot::channel();
        let job = Job { writes, answer };
        let queue = self.writer.as_ref().map(|(queue, _)| queue.clone()).ok_or_else(closed)?;
        match queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(closed()),
            Err(TrySendError::Full(job)) => {
                let sent = tokio::task::spawn_blocking(move || queue.send(job).is_ok()).await;
                if !sent.unwrap_or(false) {
                    return Err(closed());
                }
            }
        }
        result.await.map_err(|_| closed())?
    }

    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError> {
        let shared = self.shared.clone();
        let latest = *shared.latest.borrow();
        if let Some(recent) = shared.recent_after(revision, latest) {
            return Ok(recent);
        }
        let read = tokio::task::spawn_blocking(move || {
            let last = latest.min(revision.saturating_add(READ_MAX as u64));
            (revision + 1..=last).map(|revision| shared.commit(revision)).collect::<Result<Vec<Commit>, StoreError>>()
        });
        read.await.map_err(|error| StoreError::Failed(error.to_string()))?
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.shared.latest.subscribe()
    }
}

impl Shared {
    fn remember(&self, commit: Commit) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(commit);
        while recent.iter().map(|commit| commit.events.len()).sum::<usize>() > RECENT_MAX {
            recent.pop_front();
        }
    }

    /// Returns the commits after a revision, if all of them are remembered.
    fn recent_after(&self, revision: u64, latest: u64) -> Option<Vec<Commit>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = revision.saturating_add(1)..=latest;
        let commits: Vec<Commit> = recent.iter().filter(|commit| wanted.contains(&commit.revision)).cloned().collect();
        (commits.len() as u64 == latest.saturating_sub(revision)).then_some(commits)
    }

    fn take_opened(&self) -> Option<Listing> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn read(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        let damaged =
            |problem: String| StoreError::Damaged { path: self.path.clone(), record: key.to_string(), problem };
        let bytes = self.db.get(object_key(key)).map_err(|error| StoreError::Failed(error.to_string()))?;
        let record = bytes.map(|bytes| unseal::<Record>(&bytes)).transpose().map_err(damaged)?;
        record.map(|record| record.stored().ok_or_else(|| damaged("an unknown kind".into()))).transpose()
    }

    fn commit(&self, revision: u64) -> Result<Commit, StoreError> {
        let damaged =
            |problem: String| StoreError::Damaged { path: self.path.clone(), record: format!("h{revision}"), problem };
        let mut events = Vec::new();
        for record in self.db.scan_prefix(commit_key(revision)).values() {
            let bytes = record.map_err(|error| StoreError::Failed(error.to_string()))?;
            let event: EventRecord = unseal(&bytes).map_err(damaged)?;
            events.push(event.event().ok_or_else(|| damaged("an unknown kind".into()))?);
        }
        if events.is_empty() {
            return Err(StoreError::Compacted(revision));
        }
        Ok(Commit { revision, events })
    }
}

fn object_key(key: &ConfigKey) -> Vec<u8> {
    format!("{}/{}/{}/{}", OBJECT as char, key.kind, key.namespace, key.name).into_bytes()
}

fn commit_key(revision: u64) -> Vec<u8> {
    [&[COMMIT][..], &revision.to_be_bytes()].concat()
}

fn closed() -> CommitError {
    CommitError::Failed("its writer has stopped".into())
}
