//! What types cannot say: counts, ranges and references inside one object.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::istio::{DestinationRule, HttpRoute, Resolution, ServiceEntry, Sidecar, VirtualService, WorkloadEntry};
use crate::invalid::Invalid;
use crate::names::Hostname;

/// Collects faults; the functions below say where and what.
type Faults = Vec<Invalid>;

pub(crate) fn virtual_service(spec: &VirtualService) -> Faults {
    let mut faults = Vec::new();
    non_empty("spec.hosts", spec.hosts.len(), &mut faults);
    non_empty("spec.http", spec.http.len(), &mut faults);
    for (index, gateway) in spec.gateways.iter().enumerate() {
        if gateway != "mesh" {
            faults.push(
                Invalid::not_supported(format!("spec.gateways[{index}]")).hint(format!("{gateway:?}; only mesh")),
            );
        }
    }
    for (index, http) in spec.http.iter().enumerate() {
        http_route(&format!("spec.http[{index}]"), http, &mut faults);
    }
    export_to(&spec.export_to, &mut faults);
    faults
}

fn http_route(path: &str, http: &HttpRoute, faults: &mut Faults) {
    non_empty(&format!("{path}.route"), http.route.len(), faults);
    for (index, destination) in http.route.iter().enumerate() {
        full_host(&format!("{path}.route[{index}].destination.host"), &destination.destination.host, faults);
    }
    let sum: u64 = http.route.iter().map(|destination| u64::from(destination.weight)).sum();
    let single = http.route.len() == 1;
    if sum != 100 && !http.route.is_empty() && !(single && sum == 0) {
        let hint = "weights are per cent; write them so that they sum to 100";
        faults.push(Invalid::new(format!("{path}.route"), "weights that sum to 100", sum).hint(hint));
    }
    for (index, one) in http.matches.iter().enumerate() {
        for (name, header) in &one.headers {
            let path = format!("{path}.match[{index}].headers.{name}");
            if header.exact.is_some() && header.prefix.is_some() {
                faults.push(Invalid::new(&path, "one of exact and prefix", "both"));
            }
            if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace()) {
                faults.push(Invalid::new(&path, "a header name in lower case", format!("{name:?}")));
            }
        }
    }
}

pub(crate) fn destination_rule(spec: &DestinationRule) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{index}].name");
        if subset.name.is_empty() || subset.name.contains('|') {
            faults.push(Invalid::new(&path, "a name without \"|\"", format!("{:?}", subset.name)));
        } else if !names.insert(&subset.name) {
            faults.push(Invalid::new(&path, "a name used once in this rule", format!("{:?} again", subset.name)));
        }
    }
    let outlier = spec.traffic_policy.as_ref().and_then(|policy| policy.outlier_detection.as_ref());
    if let Some(percent) = outlier.and_then(|outlier| outlier.max_ejection_percent).filter(|percent| *percent > 100) {
        faults.push(Invalid::new("spec.trafficPolicy.outlierDetection.maxEjectionPercent", "0..=100", percent));
    }
    export_to(&spec.export_to, &mut faults);
    faults
}

pub(crate) fn sidecar(spec: &Sidecar) -> Faults {
    let mut faults = Vec::new();
    for (index, egress) in spec.egress.iter().enumerate() {
        non_empty(&format!("spec.egress[{index}].hosts"), egress.hosts.len(), &mut faults);
        for (number, host) in egress.hosts.iter().enumerate() {
            let path = format!("spec.egress[{index}].hosts[{number}]");
            let name = host.split_once('/').filter(|(namespace, _)| !namespace.is_empty());
            match name.map(|(_, name)| name.parse::<Hostname>()) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    faults.push(Invalid::new(
                        path,
                        "namespace/dnsName, such as ./* or prod/api.example.com",
                        format!("{host:?}"),
                    ));
                }
            }
        }
    }
    let mut ports = BTreeSet::new();
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let path = format!("spec.ingress[{index}]");
        if !ports.insert(ingress.port.number) {
            faults.push(Invalid::new(format!("{path}.port.number"), "a port used once", ingress.port.number));
        }
        protocol(&format!("{path}.port.protocol"), &ingress.port.protocol, &mut faults);
        let endpoint = ingress.default_endpoint.as_deref();
        if endpoint.is_some_and(|endpoint| ingress_port(endpoint).is_none()) {
            let got = format!("{:?}", endpoint.unwrap_or_default());
            faults.push(Invalid::new(format!("{path}.defaultEndpoint"), "127.0.0.1:PORT or 0.0.0.0:PORT", got));
        }
    }
    faults
}

/// The port of a `defaultEndpoint`, and whether it is at the workload's own address.
pub fn ingress_port(endpoint: &str) -> Option<(u16, bool)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    match host {
        "127.0.0.1" | "[::1]" => Some((port, false)),
        "0.0.0.0" | "[::]" => Some((port, true)),
        _ => None,
    }
}

pub(crate) fn service_entry(spec: &ServiceEntry) -> Faults {
    let mut faults = Vec::new();
    non_empty("spec.hosts", spec.hosts.len(), &mut faults);
    non_empty("spec.ports", spec.ports.len(), &mut faults);
    for (index, host) in spec.hosts.iter().enumerate() {
        full_host(&format!("spec.hosts[{index}]"), host, &mut faults);
        if !host.as_str().contains('.') {
            faults.push(Invalid::new(
                format!("spec.hosts[{index}]"),
                "a full DNS name",
                format!("{:?}", host.as_str()),
            ));
        }
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        if port.name.is_empty() || !names.insert(&port.name) {
            faults.push(Invalid::new(format!("{path}.name"), "a name used once", format!("{:?}", port.name)));
        }
        if !numbers.insert(port.number) {
            faults.push(Invalid::new(format!("{path}.number"), "a port used once", port.number));
        }
        if !port.protocol.is_empty() {
            protocol(&format!("{path}.protocol"), &port.protocol, &mut faults);
        }
    }
    if !matches!(spec.resolution, Resolution::Static | Resolution::Dns) {
        let got = format!("not supported yet: {:?}", spec.resolution);
        faults.push(Invalid::new("spec.resolution", "STATIC or DNS", got));
    }
    if !spec.endpoints.is_empty() && spec.workload_selector.is_some() {
        faults.push(Invalid::new("spec.endpoints", "one of endpoints and workloadSelector", "both"));
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        workload(&format!("spec.endpoints[{index}]"), endpoint, spec.resolution, &mut faults);
    }
    export_to(&spec.export_to, &mut faults);
    faults
}

