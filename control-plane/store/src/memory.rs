//! A store that forgets when the process ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rutter_api::ConfigKey;
use tokio::sync::watch;

use crate::state::{Objects, apply, decide};
use crate::{Commit, CommitError, ConfigEvent, ConfigStore, HISTORY_MAX, Owner, StoreError, Stored, Wanted, Write};

/// Config in memory.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    latest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: Objects,
    texts: BTreeMap<ConfigKey, Stored>,
    revision: u64,
    history: VecDeque<Commit>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Mutex::default(), latest: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ConfigStore for MemoryStore {
    async fn list(&self, wanted: Wanted<'_>) -> Result<(u64, Vec<Stored>), StoreError> {
        let inner = self.lock();
        Ok((inner.revision, inner.texts.values().filter(|stored| wanted(&stored.key)).cloned().collect()))
    }

    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError> {
        Ok(self.lock().objects.iter().map(|(key, held)| (key.clone(), held.owner.clone())).collect())
    }

    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.lock().texts.get(key).cloned())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64, CommitError> {
        let mut inner = self.lock();
        if let Some(commit) = decide(&inner.objects, inner.revision, writes)? {
            inner.revision = commit.revision;
            apply(&mut inner.objects, &commit);
            for event in &commit.events {
                match event {
                    ConfigEvent::Put(stored) => inner.texts.insert(stored.key.clone(), stored.clone()),
                    ConfigEvent::Delete(key) => inner.texts.remove(key),
                };
            }
            inner.history.push_back(commit);
            if inner.history.len() as u64 > HISTORY_MAX {
                inner.history.pop_front();
            }
            self.latest.send_replace(inner.revision);
        }
        Ok(inner.revision)
    }

    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError> {
        let inner = self.lock();
        let floor = inner.revision - inner.history.len() as u64;
        if revision < floor {
            return Err(StoreError::Compacted(floor));
        }
        Ok(inner.history.iter().filter(|commit| commit.revision > revision).cloned().collect())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}
