//! What is in the folder, without any file being read.

use std::collections::{BTreeMap, HashSet};
use std::fs::{Metadata, metadata, read_dir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The number of files and folders that are looked at. A folder with more is refused as a whole.
const ENTRIES_MAX: usize = 1_000_000;

/// Where a folder or a file is on its disk, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What tells whether a file is another than before, without its being read. A copy that keeps size and time has another
/// inode or another time of its last change of any kind, which nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    place: Place,
    length: u64,
    /// The time of the last change of the content, in nanoseconds since 1970.
    modified_ns: i128,
    /// The time of the last change of anything, in nanoseconds since 1970.
    changed_ns: i128,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            place: Place::of(metadata),
            length: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns whether the file was changed less than a time ago, so that somebody may be writing it still. A change that
    /// lies in the future, because the clock was set back, is long over.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX);
        let limit = i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
        (0..limit).contains(&(now - self.changed_ns))
    }
}

/// What was found in a folder and the folders in it.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Every file of config, by its path in the folder.
    pub(super) files: BTreeMap<Arc<str>, Identity>,
    /// Every folder, the root included.
    pub(super) folders: BTreeMap<PathBuf, Place>,
    /// The folders that could not be read, by their paths in the folder, and why.
    pub(super) unreadable: BTreeMap<String, String>,
}

impl Walked {
    /// Returns whether a file lies in a folder that could not be read, so that nothing is known of it.
    pub(super) fn may_have(&self, file: &str) -> bool {
        let is_in = |folder: &String| file.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.unreadable.keys().any(is_in)
    }
}

/// Looks at every file of config in a folder. Hidden files and folders are passed over. Links are followed, each folder
/// and each linked file once, under the path at which it was found first; a path without links comes first.
///
/// # Errors
/// Fails if the folder itself cannot be read, or has too many entries.
pub(super) fn walk(root: &Path) -> Result<Walked, String> {
    let mut walk = Walk { root, walked: Walked::default(), seen: HashSet::new(), links: Vec::new(), entries: 0 };
    let place = metadata(root).map(|metadata| Place::of(&metadata)).map_err(|error| error.to_string())?;
    // Whether the root can be read has to be known: nothing in it would be the same as an empty folder.
    read_dir(root).map_err(|error| error.to_string())?;
    walk.folder(root.to_owned(), place)?;
    // Links may lead to folders with further links.
    while !walk.links.is_empty() {
        let mut links = std::mem::take(&mut walk.links);
        links.sort_unstable();
        for link in links {
            walk.link(link)?;
        }
    }
    Ok(walk.walked)
}

/// The path of a file in a folder. `None` means that it is hidden, or no text.
pub(super) fn visible_name(root: &Path, path: &Path) -> Option<Arc<str>> {
    let name = path.strip_prefix(root).ok()?.to_str()?;
    let is_hidden = name.is_empty() || name.split('/').any(|part| part.starts_with('.'));
    (!is_hidden).then(|| name.into())
}

/// Returns whether a file is one of config, by its name.
pub(super) fn is_config(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

struct Walk<'a> {
    root: &'a Path,
    walked: Walked,
    /// The folders that were looked at, and the files that were found.
    seen: HashSet<Place>,
    /// Links that are followed when everything without links was looked at.
    links: Vec<PathBuf>,
    entries: usize,
}

