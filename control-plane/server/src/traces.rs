//! The times of the latest changes inside the control plane, from the store to the views of sidecars.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// The number of batches, and of commits, that are remembered.
const KEPT: usize = 256;

/// The times of the latest changes. All clones are one list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces {
    kept: Arc<Mutex<Kept>>,
    /// Where batches are sent as well. `None` means nowhere.
    export: Option<Export>,
}

/// Where batches are sent, without waiting: what finds no place is counted.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) batches: mpsc::Sender<BatchTrace>,
    pub(crate) dropped: Counter,
}

#[derive(Debug, Default)]
struct Kept {
    /// The latest commits, each with its revision and how long the store took.
    commits: VecDeque<(u64, Duration)>,
    batches: VecDeque<BatchTrace>,
}

/// The times of one batch, which may have several revisions.
#[derive(Debug, Clone)]
pub(crate) struct BatchTrace {
    /// The revision before the batch.
    pub(crate) after: u64,
    /// The revision of the batch, by which its pushes are known.
    pub(crate) revision: u64,
    /// The number of objects that it writes or deletes.
    pub(crate) objects: usize,
    /// The number of clients that see something else by it.
    pub(crate) affected: usize,
    /// How much was encoded, as `rutter_encodes` counts it.
    pub(crate) encodes: u64,
    /// When the engine learnt of its first change.
    pub(crate) learnt: Instant,
    /// How long it was held back, because changes came in a burst.
    pub(crate) held: Duration,
    /// How long the index took.
    pub(crate) index: Duration,
    /// How long the scopes took, with what they encode.
    pub(crate) scopes: Duration,
    /// How long it took to give the clients their views.
    pub(crate) publish: Duration,
}

impl Traces {
    /// Returns a list whose batches are also sent somewhere.
    pub(crate) fn exported(export: Option<Export>) -> Self {
        Self { export, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers how long the store took for a commit.
    pub(crate) fn committed(&self, revision: u64, took: Duration) {
        let commits = &mut self.lock().commits;
        if commits.len() == KEPT {
            commits.pop_front();
        }
        commits.push_back((revision, took));
    }

    /// Remembers a batch.
    pub(crate) fn record(&self, batch: BatchTrace) {
        if let Some(Export { batches, dropped }) = &self.export
            && batches.try_send(batch.clone()).is_err()
        {
            dropped.inc();
        }
        let batches = &mut self.lock().batches;
        if batches.len() == KEPT {
            batches.pop_front();
        }
        batches.push_back(batch);
    }

    /// Returns how long the store took for a revision, if it was written by this process lately.
    pub(crate) fn commit(&self, revision: u64) -> Option<Duration> {
        self.lock().commits.iter().find(|(other, _)| *other == revision).map(|(_, took)| *took)
    }

    /// Returns the batch that a revision is in, or the latest batch for the revision 0.
    pub(crate) fn batch(&self, revision: u64) -> Option<BatchTrace> {
        let kept = self.lock();
        if revision == 0 {
            return kept.batches.back().cloned();
        }
        kept.batches.iter().rev().find(|batch| batch.after < revision && revision <= batch.revision).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(after: u64, revision: u64) -> BatchTrace {
        BatchTrace {
            after,
            revision,
            objects: 1,
            affected: 0,
            encodes: 0,
            learnt: Instant::now(),
            held: Duration::ZERO,
            index: Duration::ZERO,
            scopes: Duration::ZERO,
            publish: Duration::ZERO,
        }
    }

    #[test]
    fn a_revision_is_found_in_its_batch_as_long_as_it_is_kept() {
        let traces = Traces::default();
        assert!(traces.batch(0).is_none());
        traces.record(batch(0, 3));
        traces.record(batch(3, 4));
        traces.committed(2, Duration::from_millis(5));
        let found = |revision: u64| traces.batch(revision).map(|batch| batch.revision);
        assert_eq!([0, 1, 3, 4, 5].map(found), [Some(4), Some(3), Some(3), Some(4), None]);
        assert_eq!((traces.commit(2), traces.commit(3)), (Some(Duration::from_millis(5)), None));
        (4..4 + KEPT as u64).for_each(|revision| traces.record(batch(revision, revision + 1)));
        assert_eq!(found(3), None);
    }
}
