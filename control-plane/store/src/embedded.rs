//! The embedded store: sled 0.34, hardened.
//!
//! sled's own `flush` does not reach the disk on Linux, and its subscribers block the writer. So one
//! thread writes, makes each group of commits durable itself, and only then answers; the change feed is
//! a history of our own; and every record carries a checksum that is verified when the folder is opened.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rutter_api::{ConfigKey, Kind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use crate::state::{Held, Objects, apply, decide};
use crate::{Commit, CommitError, ConfigEvent, ConfigStore, HISTORY_MAX, Owner, StoreError, Stored, Wanted, Write};

/// Values above a quarter of a segment go to files that sled never syncs; objects are at most 1 MiB.
const SEGMENT_BYTES: usize = 16 << 20;
/// What sled may keep in memory of its own, in bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// Commits waiting for the writer. More wait in their callers.
const QUEUE: usize = 128;
/// Commits that one reading of the history returns.
const READ_MAX: usize = 256;
/// Events of the latest commits that are kept in memory.
const RECENT_MAX: usize = 64;

const OBJECT: u8 = b'c';
const COMMIT: u8 = b'h';
const REVISION: &[u8] = b"m/revision";

/// Config in a folder.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// None: it is being dropped.
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
    objects: RwLock<(u64, Objects)>,
    /// What opening read, for the first who lists everything.
    opened: Mutex<Option<(u64, Vec<Stored>)>>,
    /// The latest commits, without a gap: who watches need not read them from the disk.
    recent: Mutex<VecDeque<Commit>>,
    latest: watch::Sender<u64>,
}

struct Job {
    writes: Vec<Write>,
    answer: oneshot::Sender<Result<u64, CommitError>>,
}

impl EmbeddedStore {
    /// Opens a folder, made where it is missing, and verifies every record in it.
    ///
    /// # Errors
    /// When another process has it, when a record is damaged, or when the system refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.display().to_string();
        let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).cache_capacity(CACHE_BYTES);
        let db = config.open().map_err(|error| open_error(&path, &error))?;
        let (revision, stored) = load(&db, &path)?;
        let objects = stored.iter().map(|stored| (stored.key.clone(), Held::of(stored))).collect();
        let file = File::open(dir.join("db")).map_err(|error| StoreError::Failed(format!("{path}: {error}")))?;
        let latest = watch::Sender::new(revision);
        let (objects, opened) = (RwLock::new((revision, objects)), Mutex::new(Some((revision, stored))));
        let shared = Arc::new(Shared { db, path, objects, opened, recent: Mutex::default(), latest });
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

fn load(db: &sled::Db, path: &str) -> Result<(u64, Vec<Stored>), StoreError> {
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
    Ok((revision, objects))
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

    fn write(&self, writes: Vec<Write>) -> Result<u64, CommitError> {
        let mut state = self.shared.objects.write().unwrap_or_else(PoisonError::into_inner);
        let Some(commit) = decide(&state.1, state.0, writes)? else { return Ok(state.0) };
        let mut batch = sled::Batch::default();
        for event in &commit.events {
            match event {
                ConfigEvent::Put(stored) => batch.insert(object_key(&stored.key), seal(&Record::of(stored))),
                ConfigEvent::Delete(key) => batch.remove(object_key(key)),
            }
        }
        // A record for each event: sled writes a page again and again, with all that is in it.
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
        self.shared.db.apply_batch(batch).map_err(|error| CommitError::Failed(error.to_string()))?;
        self.shared.take_opened();
        state.0 = commit.revision;
        apply(&mut state.1, &commit);
        self.shared.remember(commit);
        Ok(state.0)
    }

    /// sled hands its pages to the system; the system has to hand them to the disk.
    fn sync(&self) -> Result<(), CommitError> {
        self.shared.db.flush().map_err(|error| CommitError::Failed(error.to_string()))?;
        self.file.sync_data().map_err(|error| CommitError::Failed(error.to_string()))
    }
}

impl Shared {
    fn revision(&self) -> u64 {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).0
    }
}

