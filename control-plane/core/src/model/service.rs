//! Services, wherever they come from, in one form.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rutter_api::config::istio::{Location, Resolution, ServiceEntry};
use rutter_api::config::kubernetes::{EndpointUse, KubernetesService};
use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname, Kind, Labels, Spec};

use super::export_to::ExportTo;

/// Names a definition of a service: the host, and the object that defines it. Two objects may define one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The host by which clients call the service.
    pub host: Hostname,
    /// The object that defines the service: a Service or a ServiceEntry.
    pub origin: ConfigKey,
}

/// A service as clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Names the definition of the service.
    pub key: ServiceKey,
    /// The ports, in the order of their numbers.
    pub ports: Vec<ServicePort>,
    /// The virtual addresses. Empty means that the service is found by its name only.
    pub addresses: Vec<IpAddr>,
    /// The ranges of addresses of a service that is many machines.
    pub subnets: Vec<IpNet>,
    /// Whether the service is to be given an address, because it has none.
    pub wants_address: bool,
    /// The namespaces whose clients see the service.
    pub export_to: ExportTo,
    /// The age of the object that defines the service.
    pub created: CreationTimestamp,
    /// How sidecars find the endpoints.
    pub discovery: Discovery,
    /// Whether the service is outside the mesh.
    pub external: bool,
    /// The labels of the workloads, in the namespace of the origin, that are endpoints: WorkloadEntry objects and, for a
    /// ServiceEntry, Pods. `None` means that the service selects no workloads.
    pub selector: Option<Labels>,
    /// How clients use the endpoints, unless a DestinationRule says otherwise.
    pub endpoint_use: EndpointUse,
    /// The names one of which the certificate of an endpoint must have, if connections are encrypted and no rule names any.
    pub subject_alt_names: Vec<String>,
}

/// How sidecars find the endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// They are told them.
    Told,
    /// They are told them, or, if traffic comes to them with its original destination, go there: DNS gave the client the
    /// address of an endpoint (a headless service).
    OfHeadless,
    /// They ask DNS for this name, or for the addresses of the endpoints that are given as names, and use all answers.
    Dns(Arc<str>),
    /// They ask DNS for this name, or for that of the only endpoint, and use one answer.
    DnsRoundRobin(Arc<str>),
    /// They go to where the client goes. Without its original destination they ask DNS for this name, if it is none of
    /// several.
    Passthrough(Arc<str>),
    /// They ask DNS for the host that each request, or each TLS connection, names. Requests go to the port that they name with
    /// it, or else to that of their protocol; a cluster alone does that in Envoys from 1.34.
    DnsOfClient,
}

impl Discovery {
    /// Returns whether sidecars go to the original destination of traffic that has one.
    pub fn follows_client(&self) -> bool {
        match self {
            Self::OfHeadless | Self::Passthrough(_) => true,
            Self::Told | Self::Dns(_) | Self::DnsRoundRobin(_) | Self::DnsOfClient => false,
        }
    }

    /// Returns whether sidecars are told the endpoints, unless they go to the original destination.
    pub fn is_told(&self) -> bool {
        match self {
            Self::Told | Self::OfHeadless => true,
            Self::Dns(_) | Self::DnsRoundRobin(_) | Self::Passthrough(_) | Self::DnsOfClient => false,
        }
    }

    /// Returns whether sidecars that do not go to the original destination ask DNS for the name of the service.
    pub fn asks_dns(&self) -> bool {
        match self {
            Self::Dns(_) | Self::DnsRoundRobin(_) | Self::Passthrough(_) => true,
            Self::Told | Self::OfHeadless | Self::DnsOfClient => false,
        }
    }
}

/// The ports of protocols in which the server speaks first, so that nothing can be found out by waiting for the client:
/// SMTP, DNS, MySQL and MongoDB.
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

/// A port of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The number that clients use.
    pub number: u16,
    /// The name by which endpoints refer to the port.
    pub name: String,
    /// The protocol that is spoken at the port.
    pub protocol: Protocol,
    /// The port at endpoints that name no other.
    pub target: u16,
}

/// The protocol that is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1 in clear text.
    Http,
    /// HTTP/2 in clear text.
    Http2,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// TLS, which is routed by the name in SNI.
    Tls,
    /// Any bytes over TCP.
    Tcp,
    /// The protocol is not known: the sidecar finds out from the first bytes.
    Unknown,
}

