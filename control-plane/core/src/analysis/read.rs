//! What a check has looked at beside its object.

use std::sync::Arc;

use rutter_api::{ConfigKey, Hostname};

use super::gateway_rule::GatewayRule;

/// Something that a check has looked at. If it changes, the object has to be checked again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Read {
    /// An object, whether or not it exists.
    Object(ConfigKey),
    /// The definitions of a host.
    Host(Hostname),
    /// Which hosts there are.
    Hosts,
    /// The services of a namespace.
    HostsOf(Arc<str>),
    /// The services whose hosts are wildcards.
    Wildcards,
    /// The endpoints of the services of a host.
    Endpoints(Hostname),
    /// The VirtualServices that route a host, in sidecars or at gateways.
    Routes(Hostname),
    /// The VirtualServices that send to a host.
    SendsTo(Hostname),
    /// The DestinationRules about a host.
    Rules(Hostname),
    /// Whether routes lead to a subset of a host.
    Subset(Arc<(Hostname, String)>),
    /// The services with a port for TCP.
    TcpPort(u16),
    /// The workloads of a namespace.
    Workloads(Arc<str>),
    /// All workloads.
    AllWorkloads,
    /// Whether there is any Pod or client.
    AnyWorkload,
    /// The Sidecars of a namespace.
    Sidecars(Arc<str>),
    /// All Gateways.
    Gateways,
    /// The Gateways that show a certificate.
    Certificate(String),
    /// The VirtualServices with a rule at a gateway.
    GatewayRule(Arc<GatewayRule>),
    /// All Secrets.
    Secrets,
}

impl Read {
    /// Returns whether it is about VirtualServices or DestinationRules for a wildcard.
    pub(super) fn is_wildcard(&self) -> bool {
        matches!(self, Self::Routes(host) | Self::Rules(host) if host.is_wildcard())
    }

    /// Returns whether a change of something about a host, perhaps a wildcard, alters what was looked at.
    pub(super) fn is_about(&self, host: &Hostname) -> bool {
        match self {
            Self::Routes(read) | Self::Rules(read) => host.covers(read) || read.covers(host),
            Self::Object(_)
            | Self::Host(_)
            | Self::Hosts
            | Self::HostsOf(_)
            | Self::Wildcards
            | Self::Endpoints(_)
            | Self::SendsTo(_)
            | Self::Subset(_)
            | Self::TcpPort(_)
            | Self::Workloads(_)
            | Self::AllWorkloads
            | Self::AnyWorkload
            | Self::Sidecars(_)
            | Self::Gateways
            | Self::Certificate(_)
            | Self::GatewayRule(_)
            | Self::Secrets => false,
        }
    }
}
