//! How many streams may begin in a second.

use std::time::{Duration, Instant};

/// Lets so many begin in a second, and as many at once after a pause.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// The number that may begin now.
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), left: per_second.into(), at: now }
    }

    /// Returns how long the next one has to wait. `None` means that it may begin.
    pub(super) fn time_to_wait(&mut self, now: Instant) -> Option<Duration> {
        self.left = (self.left + (now - self.at).as_secs_f64() * self.per_second).min(self.per_second);
        self.at = now;
        (self.left < 1.0).then(|| Duration::from_secs_f64((1.0 - self.left) / self.per_second))
    }

    /// Takes in that one begins.
    pub(super) fn take(&mut self) {
        self.left -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_a_second_has_may_begin_at_once_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        for _ in 0..10 {
            assert_eq!(pace.time_to_wait(start), None);
            pace.take();
        }
        assert_eq!(pace.time_to_wait(start), Some(Duration::from_millis(100)));
        assert_eq!(pace.time_to_wait(start + Duration::from_millis(110)), None);
        pace.take();
        assert!(pace.time_to_wait(start + Duration::from_millis(110)).is_some());
        assert_eq!(pace.time_to_wait(start + Duration::from_secs(60)), None);
    }
}
