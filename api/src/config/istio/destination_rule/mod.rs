//! `DestinationRule`: how the endpoints of a host are divided into subsets, and how connections to them are made.

mod check;
mod locality;
mod policy;

use serde::Deserialize;

pub(crate) use check::check;
pub(crate) use locality::check as check_locality_setting;
pub use locality::{LocalityDistribution, LocalityFailover, LocalityLbSetting};
pub use policy::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, CookieAttribute, HashCookie, HttpSettings, LoadBalancer,
    Maglev, OutlierDetection, PolicyProxyProtocol, PortTrafficPolicy, ProxyProtocolVersion, RetryBudget, RingHash,
    SimpleLb, TcpKeepalive, TcpSettings, TrafficPolicy, Tunnel, TunnelProtocol, UpgradePolicy, Warmup,
};

use crate::labels::Labels;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &["**.outlierDetection.consecutiveErrors"];

/// How the endpoints of a host are used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// The host. A short name is that of a service in the object's own namespace; a wildcard means many hosts.
    pub host: Hostname,
    /// The policy for all endpoints and for all subsets.
    #[serde(default)]
    pub traffic_policy: Option<Box<TrafficPolicy>>,
    /// Named groups of the endpoints, to which routes can send.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// The namespaces whose clients see the object: `.` for its own, `*`, or names. Empty means every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Chooses the clients of the rule's own namespace to which it applies. Absent means all that see it.
    #[serde(default)]
    pub workload_selector: Option<RuleWorkloadSelector>,
}

/// Chooses workloads by their labels: Istio's `WorkloadSelector` of the group `type`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleWorkloadSelector {
    /// The labels, all of which a workload must have. Empty means every workload of the namespace.
    #[serde(default)]
    pub match_labels: Labels,
}

/// The endpoints that have certain labels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// The name by which routes refer to the subset. It is used once in a rule.
    pub name: String,
    /// The labels, all of which an endpoint must have. Empty means every endpoint.
    #[serde(default)]
    pub labels: Labels,
    /// The policy for the subset. Each part of it takes the place of the same part of the host's policy.
    #[serde(default)]
    pub traffic_policy: Option<Box<TrafficPolicy>>,
}
