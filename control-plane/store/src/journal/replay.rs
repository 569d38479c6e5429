//! What can be restored from a journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::lines::{Lines, value_of};
use super::{CommitLine, Contents, FOLDER, Generation, generations, read_snapshot};
use crate::state::{Decision, Sum};
use crate::{Commit, ConfigEvent};

/// A commit of the journal.
#[derive(Debug)]
struct Recorded {
    decision: Decision,
    /// The sum of all objects after the commit.
    sum: Sum,
}

/// Everything in a journal that is whole.
#[derive(Debug, Default)]
pub(crate) struct Everything {
    /// The snapshots, each with its path.
    pub(crate) snapshots: Vec<(String, Contents)>,
    commits: BTreeMap<u64, Recorded>,
    /// What is damaged, with the path and the line.
    pub(crate) problems: Vec<String>,
}

/// What a store can be made again from.
#[derive(Debug)]
pub(crate) struct Restorable {
    /// Where it begins: the path of a snapshot, or the database.
    pub(crate) source: String,
    /// The revision at which it begins.
    pub(crate) base: u64,
    /// What it leads to, with the commits after the base.
    pub(crate) contents: Contents,
}

/// Reads everything in the journal of a data folder that is whole. What is damaged is told in the result, and so is a
/// file that cannot be read.
pub(crate) fn read_everything(data_dir: &Path) -> Everything {
    let folder = data_dir.join(FOLDER);
    let mut everything = Everything::default();
    // A folder that is missing has no generations.
    for revision in generations(&folder).unwrap_or_default() {
        let Generation { snapshot, commits } = Generation::new(&folder, revision);
        let read = File::open(&snapshot).map_err(|error| error.to_string());
        match read.and_then(|file| read_snapshot(BufReader::new(file))) {
            Ok(contents) => everything.snapshots.push((snapshot.display().to_string(), contents)),
            Err(problem) => everything.problems.push(format!("{}: {problem}", snapshot.display())),
        }
        if let Err(problem) = everything.read_commits(&commits) {
            everything.problems.push(format!("{}: {problem}", commits.display()));
        }
    }
    everything
}

impl Everything {
    fn read_commits(&mut self, path: &Path) -> Result<(), String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut damaged = Ok(());
        for line in Lines::new(BufReader::new(file)) {
            let (number, line) = line.map_err(|error| error.to_string())?;
            let recorded = value_of(&line).and_then(|line: CommitLine| {
                let sum = line.sum;
                let decision = line.decision().ok_or("an unknown kind")?;
                Ok(Recorded { decision, sum })
            });
            match recorded {
                Ok(recorded) => drop(self.commits.insert(recorded.decision.commit.revision, recorded)),
                Err(problem) => damaged = damaged.and(Err(format!("line {number}: {problem}"))),
            }
        }
        damaged
    }

    /// Returns the highest revision that any line tells.
    pub(crate) fn highest(&self) -> u64 {
        let of_snapshots = self.snapshots.iter().map(|(_, contents)| contents.revision);
        of_snapshots.chain(self.commits.keys().copied()).max().unwrap_or_default()
    }

    /// Returns the sum that all objects should have at a revision, if a commit or a snapshot tells it.
    pub(crate) fn sum_at(&self, revision: u64) -> Option<Sum> {
        let of_snapshot = || self.snapshots.iter().find(|(_, contents)| contents.revision == revision);
        let recorded = self.commits.get(&revision).map(|recorded| recorded.sum);
        recorded.or_else(|| of_snapshot().map(|(_, contents)| contents.state().sum))
    }

    /// Returns every commit by its revision.
    pub(crate) fn history(&self) -> BTreeMap<u64, Commit> {
        self.commits.iter().map(|(revision, recorded)| (*revision, recorded.decision.commit.clone())).collect()
    }

    /// Makes the commits that come after some contents, as long as each is there and leads to the sum that it should.
    pub(crate) fn replay(&self, source: String, mut contents: Contents) -> Restorable {
        let base = contents.revision;
        let mut state = contents.state();
        while let Some(Recorded { decision, sum }) = self.commits.get(&(contents.revision + 1)) {
            state.apply(decision);
            if state.sum != *sum {
                break;
            }
            contents.revision = decision.commit.revision;
            contents.last_instant = Some(decision.instant);
            for event in &decision.commit.events {
                match event {
                    ConfigEvent::Put(stored) => contents.objects.insert(stored.key.clone(), stored.clone()),
                    ConfigEvent::Delete(key) => contents.objects.remove(key),
                };
            }
        }
        Restorable { source, base, contents }
    }
}
