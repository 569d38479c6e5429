//! What a journal says of the store, without anything being kept of it.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use super::files::{FOLDER, Generation, generations, io_problem};
use super::lines::{Lines, json_of, value_of};
use super::snapshot::SnapshotHead;
use crate::state::Head;

/// Where a journal goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The revision that names the latest generation.
    pub(super) generation: u64,
    pub(super) snapshot_bytes: u64,
    /// The number of bytes of its commits, up to the end of the last whole line.
    pub(super) commits_bytes: u64,
}

/// What was found in a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The latest of everything that the lines tell. `None` means that there is no whole line.
    pub(crate) head: Option<Head>,
    /// Where to go on. `None` means that a new generation has to be begun.
    pub(crate) tail: Option<Tail>,
    /// What is damaged, with the path and the line.
    pub(crate) problems: Vec<String>,
}

/// What the lines of one file tell.
#[derive(Debug, Default)]
struct Looked {
    head: Option<Head>,
    /// The number of bytes up to the end of the last whole line.
    bytes: u64,
    problem: Option<String>,
}

impl Found {
    fn see(&mut self, head: Head) {
        if self.head.is_none_or(|seen| seen.revision <= head.revision) {
            self.head = Some(head);
        }
    }
}

/// Looks at every line of the journal of a data folder. A journal that is not there has nothing.
///
/// # Errors
/// Fails if the operating system does not let a file be read.
pub(crate) fn look(data_dir: &Path) -> Result<Found, String> {
    let folder = data_dir.join(FOLDER);
    let generations = match generations(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::default()),
        result => result.map_err(|error| io_problem(&folder, &error))?,
    };
    let mut found = Found::default();
    for revision in generations {
        let Generation { snapshot, commits } = Generation::new(&folder, revision);
        let (base, after) = (look_at(&snapshot, look_at_snapshot)?, look_at(&commits, look_at_commits)?);
        let head = after.head.or(base.head);
        for head in [base.head, head].into_iter().flatten() {
            found.see(head);
        }
        let is_whole = base.head.is_some() && base.problem.is_none() && after.problem.is_none() && head == found.head;
        let (snapshot_bytes, commits_bytes) = (base.bytes, after.bytes);
        found.tail = is_whole.then_some(Tail { generation: revision, snapshot_bytes, commits_bytes });
        for (path, problem) in [(snapshot, base.problem), (commits, after.problem)] {
            found.problems.extend(problem.map(|problem| format!("{}: {problem}", path.display())));
        }
    }
    Ok(found)
}

