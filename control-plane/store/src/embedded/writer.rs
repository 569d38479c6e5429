//! The thread that writes.
//!
//! Commits that come together are one group: they are decided one after the other, made durable together, and answered.
//! If that fails, because the disk is full or the folder was deleted, everything in memory goes back to what it was
//! before the group, and nothing is written until the folder can be written again. sled takes nothing more after a
//! failure, so the database is then opened anew, and what it may have of the group is removed.

use std::fs::{File, remove_file};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use rutter_api::CreationTimestamp;
use tokio::sync::oneshot;
use tracing::warn;

use super::database::{Database, Loaded};
use super::shared::Shared;
use crate::journal::{Journal, commit_line, io_problem, is_linked};
use crate::record::EventText;
use crate::state::{Before, State};
use crate::{CommitError, ConfigWrite, StoreError, Writable};

/// The number of commits that may wait for the writer. Callers of further ones wait themselves.
pub(super) const QUEUE: usize = 128;
/// The time between two looks whether a folder that could not be written can be written again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The number of bytes that must find room before a folder counts as writable again.
const ROOM_BYTES: usize = 1 << 20;
/// The name of the file by which that is tried.
const ROOM: &str = "room";
/// The least number of reads in which sled frees what was to be freed before them.
const GARBAGE: usize = 10_000;

/// What waits for the writer.
pub(super) enum Job {
    /// A commit.
    Commit(CommitJob),
    /// Memory that many commits took is to be given back.
    GiveBack(oneshot::Sender<()>),
}

/// A commit that waits for the writer.
pub(super) struct CommitJob {
    pub(super) author: String,
    pub(super) writes: Vec<ConfigWrite>,
    pub(super) answer: oneshot::Sender<Result<u64, CommitError>>,
}

