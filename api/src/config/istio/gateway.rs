//! `Gateway`: what a proxy at the edge of the mesh listens for.

use std::net::IpAddr;
use std::num::NonZeroU16;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, de};

use super::credential_name::CredentialName;
use crate::config::checks::{Faults, check_not_empty};
use crate::invalid::Invalid;
use crate::labels::Labels;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &["spec.servers[].defaultEndpoint", "spec.servers[].port.targetPort"];

/// The most certificates that a server may have: one for each type of key.
const CERTIFICATES_MAX: usize = 2;

/// The cipher suites of TLS up to 1.2 that Istio and Envoy know.
const CIPHER_SUITES: [&str; 14] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// What gateways listen for: the proxies of role `router` whose labels are selected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gateway {
    /// The labels, all of which a gateway must have, in whatever namespace it is. Empty means every gateway.
    #[serde(default)]
    pub selector: Labels,
    /// The servers.
    #[serde(default)]
    pub servers: Vec<Server>,
}

/// One port of a gateway, or one of several that share it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Server {
    /// The port.
    pub port: GatewayPort,
    /// The address at which the port is bound. Absent means every address.
    #[serde(default)]
    pub bind: Option<IpAddr>,
    /// The hosts that the server takes, at least one. Requests for others are no business of the server.
    pub hosts: Vec<ServerHost>,
    /// How connections are decrypted, or told apart without that.
    #[serde(default)]
    pub tls: Option<Box<ServerTls>>,
    /// A name for statistics; it has no effect on routing.
    #[serde(default)]
    pub name: String,
}

/// A port of a gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GatewayPort {
    /// The number, from 1 to 65535.
    pub number: NonZeroU16,
    /// The protocol: HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS or TCP, in any case.
    pub protocol: String,
    /// The name, which the route table of an HTTPS server has in its own.
    #[serde(default)]
    pub name: String,
}

/// A host that a server takes, and the namespace whose VirtualServices may route it: `shop/www.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerHost {
    /// The namespace. `None` means any. `.` stands for the namespace of the object.
    pub namespace: Option<Box<str>>,
    /// The host, perhaps a wildcard.
    pub host: Hostname,
}

impl<'de> Deserialize<'de> for ServerHost {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (namespace, host) = text.split_once('/').unwrap_or(("*", &text));
        let host = host.parse().map_err(de::Error::custom)?;
        Ok(Self { namespace: (namespace != "*").then(|| namespace.into()), host })
    }
}

/// How connections to a server are decrypted, or told apart without that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// Whether plain requests are answered with a redirect to HTTPS. For HTTP servers.
    #[serde(default)]
    pub https_redirect: bool,
    /// Who shows a certificate.
    #[serde(default)]
    pub mode: ServerTlsMode,
    /// The Secret with the server's certificate, in the namespace of the gateway's pod. It takes the place of files.
    #[serde(default)]
    pub credential_name: Option<CredentialName>,
    /// Several such Secrets, with certificates of different types of keys. They take the place of the one.
    #[serde(default)]
    pub credential_names: Vec<CredentialName>,
    /// The Secret with the certificates that vouch for clients, if it is another than that with the certificate.
    #[serde(default)]
    pub ca_cert_credential_name: Option<CredentialName>,
    /// Several certificates in files, with different types of keys. They take the place of the one.
    #[serde(default)]
    pub tls_certificates: Vec<CertificateFiles>,
    /// The file with the server's certificate, at the proxy.
    #[serde(default)]
    pub server_certificate: Option<String>,
    /// The file with the key of the server's certificate, at the proxy.
    #[serde(default)]
    pub private_key: Option<String>,
    /// The file with the certificates that vouch for clients, at the proxy. For `MUTUAL`.
    #[serde(default)]
    pub ca_certificates: Option<String>,
    /// The file with the certificates of clients that are no longer valid, at the proxy.
    #[serde(default)]
    pub ca_crl: Option<String>,
    /// The names one of which the certificate of a client must have. Empty means any.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// The hashes of the keys one of which a client must have, each SHA-256 in base64.
    #[serde(default)]
    pub verify_certificate_spki: Vec<String>,
    /// The hashes of the certificates one of which a client must have, each SHA-256 in hexadecimal.
    #[serde(default)]
    pub verify_certificate_hash: Vec<String>,
    /// The oldest version of TLS. Absent means 1.2.
    #[serde(default)]
    pub min_protocol_version: TlsVersion,
    /// The latest version of TLS. Absent means 1.3.
    #[serde(default)]
    pub max_protocol_version: TlsVersion,
    /// The cipher suites of TLS up to 1.2. Empty means Envoy's own.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
}