/// Looks at the lines of a file. A file that is missing has none.
fn look_at(
    path: &Path,
    look: impl FnOnce(Lines<BufReader<File>>) -> std::io::Result<Looked>,
) -> Result<Looked, String> {
    let looked = match File::open(path) {
        Ok(file) => look(Lines::new(BufReader::with_capacity(1 << 18, file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Looked::default()),
        Err(error) => Err(error),
    };
    looked.map_err(|error| io_problem(path, &error))
}

/// Checks every line of a snapshot and how many there are.
fn look_at_snapshot(lines: Lines<BufReader<File>>) -> std::io::Result<Looked> {
    let (mut looked, mut want, mut got) = (Looked::default(), 0, 0);
    for line in lines {
        let (number, line) = line?;
        looked.bytes += line.len() as u64;
        let checked = match number {
            1 => SnapshotHead::read(&line).map(|head| {
                looked.head = Some(Head { revision: head.revision, sum: head.sum });
                want = head.objects;
            }),
            _ => json_of(&line).map(|_| got += 1),
        };
        if let Err(problem) = checked {
            looked.problem.get_or_insert(format!("line {number}: {problem}"));
        }
    }
    if looked.head.is_none() || got < want {
        looked.problem.get_or_insert(format!("want {want} objects, got {got}"));
    }
    Ok(looked)
}

/// Checks every line of commits. The last may be torn, if the machine stopped while it was written: then nobody was told
/// that its commit was made.
fn look_at_commits(lines: Lines<BufReader<File>>) -> std::io::Result<Looked> {
    let mut looked = Looked::default();
    let (mut last, mut broken) = (Vec::new(), None);
    for line in lines {
        let (number, line) = line?;
        match json_of(&line) {
            Ok(_) => {
                looked.bytes += line.len() as u64;
                last = line;
                looked.problem = looked.problem.or(broken.take());
            }
            Err(problem) => broken = broken.or_else(|| Some(format!("line {number}: {problem}"))),
        }
    }
    looked.head = value_of(&last).ok();
    Ok(looked)
}

/// Reads a snapshot that was just written. Returns its length in bytes.
pub(super) fn check_snapshot(path: &Path) -> Result<u64, String> {
    let looked = look_at(path, look_at_snapshot)?;
    match looked.problem {
        None => Ok(looked.bytes),
        Some(problem) => Err(format!("it was not written as it should be: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rutter_api::CreationTimestamp;

    use super::*;
    use crate::journal::{Journal, commit_line};
    use crate::record::EventText;
    use crate::state::State;
    use crate::testing::write;

    /// Writes a journal with two commits, and returns its folder, its commits and the head after each of them.
    fn journal() -> (tempfile::TempDir, std::path::PathBuf, [Head; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let mut journal = Journal::begin(dir.path(), &SnapshotHead::of(&state), std::iter::empty()).unwrap();
        let heads = ["a", "b"].map(|name| {
            let decision =
                state.decide(CreationTimestamp::default(), "", vec![write(name, Some("{}"))]).unwrap().unwrap();
            state.apply(&decision);
            let texts: Vec<EventText> = decision.commit.events.iter().map(EventText::of).collect();
            journal.append(&commit_line(&decision, state.sum, &texts)).unwrap();
            state.head()
        });
        let commits = dir.path().join("journal/commits-00000000000000000000.jsonl");
        (dir, commits, heads)
    }

    #[test]
    fn the_last_line_is_how_far_the_store_had_come() {
        let (dir, commits, heads) = journal();
        let found = look(dir.path()).unwrap();
        let commits_bytes = fs::metadata(&commits).unwrap().len();
        assert_eq!((found.head, found.problems.len()), (Some(heads[1]), 0));
        assert_eq!(found.tail.map(|tail| (tail.generation, tail.commits_bytes)), Some((0, commits_bytes)));
        assert_eq!(look(&dir.path().join("elsewhere")), Ok(Found::default()));
    }

    #[test]
    fn a_last_line_that_was_not_written_to_its_end_is_cut_off_and_no_damage() {
        let (dir, commits, heads) = journal();
        let bytes = fs::read(&commits).unwrap();
        fs::write(&commits, &bytes[..bytes.len() - 1]).unwrap();
        let found = look(dir.path()).unwrap();
        assert_eq!((found.head, found.problems.len()), (Some(heads[0]), 0));
        let tail = found.tail.unwrap();
        Journal::go_on(dir.path(), tail).unwrap();
        assert_eq!(fs::metadata(&commits).unwrap().len(), tail.commits_bytes);
        let first_line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(tail.commits_bytes, first_line as u64);
    }

    #[test]
    fn a_line_that_is_damaged_between_others_is_told_and_the_journal_has_to_begin_anew() {
        let (dir, commits, heads) = journal();
        let mut bytes = fs::read(&commits).unwrap();
        bytes[20] ^= 1;
        fs::write(&commits, bytes).unwrap();
        let found = look(dir.path()).unwrap();
        assert_eq!((found.head, found.tail), (Some(heads[1]), None));
        assert_eq!(found.problems, [format!("{}: line 1: the checksum does not match", commits.display())]);
    }

    #[test]
    fn a_generation_without_its_snapshot_has_to_begin_anew() {
        let (dir, commits, heads) = journal();
        fs::remove_file(commits.with_file_name("snapshot-00000000000000000000.jsonl")).unwrap();
        let found = look(dir.path()).unwrap();
        assert_eq!((found.head, found.tail, found.problems.len()), (Some(heads[1]), None, 0));
    }
}
