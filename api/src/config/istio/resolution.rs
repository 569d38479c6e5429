//! How sidecars find the endpoints of a service.

use serde::Deserialize;

/// Istio's `ServiceEntry.Resolution`. Only `STATIC` and `DNS` are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Traffic goes on to the address that the client chose.
    #[default]
    None,
    /// The endpoints are those that are given.
    Static,
    /// Sidecars ask DNS for the endpoints.
    Dns,
    /// Sidecars ask DNS and use one answer.
    DnsRoundRobin,
    /// Sidecars ask DNS for the host that the request names.
    DynamicDns,
}
