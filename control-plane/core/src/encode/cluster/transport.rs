//! Transport sockets of clusters: encryption, and the PROXY protocol.

use std::borrow::Cow;

use rutter_api::config::istio::{ClientTls, ClientTlsMode, PolicyProxyProtocol, ProxyProtocolVersion};
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use rutter_api::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;

use crate::encode::transport::{certificate, file, san_matcher, sds, socket, validation};
use crate::encode::wire::any;
use crate::model::{Policy, Protocol, client_authorities, client_certificate};

/// The file with the certificates that a Debian system trusts, which is also where Envoy's images have them.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Returns the transport socket of a cluster, or `None` if connections are plain.
pub(super) fn transport_socket(
    policy: &Policy<'_>,
    protocol: Protocol,
    takes_secrets: bool,
) -> Option<core::TransportSocket> {
    let encrypted = policy.tls.and_then(|settings| match settings.mode {
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual => None,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            // Sidecars use the files, as in Istio.
            let without_secret = || ClientTls { credential_name: None, ..settings.clone() };
            let settings = if takes_secrets { Cow::Borrowed(settings) } else { Cow::Owned(without_secret()) };
            Some(tls_socket(&settings, policy, protocol))
        }
    });
    match policy.proxy_protocol {
        Some(proxy_protocol) => Some(proxy_protocol_socket(proxy_protocol, encrypted)),
        None => encrypted,
    }
}

/// Returns whether the host that a request asks for is named at the beginning of a connection, because no other is.
pub(super) fn names_host_of_request(settings: &ClientTls) -> bool {
    settings.encrypts() && settings.sni.as_ref().is_none_or(String::is_empty)
}

/// Returns whether the certificate of an endpoint must have the host that a request asks for.
pub(super) fn verifies_host_of_request(settings: &ClientTls, policy: &Policy<'_>) -> bool {
    policy.certificate_names().is_empty() && settings.insecure_skip_verify != Some(true)
}

fn tls_socket(settings: &ClientTls, policy: &Policy<'_>, protocol: Protocol) -> core::TransportSocket {
    let ClientTls {
        mode: _,
        credential_name,
        client_certificate,
        private_key,
        ca_certificates,
        subject_alt_names: _,
        sni,
        insecure_skip_verify,
        ca_crl,
    } = settings;
    let files = client_certificate.as_deref().zip(private_key.as_deref()).filter(|_| credential_name.is_none());
    let authorities = client_authorities(settings);
    let trusted_ca = file(ca_certificates.as_deref().unwrap_or(SYSTEM_CERTIFICATES));
    let context = (*insecure_skip_verify != Some(true)).then(|| tls::CertificateValidationContext {
        trusted_ca: Some(trusted_ca).filter(|_| authorities.is_none()),
        crl: ca_crl.as_deref().map(file),
        match_typed_subject_alt_names: policy.certificate_names().iter().map(|name| san_matcher(name)).collect(),
        ..Default::default()
    });
    let is_http2 = match protocol {
        Protocol::Http2 | Protocol::Grpc => true,
        Protocol::Http | Protocol::Unknown | Protocol::Tls | Protocol::Tcp => policy.upgrades_to_http2(),
    };
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12 as i32,
            tls_maximum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv13 as i32,
            ..Default::default()
        }),
        tls_certificates: files.map(|(chain, key)| certificate(chain, key)).into_iter().collect(),
        tls_certificate_sds_secret_configs: client_certificate_by_name(settings),
        alpn_protocols: if is_http2 { vec!["h2".into()] } else { Vec::new() },
        validation_context_type: context.map(|context| validation(context, authorities.as_ref())),
        ..Default::default()
    };
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.clone().unwrap_or_default(),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", any("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", &context))
}

fn client_certificate_by_name(settings: &ClientTls) -> Vec<tls::SdsSecretConfig> {
    client_certificate(settings).iter().map(sds).collect()
}

fn proxy_protocol_socket(
    proxy_protocol: &PolicyProxyProtocol,
    inner: Option<core::TransportSocket>,
) -> core::TransportSocket {
    let raw = || {
        let raw_buffer = any("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", &RawBuffer {});
        socket("envoy.transport_sockets.raw_buffer", raw_buffer)
    };
    let version = match proxy_protocol.version {
        ProxyProtocolVersion::V1 => core::proxy_protocol_config::Version::V1,
        ProxyProtocolVersion::V2 => core::proxy_protocol_config::Version::V2,
    };
    let config = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig { version: version as i32, ..Default::default() }),
        transport_socket: Some(inner.unwrap_or_else(raw)),
        ..Default::default()
    };
    const NAME: &str = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";
    socket("envoy.transport_sockets.upstream_proxy_protocol", any(NAME, &config))
}
