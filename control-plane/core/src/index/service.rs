//! Services, wherever they come from, in one form.

use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::{Location, Resolution, ServiceEntry};
use rutter_api::config::kubernetes;
use rutter_api::{Config, ConfigKey, Hostname, Kind, Labels, Spec};

/// A service: the host, and the object that defines it. Two objects may claim one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Its name.
    pub host: Hostname,
    /// A Service or a ServiceEntry.
    pub origin: ConfigKey,
}

/// A service as clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Which one.
    pub key: ServiceKey,
    /// By number.
    pub ports: Vec<ServicePort>,
    /// Virtual addresses. Empty: found by name only.
    pub addresses: Vec<IpAddr>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Revision that created its origin.
    pub created: u64,
    /// Whether sidecars ask DNS for the endpoints.
    pub dns: bool,
    /// Outside the mesh.
    pub external: bool,
    /// WorkloadEntry objects of its namespace with these labels are endpoints.
    pub selector: Option<Labels>,
}

/// A port of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// What clients use.
    pub number: u16,
    /// Its name; endpoints refer to it.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// At endpoints that do not say otherwise.
    pub target: u16,
}

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1
    Http,
    /// HTTP/2 in clear text.
    Http2,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// TLS, routed by SNI.
    Tls,
    /// Bytes.
    Tcp,
    /// Not told: found out from the bytes.
    Unknown,
}

impl Protocol {
    /// Whether routes apply.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// Whether the endpoints must be spoken to in HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    /// Istio's word for it, in any case; None: unknown.
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

/// Which namespaces see an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTo {
    /// Every one.
    All,
    /// These.
    Namespaces(Vec<Arc<str>>),
}

impl ExportTo {
    /// Reads `exportTo` of an object in `own`.
    pub fn new(names: &[String], own: &Arc<str>) -> Self {
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return Self::All;
        }
        let resolve = |name: &String| if name == "." { own.clone() } else { Arc::from(name.as_str()) };
        Self::Namespaces(names.iter().map(resolve).collect())
    }

    /// Of a Service, ServiceEntry, VirtualService or DestinationRule; all else is for everybody.
    pub fn of(config: &Config) -> Self {
        let own = &config.key.namespace;
        match &config.spec {
            Spec::Service(_) => {
                let words = config.annotations.get(EXPORT_TO).unwrap_or_default();
                let names: Vec<String> =
                    words.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
                Self::new(&names, own)
            }
            Spec::ServiceEntry(entry) => Self::new(&entry.export_to, own),
            Spec::VirtualService(rule) => Self::new(&rule.export_to, own),
            Spec::DestinationRule(rule) => Self::new(&rule.export_to, own),
            Spec::Namespace | Spec::EndpointSlice(_) | Spec::WorkloadEntry(_) | Spec::Sidecar(_) => Self::All,
        }
    }

    /// Whether `namespace` sees it.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.iter().any(|name| &**name == namespace),
        }
    }
}

/// The annotation by which a Kubernetes service says `exportTo`.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The services that an object defines.
pub(crate) fn services_of(config: &Config, domain: &str) -> Vec<Service> {
    match &config.spec {
        Spec::Service(service) => vec![from_kubernetes(config, service, domain)],
        Spec::ServiceEntry(entry) => entry.hosts.iter().map(|host| from_entry(config, entry, host)).collect(),
        Spec::Namespace
        | Spec::EndpointSlice(_)
        | Spec::WorkloadEntry(_)
        | Spec::VirtualService(_)
        | Spec::DestinationRule(_)
        | Spec::Sidecar(_) => Vec::new(),
    }
}

fn from_kubernetes(config: &Config, service: &kubernetes::Service, domain: &str) -> Service {
    let port = |port: &kubernetes::ServicePort| ServicePort {
        number: port.number,
        name: port.name.clone(),
        protocol: Protocol::from_word(&port.protocol),
        target: port.target,
    };
    let host = Hostname::kubernetes(&config.key.name, &config.key.namespace, domain);
    Service {
        key: ServiceKey { host, origin: config.key.clone() },
        ports: service.ports.iter().map(port).collect(),
        addresses: service.addresses.clone(),
        export_to: ExportTo::of(config),
        created: config.created,
        dns: false,
        external: false,
        selector: service.selector.clone(),
    }
}

fn from_entry(config: &Config, entry: &ServiceEntry, host: &Hostname) -> Service {
    let mut ports: Vec<ServicePort> = entry
        .ports
        .iter()
        .map(|port| ServicePort {
            number: port.number.get(),
            name: port.name.clone(),
            protocol: Protocol::from_word(&port.protocol),
            target: port.target_port.unwrap_or(port.number).get(),
        })
        .collect();
    ports.sort_by_key(|port| port.number);
    Service {
        key: ServiceKey { host: host.clone(), origin: config.key.clone() },
        ports,
        addresses: entry.addresses.clone(),
        export_to: ExportTo::of(config),
        created: config.created,
        dns: entry.resolution == Resolution::Dns,
        external: entry.location == Location::MeshExternal,
        selector: entry.workload_selector.as_ref().map(|selector| selector.labels.clone()),
    }
}

impl Service {
    /// The namespace of its origin.
    pub fn namespace(&self) -> &Arc<str> {
        &self.key.origin.namespace
    }

    /// Whether Kubernetes defines it.
    pub fn is_kubernetes(&self) -> bool {
        self.key.origin.kind == Kind::Service
    }

    /// The port of a number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::config;

    #[test]
    fn kubernetes_protocol_comes_from_app_protocol_then_name() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec:\n  clusterIP: 10.0.0.1\n  ports:\n  \
                    - {name: grpc-api, port: 1}\n  - {name: x, port: 2, appProtocol: http}\n  - {name: udp, port: 3, protocol: UDP}\n  \
                    - {name: z, port: 4, targetPort: 40}";
        let services = services_of(&config(text), "cluster.local");
        let ports: Vec<_> = services[0].ports.iter().map(|port| (port.number, port.protocol, port.target)).collect();
        assert_eq!(ports, [(1, Protocol::Grpc, 1), (2, Protocol::Http, 2), (4, Protocol::Unknown, 40)]);
        assert_eq!(services[0].key.host.as_str(), "a.shop.svc.cluster.local");
    }

    #[test]
    fn export_to_is_read_from_the_annotation() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, annotations: {networking.istio.io/exportTo: '., bank'}}\n\
                    spec: {ports: [{port: 1}]}";
        let service = services_of(&config(text), "cluster.local").remove(0);
        assert!(service.export_to.reaches("shop") && service.export_to.reaches("bank"));
        assert!(!service.export_to.reaches("other"));
    }
}
