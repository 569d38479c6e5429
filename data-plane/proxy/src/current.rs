//! The config in force, as connections see it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rutter_proxy_core::ProxyConfig;

/// The config in force. Every request reads it without a lock.
pub(crate) type Current = Arc<ArcSwap<ProxyConfig>>;

/// A listener by its name, and the config in which it is looked up for each request.
#[derive(Clone)]
pub(crate) struct ListenerHandle {
    pub(crate) name: String,
    pub(crate) current: Current,
}

impl ListenerHandle {
    /// Returns the config in force.
    pub(crate) fn config(&self) -> Arc<ProxyConfig> {
        self.current.load_full()
    }
}
