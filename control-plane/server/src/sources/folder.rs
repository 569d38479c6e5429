//! The watched folder: config in files, which is changed only there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rutter_api::config::{APPLY_BYTES_MAX, Object};
use rutter_api::{ConfigKey, yaml};
use rutter_core::message_size::check_routes;
use rutter_store::{CommitError, ConfigStore, ConfigWrite, Expected, Owner};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::parallel;

/// The time within which changes are taken together.
const GATHER: Duration = Duration::from_millis(5);
/// The time without an event after which the folder is looked over, because some file systems report nothing.
const LOOK_OVER: Duration = Duration::from_secs(30);
/// The number of files in one transaction.
const FILES_MAX: usize = 256;
/// The number of events that may wait. If there are more, the folder is looked over instead.
const EVENTS: usize = 1024;

/// What is known of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// A file that was read.
struct File {
    path: PathBuf,
    /// The path in the folder.
    name: String,
    stamp: Stamp,
    objects: Vec<Object>,
}

/// The watched folder. Every file that changed is read and committed to the store; a file that is not valid is refused as a
/// whole, and the objects that its last good version had stay.
pub(crate) struct Folder {
    root: PathBuf,
    store: Arc<dyn ConfigStore>,
    metrics: Arc<Metrics>,
    files: BTreeMap<PathBuf, Stamp>,
    /// The file of each object that the folder owns. Nobody else writes them, so the store need not be asked.
    owned: BTreeMap<ConfigKey, String>,
    broken: BTreeSet<PathBuf>,
    events: mpsc::Receiver<notify::Result<Event>>,
    _watcher: RecommendedWatcher,
}

impl Folder {
    /// Watches a folder, and takes in what is there.
    pub(crate) async fn open(
        root: PathBuf,
        store: Arc<dyn ConfigStore>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        // When the channel is full the folder is looked over later anyway.
        let mut watcher = notify::recommended_watcher(move |event| drop(sender.try_send(event)))?;
        watcher.watch(&root, RecursiveMode::Recursive).with_context(|| format!("--config-dir {}", root.display()))?;
        let owners = store.owners().await?;
        let owned = owners.into_iter().filter_map(|(key, owner)| match owner {
            Owner::File(file) => Some((key, file)),
            Owner::Api => None,
        });
        let (files, owned, broken) = (BTreeMap::new(), owned.collect(), BTreeSet::new());
        let mut folder = Self { root, store, metrics, files, owned, broken, events, _watcher: watcher };
        folder.look_over().await?;
        folder.drop_orphans().await;
        Ok(folder)
    }

