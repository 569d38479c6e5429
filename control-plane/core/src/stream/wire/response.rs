//! A response: a small head of its own, and entries that all streams share.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use rutter_api::pb::envoy::service::discovery::v3::{self as pb, ResourceError};
use rutter_api::pb::google::rpc::Status;

use crate::resource::{Chunk, EncodedResource, ResourceList, ResourceName};

/// The length below which entries are copied together, in bytes: to hand the transport a shared piece costs about as
/// much as to copy it. Longer entries go to the socket by reference, so that all streams share their bytes.
const SHARE_MIN: usize = 4096;
/// The length at which a piece of small entries is closed, in bytes. Frames of HTTP/2 are no longer. A piece is one
/// frame, so that nothing is copied twice on its way to the socket.
const FRAME_BYTES: usize = 12 << 10;
/// The length of what a gRPC message starts with, in bytes: a byte for compression, and the length of the rest.
const GRPC_HEAD: usize = 5;

/// A DeltaDiscoveryResponse or a DiscoveryResponse.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type that the response is about.
    pub type_url: Cow<'static, str>,
    /// The nonce, which is unique on the stream.
    pub nonce: u64,
    /// The resources: in the delta variant those that are new or changed.
    pub resources: ResourceList,
    /// The names that do not exist, or no longer. The state-of-the-world variant does not name them.
    pub removed: Vec<ResourceName>,
    form: Form,
    /// Everything but the resources, as it goes over the wire.
    head: Bytes,
    /// The length of the resources on the wire, in bytes.
    entry_bytes: usize,
}

/// The message that a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Delta,
    StateOfTheWorld,
}

impl Form {
    fn entry(self, resource: &EncodedResource) -> Bytes {
        match self {
            Self::Delta => resource.entry.clone(),
            Self::StateOfTheWorld => resource.state_of_the_world_entry(),
        }
    }
}

/// The number of the field `DiscoveryResponse.version_info`.
const VERSION_FIELD: u32 = 1;
/// The number of the field `type_url` of both messages.
const TYPE_URL_FIELD: u32 = 4;
/// The number of the field `nonce` of both messages.
const NONCE_FIELD: u32 = 5;
/// The number of the field `DeltaDiscoveryResponse.removed_resources`.
const REMOVED_FIELD: u32 = 6;
/// The number of the field `DiscoveryResponse.resource_errors`.
const ERRORS_FIELD: u32 = 7;
/// The code `NOT_FOUND` of `google.rpc.Code`.
const NOT_FOUND: i32 = 5;
/// The code `RESOURCE_EXHAUSTED` of `google.rpc.Code`.
const RESOURCE_EXHAUSTED: i32 = 8;

/// Why a state of the world lacks a resource that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Missing {
    /// There is no such resource.
    Absent,
    /// The resource has so many bytes, and the client cannot take it (F2).
    TooLarge(usize),
}

/// What a DiscoveryResponse is made from.
#[derive(Debug)]
pub(in crate::stream) struct SotwResponse<'a> {
    pub(in crate::stream) type_url: Cow<'static, str>,
    pub(in crate::stream) nonce: u64,
    pub(in crate::stream) version: &'a str,
    pub(in crate::stream) resources: ResourceList,
    /// The resources that were asked for and are not there.
    pub(in crate::stream) missing: &'a [(&'a ResourceName, Missing)],
}

fn put(head: &mut BytesMut, field: u32, content: &[u8]) {
    encode_key(field, WireType::LengthDelimited, head);
    encode_varint(content.len() as u64, head);
    head.put_slice(content);
}

/// Returns why a client is not sent a resource of so many bytes, which the caller names.
pub(in crate::stream) fn too_large(resource: &str, bytes: usize) -> String {
    format!("{resource} has {bytes} bytes, which is more than this client can take")
}

fn resource_error(name: &ResourceName, missing: Missing) -> ResourceError {
    let (code, message) = match missing {
        Missing::Absent => (NOT_FOUND, format!("there is no {name} in what this client may see")),
        Missing::TooLarge(bytes) => (RESOURCE_EXHAUSTED, too_large(name, bytes)),
    };
    ResourceError {
        resource_name: Some(pb::ResourceName { name: name.to_string(), ..Default::default() }),
        error_detail: Some(Status { code, message, ..Default::default() }),
    }
}

impl Response {
    /// Returns a DeltaDiscoveryResponse with some resources, and the names of those that do not exist.
    pub(in crate::stream) fn delta(
        type_url: Cow<'static, str>,
        nonce: u64,
        resources: ResourceList,
        removed: Vec<ResourceName>,
    ) -> Self {
        let names: usize = removed.iter().map(|name| name.len() + 3).sum();
        let mut head = BytesMut::with_capacity(type_url.len() + names + 32);
        put(&mut head, TYPE_URL_FIELD, type_url.as_bytes());
        put(&mut head, NONCE_FIELD, nonce.to_string().as_bytes());
        removed.iter().for_each(|name| put(&mut head, REMOVED_FIELD, name.as_bytes()));
        let entry_bytes = entry_bytes(Form::Delta, &resources);
        Self { type_url, nonce, resources, removed, form: Form::Delta, head: head.freeze(), entry_bytes }
    }

    /// Returns a DiscoveryResponse with some resources, and the reasons why others are missing.
    pub(in crate::stream) fn state_of_the_world(response: SotwResponse<'_>) -> Self {
        let SotwResponse { type_url, nonce, version, resources, missing } = response;
        let mut head = BytesMut::with_capacity(type_url.len() + version.len() + 32);
        put(&mut head, VERSION_FIELD, version.as_bytes());
        put(&mut head, TYPE_URL_FIELD, type_url.as_bytes());
        put(&mut head, NONCE_FIELD, nonce.to_string().as_bytes());
        for (name, missing) in missing {
            put(&mut head, ERRORS_FIELD, &resource_error(name, *missing).encode_to_vec());
        }
        let (form, head) = (Form::StateOfTheWorld, head.freeze());
        let entry_bytes = entry_bytes(form, &resources);
        Self { type_url, nonce, resources, removed: Vec::new(), form, head, entry_bytes }
    }

