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

/// Holds changes back for at most `window` after the previous batch; with no batch lately, not at all.
#[derive(Debug)]
pub struct Debounce {
    window: Duration,
    pending: ConfigBatch,
    last_taken: Option<Instant>,
}

impl Debounce {
    /// `window`: the shortest time between two batches.
    pub fn new(window: Duration) -> Self {
        Self { window, pending: ConfigBatch::default(), last_taken: None }
    }

    /// Adds the changes of one store transaction.
    pub fn record(&mut self, now: Instant, batch: ConfigBatch) {
        self.pending.changes.extend(batch.changes);
        self.pending.revision = self.pending.revision.max(batch.revision);
        self.pending.since.get_or_insert(batch.since.unwrap_or(now));
    }

    /// When the pending changes are due. None: nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let since = self.pending.since?;
        Some(self.last_taken.map_or(since, |taken| since.max(taken + self.window)))
    }

    /// The pending changes, if they are due.
    pub fn take_due(&mut self, now: Instant) -> Option<ConfigBatch> {
        if self.due()? > now {
            return None;
        }
        self.last_taken = Some(now);
        Some(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(10);

    fn delete(name: &str, revision: u64) -> ConfigBatch {
        let changes = [(ConfigKey::new(Kind::Namespace, "", name), ConfigChange::Delete)].into();
        ConfigBatch { changes, revision, since: None }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the test")]
    fn first_change_is_due_at_once_and_a_burst_is_gathered() {
        let start = Instant::now();
        let mut debounce = Debounce::new(WINDOW);
        assert!(debounce.due().is_none());
        debounce.record(start, delete("a", 1));
        assert_eq!(debounce.take_due(start).unwrap().revision, 1);

        let soon = start + Duration::from_millis(1);
        debounce.record(soon, delete("a", 2));
        debounce.record(soon, delete("b", 3));
        debounce.record(soon, delete("a", 4));
        assert!(debounce.take_due(soon).is_none());
        assert_eq!(debounce.due(), Some(start + WINDOW));
        let batch = debounce.take_due(start + WINDOW).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, batch.since), (2, 4, Some(soon)));
        assert!(debounce.due().is_none());
    }
}