impl ServerTls {
    /// Returns the Secrets with the certificates of the server. If there are some, no file counts.
    pub fn credentials(&self) -> &[CredentialName] {
        if self.credential_names.is_empty() { self.credential_name.as_slice() } else { &self.credential_names }
    }

    /// Returns whether clients are asked for a certificate.
    pub fn asks_client(&self) -> bool {
        match self.mode {
            ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => true,
            ServerTlsMode::Passthrough
            | ServerTlsMode::Simple
            | ServerTlsMode::AutoPassthrough
            | ServerTlsMode::IstioMutual => false,
        }
    }
}

/// A certificate and its key, in files at the proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFiles {
    /// The file with the certificate.
    pub server_certificate: String,
    /// The file with its key.
    pub private_key: String,
}

/// Who shows a certificate: Istio's `ServerTLSSettings.TLSmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Nobody here: connections go, as they are, to where VirtualServices say by the host that the client names (SNI).
    #[default]
    Passthrough,
    /// The server.
    Simple,
    /// The server and the client.
    Mutual,
    /// The server, and the client if it likes.
    OptionalMutual,
    /// Nobody here: connections go, as they are, to the service, port and subset that the client names, in the form
    /// `outbound_.80_.SUBSET_.HOST`.
    AutoPassthrough,
    /// The server and the client, with certificates of the mesh. It comes with identities.
    IstioMutual,
}

impl ServerTlsMode {
    /// Returns Istio's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passthrough => "PASSTHROUGH",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::OptionalMutual => "OPTIONAL_MUTUAL",
            Self::AutoPassthrough => "AUTO_PASSTHROUGH",
            Self::IstioMutual => "ISTIO_MUTUAL",
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
pub enum TlsVersion {
    /// The default.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// 1.0
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// 1.1
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// 1.2
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// 1.3
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

impl TlsVersion {
    /// Returns Istio's word.
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "TLS_AUTO",
            Self::V1_0 => "TLSV1_0",
            Self::V1_1 => "TLSV1_1",
            Self::V1_2 => "TLSV1_2",
            Self::V1_3 => "TLSV1_3",
        }
    }
}

/// What a server does with the connections that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerProtocol {
    /// Requests come in plain text.
    Http,
    /// Connections are decrypted, and have requests in them.
    Https,
    /// Connections are told apart by the host that the client names, and are not decrypted.
    Passthrough,
    /// Connections name the service that they go to, and are not decrypted.
    AutoPassthrough,
    /// Connections are decrypted, and have something else in them.
    Tls,
    /// Connections are passed on as they are.
    Tcp,
}

impl Server {
    /// Returns what the server does with connections, or `None` if its protocol is unknown.
    pub fn protocol(&self) -> Option<ServerProtocol> {
        let mode = self.tls.as_ref().map(|tls| tls.mode);
        let passes_through = matches!(mode, None | Some(ServerTlsMode::Passthrough));
        match self.port.protocol.to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => Some(ServerProtocol::Http),
            "HTTPS" | "TLS" if mode == Some(ServerTlsMode::AutoPassthrough) => Some(ServerProtocol::AutoPassthrough),
            "HTTPS" | "TLS" if passes_through => Some(ServerProtocol::Passthrough),
            "HTTPS" => Some(ServerProtocol::Https),
            "TLS" => Some(ServerProtocol::Tls),
            "TCP" => Some(ServerProtocol::Tcp),
            _ => None,
        }
    }
}

