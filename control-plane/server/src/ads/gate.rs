//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::metrics::Metrics;

/// The least time between two lines of the log that say the same.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Counts connections, and refuses those that are too many.
#[derive(Debug)]
pub(crate) struct Gate {
    connections_max: usize,
    per_address_max: usize,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    refusals: Told,
    failures: Told,
}

/// A place for a connection. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.all -= 1;
        if let Some(count) = inner.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inner.by_address.remove(&self.address);
            }
        }
        self.gate.metrics.connections.dec();
    }
}

impl Gate {
    /// Returns a gate for so many connections, and so many from one address.
    pub(crate) fn new(connections_max: usize, per_address_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { connections_max, per_address_max, metrics, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a connection from an address. `None` means that there are too many already.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut inner = self.lock();
        let of_address = inner.by_address.get(&address).copied().unwrap_or_default();
        let limit = if inner.all >= self.connections_max {
            Some(format!("want at most {} connections", self.connections_max))
        } else if of_address >= self.per_address_max {
            Some(format!("want at most {} connections from one address", self.per_address_max))
        } else {
            None
        };
        if let Some(error) = limit {
            self.metrics.connections_refused.inc();
            if let Some(others) = inner.refusals.tell(Instant::now()) {
                warn!(error, %address, others, "a connection was refused");
            }
            return None;
        }
        inner.all += 1;
        *inner.by_address.entry(address).or_default() += 1;
        self.metrics.connections.inc();
        Some(Place { gate: self.clone(), address })
    }

    /// Returns how many more connections there may be.
    pub(crate) fn room(&self) -> usize {
        self.connections_max.saturating_sub(self.lock().all)
    }

    /// Tells that a connection could not be accepted, such as for too many open files.
    pub(crate) fn tell_failure(&self, error: &std::io::Error) {
        if let Some(others) = self.lock().failures.tell(Instant::now()) {
            warn!(error = %error, others, "a connection could not be accepted");
        }
    }

    /// Counts a connection that was closed because it did not say what it wants.
    pub(crate) fn count_silent(&self) {
        self.metrics.connections_silent.inc();
    }
}

impl Place {
    /// Returns the gate that the place is of.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// When something was told, and how often it was not since then.
#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    others: u64,
}

impl Told {
    /// Returns how often this was not told since the last time. `None` means that it was told only a moment ago.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < TELL_AGAIN) {
            self.others += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let metrics: Arc<Metrics> = Arc::default();
        let gate = Gate::new(3, 2, metrics.clone());
        let [a, b] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = gate.enter(a).unwrap();
        let _second = gate.enter(a).unwrap();
        assert!(gate.enter(a).is_none(), "two of one address");
        let _third = gate.enter(b).unwrap();
        assert!(gate.enter(b).is_none(), "three in all");
        assert_eq!((metrics.connections.get(), metrics.connections_refused.get()), (3, 2));
        drop(first);
        let _again = gate.enter(a).unwrap();
        assert_eq!(metrics.connections.get(), 3);
    }

    #[test]
    fn the_same_is_told_once_in_a_while_with_how_often_it_was_not() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert_eq!(told.tell(start), Some(0));
        assert_eq!((told.tell(start), told.tell(start + TELL_AGAIN / 2)), (None, None));
        assert_eq!(told.tell(start + TELL_AGAIN), Some(2));
    }
}
