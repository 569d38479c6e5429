//! The resources of one sidecar: what leads to its own application, and the listeners that it must really bind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rutter_api::config::istio::{CaptureMode, ConnectionPool, IngressEndpoint, IngressListener, Sidecar};
use rutter_api::node::Interception;
use rutter_api::{Config, ResourceType, SidecarNode};

use crate::client::ClientClass;
use crate::encode::cluster::{ApplicationAddress, InboundClusterInputs, encode_inbound_cluster};
use crate::encode::listener::{BoundListener, InboundPort, encode_bound, encode_virtual_inbound};
use crate::encode::secret::encode_files;
use crate::encode::{Cache, Encoded, Shared};
use crate::index::MeshIndex;
use crate::model::{Endpoint, FileCredential, Protocol, Service, detection_timeout, server_files};
use crate::resource::EncodedResource;
use crate::snapshot::{ResourceWrite, Snapshot};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port of the own application, with everything that its cluster and listener depend on.
#[derive(Debug, Clone, Hash)]
struct ApplicationPort {
    port: InboundPort,
    /// The service that is reached by the port. `None` means that a Sidecar object names the port.
    service: Option<Shared<Service>>,
    /// Where the application listens.
    address: ApplicationAddress,
    /// The address at which the port is bound, if its traffic is not redirected.
    bound: Option<IpAddr>,
    /// The Sidecar object that limits connections to the port.
    limits: Option<Shared<Config>>,
}

/// Everything that the resources of a captured sidecar depend on. Sidecars of one service are alike in it, as far as
/// nothing names the sidecar itself, and then they share their resources. Whatever decides what leads to an application
/// must be a field here, because it is the key of the cache.
#[derive(Debug, Hash)]
pub(crate) struct CapturedInputs {
    ports: Vec<ApplicationPort>,
    /// How long the first bytes of a connection are awaited.
    detection_timeout: Duration,
}

/// The resources of a sidecar, and what has to be kept so that others can share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct SidecarResources {
    pub(crate) snapshot: Arc<Snapshot>,
    _shared: Option<Arc<Encoded<CapturedInputs, Arc<Snapshot>>>>,
}

/// Encodes the resources of sidecars, and counts how often.
#[derive(Debug, Default)]
pub(crate) struct SidecarEncoder {
    captured: Cache<CapturedInputs, Arc<Snapshot>>,
    bound: u64,
}

impl SidecarEncoder {
    /// Returns an encoder that finds what this one has encoded, and counts its own work from nothing.
    pub(crate) fn branch(&self) -> Self {
        Self { captured: self.captured.branch(), bound: 0 }
    }

    /// Returns the number of times that the resources of a sidecar were encoded.
    pub(crate) fn encoded(&self) -> u64 {
        self.captured.encoded() + self.bound
    }

    /// Returns the resources of a sidecar. `listeners` are those that it has to bind for what its application asks.
    pub(crate) fn encode(
        &mut self,
        index: &MeshIndex,
        node: &SidecarNode,
        sidecar: Option<&Arc<Config>>,
        listeners: impl FnOnce() -> BTreeMap<(Option<IpAddr>, u16), BoundListener>,
    ) -> SidecarResources {
        match ClientClass::new(node, index.settings()) {
            ClientClass::CapturedSidecar(_) => {
                let mesh = index.mesh();
                let inputs = CapturedInputs {
                    ports: limited_ports(index, node, sidecar),
                    detection_timeout: detection_timeout(mesh),
                };
                let encoded = self.captured.get_or_encode(inputs, encode_captured);
                SidecarResources { snapshot: encoded.value.clone(), _shared: Some(encoded) }
            }
            ClientClass::BoundSidecar(_) => {
                self.bound += 1;
                let ports = limited_ports(index, node, sidecar);
                let listeners = bound_listeners(node.ip(), listeners(), &ports);
                SidecarResources { snapshot: snapshot(&ports, listeners), _shared: None }
            }
            // What a gRPC server asks for is encoded when it does so: its name says where it listens.
            // A gateway has no application.
            ClientClass::Grpc | ClientClass::Gateway(_) => SidecarResources::default(),
        }
    }
}