impl Protocol {
    /// Returns whether requests are routed, because the protocol is known to be HTTP.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// Returns whether endpoints must be spoken to in HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    /// Returns the protocol of a port of a service. What is not known is found out from the first bytes, but at ports of
    /// protocols in which the server speaks first.
    pub(crate) fn of_port(word: &str, number: u16) -> Self {
        let protocol = Self::from_word(word);
        let is_server_first = protocol == Self::Unknown && SERVER_FIRST_PORTS.contains(&number);
        if is_server_first { Self::Tcp } else { protocol }
    }

    /// Reads Istio's word for a protocol, in any case. Other words mean that the protocol is not known.
    pub fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" | "grpc-web" => Self::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            "tcp" | "mongo" | "mysql" | "redis" => Self::Tcp,
            _ => Self::Unknown,
        }
    }
}

/// Returns the services that an object defines: one for a Service, one for each host of a ServiceEntry, none for
/// other kinds.
pub fn services_of(config: &Config, domain: &str) -> Vec<Service> {
    match &config.spec {
        Spec::Service(service) => vec![from_kubernetes(config, service, domain)],
        Spec::ServiceEntry(entry) => entry.distinct_hosts().map(|host| from_entry(config, entry, host)).collect(),
        Spec::Namespace
        | Spec::Pod(_)
        | Spec::EndpointSlice(_)
        | Spec::WorkloadGroup(_)
        | Spec::WorkloadEntry(_)
        | Spec::MeshConfig(_)
        | Spec::Secret(_)
        | Spec::Ingress(_)
        | Spec::Gateway(_)
        | Spec::VirtualService(_)
        | Spec::DestinationRule(_)
        | Spec::Sidecar(_) => Vec::new(),
    }
}

fn from_kubernetes(config: &Config, service: &KubernetesService, domain: &str) -> Service {
    let ports = service.ports.iter().map(|port| ServicePort {
        number: port.number,
        name: port.name.clone(),
        protocol: Protocol::of_port(&port.protocol, port.number),
        target: port.target,
    });
    let host = Hostname::kubernetes(&config.key.name, &config.key.namespace, domain);
    Service {
        key: ServiceKey { host, origin: config.key.clone() },
        ports: ports.collect(),
        addresses: service.addresses.clone(),
        subnets: Vec::new(),
        wants_address: false,
        export_to: ExportTo::of_config(config),
        created: config.created,
        discovery: match &service.external_name {
            Some(name) => Discovery::Dns((&**name).into()),
            None if service.is_headless => Discovery::OfHeadless,
            None => Discovery::Told,
        },
        external: false,
        selector: service.selector.clone(),
        endpoint_use: service.endpoint_use,
        subject_alt_names: Vec::new(),
    }
}

fn from_entry(config: &Config, entry: &ServiceEntry, host: &Hostname) -> Service {
    let ports = entry.ports.iter().map(|port| ServicePort {
        number: port.number.get(),
        name: port.name.clone(),
        protocol: Protocol::of_port(&port.protocol, port.number.get()),
        target: port.target_port.unwrap_or(port.number).get(),
    });
    let mut ports: Vec<ServicePort> = ports.collect();
    ports.sort_by_key(|port| port.number);
    let (single, subnets): (Vec<IpNet>, Vec<IpNet>) =
        entry.addresses.iter().partition(|net| net.prefix_len() == net.max_prefix_len());
    Service {
        key: ServiceKey { host: host.clone(), origin: config.key.clone() },
        ports,
        addresses: single.iter().map(IpNet::addr).collect(),
        subnets,
        wants_address: entry.addresses.is_empty() && may_be_given_address(config, entry, host),
        export_to: ExportTo::of_config(config),
        created: config.created,
        discovery: match entry.resolution {
            Resolution::Static => Discovery::Told,
            Resolution::Dns => Discovery::Dns(host.as_str().into()),
            Resolution::DynamicDns => Discovery::DnsOfClient,
            Resolution::DnsRoundRobin => Discovery::DnsRoundRobin(host.as_str().into()),
            Resolution::None => Discovery::Passthrough(host.as_str().into()),
        },
        external: entry.location == Location::MeshExternal,
        selector: entry.workload_selector.as_ref().map(|selector| selector.labels.clone()),
        endpoint_use: EndpointUse::default(),
        subject_alt_names: entry.subject_alt_names.clone(),
    }
}

/// The label by which a ServiceEntry says that it wants no address, in Istio as well.
const ALLOCATION_LABEL: &str = "networking.istio.io/enable-autoallocate-ip";

