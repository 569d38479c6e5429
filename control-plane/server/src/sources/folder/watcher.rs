//! The events of the file system, for each folder by itself, because links are followed by the [`walk`](super::walk).

use std::collections::BTreeMap;
use std::fs::symlink_metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};

use super::pending::Happened;
use super::walk::{Place, is_config, visible_name};

/// The number of events that may wait. If there are more, everything is looked over instead.
const EVENTS: usize = 1024;

/// Watches folders, and tells what happens to the files of config in them.
pub(super) struct FolderWatcher {
    watcher: RecommendedWatcher,
    watched: BTreeMap<PathBuf, Place>,
    events: mpsc::Receiver<Told>,
    /// Notified when there were more events than could wait.
    overflow: Arc<Notify>,
}

impl FolderWatcher {
    /// Returns a watcher that watches no folder yet.
    ///
    /// # Errors
    /// Fails if the operating system gives no watcher.
    pub(super) fn new(root: PathBuf) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let overflow: Arc<Notify> = Arc::default();
        let of_callback = overflow.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for told in read_event(&root, event) {
                if sender.try_send(told).is_err() {
                    // The notice is kept until somebody waits for it.
                    of_callback.notify_one();
                }
            }
        })?;
        Ok(Self { watcher, watched: BTreeMap::new(), events, overflow })
    }

    /// Watches these folders and no others. A folder that has taken the place of another is watched anew.
    ///
    /// # Errors
    /// Fails with the last folder that could not be watched; the others are watched.
    pub(super) fn watch(&mut self, folders: &BTreeMap<PathBuf, Place>) -> notify::Result<()> {
        let is_other = |path: &PathBuf, place: &Place| folders.get(path) != Some(place);
        let gone: Vec<PathBuf> =
            self.watched.iter().filter(|(path, place)| is_other(path, place)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.watched.remove(&path);
            // The watch of a folder that was removed is gone already.
            let _ = self.watcher.unwatch(&path);
        }
        let mut result = Ok(());
        for (path, place) in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(path.clone(), *place)),
                // A folder that is gone by now is told of by its parent.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Waits for the next thing that happens. A call that is dropped while it waits misses nothing.
    pub(super) async fn next(&mut self) -> Happened {
        loop {
            let told = tokio::select! {
                () = self.overflow.notified() => return Happened::Anything,
                Some(told) = self.events.recv() => told,
            };
            match told {
                Told::Happened(happened) => return happened,
                Told::Away(path) if self.watched.contains_key(&path) => return Happened::Anything,
                // It was no folder: the temporary files of others come and go.
                Told::Away(_) => {}
            }
        }
    }
}

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Happened(Happened),
    /// Something that is not called like a file of config is not here any more. It may have been a folder.
    Away(PathBuf),
}

/// Returns what an event says of the files of config.
fn read_event(root: &Path, event: notify::Result<Event>) -> Vec<Told> {
    const ANYTHING: Told = Told::Happened(Happened::Anything);
    let Ok(event) = event else { return vec![ANYTHING] };
    if event.need_rescan() {
        return vec![ANYTHING];
    }
    let kind = event.kind;
    event.paths.iter().filter_map(|path| told(root, kind, path)).collect()
}