fn encode_captured(inputs: &CapturedInputs) -> Arc<Snapshot> {
    let (bound, redirected): (Vec<&ApplicationPort>, Vec<&ApplicationPort>) =
        inputs.ports.iter().partition(|port| port.bound.is_some());
    let redirected: Vec<InboundPort> = redirected.into_iter().map(|port| port.port.clone()).collect();
    let mut listeners = vec![encode_virtual_inbound(&redirected, inputs.detection_timeout)];
    for port in bound {
        let listener = BoundListener::Inbound(port.port.clone());
        listeners.extend(port.bound.map(|ip| encode_bound(ip, port.port.port, &listener)));
    }
    snapshot(&inputs.ports, listeners)
}

/// Returns the snapshot of a sidecar's clusters and listeners. It belongs to no lineage, because sidecars change from
/// one to another. It is small, so that comparing it name by name costs little.
fn snapshot(ports: &[ApplicationPort], listeners: Vec<EncodedResource>) -> Arc<Snapshot> {
    let clusters = ports.iter().map(|port| {
        let cluster = encode_inbound_cluster(&InboundClusterInputs {
            port: port.port.port,
            protocol: port.port.protocol,
            service: port.service.as_deref(),
            address: &port.address,
            connection_pool: port.connection_pool(),
        });
        ResourceWrite::Put(ResourceType::Cluster, cluster)
    });
    let listeners = listeners.into_iter().map(|listener| ResourceWrite::Put(ResourceType::Listener, listener));
    let files: BTreeSet<FileCredential> =
        ports.iter().filter_map(|port| port.port.tls.as_deref()).flat_map(server_files).collect();
    let files = files.iter().map(|files| ResourceWrite::Put(ResourceType::Secret, encode_files(files)));
    Arc::new(Snapshot::default().apply(clusters.chain(listeners).chain(files).collect()).unwrap_or_default())
}

/// Inbound and outbound listeners share the address of the sidecar. Of two for one port the inbound one is bound,
/// because peers depend on it. Decision 4 says why the application cannot reach a service at such a port then.
fn bound_listeners(
    ip: IpAddr,
    listeners: BTreeMap<(Option<IpAddr>, u16), BoundListener>,
    ports: &[ApplicationPort],
) -> Vec<EncodedResource> {
    let mut placed: BTreeMap<(IpAddr, u16), BoundListener> = BTreeMap::new();
    placed.extend(listeners.into_iter().map(|((own, port), listener)| ((own.unwrap_or(ip), port), listener)));
    let inbound = ports.iter().map(|port| {
        let place = (port.bound.unwrap_or(ip), port.port.port);
        (place, BoundListener::Inbound(port.port.clone()))
    });
    placed.extend(inbound);
    placed.iter().map(|((ip, port), listener)| encode_bound(*ip, *port, listener)).collect()
}

fn application_ports(index: &MeshIndex, node: &SidecarNode, sidecar: Option<&Sidecar>) -> Vec<ApplicationPort> {
    match sidecar.map(|sidecar| sidecar.ingress.as_slice()) {
        None | Some([]) => ports_of_services(index, node),
        Some(ingress) => ingress.iter().map(|ingress| ingress_port(node, ingress)).collect(),
    }
}

/// Returns the ports of the application with the limits on connections to them.
fn limited_ports(index: &MeshIndex, node: &SidecarNode, config: Option<&Arc<Config>>) -> Vec<ApplicationPort> {
    let sidecar = config.and_then(|config| config.spec.as_sidecar());
    let mut ports = application_ports(index, node, sidecar);
    if let Some(config) = config.filter(|_| sidecar.is_some_and(has_limits)) {
        ports.iter_mut().for_each(|port| port.limits = Some(config.into()));
    }
    ports
}

