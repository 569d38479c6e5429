//! Generated protobuf messages: xDS v3 under `envoy`, the admin service under `rutter`.
#![expect(missing_docs, clippy::all, clippy::too_many_lines, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/pb.rs"));

/// Every message above as an encoded `FileDescriptorSet`.
#[cfg(feature = "reflect")]
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
