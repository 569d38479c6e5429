//! `ServiceEntry`: a service that Kubernetes does not know.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use ipnet::IpNet;
use serde::Deserialize;

use super::resolution::Resolution;
use super::virtual_service::subnets;
use super::workload_entry::{WorkloadEntry, WorkloadSelector, check_endpoint};
use crate::config::checks::{Faults, check_export_to, check_not_empty, check_protocol};
use crate::invalid::Invalid;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &["spec.endpoints[].network", "spec.endpoints[].serviceAccount"];

/// A service that Kubernetes does not know: outside the mesh, or on machines beside the cluster.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// The full DNS names of the service, or wildcards. Each name is a service of its own with the same ports and
    /// endpoints.
    pub hosts: Vec<Hostname>,
    /// The virtual addresses at which captured traffic to the service is recognised, and ranges of them.
    #[serde(default, deserialize_with = "subnets")]
    pub addresses: Vec<IpNet>,
    /// The ports that clients use.
    pub ports: Vec<ServiceEntryPort>,
    /// Whether the service is a part of the mesh.
    #[serde(default)]
    pub location: Location,
    /// How endpoints are found.
    #[serde(default)]
    pub resolution: Resolution,
    /// The endpoints, where they are listed in the object itself.
    #[serde(default)]
    pub endpoints: Vec<WorkloadEntry>,
    /// Chooses the WorkloadEntry objects of the object's namespace that are the endpoints.
    #[serde(default)]
    pub workload_selector: Option<WorkloadSelector>,
    /// The namespaces whose clients see the object: `.` for its own, `*`, or names. Empty means every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// The names one of which the certificate of an endpoint must have, if a DestinationRule has connections encrypted and
    /// names none itself.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
}

impl ServiceEntry {
    /// Returns each host once, whether or not it is written twice.
    pub fn distinct_hosts(&self) -> impl Iterator<Item = &Hostname> {
        let mut seen = BTreeSet::new();
        self.hosts.iter().filter(move |host| seen.insert(*host))
    }
}

/// A port of a [`ServiceEntry`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntryPort {
    /// The number that clients use.
    pub number: NonZeroU16,
    /// The name by which workloads refer to the port. It is used once in an entry.
    pub name: String,
    /// The protocol: HTTP, HTTP2, GRPC, HTTPS, TLS or TCP. Empty means that sidecars find out from the bytes.
    #[serde(default)]
    pub protocol: String,
    /// The port at the endpoints. Absent means the same number.
    #[serde(default)]
    pub target_port: Option<NonZeroU16>,
}

/// Whether a service is a part of the mesh: Istio's `ServiceEntry.Location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// The service is outside the mesh.
    #[default]
    MeshExternal,
    /// The service is a part of the mesh.
    MeshInternal,
}

/// Returns what is wrong in a ServiceEntry that has the right types.
pub(crate) fn check(spec: &ServiceEntry) -> Faults {
    let mut faults = Vec::new();
    check_not_empty("spec.hosts", spec.hosts.len(), &mut faults);
    check_not_empty("spec.ports", spec.ports.len(), &mut faults);
    for (index, host) in spec.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{index}]");
        if host.is_wildcard() && spec.endpoints.is_empty() && spec.resolution.asks_dns() {
            faults.push(Invalid::new(&path, "a name that DNS can be asked for, or endpoints", host));
        }
        if !host.as_str().contains('.') {
            faults.push(Invalid::new(path, "a full DNS name", format!("{:?}", host.as_str())));
        }
    }
    check_ports(&spec.ports, &mut faults);
    match spec.resolution {
        Resolution::Static | Resolution::Dns => {}
        Resolution::None if spec.endpoints.is_empty() && spec.workload_selector.is_none() => {}
        Resolution::None => {
            let want = "no endpoints beside resolution NONE, which goes to where clients go";
            faults.push(Invalid::new("spec.endpoints", want, "some"));
        }
        Resolution::DnsRoundRobin if spec.endpoints.len() <= 1 => {}
        Resolution::DnsRoundRobin => {
            let want = "at most one endpoint beside resolution DNS_ROUND_ROBIN";
            faults.push(Invalid::new("spec.endpoints", want, spec.endpoints.len()));
        }
        Resolution::DynamicDns => check_dynamic(spec, &mut faults),
    }
    if !spec.endpoints.is_empty() && spec.workload_selector.is_some() {
        faults.push(Invalid::new("spec.endpoints", "one of endpoints and workloadSelector", "both"));
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        check_endpoint(&format!("spec.endpoints[{index}]"), endpoint, spec.resolution, &mut faults);
    }
    check_export_to(&spec.export_to, &mut faults);
    faults
}

