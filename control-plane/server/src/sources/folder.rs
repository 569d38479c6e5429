//! The watched folder: config in files, which is changed only there.
//!
//! ```text
//! watcher: what happens ──> pending: what is due, and when ──> file: read and checked ──> plan: which file has which object
//! walk: everything, now and then ──────┘                                                            │
//!                           missing: objects that no file has any more, deleted a little later <────┘──> store
//! ```
//!
//! What is faulty stays as it was, and the rest is taken: a document with a fault keeps its object as the last good version
//! said it, and a file with a fault deletes nothing.

mod file;
mod missing;
mod network;
mod pending;
mod plan;
mod status;
mod walk;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rutter_api::{ConfigKey, Kind};
use rutter_store::{CommitError, ConfigStore, ConfigWrite, Expected, Owner};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::parallel;
use crate::sealing::Sealer;
use crate::shutdown::stopped;
use crate::traces::Traces;
use file::{Outcome, ReadFile, read_file};
use missing::{Missing, Verdict};
use pending::{Due, Happened, Pending};
use plan::{FileState, Planned, plan};
use walk::{Identity, Place, Walked, walk};
use watcher::FolderWatcher;

pub(crate) use missing::{CONFIRMATION, Loss};
pub(crate) use status::{Confirmed, FolderHandle, FolderStatus};

/// Who makes the commits of the folder, in the history.
const AUTHOR: &str = "the watched folder";

/// The time within which changes are taken together.
const GATHER: Duration = Duration::from_millis(5);
/// The time between two looks whether the folder itself is another one, of which nothing tells.
const ROOT_CHECK: Duration = Duration::from_secs(1);
/// The time after which something is tried again that the store refused.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The number of files in one transaction.
const FILES_MAX: usize = 256;

/// How the folder is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FolderOptions {
    /// How long a file that is being written is left alone, and how long an object that no file has any more stays.
    pub(crate) settle: Duration,
    /// The time between two looks over the whole folder. `None` means what fits the file system.
    pub(crate) poll: Option<Duration>,
}

/// Where what is in the folder goes.
pub(crate) struct FolderTarget {
    pub(crate) store: Arc<dyn ConfigStore>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
}

/// The watched folder. Every file that changed is read and committed to the store.
pub(crate) struct Folder {
    root: PathBuf,
    settle: Duration,
    poll: Duration,
    store: Arc<dyn ConfigStore>,
    sealer: Arc<Sealer>,
    metrics: Arc<Metrics>,
    traces: Traces,
    files: BTreeMap<Arc<str>, FileState>,
    /// The files that have a fault, and which.
    broken: BTreeMap<Arc<str>, String>,
    /// The folders that cannot be read, and why. The root has an empty name.
    unreadable: BTreeMap<String, String>,
    /// The files that name an object which another file has.
    waiting: BTreeMap<ConfigKey, BTreeSet<Arc<str>>>,
    missing: Missing,
    held: BTreeMap<Kind, Loss>,
    pending: Pending,
    watcher: FolderWatcher,
    /// Whether the operating system refused to watch some folder, so that only looking tells.
    is_blind: bool,
    root_place: Option<Place>,
    /// Whether the store refused the last commit, which is told once.
    is_refused: bool,
    status: watch::Sender<FolderStatus>,
    confirmations: mpsc::Receiver<oneshot::Sender<Confirmed>>,
}

