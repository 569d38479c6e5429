//! The lock of a data folder: only one process has it open.

use std::fs::{File, TryLockError, create_dir_all};
use std::path::Path;
use std::time::Duration;

use crate::StoreError;
use crate::journal::io_problem;

/// The name of the file that is locked.
const LOCK: &str = "lock";
/// The number of times that something which is in use is tried.
const TRIES: u32 = 10;
/// The time between two such tries.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A data folder that nobody else has open. It is free when this is dropped, and when the process ends in any way.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks a folder, which is made if it is missing.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Failed(io_problem(dir, &error));
        create_dir_all(dir).map_err(failed)?;
        // Where no file can be made, because the disk is full or read-only, the folder itself is locked.
        let file = File::create(dir.join(LOCK)).or_else(|_| File::open(dir)).map_err(failed)?;
        try_for_a_moment(|| match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        })?;
        Ok(Self { _file: file })
    }
}

/// Tries something that may be in use, a few times: a process that has just ended may still be closing it.
pub(super) fn try_for_a_moment<T>(act: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 1..TRIES {
        match act() {
            Err(StoreError::InUse(_)) => std::thread::sleep(TRY_AGAIN),
            result => return result,
        }
    }
    act()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_lock_which_is_free_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let lock = FolderLock::take(&folder).unwrap();
        let refused = FolderLock::take(&folder).unwrap_err().to_string();
        let want = "another process uses this data folder (stop it, or name another folder)";
        assert_eq!(refused, format!("{}: {want}", folder.display()));
        drop(lock);
        FolderLock::take(&folder).unwrap();
    }
}
