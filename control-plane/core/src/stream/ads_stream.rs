//! An ADS stream of either protocol variant.

use std::time::Instant;

use rutter_api::ResourceType;

use super::delta::DeltaStream;
use super::limits::{Limits, StreamError};
use super::push_log::Push;
use super::sotw::SotwStream;
use super::status::{Refusal, ResourceStatus, SyncStatus};
use super::wire::{DeltaRequest, MalformedRequest, Response, SotwRequest};
use crate::snapshot::View;

/// The protocol variant of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `DeltaAggregatedResources`: responses are differences.
    Delta,
    /// `StreamAggregatedResources`: responses are the state of the world.
    Sotw,
}

impl Variant {
    /// Returns the variant of a method of the aggregated discovery service. `None` means that there is no such method.
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "DeltaAggregatedResources" => Some(Self::Delta),
            "StreamAggregatedResources" => Some(Self::Sotw),
            _ => None,
        }
    }

    /// Returns the encoded `Node` of a first request without reading what follows it. The first request of an Envoy is
    /// 61 KB, nearly all of it the node, which is needed before a stream exists.
    ///
    /// # Errors
    /// Fails if the beginning is none of a request.
    pub fn node_of(self, message: &[u8]) -> Result<&[u8], MalformedRequest> {
        match self {
            Self::Delta => DeltaRequest::node_of(message),
            Self::Sotw => SotwRequest::node_of(message),
        }
    }
}

/// A stream of either variant. The module says how it is driven.
#[derive(Debug)]
pub enum AdsStream {
    /// A stream of the delta variant.
    Delta(Box<DeltaStream>),
    /// A stream of the state-of-the-world variant.
    Sotw(Box<SotwStream>),
}

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The type. `None` means that Rutter does not serve it.
    pub resource_type: Option<ResourceType>,
    /// The nonce of the response that the request answers. `None` means that it answers none.
    pub nonce: Option<u64>,
    /// What the client says is wrong with that response. `None` means that it acknowledges the response.
    pub error: Option<String>,
}

impl AnsweredRequest {
    fn new(type_url: &str, nonce: &str, error: Option<String>) -> Self {
        Self { resource_type: ResourceType::from_type_url(type_url), nonce: nonce.parse().ok(), error }
    }
}

/// Why a stream has to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes are no request.
    Malformed(MalformedRequest),
    /// The client asks for more than it may.
    Stream(StreamError),
}

impl AdsStream {
    /// Returns a stream at whose start the client sees `view`.
    pub fn new(variant: Variant, view: View, limits: Limits) -> Self {
        match variant {
            Variant::Delta => Self::Delta(Box::new(DeltaStream::new(view, limits))),
            Variant::Sotw => Self::Sotw(Box::new(SotwStream::new(view, limits))),
        }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// Fails if the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, message: &[u8]) -> Result<AnsweredRequest, RequestError> {
        match self {
            Self::Delta(stream) => {
                let request = DeltaRequest::parse(message).map_err(RequestError::Malformed)?;
                stream.on_request(now, &request).map_err(RequestError::Stream)?;
                Ok(AnsweredRequest::new(request.type_url, request.nonce, request.error))
            }
            Self::Sotw(stream) => {
                let request = SotwRequest::parse(message).map_err(RequestError::Malformed)?;
                stream.on_request(now, &request).map_err(RequestError::Stream)?;
                Ok(AnsweredRequest::new(request.type_url, request.nonce, request.error))
            }
        }
    }

    /// Takes in a newer view of the client.
    pub fn on_view(&mut self, now: Instant, view: View) {
        match self {
            Self::Delta(stream) => stream.on_view(now, view),
            Self::Sotw(stream) => stream.on_view(now, view),
        }
    }

    /// Returns what is to be sent next. It has to be called until it returns `None`.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        match self {
            Self::Delta(stream) => stream.next_response(now),
            Self::Sotw(stream) => stream.next_response(now),
        }
    }

    /// Returns when [`Self::next_response`] has something to send although nothing else happens. It must have returned
    /// `None` at `now`.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Delta(stream) => stream.wake_at(now),
            Self::Sotw(stream) => stream.wake_at(now),
        }
    }
}

/// For people who look at a stream.
impl AdsStream {
    /// Returns what is known of a type.
    pub fn sync(&self, resource_type: ResourceType) -> SyncStatus {
        match self {
            Self::Delta(stream) => stream.sync(resource_type),
            Self::Sotw(stream) => stream.sync(resource_type),
        }
    }

    /// Returns what the client refuses now, of all types.
    pub fn refusals(&self) -> Vec<Refusal> {
        let types = ResourceType::ALL.into_iter();
        match self {
            Self::Delta(stream) => types.flat_map(|resource_type| stream.refusals(resource_type)).collect(),
            Self::Sotw(stream) => types.flat_map(|resource_type| stream.refusals(resource_type)).collect(),
        }
    }

    /// Returns whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Delta(stream) => stream.is_settled(),
            Self::Sotw(stream) => stream.is_settled(),
        }
    }

    /// Returns every resource of a type that the client was sent or is to be sent, in the order of the names.
    /// `rutterctl proxy-config` and client status discovery show these.
    pub fn resources(&self, resource_type: ResourceType) -> Vec<ResourceStatus> {
        match self {
            Self::Delta(stream) => stream.resources(resource_type),
            Self::Sotw(stream) => stream.resources(resource_type),
        }
    }

    /// Returns the latest responses, the oldest first.
    pub fn pushes(&self) -> std::collections::vec_deque::Iter<'_, Push> {
        match self {
            Self::Delta(stream) => stream.pushes(),
            Self::Sotw(stream) => stream.pushes(),
        }
    }
}
