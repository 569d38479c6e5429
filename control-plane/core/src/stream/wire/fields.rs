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

#[cfg(test)]
mod tests {
    use prost::encoding::{encode_key, encode_varint};

    use super::*;

    fn with_length(number: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    fn number(field: u32, wire_type: WireType, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key(field, wire_type, &mut bytes);
        bytes.extend_from_slice(value);
        bytes
    }

    fn fields(mut message: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, MalformedRequest> {
        let mut fields = Vec::new();
        while let Some(field) = next_field(&mut message)? {
            fields.push((field.number, field.content.to_vec()));
        }
        Ok(fields)
    }

    #[test]
    fn fields_with_a_length_are_found_between_others() {
        let message = [
            number(1, WireType::Varint, &[0x96, 0x01]),
            with_length(2, b"two"),
            number(3, WireType::SixtyFourBit, &[0; 8]),
            number(4, WireType::ThirtyTwoBit, &[0; 4]),
            with_length(500, b""),
        ];
        assert_eq!(fields(&message.concat()), Ok(vec![(2, b"two".to_vec()), (500, Vec::new())]));
        assert_eq!(fields(b""), Ok(Vec::new()));
    }

    #[test]
    fn the_first_field_of_a_number_is_returned_and_what_follows_is_not_read() {
        let message = [with_length(1, b"one"), with_length(2, b"first"), with_length(2, b"second"), vec![0xff]];
        assert_eq!(first_field(&message.concat(), 2), Ok(&b"first"[..]));
        assert_eq!(first_field(&message.concat(), 9), Err(MalformedRequest));
        assert_eq!(first_field(&message[..3].concat(), 9), Ok(&b""[..]));
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_refused_or_ends_at_a_field() {
        let message =
            [with_length(1, b"one"), number(2, WireType::SixtyFourBit, &[0; 8]), with_length(3, b"x")].concat();
        let ends_of_fields = [0, 5, 14, 17];
        for cut in 0..=message.len() {
            assert_eq!(fields(&message[..cut]).is_ok(), ends_of_fields.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_refused_however_large_it_is() {
        let mut message = number(1, WireType::LengthDelimited, &[]);
        encode_varint(u64::MAX, &mut message);
        assert_eq!(fields(&message), Err(MalformedRequest));
    }

    #[test]
    fn a_text_must_be_utf8_and_an_error_must_be_a_status() {
        let text = Field { number: 1, content: "grün".as_bytes() };
        assert_eq!(text.text(), Ok("grün"));
        assert_eq!(Field { number: 1, content: b"\xff" }.text(), Err(MalformedRequest));
        let status = Status { code: 3, message: "no".into(), ..Default::default() }.encode_to_vec();
        assert_eq!(Field { number: 1, content: &status }.error_message(), Ok("no".to_owned()));
        assert_eq!(Field { number: 1, content: b"\x12\x09" }.error_message(), Err(MalformedRequest));
    }
}
