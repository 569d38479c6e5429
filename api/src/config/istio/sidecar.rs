//! `Sidecar`: what the sidecars of some workloads may see, and how their applications are reached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, de};

use super::destination_rule::ConnectionPool;
use super::gateway::{ServerTls, ServerTlsMode, check_tls};
use super::virtual_service::Destination;
use super::workload_entry::WorkloadSelector;
use crate::config::checks::{Faults, check_not_empty, check_protocol};
use crate::invalid::Invalid;
use crate::names::Hostname;
use crate::socket_path::socket_path;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &[];

/// What the sidecars of some workloads may see, and how their applications are reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Chooses the workloads of the namespace. Absent means all of them; in the root namespace, those of every
    /// namespace that has no Sidecar object of its own. Of several objects that select a workload the oldest counts.
    #[serde(default)]
    pub workload_selector: Option<WorkloadSelector>,
    /// What may be seen. Empty means everything that is exported.
    #[serde(default)]
    pub egress: Vec<EgressListener>,
    /// The ports of the application. Empty means that they follow from the services that select the workload.
    #[serde(default)]
    pub ingress: Vec<IngressListener>,
    /// What happens to traffic to unknown destinations. Absent means that it passes.
    #[serde(default)]
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// Limits on the connections to the application, for ports that have none of their own.
    #[serde(default)]
    pub inbound_connection_pool: Option<ConnectionPool>,
}

/// How traffic reaches a listener: Istio's `CaptureMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As it reaches the sidecar.
    #[default]
    Default,
    /// It is redirected.
    Iptables,
    /// The application connects to the listener, which is bound.
    None,
}

/// A part of what may be seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressListener {
    /// The port. Only services that have such a port are seen, and of those this port alone. Absent means every port, and so
    /// does the number 0, which a listener at a Unix socket has.
    #[serde(default)]
    pub port: Option<SidecarPort>,
    /// The place of the listener. Absent means the addresses of the services, or 127.0.0.1 if `capture_mode` is `NONE`. At a
    /// socket a request says by its host which port it means, such as `reviews:9080`, and otherwise means the first port of the
    /// service that takes requests; bytes go to the first other port.
    #[serde(default)]
    pub bind: Option<EgressBind>,
    /// How traffic reaches the listener.
    #[serde(default)]
    pub capture_mode: CaptureMode,
    /// Patterns of the form `namespace/dnsName`. The namespace may be `.` for the own one, `*` for all or `~` for none;
    /// the name may be a wildcard. `./*` is the whole own namespace, and `*/*.example.com` every such host wherever it
    /// is defined.
    pub hosts: Vec<String>,
}

/// Where an egress listener is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EgressBind {
    /// An address.
    Ip(IpAddr),
    /// A Unix socket, by its path.
    Socket(Box<str>),
}

impl<'de> Deserialize<'de> for EgressBind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match (text.parse(), socket_path(&text)) {
            (Ok(ip), _) => Ok(Self::Ip(ip)),
            (Err(_), Some(path)) => Ok(Self::Socket(path.into())),
            (Err(_), None) => Err(de::Error::custom(format!("want an IP address or unix:///PATH, got {text:?}"))),
        }
    }
}

/// How one port of the application is reached.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressListener {
    /// The port on which the sidecar takes requests.
    pub port: SidecarPort,
    /// Where the application listens: `127.0.0.1:PORT`, `0.0.0.0:PORT` for the workload's own address, or
    /// `unix:///PATH`. Absent means the same port at 127.0.0.1.
    #[serde(default)]
    pub default_endpoint: Option<String>,
    /// The address of the listener, if it is bound. Absent means that of the workload.
    #[serde(default)]
    pub bind: Option<IpAddr>,
    /// How requests reach the listener.
    #[serde(default)]
    pub capture_mode: CaptureMode,
    /// Limits on the connections to the application.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// How connections are decrypted. For protocol HTTPS, whose requests reach the application in plain text, and TLS.
    #[serde(default)]
    pub tls: Option<Box<ServerTls>>,
}

/// A port of a [`Sidecar`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SidecarPort {
    /// The number, from 1 to 65535, or 0 for an egress listener at a Unix socket.
    pub number: u16,
    /// The protocol: HTTP, HTTP2, GRPC, HTTPS, TLS or TCP.
    pub protocol: String,
    /// A name for logs and statistics; it has no effect on traffic.
    #[serde(default)]
    pub name: String,
}

/// What happens to traffic to unknown destinations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// Whether such traffic passes.
    pub mode: OutboundMode,
    /// Where such traffic goes instead of on to where the application sent it. The egress must admit that host.
    #[serde(default)]
    pub egress_proxy: Option<Box<Destination>>,
}

