//! Where a request arrives at a proxy.

use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::SidecarNode;

use super::sources::{Sources, hosts_meant};
use crate::client::ClientClass;
use crate::model::{Discovery, Service};
use crate::walk::{Arrival, Entry, HttpRequest, TlsHello, bound_addresses};

/// What an application or a client outside the mesh asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The host, or the address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How TLS is begun. `None` means plain text.
    pub tls: Option<TlsHello>,
    /// The request. `None` means bytes that are no HTTP.
    pub request: Option<HttpRequest>,
}

/// Returns where something arrives that is asked for, at the proxy of the application that asks, or at a gateway.
///
/// # Errors
/// Says why it cannot arrive.
pub fn arrival(sources: &Sources<'_>, asked: &Asked) -> Result<Arrival, String> {
    let node = sources.mesh.node(sources.id).ok_or("the client has gone")?;
    let index = sources.index();
    let Asked { host, port, tls, request } = asked;
    let arrival = |entry: Entry, address: Option<IpAddr>, port: u16| Arrival {
        entry,
        address,
        port,
        tls: tls.clone(),
        request: request.clone(),
    };
    Ok(match ClientClass::new(node, index.settings()) {
        ClientClass::CapturedSidecar(_) => {
            let address = address_of(host, sources, node);
            arrival(Entry::Redirected("virtualOutbound".to_owned()), address, *port)
        }
        ClientClass::BoundSidecar(_) => {
            arrival(Entry::Bound, Some(bound_address(sources, host, *port).unwrap_or_else(|| node.ip())), *port)
        }
        ClientClass::Grpc => match request {
            Some(_) => arrival(Entry::Named(format!("{host}:{port}")), None, *port),
            None => return Err("the gRPC library makes calls, and no other connections".to_owned()),
        },
        ClientClass::Gateway(_) => {
            let port = sources.scope.objects().target_ports.get(port).copied().unwrap_or(*port);
            arrival(Entry::Bound, Some(node.ip()), port)
        }
    })
}

/// Returns the service that a name means for a client.
fn service_of<'a>(name: &str, sources: &Sources<'a>, node: &SidecarNode) -> Option<&'a Arc<Service>> {
    let index = sources.index();
    let hosts = hosts_meant(name, &node.namespace, &index.settings().domain);
    hosts.iter().find_map(|host| sources.scope.viewpoint().service(index, host))
}

/// Returns the address that DNS would give an application for a name. `None` means that it gives one that the mesh knows nothing of.
fn address_of(name: &str, sources: &Sources<'_>, node: &SidecarNode) -> Option<IpAddr> {
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Some(address);
    }
    let index = sources.index();
    let service = service_of(name, sources, node)?;
    let service = if node.captures_dns { index.addressed(service) } else { service };
    let of_endpoints = || index.endpoints(&service.key).iter().find_map(crate::model::Endpoint::ip);
    let own = service.addresses.first().copied();
    if service.discovery == Discovery::OfHeadless { of_endpoints() } else { own }
}

/// Returns the address at which a proxy itself listens for a port: that which is asked for, that of the proxy, or else another, which a
/// Sidecar object has chosen. `None` means that it listens for the port nowhere.
fn bound_address(sources: &Sources<'_>, host: &str, port: u16) -> Option<IpAddr> {
    let (view, node) = (sources.mesh.view(sources.id)?, sources.mesh.node(sources.id)?);
    let asked = if host == "localhost" {
        Some(IpAddr::from([127, 0, 0, 1]))
    } else {
        host.trim_matches(['[', ']']).parse().ok()
    };
    let addresses = bound_addresses(view, port);
    let is_here = |ip: IpAddr| addresses.iter().any(|own| *own == ip || own.is_unspecified());
    let known = asked.into_iter().chain([node.ip()]).find(|ip| is_here(*ip));
    known.or(asked).or_else(|| addresses.first().copied())
}

impl Asked {
    /// Returns the port at a workload's own address for what is asked for: that of the endpoint that the workload is for the service,
    /// or the port itself.
    pub fn port_at(&self, sources: &Sources<'_>) -> u16 {
        let Some(node) = sources.mesh.node(sources.id) else { return self.port };
        let index = sources.index();
        let target = service_of(&self.host, sources, node).and_then(|service| {
            let endpoints = index.endpoints(&service.key);
            let is_here = |ip: IpAddr| node.addresses.contains(&ip);
            endpoints.iter().find(|endpoint| endpoint.ip().is_some_and(is_here))?.target(self.port)
        });
        target.unwrap_or(self.port)
    }

    /// Returns where something arrives at the sidecar in front of the application that it is for.
    ///
    /// # Errors
    /// Says why it cannot arrive.
    pub fn arrival_inbound(&self, sources: &Sources<'_>, port: u16) -> Result<Arrival, String> {
        let node = sources.mesh.node(sources.id).ok_or("the client has gone")?;
        let entry = match ClientClass::new(node, sources.index().settings()) {
            // A port that a Sidecar object has bound is not redirected.
            ClientClass::CapturedSidecar(_) if self.is_bound(sources, port) => Entry::Bound,
            ClientClass::CapturedSidecar(_) => Entry::Redirected("virtualInbound".to_owned()),
            ClientClass::BoundSidecar(_) => Entry::Bound,
            ClientClass::Grpc => Entry::Named(format!("xds.istio.io/grpc/lds/inbound/{}:{port}", node.ip())),
            ClientClass::Gateway(_) => return Err("a gateway has no application".to_owned()),
        };
        let (tls, request) = (self.tls.clone(), self.request.clone());
        let address = match entry {
            Entry::Bound => bound_address(sources, "", port),
            Entry::Redirected(_) | Entry::Named(_) => None,
        };
        Ok(Arrival { entry, address: Some(address.unwrap_or_else(|| node.ip())), port, tls, request })
    }

    fn is_bound(&self, sources: &Sources<'_>, port: u16) -> bool {
        sources.mesh.view(sources.id).is_some_and(|view| !bound_addresses(view, port).is_empty())
    }
}
