//! The bounds of a stream.

use std::time::Duration;

/// How long routes wait for the clusters that they need, and clusters for the routes that no longer use them. A client
/// that never answers about one type is thus not kept from the others for ever.
pub(super) const ORDER_GRACE: Duration = Duration::from_secs(5);
/// The number of bytes after which no further resource is put into a response.
pub(super) const RESPONSE_BYTES: usize = 1 << 20;

/// Why a stream has to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The client asks for more than one sidecar can need.
    TooMany {
        /// What the client asks for.
        what: &'static str,
        /// The number that it may have on one stream.
        max: usize,
    },
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { what, max } => write!(f, "want at most {max} {what} on one stream, got more"),
        }
    }
}

impl std::error::Error for StreamError {}

/// What a client may ask for on one stream, and be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of names to which the client may subscribe, over all types.
    pub names_max: usize,
    /// The largest resource that the client can take, in bytes. Larger ones are not sent to it.
    pub resource_bytes_max: usize,
}

impl Limits {
    /// The usual bound on names: enough for a mesh of 20,000 services with subsets.
    pub const NAMES_MAX: usize = 100_000;

    pub(super) fn check_names(&self, names: usize) -> Result<(), StreamError> {
        if names > self.names_max {
            return Err(StreamError::TooMany { what: "names", max: self.names_max });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { names_max: Self::NAMES_MAX, resource_bytes_max: usize::MAX }
    }
}
