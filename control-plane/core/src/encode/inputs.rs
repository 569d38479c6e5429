//! The inputs of encoders, and the keys that are derived from them.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use twox_hash::{XxHash3_64, XxHash3_128};

/// A shared input that is told from others by its address. The index keeps a value under one address for as long as
/// it does not change, so comparing addresses costs nothing and never takes different values for equal.
///
/// An address says nothing about a value that no longer lives. Who remembers a key must therefore hold the inputs.
#[derive(Debug)]
pub struct Shared<T: ?Sized>(Arc<T>);

impl<T: ?Sized> Shared<T> {
    /// Returns the allocation itself.
    pub fn as_arc(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> From<&Arc<T>> for Shared<T> {
    fn from(value: &Arc<T>) -> Self {
        Self(value.clone())
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(Arc::as_ptr(&self.0).cast::<()>() as usize);
    }
}

/// The key of some inputs: a hash over all fields of the struct, which its derived `Hash` visits. Different inputs
/// have the same key with a probability of 1 in 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InputsKey(u128);

impl InputsKey {
    pub(super) fn of(inputs: &impl Hash) -> Self {
        let mut visited = VisitedBytes(Vec::with_capacity(VISITED_BYTES));
        inputs.hash(&mut visited);
        Self(XxHash3_128::oneshot(&visited.0))
    }
}

/// The number of bytes that `Hash` visits in nearly all inputs.
const VISITED_BYTES: usize = 128;

/// Gathers what `Hash` visits. The standard library's interface ends in 64 bits, which are too few for a key that is
/// never compared with the inputs themselves. What is gathered is hashed at once to 128 bits.
struct VisitedBytes(Vec<u8>);

impl Hasher for VisitedBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        XxHash3_64::oneshot(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Hash)]
    struct Inputs {
        text: &'static str,
        shared: Option<Shared<u32>>,
    }

    #[test]
    fn every_field_is_a_part_of_the_key() {
        let (a, b) = (Arc::new(7), Arc::new(7));
        let key = |text, shared: Option<&Arc<u32>>| InputsKey::of(&Inputs { text, shared: shared.map(Shared::from) });
        assert_eq!(key("x", Some(&a)), key("x", Some(&a.clone())));
        assert_ne!(key("x", Some(&a)), key("y", Some(&a)));
        assert_ne!(key("x", Some(&a)), key("x", None));
        assert_ne!(key("x", Some(&a)), key("x", Some(&b)), "equal values at two addresses are two inputs");
    }
}
