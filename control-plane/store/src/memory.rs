//! A store that forgets when the process ends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rutter_api::ConfigKey;
use tokio::sync::watch;

use crate::state::{Objects, apply, decide};
use crate::{Commit, CommitError, ConfigStore, HISTORY_MAX, StoreError, Stored, Write};

/// Config in memory.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    latest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: Objects,
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
    async fn list(&self) -> Result<(u64, Vec<Stored>), StoreError> {
        let inner = self.lock();
        Ok((inner.revision, inner.objects.values().cloned().collect()))
    }

    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.lock().objects.get(key).cloned())
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64, CommitError> {
        let mut inner = self.lock();
        if let Some(commit) = decide(&inner.objects, inner.revision, writes)? {
            inner.revision = commit.revision;
            apply(&mut inner.objects, &commit);
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