/// Adds what is wrong in an entry whose hosts are resolved as requests and TLS connections name them.
fn check_dynamic(spec: &ServiceEntry, faults: &mut Faults) {
    for (index, host) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.is_wildcard()) {
        let fault = Invalid::new(format!("spec.hosts[{index}]"), "a wildcard beside resolution DYNAMIC_DNS", host);
        faults.push(fault.hint("resolution DNS is for hosts that are written in full"));
    }
    if !spec.endpoints.is_empty() || spec.workload_selector.is_some() {
        let want = "no endpoints beside resolution DYNAMIC_DNS, which asks DNS for them";
        faults.push(Invalid::new("spec.endpoints", want, "some"));
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        match port.protocol.to_ascii_uppercase().as_str() {
            "TLS" | "HTTPS" => {}
            "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => {
                if port.target_port.is_some_and(|target| target != port.number) {
                    let want = "the port that requests name, because resolution DYNAMIC_DNS goes there";
                    faults.push(Invalid::new(format!("{path}.targetPort"), want, "another"));
                }
            }
            _ => {
                let want = "HTTP, HTTP2, GRPC, HTTPS or TLS beside resolution DYNAMIC_DNS, which needs a name";
                faults.push(Invalid::new(format!("{path}.protocol"), want, format!("{:?}", port.protocol)));
            }
        }
    }
}

