//! The files of a journal, and what is done with files.

use std::fs::{File, read_dir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of the folder of the journal, in the data folder.
pub(crate) const FOLDER: &str = "journal";
/// The files of a generation, which are named by the revision of its snapshot.
pub(super) struct Generation {
    pub(super) snapshot: PathBuf,
    pub(super) commits: PathBuf,
}

impl Generation {
    pub(super) fn new(folder: &Path, revision: u64) -> Self {
        let path = |what: &str| folder.join(format!("{what}-{revision:020}.jsonl"));
        Self { snapshot: path("snapshot"), commits: path("commits") }
    }
}

/// Returns the revisions of the generations that have a file in a folder, the oldest first.
pub(super) fn generations(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut revisions = Vec::new();
    for entry in read_dir(folder)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(("snapshot" | "commits", digits)) = stem.and_then(|stem| stem.split_once('-')) {
            revisions.extend(digits.parse::<u64>());
        }
    }
    revisions.sort_unstable();
    revisions.dedup();
    Ok(revisions)
}

/// Returns whether a file is the one that is at a path now.
pub(crate) fn is_linked(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let open = file.metadata().map(identity).ok();
    open.is_some() && open == std::fs::metadata(path).map(identity).ok()
}

/// Makes durable which files are in a folder.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), String> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|error| io_problem(folder, &error))
}

/// Returns an error of the operating system with its path. A full disk is told in the words that sled has for it.
pub(crate) fn io_problem(path: &Path, error: &std::io::Error) -> String {
    let path = path.display();
    if error.kind() == std::io::ErrorKind::StorageFull {
        return format!("{path}: {}", error.kind());
    }
    format!("{path}: {error}")
}