impl Walk<'_> {
    /// Looks at a folder and at the folders in it.
    fn folder(&mut self, first: PathBuf, place: Place) -> Result<(), String> {
        let mut folders = vec![(first, place)];
        while let Some((folder, place)) = folders.pop() {
            if !self.seen.insert(place) {
                continue;
            }
            if let Err(error) = self.entries_of(&folder, &mut folders)? {
                let name = folder.strip_prefix(self.root).unwrap_or(&folder).display().to_string();
                self.walked.unreadable.insert(name, error.to_string());
            }
            self.walked.folders.insert(folder, place);
        }
        Ok(())
    }

    /// Takes the files of a folder in, and adds the folders in it. The inner error is that of this folder alone.
    fn entries_of(
        &mut self,
        folder: &Path,
        folders: &mut Vec<(PathBuf, Place)>,
    ) -> Result<std::io::Result<()>, String> {
        let entries = match read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Ok(Err(error)),
            };
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(format!("want at most {ENTRIES_MAX} files and folders, got more"));
            }
            let path = entry.path();
            let Some(name) = visible_name(self.root, &path) else { continue };
            // What was removed meanwhile is not there.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                self.links.push(path);
            } else if kind.is_dir() {
                folders.extend(entry.metadata().map(|metadata| (path, Place::of(&metadata))));
            } else if kind.is_file()
                && is_config(&path)
                && let Ok(metadata) = entry.metadata()
            {
                self.seen.insert(Place::of(&metadata));
                self.walked.files.insert(name, Identity::of(&metadata));
            }
        }
        Ok(Ok(()))
    }

    fn link(&mut self, path: PathBuf) -> Result<(), String> {
        // A link to nothing is not there.
        let Ok(metadata) = metadata(&path) else { return Ok(()) };
        let place = Place::of(&metadata);
        if metadata.is_dir() {
            return self.folder(path, place);
        }
        if metadata.is_file()
            && is_config(&path)
            && let Some(name) = visible_name(self.root, &path)
            && self.seen.insert(place)
        {
            self.walked.files.insert(name, Identity::of(&metadata));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    fn make(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn names(walked: &Walked) -> Vec<&str> {
        walked.files.keys().map(|name| &**name).collect()
    }

    #[test]
    fn files_of_config_are_found_in_every_folder_and_nothing_hidden_is() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["a.yaml", "b/c.yml", "b/d/e.json", "README.md", ".h.yaml", ".git/x.yaml", "b/.hid/y.yaml"]);
        let walked = walk(dir.path()).unwrap();
        assert_eq!(names(&walked), ["a.yaml", "b/c.yml", "b/d/e.json"]);
        assert_eq!(walked.folders.len(), 3);
    }

    #[test]
    fn links_are_followed_once_each_and_rings_end() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["sub/a.yaml", "b.yaml"]);
        for (target, link) in
            [(".", "ring"), (".", "sub/ring"), ("sub", "again"), ("b.yaml", "c.yaml"), ("no", "d.yaml")]
        {
            symlink(target, dir.path().join(link)).unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        make(elsewhere.path(), &["x.yaml", "y/z.yaml"]);
        symlink(elsewhere.path(), dir.path().join("linked")).unwrap();
        symlink(elsewhere.path(), dir.path().join("linked-again")).unwrap();
        let walked = walk(dir.path()).unwrap();
        assert_eq!(names(&walked), ["b.yaml", "linked/x.yaml", "linked/y/z.yaml", "sub/a.yaml"]);
        assert_eq!(walked.folders.len(), 4);
    }

    #[test]
    fn a_mounted_config_map_is_read_through_its_links() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["..2026_1/a.yaml"]);
        symlink("..2026_1", dir.path().join("..data")).unwrap();
        symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
        let before = walk(dir.path()).unwrap();
        assert_eq!(names(&before), ["a.yaml"]);
        make(dir.path(), &["..2026_2/a.yaml"]);
        symlink("..2026_2", dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        let after = walk(dir.path()).unwrap();
        assert_ne!(before.files["a.yaml"], after.files["a.yaml"]);
    }

    #[test]
    fn what_is_no_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s.yaml")).unwrap();
        fs::create_dir(dir.path().join("d.yaml")).unwrap();
        assert_eq!(names(&walk(dir.path()).unwrap()), [""; 0]);
        assert!(walk(&dir.path().join("missing")).unwrap_err().starts_with("No such file"));
    }

    #[test]
    fn a_copy_of_the_same_size_and_time_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["a.yaml"]);
        let path = dir.path().join("a.yaml");
        let before = Identity::of(&metadata(&path).unwrap());
        let time = metadata(&path).unwrap().modified().unwrap();
        fs::write(dir.path().join("copy"), "").unwrap();
        File::options().write(true).open(dir.path().join("copy")).unwrap().set_modified(time).unwrap();
        fs::rename(dir.path().join("copy"), &path).unwrap();
        let after = Identity::of(&metadata(&path).unwrap());
        assert_eq!((before.length, before.modified_ns), (after.length, after.modified_ns));
        assert_ne!(before, after);
    }

    #[test]
    fn a_file_is_young_for_a_while_and_one_of_the_future_is_not() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &["a.yaml"]);
        let identity = Identity::of(&metadata(dir.path().join("a.yaml")).unwrap());
        assert!(identity.is_younger_than(Duration::from_secs(3600)));
        assert!(!identity.is_younger_than(Duration::ZERO));
        let of_the_future = Identity { changed_ns: identity.changed_ns + 3_600_000_000_000, ..identity };
        assert!(!of_the_future.is_younger_than(Duration::from_secs(10)));
    }
}
