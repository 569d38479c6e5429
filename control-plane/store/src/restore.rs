//! Making a data folder again from what is left of it, or from a backup.
//!
//! What is made again is first written to a folder of its own. Then the files that were there before go to another one,
//! and the new ones take their place. A crash at any moment leaves either the old folder, or one that the next opening
//! finishes:
//!
//! ```text
//! DIR/restoring        being written; worth nothing until it is renamed to
//! DIR/restored-TIME    whole; now the old files go to DIR/replaced-TIME, and then it is renamed to
//! DIR/moving-TIME      its files go to DIR, until it is empty
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, create_dir_all, read_dir, remove_dir, remove_dir_all, rename};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rutter_api::CreationTimestamp;

use crate::embedded::{Copy, Database, FolderLock, Loaded, is_as_known, is_of_database};
use crate::journal::{
    Contents, Everything, FOLDER, Journal, Restorable, SnapshotHead, io_problem, line_of, object_line, read_everything,
    read_snapshot, sync_folder,
};
use crate::state::{Head, State};
use crate::{Commit, Listing, StoreError};

const RESTORING: &str = "restoring";
const RESTORED: &str = "restored-";
const REPLACED: &str = "replaced-";
const MOVING: &str = "moving-";

/// What a data folder is to be made again from.
#[derive(Debug, Clone, Copy)]
pub struct RestoreRequest<'a> {
    /// The data folder. Nobody may have it open.
    pub data_dir: &'a Path,
    /// A snapshot or a backup. `None` means whatever is in the folder that leads furthest.
    pub from: Option<&'a Path>,
    /// Finds out what would be restored, and changes nothing.
    pub dry_run: bool,
}

/// What was restored, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// What is in the folder before, and what is wrong with it.
    pub before: Result<u64, String>,
    /// Where the objects come from.
    pub origin: Origin,
    /// The revision that comes back, with every object as it was then.
    pub revision: u64,
    /// The number of objects at that revision.
    pub objects: usize,
    /// The highest revision of which there is any trace. Those above the one that comes back are lost.
    pub highest: u64,
    /// The revision at which the store goes on.
    pub goes_on_at: u64,
    /// What is damaged, with the path and the line.
    pub problems: Vec<String>,
    /// The folder with the files that were there before. `None` means that nothing was changed.
    pub replaced: Option<PathBuf>,
}

/// Where restored objects come from: a source at one revision, and the commits after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The path of a snapshot, a backup or the database.
    pub source: String,
    /// The revision of the source.
    pub base: u64,
}

impl RestoreReport {
    /// Returns whether the folder is whole, so that there is nothing to restore.
    pub fn is_whole(&self) -> bool {
        self.before == Ok(self.goes_on_at)
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, origin, revision, objects, highest, goes_on_at, problems, replaced } = self;
        for problem in problems {
            writeln!(f, "Damaged: {problem}")?;
        }
        if self.is_whole() {
            return writeln!(f, "Nothing is missing: the store has {objects} objects at revision {revision}.");
        }
        let first = match before {
            Ok(before) => before + 1,
            Err(problem) => {
                writeln!(f, "The database: {problem}")?;
                1
            }
        };
        let verb = if replaced.is_some() { "Restored" } else { "Would be restored" };
        write!(f, "{verb}: {objects} objects at revision {revision}, from {}", origin.source)?;
        if origin.base < *revision {
            write!(f, " at revision {} and the commits after it in the journal", origin.base)?;
        }
        writeln!(f, ".")?;
        if first <= *revision {
            writeln!(f, "What comes back: {}.", Revisions(first, *revision))?;
        }
        match *highest > *revision {
            true => writeln!(f, "What does not come back: {}.", Revisions(revision + 1, *highest))?,
            false => writeln!(f, "What does not come back: nothing.")?,
        }
        writeln!(f, "The next change of config will be revision {}.", goes_on_at + 1)?;
        match replaced {
            Some(folder) => writeln!(f, "The files that were there before are in {}.", folder.display()),
            None => writeln!(f, "Nothing was changed."),
        }
    }
}

/// Revisions from one to another, in words.
struct Revisions(u64, u64);

impl fmt::Display for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(first, last) if first == last => write!(f, "revision {first}"),
            Self(first, last) => write!(f, "revisions {first} to {last}"),
        }
    }
}

/// What a data folder is made again with.
struct Plan {
    restorable: Restorable,
    /// The commits that are known, so that watches and the history go on.
    history: BTreeMap<u64, Commit>,
    report: RestoreReport,
}

