//! `v1 Service`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::config::checks::{Faults, check_addresses, check_not_empty};
use crate::invalid::Invalid;
use crate::labels::Labels;
use crate::names::Hostname;

/// A Kubernetes service, as far as Rutter acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesService {
    /// The cluster addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// The TCP ports, by number. Ports of other protocols are left out.
    pub ports: Vec<KubernetesServicePort>,
    /// The labels of the pods that are its endpoints. `None` means that only EndpointSlices name its endpoints.
    pub selector: Option<Labels>,
    /// Whether DNS answers with the addresses of the endpoints, because the service has none of its own: `clusterIP: None`.
    pub is_headless: bool,
    /// The DNS name that the service stands for, if its type is `ExternalName`.
    pub external_name: Option<Box<str>>,
    /// How clients use the endpoints.
    pub endpoint_use: EndpointUse,
}

/// How clients use the endpoints of a service, as the service itself says. A DestinationRule may say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointUse {
    /// Whether a client stays with one endpoint: `sessionAffinity: ClientIP`.
    pub has_session_affinity: bool,
    /// Whether clients use only endpoints on their own node: `internalTrafficPolicy: Local`.
    pub is_node_local: bool,
    /// Whether endpoints that are not ready are used as well: `publishNotReadyAddresses`.
    pub with_not_ready: bool,
    /// Which endpoints come first.
    pub distribution: TrafficDistribution,
}

/// Which endpoints of a service come first: `trafficDistribution`, or Istio's annotation
/// `networking.istio.io/traffic-distribution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficDistribution {
    /// All are alike.
    #[default]
    Alike,
    /// Those in the zone of the client: `PreferClose` or `PreferSameZone`.
    SameZone,
    /// Those on the node of the client, then those in its zone: `PreferSameNode`.
    SameNode,
}

impl TrafficDistribution {
    fn of_word(word: &str) -> Option<Self> {
        match word {
            "PreferClose" | "PreferSameZone" => Some(Self::SameZone),
            "PreferSameNode" => Some(Self::SameNode),
            _ => None,
        }
    }
}

/// Istio's annotation, which counts where the field is absent.
const DISTRIBUTION_ANNOTATION: &str = "networking.istio.io/traffic-distribution";

/// A port of a [`KubernetesService`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesServicePort {
    /// The number that clients use.
    pub number: u16,
    /// The name by which EndpointSlices refer to the port.
    pub name: String,
    /// The protocol: `appProtocol` or, where that is absent, the beginning of the name.
    pub protocol: String,
    /// The port at pods, where it is given as a number; otherwise `number`.
    pub target: u16,
}

/// The cluster address of a service that has none.
const HEADLESS: &str = "None";

/// Returns the word that says which endpoints come first, if there is one.
fn distribution_word(service: &core::Service) -> Option<&str> {
    let of_field = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    let annotations = service.metadata.annotations.as_ref();
    of_field.or_else(|| annotations?.get(DISTRIBUTION_ANNOTATION).map(String::as_str))
}

fn endpoint_use(service: &core::Service) -> EndpointUse {
    let spec = service.spec.as_ref();
    let says = |value: Option<&String>, word: &str| value.is_some_and(|value| value == word);
    EndpointUse {
        has_session_affinity: says(spec.and_then(|spec| spec.session_affinity.as_ref()), "ClientIP"),
        is_node_local: says(spec.and_then(|spec| spec.internal_traffic_policy.as_ref()), "Local"),
        with_not_ready: spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default(),
        distribution: distribution_word(service).and_then(TrafficDistribution::of_word).unwrap_or_default(),
    }
}

