//! A state-of-the-world request, read without a copy.

use prost::Message;
use rutter_api::pb::google::rpc::Status;

use crate::delta_stream::Malformed;
use crate::delta_stream::request::{next_field, text};

/// A DiscoveryRequest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SotwRequest<'a> {
    /// What it is about.
    pub type_url: &'a str,
    /// Every name that it wants.
    pub names: Vec<&'a str>,
    /// The response that it answers.
    pub nonce: &'a str,
    /// Why it refuses that.
    pub error: Option<String>,
}

/// `DiscoveryRequest.node`
const NODE_FIELD: u32 = 2;

impl<'a> SotwRequest<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(mut message: &'a [u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        while let Some((field, content)) = next_field(&mut message)? {
            match field {
                3 => request.names.push(text(content)?),
                4 => request.type_url = text(content)?,
                5 => request.nonce = text(content)?,
                6 => request.error = Some(Status::decode(content).map_err(|_| Malformed)?.message),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Who asks, without reading the rest.
    ///
    /// # Errors
    /// When the beginning is none of a message.
    pub fn node_of(mut message: &'a [u8]) -> Result<&'a [u8], Malformed> {
        while let Some((field, content)) = next_field(&mut message)? {
            if field == NODE_FIELD {
                return Ok(content);
            }
        }
        Ok(&[])
    }
}