/// What becomes of traffic to unknown destinations: Istio's `OutboundTrafficPolicy.Mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// Traffic to unknown destinations is dropped; HTTP requests are answered 502.
    RegistryOnly,
    /// Traffic to unknown destinations passes.
    AllowAny,
}

/// Where the application behind an ingress port listens, as `defaultEndpoint` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngressEndpoint<'a> {
    /// A port at the loopback address.
    Loopback(u16),
    /// A port at the workload's own address.
    WorkloadAddress(u16),
    /// A Unix socket, by its path.
    Socket(&'a str),
}

impl<'a> IngressEndpoint<'a> {
    /// Reads a `defaultEndpoint`. `None` means that the text has none of the three forms.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(path) = socket_path(text) {
            return Some(Self::Socket(path));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        match host {
            "127.0.0.1" | "[::1]" => Some(Self::Loopback(port)),
            "0.0.0.0" | "[::]" => Some(Self::WorkloadAddress(port)),
            _ => None,
        }
    }
}

/// Returns what is wrong in a Sidecar that has the right types.
pub(crate) fn check(spec: &Sidecar) -> Faults {
    let mut faults = Vec::new();
    let mut places = BTreeSet::new();
    for (index, egress) in spec.egress.iter().enumerate() {
        let path = format!("spec.egress[{index}]");
        check_egress_place(&path, egress, &mut faults);
        if let Some(port) = &egress.port {
            check_protocol(&format!("{path}.port.protocol"), &port.protocol, &mut faults);
            if !places.insert((port.number, &egress.bind)) {
                let fault = match &egress.bind {
                    Some(EgressBind::Socket(socket)) => ("bind", "a socket used once", format!("unix://{socket}")),
                    Some(EgressBind::Ip(_)) | None => ("port.number", "a port used once", port.number.to_string()),
                };
                let (field, want, got) = fault;
                faults.push(Invalid::new(format!("{path}.{field}"), want, got));
            }
        }
        check_not_empty(&format!("spec.egress[{index}].hosts"), egress.hosts.len(), &mut faults);
        for (number, host) in egress.hosts.iter().enumerate() {
            let pattern = host.split_once('/').filter(|(namespace, _)| !namespace.is_empty());
            if pattern.is_none_or(|(_, name)| name.parse::<Hostname>().is_err()) {
                let path = format!("spec.egress[{index}].hosts[{number}]");
                let want = "namespace/dnsName, such as ./* or prod/api.example.com";
                faults.push(Invalid::new(path, want, format!("{host:?}")));
            }
        }
    }
    check_ingress(&spec.ingress, &mut faults);
    if let Some(policy) = &spec.outbound_traffic_policy {
        check_egress_proxy(policy, &mut faults);
    }
    faults
}

/// Adds what is wrong in where an egress listener is.
fn check_egress_place(path: &str, egress: &EgressListener, faults: &mut Faults) {
    let number = egress.port.as_ref().map(|port| port.number);
    match &egress.bind {
        Some(EgressBind::Socket(_)) => {
            if number != Some(0) {
                let got = number.map_or("none".to_owned(), |number| number.to_string());
                faults.push(Invalid::new(format!("{path}.port.number"), "0 beside a Unix socket", got));
            }
            if egress.capture_mode == CaptureMode::Iptables {
                let want = "DEFAULT or NONE beside a Unix socket, to which applications connect";
                faults.push(Invalid::new(format!("{path}.captureMode"), want, "IPTABLES"));
            }
        }
        Some(EgressBind::Ip(_)) | None => check_number(path, number.unwrap_or(1), faults),
    }
}

/// Adds that the number of a port is 0.
fn check_number(path: &str, number: u16, faults: &mut Faults) {
    if number == 0 {
        faults.push(Invalid::new(format!("{path}.port.number"), "a number from 1 to 65535", "0"));
    }
}

fn check_egress_proxy(policy: &OutboundTrafficPolicy, faults: &mut Faults) {
    const PATH: &str = "spec.outboundTrafficPolicy.egressProxy";
    let Some(proxy) = &policy.egress_proxy else { return };
    if policy.mode == OutboundMode::RegistryOnly {
        faults.push(Invalid::new(PATH, "mode ALLOW_ANY beside egressProxy", "REGISTRY_ONLY"));
    }
    if proxy.host.is_wildcard() || !proxy.host.as_str().contains('.') {
        faults.push(Invalid::new(format!("{PATH}.host"), "a full DNS name", format!("{:?}", proxy.host.as_str())));
    }
    if proxy.port.is_none() {
        faults.push(Invalid::new(format!("{PATH}.port"), "the port of the host", "nothing"));
    }
}

