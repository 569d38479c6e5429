//! Values that are encoded once for each set of inputs, and live as long as somebody holds them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::inputs::InputsKey;

/// An encoded value together with the inputs that it was made from. The inputs are held so that, while the value
/// lives, the addresses in its key belong to them alone.
#[derive(Debug)]
pub struct Encoded<I, T> {
    /// The inputs that the value was made from.
    pub inputs: I,
    /// What the inputs were encoded to.
    pub value: T,
}

/// Values by the key of their inputs. The cache itself keeps no value alive. Several threads may ask at once. Entries
/// whose value nobody holds any more are removed when their number has doubled.
#[derive(Debug)]
pub struct Cache<I, T> {
    entries: Arc<Mutex<Entries<I, T>>>,
    /// The number of values that were encoded through this handle.
    encoded: AtomicU64,
}

#[derive(Debug)]
struct Entries<I, T> {
    values: HashMap<InputsKey, Weak<Encoded<I, T>>>,
    /// The number of entries at which those without a value are removed.
    purge_at: usize,
}

/// The number of entries below which entries without a value are left where they are.
const PURGE_MIN: usize = 256;

impl<I, T> Default for Cache<I, T> {
    fn default() -> Self {
        let entries = Entries { values: HashMap::new(), purge_at: PURGE_MIN };
        Self { entries: Arc::new(Mutex::new(entries)), encoded: AtomicU64::new(0) }
    }
}

impl<I: Hash, T> Cache<I, T> {
    fn lock(&self) -> MutexGuard<'_, Entries<I, T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns another handle to the same values, which counts what is encoded through it from nothing.
    pub(crate) fn branch(&self) -> Self {
        Self { entries: self.entries.clone(), encoded: AtomicU64::new(0) }
    }

    /// Returns the value of some inputs, encoded by `encode` if nobody holds it. As a plain function, `encode` can see
    /// nothing but the inputs. If two threads encode the same inputs at once, both get the value of the one that came
    /// first.
    pub fn get_or_encode(&self, inputs: I, encode: fn(&I) -> T) -> Arc<Encoded<I, T>> {
        let key = InputsKey::of(&inputs);
        if let Some(value) = self.lock().get(key) {
            return value;
        }
        // The lock is not held meanwhile, so that other threads can encode theirs.
        let value = encode(&inputs);
        let encoded = Arc::new(Encoded { inputs, value });
        let mut entries = self.lock();
        if let Some(first) = entries.get(key) {
            return first;
        }
        entries.insert(key, &encoded);
        self.encoded.fetch_add(1, Ordering::Relaxed);
        encoded
    }

    /// Returns how many values were encoded and handed out.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }
}

impl<I, T> Entries<I, T> {
    fn get(&self, key: InputsKey) -> Option<Arc<Encoded<I, T>>> {
        self.values.get(&key).and_then(Weak::upgrade)
    }

    fn insert(&mut self, key: InputsKey, encoded: &Arc<Encoded<I, T>>) {
        self.values.insert(key, Arc::downgrade(encoded));
        if self.values.len() >= self.purge_at {
            self.values.retain(|_, value| value.strong_count() > 0);
            self.purge_at = (self.values.len() * 2).max(PURGE_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_value_is_encoded_once_and_a_dropped_one_again() {
        let cache: Cache<u32, u32> = Cache::default();
        let held = cache.get_or_encode(7, |inputs| inputs * 2);
        assert!(Arc::ptr_eq(&held, &cache.get_or_encode(7, |_| panic!("it is held"))));
        drop(held);
        assert_eq!(cache.get_or_encode(7, |inputs| inputs * 3).value, 21);
        assert_eq!(cache.encoded(), 2);
    }

    #[test]
    fn entries_without_a_value_do_not_pile_up() {
        let cache: Cache<usize, usize> = Cache::default();
        for number in 0..10 * PURGE_MIN {
            cache.get_or_encode(number, |inputs| *inputs);
        }
        assert!(cache.lock().values.len() <= PURGE_MIN);
    }
}
