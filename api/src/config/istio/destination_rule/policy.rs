//! How connections to a host are made: the parts of a DestinationRule's `trafficPolicy`.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

use super::locality::LocalityLbSetting;
use crate::config::istio::credential_name::CredentialName;
use crate::config::istio::virtual_service::PortSelector;
use crate::duration;

/// How connections to a host are made.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How an endpoint is chosen. Absent means least request.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections. Absent means no limits.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left out. Absent means never.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
    /// How connections are encrypted. Absent means not at all.
    #[serde(default)]
    pub tls: Option<ClientTls>,
    /// How much of the load may be retries. Absent means any share.
    #[serde(default)]
    pub retry_budget: Option<RetryBudget>,
    /// Whether endpoints are told the address of the client at the beginning of a connection. Absent means no.
    #[serde(default)]
    pub proxy_protocol: Option<PolicyProxyProtocol>,
    /// How connections that a VirtualService sends to the host go through it to somewhere else. Absent means that they end
    /// there.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
    /// Policies of single ports. Where there is one, its parts count, and those that it leaves out are default.
    #[serde(default)]
    pub port_level_settings: Vec<PortTrafficPolicy>,
}

/// How connections to one port of a host are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port of the service.
    pub port: PortSelector,
    /// How an endpoint is chosen. Absent means least request.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections. Absent means no limits.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left out. Absent means never.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
    /// How connections are encrypted. Absent means not at all.
    #[serde(default)]
    pub tls: Option<ClientTls>,
}

/// How an endpoint is chosen for a request: by a method, or by a hash of the request.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The method. Not beside `consistent_hash`.
    #[serde(default)]
    pub simple: Option<SimpleLb>,
    /// What is hashed, so that equal requests go to the same endpoint as long as it is there.
    #[serde(default)]
    pub consistent_hash: Option<ConsistentHash>,
    /// How an endpoint that is new gets its share. Only with round robin and least request.
    #[serde(default)]
    pub warmup: Option<Warmup>,
    /// The former form of `warmup`: its duration.
    #[serde(default, deserialize_with = "duration::optional")]
    pub warmup_duration_secs: Option<Duration>,
    /// How requests are divided among localities. Absent means that with outlier detection the nearest healthy endpoints
    /// are used, and otherwise all alike.
    #[serde(default)]
    pub locality_lb_setting: Option<Box<LocalityLbSetting>>,
}

/// How the endpoints of a cluster are chosen: Istio's `LoadBalancerSettings.SimpleLB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// Istio chooses the method, which is least request.
    Unspecified,
    /// The endpoints are taken in turn.
    RoundRobin,
    /// The less busy of two endpoints that are chosen at random.
    LeastRequest,
    /// The former name of least request.
    LeastConn,
    /// An endpoint at random.
    Random,
    /// The address that the application connected to, whatever the endpoints are. Only for captured traffic.
    Passthrough,
}

/// What is hashed to choose an endpoint, and how. One of the four sources is given.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistentHash {
    /// A header.
    #[serde(default)]
    pub http_header_name: Option<String>,
    /// A cookie, which the proxy sets if it is missing.
    #[serde(default)]
    pub http_cookie: Option<HashCookie>,
    /// The address of the client.
    #[serde(default)]
    pub use_source_ip: Option<bool>,
    /// A parameter of the query.
    #[serde(default)]
    pub http_query_parameter_name: Option<String>,
    /// A ring, which is the default.
    #[serde(default)]
    pub ring_hash: Option<RingHash>,
    /// Maglev's table instead of a ring.
    #[serde(default)]
    pub maglev: Option<Maglev>,
    /// The former form of `ring_hash`: its smallest size.
    #[serde(default)]
    pub minimum_ring_size: Option<u64>,
}

/// A cookie that is hashed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Its path. Absent means none.
    #[serde(default)]
    pub path: Option<String>,
    /// How long a cookie is kept that the proxy sets. Zero means as long as the browser runs.
    #[serde(default, deserialize_with = "duration::optional")]
    pub ttl: Option<Duration>,
    /// Further attributes of a cookie that the proxy sets, in their order, such as `Secure`.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie, `NAME` or `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CookieAttribute {
    /// Its name.
    pub name: String,
    /// Its value. Empty means none.
    #[serde(default)]
    pub value: String,
}

