//! One resource as it goes over the wire, in both protocol variants.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len};
use prost_types::Any;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::Resource;
use twox_hash::XxHash3_64;

use super::sums::Sums;

/// The version of a resource: the hash of its encoded content. The same config has the same versions on every replica
/// and after every restart. A client that reconnects to another replica is therefore sent only what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Reads a version from its text of 16 hexadecimal digits. `None` means that Rutter never gave out this text.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| is_ours).map(Self)
    }

    /// Returns whether a text is this version.
    pub fn is(self, text: &str) -> bool {
        Self::parse(text) == Some(self)
    }

    /// Returns the hash itself.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A resource as it goes over the wire. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct EncodedResource {
    /// The name, which is unique within the type.
    pub name: Arc<str>,
    /// The hash of the content.
    pub version: Version,
    /// One `resources` entry of a DeltaDiscoveryResponse, with its tag and length. Protobuf lets such entries be
    /// written one after the other.
    pub entry: Bytes,
}

/// The number of the field `DeltaDiscoveryResponse.resources`, and of `DiscoveryResponse.resources`.
const RESOURCES_FIELD: u32 = 2;
/// The number of the field `Resource.resource`.
const RESOURCE_FIELD: u32 = 2;
/// The number of the field `Any.value`.
const VALUE_FIELD: u32 = 2;

impl EncodedResource {
    /// Wraps the encoded message of a resource. `body` is the message without an `Any` around it.
    pub fn new(resource_type: ResourceType, name: Arc<str>, body: &[u8]) -> Self {
        Self::of_type_url(resource_type.type_url(), name, body)
    }

    /// Wraps the encoded message of a resource whose type Rutter does not serve.
    pub(crate) fn of_type_url(type_url: &str, name: Arc<str>, body: &[u8]) -> Self {
        let version = Version(XxHash3_64::oneshot(body));
        let resource = Resource {
            name: name.to_string(),
            version: version.to_string(),
            resource: Some(Any { type_url: type_url.to_owned(), value: body.to_vec() }),
            ..Default::default()
        };
        Self::wrap(name, version, &resource)
    }

    /// Returns the answer to a client that asked for a virtual host which does not exist: a resource of that name and
    /// alias without content, by which Envoy answers the waiting request 404 at once (rule D2 of `docs/xds.md`).
    pub(crate) fn without_body(name: Arc<str>) -> Self {
        let version = Version(0);
        let resource = Resource {
            name: name.to_string(),
            version: version.to_string(),
            aliases: vec![name.to_string()],
            ..Default::default()
        };
        Self::wrap(name, version, &resource)
    }

    fn wrap(name: Arc<str>, version: Version, resource: &Resource) -> Self {
        let length = resource.encoded_len();
        // The buffer has exactly the final size, because its capacity is kept for as long as the resource lives.
        let mut entry = Vec::with_capacity(key_len(RESOURCES_FIELD) + encoded_len_varint(length as u64) + length);
        encode_key(RESOURCES_FIELD, WireType::LengthDelimited, &mut entry);
        encode_varint(length as u64, &mut entry);
        // Encoding into a Vec cannot fail, because a Vec grows.
        let _ = resource.encode(&mut entry);
        Self { name, version, entry: entry.into() }
    }

    /// Returns one `resources` entry of a DiscoveryResponse, the state of the world. It shares the bytes of `entry`:
    /// the `Any` inside a `Resource` stands there with the same field number that it has in a DiscoveryResponse.
    pub fn state_of_the_world_entry(&self) -> Bytes {
        let mut resource = self.entry.clone();
        if !descend(&mut resource, RESOURCES_FIELD) {
            return Bytes::new();
        }
        loop {
            let (start, mut rest) = (resource.clone(), resource);
            let Ok((field, _)) = decode_key(&mut rest) else { return Bytes::new() };
            let Some(length) = decode_length(&mut rest) else { return Bytes::new() };
            resource = rest.split_off(length);
            if field == RESOURCE_FIELD {
                return start.slice(..start.len() - resource.len());
            }
        }
    }

