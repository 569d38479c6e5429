//! What the admin API says of Secrets: whether they can be used and who is not sent them, and never what is in them.

use std::time::SystemTime;

use bytes::Bytes;
use futures::future::join_all;
use prost::Message;
use rutter_api::node::Role;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use rutter_api::{Config, ConfigKey, Kind, ResourceType};
use rutter_core::resource::EncodedResource;
use rutter_store::Stored;
use serde_json::{Value, json};

use crate::certificates;
use crate::sealing::Sealer;
use crate::streams::OpenStreams;

/// What stands in the place of a key.
const HIDDEN: &str = "[hidden]";
/// What Istio puts behind the name of a Secret of which only the certificates are meant that vouch for others.
const AUTHORITIES_SUFFIX: &str = "-cacert";
/// The number of gateways that are named. More are only counted.
const GATEWAYS_NAMED: usize = 3;

/// Returns the message of a resource as it may be shown: without private keys.
pub(super) fn shown_body(resource_type: ResourceType, resource: &EncodedResource) -> Bytes {
    let body = resource.body();
    if resource_type != ResourceType::Secret {
        return body;
    }
    // What is no Secret is not shown at all.
    let Ok(mut secret) = tls::Secret::decode(&body[..]) else { return Bytes::new() };
    if let Some(tls::secret::Type::TlsCertificate(certificate)) = &mut secret.r#type {
        let hidden = core::data_source::Specifier::InlineString(HIDDEN.to_owned());
        certificate.private_key = Some(core::DataSource { specifier: Some(hidden), ..Default::default() });
    }
    secret.encode_to_vec().into()
}

/// Returns the conditions of an object if it is a Secret and something about it is not as one would wish.
pub(super) async fn conditions(stored: &Stored, streams: &OpenStreams, sealer: &Sealer) -> Vec<Value> {
    if stored.key.kind != Kind::Secret {
        return Vec::new();
    }
    let mut conditions: Vec<Value> = usability(stored, sealer).into_iter().collect();
    conditions.extend(delivery(&stored.key, streams).await);
    conditions
}

/// Returns what is wrong with the certificates.
fn usability(stored: &Stored, sealer: &Sealer) -> Option<Value> {
    let config = Config::from_json(stored.key.clone(), &stored.json).ok()?;
    let (reason, message) = match sealer.opened(config) {
        Err(error) => ("CannotBeOpened", error.to_string()),
        Ok(opened) => {
            let warnings = certificates::warnings(opened.spec.as_secret()?, SystemTime::now());
            ("CertificateDates", Some(warnings.join("; ")).filter(|text| !text.is_empty())?)
        }
    };
    Some(json!({"type": "Ready", "status": "False", "reason": reason, "message": message}))
}

/// Returns which gateways ask for a Secret and are not sent it, because their connection is not encrypted.
async fn delivery(key: &ConfigKey, streams: &OpenStreams) -> Option<Value> {
    let name = format!("kubernetes://{}", key.name);
    let names = [format!("{name}{AUTHORITIES_SUFFIX}"), name.trim_end_matches(AUTHORITIES_SUFFIX).to_owned(), name];
    let mut gateways = streams.of_namespace(&key.namespace);
    gateways.retain(|handle| handle.node.role == Role::Gateway && !handle.node.may_be_sent_secrets);
    let asked = gateways.iter().map(|handle| {
        let names = names.clone();
        handle.ask(move |stream| names.iter().any(|name| stream.asks_for(ResourceType::Secret, name)))
    });
    let asked = join_all(asked).await;
    let refused: Vec<String> = gateways
        .iter()
        .zip(asked)
        .filter(|(_, asks)| asks.unwrap_or_default())
        .map(|(handle, _)| match handle.peer {
            Some(peer) => format!("{} at {peer}", handle.node.id()),
            None => handle.node.id(),
        })
        .collect();
    if refused.is_empty() {
        return None;
    }
    let mut named: Vec<String> = refused.iter().take(GATEWAYS_NAMED).cloned().collect();
    if let Some(more @ 1..) = refused.len().checked_sub(GATEWAYS_NAMED) {
        named.push(format!("and {more} more"));
    }
    let message = format!(
        "not sent to {}: until connections are encrypted, a key goes only to gateways on this machine (over loopback)",
        named.join(", ")
    );
    Some(json!({"type": "Delivered", "status": "False", "reason": "ConnectionNotEncrypted", "message": message}))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rutter_api::SidecarNode;
    use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use rutter_core::stream::Limits;
    use rutter_core::{AdsStream, NodeId, Variant, View};

    use super::*;
    use crate::streams::Questions;
    use crate::testing::node;

    #[tokio::test]
    async fn a_gateway_that_asks_in_vain_is_named_with_the_reason() {
        let streams = OpenStreams::new(Arc::default());
        let gateway = Arc::new(SidecarNode { role: Role::Gateway, ..node("edge-1", "shop") });
        let questions = Arc::new(Questions::default());
        let place = streams.enter(&gateway, "10.1.1.1".parse().ok(), 1).unwrap();
        let _registered = streams.add(place, NodeId(1), gateway, questions.clone());
        let limits = Limits { names_max: 10, resource_bytes_max: usize::MAX };
        let mut stream = AdsStream::new(Variant::Delta, View::default(), limits);
        let request = DeltaDiscoveryRequest {
            type_url: ResourceType::Secret.type_url().into(),
            resource_names_subscribe: vec!["kubernetes://web-cacert".into()],
            ..Default::default()
        };
        stream.on_request(std::time::Instant::now(), &request.encode_to_vec()).unwrap();
        let said = async |name: &str| {
            let key = ConfigKey::new(Kind::Secret, "shop", name);
            let answering = async {
                questions.next().await.into_iter().for_each(|question| question(&stream));
            };
            tokio::join!(delivery(&key, &streams), answering).0
        };
        for name in ["web", "web-cacert"] {
            let condition = said(name).await.unwrap();
            let message = condition["message"].as_str().unwrap();
            assert!(
                message.starts_with("not sent to edge-1.shop at 10.1.1.1: until connections are encrypted"),
                "{message}"
            );
        }
        assert_eq!(said("other").await, None);
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let inline = |text: &str| core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineBytes(text.as_bytes().to_vec())),
            ..Default::default()
        };
        let certificate = tls::TlsCertificate {
            certificate_chain: Some(inline("CERT")),
            private_key: Some(inline("PRIVATE")),
            ..Default::default()
        };
        let secret = tls::Secret { name: "a".into(), r#type: Some(tls::secret::Type::TlsCertificate(certificate)) };
        let resource = EncodedResource::new(ResourceType::Secret, "a".into(), &secret.encode_to_vec());
        let shown = String::from_utf8_lossy(&shown_body(ResourceType::Secret, &resource)).into_owned();
        assert!(shown.contains("CERT") && shown.contains(HIDDEN) && !shown.contains("PRIVATE"), "{shown}");
        let cluster = EncodedResource::new(ResourceType::Cluster, "a".into(), b"anything");
        assert_eq!(&shown_body(ResourceType::Cluster, &cluster)[..], b"anything");
    }
}