/// A ring of endpoints.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// The smallest number of places in the ring. Absent means 1024.
    #[serde(default)]
    pub minimum_ring_size: Option<u64>,
}

/// A table of endpoints.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maglev {
    /// The number of places in the table, a prime. Absent means 65537.
    #[serde(default)]
    pub table_size: Option<u64>,
}

/// How an endpoint that is new gets its share little by little.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long it takes.
    #[serde(default, deserialize_with = "duration::optional")]
    pub duration: Option<Duration>,
    /// The share in per cent at the beginning. Absent means 10.
    #[serde(default)]
    pub minimum_percent: Option<f64>,
    /// How fast the share grows: 1, which is the default, evenly; more, faster at the beginning.
    #[serde(default)]
    pub aggression: Option<f64>,
}

/// Limits on connections, by protocol.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct ConnectionPool {
    /// Limits that hold for every protocol.
    #[serde(default)]
    pub tcp: TcpSettings,
    /// Limits on requests.
    #[serde(default)]
    pub http: HttpSettings,
}

/// Limits on TCP connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// The most connections of one sidecar to one cluster. Absent means no limit.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// The time that a connection may take to be established. Absent means 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub connect_timeout: Option<Duration>,
    /// When a silent connection is tried. Absent means never.
    #[serde(default)]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection may live. Absent means as long as it likes.
    #[serde(default, deserialize_with = "duration::optional")]
    pub max_connection_duration: Option<Duration>,
    /// How long a connection that is not HTTP may be silent. Absent means an hour, and zero for ever.
    #[serde(default, deserialize_with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
}

/// When a silent connection is tried.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct TcpKeepalive {
    /// After how many tries without an answer the connection is dead. Absent means the system's default.
    #[serde(default)]
    pub probes: Option<u32>,
    /// The time of silence before the first try. Absent means the system's default.
    #[serde(default, deserialize_with = "duration::optional")]
    pub time: Option<Duration>,
    /// The time between two tries. Absent means the system's default.
    #[serde(default, deserialize_with = "duration::optional")]
    pub interval: Option<Duration>,
}

/// Limits on requests, and the version of HTTP.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSettings {
    /// The most requests that wait for a connection. Absent means no limit.
    #[serde(default)]
    pub http1_max_pending_requests: Option<u32>,
    /// The most requests at once. Absent means no limit.
    #[serde(default)]
    pub http2_max_requests: Option<u32>,
    /// The most requests on one connection. Absent or zero means no limit.
    #[serde(default)]
    pub max_requests_per_connection: Option<u32>,
    /// The most retries at once. Absent means no limit.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// How long a connection without requests is kept. Absent means an hour, and zero for ever.
    #[serde(default, deserialize_with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/2 is spoken to endpoints whose port says HTTP.
    #[serde(default)]
    pub h2_upgrade_policy: UpgradePolicy,
    /// Whether endpoints are spoken to in the version that the client uses.
    #[serde(default)]
    pub use_client_protocol: bool,
    /// The most requests at once on one HTTP/2 connection. Absent means Envoy's default.
    #[serde(default)]
    pub max_concurrent_streams: Option<u32>,
}

