//! The journal beside the database: how far the store had come, and what it had in it.
//!
//! sled takes a damaged file for one that was not written to its end, cuts it there, and says nothing. So that a store
//! knows by itself when something is missing, every commit is also a line of a journal, which is written and made durable
//! after the database was, and before the commit is acknowledged:
//!
//! ```text
//! DIR/db, conf, …                                  sled
//! DIR/journal/snapshot-00000000000000000100.jsonl  every object at revision 100
//! DIR/journal/commits-00000000000000000100.jsonl   the commits 101, 102, … up to the latest
//! ```
//!
//! - The journal is never ahead of the database, whenever the machine stops. A database that is ahead of its journal is
//!   normal; one that is behind it has lost something.
//! - Each line has a checksum, and each commit the sum of all objects after it. A snapshot and the commits after it are
//!   one generation, from which everything can be restored.
//! - When the commits of a generation are longer than its snapshot and than [`COMMITS_BYTES`], the next one is begun. The
//!   last [`GENERATIONS`] are kept, so that the journal is at most about four times as long as the objects.

mod commit_line;
mod files;
mod lines;
mod look;
mod replay;
mod snapshot;

use std::fs::{File, OpenOptions, create_dir_all, remove_file, rename};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub(crate) use commit_line::commit_line;
pub(crate) use files::{FOLDER, io_problem, is_linked, sync_folder};
pub(crate) use lines::line_of;
pub(crate) use look::{Found, look};
pub(crate) use replay::{Everything, Restorable, read_everything};
pub(crate) use snapshot::{Contents, SnapshotHead, object_line, read_snapshot};

use crate::Stored;
use files::{Generation, generations};

/// The number of bytes of commits before a generation may end.
const COMMITS_BYTES: u64 = 8 << 20;
/// The number of generations that are kept.
const GENERATIONS: usize = 2;
/// The ending of files that are not written to their end yet.
const NEW: &str = "new";

/// The latest generation, to which commits are added.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    commits: File,
    path: PathBuf,
    /// The number of bytes of the commits that are durable.
    length: u64,
    /// The length at which the next generation is begun.
    length_max: u64,
}

impl Journal {
    /// Begins a generation in the journal of a data folder. The objects come in the order of their keys, and are those of
    /// the head.
    ///
    /// # Errors
    /// Fails with the first object that is an error, or if the operating system refuses; the generations that were there
    /// before are then still there.
    pub(crate) fn begin(
        data_dir: &Path,
        head: &SnapshotHead,
        objects: impl Iterator<Item = Result<Stored, String>>,
    ) -> Result<Self, String> {
        let folder = data_dir.join(FOLDER);
        create_dir_all(&folder).map_err(|error| io_problem(&folder, &error))?;
        let Generation { snapshot, commits } = Generation::new(&folder, head.revision);
        let new = snapshot.with_extension(NEW);
        let written = write_checked(&new, head, objects);
        if written.is_err() {
            // What is not whole is of no use, and there may be no room for it.
            let _ = remove_file(&new);
        }
        let snapshot_bytes = written?;
        rename(&new, &snapshot).map_err(|error| io_problem(&snapshot, &error))?;
        let made = File::create(&commits).and_then(|file| file.sync_all());
        made.map_err(|error| io_problem(&commits, &error))?;
        for folder in [&folder, data_dir] {
            sync_folder(folder)?;
        }
        let tail = look::Tail { generation: head.revision, snapshot_bytes, commits_bytes: 0 };
        let journal = Self::go_on(data_dir, tail)?;
        journal.remove_old_generations()?;
        Ok(journal)
    }

    /// Goes on with the generation that was found. What a crash left after its last whole line is cut off.
    ///
    /// # Errors
    /// Fails if the operating system refuses.
    pub(crate) fn go_on(data_dir: &Path, tail: look::Tail) -> Result<Self, String> {
        let folder = data_dir.join(FOLDER);
        let path = Generation::new(&folder, tail.generation).commits;
        let commits = OpenOptions::new().append(true).open(&path).map_err(|error| io_problem(&path, &error))?;
        let length_max = tail.snapshot_bytes.max(COMMITS_BYTES);
        let journal = Self { folder, commits, path, length: tail.commits_bytes, length_max };
        journal.cut_back()?;
        Ok(journal)
    }

