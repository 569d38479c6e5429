//! Certificates made for a test, and connections that are encrypted with them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority whose files are in a folder: `ca.pem`, and for each certificate `NAME.pem` and `NAME.key`.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
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
        Ok(Self { dir: dir.to_owned(), issuer })
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
