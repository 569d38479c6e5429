//! Certificates made for a test, and connections that are encrypted with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, PublicKeyData, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority whose files are in a folder: `ca.pem`, and for each certificate `NAME.pem` and `NAME.key`.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The numbers of the certificates, by their names.
    serials: Mutex<BTreeMap<String, SerialNumber>>,
}

impl Authority {
    /// Makes an authority and writes its certificate.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(dir.join("ca.pem"), issuer.pem())?;
        Ok(Self { dir: dir.to_owned(), issuer, serials: Mutex::default() })
    }

    /// Writes a certificate for some DNS names and its key.
    ///
    /// # Errors
    /// Fails if the files cannot be written.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Result<()> {
        self.issue_until(name, hosts, 4096)
    }

    /// Writes a certificate for some DNS names that ends with the beginning of a year, and its key.
    ///
    /// # Errors
    /// Fails if the files cannot be written.
    pub fn issue_until(&self, name: &str, hosts: &[&str], year: i32) -> Result<()> {
        let key = KeyPair::generate()?;
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.not_after = date_time_ymd(year, 1, 1);
        let mut serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = SerialNumber::from(serials.len() as u64 + 2);
        params.serial_number = Some(serial.clone());
        serials.insert(name.to_owned(), serial);
        let certificate = params.signed_by(&key, &self.issuer)?;
        std::fs::write(self.dir.join(format!("{name}.pem")), certificate.pem())?;
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// Returns a certificate that was issued.
    ///
    /// # Errors
    /// Fails if there is none of this name.
    pub fn certificate(&self, name: &str) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_file(self.dir.join(format!("{name}.pem")))?)
    }

    /// Returns the text of one of the files.
    ///
    /// # Errors
    /// Fails if there is no such file.
    pub fn text(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.dir.join(name)).with_context(|| name.to_owned())
    }

    /// Returns the path of one of the files.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Returns what decrypts connections with a certificate that was issued. Clients show none.
    ///
    /// # Errors
    /// Fails if there is none of this name.
    pub fn acceptor(&self, name: &str) -> Result<TlsAcceptor> {
        let key = PrivateKeyDer::from_pem_file(self.dir.join(format!("{name}.key")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate(name)?], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Returns what decrypts connections with a certificate that was issued, of clients with one of the same authority.
    ///
    /// # Errors
    /// Fails if there is none of this name.
    pub fn acceptor_for_clients(&self, name: &str) -> Result<TlsAcceptor> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.join("ca.pem"))?)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let key = PrivateKeyDer::from_pem_file(self.dir.join(format!("{name}.key")))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate(name)?], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Writes a list of certificates that are no longer valid.
    ///
    /// # Errors
    /// Fails if one of them was not issued.
    pub fn revoke(&self, file: &str, names: &[&str]) -> Result<()> {
        let mut revoked_certs = Vec::new();
        for name in names {
            let serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
            let serial_number = serials.get(*name).context((*name).to_owned())?.clone();
            revoked_certs.push(RevokedCertParams {
                serial_number,
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(std::fs::write(self.dir.join(file), list.signed_by(&self.issuer)?.pem()?)?)
    }

    /// Returns the key of a certificate that was issued, as it is in the certificate.
    ///
    /// # Errors
    /// Fails if there is none of this name.
    pub fn public_key(&self, name: &str) -> Result<Vec<u8>> {
        Ok(KeyPair::from_pem(&self.text(&format!("{name}.key"))?)?.subject_public_key_info())
    }

    /// Connects to an address and asks for a host, perhaps with the certificate of a client. What the server shows must be
    /// of this authority.
    ///
    /// # Errors
    /// Fails if the server's certificate is another, or if it wants one that was not given.
    pub async fn connect(&self, addr: SocketAddr, host: &str, client: Option<&str>) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.join("ca.pem"))?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(name) => {
                let chain = vec![self.certificate(name)?];
                config
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(self.dir.join(format!("{name}.key")))?)?
            }
        };
        let stream = TcpStream::connect(addr).await.with_context(|| addr.to_string())?;
        let name = ServerName::try_from(host.to_owned())?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

/// Returns the SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    hash.map(|hash| hash.as_ref().to_vec()).unwrap_or_default()
}
