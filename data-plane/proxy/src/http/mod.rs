//! HTTP/1.1: requests are taken from clients, routed, and forwarded to endpoints.

mod forward;
mod response;
mod serve;

pub(crate) use response::text;
pub(crate) use serve::serve;

#[cfg(test)]
mod tests;
