//! What config objects are lowered to, whichever API they come from. Encoding, warnings and explanations read this
//! form and not the objects.
//!
//! - [`Service`]: a Kubernetes Service or one host of a ServiceEntry, in one form.
//! - [`Endpoint`]: a place where a service is reached, from an EndpointSlice, a ServiceEntry or a WorkloadEntry.
//! - [`Route`]: one rule of a VirtualService, with its destinations looked up. A destination that does not exist is a
//!   value, not an error, because what becomes of such requests is a decision of its own.
//! - [`ExportTo`]: the namespaces whose clients see an object.

mod credential;
mod delegate;
mod endpoint;
mod export_to;
mod gateway;
mod ingress;
mod locality;
mod mesh_config;
mod policy;
mod route;
mod service;
mod unknown_traffic;

pub use credential::{
    Credential, CredentialPart, FileCredential, client_authorities, client_certificate, credentials_of,
    rule_credentials, server_authorities, server_authorities_file, server_certificate_files, server_credentials,
    server_files,
};
pub(crate) use delegate::is_part;
pub use delegate::{DelegatedRule, delegate_rules, delegates_of, with_delegates};
pub use endpoint::Endpoint;
pub use export_to::{ExportTo, with_default_export};
pub use gateway::{
    GatewayAddress, GatewayServer, Place, bound_gateways, gateways_routing, hosts_at_gateway, is_for_mesh,
    passed_through, redirecting_hosts, servers_of,
};
pub use ingress::objects_of_ingress;
pub(crate) use locality::LOCALITY_LABELS;
pub use locality::{ClientLocality, LocalityNeeds, LocalityPlan, consecutive, rule_locality_needs};
pub use mesh_config::{ConnectionDefaults, MeshConfigDifference, MeshDefaults};
pub use policy::{Policy, shapes_routes};
pub use route::{
    ConnectionRoute, LookedUpDestination, RequestSource, RequestTarget, Route, RouteAction, RouteCluster, RouteMirror,
    routes_of, sources_of, tcp_routes_of, tls_routes_of,
};
pub use service::{Discovery, Protocol, Service, ServiceKey, ServicePort, services_of};
pub use unknown_traffic::{Capture, UnknownTraffic, detection_timeout};
