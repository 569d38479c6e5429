//! A response: a small head of its own, and entries that all streams share.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::{self as pb, ResourceError};
use rutter_api::pb::google::rpc::Status;

use crate::batch::{Batch, Piece};
use crate::encode::EncodedResource;
use crate::snapshot::{ResourceName, View};

/// Entries below this size are copied together, in bytes: a shared piece costs the transport about as much.
const SHARE_MIN: usize = 4096;
/// A piece of small entries is closed at this size, in bytes: HTTP/2's frames are no longer.
const FRAME_BYTES: usize = 12 << 10;
/// What a gRPC message starts with: a byte for compression, and the length.
const GRPC_HEAD: usize = 5;

/// One DeltaDiscoveryResponse, or DiscoveryResponse.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type that it is about.
    pub type_url: Cow<'static, str>,
    /// Unique on its stream.
    pub nonce: u64,
    /// New or changed; the whole state.
    pub resources: Batch,
    /// Gone, or never there; of a whole state: nothing.
    pub removed: Vec<ResourceName>,
    form: Form,
    /// All but the resources, as it goes over the wire.
    head: Bytes,
    /// Of the resources.
    entry_bytes: usize,
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Delta,
    Whole,
}

impl Form {
    fn entry(self, resource: &EncodedResource) -> Bytes {
        match self {
            Self::Delta => resource.entry.clone(),
            Self::Whole => resource.whole_entry(),
        }
    }
}

/// `DiscoveryResponse.version_info`
const VERSION_FIELD: u32 = 1;
/// `type_url`, of both.
const TYPE_URL_FIELD: u32 = 4;
/// `nonce`, of both.
const NONCE_FIELD: u32 = 5;
/// `DeltaDiscoveryResponse.removed_resources`
const REMOVED_FIELD: u32 = 6;
/// `DiscoveryResponse.resource_errors`
const ERRORS_FIELD: u32 = 7;
/// `google.rpc.Code.NOT_FOUND`
const NOT_FOUND: i32 = 5;
/// `google.rpc.Code.RESOURCE_EXHAUSTED`
const RESOURCE_EXHAUSTED: i32 = 8;

/// Why a whole state lacks a resource that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is none.
    Absent,
    /// It weighs so much, in bytes, and the client cannot take it (F2).
    TooLarge(usize),
}

fn put(head: &mut BytesMut, field: u32, content: &[u8]) {
    encode_key(field, WireType::LengthDelimited, head);
    encode_varint(content.len() as u64, head);
    head.put_slice(content);
}

impl Response {
    pub(super) fn new(
        type_url: Cow<'static, str>,
        nonce: u64,
        (resources, removed): (Batch, Vec<ResourceName>),
    ) -> Self {
        let names: usize = removed.iter().map(|name| name.len() + 3).sum();
        let mut head = BytesMut::with_capacity(type_url.len() + names + 32);
        put(&mut head, TYPE_URL_FIELD, type_url.as_bytes());
        put(&mut head, NONCE_FIELD, nonce.to_string().as_bytes());
        removed.iter().for_each(|name| put(&mut head, REMOVED_FIELD, name.as_bytes()));
        Self::of(Form::Delta, (type_url, nonce, head), resources, removed)
    }

    /// A DiscoveryResponse, in which `missing` are said not to exist.
    pub(crate) fn whole(
        type_url: Cow<'static, str>,
        nonce: u64,
        (version, resources): (&str, Batch),
        missing: &[(&ResourceName, Missing)],
    ) -> Self {
        let mut head = BytesMut::with_capacity(type_url.len() + version.len() + 32);
        put(&mut head, VERSION_FIELD, version.as_bytes());
        put(&mut head, TYPE_URL_FIELD, type_url.as_bytes());
        put(&mut head, NONCE_FIELD, nonce.to_string().as_bytes());
        for (name, why) in missing {
            let (code, message) = match why {
                Missing::Absent => (NOT_FOUND, format!("there is no {name} in what this client may see")),
                Missing::TooLarge(bytes) => (
                    RESOURCE_EXHAUSTED,
                    format!("{name} weighs {bytes} bytes, which is more than this client can take"),
                ),
            };
            let error = ResourceError {
                resource_name: Some(pb::ResourceName { name: name.to_string(), ..Default::default() }),
                error_detail: Some(Status { code, message, ..Default::default() }),
            };
            put(&mut head, ERRORS_FIELD, &error.encode_to_vec());
        }
        Self::of(Form::Whole, (type_url, nonce, head), resources, Vec::new())
    }

    fn of(
        form: Form,
        (type_url, nonce, head): (Cow<'static, str>, u64, BytesMut),
        resources: Batch,
        removed: Vec<ResourceName>,
    ) -> Self {
        let entry_bytes = resources.iter().map(|resource| form.entry(resource).len()).sum();
        Self { type_url, nonce, resources, removed, form, head: head.freeze(), entry_bytes }
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
        Frames { form: self.form, buffer, pieces, piece: Arc::new([]), at: 0, left: self.entry_bytes, large: None }
    }
}

/// A response on its way to a socket. Small entries are copied together, large ones are shared; a client
/// that does not read costs no more than one piece.
#[derive(Debug)]
pub struct Frames {
    form: Form,
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
        let entry = self.form.entry(&self.piece[self.at - 1]);
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
    pub(crate) fn new(now: Instant, kind: ResourceType, response: &Response, cause: Option<&View>) -> Self {
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
