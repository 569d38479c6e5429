//! An ADS stream of either protocol variant.

use std::time::Instant;

use rutter_api::ResourceType;

use crate::delta_stream::{
    DeltaStream, Limits, Malformed, Push, Request, ResourceState, Response, StreamError, TypeSync,
};
use crate::encode::{EncodedResource, Version};
use crate::snapshot::{ResourceName, View};
use crate::sotw_stream::{SotwRequest, SotwStream};

/// The protocol variant of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `DeltaAggregatedResources`: differences.
    Delta,
    /// `StreamAggregatedResources`: the state of the world.
    Sotw,
}

impl Variant {
    /// The variant of a method of the aggregated discovery service.
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "DeltaAggregatedResources" => Some(Self::Delta),
            "StreamAggregatedResources" => Some(Self::Sotw),
            _ => None,
        }
    }

    /// The node of a first request, without reading the rest.
    ///
    /// # Errors
    /// When the beginning is none of a message.
    pub fn node_of(self, message: &[u8]) -> Result<&[u8], Malformed> {
        match self {
            Self::Delta => Request::node_of(message),
            Self::Sotw => SotwRequest::node_of(message),
        }
    }
}

/// A stream.
#[derive(Debug)]
pub enum AdsStream {
    /// Of differences.
    Delta(Box<DeltaStream>),
    /// Of the state of the world.
    Sotw(Box<SotwStream>),
}

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// None: a type that Rutter does not serve.
    pub kind: Option<ResourceType>,
    /// The response that it answers. None: it answers none.
    pub nonce: Option<u64>,
    /// Why it refuses that.
    pub error: Option<String>,
}

/// A resource that a client refuses; it keeps what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: ResourceName,
    /// What it refuses; another one will be tried.
    pub version: Version,
    /// Why, in its words.
    pub error: String,
}

/// Why a stream is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes are no request.
    Malformed(Malformed),
    /// It asks for more than it may.
    Stream(StreamError),
}

impl AdsStream {
    /// A stream at whose start the client sees `view`.
    pub fn new(variant: Variant, view: View, limits: Limits) -> Self {
        match variant {
            Variant::Delta => Self::Delta(Box::new(DeltaStream::with_limits(view, limits))),
            Variant::Sotw => Self::Sotw(Box::new(SotwStream::with_limits(view, limits))),
        }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// When the stream has to be closed.
    pub fn on_request(&mut self, now: Instant, message: &[u8]) -> Result<Told, RequestError> {
        let told = |type_url: &str, nonce: &str, error: Option<String>| Told {
            kind: ResourceType::from_type_url(type_url),
            nonce: nonce.parse().ok(),
            error,
        };
        match self {
            Self::Delta(stream) => {
                let request = Request::parse(message).map_err(RequestError::Malformed)?;
                stream.on_request(now, &request).map_err(RequestError::Stream)?;
                Ok(told(request.type_url, request.nonce, request.error))
            }
            Self::Sotw(stream) => {
                let request = SotwRequest::parse(message).map_err(RequestError::Malformed)?;
                stream.on_request(now, &request).map_err(RequestError::Stream)?;
                Ok(told(request.type_url, request.nonce, request.error))
            }
        }
    }

    /// Follows its scope to a newer view.
    pub fn on_view(&mut self, now: Instant, view: View) {
        match self {
            Self::Delta(stream) => stream.on_view(now, view),
            Self::Sotw(stream) => stream.on_view(now, view),
        }
    }

    /// What is to be sent next, if anything. To be called until it says None.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        match self {
            Self::Delta(stream) => stream.next_response(now),
            Self::Sotw(stream) => stream.next_response(now),
        }
    }

    /// When [`Self::next_response`] has something to send though nothing else happens, it having said None now.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Delta(stream) => stream.wake_at(now),
            Self::Sotw(stream) => stream.wake_at(now),
        }
    }
}

/// For people who look.
impl AdsStream {
    /// The state of a type, and since when it is so.
    pub fn sync(&self, kind: ResourceType) -> (TypeSync, Option<Instant>) {
        match self {
            Self::Delta(stream) => stream.sync(kind),
            Self::Sotw(stream) => stream.sync(kind),
        }
    }

    /// What the client refuses now, of all types.
    pub fn refusals(&self) -> Vec<Refusal> {
        let of = |kind, (name, version, error): (&ResourceName, Version, &str)| Refusal {
            kind,
            name: name.clone(),
            version,
            error: error.to_owned(),
        };
        let all = ResourceType::ALL.into_iter();
        match self {
            Self::Delta(stream) => all.flat_map(|kind| stream.refused(kind).map(move |one| of(kind, one))).collect(),
            Self::Sotw(stream) => all.flat_map(|kind| stream.refused(kind).map(move |one| of(kind, one))).collect(),
        }
    }

    /// Whether everything that was due has been answered.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Delta(stream) => stream.is_settled(),
            Self::Sotw(stream) => stream.is_settled(),
        }
    }

    /// Every resource of a type that the client was sent or is to be sent: what it has, or what it refused.
    pub fn resources(&self, kind: ResourceType) -> Vec<(EncodedResource, ResourceState)> {
        match self {
            Self::Delta(stream) => stream.resources(kind),
            Self::Sotw(stream) => stream.resources(kind),
        }
    }

    /// The latest pushes, the oldest first.
    pub fn pushes(&self) -> impl DoubleEndedIterator<Item = &Push> {
        match self {
            Self::Delta(stream) => stream.pushes(),
            Self::Sotw(stream) => stream.pushes(),
        }
        .iter()
    }
}
