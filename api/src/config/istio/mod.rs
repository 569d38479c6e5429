//! Istio's traffic kinds, of the group `networking.istio.io`: a module for each, with its fields, what of it is not
//! supported yet, and its checks. Only fields that Rutter acts on have a place here.

mod credential_name;
pub mod destination_rule;
pub mod gateway;
pub mod resolution;
pub(super) mod service_entry;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;
pub(super) mod workload_group;

pub use credential_name::CredentialName;
pub(super) use destination_rule::check_locality_setting;
pub use destination_rule::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, DestinationRule, HttpSettings, LoadBalancer,
    LocalityDistribution, LocalityFailover, LocalityLbSetting, OutlierDetection, PolicyProxyProtocol,
    PortTrafficPolicy, ProxyProtocolVersion, RetryBudget, SimpleLb, Subset, TcpKeepalive, TcpSettings, TrafficPolicy,
    Tunnel, TunnelProtocol, UpgradePolicy, Warmup,
};
pub use gateway::{
    CertificateFiles, Gateway, GatewayPort, Server, ServerHost, ServerProtocol, ServerTls, ServerTlsMode, TlsVersion,
};
pub use resolution::Resolution;
pub use service_entry::{Location, ServiceEntry, ServiceEntryPort};
pub use sidecar::{
    CaptureMode, EgressBind, EgressListener, IngressEndpoint, IngressListener, OutboundMode, OutboundTrafficPolicy,
    Sidecar, SidecarPort,
};
pub(super) use virtual_service::check_retries;
pub use virtual_service::{
    CorsPolicy, Delegate, Destination, HeaderOperations, Headers, HttpAbort, HttpDelay, HttpDirectResponse, HttpFault,
    HttpMatch, HttpMirror, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute, HttpRouteDestination, Percent,
    PortSelector, RedirectPort, RouteDestination, StringMatch, TcpMatch, TcpRoute, TlsMatch, TlsRoute,
    UnmatchedPreflights, VirtualService, grpc_status,
};
pub use workload_entry::{WorkloadEntry, WorkloadSelector};
pub use workload_group::{WorkloadGroup, WorkloadGroupMetadata, WorkloadTemplate};