    /// Returns what this resource adds to the sums of a set.
    pub fn sums(&self) -> Sums {
        Sums::of_resource(&self.name, self.version.0)
    }

    /// Returns the encoded message inside the entry. It shares the bytes of `entry`.
    pub fn body(&self) -> Bytes {
        let mut rest = self.entry.clone();
        let path = [RESOURCES_FIELD, RESOURCE_FIELD, VALUE_FIELD];
        if path.into_iter().all(|field| descend(&mut rest, field)) { rest } else { Bytes::new() }
    }
}

/// Reads the length of a field, and makes sure that so many bytes follow.
fn decode_length(message: &mut Bytes) -> Option<usize> {
    let length = usize::try_from(decode_varint(message).ok()?).ok()?;
    (length <= message.len()).then_some(length)
}

/// Narrows a message, all of whose fields are length-delimited, to the content of the first field with a number.
/// Returns whether there is such a field. It copies nothing: the content shares the allocation of the message.
fn descend(message: &mut Bytes, wanted_field: u32) -> bool {
    while let Ok((field, _)) = decode_key(message) {
        let Some(length) = decode_length(message) else { return false };
        let content = message.split_to(length);
        if field == wanted_field {
            *message = content;
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use rutter_api::pb::envoy::config::cluster::v3::Cluster;
    use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    use super::*;

    fn cluster(name: &str) -> EncodedResource {
        let cluster = Cluster { name: name.into(), ..Default::default() };
        EncodedResource::new(ResourceType::Cluster, name.into(), &cluster.encode_to_vec())
    }

    #[test]
    fn entries_put_one_after_another_are_a_response() {
        let (a, b) = (cluster("a"), cluster("b"));
        let bytes = [a.entry.clone(), b.entry.clone()].concat();
        let response = DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        let names: Vec<_> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(response.resources[0].version, a.version.to_string());
        assert_eq!(Cluster::decode(b.body()).unwrap().name, "b");
    }

    #[test]
    fn the_same_bytes_are_a_state_of_the_world() {
        let (a, b) = (cluster("a"), cluster("b"));
        let bytes = [a.state_of_the_world_entry(), b.state_of_the_world_entry()].concat();
        let response = DiscoveryResponse::decode(&bytes[..]).unwrap();
        let names: Vec<String> =
            response.resources.iter().map(|any| Cluster::decode(&any.value[..]).unwrap().name).collect();
        assert_eq!(names, ["a", "b"]);
        let (start, end) = (a.entry.as_ptr() as usize, a.entry.as_ptr() as usize + a.entry.len());
        assert!((start..end).contains(&(a.state_of_the_world_entry().as_ptr() as usize)), "no byte is copied");
    }

    #[test]
    fn version_is_of_the_content_alone() {
        let version = |name: &str, body: &[u8]| EncodedResource::new(ResourceType::Cluster, name.into(), body).version;
        assert_eq!(version("a", b"x"), version("b", b"x"));
        assert_ne!(version("a", b"x"), version("a", b"y"));
    }

    #[test]
    fn versions_print_and_parse_and_other_texts_are_none() {
        let version = cluster("a").version;
        assert!(version.is(&version.to_string()));
        for text in ["", "1", "000000000000000G", "000000000000000A", "00000000000000000"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_resource_without_body_has_an_alias_and_no_content() {
        let missing = EncodedResource::without_body("80/a".into());
        let response = DeltaDiscoveryResponse::decode(&missing.entry[..]).unwrap();
        assert_eq!(
            (&response.resources[0].aliases[..], &response.resources[0].resource),
            (&["80/a".to_owned()][..], &None)
        );
        assert!(missing.body().is_empty() && missing.state_of_the_world_entry().is_empty());
    }
}
