//! How sidecars find the endpoints of a service.

use serde::Deserialize;

/// Istio's `ServiceEntry.Resolution`.
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

impl Resolution {
    /// Returns whether sidecars ask DNS for the endpoints.
    pub fn asks_dns(self) -> bool {
        match self {
            Self::Dns | Self::DnsRoundRobin => true,
            Self::None | Self::Static | Self::DynamicDns => false,
        }
    }
}
