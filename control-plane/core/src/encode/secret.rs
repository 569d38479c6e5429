//! Certificates, as proxies ask for them by SDS: those in Secrets, and where those in files are.

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::config::kubernetes::Secret;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use super::transport::{certificate, file};
use crate::model::{Credential, CredentialPart, FileCredential};
use crate::resource::EncodedResource;

/// Encodes a part of a Secret. `None` means that the Secret does not have it.
pub fn encode_secret(credential: &Credential, secret: &Secret) -> Option<EncodedResource> {
    let secret_type = match credential.part {
        CredentialPart::Certificate => {
            let (chain, key) = secret.certificate()?;
            pb::secret::Type::TlsCertificate(pb::TlsCertificate {
                certificate_chain: Some(inline(chain)),
                private_key: Some(inline(key)),
                ..Default::default()
            })
        }
        CredentialPart::Authorities => pb::secret::Type::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: Some(inline(secret.authorities()?)),
            crl: secret.revocations().map(inline),
            ..Default::default()
        }),
    };
    Some(encoded(credential.to_string(), secret_type))
}

/// Encodes where certificates in files are. They are read again when a file of the folder is replaced by renaming another, as
/// Kubernetes does it in volumes, and by an Envoy that knows how also when one is written in place.
pub fn encode_files(credential: &FileCredential) -> EncodedResource {
    let watched = |path: &str| {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder });
        Some(core::WatchedDirectory { path: folder.to_owned(), watch_modify: true })
    };
    let secret_type = match credential {
        FileCredential::Certificate { chain, key } => pb::secret::Type::TlsCertificate(pb::TlsCertificate {
            watched_directory: watched(chain),
            ..certificate(chain, key)
        }),
        FileCredential::Authorities { file: authorities, revoked } => {
            pb::secret::Type::ValidationContext(pb::CertificateValidationContext {
                trusted_ca: Some(file(authorities)),
                crl: revoked.as_deref().map(file),
                watched_directory: watched(authorities),
                ..Default::default()
            })
        }
    };
    encoded(credential.to_string(), secret_type)
}

fn encoded(name: String, secret_type: pb::secret::Type) -> EncodedResource {
    let message = pb::Secret { name: name.clone(), r#type: Some(secret_type) };
    EncodedResource::new(ResourceType::Secret, name.into(), &message.encode_to_vec())
}

fn inline(bytes: &[u8]) -> core::DataSource {
    let specifier = core::data_source::Specifier::InlineBytes(bytes.to_vec());
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}
