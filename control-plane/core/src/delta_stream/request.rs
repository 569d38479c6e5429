//! A request, read without a copy: a reconnecting sidecar lists everything that it holds.

use std::cell::OnceCell;

use bytes::Buf;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};
use rutter_api::pb::google::rpc::Status;

use crate::batch::Sums;
use crate::encode::Version;

/// Bytes that are no discovery request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("want a discovery request, got other bytes")
    }
}

impl std::error::Error for Malformed {}

/// A DeltaDiscoveryRequest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks, as a `Node`. Empty: not told again.
    pub node: &'a [u8],
    /// What it is about.
    pub type_url: &'a str,
    /// Names that it wants.
    pub subscribe: Vec<&'a str>,
    /// Names that it no longer wants.
    pub unsubscribe: Vec<&'a str>,
    /// What it holds, in which version.
    pub versions: Vec<(&'a str, &'a str)>,
    /// The same in order, once somebody looks for one.
    sorted: OnceCell<Vec<(&'a str, &'a str)>>,
    /// The response that it answers.
    pub nonce: &'a str,
    /// Why it refuses that.
    pub error: Option<String>,
}

impl<'a> Request<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(mut message: &'a [u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        while let Some((field, content)) = next_field(&mut message)? {
            match field {
                1 => request.node = content,
                2 => request.type_url = text(content)?,
                3 => request.subscribe.push(text(content)?),
                4 => request.unsubscribe.push(text(content)?),
                5 => request.versions.push(pair(content)?),
                6 => request.nonce = text(content)?,
                7 => request.error = Some(Status::decode(content).map_err(|_| Malformed)?.message),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Who asks, without reading the rest.
    ///
    /// # Errors
    /// When the beginning is none of a message.
    pub fn node_of(mut message: &'a [u8]) -> Result<&'a [u8], Malformed> {
        while let Some((field, content)) = next_field(&mut message)? {
            if field == 1 {
                return Ok(content);
            }
        }
        Ok(&[])
    }

    /// What it says that it holds, taken together. None: some of it cannot be of ours.
    pub fn held(&self) -> Option<Sums> {
        let parsed = |(name, version): &(&'a str, &str)| Some((*name, Version::parse(version)?.number()));
        self.versions.iter().try_fold(Sums::default(), |sums, one| {
            let (name, version) = parsed(one)?;
            Some(sums.plus(Sums::of(name, version)))
        })
    }

    /// The version that it holds of a resource.
    pub fn version_of(&self, name: &str) -> Option<&'a str> {
        let sorted = self.sorted.get_or_init(|| {
            let mut versions = self.versions.clone();
            versions.sort_unstable();
            versions
        });
        let at = sorted.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
        Some(sorted[at].1)
    }
}

/// The next field that has a length; others are passed over.
pub(crate) fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, Malformed> {
    while message.has_remaining() {
        let (field, wire) = decode_key(message).map_err(|_| Malformed)?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, field, message, Default::default()).map_err(|_| Malformed)?;
            continue;
        }
        let length = usize::try_from(decode_varint(message).map_err(|_| Malformed)?).unwrap_or(usize::MAX);
        let (content, rest) = message.split_at_checked(length).ok_or(Malformed)?;
        *message = rest;
        return Ok(Some((field, content)));
    }
    Ok(None)
}

pub(crate) fn text(content: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(content).map_err(|_| Malformed)
}

fn pair(mut entry: &[u8]) -> Result<(&str, &str), Malformed> {
    let (mut key, mut value) = ("", "");
    while let Some((field, content)) = next_field(&mut entry)? {
        match field {
            1 => key = text(content)?,
            2 => value = text(content)?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use rutter_api::pb::envoy::config::core::v3::Node;
    use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

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
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(Node::decode(request.node).unwrap(), node);
        assert_eq!((request.type_url, request.nonce, request.error.as_deref()), ("t", "7", Some("no")));
        assert_eq!((&request.subscribe[..], &request.unsubscribe[..]), (&["a", "b"][..], &["c"][..]));
        assert_eq!(
            (request.version_of("z"), request.version_of("a"), request.version_of("b")),
            (Some("1"), Some("2"), None)
        );
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b"\xff\xff\xff"[..], b"\x0a\xff\x01", b"\x0a", b"\x12\x01\xff"] {
            assert_eq!(Request::parse(garbage), Err(Malformed));
        }
    }
}