/// Returns whether a host may be given an address: one that clients could ask DNS for, and that is no more than a name.
fn may_be_given_address(config: &Config, entry: &ServiceEntry, host: &Hostname) -> bool {
    let has_endpoints = match entry.resolution {
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => true,
        Resolution::None | Resolution::DynamicDns => false,
    };
    has_endpoints && !host.is_wildcard() && config.labels.get(ALLOCATION_LABEL) != Some("false")
}

impl Service {
    /// Returns the ports for TCP.
    pub(crate) fn tcp_ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.number)
    }

    /// Returns the namespace of the object that defines the service.
    pub fn namespace(&self) -> &Arc<str> {
        &self.key.origin.namespace
    }

    /// Returns whether a Kubernetes Service defines the service.
    pub fn is_kubernetes(&self) -> bool {
        self.key.origin.kind == Kind::Service
    }

    /// Returns whether the service takes a workload with these labels as an endpoint. The Pods of a Kubernetes Service are
    /// in its EndpointSlices.
    pub fn selects(&self, workload: &ConfigKey, labels: &Labels) -> bool {
        let takes_kind = workload.kind == Kind::WorkloadEntry || !self.is_kubernetes();
        takes_kind && self.selector.as_ref().is_some_and(|selector| selector.selects(labels))
    }

    /// Returns the port with a number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Returns the port at which sidecars go to the host that a TLS connection to a port names. `None` means that they go to
    /// endpoints of the service.
    pub fn port_of_named_host(&self, number: u16) -> Option<u16> {
        let port = self.port(number).filter(|_| self.discovery == Discovery::DnsOfClient)?;
        Some(port.target)
    }

    /// Returns what decides between definitions of one host: of two, that with the lower age is the older, and of two
    /// of the same age the one with the lower key.
    pub fn age(&self) -> (CreationTimestamp, &ServiceKey) {
        (self.created, &self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    #[test]
    fn kubernetes_protocol_comes_from_app_protocol_then_name() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec:\n  clusterIP: 10.0.0.1\n  \
                    ports:\n  - {name: grpc-api, port: 1}\n  - {name: x, port: 2, appProtocol: http}\n  \
                    - {name: udp, port: 3, protocol: UDP}\n  - {name: z, port: 4, targetPort: 40}";
        let services = services_of(&config(text), "cluster.local");
        let ports: Vec<_> = services[0].ports.iter().map(|port| (port.number, port.protocol, port.target)).collect();
        assert_eq!(ports, [(1, Protocol::Grpc, 1), (2, Protocol::Http, 2), (4, Protocol::Unknown, 40)]);
        assert_eq!(services[0].key.host.as_str(), "a.shop.svc.cluster.local");
        assert!(services[0].is_kubernetes() && !services[0].external && services[0].port(2).is_some());
    }

    #[test]
    fn each_host_of_an_entry_is_a_service() {
        let text = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\n\
                    spec: {hosts: [a.x, b.x], addresses: [240.0.0.1], resolution: DNS, workloadSelector: {labels: {k: v}}, \
                    ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}, {number: 80, name: http, protocol: HTTP}]}";
        let services = services_of(&config(text), "cluster.local");
        let hosts: Vec<&str> = services.iter().map(|service| service.key.host.as_str()).collect();
        assert_eq!(hosts, ["a.x", "b.x"]);
        let service = &services[1];
        assert!(service.discovery == Discovery::Dns("b.x".into()) && service.external && !service.is_kubernetes());
        let ports: Vec<_> = service.ports.iter().map(|port| (port.number, port.protocol, port.target)).collect();
        assert_eq!(ports, [(80, Protocol::Http, 80), (443, Protocol::Tls, 8443)]);
        assert_eq!(service.selector.as_ref().unwrap().get("k"), Some("v"));
    }

    #[test]
    fn other_kinds_define_no_service() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}";
        assert!(services_of(&config(text), "cluster.local").is_empty());
    }

    #[test]
    fn only_known_http_is_routed() {
        let protocols = ["http", "HTTP2", "grpc-web", "https", "mongo", "", "spdy"].map(Protocol::from_word);
        use Protocol::{Grpc, Http, Http2, Tcp, Tls, Unknown};
        assert_eq!(protocols, [Http, Http2, Grpc, Tls, Tcp, Unknown, Unknown]);
        assert_eq!(protocols.map(Protocol::is_http), [true, true, true, false, false, false, false]);
        assert_eq!(protocols.map(Protocol::is_http2), [false, true, true, false, false, false, false]);
    }
}
