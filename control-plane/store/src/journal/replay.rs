//! What can be restored from a journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::commit_line::CommitLine;
use super::files::{FOLDER, Generation, generations};
use super::lines::{Lines, value_of};
use super::snapshot::{Contents, read_snapshot};
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

#[cfg(test)]
mod tests {
    use rutter_api::CreationTimestamp;

    use super::*;
    use crate::state::State;
    use crate::testing::{key, write};

    /// Returns a journal of three commits, and the contents after each of them.
    fn everything() -> (Everything, Vec<Contents>) {
        let mut everything = Everything::default();
        let mut state = State::default();
        for writes in [vec![write("a", Some("{}"))], vec![write("b", Some("{}"))], vec![write("a", None)]] {
            let decision = state.decide(CreationTimestamp::from_microseconds(5), "", writes).unwrap().unwrap();
            state.apply(&decision);
            everything.commits.insert(decision.commit.revision, Recorded { decision, sum: state.sum });
        }
        let mut after = vec![Contents::default()];
        for revision in 1..=3 {
            let all = std::mem::take(&mut everything.commits);
            let (this, rest) = all.into_iter().partition(|(at, _)| *at <= revision);
            everything.commits = this;
            after.push(everything.replay(String::new(), Contents::default()).contents);
            everything.commits.extend(rest);
        }
        (everything, after)
    }

    #[test]
    fn from_every_base_the_commits_after_it_lead_to_the_same() {
        let (everything, after) = everything();
        assert_eq!(everything.highest(), 3);
        assert_eq!(after[3].objects.keys().collect::<Vec<_>>(), [&key("b")]);
        for contents in &after {
            let restorable = everything.replay("x".into(), contents.clone());
            assert_eq!((restorable.base, &restorable.contents), (contents.revision, &after[3]));
            assert_eq!(everything.sum_at(contents.revision).unwrap_or_default(), contents.state().sum);
        }
    }

    #[test]
    fn commits_that_do_not_follow_or_lead_elsewhere_are_not_made() {
        let (mut everything, after) = everything();
        let second = everything.commits.remove(&2).unwrap();
        assert_eq!(everything.replay(String::new(), Contents::default()).contents, after[1], "one is missing");
        everything.commits.insert(2, Recorded { sum: Sum::default(), ..second });
        assert_eq!(everything.replay(String::new(), Contents::default()).contents, after[1], "one leads elsewhere");
    }
}
