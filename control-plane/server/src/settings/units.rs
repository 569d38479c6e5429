//! Values of settings in the units in which they are written.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

/// A time that is written in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

/// A time that is written in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milliseconds(pub Duration);

/// A number of bytes that is written in megabytes of 1,048,576 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Megabytes(pub usize);

/// The exponent of 2 that gives the bytes of a megabyte.
const MEGABYTE_SHIFT: u32 = 20;

impl Seconds {
    pub(super) const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Milliseconds {
    pub(super) const fn new(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl Megabytes {
    pub(super) const fn new(megabytes: usize) -> Self {
        Self(megabytes.saturating_mul(1 << MEGABYTE_SHIFT))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs())
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_millis())
    }
}

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 >> MEGABYTE_SHIFT)
    }
}

impl FromStr for Seconds {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self::new)
    }
}

impl FromStr for Milliseconds {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self::new)
    }
}

impl FromStr for Megabytes {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_print_and_parse_as_they_are_written() {
        assert_eq!(
            ("30".parse::<Seconds>().unwrap().0, Seconds::new(30).to_string()),
            (Duration::from_secs(30), "30".into())
        );
        assert_eq!("20".parse::<Milliseconds>().unwrap().to_string(), "20");
        assert_eq!(("16".parse::<Megabytes>().unwrap().0, Megabytes::new(16).to_string()), (16 << 20, "16".into()));
        assert!("1.5".parse::<Seconds>().is_err() && "-1".parse::<Megabytes>().is_err());
        assert_eq!(Megabytes::new(usize::MAX).0, usize::MAX);
    }
}