fn has_limits(sidecar: &Sidecar) -> bool {
    sidecar.inbound_connection_pool.is_some() || sidecar.ingress.iter().any(|ingress| ingress.connection_pool.is_some())
}

impl ApplicationPort {
    /// Returns the limits on connections to the port: its own, or those of all ports.
    fn connection_pool(&self) -> Option<&ConnectionPool> {
        let sidecar = self.limits.as_ref()?.spec.as_sidecar()?;
        let own = sidecar.ingress.iter().find(|ingress| ingress.port.number == self.port.port);
        own.and_then(|ingress| ingress.connection_pool.as_ref()).or(sidecar.inbound_connection_pool.as_ref())
    }
}

/// Returns a port that a Sidecar object names. Without an endpoint the application listens at localhost.
fn ingress_port(node: &SidecarNode, ingress: &IngressListener) -> ApplicationPort {
    let port = ingress.port.number;
    let endpoint = ingress.default_endpoint.as_deref().and_then(IngressEndpoint::parse);
    let fixed = |ip: IpAddr, target: u16| ApplicationAddress::Fixed(SocketAddr::new(ip, target));
    let address = match endpoint {
        None => fixed(LOCALHOST, port),
        Some(IngressEndpoint::Loopback(target)) => fixed(LOCALHOST, target),
        Some(IngressEndpoint::WorkloadAddress(target)) => fixed(node.ip(), target),
        Some(IngressEndpoint::Socket(path)) => ApplicationAddress::Socket(path.into()),
    };
    let protocol = match &ingress.tls {
        // What is decrypted here goes on in plain text.
        Some(_) if ingress.port.protocol.eq_ignore_ascii_case("https") => Protocol::Http,
        Some(_) => Protocol::Tcp,
        None => Protocol::from_word(&ingress.port.protocol),
    };
    let tls = ingress.tls.clone();
    ApplicationPort {
        port: InboundPort { port, service_port: port, protocol, host: node.id(), tls },
        service: None,
        address,
        bound: match ingress.capture_mode {
            CaptureMode::Default | CaptureMode::Iptables => {
                ingress.bind.filter(|_| node.interception == Interception::None)
            }
            CaptureMode::None => Some(ingress.bind.unwrap_or_else(|| node.ip())),
        },
        limits: None,
    }
}

/// Returns the ports at which services reach a sidecar, in order. Of several services at one port the oldest names it.
/// Only services of the sidecar's own namespace count, as their selectors reach no further.
fn ports_of_services(index: &MeshIndex, node: &SidecarNode) -> Vec<ApplicationPort> {
    let is_captured = ClientClass::new(node, index.settings()).is_captured();
    let mut services: Vec<&Arc<Service>> = node.addresses.iter().flat_map(|ip| index.services_at(ip)).collect();
    services.retain(|service| *service.namespace() == node.namespace);
    services.sort_by_key(|service| service.age());
    let mut ports: BTreeMap<u16, ApplicationPort> = BTreeMap::new();
    for service in services {
        let is_here = |endpoint: &&Endpoint| endpoint.ip().is_some_and(|ip| node.addresses.contains(&ip));
        for endpoint in index.endpoints(&service.key).iter().filter(is_here) {
            for port in &service.ports {
                let Some(target) = endpoint.target(port.number) else { continue };
                ports.entry(target).or_insert_with(|| ApplicationPort {
                    port: InboundPort {
                        port: target,
                        service_port: port.number,
                        protocol: port.protocol,
                        host: service.key.host.to_string(),
                        tls: None,
                    },
                    service: Some(service.into()),
                    address: if is_captured {
                        ApplicationAddress::AsAddressed
                    } else {
                        ApplicationAddress::Fixed(SocketAddr::new(LOCALHOST, target))
                    },
                    bound: None,
                    limits: None,
                });
            }
        }
    }
    ports.into_values().collect()
}

#[cfg(test)]
mod tests;
