//! Istio's traffic kinds, `networking.istio.io`. Only fields that Rutter acts on are here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::duration;
use crate::labels::Labels;
use crate::names::Hostname;

/// How requests to a host are routed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// The hosts it is about; short names are in its own namespace.
    pub hosts: Vec<Hostname>,
    /// Only `mesh` (the default) is acted on.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The first that matches is taken.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// Namespaces that see it: `.`, `*`, or names. Empty: every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// One rule of a [`VirtualService`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Any of them must match. Empty: everything matches.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where to, by weight.
    pub route: Vec<HttpRouteDestination>,
    /// The whole exchange. None: no limit. Zero: no limit.
    #[serde(default, deserialize_with = "duration::optional")]
    pub timeout: Option<Duration>,
}

/// All of it must match.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The path. None: any.
    #[serde(default)]
    pub uri: Option<StringMatch>,
    /// By lower-case name.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderMatch>,
}

/// A text to match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
}

/// A header to match: one of `exact` and `prefix`, or neither: it must be there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// The whole value.
    #[serde(default)]
    pub exact: Option<String>,
    /// Its beginning.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// One of the destinations of a rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// Which service.
    pub destination: Destination,
    /// Per cent of the requests; 0: none, unless it is the only destination.
    #[serde(default)]
    pub weight: u32,
}

/// A service, perhaps one of its ports, perhaps one of its subsets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// A short name is in the VirtualService's namespace.
    pub host: Hostname,
    /// A DestinationRule's subset.
    #[serde(default)]
    pub subset: Option<String>,
    /// None: the port that the request was for, or the service's only one.
    #[serde(default)]
    pub port: Option<PortSelector>,
}

/// A port by number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PortSelector {
    /// 1 to 65535.
    pub number: NonZeroU16,
}

/// How the endpoints of a host are used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// A short name is in the rule's namespace.
    pub host: Hostname,
    /// For all subsets.
    #[serde(default)]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the endpoints.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Namespaces that see it. Empty: every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// The endpoints that have certain labels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// Used once in a rule.
    pub name: String,
    /// All must be there. Empty: every endpoint.
    #[serde(default)]
    pub labels: Labels,
}

/// How connections to a host are made.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// None: least request.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// None: no limits.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// None: nobody is ejected.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
}

/// How an endpoint is picked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoadBalancer {
    /// The method.
    pub simple: SimpleLb,
}

/// Istio's `LoadBalancerSettings.SimpleLB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// Istio's choice: least request.
    Unspecified,
    /// In turn.
    RoundRobin,
    /// Of two at random the less busy.
    LeastRequest,
    /// The old name of least request.
    LeastConn,
    /// At random.
    Random,
}

/// Limits of connections.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ConnectionPool {
    /// For all protocols.
    #[serde(default)]
    pub tcp: TcpSettings,
}

/// Limits of TCP connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// Per sidecar and cluster. None: no limit.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// None: 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub connect_timeout: Option<Duration>,
}

/// When an endpoint is left out for a while.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// None: 5. 0: never.
    #[serde(default, rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Between sweeps. None: 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub interval: Option<Duration>,
    /// Times the number of ejections. None: 30 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub base_ejection_time: Option<Duration>,
    /// 0 to 100. None: 10.
    #[serde(default)]
    pub max_ejection_percent: Option<u32>,
}

/// What the sidecars of some workloads may see, and how their applications are reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// None: all workloads of the namespace (in the root namespace: of all namespaces).
    #[serde(default)]
    pub workload_selector: Option<WorkloadSelector>,
    /// Empty: everything that is exported.
    #[serde(default)]
    pub egress: Vec<EgressListener>,
    /// Empty: derived from the services of the workload.
    #[serde(default)]
    pub ingress: Vec<IngressListener>,
    /// None: what is not known passes through.
    #[serde(default)]
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// Workloads by label.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkloadSelector {
    /// All must be there.
    #[serde(default)]
    pub labels: Labels,
}

/// What may be seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EgressListener {
    /// `namespace/dnsName`; `.`: the own namespace, `*`: all, `~`: none.
    pub hosts: Vec<String>,
}

/// How one port of the application is reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressListener {
    /// Where the sidecar listens.
    pub port: SidecarPort,
    /// `127.0.0.1:PORT`, or `0.0.0.0:PORT` for the workload's own address. None: the port, at 127.0.0.1.
    #[serde(default)]
    pub default_endpoint: Option<String>,
}

/// A port of a [`Sidecar`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SidecarPort {
    /// 1 to 65535.
    pub number: NonZeroU16,
    /// HTTP, HTTP2, GRPC, HTTPS, TLS, TCP.
    pub protocol: String,
    /// For people.
    #[serde(default)]
    pub name: String,
}

/// What happens to traffic to unknown places.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OutboundTrafficPolicy {
    /// The choice.
    pub mode: OutboundMode,
}

/// Istio's `OutboundTrafficPolicy.Mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// It is dropped: HTTP is answered 502.
    RegistryOnly,
    /// It passes.
    AllowAny,
}

/// A service that Kubernetes does not know.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Full names; each is a service of its own.
    pub hosts: Vec<Hostname>,
    /// Virtual addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// What it serves.
    pub ports: Vec<ServiceEntryPort>,
    /// In the mesh or outside.
    #[serde(default)]
    pub location: Location,
    /// How endpoints are found.
    #[serde(default)]
    pub resolution: Resolution,
    /// Given by hand.
    #[serde(default)]
    pub endpoints: Vec<WorkloadEntry>,
    /// WorkloadEntry objects of its namespace, by label.
    #[serde(default)]
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see it. Empty: every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// A port of a [`ServiceEntry`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntryPort {
    /// The port that clients use.
    pub number: NonZeroU16,
    /// Used once in an entry.
    pub name: String,
    /// HTTP, HTTP2, GRPC, HTTPS, TLS, TCP; empty: found out from the bytes.
    #[serde(default)]
    pub protocol: String,
    /// The port at the endpoints. None: `number`.
    #[serde(default)]
    pub target_port: Option<NonZeroU16>,
}

/// Istio's `ServiceEntry.Location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside the mesh.
    #[default]
    MeshExternal,
    /// A part of it.
    MeshInternal,
}

/// Istio's `ServiceEntry.Resolution`; only `STATIC` and `DNS` are acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The original destination.
    #[default]
    None,
    /// The endpoints given.
    Static,
    /// The sidecar asks DNS.
    Dns,
    /// The sidecar asks DNS and uses one answer.
    DnsRoundRobin,
    /// The sidecar asks DNS for the host of the request.
    DynamicDns,
}

/// A workload outside Kubernetes, or an endpoint given by hand.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEntry {
    /// An IP address; in a ServiceEntry with DNS also a name.
    #[serde(default)]
    pub address: Arc<str>,
    /// By port name of the service. Where there is none, the service's target port.
    #[serde(default)]
    pub ports: BTreeMap<String, NonZeroU16>,
    /// What subsets and selectors look at.
    #[serde(default)]
    pub labels: Labels,
    /// `region/zone/sub-zone`
    #[serde(default)]
    pub locality: String,
    /// None: 1. Higher gets more.
    #[serde(default)]
    pub weight: Option<u32>,
}