/// Makes a data folder again. The files that were there before are kept in another folder in it. If nothing is missing and
/// no file is given, nothing is changed. If a file is given, the folder is made if it is missing.
///
/// # Errors
/// Fails if another process has the folder open, if there is nothing whole to restore from, or if the operating system
/// refuses; the folder is then as it was.
pub fn restore(request: RestoreRequest<'_>) -> Result<RestoreReport, StoreError> {
    let RestoreRequest { data_dir, from, dry_run } = request;
    if from.is_none() && !data_dir.is_dir() {
        return Err(StoreError::Failed(format!("{}: there is no such folder", data_dir.display())));
    }
    let _lock = FolderLock::take(data_dir)?;
    finish_restore(data_dir).map_err(StoreError::Failed)?;
    let Plan { restorable, history, mut report } = plan(data_dir, from)?;
    if dry_run || (from.is_none() && report.is_whole()) {
        return Ok(report);
    }
    let folder = data_dir.join(RESTORING);
    let mut contents = restorable.contents;
    contents.revision = report.goes_on_at;
    let built = build(data_dir, &folder, &contents, &history);
    if built.is_err() {
        // What is not whole is of no use, and there may be no room for it.
        let _ = remove_dir_all(&folder);
    }
    built?;
    let time = CreationTimestamp::from(SystemTime::now()).to_string().replace(':', "-");
    let whole = data_dir.join(format!("{RESTORED}{time}"));
    let renamed = rename(&folder, &whole).map_err(|error| io_problem(&whole, &error));
    renamed.and_then(|()| finish_restore(data_dir)).map_err(StoreError::Failed)?;
    report.replaced = Some(data_dir.join(format!("{REPLACED}{time}")));
    Ok(report)
}

fn plan(data_dir: &Path, from: Option<&Path>) -> Result<Plan, StoreError> {
    let journal = read_everything(data_dir);
    let mut history = journal.history();
    let database = read_database(data_dir, &journal);
    let mut highest = journal.highest();
    let (before, of_database) = match database {
        Ok(found) => {
            highest = highest.max(found.contents.revision);
            history.extend(found.history);
            (Ok(found.contents.revision), Some(found.contents))
        }
        Err(problem) => (Err(problem), None),
    };
    let restorable = match from {
        Some(path) => read_file(path)?,
        None => furthest(data_dir, &journal, of_database).ok_or_else(|| nothing_whole(data_dir, &journal, &before))?,
    };
    let Restorable { source, base, contents } = &restorable;
    let revision = contents.revision;
    highest = highest.max(revision);
    history.retain(|at, _| *at <= revision);
    // Config that was at another revision before gets one of its own.
    let goes_on_at = if highest == revision && from.is_none() { revision } else { highest + 1 };
    let (origin, objects) = (Origin { source: source.clone(), base: *base }, contents.objects.len());
    let (problems, replaced) = (journal.problems, None);
    let report = RestoreReport { before, origin, revision, objects, highest, goes_on_at, problems, replaced };
    Ok(Plan { restorable, history, report })
}

/// A database that is whole in itself, though it may have lost its end.
#[derive(Default)]
struct OfDatabase {
    contents: Contents,
    history: BTreeMap<u64, Commit>,
}

/// Reads the database of a data folder, on a copy of it.
fn read_database(data_dir: &Path, journal: &Everything) -> Result<OfDatabase, String> {
    if !data_dir.join("db").exists() {
        if journal.highest() == 0 {
            return Ok(OfDatabase::default());
        }
        return Err("its file db is missing".into());
    }
    let copy = Copy::make(data_dir).map_err(|error| error.to_string())?;
    let (database, loaded) = copy.load(data_dir).map_err(|error| error.to_string())?;
    let Loaded { listing: Listing { revision, objects }, last_instant, recorded } = loaded;
    let state = State::of_objects(&objects, revision, last_instant);
    let of_journal = journal.sum_at(revision).map(|sum| Head { revision, sum });
    if !is_as_known(&state, [recorded, of_journal]) {
        return Err(format!("its {} objects are not those that revision {revision} left", objects.len()));
    }
    let objects = objects.into_iter().map(|stored| (stored.key.clone(), stored)).collect();
    let history = database.history(revision).map_err(|error| error.to_string())?;
    Ok(OfDatabase { contents: Contents { objects, revision, last_instant }, history })
}

