//! Values that branches of a mesh share until one of them is written.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value whose clones share it. The first write through a clone copies the value, if somebody else still holds it. A write of a
/// value that nobody else holds costs nothing more than that of a plain one.
#[derive(Default, Clone)]
pub(crate) struct CopyOnWrite<T>(Arc<T>);

impl<T> CopyOnWrite<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: fmt::Debug> fmt::Debug for CopyOnWrite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_by_nobody_else() {
        let mut one = CopyOnWrite::new(vec![1]);
        let at = one.as_ptr();
        one.push(2);
        one.pop();
        assert_eq!(one.as_ptr(), at, "nobody else holds it");
        let other = one.clone();
        one.push(3);
        assert_eq!((other.as_slice(), one.as_slice()), ([1].as_slice(), [1, 3].as_slice()));
    }
}
