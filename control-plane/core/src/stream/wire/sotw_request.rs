//! A state-of-the-world request, read without a copy.

use super::fields::{MalformedRequest, first_field, next_field};

/// The numbers of the fields of `DiscoveryRequest`.
const NODE: u32 = 2;
const RESOURCE_NAMES: u32 = 3;
const TYPE_URL: u32 = 4;
const RESPONSE_NONCE: u32 = 5;
const ERROR_DETAIL: u32 = 6;

/// A DiscoveryRequest, which borrows from the message that it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SotwRequest<'a> {
    /// The type that the request is about.
    pub type_url: &'a str,
    /// Every name that the client wants.
    pub names: Vec<&'a str>,
    /// The nonce of the response that the request answers. It is empty if the request answers none.
    pub nonce: &'a str,
    /// What the client says is wrong with that response. `None` means that it acknowledges the response.
    pub error: Option<String>,
}

impl<'a> SotwRequest<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Fails if the bytes are none of the message.
    pub fn parse(mut message: &'a [u8]) -> Result<Self, MalformedRequest> {
        let mut request = Self::default();
        while let Some(field) = next_field(&mut message)? {
            match field.number {
                RESOURCE_NAMES => request.names.push(field.text()?),
                TYPE_URL => request.type_url = field.text()?,
                RESPONSE_NONCE => request.nonce = field.text()?,
                ERROR_DETAIL => request.error = Some(field.error_message()?),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Returns the encoded `Node` of a request without reading what follows it.
    ///
    /// # Errors
    /// Fails if the beginning is none of the message.
    pub fn node_of(message: &'a [u8]) -> Result<&'a [u8], MalformedRequest> {
        first_field(message, NODE)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use rutter_api::pb::envoy::config::core::v3::Node;
    use rutter_api::pb::envoy::service::discovery::v3::DiscoveryRequest;
    use rutter_api::pb::google::rpc::Status;

    use super::*;

    #[test]
    fn every_field_is_read() {
        let node = Node { id: "n".into(), ..Default::default() };
        let message = DiscoveryRequest {
            version_info: "3".into(),
            node: Some(node.clone()),
            resource_names: vec!["a".into(), "b".into()],
            type_url: "t".into(),
            response_nonce: "7".into(),
            error_detail: Some(Status { code: 3, message: "no".into(), ..Default::default() }),
            ..Default::default()
        };
        let bytes = message.encode_to_vec();
        let request = SotwRequest::parse(&bytes).unwrap();
        assert_eq!((request.type_url, request.nonce, request.error.as_deref()), ("t", "7", Some("no")));
        assert_eq!(request.names, ["a", "b"]);
        assert_eq!(Node::decode(SotwRequest::node_of(&bytes).unwrap()).unwrap(), node);
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(SotwRequest::parse(b"\x12\xff\x01"), Err(MalformedRequest));
        assert_eq!(SotwRequest::node_of(b"\x12"), Err(MalformedRequest));
    }
}