impl From<core::Service> for KubernetesService {
    fn from(service: core::Service) -> Self {
        let endpoint_use = endpoint_use(&service);
        let spec = service.spec.unwrap_or_default();
        let mut ports: Vec<KubernetesServicePort> =
            spec.ports.iter().flatten().filter(|port| is_tcp(port)).filter_map(tcp_port).collect();
        ports.sort_by_key(|port| port.number);
        let ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let mut addresses: Vec<IpAddr> = ips.filter_map(|ip| ip.parse().ok()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let is_external = spec.type_.as_deref() == Some("ExternalName");
        Self {
            addresses,
            ports,
            selector: spec.selector.map(Labels::from),
            is_headless: spec.cluster_ip.as_deref() == Some(HEADLESS),
            external_name: spec.external_name.filter(|_| is_external).map(Into::into),
            endpoint_use,
        }
    }
}

fn is_tcp(port: &core::ServicePort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

fn tcp_port(port: &core::ServicePort) -> Option<KubernetesServicePort> {
    let number = u16::try_from(port.port).ok()?;
    let name = port.name.clone().unwrap_or_default();
    let protocol = port.app_protocol.as_deref().or_else(|| name.split('-').next()).unwrap_or_default().to_owned();
    let target = match &port.target_port {
        Some(IntOrString::Int(target)) => u16::try_from(*target).unwrap_or(number),
        Some(IntOrString::String(_)) | None => number,
    };
    Some(KubernetesServicePort { number, name, protocol, target })
}

/// Returns what is wrong in a Service that has the right types, and what of it Rutter does not act on.
pub(crate) fn check(service: &core::Service) -> Faults {
    let mut faults = Vec::new();
    let Some(spec) = &service.spec else {
        return vec![Invalid::new("spec", "the service's ports", "nothing")];
    };
    let words = [
        ("spec.sessionAffinity", spec.session_affinity.as_deref(), ["ClientIP", "None"]),
        ("spec.internalTrafficPolicy", spec.internal_traffic_policy.as_deref(), ["Local", "Cluster"]),
    ];
    for (path, value, [one, other]) in words {
        if let Some(value) = value.filter(|value| ![one, other].contains(value)) {
            faults.push(Invalid::new(path, format!("{one} or {other}"), format!("{value:?}")));
        }
    }
    if let Some(word) = distribution_word(service).filter(|word| TrafficDistribution::of_word(word).is_none()) {
        let want = "PreferClose, PreferSameZone or PreferSameNode";
        faults.push(Invalid::new("spec.trafficDistribution", want, format!("{word:?}")));
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        check_external_name(spec.external_name.as_deref().unwrap_or_default(), &mut faults);
    } else if spec.cluster_ip.as_deref() != Some(HEADLESS) {
        check_not_empty("spec.ports", ports.len(), &mut faults);
    }
    check_ports(ports, &mut faults);
    let addresses: Vec<String> =
        spec.cluster_ips.iter().flatten().filter(|address| *address != HEADLESS).cloned().collect();
    check_addresses("spec.clusterIPs", &addresses, &mut faults);
    faults
}

fn check_external_name(name: &str, faults: &mut Faults) {
    if name.parse::<Hostname>().is_err() {
        faults.push(Invalid::new("spec.externalName", "a DNS name", format!("{name:?}")));
    }
}

fn check_ports(ports: &[core::ServicePort], faults: &mut Faults) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let name = port.name.as_deref().unwrap_or_default();
        if !names.insert(name) || (name.is_empty() && ports.len() > 1) {
            faults.push(Invalid::new(format!("spec.ports[{index}].name"), "a name used once", format!("{name:?}")));
        }
        if u16::try_from(port.port).is_err() || port.port == 0 {
            faults.push(Invalid::new(format!("spec.ports[{index}].port"), "1..=65535", port.port));
        }
        if !numbers.insert((port.port, port.protocol.as_deref().unwrap_or("TCP"))) {
            faults.push(Invalid::new(format!("spec.ports[{index}].port"), "a port used once", port.port));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Spec;
    use crate::config::testing::{assert_refused, read};

    use super::*;

    fn text(spec: &str) -> String {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}")
    }

    fn service(spec: &str) -> KubernetesService {
        let object = read(&text(spec)).unwrap();
        let Spec::Service(service) = &object.config.spec else { panic!("{spec}") };
        service.clone()
    }

    #[test]
    fn only_tcp_ports_are_kept_in_the_order_of_their_numbers() {
        let ports = "{ports: [{name: web, port: 81}, {name: dns, port: 53, protocol: UDP}, {name: grpc-x, port: 80}]}";
        let ports: Vec<_> = service(ports).ports.into_iter().map(|port| (port.number, port.protocol)).collect();
        assert_eq!(ports, [(80, "grpc".to_owned()), (81, "web".to_owned())]);
    }

    #[test]
    fn target_ports_are_numbers_or_the_port_itself() {
        let target = |port: &str| service(&format!("{{ports: [{{port: 80{port}}}]}}")).ports[0].target;
        assert_eq!((target(""), target(", targetPort: 8080"), target(", targetPort: web")), (80, 8080, 80));
    }

    #[test]
    fn addresses_are_sorted_and_each_stands_once() {
        let spec = "{clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2, 10.0.0.1], ports: [{port: 80}]}";
        let want: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        assert_eq!(service(spec).addresses, want);
    }

    #[test]
    fn how_endpoints_are_used_is_read() {
        let used = |fields: &str| service(&format!("{{{fields}, ports: [{{port: 80}}]}}")).endpoint_use;
        assert_eq!(used("sessionAffinity: None, internalTrafficPolicy: Cluster"), EndpointUse::default());
        let all = used("sessionAffinity: ClientIP, internalTrafficPolicy: Local, publishNotReadyAddresses: true");
        assert!(all.has_session_affinity && all.is_node_local && all.with_not_ready);
        for (word, want) in
            [("PreferClose", TrafficDistribution::SameZone), ("PreferSameNode", TrafficDistribution::SameNode)]
        {
            assert_eq!(used(&format!("trafficDistribution: {word}")).distribution, want);
        }
        let annotated = "{name: a, annotations: {networking.istio.io/traffic-distribution: PreferClose}}";
        let text = text("{ports: [{port: 80}]}").replace("{name: a}", annotated);
        let Spec::Service(service) = &read(&text).unwrap().config.spec else { panic!() };
        assert_eq!(service.endpoint_use.distribution, TrafficDistribution::SameZone);
    }

    #[test]
    fn words_that_kubernetes_does_not_know_are_refused() {
        let refused = |field: &str, want: &str| {
            assert_refused(
                &super::tests::text(&format!("{{{field}, ports: [{{port: 80}}]}}")),
                &format!("service default/a: spec.{want}"),
            );
        };
        refused("sessionAffinity: Cookie", "sessionAffinity: want ClientIP or None, got \"Cookie\"");
        refused("internalTrafficPolicy: local", "internalTrafficPolicy: want Local or Cluster");
        refused("trafficDistribution: Far", "trafficDistribution: want PreferClose, PreferSameZone or PreferSameNode");
    }

    #[test]
    fn headless_services_and_names_of_others_are_taken() {
        let headless =
            service("{clusterIP: None, clusterIPs: [None], selector: {app: a}, ports: [{name: tcp, port: 5432}]}");
        assert!(headless.is_headless && headless.addresses.is_empty() && headless.ports.len() == 1);
        assert!(service("{clusterIP: None}").ports.is_empty());
        let external = service("{type: ExternalName, externalName: a.example.com}");
        assert_eq!(external.external_name.as_deref(), Some("a.example.com"));
        assert_refused(
            &text("{type: ExternalName}"),
            "service default/a: spec.externalName: want a DNS name, got \"\"",
        );
    }

    #[test]
    fn ports_are_checked() {
        let refused = |ports: &str, want: &str| {
            assert_refused(&text(&format!("{{ports: [{ports}]}}")), &format!("service default/a: spec.{want}"));
        };
        refused("", "ports: want at least one, got none");
        refused("{port: 0}", "ports[0].port: want 1..=65535, got 0");
        refused("{port: 70000}", "ports[0].port: want 1..=65535, got 70000");
        refused("{port: 80, name: a}, {port: 80, name: b}", "ports[1].port: want a port used once, got 80");
        refused("{port: 80, name: a}, {port: 81, name: a}", "ports[1].name: want a name used once, got \"a\"");
    }
}
