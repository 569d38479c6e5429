//! Protobuf messages as JSON with protobuf's field names, for people to read.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::pb;

/// The reason why a message cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The type is not among the definitions in `api/proto`.
    #[error("no definition of {0}")]
    UnknownType(String),
    /// The bytes are not a message of that type, or contain an `Any` of an unknown type.
    #[error("{0}: {1}")]
    Malformed(String, String),
}

/// Returns the message that `bytes` encode as JSON. The type URL is that of an `Any`, with or without the part before
/// the slash.
///
/// # Errors
/// Fails when the type is unknown or the bytes are not a message of that type.
pub fn from_bytes(type_url: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor = message_descriptor(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let message = DynamicMessage::decode(descriptor, bytes)
        .map_err(|error| JsonError::Malformed(name.to_owned(), error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| JsonError::Malformed(name.to_owned(), error.to_string()))
}

/// Returns the bytes of a message that is given as JSON, with protobuf's names of the fields or with those of JSON.
///
/// # Errors
/// Fails when the type is unknown, or an `Any` in the message is of an unknown type, or the JSON is no message of the type.
pub fn to_bytes(type_url: &str, json: &Value) -> Result<Vec<u8>, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor = message_descriptor(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let message = DynamicMessage::deserialize(descriptor, json)
        .map_err(|error| JsonError::Malformed(name.to_owned(), error.to_string()))?;
    Ok(prost::Message::encode_to_vec(&message))
}

/// Returns the definition of a message by its full name, such as `envoy.config.cluster.v3.Cluster`, so that a test can
/// visit every field of it. `None` means that the message is not among the definitions in `api/proto`.
pub fn message_descriptor(name: &str) -> Option<MessageDescriptor> {
    pool().and_then(|pool| pool.get_message_by_name(name))
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(pb::DESCRIPTORS).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::pb::envoy::config::cluster::v3::Cluster;

    #[test]
    fn cluster_is_shown_with_protobuf_names() {
        let cluster = Cluster { name: "a".into(), alt_stat_name: "b".into(), ..Default::default() };
        let url = crate::ResourceType::Cluster.type_url();
        let json = from_bytes(url, &cluster.encode_to_vec()).unwrap();
        assert_eq!(json, serde_json::json!({"name": "a", "alt_stat_name": "b"}));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let cluster = Cluster { name: "a".into(), alt_stat_name: "b".into(), ..Default::default() };
        let url = crate::ResourceType::Cluster.type_url();
        let json = from_bytes(url, &cluster.encode_to_vec()).unwrap();
        assert_eq!(to_bytes(url, &json).unwrap(), cluster.encode_to_vec());
        assert!(matches!(to_bytes(url, &serde_json::json!({"nam": "a"})), Err(JsonError::Malformed(..))));
    }

    #[test]
    fn unknown_types_and_bad_bytes_are_errors() {
        assert!(matches!(from_bytes("x/y.Z", b""), Err(JsonError::UnknownType(_))));
        let url = crate::ResourceType::Cluster.type_url();
        assert!(matches!(from_bytes(url, &[0xff]), Err(JsonError::Malformed(..))));
    }
}
