//! Values that are made once for each set of inputs, and live as long as somebody holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use twox_hash::XxHash3_64;

/// Keyed by the addresses of the inputs: a value must hold its inputs, so that while it lives their
/// addresses are theirs alone. Several threads may ask at once.
#[derive(Debug)]
pub struct Cache<T>(Mutex<Entries<T>>);

#[derive(Debug)]
struct Entries<T> {
    values: HashMap<Box<[usize]>, Weak<T>>,
    purge_at: usize,
    made: u64,
}

/// Below this many entries dead ones are let be.
const PURGE_MIN: usize = 256;

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries { values: HashMap::new(), purge_at: PURGE_MIN, made: 0 }))
    }
}

impl<T> Cache<T> {
    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value for `key`, made by `make` where nobody holds one.
    pub fn get_or_make(&self, key: &[usize], make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(value) = self.lock().get(key) {
            return value;
        }
        // Without the lock: others make theirs meanwhile.
        let value = Arc::new(make());
        let mut entries = self.lock();
        if let Some(first) = entries.get(key) {
            return first;
        }
        entries.insert(key, &value);
        value
    }

    /// How many values were made and kept.
    pub fn made(&self) -> u64 {
        self.lock().made
    }
}

impl<T> Entries<T> {
    fn get(&self, key: &[usize]) -> Option<Arc<T>> {
        self.values.get(key).and_then(Weak::upgrade)
    }

    fn insert(&mut self, key: &[usize], value: &Arc<T>) {
        self.made += 1;
        self.values.insert(key.into(), Arc::downgrade(value));
        if self.values.len() >= self.purge_at {
            self.values.retain(|_, value| value.strong_count() > 0);
            self.purge_at = (self.values.len() * 2).max(PURGE_MIN);
        }
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
        let cache = Cache::default();
        let held = cache.get_or_make(&[1, 2], || 7);
        assert!(Arc::ptr_eq(&held, &cache.get_or_make(&[1, 2], || 8)));
        drop(held);
        assert_eq!(*cache.get_or_make(&[1, 2], || 9), 9);
        assert_eq!(cache.made(), 2);
    }

    #[test]
    fn dead_entries_do_not_pile_up() {
        let cache = Cache::default();
        for number in 0..10 * PURGE_MIN {
            cache.get_or_make(&[number], || number);
        }
        assert!(cache.lock().values.len() <= PURGE_MIN);
    }
}
