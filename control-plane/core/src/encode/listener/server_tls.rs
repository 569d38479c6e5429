//! How listeners decrypt connections.

use rutter_api::config::istio::{CertificateFiles, ServerTls, ServerTlsMode, TlsVersion};
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;

use crate::encode::transport::{certificate, file, san_matcher, sds, socket, validation};
use crate::encode::wire::any;
use crate::model::{Credential, CredentialPart, server_authorities, server_credentials};

/// Returns the transport socket that decrypts connections. Of those with requests in them, clients may choose HTTP/2.
pub(super) fn server_tls(settings: &ServerTls, is_http: bool) -> core::TransportSocket {
    let ServerTls {
        https_redirect: _,
        mode,
        credential_name: _,
        credential_names: _,
        ca_cert_credential_name: _,
        server_certificate: _,
        private_key: _,
        tls_certificates: _,
        ca_certificates,
        ca_crl,
        subject_alt_names,
        verify_certificate_spki,
        verify_certificate_hash,
        min_protocol_version,
        max_protocol_version,
        cipher_suites,
    } = settings;
    let authorities = server_authorities(settings);
    let context = settings.asks_client().then(|| tls::CertificateValidationContext {
        trusted_ca: ca_certificates.as_deref().filter(|_| authorities.is_none()).map(file),
        crl: ca_crl.as_deref().map(file),
        match_typed_subject_alt_names: subject_alt_names.iter().map(|name| san_matcher(name)).collect(),
        verify_certificate_spki: verify_certificate_spki.clone(),
        verify_certificate_hash: verify_certificate_hash.clone(),
        ..Default::default()
    });
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: version(*min_protocol_version, TlsVersion::V1_2) as i32,
            tls_maximum_protocol_version: version(*max_protocol_version, TlsVersion::V1_3) as i32,
            cipher_suites: cipher_suites.clone(),
            ..Default::default()
        }),
        tls_certificates: certificates(settings),
        tls_certificate_sds_secret_configs: certificates_by_name(settings).iter().map(sds).collect(),
        alpn_protocols: if is_http { vec!["h2".into(), "http/1.1".into()] } else { Vec::new() },
        validation_context_type: context.map(|context| validation(context, authorities.as_ref())),
        ..Default::default()
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(*mode == ServerTlsMode::Mutual),
        ..Default::default()
    };
    const NAME: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    socket("envoy.transport_sockets.tls", any(NAME, &context))
}

/// Returns the certificates of a server that are in files. Those in Secrets take their place.
fn certificates(settings: &ServerTls) -> Vec<tls::TlsCertificate> {
    if !settings.credentials().is_empty() {
        return Vec::new();
    }
    let several = settings.tls_certificates.iter();
    let several =
        several.map(|CertificateFiles { server_certificate, private_key }| (&**server_certificate, &**private_key));
    let one = settings.server_certificate.as_deref().zip(settings.private_key.as_deref());
    let one = one.filter(|_| settings.tls_certificates.is_empty());
    several.chain(one).map(|(chain, key)| certificate(chain, key)).collect()
}

/// Returns the certificates of a server that are in Secrets.
fn certificates_by_name(settings: &ServerTls) -> Vec<Credential> {
    let mut needed = server_credentials(settings);
    needed.retain(|credential| credential.part == CredentialPart::Certificate);
    needed
}

fn version(wanted: TlsVersion, default: TlsVersion) -> tls::tls_parameters::TlsProtocol {
    use tls::tls_parameters::TlsProtocol;
    match if wanted == TlsVersion::Auto { default } else { wanted } {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}
