//! Gathers config changes: the first change goes at once, and a burst becomes few batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rutter_api::{Config, ConfigKey};

/// The latest state of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigChange {
    /// The object is now this.
    Put(Arc<Config>),
    /// The object no longer exists.
    Delete,
}

/// Changes that are applied together. Of several writes of one object only the last is in it.
#[derive(Debug, Clone, Default)]
pub struct ConfigBatch {
    /// The change of each object.
    pub changes: BTreeMap<ConfigKey, ConfigChange>,
    /// The revision of the store after the last of the changes. It is 0 if none of them came from a store.
    pub revision: u64,
    /// The instant at which the first of the changes was recorded. `None` for the config that is loaded at start.
    pub since: Option<Instant>,
}

/// Whether changes may be held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// The changes may wait for others of a burst.
    Usual,
    /// The changes take an endpoint away. Requests sent there fail until every sidecar knows, so nothing may wait.
    RemovesEndpoints,
}

/// Holds changes back while they come in a burst.
///
/// The first change of a burst is not held back. Neither is one that removes an endpoint, and everything that waits
/// goes with it, so that no change overtakes what was committed before.
#[derive(Debug)]
pub struct Debounce {
    window_min: Duration,
    window_max: Duration,
    /// The time between the last batch and the next. It grows while a burst goes on.
    window: Duration,
    pending: ConfigBatch,
    /// The revision that everything before the pending changes has reached.
    taken_revision: u64,
    is_urgent: bool,
    last_taken: Option<Instant>,
    recorded_revision: u64,
}

impl Debounce {
    /// Returns a debounce that knows no change yet. Between two batches of a burst it waits `window_min` at first and
    /// twice as long each time, up to `window_max`. The window begins small again when nothing has changed for a whole
    /// window.
    pub fn new(window_min: Duration, window_max: Duration) -> Self {
        Self {
            window_min,
            window_max: window_max.max(window_min),
            window: window_min,
            pending: ConfigBatch::default(),
            taken_revision: 0,
            is_urgent: false,
            last_taken: None,
            recorded_revision: 0,
        }
    }

    /// Adds the changes of one transaction.
    pub fn record(&mut self, now: Instant, batch: ConfigBatch, urgency: Urgency) {
        if self.pending.changes.is_empty() {
            self.taken_revision = self.recorded_revision;
        }
        self.recorded_revision = self.recorded_revision.max(batch.revision);
        self.pending.changes.extend(batch.changes);
        self.pending.revision = self.pending.revision.max(batch.revision);
        self.pending.since.get_or_insert(batch.since.unwrap_or(now));
        self.is_urgent |= urgency == Urgency::RemovesEndpoints;
    }

    /// Returns the changes that wait.
    pub fn pending(&self) -> &ConfigBatch {
        &self.pending
    }

    /// Returns the instant at which the pending changes are to be applied, or `None` if there are none.
    pub fn due_at(&self) -> Option<Instant> {
        let since = self.pending.since?;
        let held_back = self.last_taken.filter(|_| !self.is_urgent);
        Some(held_back.map_or(since, |taken| since.max(taken + self.window)))
    }

    /// Returns the pending changes if it is time to apply them.
    pub fn take_due(&mut self, now: Instant) -> Option<ConfigBatch> {
        if self.due_at()? > now {
            return None;
        }
        let batch = std::mem::take(&mut self.pending);
        if !std::mem::take(&mut self.is_urgent) {
            let goes_on = self.last_taken.zip(batch.since).is_some_and(|(taken, first)| first < taken + self.window);
            self.window = if goes_on { (self.window * 2).min(self.window_max) } else { self.window_min };
            self.last_taken = Some(now);
        }
        Some(batch)
    }

    /// Returns the revision up to which everything that was recorded has been taken.
    pub fn taken_revision(&self) -> u64 {
        if self.pending.changes.is_empty() { self.recorded_revision } else { self.taken_revision }
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
        assert!(debounce.due_at().is_none());
        debounce.record(start, delete(Kind::Namespace, "a", 1), Urgency::Usual);
        assert_eq!(debounce.take_due(start).unwrap().revision, 1);

        let soon = start + Duration::from_millis(1);
        for (name, revision) in [("a", 2), ("b", 3), ("a", 4)] {
            debounce.record(soon, delete(Kind::Namespace, name, revision), Urgency::Usual);
        }
        assert!(debounce.take_due(soon).is_none());
        assert_eq!((debounce.due_at(), debounce.taken_revision()), (Some(start + WINDOW), 1));
        let batch = debounce.take_due(start + WINDOW).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, batch.since), (2, 4, Some(soon)));
        assert_eq!((debounce.due_at(), debounce.taken_revision()), (None, 4));
    }

    #[test]
    fn a_burst_that_goes_on_is_gathered_in_longer_windows_and_a_pause_ends_it() {
        let (start, mut debounce) = start();
        let mut now = start;
        let mut windows = Vec::new();
        for revision in 1..6 {
            debounce.record(now, delete(Kind::Namespace, "a", revision), Urgency::Usual);
            let due_at = debounce.due_at().unwrap();
            windows.push((due_at - now).as_millis());
            now = due_at;
            debounce.take_due(now).unwrap();
        }
        assert_eq!(windows, [0, 10, 20, 30, 30]);
        now += WINDOW * 4;
        debounce.record(now, delete(Kind::Namespace, "a", 9), Urgency::Usual);
        assert_eq!(debounce.due_at(), Some(now));
    }

    #[test]
    fn a_removed_endpoint_does_not_wait_and_takes_along_what_was_committed_before() {
        let (start, mut debounce) = start();
        debounce.record(start, delete(Kind::Namespace, "a", 1), Urgency::Usual);
        debounce.take_due(start).unwrap();
        debounce.record(start, delete(Kind::VirtualService, "r", 2), Urgency::Usual);
        assert!(debounce.take_due(start).is_none());
        debounce.record(start, delete(Kind::EndpointSlice, "f", 3), Urgency::RemovesEndpoints);
        let batch = debounce.take_due(start).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, debounce.taken_revision()), (2, 3, 3));
        // What comes after it waits no longer than it would have.
        debounce.record(start, delete(Kind::VirtualService, "r", 4), Urgency::Usual);
        assert_eq!((debounce.due_at(), debounce.taken_revision()), (Some(start + WINDOW), 3));
    }

    #[test]
    fn changes_of_a_source_without_revisions_are_taken_at_revision_0() {
        let (start, mut debounce) = start();
        debounce.record(start, delete(Kind::Namespace, "a", 0), Urgency::Usual);
        assert_eq!(debounce.taken_revision(), 0);
        assert_eq!(debounce.take_due(start).unwrap().revision, 0);
        // Beside a store: what the store has reached does not go back.
        debounce.record(start, delete(Kind::Namespace, "b", 7), Urgency::RemovesEndpoints);
        debounce.take_due(start).unwrap();
        debounce.record(start, delete(Kind::Namespace, "c", 0), Urgency::Usual);
        assert_eq!(debounce.taken_revision(), 7);
        assert_eq!(debounce.take_due(start + WINDOW).unwrap().revision, 0);
    }
}