    /// Returns the length on the wire with the head of the gRPC message, in bytes.
    pub fn wire_len(&self) -> usize {
        GRPC_HEAD + self.head.len() + self.entry_bytes
    }

    /// Returns the gRPC message in pieces, which are made when they are taken. Protobuf lets a repeated field be
    /// continued anywhere, so the head and the entries, one after the other, are the message.
    pub fn into_frames(self) -> Frames {
        let length = self.wire_len() - GRPC_HEAD;
        let head = GRPC_HEAD + self.head.len();
        let mut buffer = BytesMut::with_capacity((head + self.entry_bytes).min(FRAME_BYTES + SHARE_MIN).max(head));
        buffer.put_u8(0);
        buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        buffer.put_slice(&self.head);
        Frames {
            form: self.form,
            buffer,
            chunks: self.resources.into_chunks(),
            chunk: Arc::new([]),
            at: 0,
            bytes_left: self.entry_bytes,
            large_entry: None,
        }
    }
}

fn entry_bytes(form: Form, resources: &ResourceList) -> usize {
    resources.iter().map(|resource| form.entry(resource).len()).sum()
}

/// A response on its way to a socket. Small entries are copied together and large ones are shared, so a client that
/// does not read costs no more than one piece.
#[derive(Debug)]
pub struct Frames {
    form: Form,
    buffer: BytesMut,
    chunks: std::vec::IntoIter<Chunk>,
    /// The chunk that is being written.
    chunk: Chunk,
    /// The number of resources of the chunk that were taken.
    at: usize,
    /// The length of all entries that were not taken, in bytes.
    bytes_left: usize,
    /// An entry that follows the buffer as a piece of its own.
    large_entry: Option<Bytes>,
}

impl Frames {
    fn next_entry(&mut self) -> Option<Bytes> {
        while self.at == self.chunk.len() {
            (self.chunk, self.at) = (self.chunks.next()?, 0);
        }
        self.at += 1;
        let entry = self.form.entry(&self.chunk[self.at - 1]);
        self.bytes_left -= entry.len();
        Some(entry)
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(large_entry) = self.large_entry.take() {
            return Some(large_entry);
        }
        while self.buffer.len() < FRAME_BYTES {
            let Some(entry) = self.next_entry() else { break };
            if entry.len() >= SHARE_MIN {
                self.large_entry = Some(entry);
                break;
            }
            if self.buffer.capacity() - self.buffer.len() < entry.len() {
                self.buffer.reserve((self.bytes_left + entry.len()).min(FRAME_BYTES + SHARE_MIN));
            }
            self.buffer.put_slice(&entry);
        }
        if self.buffer.is_empty() {
            return self.large_entry.take();
        }
        Some(std::mem::take(&mut self.buffer).freeze())
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::ResourceType;
    use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    use super::*;

    const TYPE_URL: Cow<'static, str> = Cow::Borrowed("t");

    fn resources(sizes: &[usize]) -> ResourceList {
        let resource = |(number, size): (usize, &usize)| {
            EncodedResource::new(ResourceType::Cluster, format!("r{number}").into(), &vec![7; *size])
        };
        sizes.iter().enumerate().map(resource).collect::<Vec<_>>().into()
    }

    /// Puts the pieces together and takes the head of the gRPC message off.
    fn message(response: Response) -> Vec<u8> {
        let length = response.wire_len();
        let bytes = response.into_frames().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), length);
        assert_eq!(bytes[1..GRPC_HEAD], u32::try_from(length - GRPC_HEAD).unwrap().to_be_bytes());
        bytes[GRPC_HEAD..].to_vec()
    }

    #[test]
    fn the_pieces_of_a_delta_response_are_the_message() {
        let response = Response::delta(TYPE_URL, 7, resources(&[10, 5000, 20_000, 1]), vec!["gone".into()]);
        let decoded = DeltaDiscoveryResponse::decode(&message(response)[..]).unwrap();
        let names: Vec<&str> = decoded.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(names, ["r0", "r1", "r2", "r3"]);
        assert_eq!((decoded.nonce.as_str(), decoded.removed_resources), ("7", vec!["gone".to_owned()]));
    }

    #[test]
    fn a_state_of_the_world_names_what_is_missing_and_why() {
        let (absent, large) = ("absent".into(), "large".into());
        let missing = [(&absent, Missing::Absent), (&large, Missing::TooLarge(9))];
        let response = Response::state_of_the_world(SotwResponse {
            type_url: TYPE_URL,
            nonce: 1,
            version: "v",
            resources: resources(&[10]),
            missing: &missing,
        });
        let decoded = DiscoveryResponse::decode(&message(response)[..]).unwrap();
        let codes: Vec<i32> =
            decoded.resource_errors.iter().map(|error| error.error_detail.as_ref().unwrap().code).collect();
        assert_eq!((decoded.version_info.as_str(), decoded.resources.len(), &codes[..]), ("v", 1, &[5, 8][..]));
    }

    #[test]
    fn large_entries_are_shared_and_small_ones_are_copied_together() {
        let list = resources(&[10, 5000, 10, 10]);
        let large = list.iter().nth(1).unwrap().entry.as_ptr();
        let pieces: Vec<Bytes> = Response::delta(TYPE_URL, 1, list, Vec::new()).into_frames().collect();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), large);
    }
}
