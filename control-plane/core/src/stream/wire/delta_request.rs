//! A delta request. A client that reconnects lists everything it has, so nothing is copied.

use std::cell::OnceCell;

use super::fields::{Field, MalformedRequest, first_field, next_field};
use crate::resource::{Sums, Version};

/// The numbers of the fields of `DeltaDiscoveryRequest`.
const NODE: u32 = 1;
const TYPE_URL: u32 = 2;
const SUBSCRIBE: u32 = 3;
const UNSUBSCRIBE: u32 = 4;
const INITIAL_RESOURCE_VERSIONS: u32 = 5;
const RESPONSE_NONCE: u32 = 6;
const ERROR_DETAIL: u32 = 7;
/// The numbers of the fields of an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A DeltaDiscoveryRequest, which borrows from the message that it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeltaRequest<'a> {
    /// The encoded `Node`. It is empty if the client has said before who it is.
    pub node: &'a [u8],
    /// The type that the request is about.
    pub type_url: &'a str,
    /// The names to which the client subscribes.
    pub subscribe: Vec<&'a str>,
    /// The names from which the client unsubscribes.
    pub unsubscribe: Vec<&'a str>,
    /// What the client says it has.
    pub initial_versions: InitialVersions<'a>,
    /// The nonce of the response that the request answers. It is empty if the request answers none.
    pub nonce: &'a str,
    /// What the client says is wrong with that response. `None` means that it acknowledges the response.
    pub error: Option<String>,
}

/// What a client that reconnects says it has: pairs of a name and a version, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitialVersions<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    /// The pairs in the order of the names, once somebody has looked for one.
    sorted: OnceCell<Vec<(&'a str, &'a str)>>,
}

impl<'a> DeltaRequest<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Fails if the bytes are none of the message.
    pub fn parse(mut message: &'a [u8]) -> Result<Self, MalformedRequest> {
        let mut request = Self::default();
        while let Some(field) = next_field(&mut message)? {
            match field.number {
                NODE => request.node = field.content,
                TYPE_URL => request.type_url = field.text()?,
                SUBSCRIBE => request.subscribe.push(field.text()?),
                UNSUBSCRIBE => request.unsubscribe.push(field.text()?),
                INITIAL_RESOURCE_VERSIONS => request.initial_versions.pairs.push(map_entry(field)?),
                RESPONSE_NONCE => request.nonce = field.text()?,
                ERROR_DETAIL => request.error = Some(field.error_message()?),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Returns the encoded `Node` of a request without reading what follows it.
    ///
    /// # Errors
    /// Fails if the beginning is none of the message.
    pub fn node_of(message: &'a [u8]) -> Result<&'a [u8], MalformedRequest> {
        first_field(message, NODE)
    }
}

impl<'a> InitialVersions<'a> {
    /// Returns whether the client says that it has nothing.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns the number of resources that the client says it has.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns the names, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().map(|(name, _)| *name)
    }

    /// Returns the sums of everything the client says it has. `None` means that some version was never given out by
    /// Rutter. Equal sums mean that a client which reconnects has exactly what it should, without a look at each name.
    pub fn sums(&self) -> Option<Sums> {
        let mut sums = Sums::default();
        for (name, version) in &self.pairs {
            sums = sums.plus(Sums::of_resource(name, Version::parse(version)?.number()));
        }
        Some(sums)
    }

    /// Returns the version of a resource that the client says it has.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let sorted = self.sorted.get_or_init(|| {
            let mut sorted = self.pairs.clone();
            sorted.sort_unstable();
            sorted
        });
        let at = sorted.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
        Some(sorted[at].1)
    }
}

fn map_entry(entry: Field<'_>) -> Result<(&str, &str), MalformedRequest> {
    let mut rest = entry.content;
    let (mut key, mut value) = ("", "");
    while let Some(field) = next_field(&mut rest)? {
        match field.number {
            KEY => key = field.text()?,
            VALUE => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use rutter_api::pb::envoy::config::core::v3::Node;
    use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use rutter_api::pb::google::rpc::Status;

    use super::*;

    #[test]
    fn every_field_is_read() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let node = Node { id: "n".into(), ..Default::default() };
        let pb = DeltaDiscoveryRequest {
            node: Some(node.clone()),
            type_url: "t".into(),
            resource_names_subscribe: names(&["a", "b"]),
            resource_names_unsubscribe: names(&["c"]),
            initial_resource_versions: [("z".into(), "1".into()), ("a".into(), "2".into())].into(),
            response_nonce: "7".into(),
            error_detail: Some(Status { code: 3, message: "no".into(), ..Default::default() }),
            ..Default::default()
        };
        let bytes = pb.encode_to_vec();
        let request = DeltaRequest::parse(&bytes).unwrap();
        assert_eq!(Node::decode(request.node).unwrap(), node);
        assert_eq!((request.type_url, request.nonce, request.error.as_deref()), ("t", "7", Some("no")));
        assert_eq!((&request.subscribe[..], &request.unsubscribe[..]), (&["a", "b"][..], &["c"][..]));
        assert_eq!(
            (request.initial_versions.get("z"), request.initial_versions.get("a"), request.initial_versions.get("b")),
            (Some("1"), Some("2"), None)
        );
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b"\xff\xff\xff"[..], b"\x0a\xff\x01", b"\x0a", b"\x12\x01\xff"] {
            assert_eq!(DeltaRequest::parse(garbage), Err(MalformedRequest));
        }
    }
}
