//! Requests and responses as bytes: requests are read without a copy, and responses share the bytes of resources.

mod delta_request;
mod fields;
mod response;
mod sotw_request;

pub use delta_request::DeltaRequest;
pub use fields::MalformedRequest;
pub use response::{Frames, Response};
pub(super) use response::{Missing, SotwResponse, too_large};
pub use sotw_request::SotwRequest;
