//! ADS streams as values: requests, views and the time go in, responses come out.
//!
//! A stream is a position, which is the [`View`](crate::View) that it follows, and the exceptions to it. Per type and
//! client these are the words of a stream:
//!
//! ```text
//! subscribed   the client wants the name: it named it, or it wants all (the wildcard)
//! due          to be sent, because the client asked or because it changed
//! gone         to be told that it does not exist, because the client asked or because it vanished
//! unanswered   sent, and neither acknowledged (ACK) nor refused (NACK)
//! refused      the client refused this version and keeps what it had; sent again when it changes
//! retry        part of a refused response of several resources, being sent again in halves to find the faulty one
//! owed         belongs to what was sent before the client asked for this type: endpoints of clusters, virtual
//!              hosts of tables; due as soon as the client asks, whatever it says it has
//! settled      nothing is due, gone, unanswered or in retry
//! ```
//!
//! The delta variant, drawn: a client asks, the cluster changes, the client refuses, the cluster changes again.
//!
//! ```text
//!   client                         stream                              due     unanswered   refused
//!   CDS: first request      ──>    every cluster is due                a, b    -            -
//!                           <──    response 1: a, b                    -       1 (a, b)     -
//!   CDS: ACK 1              ──>    settled                             -       -            -
//!                                  on_view: a is another               a       -            -
//!                           <──    response 2: a                       -       2 (a)        -
//!   CDS: NACK 2, "bad"      ──>                                        -       -            a
//!                                  on_view: a is another               a       -            a
//!                           <──    response 3: a                       -       3 (a)        a
//!   CDS: ACK 3              ──>    settled                             -       -            -
//! ```
//!
//! The contract with whoever drives a stream: one task owns it and calls [`AdsStream::on_request`] for each message
//! and [`AdsStream::on_view`] for each new view; after either, and when [`AdsStream::wake_at`] is reached, it calls
//! [`AdsStream::next_response`] until that returns `None`. Nothing here blocks, reads a clock or does I/O. An error of
//! `on_request` means that the stream has to be closed.
//!
//! A letter with a number in a comment (S3, N4) names a rule of `docs/xds.md`.

mod ads_stream;
mod delta;
mod frame;
mod limits;
mod push_log;
mod sotw;
mod status;
mod subscription;
mod unserved_types;
mod wire;

pub use ads_stream::{AdsStream, AnsweredRequest, RequestError, Variant};
pub use delta::DeltaStream;
pub use limits::{Limits, StreamError};
pub use push_log::Push;
pub use sotw::SotwStream;
pub use status::{Refusal, ResourceState, ResourceStatus, SyncStatus, TypeSync};
pub use wire::{DeltaRequest, Frames, MalformedRequest, Response, SotwRequest};