impl Folder {
    /// Watches a folder, and takes in what is there.
    pub(crate) async fn open(
        root: PathBuf,
        options: FolderOptions,
        target: FolderTarget,
    ) -> anyhow::Result<(Self, FolderHandle)> {
        let FolderTarget { store, sealer, metrics, traces } = target;
        let (status, confirmations, handle) = status::channels(&root);
        let watcher = FolderWatcher::new(root.clone()).context("--config-dir")?;
        let poll = options.poll.unwrap_or_else(|| network::poll_interval(&root));
        let mut files: BTreeMap<Arc<str>, FileState> = BTreeMap::new();
        for (key, owner) in store.owners().await? {
            if let Owner::File(file) = owner {
                files.entry(file.into()).or_default().keys.push(key);
            }
        }
        let mut folder = Self {
            root,
            settle: options.settle,
            poll,
            store,
            sealer,
            metrics,
            traces,
            files,
            broken: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            waiting: BTreeMap::new(),
            missing: Missing::default(),
            held: BTreeMap::new(),
            pending: Pending::default(),
            watcher,
            is_blind: false,
            root_place: None,
            is_refused: false,
            status,
            confirmations,
        };
        let walked = folder.walk().await?;
        let walked = walked.map_err(|problem| anyhow!("--config-dir {}: {problem}", folder.root.display()))?;
        folder.compare(walked).await;
        // Nothing is being moved at the start.
        folder.missing.settle();
        folder.remove_missing().await;
        folder.publish();
        Ok((folder, handle))
    }

