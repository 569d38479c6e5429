//! Secrets, as a gateway asks for them by SDS.

use prost::Message;
use rutter_api::ResourceType;
use rutter_api::config::kubernetes::Secret;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use crate::model::{Credential, CredentialPart};
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
    let name = credential.to_string();
    let message = pb::Secret { name: name.clone(), r#type: Some(secret_type) };
    Some(EncodedResource::new(ResourceType::Secret, name.into(), &message.encode_to_vec()))
}

fn inline(bytes: &[u8]) -> core::DataSource {
    let specifier = core::data_source::Specifier::InlineBytes(bytes.to_vec());
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}