    /// Follows the folder until `stop`.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        loop {
            let first = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                event = self.events.recv() => event,
                () = tokio::time::sleep(LOOK_OVER) => None,
            };
            let mut paths = Some(BTreeSet::new());
            self.note(&mut paths, first);
            let end = Instant::now() + GATHER;
            loop {
                tokio::select! {
                    () = sleep_until(end) => break,
                    Some(event) = self.events.recv() => self.note(&mut paths, Some(event)),
                }
            }
            let result = match paths {
                Some(paths) => self.take_in(paths).await,
                None => self.look_over().await,
            };
            if let Err(failure) = result {
                error!(
                    error = format!("{failure:#}"),
                    "the watched folder could not be read; its config stays as it was"
                );
            }
        }
    }

    /// Adds the paths of an event. If they become `None`, everything has to be looked over.
    fn note(&self, paths: &mut Option<BTreeSet<PathBuf>>, event: Option<notify::Result<Event>>) {
        match event {
            Some(Ok(event)) if matches!(event.kind, EventKind::Access(_)) => {}
            Some(Ok(event)) if !event.need_rescan() && !event.paths.iter().any(|path| self.has_files_behind(path)) => {
                if let Some(paths) = paths {
                    paths.extend(event.paths);
                }
            }
            Some(Ok(_) | Err(_)) | None => *paths = None,
        }
    }

    /// Returns whether a path is a folder, or a link to one, or was one. What happens to it says nothing of its files.
    /// In such a case the whole folder is looked over.
    fn has_files_behind(&self, path: &Path) -> bool {
        match std::fs::metadata(path) {
            Ok(meta) => meta.is_dir(),
            // The temporary file of an editor, which has gone again, never had a file behind it.
            Err(_) => self
                .files
                .range(path.to_owned()..)
                .find(|(file, _)| *file != path)
                .is_some_and(|(file, _)| file.starts_with(path)),
        }
    }

    /// Compares the stamp of every file, and reads the files that differ.
    async fn look_over(&mut self) -> anyhow::Result<()> {
        let mut found = BTreeSet::new();
        list(&self.root, &mut found).with_context(|| self.root.display().to_string())?;
        found.extend(self.files.keys().cloned());
        self.take_in(found).await
    }

    /// Reads the files that changed, and no others.
    async fn take_in(&mut self, paths: BTreeSet<PathBuf>) -> anyhow::Result<()> {
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for path in paths.into_iter().filter(|path| is_config(path)) {
            match stamp(&path) {
                Some(stamp) if self.files.get(&path) == Some(&stamp) => {}
                Some(stamp) => changed.push((path, stamp)),
                None if self.files.remove(&path).is_some() => gone.push(path),
                None => {}
            }
        }
        self.metrics.files_read.inc_by(changed.len() as u64);
        let parsed = parallel::map(&changed, |(path, _)| parse_file(path));
        let mut good = Vec::new();
        for ((path, stamp), result) in changed.into_iter().zip(parsed) {
            match result {
                Ok(objects) => good.push(File { name: self.name(&path), path, stamp, objects }),
                Err(fault) => {
                    self.files.insert(path.clone(), stamp);
                    self.refuse(&path, &fault);
                }
            }
        }
        while !good.is_empty() {
            let rest = good.split_off(good.len().min(FILES_MAX));
            self.commit_together(std::mem::replace(&mut good, rest)).await;
        }
        for path in gone {
            self.gone(&path).await;
        }
        self.metrics.files_broken.set(i64::try_from(self.broken.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Commits files that changed together as one transaction, so that an object may move from one to another. If that is
    /// refused, each file is a transaction of its own, so that the faulty one is found.
    async fn commit_together(&mut self, files: Vec<File>) {
        let result = if files.len() > 1 { self.commit(&files).await } else { Err(String::new()) };
        if let Ok(revision) = result {
            files.iter().for_each(|file| self.accept(file));
            info!(files = files.len(), revision, "files of the watched folder were taken in");
            return;
        }
        for file in files {
            match self.commit(std::slice::from_ref(&file)).await {
                Ok(revision) => {
                    self.accept(&file);
                    info!(file = file.name, revision, "a file of the watched folder was taken in");
                }
                // A file that could not be stored is read again at the next look, though it did not change.
                Err(fault) => self.refuse(&file.path, &fault),
            }
        }
    }

    fn accept(&mut self, file: &File) {
        self.files.insert(file.path.clone(), file.stamp.clone());
        self.broken.remove(&file.path);
    }

    fn refuse(&mut self, path: &Path, fault: &str) {
        self.broken.insert(path.to_owned());
        error!(
            file = self.name(path),
            error = fault,
            "a file of the watched folder is refused; its last good version stays in force"
        );
    }

    /// Commits files. Objects that they no longer have are deleted.
    async fn commit(&mut self, files: &[File]) -> Result<u64, String> {
        let mut kept: BTreeMap<&ConfigKey, &str> = BTreeMap::new();
        for file in files {
            for object in &file.objects {
                let key = &object.config.key;
                let elsewhere =
                    self.owned.get(key).map(String::as_str).filter(|other| {
                        files.iter().all(|file| file.name != **other) && self.root.join(other).exists()
                    });
                if let Some(other) = kept.insert(key, &file.name).or(elsewhere) {
                    return Err(format!("{key}: want each object in one file, got it in {other} too"));
                }
            }
        }
        let gone = self.keys_of(|name| files.iter().any(|file| file.name == name));
        let gone: Vec<ConfigKey> = gone.into_iter().filter(|key| !kept.contains_key(key)).collect();
        let objects = files.iter().flat_map(|file| file.objects.iter().map(move |object| (file, object)));
        let put = objects.map(|(file, object)| put(object, &file.name));
        let writes = put.chain(gone.iter().cloned().map(deletion)).collect();
        let revision = self.write(writes).await.map_err(|error| error.to_string())?;
        self.owned.retain(|key, _| !gone.contains(key));
        self.owned.extend(kept.into_iter().map(|(key, name)| (key.clone(), name.to_owned())));
        Ok(revision)
    }

    async fn gone(&mut self, path: &Path) {
        let name = self.name(path);
        self.broken.remove(path);
        self.remove(|file| file == name).await;
        info!(file = name, "a file of the watched folder is gone, and its objects with it");
    }

    /// Deletes the objects of files that went while nobody watched.
    async fn drop_orphans(&mut self) {
        let names: BTreeSet<String> = self.files.keys().map(|path| self.name(path)).collect();
        self.remove(|file| !names.contains(file)).await;
    }

    async fn remove(&mut self, choose: impl Fn(&str) -> bool) {
        let gone = self.keys_of(choose);
        if gone.is_empty() {
            return;
        }
        let writes = gone.iter().cloned().map(deletion).collect();
        match self.write(writes).await {
            Ok(_) => self.owned.retain(|key, _| !gone.contains(key)),
            Err(error) => warn!(error = %error, "objects of a file that is gone could not be removed"),
        }
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let result = self.store.commit(writes).await;
        if let Err(CommitError::Failed(_)) = &result {
            self.metrics.store_failures.inc();
        }
        result
    }

    fn keys_of(&self, choose: impl Fn(&str) -> bool) -> BTreeSet<ConfigKey> {
        self.owned.iter().filter(|(_, file)| choose(file)).map(|(key, _)| key.clone()).collect()
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn put(object: &Object, file: &str) -> ConfigWrite {
    ConfigWrite {
        key: object.config.key.clone(),
        json: Some(object.json.clone()),
        created: object.created,
        owner: Owner::File(file.to_owned()),
        expected: Expected::Any,
    }
}

/// Returns the write that deletes an object. The name of the file is left empty, because the store only checks that some
/// file owns the object: the folder is one source.
fn deletion(key: ConfigKey) -> ConfigWrite {
    ConfigWrite { key, json: None, created: None, owner: Owner::File(String::new()), expected: Expected::Any }
}

fn is_config(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !name.starts_with('.') && matches!(extension, "yaml" | "yml" | "json")
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(Stamp { modified: meta.modified().ok(), length: meta.len() })
}

fn list(dir: &Path, found: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'));
        if path.is_dir() && !hidden {
            list(&path, found)?;
        } else if is_config(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

fn parse_file(path: &Path) -> Result<Vec<Object>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > APPLY_BYTES_MAX as u64 {
        return Err(format!("want at most {APPLY_BYTES_MAX} bytes, got {length}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text, "default").map_err(|faults| faults.join("; "))
}

/// Returns the objects of a text, or everything that is wrong with them.
pub(crate) fn parse(text: &str, default_namespace: &str) -> Result<Vec<Object>, Vec<String>> {
    let documents = yaml::parse(text).map_err(|error| vec![error.to_string()])?;
    let mut objects: Vec<Object> = Vec::new();
    let mut faults = Vec::new();
    for document in documents {
        match Object::from_value(document.value, default_namespace) {
            Ok(object) if objects.iter().any(|other| other.config.key == object.config.key) => {
                faults.push(format!(
                    "line {}: {}: want each object once, got it twice",
                    document.line, object.config.key
                ));
            }
            Ok(object) => match check_routes(&object.config, object.json.len()) {
                Some(invalid) => faults.push(format!("line {}: {invalid}", document.line)),
                None => objects.push(object),
            },
            Err(invalid) => faults.extend(invalid.iter().map(|fault| format!("line {}: {fault}", document.line))),
        }
    }
    if faults.is_empty() { Ok(objects) } else { Err(faults) }
}

#[cfg(test)]
mod tests;
