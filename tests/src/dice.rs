//! Pseudo-random numbers, which are the same in every run.

/// A generator of the kind xorshift64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Returns a generator. Another seed gives other numbers.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.max(1))
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
