//! Who makes a call of the admin API.

use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;
use tonic::Request;

/// Who makes a call, for people: `uid 0` or `token write from 127.0.0.1:4711`.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<str>);

/// The process at the other end of a Unix socket.
#[derive(Debug, Clone)]
pub(super) struct UnixPeer {
    /// The number of its user. `None` means that the operating system does not say it.
    pub(super) uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for UnixPeer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

impl Caller {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns who makes a call, which the door of the API has found out and left with the request. It is empty for a call
    /// that came through no door, as in tests that call the service directly.
    pub(super) fn of<T>(request: &Request<T>) -> Arc<str> {
        request.extensions().get::<Self>().map(|caller| caller.0.clone()).unwrap_or_default()
    }
}
