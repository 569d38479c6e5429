//! Responses that the proxy makes itself.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};

/// The body of a response, from an endpoint or from the proxy.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// Why a request is answered by the proxy, and with which status.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        text(self.status, format!("rutter-proxy: {}\n", self.reason))
    }
}

/// Returns a response with a text.
pub(crate) fn text(status: StatusCode, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
