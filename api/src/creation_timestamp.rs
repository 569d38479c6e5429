//! The age of config objects.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// The instant at which an object was created, in whole microseconds: Kubernetes' `metadata.creationTimestamp`.
///
/// Where two objects claim the same thing, Istio gives it to the older one. Age is a property of the object, not of
/// the store that holds it, so that two replicas with the same objects choose alike; of two objects of the same
/// instant the one with the lower key is taken for the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CreationTimestamp(i64);

impl CreationTimestamp {
    /// Returns the instant so many microseconds after the beginning of 1970 (UTC).
    pub const fn from_microseconds(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// The age of an object that is not stored yet: it is younger than all that are.
    pub const YOUNGEST: Self = Self(i64::MAX);

    /// Returns the microseconds since the beginning of 1970 (UTC).
    pub const fn microseconds(self) -> i64 {
        self.0
    }

    /// Returns the instant a number of microseconds later. It stays at the last instant that there is. The store uses
    /// it to give later commits later instants when the clock stands still or goes back.
    #[must_use]
    pub const fn plus_microseconds(self, microseconds: i64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }
}

impl From<Timestamp> for CreationTimestamp {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_microsecond())
    }
}

impl From<std::time::SystemTime> for CreationTimestamp {
    /// A clock that stands before 1970 counts as the beginning of 1970.
    fn from(time: std::time::SystemTime) -> Self {
        let since_1970 = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    }
}

impl FromStr for CreationTimestamp {
    type Err = String;

    /// Reads RFC 3339, as Kubernetes writes it: `2026-11-24T16:18:11Z`.
    fn from_str(text: &str) -> Result<Self, String> {
        let timestamp: Result<Timestamp, _> = text.parse();
        timestamp.map(Self::from).map_err(|_| format!("want a time such as 2026-11-24T16:18:11Z, got {text:?}"))
    }
}

impl fmt::Display for CreationTimestamp {
    /// Prints RFC 3339 in UTC, with a fraction only where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = Timestamp::from_microsecond(self.0).and_then(|timestamp| timestamp.round(Unit::Microsecond));
        write!(f, "{}", timestamp.unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_parse() {
        for text in ["2026-11-24T16:18:11Z", "1970-01-01T00:00:00Z", "2026-11-24T16:18:11.000007Z"] {
            assert_eq!(text.parse::<CreationTimestamp>().unwrap().to_string(), text);
        }
        let in_another_zone: CreationTimestamp = "2026-11-24T18:18:11+02:00".parse().unwrap();
        assert_eq!(in_another_zone.to_string(), "2026-11-24T16:18:11Z");
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "7"] {
            assert!(text.parse::<CreationTimestamp>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn later_is_greater() {
        let early: CreationTimestamp = "2026-11-24T16:18:11Z".parse().unwrap();
        assert!(early < early.plus_microseconds(1));
        assert_eq!(CreationTimestamp::from_microseconds(i64::MAX).plus_microseconds(1).microseconds(), i64::MAX);
    }

    #[test]
    fn the_system_clock_is_taken_in_microseconds() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_500);
        assert_eq!(CreationTimestamp::from(time).microseconds(), 1);
    }
}