fn check_ports(ports: &[ServiceEntryPort], faults: &mut Faults) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        if port.name.is_empty() || !names.insert(&port.name) {
            faults.push(Invalid::new(format!("{path}.name"), "a name used once", format!("{:?}", port.name)));
        }
        if !numbers.insert(port.number) {
            faults.push(Invalid::new(format!("{path}.number"), "a port used once", port.number));
        }
        if !port.protocol.is_empty() {
            check_protocol(&format!("{path}.protocol"), &port.protocol, faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("ServiceEntry", spec), &format!("serviceEntry default/x: {want}"));
    }

    const PORTS: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

    #[test]
    fn hosts_are_full_names() {
        read(&istio("ServiceEntry", &format!("{{hosts: [a.b], resolution: STATIC, {PORTS}}}"))).unwrap();
        let want = "spec.hosts[0]: want a full DNS name, got \"a\"";
        refused(&format!("{{hosts: [a], resolution: STATIC, {PORTS}}}"), want);
        read(&istio("ServiceEntry", &format!("{{hosts: ['*.b'], {PORTS}}}"))).unwrap();
        let want = "spec.hosts[0]: want a name that DNS can be asked for, or endpoints, got *.b";
        refused(&format!("{{hosts: ['*.b'], resolution: DNS, {PORTS}}}"), want);
    }

    #[test]
    fn ports_have_names_and_numbers_of_their_own_and_known_protocols() {
        let spec = |ports: &str| format!("{{hosts: [a.b], resolution: STATIC, ports: [{ports}]}}");
        let twice = "{number: 80, name: a}, {number: 80, name: b}";
        refused(&spec(twice), "spec.ports[1].number: want a port used once, got 80");
        let twice = "{number: 80, name: a}, {number: 81, name: a}";
        refused(&spec(twice), "spec.ports[1].name: want a name used once, got \"a\"");
        let want = "spec.ports[0].protocol: want HTTP, HTTP2, GRPC, HTTPS, TLS or TCP, got \"SPDY\"";
        refused(&spec("{number: 80, name: a, protocol: SPDY}"), want);
        let want = "spec.ports[0].protocol: not supported yet (UDP)";
        refused(&spec("{number: 80, name: a, protocol: UDP}"), want);
        read(&istio("ServiceEntry", &spec("{number: 80, name: a, protocol: MONGO}"))).unwrap();
    }

    #[test]
    fn resolutions_have_the_endpoints_that_they_can_use() {
        let spec = |resolution: &str, endpoints: &str| {
            format!("{{hosts: [a.b], resolution: {resolution}, {PORTS}, endpoints: [{endpoints}]}}")
        };
        for resolution in ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] {
            read(&istio("ServiceEntry", &spec(resolution, ""))).unwrap();
        }
        let one = "{address: 10.0.0.1}";
        refused(&spec("NONE", one), "spec.endpoints: want no endpoints beside resolution NONE");
        let two = [one, one].join(", ");
        refused(&spec("DNS_ROUND_ROBIN", &two), "spec.endpoints: want at most one endpoint beside resolution");
    }

    #[test]
    fn only_hosts_that_are_named_by_clients_are_resolved_as_they_are_named() {
        let entry = |host: &str, port: &str, rest: &str| {
            format!("{{hosts: ['{host}'], resolution: DYNAMIC_DNS, ports: [{{{port}}}]{rest}}}")
        };
        let (http, tls) = ("number: 80, name: http, protocol: HTTP", "number: 443, name: tls, protocol: TLS");
        read(&istio("ServiceEntry", &entry("*.b", http, ""))).unwrap();
        read(&istio("ServiceEntry", &entry("*.b", &format!("{tls}, targetPort: 8443"), ""))).unwrap();
        refused(&entry("a.b", http, ""), "spec.hosts[0]: want a wildcard beside resolution DYNAMIC_DNS, got a.b");
        let one = ", endpoints: [{address: 10.0.0.1}]";
        refused(&entry("*.b", http, one), "spec.endpoints: want no endpoints beside resolution DYNAMIC_DNS");
        let port = format!("{http}, targetPort: 81");
        refused(&entry("*.b", &port, ""), "spec.ports[0].targetPort: want the port that requests name");
        let tcp = "number: 25, name: tcp, protocol: TCP";
        let want = "spec.ports[0].protocol: want HTTP, HTTP2, GRPC, HTTPS or TLS beside resolution DYNAMIC_DNS";
        refused(&entry("*.b", tcp, ""), want);
        refused(&entry("*.b", "number: 25, name: a", ""), want);
    }

    #[test]
    fn addresses_are_single_or_ranges() {
        read(&istio("ServiceEntry", &format!("{{hosts: [a.b], addresses: [10.0.0.1, 10.1.0.0/16], {PORTS}}}")))
            .unwrap();
        let want = "spec.addresses: want an IP address or a range such as 10.0.0.0/8, got \"10.0.0.0/33\"";
        refused(&format!("{{hosts: [a.b], addresses: [10.0.0.0/33], {PORTS}}}"), want);
    }

    #[test]
    fn names_as_endpoints_are_for_dns() {
        let spec = |resolution: &str| {
            format!("{{hosts: [a.b], resolution: {resolution}, {PORTS}, endpoints: [{{address: db.example.com}}]}}")
        };
        read(&istio("ServiceEntry", &spec("DNS"))).unwrap();
        refused(
            &spec("STATIC"),
            "spec.endpoints[0].address: want an IP address or unix:///PATH, got \"db.example.com\"",
        );
        let both = format!(
            "{{hosts: [a.b], resolution: STATIC, {PORTS}, endpoints: [{{address: 10.0.0.1}}], workloadSelector: {{}}}}"
        );
        refused(&both, "spec.endpoints: want one of endpoints and workloadSelector, got both");
    }
}
