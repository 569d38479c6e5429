//! Ports of the own application.

use rutter_api::config::istio::ServerTls;

use crate::model::Protocol;

/// A port of the own application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPort {
    /// The port to which peers connect. The cluster is named after it.
    pub port: u16,
    /// The port of the service, which names of statistics and traces contain.
    pub service_port: u16,
    /// The protocol that is spoken, in connections that are decrypted if they are encrypted.
    pub protocol: Protocol,
    /// The host of the service, which names of traces contain. For a port from a Sidecar object it is the workload.
    pub host: String,
    /// How connections are decrypted. `None` means that they are taken as they are.
    pub tls: Option<Box<ServerTls>>,
}
