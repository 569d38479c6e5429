//! How a data folder is opened: what is in it has to be what the journal says, or nothing is opened and nothing changed.

use std::path::Path;

use tracing::warn;

use super::copy::Copy;
use super::database::{Database, Loaded};
use super::writer::find_room;
use crate::journal::{self, Found, Journal, SnapshotHead};
use crate::state::{Head, State};
use crate::{StoreError, Stored, Writable};

/// A data folder that was opened.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) loaded: Loaded,
    pub(super) state: State,
    /// `None` means that it has to be begun before anything is written.
    pub(super) journal: Option<Journal>,
    pub(super) writable: Writable,
}

/// Opens a data folder, which nobody else has open.
///
/// What is in the database is found out on a copy of it, because sled may change files that it opens. The database itself
/// is opened only if nothing is missing. If it cannot be opened, because the disk is full or read-only, the copy is read
/// until it can.
pub(super) fn open(data_dir: &Path) -> Result<Opened, StoreError> {
    let found = journal::look(data_dir).map_err(StoreError::Failed)?;
    for problem in &found.problems {
        warn!(error = problem, "the journal of the store is damaged; what is missing there is in the database");
    }
    let room = find_room(data_dir);
    if !data_dir.join("db").exists() && found.head.is_none() {
        room.map_err(StoreError::Failed)?;
        let database = Database::open(data_dir)?;
        let loaded = database.load()?;
        return Ok(with_journal(data_dir, &found, database, loaded, State::default()));
    }
    let copy = if room.is_ok() { Copy::make(data_dir)? } else { Copy::make_in_memory(data_dir)? };
    let (copied, loaded, state) = check(data_dir, &copy, found.head)?;
    let mut checked = Some((copied, copy));
    let opened = room.map_err(StoreError::Failed).and_then(|()| {
        // The copy may have the room that the database needs.
        checked.take_if(|(_, copy)| copy.is_beside());
        Database::open(data_dir)
    });
    match opened {
        Ok(database) => Ok(with_journal(data_dir, &found, database, loaded, state)),
        Err(error @ StoreError::InUse(_)) => Err(error),
        Err(error) => {
            let (copied, copy) = match checked {
                Some(checked) => checked,
                None => copy_again(data_dir)?,
            };
            let writable = Writable::No(error.to_string());
            Ok(Opened { database: copied.with_folder(copy.into_folder()), loaded, state, journal: None, writable })
        }
    }
}

fn copy_again(data_dir: &Path) -> Result<(Database, Copy), StoreError> {
    let copy = Copy::make_in_memory(data_dir)?;
    let (database, _) = copy.load(data_dir)?;
    Ok((database, copy))
}

/// Returns a database that can be written, with its journal.
fn with_journal(data_dir: &Path, found: &Found, database: Database, loaded: Loaded, state: State) -> Opened {
    let goes_on = found.head.is_some_and(|head| head.revision == state.revision);
    let journal = match found.tail.filter(|_| goes_on) {
        Some(tail) => Journal::go_on(data_dir, tail),
        None => begin(data_dir, &loaded, &state),
    };
    let (journal, writable) = match journal {
        Ok(journal) => (Some(journal), Writable::Yes),
        Err(reason) => (None, Writable::No(reason)),
    };
    Opened { database, loaded, state, journal, writable }
}

fn begin(data_dir: &Path, loaded: &Loaded, state: &State) -> Result<Journal, String> {
    let mut objects: Vec<&Stored> = loaded.listing.objects.iter().collect();
    objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Journal::begin(data_dir, &SnapshotHead::of(state), objects.into_iter().cloned().map(Ok))
}

/// Finds out whether everything is in a database that should be, on a copy of it.
fn check(data_dir: &Path, copy: &Copy, head: Option<Head>) -> Result<(Database, Loaded, State), StoreError> {
    let unsound = |problem| StoreError::Unsound { path: data_dir.display().to_string(), problem };
    let (database, loaded) = match copy.load(data_dir) {
        Err(StoreError::Damaged { record, problem, .. }) => {
            return Err(unsound(format!("record {record} of the database is damaged: {problem}")));
        }
        Err(StoreError::Failed(problem)) => return Err(unsound(problem)),
        result => result?,
    };
    let listing = &loaded.listing;
    let state = State::of_objects(&listing.objects, listing.revision, loaded.last_instant);
    match difference(&state, loaded.recorded, head) {
        None => Ok((database, loaded, state)),
        Some(problem) => Err(unsound(problem)),
    }
}

/// Returns what is missing in a database, of which `recorded` and `head` say what should be in it. A database that is
/// ahead of its journal is whole: the machine stopped before the journal was written, or an older version wrote it.
fn difference(state: &State, recorded: Option<Head>, head: Option<Head>) -> Option<String> {
    let (revision, objects) = (state.revision, state.objects.len());
    if let Some(head) = head.filter(|head| head.revision > revision) {
        let latest = head.revision;
        let missing = match revision + 1 {
            first if first == latest => format!("revision {latest} is missing"),
            first => format!("revisions {first} to {latest} are missing"),
        };
        return Some(format!(
            "the database ends at revision {revision} (with {objects} objects), but the journal at {latest}: {missing}"
        ));
    }
    let text = || format!("the {objects} objects of the database are not those that revision {revision} left");
    (!is_as_known(state, [recorded, head])).then(text)
}

/// Returns whether the objects of a database have every sum that is known of its revision.
pub(crate) fn is_as_known(state: &State, known: [Option<Head>; 2]) -> bool {
    let of_revision = known.into_iter().flatten().filter(|head| head.revision == state.revision);
    of_revision.into_iter().all(|head| head.sum == state.sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stored;

    #[test]
    fn a_database_has_to_be_what_it_says_and_what_the_journal_says() {
        let state = State::of_objects(&[stored("a", 3)], 7, None);
        let (head, other) = (Head { revision: 7, sum: state.sum }, Head { revision: 7, sum: State::default().sum });
        let at = |revision| Head { revision, ..other };
        assert_eq!(difference(&state, None, None), None, "a folder of a version that had no journal");
        assert_eq!(difference(&state, Some(head), Some(head)), None);
        assert_eq!(difference(&state, Some(head), Some(at(6))), None, "the journal may be behind");
        assert_eq!(difference(&state, Some(at(6)), Some(at(6))), None, "after a version that had no journal");
        let want = "the 1 objects of the database are not those that revision 7 left";
        assert_eq!(difference(&state, Some(other), None).as_deref(), Some(want));
        assert_eq!(difference(&state, Some(head), Some(other)).as_deref(), Some(want));
        let want = "the database ends at revision 7 (with 1 objects), but the journal at 8: revision 8 is missing";
        assert_eq!(difference(&state, Some(head), Some(at(8))).as_deref(), Some(want));
        let want =
            "the database ends at revision 7 (with 1 objects), but the journal at 10: revisions 8 to 10 are missing";
        assert_eq!(difference(&state, Some(head), Some(at(10))).as_deref(), Some(want));
    }
}
