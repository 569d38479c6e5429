//! From the model to protobuf bytes, once per content.

pub mod cache;
pub mod cluster;
pub mod endpoint;
pub mod listener;
pub mod route;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len};
use prost_types::{Any, Struct, Value, value::Kind};
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::service::discovery::v3::Resource;
use twox_hash::XxHash3_64;

use crate::batch::Sums;

/// The hash of a resource's bytes: the same config has the same versions everywhere and after every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Whether a text is this version.
    pub fn is(self, text: &str) -> bool {
        Self::parse(text) == Some(self)
    }

    /// The version that a text is. None: it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| is_ours).map(Self)
    }

    /// As a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A resource as it goes over the wire, shared by everybody who is sent it.
#[derive(Debug, Clone)]
pub struct EncodedResource {
    /// Unique in its type.
    pub name: Arc<str>,
    /// The hash of the content.
    pub version: Version,
    /// One `resources` entry of a DeltaDiscoveryResponse, with tag and length.
    pub entry: Bytes,
}

/// `DeltaDiscoveryResponse.resources`
const RESOURCES_FIELD: u32 = 2;
/// `Resource.resource`
const RESOURCE_FIELD: u32 = 2;
/// `Any.value`
const VALUE_FIELD: u32 = 2;

impl EncodedResource {
    /// Wraps the encoded message of a resource.
    pub fn new(kind: ResourceType, name: Arc<str>, body: &[u8]) -> Self {
        Self::of_type(kind.type_url(), name, body)
    }

    /// The same, of a type by its URL.
    pub(crate) fn of_type(type_url: &str, name: Arc<str>, body: &[u8]) -> Self {
        let version = Version(XxHash3_64::oneshot(body));
        let resource = Resource {
            name: name.to_string(),
            version: version.to_string(),
            resource: Some(Any { type_url: type_url.to_owned(), value: body.to_vec() }),
            ..Default::default()
        };
        Self::wrap(name, version, &resource)
    }

    /// The word that there is no virtual host of a name that was asked for: a resource of that name, and alias,
    /// without content (D2).
    pub(crate) fn without_body(name: Arc<str>) -> Self {
        let version = Version(0);
        let (alias, text) = (name.to_string(), name.to_string());
        let resource =
            Resource { name: text, version: version.to_string(), aliases: vec![alias], ..Default::default() };
        Self::wrap(name, version, &resource)
    }

    fn wrap(name: Arc<str>, version: Version, resource: &Resource) -> Self {
        let length = resource.encoded_len();
        // Of this very size: what is more would be kept.
        let mut entry = Vec::with_capacity(key_len(RESOURCES_FIELD) + encoded_len_varint(length as u64) + length);
        encode_key(RESOURCES_FIELD, prost::encoding::WireType::LengthDelimited, &mut entry);
        encode_varint(length as u64, &mut entry);
        // Cannot fail: a Vec grows.
        let _ = resource.encode(&mut entry);
        Self { name, version, entry: entry.into() }
    }

    /// One `resources` entry of a DiscoveryResponse, shared: the field there has the number that the content
    /// has in a `Resource`.
    pub fn whole_entry(&self) -> Bytes {
        let mut resource = self.entry.clone();
        if !descend(&mut resource, RESOURCES_FIELD) {
            return Bytes::new();
        }
        loop {
            let (start, mut rest) = (resource.clone(), resource);
            let Ok((field, _)) = decode_key(&mut rest) else { return Bytes::new() };
            let length = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
            let Some(length) = length.filter(|length| *length <= rest.len()) else { return Bytes::new() };
            resource = rest.split_off(length);
            if field == RESOURCE_FIELD {
                return start.slice(..start.len() - resource.len());
            }
        }
    }

    /// What it is in a sum of many.
    pub fn sums(&self) -> Sums {
        Sums::of(&self.name, self.version.0)
    }

    /// The encoded message inside, shared.
    pub fn body(&self) -> Bytes {
        // The way there: the entry, its `Resource.resource`, its `Any.value`.
        let mut rest = self.entry.clone();
        let path = [RESOURCES_FIELD, RESOURCE_FIELD, VALUE_FIELD];
        if path.into_iter().all(|field| descend(&mut rest, field)) { rest } else { Bytes::new() }
    }
}

/// Narrows a message to the content of one of its fields, all of which are length-delimited.
fn descend(message: &mut Bytes, wanted: u32) -> bool {
    while let Ok((field, _)) = decode_key(message) {
        let length = decode_varint(message).ok().and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|length| *length <= message.len()) else { return false };
        let content = message.split_to(length);
        if field == wanted {
            *message = content;
            return true;
        }
    }
    false
}

/// A message in an `Any`.
pub(crate) fn any<M: Message>(type_name: &str, message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

/// `{ads: {}}`, waiting for ever as Istio does: what is named will come.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(prost_types::Duration::default()),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    }
}

pub(crate) fn socket_address(address: &str, port: u16) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}

/// `filter_metadata.istio` with the given fields: what a resource was made from, as Istio writes it.
pub(crate) fn istio_metadata(fields: Vec<(&str, Value)>) -> core::Metadata {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let filter_metadata: BTreeMap<String, Struct> = [("istio".to_owned(), Struct { fields })].into();
    core::Metadata { filter_metadata, ..Default::default() }
}

pub(crate) fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

/// The path under which the API server would have an object: Istio's `config` metadata.
pub(crate) fn config_path(config: &rutter_api::Config) -> Value {
    let mut kind = String::new();
    for c in config.key.kind.name().chars() {
        if c.is_ascii_uppercase() && !kind.is_empty() {
            kind.push('-');
        }
        kind.push(c.to_ascii_lowercase());
    }
    let (namespace, name) = (&config.key.namespace, &config.key.name);
    text(&format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}"))
}

#[cfg(test)]
mod tests {
    use rutter_api::pb::envoy::config::cluster::v3::Cluster;
    use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;

    use super::*;

    #[test]
    fn entries_put_one_after_another_are_a_response() {
        let one = |name: &str| {
            let cluster = Cluster { name: name.into(), ..Default::default() };
            EncodedResource::new(ResourceType::Cluster, name.into(), &cluster.encode_to_vec())
        };
        let (a, b) = (one("a"), one("b"));
        let bytes = [a.entry.clone(), b.entry.clone()].concat();
        let response = DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        let names: Vec<_> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(response.resources[0].version, a.version.to_string());
        assert_eq!(Cluster::decode(b.body()).unwrap().name, "b");
    }

    #[test]
    fn version_is_of_the_content_alone() {
        let version = |name: &str, body: &[u8]| EncodedResource::new(ResourceType::Cluster, name.into(), body).version;
        assert_eq!(version("a", b"x"), version("b", b"x"));
        assert_ne!(version("a", b"x"), version("a", b"y"));
    }
}
