//! How listeners decrypt connections.

use rutter_api::config::istio::{ServerTls, ServerTlsMode, TlsVersion};
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;

use crate::encode::transport::{file, san_matcher, sds, socket, validation};
use crate::encode::wire::any;
use crate::model::{
    CredentialPart, server_authorities, server_authorities_file, server_certificate_files, server_credentials,
};

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
        ca_certificates: _,
        ca_crl,
        subject_alt_names,
        verify_certificate_spki,
        verify_certificate_hash,
        min_protocol_version,
        max_protocol_version,
        cipher_suites,
    } = settings;
    let in_file = server_authorities_file(settings).map(|credential| credential.to_string());
    let has_file = in_file.is_some();
    let authorities = server_authorities(settings).map(|credential| credential.to_string()).or(in_file);
    let context = settings.asks_client().then(|| tls::CertificateValidationContext {
        // What is in the same setting as the authorities comes with them.
        crl: ca_crl.as_deref().filter(|_| !has_file).map(file),
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
        tls_certificate_sds_secret_configs: certificates(settings).iter().map(sds).collect(),
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

/// Returns the names of the certificates of a server, in Secrets or in files.
fn certificates(settings: &ServerTls) -> Vec<String> {
    let mut in_secrets = server_credentials(settings);
    in_secrets.retain(|credential| credential.part == CredentialPart::Certificate);
    let in_files = server_certificate_files(settings);
    let in_secrets = in_secrets.iter().map(ToString::to_string);
    in_secrets.chain(in_files.iter().map(ToString::to_string)).collect()
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