/// Adds what is wrong in how a sidecar decrypts connections. Its certificates are in files: Secrets go to gateways.
fn check_ingress_tls(path: &str, tls: &ServerTls, faults: &mut Faults) {
    if !matches!(tls.mode, ServerTlsMode::Simple | ServerTlsMode::Mutual) {
        faults.push(Invalid::new(format!("{path}.mode"), "SIMPLE or MUTUAL", tls.mode.word()));
        return;
    }
    if !tls.credentials().is_empty() || tls.ca_cert_credential_name.is_some() {
        faults.push(Invalid::new(path, "certificates in files at a sidecar", "the name of a Secret"));
    }
    check_tls(path, tls, faults);
}

fn check_ingress(ingress: &[IngressListener], faults: &mut Faults) {
    let mut ports = BTreeSet::new();
    for (index, listener) in ingress.iter().enumerate() {
        let path = format!("spec.ingress[{index}]");
        check_number(&path, listener.port.number, faults);
        if !ports.insert(listener.port.number) {
            faults.push(Invalid::new(format!("{path}.port.number"), "a port used once", listener.port.number));
        }
        check_protocol(&format!("{path}.port.protocol"), &listener.port.protocol, faults);
        if let Some(endpoint) = &listener.default_endpoint
            && IngressEndpoint::parse(endpoint).is_none()
        {
            let path = format!("{path}.defaultEndpoint");
            let want = "127.0.0.1:PORT, 0.0.0.0:PORT or unix:///PATH";
            faults.push(Invalid::new(path, want, format!("{endpoint:?}")));
        }
        if let Some(tls) = &listener.tls {
            let protocol = listener.port.protocol.to_ascii_uppercase();
            if !matches!(protocol.as_str(), "HTTPS" | "TLS") {
                faults.push(Invalid::new(format!("{path}.port.protocol"), "HTTPS or TLS beside tls", &protocol));
            }
            check_ingress_tls(&format!("{path}.tls"), tls, faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    use super::*;

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("Sidecar", spec), &format!("sidecar default/x: {want}"));
    }

    #[test]
    fn egress_hosts_are_a_namespace_and_a_name() {
        read(&istio("Sidecar", "{egress: [{hosts: ['./*', 'istio-system/*', '~/*', '*/*.example.com']}]}")).unwrap();
        for host in ["reviews", "/a.b", "shop/a b"] {
            let want = format!(
                "spec.egress[0].hosts[0]: want namespace/dnsName, such as ./* or prod/api.example.com, got {host:?}"
            );
            refused(&format!("{{egress: [{{hosts: ['{host}']}}]}}"), &want);
        }
        refused("{egress: [{hosts: []}]}", "spec.egress[0].hosts: want at least one, got none");
    }

    #[test]
    fn ingress_ports_are_used_once_and_lead_to_the_workload() {
        let port = "port: {number: 80, protocol: HTTP}";
        read(&istio("Sidecar", &format!("{{ingress: [{{{port}, defaultEndpoint: '127.0.0.1:8080'}}]}}"))).unwrap();
        refused(
            &format!("{{ingress: [{{{port}}}, {{{port}}}]}}"),
            "spec.ingress[1].port.number: want a port used once, got 80",
        );
        refused(
            &format!("{{ingress: [{{{port}, defaultEndpoint: '10.0.0.1:80'}}]}}"),
            "spec.ingress[0].defaultEndpoint: want 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///PATH, got \"10.0.0.1:80\"",
        );
    }

    #[test]
    fn default_endpoints_have_three_forms() {
        assert_eq!(IngressEndpoint::parse("127.0.0.1:80"), Some(IngressEndpoint::Loopback(80)));
        assert_eq!(IngressEndpoint::parse("[::1]:80"), Some(IngressEndpoint::Loopback(80)));
        assert_eq!(IngressEndpoint::parse("0.0.0.0:80"), Some(IngressEndpoint::WorkloadAddress(80)));
        assert_eq!(IngressEndpoint::parse("unix:///run/a.sock"), Some(IngressEndpoint::Socket("/run/a.sock")));
        assert_eq!(IngressEndpoint::parse("unix://@a"), Some(IngressEndpoint::Socket("@a")));
        for text in ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "unix:/x", "unix://", "10.0.0.1:80"] {
            assert_eq!(IngressEndpoint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn connections_are_decrypted_with_certificates_in_files() {
        let ingress = |protocol: &str, tls: &str| {
            format!("{{ingress: [{{port: {{number: 443, protocol: {protocol}}}, tls: {{{tls}}}}}]}}")
        };
        let files = "serverCertificate: /c, privateKey: /k";
        read(&istio("Sidecar", &ingress("HTTPS", &format!("mode: SIMPLE, {files}")))).unwrap();
        read(&istio("Sidecar", &ingress("TLS", &format!("mode: MUTUAL, {files}, caCertificates: /ca")))).unwrap();
        let want = "spec.ingress[0].port.protocol: want HTTPS or TLS beside tls, got HTTP";
        refused(&ingress("HTTP", &format!("mode: SIMPLE, {files}")), want);
        refused(
            &ingress("TLS", "mode: PASSTHROUGH"),
            "spec.ingress[0].tls.mode: want SIMPLE or MUTUAL, got PASSTHROUGH",
        );
        let want = "spec.ingress[0].tls: want certificates in files at a sidecar, got the name of a Secret";
        refused(&ingress("TLS", "mode: SIMPLE, credentialName: c"), want);
        let want =
            "spec.ingress[0].tls.privateKey: want a file or credentialName, because the mode is SIMPLE, got none";
        refused(&ingress("TLS", "mode: SIMPLE, serverCertificate: /c"), want);
    }

    #[test]
    fn a_proxy_for_egress_is_named_in_full() {
        let policy =
            |mode: &str, proxy: &str| format!("{{outboundTrafficPolicy: {{mode: {mode}, egressProxy: {{{proxy}}}}}}}");
        let full = "host: proxy.shop.svc.cluster.local, subset: a, port: {number: 80}";
        read(&istio("Sidecar", &policy("ALLOW_ANY", full))).unwrap();
        let path = "spec.outboundTrafficPolicy.egressProxy";
        refused(&policy("REGISTRY_ONLY", full), &format!("{path}: want mode ALLOW_ANY beside egressProxy"));
        refused(&policy("ALLOW_ANY", "host: a, port: {number: 80}"), &format!("{path}.host: want a full DNS name"));
        refused(&policy("ALLOW_ANY", "host: a.b"), &format!("{path}.port: want the port of the host, got nothing"));
    }

    #[test]
    fn listeners_are_somewhere_and_for_something() {
        let port = "port: {number: 80, protocol: HTTP}, hosts: ['./*']";
        read(&istio("Sidecar", &format!("{{egress: [{{{port}, bind: 127.0.0.1, captureMode: NONE}}, {{{port}}}]}}")))
            .unwrap();
        refused(
            &format!("{{egress: [{{{port}}}, {{{port}}}]}}"),
            "spec.egress[1].port.number: want a port used once, got 80",
        );
        refused(
            "{egress: [{hosts: ['./*'], bind: x}]}",
            "spec.egress[0].bind: want an IP address or unix:///PATH, got \"x\"",
        );
        let unknown = "{egress: [{hosts: ['./*'], port: {number: 80, protocol: X}}]}";
        refused(unknown, "spec.egress[0].port.protocol: want HTTP, HTTP2");
        let zero = "{ingress: [{port: {number: 0, protocol: HTTP}}]}";
        refused(zero, "spec.ingress[0].port.number: want a number from 1 to 65535, got 0");
    }

    #[test]
    fn a_listener_at_a_socket_is_for_every_port() {
        let socket = |path: &str, port: &str, mode: &str| {
            format!(
                "{{hosts: ['./*'], bind: 'unix://{path}', port: {{number: {port}, protocol: HTTP}}, captureMode: {mode}}}"
            )
        };
        let (one, other) = (socket("/run/a", "0", "DEFAULT"), socket("@b", "0", "NONE"));
        read(&istio("Sidecar", &format!("{{egress: [{one}, {other}]}}"))).unwrap();
        refused(
            &format!("{{egress: [{one}, {one}]}}"),
            "spec.egress[1].bind: want a socket used once, got unix:///run/a",
        );
        let numbered = socket("/run/a", "80", "NONE");
        let want = "spec.egress[0].port.number: want 0 beside a Unix socket, got 80";
        refused(&format!("{{egress: [{numbered}]}}"), want);
        let captured = socket("/run/a", "0", "IPTABLES");
        refused(
            &format!("{{egress: [{captured}]}}"),
            "spec.egress[0].captureMode: want DEFAULT or NONE beside a Unix socket",
        );
        let without = "{egress: [{hosts: ['./*'], bind: 'unix:///x'}]}";
        refused(without, "spec.egress[0].port.number: want 0 beside a Unix socket, got none");
        let elsewhere = "{egress: [{hosts: ['./*'], bind: 127.0.0.1, port: {number: 0, protocol: HTTP}}]}";
        refused(elsewhere, "spec.egress[0].port.number: want a number from 1 to 65535, got 0");
    }
}