/// Returns what is wrong in a Gateway that has the right types.
pub(crate) fn check(spec: &Gateway) -> Faults {
    let mut faults = Vec::new();
    check_not_empty("spec.servers", spec.servers.len(), &mut faults);
    for (index, server) in spec.servers.iter().enumerate() {
        check_server(&format!("spec.servers[{index}]"), server, &mut faults);
    }
    faults
}

fn check_server(path: &str, server: &Server, faults: &mut Faults) {
    check_not_empty(&format!("{path}.hosts"), server.hosts.len(), faults);
    let Some(protocol) = server.protocol() else {
        let want = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS or TCP";
        let got = format!("{:?}", server.port.protocol);
        faults.push(Invalid::new(format!("{path}.port.protocol"), want, got));
        return;
    };
    let tls_path = format!("{path}.tls");
    match (protocol, &server.tls) {
        (ServerProtocol::Http, Some(tls)) if !tls.https_redirect => {
            let want = "no tls beside a protocol of plain text, but for httpsRedirect";
            faults.push(Invalid::new(tls_path, want, &server.port.protocol));
        }
        (ServerProtocol::Tcp, Some(_)) => {
            faults.push(Invalid::new(tls_path, "protocol TLS beside tls", &server.port.protocol));
        }
        (ServerProtocol::Passthrough, None) => {
            let hint = "PASSTHROUGH, AUTO_PASSTHROUGH, SIMPLE, MUTUAL or OPTIONAL_MUTUAL";
            faults.push(Invalid::new(format!("{tls_path}.mode"), "how connections are treated", "none").hint(hint));
        }
        (
            ServerProtocol::Https | ServerProtocol::Tls | ServerProtocol::Passthrough | ServerProtocol::AutoPassthrough,
            Some(tls),
        ) => check_tls(&tls_path, tls, faults),
        (
            ServerProtocol::Http
            | ServerProtocol::Tcp
            | ServerProtocol::Https
            | ServerProtocol::Tls
            | ServerProtocol::AutoPassthrough,
            None,
        )
        | (ServerProtocol::Http, Some(_)) => {}
    }
}

pub(super) fn check_tls(path: &str, tls: &ServerTls, faults: &mut Faults) {
    let has_secret = !tls.credentials().is_empty();
    let needs = |name: &str, file: &Option<String>, faults: &mut Faults| {
        if file.as_ref().is_none_or(String::is_empty) && !has_secret {
            let want = format!("a file or credentialName, because the mode is {}", tls.mode.word());
            faults.push(Invalid::new(format!("{path}.{name}"), want, "none"));
        }
    };
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {}
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            if tls.tls_certificates.is_empty() {
                needs("serverCertificate", &tls.server_certificate, faults);
                needs("privateKey", &tls.private_key, faults);
            }
        }
        ServerTlsMode::IstioMutual => {
            let hint = "it comes with identities";
            faults.push(Invalid::not_supported(format!("{path}.mode")).hint(hint));
        }
    }
    for (name, number) in
        [("credentialNames", tls.credential_names.len()), ("tlsCertificates", tls.tls_certificates.len())]
    {
        if number > CERTIFICATES_MAX {
            faults.push(Invalid::new(format!("{path}.{name}"), format!("at most {CERTIFICATES_MAX}"), number));
        }
    }
    if tls.asks_client() && tls.ca_cert_credential_name.is_none() {
        needs("caCertificates", &tls.ca_certificates, faults);
    }
    check_values(path, tls, faults);
    if tls.https_redirect {
        faults.push(Invalid::new(format!("{path}.httpsRedirect"), "false at a server that is encrypted", "true"));
    }
}

