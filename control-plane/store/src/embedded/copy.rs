//! A copy of a database. What is damaged is found out on the copy, because sled changes the files that it opens.

use std::fs::{copy, create_dir, read_dir, remove_dir_all};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::database::{Database, Loaded};
use crate::StoreError;
use crate::journal::io_problem;

/// The beginning of the names of folders for copies.
const PREFIX: &str = "checking-";
/// Where a copy goes if there is no room beside the database: to memory.
const MEMORY: &str = "/dev/shm";

/// Files of a database that are its own, and the folder that goes when this is dropped.
pub(crate) struct Copy {
    folder: TempDir,
    is_beside: bool,
}

impl Copy {
    /// Copies the database of a data folder to a folder in it. If there is no room, the copy goes to memory.
    pub(crate) fn make(data_dir: &Path) -> Result<Self, StoreError> {
        remove_old_copies(data_dir);
        match Self::make_in(data_dir, data_dir) {
            Ok(folder) => Ok(Self { folder, is_beside: true }),
            Err(_) => Self::make_in_memory(data_dir),
        }
    }

    /// Copies the database of a data folder to memory.
    pub(crate) fn make_in_memory(data_dir: &Path) -> Result<Self, StoreError> {
        let memory = Path::new(MEMORY);
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = Self::make_in(data_dir, &place);
        let failed = |(path, error): (PathBuf, std::io::Error)| {
            let problem = io_problem(&path, &error);
            StoreError::Failed(format!("{problem} (want room for a copy of the database of {})", data_dir.display()))
        };
        Ok(Self { folder: folder.map_err(failed)?, is_beside: false })
    }

    fn make_in(data_dir: &Path, place: &Path) -> Result<TempDir, (PathBuf, std::io::Error)> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place);
        let folder = folder.map_err(|error| (place.to_owned(), error))?;
        match copy_database(data_dir, folder.path()) {
            Ok(()) => Ok(folder),
            Err(error) => Err((folder.path().to_owned(), error)),
        }
    }

    /// Returns the folder with the copy, which goes when it is dropped.
    pub(super) fn into_folder(self) -> TempDir {
        self.folder
    }

    /// Returns whether the copy takes room in the data folder.
    pub(crate) fn is_beside(&self) -> bool {
        self.is_beside
    }

    /// Opens the copy and reads everything in it. The database is of the data folder in what it says.
    pub(crate) fn load(&self, data_dir: &Path) -> Result<(Database, Loaded), StoreError> {
        let load = || {
            let database = Database::open_as(self.folder.path(), data_dir)?;
            let loaded = database.load()?;
            Ok((database, loaded))
        };
        // sled has places at which it panics when a file is not what it should be.
        catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|_| Err(StoreError::Failed(format!("{}: the database cannot be read", data_dir.display()))))
    }
}

/// Removes what was left when a process ended while it had a copy.
fn remove_old_copies(data_dir: &Path) {
    for entry in read_dir(data_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            // What cannot be removed is tried again at the next start.
            let _ = remove_dir_all(entry.path());
        }
    }
}

/// Returns whether an entry of a data folder is a file of sled.
pub(crate) fn is_of_database(name: &str) -> bool {
    matches!(name, "db" | "conf" | "blobs") || name.starts_with("snap.")
}

/// Copies the files of sled from one folder to another.
fn copy_database(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_of_database) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            create_dir(&target)?;
            for blob in read_dir(entry.path())? {
                let blob = blob?;
                copy(blob.path(), target.join(blob.file_name()))?;
            }
        } else {
            match copy(entry.path(), target) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
}
