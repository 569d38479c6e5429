//! Numbers that look random, and are the same in every run.

/// xorshift64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Another seed is another run.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.max(1))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