/// Adds the values that Envoy would refuse, and with them the whole listener.
fn check_values(path: &str, tls: &ServerTls, faults: &mut Faults) {
    let (min, max) = (tls.min_protocol_version, tls.max_protocol_version);
    if min != TlsVersion::Auto && max != TlsVersion::Auto && min > max {
        let want = "a version that is not below minProtocolVersion";
        faults.push(Invalid::new(format!("{path}.maxProtocolVersion"), want, max.word()));
    }
    for (index, suite) in tls.cipher_suites.iter().enumerate() {
        if !CIPHER_SUITES.contains(&suite.as_str()) {
            let path = format!("{path}.cipherSuites[{index}]");
            faults.push(Invalid::new(path, format!("one of {}", CIPHER_SUITES.join(", ")), format!("{suite:?}")));
        }
    }
    for (index, hash) in tls.verify_certificate_hash.iter().enumerate() {
        let digits: Vec<char> = hash.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.iter().all(char::is_ascii_hexdigit) {
            let path = format!("{path}.verifyCertificateHash[{index}]");
            faults.push(Invalid::new(path, "the SHA-256 of a certificate, 64 hexadecimal digits", format!("{hash:?}")));
        }
    }
    for (index, hash) in tls.verify_certificate_spki.iter().enumerate() {
        if STANDARD.decode(hash).map_or(0, |bytes| bytes.len()) != 32 {
            let path = format!("{path}.verifyCertificateSpki[{index}]");
            faults.push(Invalid::new(path, "the SHA-256 of a key, 32 bytes in base64", format!("{hash:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn server(server: &str) -> String {
        istio("Gateway", &format!("{{selector: {{istio: ingressgateway}}, servers: [{{{server}}}]}}"))
    }

    #[test]
    fn servers_of_every_sort_are_taken() {
        for taken in [
            "port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']",
            "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com], tls: {httpsRedirect: true}",
            "port: {number: 443, protocol: HTTPS}, hosts: ['shop/*.example.com'], bind: 10.0.0.1, \
             tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k, minProtocolVersion: TLSV1_2}",
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, \
             caCertificates: /ca}",
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: MUTUAL, credentialName: c}",
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialNames: ['kubernetes://c', d]}",
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, \
             caCertCredentialName: c, caCrl: /l}",
            "port: {number: 443, protocol: HTTPS}, hosts: [a], \
             tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]}",
            "port: {number: 443, protocol: TLS}, hosts: [a], tls: {mode: PASSTHROUGH}",
            "port: {number: 15443, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}",
            "port: {number: 31400, protocol: TCP}, hosts: ['*']",
        ] {
            read(&server(taken)).unwrap();
        }
    }

    #[test]
    fn what_a_server_needs_and_has_no_use_for_is_told() {
        let refused = |text: &str, want: &str| {
            assert_refused(&server(text), &format!("gateway default/x: spec.servers[0].{want}"));
        };
        refused("port: {number: 80, protocol: HTTP}, hosts: []", "hosts: want at least one, got none");
        refused("port: {number: 80, protocol: UDP}, hosts: [a]", "port.protocol: want HTTP, HTTP2, GRPC");
        refused(
            "port: {number: 443, protocol: HTTPS}, hosts: [a]",
            "tls.mode: want how connections are treated, got none",
        );
        refused("port: {number: 80, protocol: HTTP}, hosts: [a], tls: {mode: SIMPLE}", "tls: want no tls beside");
        refused(
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k}",
            "tls.caCertificates: want a file or credentialName, because the mode is MUTUAL, got none",
        );
        refused(
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: 'sds://c'}",
            "tls.credentialName: want the name of a Secret in the namespace of the pod, got \"sds://c\"",
        );
        refused(
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialNames: [a, b, c]}",
            "tls.credentialNames: want at most 2, got 3",
        );
        refused(
            "port: {number: 443, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: c, \
             minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}",
            "tls.maxProtocolVersion: want a version that is not below minProtocolVersion, got TLSV1_2",
        );
        refused(
            "port: {number: 443, protocol: TLS}, hosts: [a], tls: {mode: ISTIO_MUTUAL}",
            "tls.mode: not supported yet (it comes with identities)",
        );
        assert_refused(
            &istio("Gateway", "{servers: []}"),
            "gateway default/x: spec.servers: want at least one, got none",
        );
    }
}