    /// Adds the lines of commits, which are durable afterwards.
    ///
    /// # Errors
    /// Fails if the operating system refuses. What is then in the file has to be cut off before anything else is added.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), String> {
        let written = self.commits.write_all(lines).and_then(|()| self.commits.sync_data());
        written.map_err(|error| io_problem(&self.path, &error))?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Cuts off what was added last and did not become durable.
    ///
    /// # Errors
    /// Fails if the operating system refuses.
    pub(crate) fn cut_back(&self) -> Result<(), String> {
        let cut = || {
            if self.commits.metadata()?.len() != self.length {
                self.commits.set_len(self.length)?;
                self.commits.sync_all()?;
            }
            Ok(())
        };
        cut().map_err(|error: std::io::Error| io_problem(&self.path, &error))
    }

    /// Returns whether the next generation should be begun.
    pub(crate) fn is_long(&self) -> bool {
        self.length > self.length_max
    }

    /// Takes in that the next generation could not be begun, so that this is not tried again for a while.
    pub(crate) fn stay(&mut self) {
        self.length_max = self.length * 2;
    }

    /// Returns whether the file that commits are added to is still where it was.
    pub(crate) fn is_linked(&self) -> bool {
        is_linked(&self.commits, &self.path)
    }

    fn remove_old_generations(&self) -> Result<(), String> {
        let failed = |error| io_problem(&self.folder, &error);
        let all = generations(&self.folder).map_err(failed)?;
        for revision in all.iter().rev().skip(GENERATIONS) {
            let Generation { snapshot, commits } = Generation::new(&self.folder, *revision);
            for path in [snapshot, commits].into_iter().filter(|path| path.exists()) {
                remove_file(&path).map_err(|error| io_problem(&path, &error))?;
            }
        }
        Ok(())
    }
}

/// Writes a snapshot and reads it again. Returns its length in bytes.
fn write_checked(
    path: &Path,
    head: &SnapshotHead,
    objects: impl Iterator<Item = Result<Stored, String>>,
) -> Result<u64, String> {
    let failed = |error: std::io::Error| io_problem(path, &error);
    let file = File::create(path).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 18, &file);
    let written = snapshot::write_snapshot(&mut writer, head, objects);
    written.map_err(|problem| format!("{}: {problem}", path.display()))?;
    writer.flush().map_err(failed)?;
    file.sync_all().map_err(failed)?;
    look::check_snapshot(path).map_err(|problem| format!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventText;
    use crate::state::State;
    use crate::testing::write;

    /// Adds a commit to a journal and a state.
    fn append(journal: &mut Journal, state: &mut State, name: &str) {
        let writes = vec![write(name, Some("{}"))];
        let decision = state.decide(rutter_api::CreationTimestamp::default(), "", writes).unwrap().unwrap();
        state.apply(&decision);
        let texts: Vec<EventText> = decision.commit.events.iter().map(EventText::of).collect();
        journal.append(&commit_line(&decision, state.sum, &texts)).unwrap();
    }

    #[test]
    fn what_follows_a_write_that_failed_half_way_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let mut journal = Journal::begin(dir.path(), &SnapshotHead::of(&state), std::iter::empty()).unwrap();
        append(&mut journal, &mut state, "a");
        // As on a full disk: a part of a line is in the file, and then it is cut off.
        journal.commits.write_all(b"0123 {\"revision\":2").unwrap();
        journal.cut_back().unwrap();
        append(&mut journal, &mut state, "b");
        let found = look(dir.path()).unwrap();
        assert_eq!((found.head, found.problems), (Some(state.head()), Vec::new()));
    }
}
