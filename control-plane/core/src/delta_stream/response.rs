//! A response: a small head of its own, and entries that all streams share.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use crate::encode::EncodedResource;
use crate::snapshot::{ResourceName, View};

/// Entries below this size are copied together, in bytes: a shared piece costs the transport about as much.
const SHARE_MIN: usize = 4096;
/// A piece of small entries is closed at this size, in bytes: HTTP/2's frames are no longer.
const FRAME_BYTES: usize = 12 << 10;
/// What a gRPC message starts with: a byte for compression, and the length.
const GRPC_HEAD: usize = 5;

/// One DeltaDiscoveryResponse.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type that it is about.
    pub type_url: String,
    /// Unique on its stream.
    pub nonce: u64,
    /// New or changed.
    pub resources: Vec<EncodedResource>,
    /// Gone, or never there.
    pub removed: Vec<ResourceName>,
}

impl Response {
    fn head(&self) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            type_url: self.type_url.clone(),
            nonce: self.nonce.to_string(),
            removed_resources: self.removed.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    /// Its length on the wire, the gRPC frame included, in bytes.
    pub fn wire_len(&self) -> usize {
        GRPC_HEAD
            + self.head().encoded_len()
            + self.resources.iter().map(|resource| resource.entry.len()).sum::<usize>()
    }

    /// The gRPC message in pieces, made when they are taken. Protobuf lets a repeated field be continued
    /// anywhere, so the head and the entries, one after the other, are the message.
    pub fn into_frames(self) -> Frames {
        let head = self.head();
        let length = self.wire_len() - GRPC_HEAD;
        let mut buffer = BytesMut::with_capacity(GRPC_HEAD + head.encoded_len());
        buffer.put_u8(0);
        buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        buffer.put_slice(&head.encode_to_vec());
        Frames { buffer, resources: self.resources.into_iter(), large: None }
    }
}

/// A response on its way to a socket. Small entries are copied together, large ones are shared; a client
/// that does not read costs no more than one piece.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    resources: std::vec::IntoIter<EncodedResource>,
    large: Option<Bytes>,
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(large) = self.large.take() {
            return Some(large);
        }
        while self.buffer.len() < FRAME_BYTES {
            let Some(resource) = self.resources.next() else { break };
            if resource.entry.len() >= SHARE_MIN {
                self.large = Some(resource.entry);
                break;
            }
            if self.buffer.capacity() - self.buffer.len() < resource.entry.len() {
                let rest: usize = self.resources.as_slice().iter().map(|resource| resource.entry.len()).sum();
                self.buffer.reserve((rest + resource.entry.len()).min(FRAME_BYTES + SHARE_MIN));
            }
            self.buffer.put_slice(&resource.entry);
        }
        if self.buffer.is_empty() {
            return self.large.take();
        }
        Some(std::mem::take(&mut self.buffer).freeze())
    }
}

/// One response, as people look at it afterwards.
#[derive(Debug, Clone)]
pub struct Push {
    /// Of the response.
    pub nonce: u64,
    /// Of the resources.
    pub kind: ResourceType,
    /// The store's revision that caused it; 0: a request did.
    pub revision: u64,
    /// What was sent.
    pub names: Box<[ResourceName]>,
    /// How many were sent.
    pub resources: usize,
    /// How many were removed.
    pub removed: usize,
    /// On the wire.
    pub bytes: usize,
    /// When the change was made that caused it; when it was sent, where a request did.
    pub since: Instant,
    /// When the sidecar answered.
    pub answered: Option<Instant>,
    /// Why it refused.
    pub error: Option<String>,
}

/// Names of a push that are remembered; more are only counted.
const NAMES_REMEMBERED: usize = 8;

impl Push {
    pub(super) fn new(now: Instant, kind: ResourceType, response: &Response, cause: Option<&View>) -> Self {
        let names = response.resources.iter().map(|resource| &resource.name).chain(&response.removed);
        Self {
            nonce: response.nonce,
            kind,
            revision: cause.map_or(0, |view| view.revision),
            names: names.take(NAMES_REMEMBERED).cloned().collect(),
            resources: response.resources.len(),
            removed: response.removed.len(),
            bytes: response.wire_len(),
            since: cause.and_then(|view| view.since).unwrap_or(now),
            answered: None,
            error: None,
        }
    }
}