/// Whether HTTP/2 is spoken to endpoints whose port says HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpgradePolicy {
    /// As the mesh says, which is no.
    #[default]
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// When an endpoint that fails is left out for a while.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// The number of 5xx answers in a row after which an endpoint is ejected. Absent means 5, and 0 means never.
    #[serde(default, rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// The number of 502, 503 and 504 in a row after which an endpoint is ejected. Absent or 0 means never.
    #[serde(default)]
    pub consecutive_gateway_errors: Option<u32>,
    /// Whether failures to reach an endpoint are counted apart from its answers.
    #[serde(default)]
    pub split_external_local_origin_errors: bool,
    /// The number of failures to reach an endpoint in a row after which it is ejected, if they are counted apart.
    /// Absent means 5.
    #[serde(default)]
    pub consecutive_local_origin_failures: Option<u32>,
    /// The time between two sweeps in which ejected endpoints may return. Absent means 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub interval: Option<Duration>,
    /// How long an endpoint is left out, times the number of its ejections. Absent means 30 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub base_ejection_time: Option<Duration>,
    /// The share of endpoints that may be left out at once, from 0 to 100 per cent. Absent means 10.
    #[serde(default)]
    pub max_ejection_percent: Option<u32>,
    /// The share of healthy endpoints in per cent below which all are used, healthy or not. Absent means 0.
    #[serde(default)]
    pub min_health_percent: Option<u32>,
}

/// How connections to endpoints are encrypted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Who shows a certificate.
    #[serde(default)]
    pub mode: ClientTlsMode,
    /// The Secret with the client's certificate and with those that vouch for endpoints, in the namespace of the pod. It
    /// counts at gateways and takes the place of files there; sidecars use the files.
    #[serde(default)]
    pub credential_name: Option<CredentialName>,
    /// The file with the client's certificate, at the proxy. For `MUTUAL`.
    #[serde(default)]
    pub client_certificate: Option<String>,
    /// The file with the key of the client's certificate, at the proxy. For `MUTUAL`.
    #[serde(default)]
    pub private_key: Option<String>,
    /// The file with the certificates that vouch for endpoints, at the proxy. Absent means those of the system.
    #[serde(default)]
    pub ca_certificates: Option<String>,
    /// The file with the certificates of endpoints that are no longer valid, at the proxy.
    #[serde(default)]
    pub ca_crl: Option<String>,
    /// The names one of which the certificate of an endpoint must have. Empty means the host that is asked for.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// The host that is named at the beginning of a connection (SNI). Absent means the host that is asked for.
    #[serde(default)]
    pub sni: Option<String>,
    /// Whether any certificate will do.
    #[serde(default)]
    pub insecure_skip_verify: Option<bool>,
}

/// Who shows a certificate: Istio's `ClientTLSSettings.TLSmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// Nobody: connections are not encrypted.
    #[default]
    Disable,
    /// The endpoint.
    Simple,
    /// The endpoint and the client, with the files that are named.
    Mutual,
    /// The endpoint and the client, with certificates of the mesh. It comes with identities.
    IstioMutual,
}

impl ClientTls {
    /// Returns whether connections are encrypted.
    pub fn encrypts(&self) -> bool {
        match self.mode {
            ClientTlsMode::Disable | ClientTlsMode::IstioMutual => false,
            ClientTlsMode::Simple | ClientTlsMode::Mutual => true,
        }
    }
}

/// How connections go through a host, which is an HTTP proxy, to somewhere else. It holds for those `tcp` and `tls` routes of
/// VirtualServices that have one destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tunnel {
    /// The method by which the proxy is asked for a connection.
    #[serde(default)]
    pub protocol: TunnelProtocol,
    /// Where the connections end: an IP address or a DNS name, which the proxy looks up.
    pub target_host: String,
    /// The port at which they end.
    pub target_port: NonZeroU16,
}

/// The method by which a proxy is asked for a connection: Istio's `TunnelSettings.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TunnelProtocol {
    /// CONNECT.
    #[default]
    Connect,
    /// POST.
    Post,
}

/// How much of the load may be retries.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// The share of the requests at once, in per cent. Absent means 20.
    #[serde(default)]
    pub percent: Option<f64>,
    /// The number of retries at once that is always free. Absent means 3.
    #[serde(default)]
    pub min_retry_concurrency: Option<u32>,
}

/// How endpoints are told the address of the client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PolicyProxyProtocol {
    /// The version of the PROXY protocol.
    #[serde(default)]
    pub version: ProxyProtocolVersion,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum ProxyProtocolVersion {
    /// The first, as text.
    #[default]
    V1,
    /// The second, as bytes.
    V2,
}
