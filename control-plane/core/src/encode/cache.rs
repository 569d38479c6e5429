//! Values that are made once for each set of inputs, and live as long as somebody holds them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use twox_hash::XxHash3_64;

/// Keyed by the addresses of the inputs: a value must hold its inputs, so that while it lives their
/// addresses are theirs alone.
#[derive(Debug)]
pub struct Cache<T> {
    entries: HashMap<Box<[usize]>, Weak<T>>,
    purge_at: usize,
    /// How often a value was made.
    pub made: u64,
}

/// Below this many entries dead ones are let be.
const PURGE_MIN: usize = 256;

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), purge_at: PURGE_MIN, made: 0 }
    }
}

impl<T> Cache<T> {
    /// The value for `key`, made by `make` where nobody holds one.
    pub fn get_or_make(&mut self, key: &[usize], make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(value) = self.entries.get(key).and_then(Weak::upgrade) {
            return value;
        }
        let value = Arc::new(make());
        self.made += 1;
        self.entries.insert(key.into(), Arc::downgrade(&value));
        if self.entries.len() >= self.purge_at {
            self.entries.retain(|_, value| value.strong_count() > 0);
            self.purge_at = (self.entries.len() * 2).max(PURGE_MIN);
        }
        value
    }
}

/// The address of a shared input, for a key.
pub fn address<T: ?Sized>(input: &Arc<T>) -> usize {
    Arc::as_ptr(input).cast::<()>() as usize
}

/// A text as an input of a key.
pub fn hash(text: &str) -> usize {
    usize::try_from(XxHash3_64::oneshot(text.as_bytes())).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_value_is_made_once_and_a_dropped_one_again() {
        let mut cache = Cache::default();
        let held = cache.get_or_make(&[1, 2], || 7);
        assert!(Arc::ptr_eq(&held, &cache.get_or_make(&[1, 2], || 8)));
        drop(held);
        assert_eq!(*cache.get_or_make(&[1, 2], || 9), 9);
        assert_eq!(cache.made, 2);
    }

    #[test]
    fn dead_entries_do_not_pile_up() {
        let mut cache = Cache::default();
        for number in 0..10 * PURGE_MIN {
            cache.get_or_make(&[number], || number);
        }
        assert!(cache.entries.len() <= PURGE_MIN);
    }
}