    /// Follows the folder until `stop`.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        let mut next_look = Instant::now() + self.poll;
        let mut next_root_check = Instant::now() + ROOT_CHECK;
        loop {
            let mut next = next_look.min(next_root_check);
            for settled in [self.pending.next_settled(), self.missing.settled()].into_iter().flatten() {
                next = next.min(settled);
            }
            tokio::select! {
                () = &mut stopped => return Ok(()),
                happened = self.watcher.next() => self.note(happened),
                Some(answer) = self.confirmations.recv() => self.confirm(answer).await,
                () = sleep_until(next) => {}
            }
            self.gather().await;
            let now = Instant::now();
            if now >= next_root_check {
                next_root_check = now + ROOT_CHECK;
                if self.is_root_another().await {
                    self.note(Happened::Anything);
                }
            }
            let Due { files, look_over } = self.pending.take(now);
            if look_over || now >= next_look {
                self.look_over().await?;
                // What is looked over in vain costs a look at each file.
                next_look = Instant::now() + if self.is_blind { self.poll.min(network::POLL) } else { self.poll };
            }
            self.take_in(files).await;
            self.remove_missing().await;
            self.publish();
        }
    }

    fn note(&mut self, happened: Happened) {
        self.pending.happened(happened, Instant::now(), self.settle);
    }

    /// Waits a moment for what comes together with something that is to be looked at at once.
    async fn gather(&mut self) {
        if !self.pending.is_ready() {
            return;
        }
        let end = Instant::now() + GATHER;
        loop {
            tokio::select! {
                () = sleep_until(end) => return,
                happened = self.watcher.next() => self.note(happened),
            }
        }
    }

    async fn is_root_another(&self) -> bool {
        let root = self.root.clone();
        let place = on_own_thread(move || std::fs::metadata(root).map(|metadata| Place::of(&metadata)).ok()).await;
        place.is_ok_and(|place| place != self.root_place)
    }

    async fn walk(&self) -> anyhow::Result<Result<Walked, String>> {
        let root = self.root.clone();
        on_own_thread(move || walk(&root)).await
    }

    /// Looks at every file, and reads those that are not what they were.
    async fn look_over(&mut self) -> anyhow::Result<()> {
        match self.walk().await? {
            Ok(walked) => self.compare(walked).await,
            Err(problem) => {
                self.root_place = None;
                self.tell_unreadable([(String::new(), problem)].into());
            }
        }
        Ok(())
    }

    async fn compare(&mut self, walked: Walked) {
        let is_first = self.root_place.is_none() && self.unreadable.is_empty();
        let place = walked.folders.get(&self.root).copied();
        if !walked.files.is_empty() {
            self.missing.is_suspicious = false;
        } else if place != self.root_place && self.files.values().any(|file| !file.keys.is_empty()) {
            self.missing.is_suspicious = true;
        }
        self.root_place = place;
        self.watch(&walked);
        self.tell_unreadable(walked.unreadable.clone());
        let is_gone = |name: &Arc<str>| !walked.files.contains_key(name) && !walked.may_have(name);
        let gone: Vec<Arc<str>> = self.files.keys().filter(|name| is_gone(name)).cloned().collect();
        for name in gone {
            self.gone(&name);
        }
        let mut changed = BTreeSet::new();
        for (name, identity) in walked.files {
            if self.files.get(&name).and_then(|file| file.identity) == Some(identity) {
                continue;
            }
            if !is_first && identity.is_younger_than(self.settle) {
                self.note(Happened::Written(name));
            } else {
                changed.insert(name);
            }
        }
        self.take_in(changed).await;
    }

    fn watch(&mut self, walked: &Walked) {
        let result = self.watcher.watch(&walked.folders);
        if let Err(error) = &result
            && !self.is_blind
        {
            warn!(error = %error, "the operating system does not watch every folder of config, so they are looked over every two seconds");
        }
        self.is_blind = result.is_err();
    }

    fn tell_unreadable(&mut self, unreadable: BTreeMap<String, String>) {
        for (folder, problem) in &unreadable {
            if self.unreadable.get(folder) != Some(problem) {
                let path = self.root.join(folder);
                error!(folder = %path.display(), error = problem, "a folder of config cannot be read; its config stays as it was");
            }
        }
        self.unreadable = unreadable;
    }

    /// Reads files that may have changed, and takes in what is in them.
    async fn take_in(&mut self, names: BTreeSet<Arc<str>>) {
        let mut queue: Vec<Arc<str>> = names.into_iter().rev().collect();
        while !queue.is_empty() {
            let rest = queue.len().saturating_sub(FILES_MAX);
            let part: Vec<_> = queue.split_off(rest).into_iter().rev().collect();
            let freed = self.take_in_part(part).await;
            // They are read after everything else, in which what they wait for may still stand.
            queue.splice(0..0, freed);
        }
    }

    /// Reads some files. Returns those that waited for an object which a file no longer has.
    async fn take_in_part(&mut self, names: Vec<Arc<str>>) -> BTreeSet<Arc<str>> {
        let (root, sealer) = (self.root.clone(), self.sealer.clone());
        let known = |name: Arc<str>| {
            let identity = self.files.get(&name).and_then(|file| file.identity);
            (name, identity)
        };
        let wanted: Vec<(Arc<str>, Option<Identity>)> = names.into_iter().map(known).collect();
        let read = on_own_thread(move || {
            let outcomes = parallel::map(&wanted, |(name, known)| read_file(&root, name, *known, &sealer));
            wanted.into_iter().map(|(name, _)| name).zip(outcomes).collect::<Vec<_>>()
        });
        let mut freed = BTreeSet::new();
        let mut good = Vec::new();
        for (name, outcome) in read.await.unwrap_or_default() {
            match outcome {
                Outcome::Same => {}
                Outcome::Gone => freed.extend(self.gone(&name)),
                Outcome::Changing => self.note(Happened::Written(name)),
                Outcome::Unreadable(problem) => {
                    self.files.entry(name.clone()).or_default().identity = None;
                    self.tell_broken(&name, &[problem]);
                }
                Outcome::Read(file) => good.push(file),
            }
        }
        self.metrics.files_read.inc_by(good.len() as u64);
        if !good.is_empty() {
            freed.extend(self.commit(good).await);
        }
        freed
    }

    /// Commits what files have, together, or one by one if they do not go together. Returns the files that waited for an
    /// object which a file no longer has.
    async fn commit(&mut self, files: Vec<ReadFile>) -> BTreeSet<Arc<str>> {
        let mut planned = match plan(files, &self.files, &*self.store).await {
            Ok(planned) => planned,
            Err(error) => {
                error!(error = %error, "the owners of objects could not be read");
                return BTreeSet::new();
            }
        };
        let writes = |file: &mut Planned| std::mem::take(&mut file.writes);
        let together: Vec<ConfigWrite> = planned.iter_mut().flat_map(writes).collect();
        let mut freed = BTreeSet::new();
        match self.write(together.clone()).await {
            Ok(revision) => {
                let files = planned.len();
                info!(files, revision, "files of the watched folder were taken in");
                for file in planned {
                    freed.extend(self.accept(file));
                }
            }
            Err(CommitError::Failed(_)) => self.try_again(planned.into_iter().map(|file| file.name)),
            // Somebody applied one of the objects by hand at this moment.
            Err(CommitError::Conflict { .. } | CommitError::Owned { .. } | CommitError::NotFound(_)) => {
                for file in planned {
                    let of_file =
                        |write: &&ConfigWrite| matches!(&write.owner, Owner::File(name) if **name == *file.name);
                    let writes = together.iter().filter(of_file).cloned().collect();
                    match self.write(writes).await {
                        Ok(_) => freed.extend(self.accept(file)),
                        Err(error) => {
                            self.tell_broken(&file.name, &[error.to_string()]);
                            self.try_again([file.name]);
                        }
                    }
                }
            }
        }
        freed
    }

    /// Takes in what a file has that was committed. Returns the files that waited for an object which it no longer has.
    fn accept(&mut self, file: Planned) -> BTreeSet<Arc<str>> {
        let Planned { name, identity, keys, taken, conflicts, faults, writes: _ } = file;
        for key in &keys {
            self.missing.remove(key);
        }
        for (other, key) in taken {
            if let Some(other) = self.files.get_mut(&other) {
                other.keys.retain(|kept| *kept != key);
            }
        }
        let kept: BTreeSet<&ConfigKey> = keys.iter().collect();
        let old = self.files.get(&name).map(|file| file.keys.clone()).unwrap_or_default();
        let freed = self.drop_keys(old.into_iter().filter(|key| !kept.contains(key)).collect());
        for waiting in self.waiting.values_mut() {
            waiting.remove(&name);
        }
        for key in conflicts {
            self.waiting.entry(key).or_default().insert(name.clone());
        }
        self.waiting.retain(|_, files| !files.is_empty());
        self.tell_broken(&name, &faults);
        self.files.insert(name, FileState { identity: Some(identity), keys });
        freed
    }

    /// Takes in that a file is not there. Returns the files that waited for an object which it had.
    fn gone(&mut self, name: &Arc<str>) -> BTreeSet<Arc<str>> {
        self.tell_broken(name, &[]);
        let Some(file) = self.files.remove(name) else { return BTreeSet::new() };
        info!(file = &**name, objects = file.keys.len(), "a file of the watched folder is gone");
        self.drop_keys(file.keys)
    }

    /// Takes in that a file has some objects no longer. Returns the files that waited for one of them, which are to be read
    /// again.
    fn drop_keys(&mut self, keys: Vec<ConfigKey>) -> BTreeSet<Arc<str>> {
        let settled = Instant::now() + self.settle;
        let mut freed = BTreeSet::new();
        for key in keys {
            freed.extend(self.waiting.remove(&key).into_iter().flatten());
            self.missing.add(key, settled);
        }
        for name in &freed {
            if let Some(file) = self.files.get_mut(name) {
                file.identity = None;
            }
        }
        freed
    }

    /// Reads files again in a while, because the store refused what is in them.
    fn try_again(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        for name in names {
            self.files.entry(name.clone()).or_default().identity = None;
            self.pending.happened(Happened::Written(name), Instant::now(), TRY_AGAIN);
        }
    }

    /// Deletes the objects that no file has any more, if nothing speaks against it.
    async fn remove_missing(&mut self) {
        let now = Instant::now();
        let count = || {
            let mut kept: BTreeMap<Kind, usize> = BTreeMap::new();
            for key in self.files.values().flat_map(|file| &file.keys) {
                *kept.entry(key.kind).or_default() += 1;
            }
            kept
        };
        match self.missing.judge(now, count) {
            Verdict::Wait => {
                if self.missing.keys().is_empty() {
                    self.held.clear();
                }
            }
            Verdict::Delete => self.delete_missing().await,
            Verdict::Hold(losses) => {
                self.missing.settle();
                if losses != self.held {
                    let missing = status::describe(&losses);
                    error!(
                        missing,
                        "many objects are no longer in the watched folder; they stay until `rutterctl folder confirm`"
                    );
                    self.held = losses;
                }
            }
        }
    }

    async fn delete_missing(&mut self) {
        let keys: Vec<ConfigKey> = self.missing.keys().iter().cloned().collect();
        let owners = self.store.owners_of(&keys).await.unwrap_or_default();
        let is_ours = |owner: &Option<Owner>| matches!(owner, Some(Owner::File(_)));
        let ours = keys.into_iter().zip(owners).filter(|(_, owner)| is_ours(owner));
        let writes: Vec<ConfigWrite> = ours.map(|(key, _)| deletion(key)).collect();
        let objects = writes.len();
        match self.write(writes).await {
            Ok(revision) => {
                info!(objects, revision, "objects that no file of the watched folder has any more were deleted");
                self.missing.clear();
                self.held.clear();
            }
            Err(_) => self.missing.put_off(Instant::now() + TRY_AGAIN),
        }
    }

    /// Lets the objects go that are held, or those that will be missing next.
    async fn confirm(&mut self, answer: oneshot::Sender<Confirmed>) {
        self.missing.confirm(Instant::now());
        let held: usize = self.held.values().map(|loss| loss.missing).sum();
        info!(held, "somebody confirmed that objects of the watched folder may be deleted");
        let before = self.missing.keys().len();
        if held > 0 {
            self.missing.settle();
            self.remove_missing().await;
        }
        let deleted = before - self.missing.keys().len();
        // Whoever asked may have gone.
        let _ = answer.send(Confirmed { deleted: if held > 0 { deleted } else { 0 } });
    }

    async fn write(&mut self, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let start = Instant::now();
        let result = self.store.commit_by(AUTHOR, writes).await;
        if let Ok(revision) = &result {
            self.traces.committed(*revision, start.elapsed());
        }
        let is_refused = matches!(result, Err(CommitError::Failed(_)));
        if let Err(error @ CommitError::Failed(_)) = &result {
            self.metrics.store_failures.inc();
            if !self.is_refused {
                error!(error = %error, "the watched folder could not be stored; it is tried again every second");
            }
        }
        self.is_refused = is_refused;
        result
    }

    /// Tells what is wrong with a file, if that is news.
    fn tell_broken(&mut self, name: &Arc<str>, faults: &[String]) {
        if faults.is_empty() {
            if self.broken.remove(name).is_some() {
                info!(file = &**name, "a file of the watched folder is no longer faulty");
            }
            return;
        }
        let fault = faults.join("; ");
        if self.broken.get(name) != Some(&fault) {
            error!(
                file = &**name,
                error = fault,
                "a file of the watched folder has faults; what is faulty stays as it was"
            );
            self.broken.insert(name.clone(), fault);
        }
    }

    fn publish(&self) {
        let held: usize = self.held.values().map(|loss| loss.missing).sum();
        self.metrics.files_broken.set(i64::try_from(self.broken.len()).unwrap_or(i64::MAX));
        self.metrics.folder_objects_held.set(i64::try_from(held).unwrap_or(i64::MAX));
        let is_same = |status: &FolderStatus| {
            status.files == self.files.len()
                && status.broken == self.broken
                && status.unreadable == self.unreadable
                && status.held == self.held
                && status.confirmed_until == self.missing.confirmed_until()
        };
        self.status.send_if_modified(|status| {
            if is_same(status) {
                return false;
            }
            *status = FolderStatus {
                root: self.root.clone(),
                files: self.files.len(),
                broken: self.broken.clone(),
                unreadable: self.unreadable.clone(),
                held: self.held.clone(),
                confirmed_until: self.missing.confirmed_until(),
            };
            true
        });
    }
}

/// Runs something that waits for the disk where nothing else waits for it.
async fn on_own_thread<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(act).await.context("looking at the watched folder")
}

/// Returns the write that deletes an object. The name of the file is left empty, because the store only checks that some
/// file owns the object: the folder is one source.
fn deletion(key: ConfigKey) -> ConfigWrite {
    ConfigWrite { key, json: None, created: None, owner: Owner::File(String::new()), expected: Expected::Any }
}

#[cfg(test)]
mod tests;
