//! What differs between processes.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A random number of this process, so that proxies do not all begin with the same endpoint.
pub(crate) static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
