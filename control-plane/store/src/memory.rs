//! A store that forgets everything when the process ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use rutter_api::{ConfigKey, CreationTimestamp};
use tokio::sync::watch;

use crate::state::State;
use crate::{
    Commit, CommitError, ConfigEvent, ConfigStore, ConfigWrite, HISTORY_MAX, Listing, Owner, StoreError, Stored,
    Wanted, Writable,
};

/// A store that keeps config in memory. It keeps the same contract as the others, except that nothing survives.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    latest: watch::Sender<u64>,
    writable: watch::Sender<Writable>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    stored: BTreeMap<ConfigKey, Stored>,
    history: VecDeque<Commit>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Mutex::default(), latest: watch::Sender::new(0), writable: watch::Sender::new(Writable::Yes) }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ConfigStore for MemoryStore {
    async fn list(&self, wanted: Wanted<'_>) -> Result<Listing, StoreError> {
        let inner = self.lock();
        let objects = inner.stored.values().filter(|stored| wanted(&stored.key)).cloned().collect();
        Ok(Listing { revision: inner.state.revision, objects })
    }

    async fn owners(&self) -> Result<Vec<(ConfigKey, Owner)>, StoreError> {
        Ok(self.lock().state.objects.iter().map(|(key, held)| (key.clone(), held.owner.clone())).collect())
    }

    async fn owners_of(&self, keys: &[ConfigKey]) -> Result<Vec<Option<Owner>>, StoreError> {
        Ok(self.lock().state.owners_of(keys))
    }

    async fn get(&self, key: &ConfigKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.lock().stored.get(key).cloned())
    }

    async fn check(&self, writes: Vec<ConfigWrite>) -> Result<(), CommitError> {
        self.lock().state.decide(CreationTimestamp::default(), "", writes).map(drop)
    }

    async fn commit_by(&self, author: &str, writes: Vec<ConfigWrite>) -> Result<u64, CommitError> {
        let mut inner = self.lock();
        let now = CreationTimestamp::from(SystemTime::now());
        if let Some(decision) = inner.state.decide(now, author, writes)? {
            inner.state.apply(&decision);
            for event in &decision.commit.events {
                match event {
                    ConfigEvent::Put(stored) => inner.stored.insert(stored.key.clone(), stored.clone()),
                    ConfigEvent::Delete(key) => inner.stored.remove(key),
                };
            }
            inner.history.push_back(decision.commit);
            if inner.history.len() as u64 > HISTORY_MAX {
                inner.history.pop_front();
            }
            self.latest.send_replace(inner.state.revision);
        }
        Ok(inner.state.revision)
    }

    async fn give_back_memory(&self) {}

    async fn commits_after(&self, revision: u64) -> Result<Vec<Commit>, StoreError> {
        let inner = self.lock();
        let forgotten = inner.state.revision - inner.history.len() as u64;
        if revision < forgotten {
            return Err(StoreError::Compacted(forgotten));
        }
        Ok(inner.history.iter().filter(|commit| commit.revision > revision).cloned().collect())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn writable(&self) -> watch::Receiver<Writable> {
        self.writable.subscribe()
    }
}
