//! Gathers config changes: the first goes at once, a burst becomes few batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rutter_api::{Config, ConfigKey};

/// The latest state of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigChange {
    /// It is now this.
    Put(Arc<Config>),
    /// It is gone.
    Delete,
}

/// Changes to be applied together: the last write per key.
#[derive(Debug, Clone, Default)]
pub struct ConfigBatch {
    /// By key.
    pub changes: BTreeMap<ConfigKey, ConfigChange>,
    /// The store's revision after the last of them.
    pub revision: u64,
    /// When the first of them was recorded. None: at start.
    pub since: Option<Instant>,
}

/// Holds changes back while they come in a burst. The first of one is not held back, and neither is the
/// removal of an endpoint, for requests sent there fail until every sidecar knows; all that waits goes with it,
/// so that nothing overtakes what was committed before.
#[derive(Debug)]
pub struct Debounce {
    least: Duration,
    most: Duration,
    /// Between the last batch and the next: longer while a burst goes on.
    window: Duration,
    pending: ConfigBatch,
    first_revision: u64,
    is_urgent: bool,
    last_taken: Option<Instant>,
    recorded: u64,
}

impl Debounce {
    /// Between two batches of a burst there is at first `least`, and twice as long each time, up to `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        let (pending, most) = (ConfigBatch::default(), most.max(least));
        Self { least, most, window: least, pending, first_revision: 0, is_urgent: false, last_taken: None, recorded: 0 }
    }

    /// Adds the changes of one store transaction.
    pub fn record(&mut self, now: Instant, batch: ConfigBatch, is_urgent: bool) {
        self.recorded = self.recorded.max(batch.revision);
        if self.pending.changes.is_empty() {
            self.first_revision = batch.revision;
        }
        self.pending.changes.extend(batch.changes);
        self.pending.revision = self.pending.revision.max(batch.revision);
        self.pending.since.get_or_insert(batch.since.unwrap_or(now));
        self.is_urgent |= is_urgent;
    }

    /// When the pending changes are due. None: nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let since = self.pending.since?;
        let held_back = self.last_taken.filter(|_| !self.is_urgent);
        Some(held_back.map_or(since, |taken| since.max(taken + self.window)))
    }

    /// The pending changes, if they are due.
    pub fn take_due(&mut self, now: Instant) -> Option<ConfigBatch> {
        if self.due()? > now {
            return None;
        }
        let batch = std::mem::take(&mut self.pending);
        if !std::mem::take(&mut self.is_urgent) {
            let goes_on = self.last_taken.zip(batch.since).is_some_and(|(taken, first)| first < taken + self.window);
            self.window = if goes_on { (self.window * 2).min(self.most) } else { self.least };
            self.last_taken = Some(now);
        }
        Some(batch)
    }

    /// The revision up to which everything that was recorded has been taken.
    pub fn taken(&self) -> u64 {
        if self.pending.changes.is_empty() { self.recorded } else { self.first_revision - 1 }
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(10);

    fn delete(kind: Kind, name: &str, revision: u64) -> ConfigBatch {
        let changes = [(ConfigKey::new(kind, "", name), ConfigChange::Delete)].into();
        ConfigBatch { changes, revision, since: None }
    }

    #[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
    fn start() -> (Instant, Debounce) {
        (Instant::now(), Debounce::new(WINDOW, WINDOW * 3))
    }

    #[test]
    fn first_change_is_due_at_once_and_a_burst_is_gathered() {
        let (start, mut debounce) = start();
        assert!(debounce.due().is_none());
        debounce.record(start, delete(Kind::Namespace, "a", 1), false);
        assert_eq!(debounce.take_due(start).unwrap().revision, 1);

        let soon = start + Duration::from_millis(1);
        for (name, revision) in [("a", 2), ("b", 3), ("a", 4)] {
            debounce.record(soon, delete(Kind::Namespace, name, revision), false);
        }
        assert!(debounce.take_due(soon).is_none());
        assert_eq!((debounce.due(), debounce.taken()), (Some(start + WINDOW), 1));
        let batch = debounce.take_due(start + WINDOW).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, batch.since), (2, 4, Some(soon)));
        assert_eq!((debounce.due(), debounce.taken()), (None, 4));
    }

    #[test]
    fn a_burst_that_goes_on_is_gathered_in_longer_windows_and_a_pause_ends_it() {
        let (start, mut debounce) = start();
        let mut now = start;
        let mut windows = Vec::new();
        for revision in 1..6 {
            debounce.record(now, delete(Kind::Namespace, "a", revision), false);
            let due = debounce.due().unwrap();
            windows.push((due - now).as_millis());
            now = due;
            debounce.take_due(now).unwrap();
        }
        assert_eq!(windows, [0, 10, 20, 30, 30]);
        now += WINDOW * 4;
        debounce.record(now, delete(Kind::Namespace, "a", 9), false);
        assert_eq!(debounce.due(), Some(now));
    }

    #[test]
    fn a_removed_endpoint_does_not_wait_and_takes_along_what_was_committed_before() {
        let (start, mut debounce) = start();
        debounce.record(start, delete(Kind::Namespace, "a", 1), false);
        debounce.take_due(start).unwrap();
        debounce.record(start, delete(Kind::VirtualService, "r", 2), false);
        assert!(debounce.take_due(start).is_none());
        debounce.record(start, delete(Kind::EndpointSlice, "f", 3), true);
        let batch = debounce.take_due(start).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, debounce.taken()), (2, 3, 3));
        // What comes after it waits no longer than it would have.
        debounce.record(start, delete(Kind::VirtualService, "r", 4), false);
        assert_eq!((debounce.due(), debounce.taken()), (Some(start + WINDOW), 3));
    }
}
