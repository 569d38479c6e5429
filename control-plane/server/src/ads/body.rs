//! gRPC's framing in both directions.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};
use tokio::sync::mpsc;
use tonic::Status;

/// A request longer than this ends its stream. A reconnect lists every name: 50,000 resources are 5 MB.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// A byte for compression, and the length.
const HEAD: usize = 5;
/// `DeltaDiscoveryRequest.node`
const NODE_FIELD: u32 = 1;

/// The requests of a stream.
pub(super) struct Requests {
    body: tonic::body::Body,
    buffer: BytesMut,
}

impl Requests {
    pub(super) fn new(body: tonic::body::Body) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message. None: the client has finished. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match self.take_message() {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(status) => return Some(Err(status)),
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // The connection is gone; how is for the transport's log.
                Err(_) => return None,
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((head, _)) = self.buffer.split_at_checked(HEAD) else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if head[0] != 0 {
            return Err(Status::unimplemented("want requests without compression"));
        }
        if length > REQUEST_BYTES_MAX {
            let text = format!("want requests of at most {REQUEST_BYTES_MAX} bytes, got {length}");
            return Err(Status::resource_exhausted(text));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Lets the buffer go: it has grown to the largest request, and requests are rare.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// The request without its node, which is known and which Envoy may repeat each time, 61 KB of it (S2).
pub(super) fn without_node(message: Bytes) -> Bytes {
    let mut rest = message.clone();
    let mut kept = BytesMut::new();
    while rest.has_remaining() {
        let start = message.len() - rest.remaining();
        let Ok((field, wire)) = decode_key(&mut rest) else { return message };
        let skipped = match wire {
            WireType::LengthDelimited => decode_varint(&mut rest).ok().and_then(|length| {
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.remaining())?;
                rest.advance(length);
                Some(())
            }),
            WireType::Varint
            | WireType::SixtyFourBit
            | WireType::ThirtyTwoBit
            | WireType::StartGroup
            | WireType::EndGroup => skip_field(wire, field, &mut rest, Default::default()).ok(),
        };
        if skipped.is_none() {
            return message;
        }
        if field != NODE_FIELD {
            kept.extend_from_slice(&message[start..message.len() - rest.remaining()]);
        }
    }
    kept.freeze()
}

/// What a stream writes.
pub(super) enum Out {
    /// One message, framed.
    Message(Vec<Bytes>),
    /// The end.
    End(Status),
}

/// The response body of a stream.
pub(super) struct Outgoing {
    messages: mpsc::Receiver<Out>,
    frames: VecDeque<Bytes>,
    ended: bool,
}

impl Outgoing {
    pub(super) fn new(messages: mpsc::Receiver<Out>) -> Self {
        Self { messages, frames: VecDeque::new(), ended: false }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            match self.messages.poll_recv(cx) {
                Poll::Ready(Some(Out::Message(frames))) => self.frames.extend(frames),
                Poll::Ready(Some(Out::End(status))) => return self.end(&status),
                Poll::Ready(None) => return self.end(&Status::internal("the stream's task ended")),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use rutter_api::pb::envoy::config::core::v3::Node;
    use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

    use super::*;

    #[test]
    fn s2_a_repeated_node_is_dropped_before_decoding() {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: "x".repeat(61_000), ..Default::default() }),
            type_url: "t".into(),
            response_nonce: "7".into(),
            ..Default::default()
        };
        let bytes = without_node(request.encode_to_vec().into());
        assert!(bytes.len() < 10);
        let read = DeltaDiscoveryRequest::decode(bytes).unwrap();
        assert_eq!(read, DeltaDiscoveryRequest { node: None, ..request });
    }

    #[test]
    fn garbage_is_left_for_the_decoder_to_refuse() {
        for garbage in [&b"\xff\xff\xff"[..], b"\x0a\xff\x01", b"\x0a"] {
            let bytes = Bytes::copy_from_slice(garbage);
            assert_eq!(without_node(bytes.clone()), bytes);
        }
    }
}