#[async_trait]
impl ConfigStore for EmbeddedStore {
    async fn list(&self, wanted: Wanted<'_>) -> Result<(u64, Vec<Stored>), StoreError> {
        // The writer waits meanwhile, so that all is of one revision.
        let objects = self.shared.objects.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, mut opened)) = self.shared.take_opened() {
            opened.retain(|stored| wanted(&stored.key));
            return Ok((revision, opened));
        }
        let keys = objects.1.keys().filter(|key| wanted(key));
        let found = keys.map(|key| self.shared.read(key)).collect::<Result<Vec<_>, _>>()?;
        Ok((objects.0, found.into_iter().flatten().collect()))
    }

    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        self.shared.read(key)
    }

    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError> {
        let objects = self.shared.objects.read().unwrap_or_else(PoisonError::into_inner);
        Ok(objects.1.iter().map(|(key, held)| (key.clone(), held.owner.clone())).collect())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64, CommitError> {
        let closed = || CommitError::Failed("its writer has stopped".into());
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

    /// The commits after a revision, where they are all remembered.
    fn recent_after(&self, revision: u64, latest: u64) -> Option<Vec<Commit>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |commit: &&Commit| commit.revision > revision && commit.revision <= latest;
        let commits: Vec<Commit> = recent.iter().filter(wanted).cloned().collect();
        (commits.len() as u64 == latest.saturating_sub(revision)).then_some(commits)
    }

    fn take_opened(&self) -> Option<(u64, Vec<Stored>)> {
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

#[derive(Serialize, Deserialize)]
struct Record {
    kind: String,
    namespace: String,
    name: String,
    json: Box<RawValue>,
    revision: u64,
    created: u64,
    /// None: the API.
    file: Option<String>,
}

impl Record {
    fn of(stored: &Stored) -> Self {
        let file = match &stored.owner {
            Owner::Api => None,
            Owner::File(path) => Some(path.clone()),
        };
        let (key, json) = (&stored.key, RawValue::from_string(stored.json.to_string()).unwrap_or_default());
        let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
        Self {
            kind: key.kind.name().into(),
            namespace,
            name,
            json,
            revision: stored.revision,
            created: stored.created,
            file,
        }
    }

    fn stored(self) -> Option<Stored> {
        let key = ConfigKey::new(Kind::from_word(&self.kind)?, &self.namespace, &self.name);
        let owner = self.file.map_or(Owner::Api, Owner::File);
        Some(Stored { key, json: self.json.get().into(), revision: self.revision, created: self.created, owner })
    }
}

#[derive(Serialize, Deserialize)]
enum EventRecord {
    Put(Record),
    Delete(String, String, String),
}

impl EventRecord {
    fn of(event: &ConfigEvent) -> Self {
        match event {
            ConfigEvent::Put(stored) => Self::Put(Record::of(stored)),
            ConfigEvent::Delete(key) => {
                Self::Delete(key.kind.name().into(), key.namespace.to_string(), key.name.to_string())
            }
        }
    }

    fn event(self) -> Option<ConfigEvent> {
        Some(match self {
            Self::Put(record) => ConfigEvent::Put(record.stored()?),
            Self::Delete(kind, namespace, name) => {
                ConfigEvent::Delete(ConfigKey::new(Kind::from_word(&kind)?, &namespace, &name))
            }
        })
    }
}

fn object_key(key: &ConfigKey) -> Vec<u8> {
    format!("{}/{}/{}/{}", OBJECT as char, key.kind, key.namespace, key.name).into_bytes()
}

fn commit_key(revision: u64) -> Vec<u8> {
    [&[COMMIT][..], &revision.to_be_bytes()].concat()
}

/// JSON after its checksum.
fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    // Cannot fail: the types have string keys only.
    let json = serde_json::to_vec(value).unwrap_or_default();
    [&crc32fast::hash(&json).to_be_bytes()[..], &json].concat()
}

fn unseal<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    let (sum, json) = bytes.split_at_checked(4).ok_or("want a checksum, got fewer bytes")?;
    if crc32fast::hash(json).to_be_bytes() != sum {
        return Err("the checksum does not match".into());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