pub(crate) fn workload_entry(spec: &WorkloadEntry) -> Faults {
    let mut faults = Vec::new();
    workload("spec", spec, Resolution::Static, &mut faults);
    faults
}

fn workload(path: &str, entry: &WorkloadEntry, resolution: Resolution, faults: &mut Faults) {
    let is_ip = entry.address.parse::<std::net::IpAddr>().is_ok();
    let is_name = resolution == Resolution::Dns && entry.address.parse::<Hostname>().is_ok();
    if !is_ip && !is_name {
        let want = if resolution == Resolution::Dns { "an IP address or a DNS name" } else { "an IP address" };
        faults.push(Invalid::new(format!("{path}.address"), want, format!("{:?}", entry.address)));
    }
    if entry.weight == Some(0) {
        faults.push(Invalid::new(format!("{path}.weight"), "at least 1", 0));
    }
    if entry.locality.split('/').count() > 3 {
        faults.push(Invalid::new(format!("{path}.locality"), "region/zone/sub-zone", format!("{:?}", entry.locality)));
    }
}

pub(crate) fn service(service: &Service) -> Faults {
    let mut faults = Vec::new();
    let Some(spec) = &service.spec else {
        return vec![Invalid::new("spec", "the service's ports", "nothing")];
    };
    let mut refuse = |path: &str, text: Option<&str>, bad: &[&str]| {
        if let Some(text) = text.filter(|text| bad.contains(text)) {
            faults.push(Invalid::not_supported(path).hint(text.to_owned()));
        }
    };
    refuse("spec.type", spec.type_.as_deref(), &["ExternalName"]);
    refuse("spec.clusterIP", spec.cluster_ip.as_deref(), &["None"]);
    refuse("spec.sessionAffinity", spec.session_affinity.as_deref(), &["ClientIP"]);
    refuse("spec.internalTrafficPolicy", spec.internal_traffic_policy.as_deref(), &["Local"]);
    if spec.publish_not_ready_addresses == Some(true) {
        faults.push(Invalid::not_supported("spec.publishNotReadyAddresses"));
    }
    if spec.traffic_distribution.is_some() {
        faults.push(Invalid::not_supported("spec.trafficDistribution"));
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    non_empty("spec.ports", ports.len(), &mut faults);
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
    addresses("spec.clusterIPs", spec.cluster_ips.as_deref().unwrap_or_default(), &mut faults);
    faults
}

fn addresses(path: &str, texts: &[String], faults: &mut Faults) {
    for (index, text) in texts.iter().enumerate() {
        if !text.is_empty() && text.parse::<std::net::IpAddr>().is_err() {
            faults.push(Invalid::new(format!("{path}[{index}]"), "an IP address", format!("{text:?}")));
        }
    }
}

pub(crate) fn endpoint_slice(slice: &EndpointSlice) -> Faults {
    let mut faults = Vec::new();
    if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        faults.push(Invalid::new("addressType", "IPv4 or IPv6", format!("{:?}", slice.address_type)));
    }
    for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
        addresses(&format!("endpoints[{index}].addresses"), &endpoint.addresses, &mut faults);
    }
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if port.port.is_none_or(|port| u16::try_from(port).is_err() || port == 0) {
            let got = port.port.map_or("nothing".to_owned(), |port| port.to_string());
            faults.push(Invalid::new(format!("ports[{index}].port"), "1..=65535", got));
        }
    }
    faults
}

fn non_empty(path: &str, len: usize, faults: &mut Faults) {
    if len == 0 {
        faults.push(Invalid::new(path, "at least one", "none"));
    }
}

fn full_host(path: &str, host: &Hostname, faults: &mut Faults) {
    if host.is_wildcard() {
        faults.push(Invalid::not_supported(path).hint(format!("the wildcard {host}")));
    }
}

fn protocol(path: &str, text: &str, faults: &mut Faults) {
    const KNOWN: [&str; 7] = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP"];
    let upper = text.to_ascii_uppercase();
    if matches!(upper.as_str(), "MONGO" | "MYSQL" | "REDIS" | "UDP") {
        faults.push(Invalid::not_supported(path).hint(text.to_owned()));
    } else if !KNOWN.contains(&upper.as_str()) {
        faults.push(Invalid::new(path, "HTTP, HTTP2, GRPC, HTTPS, TLS or TCP", format!("{text:?}")));
    }
}

fn export_to(names: &[String], faults: &mut Faults) {
    for (index, name) in names.iter().enumerate() {
        let is_namespace = name.parse::<Hostname>().is_ok_and(|host| !host.is_wildcard()) && !name.contains('.');
        if !matches!(name.as_str(), "." | "*") && !is_namespace {
            let hint = if name == "~" { "\"~\" (nobody) is not supported yet" } else { "see Istio's exportTo" };
            let invalid =
                Invalid::new(format!("spec.exportTo[{index}]"), "\".\", \"*\" or a namespace", format!("{name:?}"));
            faults.push(invalid.hint(hint));
        }
    }
}