/// The only writer, so that commits are decided one after the other.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The file of sled, which sled itself does not make durable.
    file: File,
    /// The journal. `None` means that it has to be begun before anything is written.
    journal: Option<Journal>,
    /// The lines of the current group for the journal.
    lines: Vec<u8>,
    /// What was before the commits of the current group, or before those that failed.
    before: Before,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, journal: Option<Journal>) -> Result<Self, StoreError> {
        let file = open_file(&shared.dir).map_err(StoreError::Failed)?;
        let before = shared.state().before();
        Ok(Self { shared, file, journal, lines: Vec::new(), before })
    }

    /// Writes until nobody can commit any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(first) = self.next_job(jobs) {
            let (mut group, mut waiting) = (Vec::new(), Vec::new());
            for job in std::iter::once(first).chain(jobs.try_iter().take(QUEUE)) {
                match job {
                    Job::Commit(commit) => group.push(commit),
                    Job::GiveBack(answer) => waiting.push(answer),
                }
            }
            if !group.is_empty() {
                self.write_group(group);
            }
            if !waiting.is_empty() {
                self.give_back();
            }
            for answer in waiting {
                // A caller that has gone does not need its answer.
                let _ = answer.send(());
            }
        }
    }

    /// Waits for a commit, and meanwhile looks whether a folder that could not be written can be written again.
    fn next_job(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        loop {
            if self.is_writable() {
                return jobs.recv().ok();
            }
            match jobs.recv_timeout(LOOK_AGAIN) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.recover(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn is_writable(&self) -> bool {
        *self.shared.writable.borrow() == Writable::Yes
    }

    fn write_group(&mut self, group: Vec<CommitJob>) {
        let mut durable = self.check_writable();
        if self.is_writable() {
            self.before = self.shared.state().before();
        }
        self.lines.clear();
        let mut answers = Vec::new();
        for job in group {
            // After a failure the rest of the group is not tried.
            let result =
                durable.clone().map_err(CommitError::Failed).and_then(|()| self.write(&job.author, job.writes));
            if let Err(CommitError::Failed(reason)) = &result {
                durable = Err(reason.clone());
            }
            answers.push((job.answer, result));
        }
        let new = self.shared.state().revision;
        if durable.is_ok() && new > self.before.revision {
            durable = self.sync();
        }
        match &durable {
            Ok(()) => {
                self.before = self.shared.state().before();
                self.shared.latest.send_if_modified(|latest| std::mem::replace(latest, new) < new);
                self.end_generation();
            }
            Err(reason) => {
                if self.is_writable() {
                    self.fail(reason);
                }
            }
        }
        for (answer, result) in answers {
            // A caller that has gone does not need its answer.
            let _ = answer.send(durable.clone().map_err(CommitError::Failed).and(result));
        }
    }

    /// Fails if nothing can be written now.
    fn check_writable(&mut self) -> Result<(), String> {
        if !self.is_writable() {
            self.recover();
        }
        match &*self.shared.writable.borrow() {
            Writable::Yes => self.check_linked(),
            Writable::No(reason) => Err(reason.clone()),
        }
    }

    fn write(&mut self, author: &str, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let mut state = self.shared.state_mut();
        let now = CreationTimestamp::from(SystemTime::now());
        let Some(decision) = state.decide(now, author, writes)? else { return Ok(state.revision) };
        for key in decision.commit.keys() {
            if !self.before.objects.contains_key(key) {
                let old = if state.objects.contains_key(key) { self.shared.read(key).map_err(failed)? } else { None };
                self.before.objects.insert(key.clone(), old);
            }
        }
        state.apply(&decision);
        let texts: Vec<EventText> = decision.commit.events.iter().map(EventText::of).collect();
        let written = self.shared.with_database(|database| database.apply(database.batch_of(&decision, &texts)?));
        written.map_err(failed)?;
        self.shared.take_opened();
        self.lines.extend(commit_line(&decision, state.sum, &texts));
        self.shared.remember(decision.commit);
        Ok(state.revision)
    }

    /// Makes everything durable that was written: first the database, so that the journal is never ahead of it.
    fn sync(&mut self) -> Result<(), String> {
        let head = self.shared.state().head();
        let synced = self.shared.with_database(|database| {
            database.write_sum(head)?;
            database.sync(&self.file)
        });
        synced.map_err(|error| error.to_string())?;
        if let Some(journal) = &mut self.journal {
            journal.append(&self.lines)?;
        }
        self.check_linked()
    }

    /// Fails if the files that are open are not those that are in the folder now.
    fn check_linked(&self) -> Result<(), String> {
        let is_journal_linked = self.journal.as_ref().is_none_or(Journal::is_linked);
        if is_journal_linked && is_linked(&self.file, &self.shared.dir.join("db")) {
            return Ok(());
        }
        let dir = self.shared.dir.display();
        Err(format!("{dir}: the files of the store were deleted or replaced while it was open"))
    }

    /// Begins the next generation of the journal when this one is long.
    fn end_generation(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_long()) else { return };
        match self.shared.begin_journal() {
            Ok(new) => *journal = new,
            Err(problem) => {
                warn!(error = problem, "no new snapshot of the store could be written; its journal grows instead");
                journal.stay();
            }
        }
    }

    /// Takes in that the commits of the current group failed.
    fn fail(&mut self, reason: &str) {
        let reason = self.check_linked().err().unwrap_or_else(|| reason.to_owned());
        self.shared.go_back(&self.before);
        self.shared.writable.send_replace(Writable::No(reason));
    }

    /// Finds out whether the folder can be written again.
    fn recover(&mut self) {
        let now = match self.check_linked().and_then(|()| self.open_again()) {
            Ok(()) => {
                self.shared.forget_failed();
                Writable::Yes
            }
            Err(reason) => Writable::No(reason),
        };
        self.shared.writable.send_if_modified(|writable| {
            let is_other = *writable != now;
            *writable = now;
            is_other
        });
    }

    /// Opens the database again, and removes from it what it has of commits that failed.
    fn open_again(&mut self) -> Result<(), String> {
        find_room(&self.shared.dir)?;
        // The journal goes back first, so that it is never ahead of the database.
        if let Some(journal) = &self.journal {
            journal.cut_back()?;
        }
        let before = std::mem::replace(&mut self.before, self.shared.state().before());
        let opened = self.replace_database(|database, file, state| {
            database.go_back(&before, file)?;
            let Loaded { listing, last_instant, recorded: _ } = database.load()?;
            Ok(State::of_objects(&listing.objects, listing.revision, last_instant) == *state)
        });
        if opened.is_err() {
            self.before = before;
        }
        opened?;
        if self.journal.is_none() {
            self.journal = Some(self.shared.begin_journal()?);
        }
        Ok(())
    }

    /// Gives memory back that many commits took: sled keeps as much for its log as was written, up to a segment.
    fn give_back(&mut self) {
        if !self.is_writable() {
            return;
        }
        self.before = self.shared.state().before();
        let opened = self.replace_database(|database, _, state| {
            // sled frees what an old database held a little at a time, while the new one is used.
            for _ in 0..GARBAGE.max(4 * state.objects.len()) {
                database.revision()?;
            }
            Ok(database.revision()? == state.revision)
        });
        if let Err(reason) = opened {
            self.fail(&reason);
        }
    }

    /// Puts the database that is on the disk into the place of the one that is open. `is_same` finds out whether it has
    /// what it should have.
    fn replace_database(
        &mut self,
        is_same: impl FnOnce(&Database, &File, &State) -> Result<bool, StoreError>,
    ) -> Result<(), String> {
        let mut place = self.shared.database_mut();
        // sled lets the folder be opened only when this is gone.
        drop(place.take());
        let database = Database::open(&self.shared.dir).map_err(|error| error.to_string())?;
        self.file = open_file(&self.shared.dir)?;
        if !is_same(&database, &self.file, &self.shared.state()).map_err(|error| error.to_string())? {
            let dir = self.shared.dir.display();
            return Err(format!("{dir}: what is stored is not what was acknowledged (restart to see why)"));
        }
        *place = Some(database);
        Ok(())
    }
}

fn open_file(dir: &Path) -> Result<File, String> {
    File::open(dir.join("db")).map_err(|error| format!("{}: {error}", dir.display()))
}

/// Fails if there is no room in a folder.
pub(super) fn find_room(dir: &Path) -> Result<(), String> {
    let path = dir.join(ROOM);
    let fill = || {
        let mut file = File::create(&path)?;
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_all()
    };
    let filled = fill();
    // A file that could not be made need not be removed.
    let _ = remove_file(&path);
    filled.map_err(|error| io_problem(dir, &error))
}

fn failed(error: StoreError) -> CommitError {
    CommitError::Failed(error.to_string())
}
