//! The certificates that the TLS settings of proxies need, in Secrets and in files, and the names by which proxies ask for them.

use std::collections::BTreeSet;
use std::fmt;

use rutter_api::config::istio::{
    CertificateFiles, ClientTls, ClientTlsMode, CredentialName, DestinationRule, PortTrafficPolicy, ServerTls,
    TrafficPolicy,
};
use rutter_api::{Config, ConfigKey, Kind, Spec};

/// What Istio puts behind the name of a Secret of which only the certificates are meant that vouch for others.
const AUTHORITIES_SUFFIX: &str = "-cacert";

/// Something that a gateway asks for by SDS: `kubernetes://NAME`, or `kubernetes://NAME-cacert`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credential {
    /// The Secret.
    pub name: CredentialName,
    /// What of the Secret is meant.
    pub part: CredentialPart,
}

/// A part of a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialPart {
    /// The certificate with its key.
    Certificate,
    /// The certificates that vouch for others.
    Authorities,
}

impl fmt::Display for Credential {
    /// Prints the name of the resource.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.part {
            CredentialPart::Certificate => "",
            CredentialPart::Authorities => AUTHORITIES_SUFFIX,
        };
        write!(f, "kubernetes://{}{suffix}", self.name)
    }
}

impl Credential {
    fn new(name: &CredentialName, part: CredentialPart) -> Self {
        Self { name: name.clone(), part }
    }

    /// Returns the Secrets of a namespace that may have the part, the one that counts more first. The certificates that
    /// vouch for others may be in a Secret of their own.
    pub fn secrets(&self, namespace: &str) -> Vec<ConfigKey> {
        let key = |name: &str| ConfigKey::new(Kind::Secret, namespace, name);
        match self.part {
            CredentialPart::Certificate => vec![key(self.name.as_str())],
            CredentialPart::Authorities => {
                vec![key(&format!("{}{AUTHORITIES_SUFFIX}", self.name)), key(self.name.as_str())]
            }
        }
    }
}

/// Certificates in files at the proxy that decrypts. The proxy asks for them by SDS as for Secrets, and is sent where the files
/// are: so it reads them again when they are replaced, and a file that is missing costs the connections that need it, and not the
/// whole listener. The names are those of Istio.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileCredential {
    /// A certificate with its key: `file-cert:CHAIN~KEY`.
    Certificate {
        /// The file with the certificate.
        chain: String,
        /// The file with its key.
        key: String,
    },
    /// The certificates that vouch for others: `file-root:FILE`, or `file-root:FILE~REVOKED`.
    Authorities {
        /// The file with the certificates.
        file: String,
        /// The file with the certificates that are no longer valid.
        revoked: Option<String>,
    },
}

impl fmt::Display for FileCredential {
    /// Prints the name of the resource.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { chain, key } => write!(f, "file-cert:{chain}~{key}"),
            Self::Authorities { file, revoked: None } => write!(f, "file-root:{file}"),
            Self::Authorities { file, revoked: Some(revoked) } => write!(f, "file-root:{file}~{revoked}"),
        }
    }
}

/// Returns the certificates of a server that are in files. Those in Secrets take their place.
pub fn server_certificate_files(tls: &ServerTls) -> Vec<FileCredential> {
    if !tls.credentials().is_empty() {
        return Vec::new();
    }
    let several = tls.tls_certificates.iter();
    let several = several.map(|CertificateFiles { server_certificate, private_key }| (server_certificate, private_key));
    let one = tls.server_certificate.as_ref().zip(tls.private_key.as_ref());
    let pairs = several.chain(one.filter(|_| tls.tls_certificates.is_empty()));
    pairs.map(|(chain, key)| FileCredential::Certificate { chain: chain.clone(), key: key.clone() }).collect()
}

/// Returns what a server checks the certificates of clients with, if that is in a file.
pub fn server_authorities_file(tls: &ServerTls) -> Option<FileCredential> {
    let file = tls.ca_certificates.clone().filter(|_| tls.asks_client() && server_authorities(tls).is_none())?;
    Some(FileCredential::Authorities { file, revoked: tls.ca_crl.clone() })
}

/// Returns what a server needs of files.
pub fn server_files(tls: &ServerTls) -> impl Iterator<Item = FileCredential> {
    server_certificate_files(tls).into_iter().chain(server_authorities_file(tls))
}

/// Returns what a server needs of Secrets.
pub fn server_credentials(tls: &ServerTls) -> Vec<Credential> {
    let certificates = tls.credentials().iter();
    let mut needed: Vec<Credential> =
        certificates.map(|name| Credential::new(name, CredentialPart::Certificate)).collect();
    needed.extend(server_authorities(tls));
    needed
}

/// Returns what a server checks the certificates of clients with, if that is in a Secret.
pub fn server_authorities(tls: &ServerTls) -> Option<Credential> {
    let name = tls.ca_cert_credential_name.as_ref().or_else(|| tls.credentials().first())?;
    tls.asks_client().then(|| Credential::new(name, CredentialPart::Authorities))
}

/// Returns the certificate that a client shows, if it is in a Secret.
pub fn client_certificate(tls: &ClientTls) -> Option<Credential> {
    let is_shown = match tls.mode {
        ClientTlsMode::Mutual => true,
        ClientTlsMode::Disable | ClientTlsMode::Simple | ClientTlsMode::IstioMutual => false,
    };
    let name = tls.credential_name.as_ref().filter(|_| is_shown)?;
    Some(Credential::new(name, CredentialPart::Certificate))
}

/// Returns what a client checks the certificates of endpoints with, if that is in a Secret.
pub fn client_authorities(tls: &ClientTls) -> Option<Credential> {
    let is_checked = match tls.mode {
        ClientTlsMode::Mutual | ClientTlsMode::Simple => tls.insecure_skip_verify != Some(true),
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual => false,
    };
    let name = tls.credential_name.as_ref().filter(|_| is_checked)?;
    Some(Credential::new(name, CredentialPart::Authorities))
}

/// Returns what an object needs of Secrets at a gateway.
pub fn credentials_of(config: &Config) -> BTreeSet<Credential> {
    match &config.spec {
        Spec::Gateway(gateway) => {
            gateway.servers.iter().filter_map(|server| server.tls.as_deref()).flat_map(server_credentials).collect()
        }
        Spec::DestinationRule(rule) => rule_credentials(rule),
        Spec::Namespace
        | Spec::Service(_)
        | Spec::Pod(_)
        | Spec::EndpointSlice(_)
        | Spec::ServiceEntry(_)
        | Spec::WorkloadGroup(_)
        | Spec::WorkloadEntry(_)
        | Spec::MeshConfig(_)
        | Spec::Secret(_)
        | Spec::Ingress(_)
        | Spec::VirtualService(_)
        | Spec::Sidecar(_) => BTreeSet::new(),
    }
}

/// Returns what the connections that a rule is about need at a gateway.
pub fn rule_credentials(rule: &DestinationRule) -> BTreeSet<Credential> {
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_deref());
    let policies = rule.traffic_policy.as_deref().into_iter().chain(subsets);
    let settings = policies.flat_map(|TrafficPolicy { tls, port_level_settings, .. }| {
        tls.iter().chain(port_level_settings.iter().filter_map(|PortTrafficPolicy { tls, .. }| tls.as_ref()))
    });
    settings.flat_map(|tls| client_certificate(tls).into_iter().chain(client_authorities(tls))).collect()
}
