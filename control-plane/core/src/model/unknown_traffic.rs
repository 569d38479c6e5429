//! What becomes of captured traffic of which nothing is known: not its destination, or not its protocol.

use std::sync::Arc;
use std::time::Duration;

use rutter_api::ClusterName;
use rutter_api::config::istio::{Destination, OutboundMode, Sidecar};
use rutter_api::config::kubernetes::MeshConfig;

/// What becomes of traffic to unknown destinations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnknownTraffic {
    /// It goes on to where the application sent it.
    Passes,
    /// It is refused; requests are answered.
    IsRefused,
    /// It goes to this cluster: that of a proxy for egress.
    GoesTo(Arc<str>),
}

/// How captured traffic is treated whose protocol or destination is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capture {
    /// What becomes of traffic to unknown destinations.
    pub unknown: UnknownTraffic,
    /// How long the first bytes of a connection are awaited. Zero means for ever.
    pub detection_timeout: Duration,
}

impl From<UnknownTraffic> for Capture {
    fn from(unknown: UnknownTraffic) -> Self {
        Self { unknown, detection_timeout: Duration::ZERO }
    }
}

/// Returns how long the first bytes of a captured connection are awaited. Zero means for ever.
pub fn detection_timeout(mesh: Option<&MeshConfig>) -> Duration {
    mesh.and_then(|mesh| mesh.protocol_detection_timeout).unwrap_or_default()
}

impl UnknownTraffic {
    /// Returns what a Sidecar object says, or the mesh config. Traffic can pass only if it is captured: otherwise its original
    /// destination is not known.
    pub fn new(sidecar: Option<&Sidecar>, mesh: Option<&MeshConfig>, is_captured: bool) -> Self {
        let of_sidecar = sidecar.and_then(|spec| spec.outbound_traffic_policy.as_ref());
        let proxy = of_sidecar.and_then(|policy| policy.egress_proxy.as_deref()).and_then(cluster_of);
        if let Some(proxy) = proxy {
            return Self::GoesTo(proxy.to_string().into());
        }
        let of_mesh = mesh.and_then(|mesh| mesh.outbound_traffic_policy.as_ref()).map(|policy| policy.mode);
        match of_sidecar.map(|policy| policy.mode).or(of_mesh) {
            None | Some(OutboundMode::AllowAny) if is_captured => Self::Passes,
            None | Some(OutboundMode::AllowAny | OutboundMode::RegistryOnly) => Self::IsRefused,
        }
    }
}

/// Returns the cluster of a destination that is named in full, as a proxy for egress is.
fn cluster_of(destination: &Destination) -> Option<ClusterName> {
    let port = destination.port.as_ref()?.number.get();
    Some(ClusterName::outbound(port, &destination.host).with_subset(destination.subset.as_deref()))
}
