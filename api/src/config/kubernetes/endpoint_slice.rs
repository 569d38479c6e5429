//! `discovery.k8s.io/v1 EndpointSlice`.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as discovery;

use crate::config::checks::{Faults, check_addresses};
use crate::invalid::Invalid;

/// Some endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The ports of all endpoints in the slice.
    pub ports: Vec<SlicePort>,
    /// The endpoints, ready or not.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of an [`EndpointSlice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the service's port.
    pub name: String,
    /// The number at the endpoints.
    pub number: u16,
}

/// An endpoint of an [`EndpointSlice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The IP addresses, all of which lead to the same pod.
    pub addresses: Vec<Arc<str>>,
    /// Whether the endpoint takes traffic.
    pub ready: bool,
    /// The zone. Empty means that it is not known.
    pub zone: Arc<str>,
    /// The name of the node. Empty means that it is not known.
    pub node: Arc<str>,
    /// The name of the Pod, in the namespace of the slice. `None` means that it is something else.
    pub pod: Option<Arc<str>>,
}

impl EndpointSlice {
    /// Returns the addresses that take traffic.
    pub fn ready_addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        self.endpoints.iter().filter(|endpoint| endpoint.ready).flat_map(|endpoint| &endpoint.addresses)
    }
}

impl From<discovery::EndpointSlice> for EndpointSlice {
    fn from(slice: discovery::EndpointSlice) -> Self {
        let mut known = Vec::new();
        let ports = slice.ports.iter().flatten().filter_map(slice_port).collect();
        let endpoints = slice.endpoints.iter().flatten().map(|endpoint| slice_endpoint(endpoint, &mut known)).collect();
        Self { ports, endpoints }
    }
}

fn slice_port(port: &discovery::EndpointPort) -> Option<SlicePort> {
    Some(SlicePort { name: port.name.clone().unwrap_or_default(), number: u16::try_from(port.port?).ok()? })
}

fn slice_endpoint(endpoint: &discovery::Endpoint, known: &mut Vec<Arc<str>>) -> SliceEndpoint {
    SliceEndpoint {
        addresses: endpoint.addresses.iter().map(|address| address.as_str().into()).collect(),
        ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
        zone: shared(endpoint.zone.as_deref().unwrap_or_default(), known),
        node: shared(endpoint.node_name.as_deref().unwrap_or_default(), known),
        pod: pod_of(endpoint),
    }
}

fn pod_of(endpoint: &discovery::Endpoint) -> Option<Arc<str>> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    target.name.as_deref().map(Arc::from)
}

/// Returns the one allocation of a name of a zone or a node, of which there are fewer than endpoints.
fn shared(name: &str, known: &mut Vec<Arc<str>>) -> Arc<str> {
    if let Some(known) = known.iter().find(|known| ***known == *name) {
        return known.clone();
    }
    let shared: Arc<str> = name.into();
    known.push(shared.clone());
    shared
}

/// Returns what is wrong in an EndpointSlice that has the right types.
pub(crate) fn check(slice: &discovery::EndpointSlice) -> Faults {
    let mut faults = Vec::new();
    if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        faults.push(Invalid::new("addressType", "IPv4 or IPv6", format!("{:?}", slice.address_type)));
    }
    for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
        check_addresses(&format!("endpoints[{index}].addresses"), &endpoint.addresses, &mut faults);
    }
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if port.port.is_none_or(|port| u16::try_from(port).is_err() || port == 0) {
            let got = port.port.map_or("nothing".to_owned(), |port| port.to_string());
            faults.push(Invalid::new(format!("ports[{index}].port"), "1..=65535", got));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use crate::config::Spec;
    use crate::config::testing::{assert_refused, read};

    use super::*;

    fn text(rest: &str) -> String {
        format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a}}\n{rest}")
    }

    #[test]
    fn endpoints_are_ready_unless_they_say_otherwise_and_share_their_zone() {
        let endpoints = "{addresses: [10.0.0.1], zone: z}, {addresses: [10.0.0.2], zone: z, conditions: {ready: false}}, \
                         {addresses: [10.0.0.3, 10.0.0.4], conditions: {}}";
        let object =
            read(&text(&format!("addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints: [{endpoints}]")));
        let object = object.unwrap();
        let Spec::EndpointSlice(slice) = &object.config.spec else { panic!() };
        let ready: Vec<&str> = slice.ready_addresses().map(|address| &**address).collect();
        assert_eq!(ready, ["10.0.0.1", "10.0.0.3", "10.0.0.4"]);
        assert!(Arc::ptr_eq(&slice.endpoints[0].zone, &slice.endpoints[1].zone));
        assert_eq!(slice.ports, [SlicePort { name: "http".into(), number: 80 }]);
    }

    #[test]
    fn addresses_and_ports_are_checked() {
        let refused = |rest: &str, want: &str| {
            assert_refused(&text(rest), &format!("endpointSlice default/a: {want}"));
        };
        refused("addressType: FQDN\nendpoints: []", "addressType: want IPv4 or IPv6, got \"FQDN\"");
        refused(
            "addressType: IPv4\nendpoints: [{addresses: [a]}]",
            "endpoints[0].addresses[0]: want an IP address, got \"a\"",
        );
        refused("addressType: IPv4\nendpoints: []\nports: [{name: x}]", "ports[0].port: want 1..=65535, got nothing");
    }
}