/// Returns what an event of a kind says of a path. `None` means that it concerns no config.
fn told(root: &Path, kind: EventKind, path: &Path) -> Option<Told> {
    const ANYTHING: Option<Told> = Some(Told::Happened(Happened::Anything));
    let is_written = match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => return None,
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => return ANYTHING,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => false,
        EventKind::Create(_) | EventKind::Modify(_) => true,
        EventKind::Any | EventKind::Other => return ANYTHING,
    };
    match symlink_metadata(path).map(|metadata| metadata.is_file()) {
        // A folder or a link stands for files of other names.
        Ok(false) => return ANYTHING,
        Err(_) if !is_config(path) => return Some(Told::Away(path.to_owned())),
        Ok(true) | Err(_) => {}
    }
    let name = visible_name(root, path).filter(|_| is_config(path))?;
    Some(Told::Happened(if is_written { Happened::Written(name) } else { Happened::Done(name) }))
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag, RenameMode};

    use super::*;

    /// Returns what an event says of a path. That something is not here any more is left out.
    fn happened(root: &Path, kind: EventKind, name: &str) -> Vec<Happened> {
        let told = read_event(root, Ok(Event::new(kind).add_path(root.join(name))));
        let happened = told.into_iter().filter_map(|told| match told {
            Told::Happened(happened) => Some(happened),
            Told::Away(_) => None,
        });
        happened.collect()
    }

    #[test]
    fn an_event_names_a_file_of_config_or_says_that_anything_may_have_happened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::write(root.join("a.yaml"), "").unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        std::os::unix::fs::symlink("..data/x.yaml", root.join("x.yaml")).unwrap();
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let renamed = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let done = |name: &str| vec![Happened::Done(name.into())];
        assert_eq!(happened(root, closed, "a.yaml"), done("a.yaml"));
        assert_eq!(happened(root, renamed(RenameMode::To), "a.yaml"), done("a.yaml"));
        assert_eq!(happened(root, renamed(RenameMode::From), "gone.yaml"), done("gone.yaml"));
        assert_eq!(happened(root, EventKind::Remove(RemoveKind::File), "gone.yaml"), done("gone.yaml"));
        assert_eq!(happened(root, written, "a.yaml"), [Happened::Written("a.yaml".into())]);
        assert_eq!(happened(root, EventKind::Create(CreateKind::File), "a.yaml"), [Happened::Written("a.yaml".into())]);
        for (kind, name) in [
            (EventKind::Create(CreateKind::Folder), "sub"),
            (renamed(RenameMode::To), "sub"),
            (EventKind::Create(CreateKind::Any), "x.yaml"),
            (EventKind::Other, ""),
        ] {
            assert_eq!(happened(root, kind, name), [Happened::Anything], "{kind:?} {name}");
        }
    }

    #[test]
    fn what_concerns_no_config_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".a.yaml.swp"), "").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        for (kind, name) in [(written, ".a.yaml.swp"), (written, "notes.txt"), (from, ".a.yaml.swx")] {
            assert_eq!(happened(dir.path(), kind, name), [], "{name}");
        }
        assert_eq!(happened(dir.path(), EventKind::Access(AccessKind::Open(AccessMode::Any)), "a.yaml"), []);
    }

    #[test]
    fn a_new_link_of_a_mounted_config_map_asks_for_everything() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("..2026", dir.path().join("..data")).unwrap();
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(happened(dir.path(), to, "..data"), [Happened::Anything]);
    }

    #[test]
    fn what_was_lost_asks_for_everything() {
        let root = Path::new("/nowhere");
        let anything = || [Told::Happened(Happened::Anything)];
        assert_eq!(read_event(root, Err(notify::Error::generic("overflow"))), anything());
        let rescan = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(read_event(root, Ok(rescan)), anything());
    }

    #[tokio::test]
    async fn more_events_than_can_wait_are_one_look_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = FolderWatcher::new(dir.path().to_owned()).unwrap();
        let place = Place::of(&std::fs::metadata(dir.path()).unwrap());
        watcher.watch(&[(dir.path().to_owned(), place)].into()).unwrap();
        for number in 0..2 * EVENTS {
            std::fs::write(dir.path().join(format!("{number}.yaml")), "").unwrap();
        }
        let everything = async { while watcher.next().await != Happened::Anything {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), everything).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_was_moved_away_asks_for_everything_and_a_temporary_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        let mut watcher = FolderWatcher::new(dir.path().to_owned()).unwrap();
        let place = |path: &Path| Place::of(&std::fs::metadata(path).unwrap());
        let folders = [dir.path(), &sub].map(|path| (path.to_owned(), place(path)));
        watcher.watch(&folders.into()).unwrap();
        std::fs::write(dir.path().join("a.new"), "").unwrap();
        std::fs::rename(dir.path().join("a.new"), dir.path().join("a.yaml")).unwrap();
        assert_eq!(watcher.next().await, Happened::Done("a.yaml".into()));
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::rename(&sub, elsewhere.path().join("sub")).unwrap();
        // The rename is told in several ways.
        let done = Happened::Done("a.yaml".into());
        let mut next = watcher.next().await;
        while next == done {
            next = watcher.next().await;
        }
        assert_eq!(next, Happened::Anything);
    }
}
