//! The framing of gRPC in both directions.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::task::AtomicWaker;
use http_body::Frame;
use http_body_util::BodyExt;
use rutter_core::stream::Frames;
use tonic::Status;

/// The length up to which parts of a request are not counted, in bytes. Nearly all requests are far shorter.
const SMALL_REQUEST: usize = 64 << 10;
/// The length of what a message starts with, in bytes: a byte for compression, and the length of the rest.
const HEAD: usize = 5;

/// Bytes that all streams together hold for requests that have not come to their end, and for responses that have not
/// gone out. Above `--in-flight-mb` large requests are refused, and clients that take nothing are closed sooner.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    /// Returns a budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }

    /// Returns whether more is held than should be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.max
    }
}

/// A share of a budget, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub(super) fn new(budget: Arc<Budget>, bytes: usize) -> Self {
        let mut share = Self { budget, bytes: 0 };
        share.set(bytes);
        share
    }

    fn set(&mut self, bytes: usize) {
        let held = &self.budget.held;
        match bytes.checked_sub(self.bytes) {
            Some(more) => held.fetch_add(more, Ordering::Relaxed),
            None => held.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The requests of a stream.
pub(super) struct Requests {
    body: tonic::body::Body,
    buffer: BytesMut,
    share: Share,
    /// The length above which a request ends the stream, in bytes. A client that reconnects lists every name: 50,000
    /// resources are 5 MB.
    bytes_max: usize,
}

impl Requests {
    pub(super) fn new(body: tonic::body::Body, budget: Arc<Budget>, bytes_max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), share: Share::new(budget, 0), bytes_max }
    }

    /// Waits for the next message. `None` means that the client has finished. A call that is dropped while it waits
    /// misses nothing.
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
                // The connection is gone. The transport logs why.
                Err(_) => return None,
            }
            if self.buffer.len() > SMALL_REQUEST {
                self.share.set(self.buffer.len());
                if self.share.budget.is_exceeded() {
                    let text = "want less at a time: other clients' requests and responses fill the budget";
                    return Some(Err(Status::resource_exhausted(text)));
                }
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((head, _)) = self.buffer.split_at_checked(HEAD) else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if head[0] != 0 {
            return Err(Status::unimplemented("want requests without compression"));
        }
        if length > self.bytes_max {
            let text = format!("want requests of at most {} bytes, got {length}", self.bytes_max);
            return Err(Status::resource_exhausted(text));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // The buffer has grown to the largest request, and requests are rare: the memory is given back.
            self.buffer = BytesMut::new();
            self.share.set(0);
        }
        Ok(Some(message))
    }
}

/// What a stream writes.
pub(super) enum Out {
    /// A message, and what it takes of the budget until it is handed on.
    Message(Frames, Share),
    /// The end of the stream.
    End(Status),
}

/// The place between a stream and its socket. It holds one message and is no queue, so that a slow sidecar is sent the
/// latest state. What changes while a message waits is in the next message, once.
#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    body: AtomicWaker,
    pump: AtomicWaker,
}

#[derive(Default)]
struct SlotState {
    next: Option<Out>,
    /// Whether the body has a message of which it has not handed on everything.
    writing: bool,
    closed: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the slot that the stream has.
pub(super) struct Sender(Arc<Slot>);

impl Sender {
    /// Waits until the previous message is handed on. Returns `false` if nobody reads any more.
    pub(super) async fn ready(&self) -> bool {
        std::future::poll_fn(|cx| {
            self.0.pump.register(cx.waker());
            let state = self.0.lock();
            if state.closed {
                return Poll::Ready(false);
            }
            if state.next.is_some() || state.writing { Poll::Pending } else { Poll::Ready(true) }
        })
        .await
    }

    /// Puts a message into the slot, which must be ready.
    pub(super) fn send(&self, out: Out) {
        self.0.lock().next = Some(out);
        self.0.body.wake();
    }

    /// Waits until everything was handed on, or nobody reads any more.
    pub(super) async fn taken(&self) {
        // It does not matter which of the two it is.
        let _ = self.ready().await;
    }

    /// Returns whether everything was handed on.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.0.lock();
        state.next.is_none() && !state.writing
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // What is being written is cut short only if the task of the stream failed.
        state.next.get_or_insert_with(|| Out::End(Status::internal("the stream's task ended")));
        drop(state);
        self.0.body.wake();
    }
}

/// The response body of a stream.
pub(super) struct Outgoing {
    slot: Arc<Slot>,
    frames: Option<(Frames, Share)>,
    ended: bool,
}

/// Returns a response body and what fills it.
pub(super) fn outgoing() -> (Sender, Outgoing) {
    let slot = Arc::new(Slot::default());
    (Sender(slot.clone()), Outgoing { slot, frames: None, ended: false })
}

impl Outgoing {
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.slot.lock().closed = true;
        self.slot.pump.wake();
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(piece) = self.frames.as_mut().and_then(|(frames, _)| frames.next()) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.frames = None;
        self.slot.body.register(cx.waker());
        let mut state = self.slot.lock();
        let next = state.next.take();
        state.writing = matches!(next, Some(Out::Message(..)));
        drop(state);
        match next {
            Some(Out::Message(mut frames, share)) => {
                let piece = frames.next().unwrap_or_default();
                self.frames = Some((frames, share));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Out::End(status)) => self.end(&status),
            None => {
                self.slot.pump.wake();
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