/// Reads a snapshot or a backup.
fn read_file(path: &Path) -> Result<Restorable, StoreError> {
    let file = File::open(path).map_err(|error| StoreError::Failed(io_problem(path, &error)))?;
    let read = read_snapshot(BufReader::new(file));
    let contents = read.map_err(|problem| {
        let path = path.display();
        StoreError::Failed(format!("{path}: want a whole file of `rutterctl backup` or a snapshot: {problem}"))
    })?;
    Ok(Restorable { source: path.display().to_string(), base: contents.revision, contents })
}

/// Returns what leads to the highest revision. Of several, the database counts first, and then the latest snapshot.
fn furthest(data_dir: &Path, journal: &Everything, of_database: Option<Contents>) -> Option<Restorable> {
    let database = of_database.map(|contents| (format!("the database in {}", data_dir.display()), contents));
    let snapshots = journal.snapshots.iter().rev().cloned();
    let mut best: Option<Restorable> = None;
    for (source, contents) in database.into_iter().chain(snapshots) {
        let next = journal.replay(source, contents);
        if best.as_ref().is_none_or(|best| best.contents.revision < next.contents.revision) {
            best = Some(next);
        }
    }
    best
}

fn nothing_whole(data_dir: &Path, journal: &Everything, before: &Result<u64, String>) -> StoreError {
    let mut problems = journal.problems.clone();
    problems.extend(before.as_ref().err().map(|problem| format!("the database: {problem}")));
    let (data_dir, problems) = (data_dir.display(), problems.join("; "));
    StoreError::Failed(format!(
        "{data_dir}: nothing is whole that could be restored (name a backup by --from): {problems}"
    ))
}

/// Writes a whole data folder to another folder, durably.
fn build(
    data_dir: &Path,
    folder: &Path,
    contents: &Contents,
    history: &BTreeMap<u64, Commit>,
) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed(io_problem(folder, &error));
    if folder.exists() {
        remove_dir_all(folder).map_err(failed)?;
    }
    create_dir_all(folder).map_err(failed)?;
    let database = Database::open_as(folder, data_dir)?;
    database.fill(contents, history)?;
    database.sync(&File::open(folder.join("db")).map_err(failed)?)?;
    drop(database);
    let head = SnapshotHead::of(&contents.state());
    let journal = Journal::begin(folder, &head, contents.objects.values().cloned().map(Ok));
    journal.and_then(|_| sync_folder(folder)).map_err(StoreError::Failed)
}

/// Puts a folder that was restored as a whole into the place of the files that were there before, if a crash has left one.
///
/// # Errors
/// Fails if the operating system refuses. It can be tried again.
pub(crate) fn finish_restore(data_dir: &Path) -> Result<(), String> {
    for (restored, time) in entries(data_dir, RESTORED)? {
        let replaced = data_dir.join(format!("{REPLACED}{time}"));
        create_dir_all(&replaced).map_err(|error| io_problem(&replaced, &error))?;
        move_all(data_dir, &replaced, |name| is_of_database(name) || name == FOLDER)?;
        sync_folder(&replaced)?;
        let moving = data_dir.join(format!("{MOVING}{time}"));
        rename(&restored, &moving).map_err(|error| io_problem(&moving, &error))?;
        sync_folder(data_dir)?;
    }
    for (moving, _) in entries(data_dir, MOVING)? {
        move_all(&moving, data_dir, |_| true)?;
        sync_folder(data_dir)?;
        remove_dir(&moving).map_err(|error| io_problem(&moving, &error))?;
    }
    Ok(())
}

/// Returns the entries of a folder whose names begin with a word, each with the rest of its name.
fn entries(dir: &Path, beginning: &str) -> Result<Vec<(PathBuf, String)>, String> {
    let failed = |error| io_problem(dir, &error);
    let mut found = Vec::new();
    for entry in read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(beginning)) {
            found.push((entry.path(), rest.to_owned()));
        }
    }
    Ok(found)
}

fn move_all(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<(), String> {
    for (path, name) in entries(from, "")? {
        if is_wanted(&name) {
            rename(&path, to.join(&name)).map_err(|error| io_problem(&path, &error))?;
        }
    }
    Ok(())
}

/// Returns the lines of a backup of some objects, which [`restore`] takes.
pub fn backup_lines(listing: Listing) -> impl Iterator<Item = Vec<u8>> + Send {
    let Listing { revision, objects } = listing;
    let state = State::of_objects(&objects, revision, None);
    let head = line_of(&SnapshotHead::of(&state));
    std::iter::once(head).chain(objects.into_iter().map(|stored| object_line(&stored)))
}
