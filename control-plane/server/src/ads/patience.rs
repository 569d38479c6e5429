//! Notices a client that takes nothing of what it is sent.

use std::time::{Duration, Instant};

use super::connection::Switch;
use super::shared::{Accepted, Shared};

/// How long a client may take nothing of a response while the budget is exceeded.
const STUCK_AFTER_IN_NEED: Duration = Duration::from_secs(1);
/// The number of bytes that count as progress. Pings go out even on a connection whose client takes nothing.
const PROGRESS_BYTES: u64 = 1024;

/// How long a response has been waiting for its client. The transport takes a response before the client does, so the
/// bytes on the connection are counted. A client that is stuck would otherwise look like one that has everything.
pub(super) struct Patience {
    /// The number of bytes on the connection when nothing waited.
    base: u64,
    /// The length of the responses that were handed on since then, in bytes.
    handed_on: u64,
    /// What was seen the last time.
    seen: Option<Progress>,
}

/// What had gone out on a connection at some time, and since when it has been no more than that.
#[derive(Clone, Copy)]
struct Progress {
    /// The number of steps of [`PROGRESS_BYTES`].
    steps: u64,
    since: Instant,
}

impl Patience {
    pub(super) fn new(switch: &Switch) -> Self {
        Self { base: switch.written(), handed_on: 0, seen: None }
    }

    /// Takes in that a response was handed on.
    pub(super) fn hand_on(&mut self, bytes: usize, switch: &Switch) {
        if switch.written() >= self.base + self.handed_on {
            *self = Self::new(switch);
        }
        self.handed_on += bytes as u64;
    }

    /// Returns how much has gone out. `None` means that everything has.
    fn steps_while_waiting(&self, accepted: &Accepted) -> Option<u64> {
        let gone_out = accepted.switch.written() - self.base;
        (gone_out < self.handed_on || !accepted.out.is_empty()).then_some(gone_out / PROGRESS_BYTES)
    }

    /// Looks whether the client has taken anything, and returns when to look again. `None` means that nothing waits for
    /// the client.
    pub(super) fn look(&mut self, accepted: &Accepted, shared: &Shared) -> Option<Instant> {
        let now = Instant::now();
        let before = self.seen;
        self.seen = self.steps_while_waiting(accepted).map(|steps| {
            let same = before.filter(|progress| progress.steps == steps);
            Progress { steps, since: same.map_or(now, |progress| progress.since) }
        });
        // The budget may be exceeded meanwhile by others, so it is looked at often enough for that.
        self.seen.map(|_| now + STUCK_AFTER_IN_NEED.min(shared.limits.stuck_after_s.0))
    }

    /// Returns whether the client has taken nothing for too long, as far as was seen.
    pub(super) fn is_over(&self, shared: &Shared) -> bool {
        let limit = shared.limits.stuck_after_s.0;
        let limit = if shared.budget.is_exceeded() { limit.min(STUCK_AFTER_IN_NEED) } else { limit };
        self.seen.is_some_and(|progress| progress.since.elapsed() >= limit)
    }
}
