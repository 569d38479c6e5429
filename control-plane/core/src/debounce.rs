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

/// How urgent a commit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Urgency {
    /// It is about endpoints and nothing else, so that it need not wait for other config.
    pub only_endpoints: bool,
    /// Some endpoint goes: requests sent there fail until every sidecar knows.
    pub removes_endpoints: bool,
}

/// Changes that wait, and the first revision among them.
#[derive(Debug, Default)]
struct Lane {
    batch: ConfigBatch,
    first_revision: u64,
    is_urgent: bool,
}

impl Lane {
    fn record(&mut self, now: Instant, batch: ConfigBatch, is_urgent: bool) {
        if self.batch.changes.is_empty() {
            self.first_revision = batch.revision;
        }
        self.batch.changes.extend(batch.changes);
        self.batch.revision = self.batch.revision.max(batch.revision);
        self.batch.since.get_or_insert(batch.since.unwrap_or(now));
        self.is_urgent |= is_urgent;
    }
}

/// Holds changes back while they come in a burst; the first of one is not held back, and neither is the
/// removal of an endpoint, with all that waits about endpoints.
#[derive(Debug)]
pub struct Debounce {
    least: Duration,
    most: Duration,
    /// Between the last batch and the next: longer while a burst goes on.
    window: Duration,
    config: Lane,
    endpoints: Lane,
    last_taken: Option<Instant>,
    recorded: u64,
}

impl Debounce {
    /// Between two batches of a burst there is at first `least`, and twice as long each time, up to `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        let (config, endpoints) = (Lane::default(), Lane::default());
        Self { least, most: most.max(least), window: least, config, endpoints, last_taken: None, recorded: 0 }
    }

    /// Adds the changes of one store transaction.
    pub fn record(&mut self, now: Instant, batch: ConfigBatch, urgency: Urgency) {
        self.recorded = self.recorded.max(batch.revision);
        // An object that waits with other config stays with it, so that its writes keep their order.
        let is_apart =
            urgency.only_endpoints && !batch.changes.keys().any(|key| self.config.batch.changes.contains_key(key));
        let lane = if is_apart { &mut self.endpoints } else { &mut self.config };
        lane.record(now, batch, urgency.removes_endpoints);
    }

    /// When some of the pending changes are due. None: nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        [&self.config, &self.endpoints].into_iter().filter_map(|lane| self.lane_due(lane)).min()
    }

    fn lane_due(&self, lane: &Lane) -> Option<Instant> {
        let since = lane.batch.since?;
        let held_back = self.last_taken.filter(|_| !lane.is_urgent);
        Some(held_back.map_or(since, |taken| since.max(taken + self.window)))
    }

    /// The pending changes that are due: all, or those about endpoints.
    pub fn take_due(&mut self, now: Instant) -> Option<ConfigBatch> {
        if self.due()? > now {
            return None;
        }
        let config_due = self.lane_due(&self.config).is_some_and(|due| due <= now);
        let endpoints = std::mem::take(&mut self.endpoints);
        if !config_due && endpoints.is_urgent {
            return Some(endpoints.batch);
        }
        let mut config = std::mem::take(&mut self.config);
        let first = [endpoints.batch.since, config.batch.since].into_iter().flatten().min();
        let goes_on = self.last_taken.zip(first).is_some_and(|(taken, first)| first < taken + self.window);
        self.window = if goes_on { (self.window * 2).min(self.most) } else { self.least };
        self.last_taken = Some(now);
        // What waits with other config is later than the same object in the other lane.
        let mut batch = endpoints.batch;
        batch.changes.append(&mut config.batch.changes);
        batch.revision = batch.revision.max(config.batch.revision);
        batch.since = first;
        Some(batch)
    }

    /// The revision up to which everything that was recorded has been taken.
    pub fn taken(&self) -> u64 {
        let pending = [&self.config, &self.endpoints].into_iter().filter(|lane| !lane.batch.changes.is_empty());
        pending.map(|lane| lane.first_revision - 1).min().unwrap_or(self.recorded)
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(10);
    const CONFIG: Urgency = Urgency { only_endpoints: false, removes_endpoints: false };
    const ADDS: Urgency = Urgency { only_endpoints: true, removes_endpoints: false };
    const REMOVES: Urgency = Urgency { only_endpoints: true, removes_endpoints: true };

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
        debounce.record(start, delete(Kind::Namespace, "a", 1), CONFIG);
        assert_eq!(debounce.take_due(start).unwrap().revision, 1);

        let soon = start + Duration::from_millis(1);
        for (name, revision) in [("a", 2), ("b", 3), ("a", 4)] {
            debounce.record(soon, delete(Kind::Namespace, name, revision), CONFIG);
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
            debounce.record(now, delete(Kind::Namespace, "a", revision), CONFIG);
            let due = debounce.due().unwrap();
            windows.push((due - now).as_millis());
            now = due;
            debounce.take_due(now).unwrap();
        }
        assert_eq!(windows, [0, 10, 20, 30, 30]);
        now += WINDOW * 4;
        debounce.record(now, delete(Kind::Namespace, "a", 9), CONFIG);
        assert_eq!(debounce.due(), Some(now));
    }

    #[test]
    fn a_removed_endpoint_does_not_wait_for_config() {
        let (start, mut debounce) = start();
        debounce.record(start, delete(Kind::Namespace, "a", 1), CONFIG);
        debounce.take_due(start).unwrap();
        debounce.record(start, delete(Kind::VirtualService, "r", 2), CONFIG);
        debounce.record(start, delete(Kind::EndpointSlice, "e", 3), ADDS);
        assert!(debounce.take_due(start).is_none());
        debounce.record(start, delete(Kind::EndpointSlice, "f", 4), REMOVES);
        let batch = debounce.take_due(start).unwrap();
        assert_eq!((batch.changes.len(), batch.revision), (2, 4));
        assert_eq!(debounce.taken(), 1, "the rule is not in force yet");
        let batch = debounce.take_due(start + WINDOW).unwrap();
        assert_eq!((batch.changes.len(), batch.revision, debounce.taken()), (1, 2, 4));
    }

    #[test]
    fn what_came_with_other_config_goes_with_it_at_once_if_it_removes_an_endpoint() {
        let (start, mut debounce) = start();
        debounce.record(start, delete(Kind::Namespace, "a", 1), CONFIG);
        debounce.take_due(start).unwrap();
        let mut mixed = delete(Kind::EndpointSlice, "e", 2);
        mixed.changes.append(&mut delete(Kind::Service, "s", 2).changes);
        debounce.record(start, mixed, CONFIG);
        assert!(debounce.take_due(start).is_none());
        debounce.record(start, delete(Kind::EndpointSlice, "e", 3), REMOVES);
        assert_eq!(debounce.take_due(start).unwrap().changes.len(), 2, "the same object keeps its order");
    }
}
