//! What transport sockets of clusters and of listeners have in common.

use std::fmt::Display;
use std::net::IpAddr;

use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

use super::wire::ads_of_secrets;

/// Returns a file at the proxy as a source of data.
pub(super) fn file(path: &str) -> core::DataSource {
    core::DataSource { specifier: Some(core::data_source::Specifier::Filename(path.to_owned())), ..Default::default() }
}

/// Returns a certificate and its key, by their files at the proxy.
pub(super) fn certificate(chain: &str, key: &str) -> tls::TlsCertificate {
    tls::TlsCertificate { certificate_chain: Some(file(chain)), private_key: Some(file(key)), ..Default::default() }
}

/// Returns the setting by which a proxy asks on its stream for certificates of a name.
pub(super) fn sds(credential: &impl Display) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: credential.to_string(), sds_config: Some(ads_of_secrets()) }
}

/// Returns how certificates of peers are checked: with those that come by SDS, if there is something of that sort.
pub(super) fn validation(
    context: tls::CertificateValidationContext,
    authorities: Option<&impl Display>,
) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    match authorities {
        None => ValidationContextType::ValidationContext(context),
        Some(credential) => ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(context),
            validation_context_sds_secret_config: Some(sds(credential)),
            ..Default::default()
        }),
    }
}

/// Returns the matcher of a name in a certificate. What kind of name it is follows from its form.
pub(super) fn san_matcher(name: &str) -> tls::SubjectAltNameMatcher {
    use tls::subject_alt_name_matcher::SanType;
    let san_type = if name.contains("://") {
        SanType::Uri
    } else if name.parse::<IpAddr>().is_ok() {
        SanType::IpAddress
    } else {
        SanType::Dns
    };
    let exact = matcher::string_matcher::MatchPattern::Exact(name.to_owned());
    tls::SubjectAltNameMatcher {
        san_type: san_type as i32,
        matcher: Some(matcher::StringMatcher { match_pattern: Some(exact), ..Default::default() }),
        ..Default::default()
    }
}

/// Returns a transport socket of a type.
pub(super) fn socket(name: &str, config: prost_types::Any) -> core::TransportSocket {
    let config_type = Some(core::transport_socket::ConfigType::TypedConfig(config));
    core::TransportSocket { name: name.to_owned(), config_type }
}
