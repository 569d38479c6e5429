//! What Rutter keeps of Kubernetes' kinds: their full form is a kilobyte of empty fields.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::labels::Labels;

/// A Kubernetes service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its cluster addresses, sorted. None: headless.
    pub addresses: Vec<IpAddr>,
    /// Its TCP ports, by number.
    pub ports: Vec<ServicePort>,
    /// Its pods. None: it has endpoints only by slices.
    pub selector: Option<Labels>,
}

/// A port of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// What clients use.
    pub number: u16,
    /// Its name; slices refer to it.
    pub name: String,
    /// `appProtocol`, or the beginning of the name.
    pub protocol: String,
    /// At pods, where that is a number; else `number`.
    pub target: u16,
}

/// Some endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Names and numbers of ports.
    pub ports: Vec<(String, u16)>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// An endpoint of an [`EndpointSlice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<Arc<str>>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Its zone; empty: not told.
    pub zone: Arc<str>,
}

impl From<core::Service> for Service {
    fn from(service: core::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let is_tcp = |port: &&core::ServicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let mut ports: Vec<ServicePort> = spec.ports.iter().flatten().filter(is_tcp).filter_map(port).collect();
        ports.sort_by_key(|port| port.number);
        let ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let mut addresses: Vec<IpAddr> = ips.filter_map(|ip| ip.parse().ok()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { addresses, ports, selector: spec.selector.map(Labels::from) }
    }
}

fn port(port: &core::ServicePort) -> Option<ServicePort> {
    let number = u16::try_from(port.port).ok()?;
    let name = port.name.clone().unwrap_or_default();
    let protocol = port.app_protocol.as_deref().or_else(|| name.split('-').next()).unwrap_or_default().to_owned();
    let target = match &port.target_port {
        Some(IntOrString::Int(target)) => u16::try_from(*target).unwrap_or(number),
        Some(IntOrString::String(_)) | None => number,
    };
    Some(ServicePort { number, name, protocol, target })
}

impl From<discovery::EndpointSlice> for EndpointSlice {
    fn from(slice: discovery::EndpointSlice) -> Self {
        let port = |port: &discovery::EndpointPort| {
            Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?))
        };
        let mut zones: Vec<Arc<str>> = Vec::new();
        let mut shared = |zone: &str| match zones.iter().find(|known| ***known == *zone) {
            Some(known) => known.clone(),
            None => {
                zones.push(zone.into());
                zone.into()
            }
        };
        let endpoint = |endpoint: &discovery::Endpoint| SliceEndpoint {
            addresses: endpoint.addresses.iter().map(|address| address.as_str().into()).collect(),
            ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
            zone: shared(endpoint.zone.as_deref().unwrap_or_default()),
        };
        Self {
            ports: slice.ports.iter().flatten().filter_map(port).collect(),
            endpoints: slice.endpoints.iter().flatten().map(endpoint).collect(),
        }
    }
}
