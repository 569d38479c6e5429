//! Reading protobuf fields without a copy.

use bytes::Buf;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};
use rutter_api::pb::google::rpc::Status;

/// The bytes are no discovery request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedRequest;

impl std::fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("want a discovery request, got other bytes")
    }
}

impl std::error::Error for MalformedRequest {}

/// A field whose value has a length: a text, bytes or a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) content: &'a [u8],
}

impl<'a> Field<'a> {
    pub(super) fn text(&self) -> Result<&'a str, MalformedRequest> {
        std::str::from_utf8(self.content).map_err(|_| MalformedRequest)
    }

    /// Returns the message of a field that is a `Status`.
    pub(super) fn error_message(&self) -> Result<String, MalformedRequest> {
        Ok(Status::decode(self.content).map_err(|_| MalformedRequest)?.message)
    }
}

/// Takes the next field that has a length off a message. Other fields are passed over.
pub(super) fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<Field<'a>>, MalformedRequest> {
    while message.has_remaining() {
        let (number, wire_type) = decode_key(message).map_err(|_| MalformedRequest)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, number, message, Default::default()).map_err(|_| MalformedRequest)?;
            continue;
        }
        let length = usize::try_from(decode_varint(message).map_err(|_| MalformedRequest)?).unwrap_or(usize::MAX);
        let (content, rest) = message.split_at_checked(length).ok_or(MalformedRequest)?;
        *message = rest;
        return Ok(Some(Field { number, content }));
    }
    Ok(None)
}

/// Returns the content of the first field with a number, or nothing if there is none.
pub(super) fn first_field(mut message: &[u8], number: u32) -> Result<&[u8], MalformedRequest> {
    while let Some(field) = next_field(&mut message)? {
        if field.number == number {
            return Ok(field.content);
        }
    }
    Ok(&[])
}
