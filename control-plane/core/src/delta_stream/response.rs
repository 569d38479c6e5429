//! A response: a small head of its own, and entries that all streams share.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use rutter_api::ResourceType;

use crate::batch::{Batch, Piece};
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
    pub type_url: Cow<'static, str>,
    /// Unique on its stream.
    pub nonce: u64,
    /// New or changed.
    pub resources: Batch,
    /// Gone, or never there.
    pub removed: Vec<ResourceName>,
    /// All but the resources, as it goes over the wire.
    head: Bytes,
    /// Of the resources.
    entry_bytes: usize,
}

/// `DeltaDiscoveryResponse.type_url`
const TYPE_URL_FIELD: u32 = 4;
/// `DeltaDiscoveryResponse.nonce`
const NONCE_FIELD: u32 = 5;
/// `DeltaDiscoveryResponse.removed_resources`
const REMOVED_FIELD: u32 = 6;

impl Response {
    pub(super) fn new(
        type_url: Cow<'static, str>,
        nonce: u64,
        (resources, removed): (Batch, Vec<ResourceName>),
    ) -> Self {
        let nonce_text = nonce.to_string();
        let texts = [(TYPE_URL_FIELD, &*type_url), (NONCE_FIELD, &*nonce_text)];
        let texts = || texts.into_iter().chain(removed.iter().map(|name| (REMOVED_FIELD, &**name)));
        let size = texts().map(|(_, text)| 1 + encoded_len_varint(text.len() as u64) + text.len()).sum();
        let mut head = BytesMut::with_capacity(size);
        for (field, text) in texts() {
            encode_key(field, WireType::LengthDelimited, &mut head);
            encode_varint(text.len() as u64, &mut head);
            head.put_slice(text.as_bytes());
        }
        let (head, entry_bytes) = (head.freeze(), resources.bytes());
        Self { type_url, nonce, resources, removed, head, entry_bytes }
    }

    /// Its length on the wire, the gRPC frame included, in bytes.
    pub fn wire_len(&self) -> usize {
        GRPC_HEAD + self.head.len() + self.entry_bytes
    }

    /// The gRPC message in pieces, made when they are taken. Protobuf lets a repeated field be continued
    /// anywhere, so the head and the entries, one after the other, are the message.
    pub fn into_frames(self) -> Frames {
        let length = self.wire_len() - GRPC_HEAD;
        let first = (GRPC_HEAD + self.head.len() + self.entry_bytes).min(FRAME_BYTES + SHARE_MIN);
        let mut buffer = BytesMut::with_capacity(first.max(GRPC_HEAD + self.head.len()));
        buffer.put_u8(0);
        buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        buffer.put_slice(&self.head);
        let pieces = self.resources.into_pieces();
        Frames { buffer, pieces, piece: Arc::new([]), at: 0, left: self.entry_bytes, large: None }
    }
}

/// A response on its way to a socket. Small entries are copied together, large ones are shared; a client
/// that does not read costs no more than one piece.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    pieces: std::vec::IntoIter<Piece>,
    /// The piece that is being written, and the resource in it that comes next.
    piece: Piece,
    at: usize,
    /// Bytes of all entries that come.
    left: usize,
    large: Option<Bytes>,
}

impl Frames {
    fn next_entry(&mut self) -> Option<Bytes> {
        while self.at == self.piece.len() {
            (self.piece, self.at) = (self.pieces.next()?, 0);
        }
        self.at += 1;
        let entry = self.piece[self.at - 1].entry.clone();
        self.left -= entry.len();
        Some(entry)
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(large) = self.large.take() {
            return Some(large);
        }
        while self.buffer.len() < FRAME_BYTES {
            let Some(entry) = self.next_entry() else { break };
            if entry.len() >= SHARE_MIN {
                self.large = Some(entry);
                break;
            }
            if self.buffer.capacity() - self.buffer.len() < entry.len() {
                self.buffer.reserve((self.left + entry.len()).min(FRAME_BYTES + SHARE_MIN));
            }
            self.buffer.put_slice(&entry);
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
