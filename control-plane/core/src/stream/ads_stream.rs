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

    /// Returns whether the client has asked for a resource by its name, whether there is one or not.
    pub fn asks_for(&self, resource_type: ResourceType, name: &str) -> bool {
        match self {
            Self::Delta(stream) => stream.asks_for(resource_type, name),
            Self::Sotw(stream) => stream.asks_for(resource_type, name),
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prost::Message;
    use rutter_api::ResourceType::{Cluster, Endpoint};
    use rutter_api::pb::envoy::config::core::v3::Node;
    use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
    use rutter_api::pb::google::rpc::Status;

    use super::*;
    use crate::resource::EncodedResource;
    use crate::snapshot::{ResourceWrite, Snapshot};
    use crate::stream::status::{ResourceState, TypeSync};

    const VARIANTS: [Variant; 2] = [Variant::Delta, Variant::Sotw];

    /// A request about clusters, which either variant can make.
    #[derive(Default)]
    struct ClusterRequest<'a> {
        nonce: &'a str,
        error: Option<&'a str>,
        names: &'a [&'a str],
    }

    impl ClusterRequest<'_> {
        fn encoded(&self, variant: Variant) -> Vec<u8> {
            let node = Some(Node { id: "node".into(), ..Default::default() });
            let error_detail = self.error.map(|message| Status { message: message.into(), ..Default::default() });
            let (type_url, response_nonce) = (Cluster.type_url().into(), self.nonce.into());
            let names = self.names.iter().map(|name| (*name).to_owned()).collect();
            match variant {
                Variant::Delta => DeltaDiscoveryRequest {
                    node,
                    type_url,
                    response_nonce,
                    error_detail,
                    resource_names_subscribe: names,
                    ..Default::default()
                }
                .encode_to_vec(),
                Variant::Sotw => DiscoveryRequest {
                    node,
                    type_url,
                    response_nonce,
                    error_detail,
                    resource_names: names,
                    ..Default::default()
                }
                .encode_to_vec(),
            }
        }
    }

    /// Returns a view with other clusters, each with a body of its own.
    fn with_clusters(view: &View, clusters: &[(&str, &str)]) -> View {
        let put = |(name, body): &(&str, &str)| {
            ResourceWrite::Put(Cluster, EncodedResource::new(Cluster, (*name).into(), body.as_bytes()))
        };
        let snapshot = view.scope.apply(clusters.iter().map(put).collect()).unwrap();
        View { scope: Arc::new(snapshot), ..view.clone() }
    }

    fn view(clusters: &[(&str, &str)]) -> View {
        with_clusters(&View { scope: Arc::new(Snapshot::new(1)), ..View::default() }, clusters)
    }

    /// Returns a stream whose client has asked for all clusters.
    fn asked(variant: Variant, view: View, now: Instant) -> AdsStream {
        let mut stream = AdsStream::new(variant, view, Limits::default());
        stream.on_request(now, &ClusterRequest::default().encoded(variant)).unwrap();
        stream
    }

    /// Answers everything that is to be sent, and returns the number of responses.
    fn answer(stream: &mut AdsStream, variant: Variant, now: Instant, error: Option<&str>) -> usize {
        let mut responses = 0;
        while let Some(response) = stream.next_response(now) {
            let nonce = response.nonce.to_string();
            let request = ClusterRequest { nonce: &nonce, error, ..ClusterRequest::default() };
            stream.on_request(now, &request.encoded(variant)).unwrap();
            responses += 1;
        }
        responses
    }

    fn states(stream: &AdsStream) -> Vec<(String, ResourceState)> {
        let resources = stream.resources(Cluster).into_iter();
        resources.map(|status| (status.resource.name.to_string(), status.state)).collect()
    }

    #[test]
    fn a_variant_is_found_by_its_method_and_finds_the_node() {
        assert_eq!(Variant::of_method("DeltaAggregatedResources"), Some(Variant::Delta));
        assert_eq!(Variant::of_method("StreamAggregatedResources"), Some(Variant::Sotw));
        assert_eq!(Variant::of_method("StreamClusters"), None);
        for variant in VARIANTS {
            let message = ClusterRequest::default().encoded(variant);
            let node = Node::decode(variant.node_of(&message).unwrap()).unwrap();
            assert_eq!(node.id, "node", "{variant:?}");
        }
    }

    #[test]
    fn a_request_tells_what_it_answers() {
        let now = Instant::now();
        for variant in VARIANTS {
            let mut stream = AdsStream::new(variant, view(&[("a", "1")]), Limits::default());
            let answered = stream.on_request(now, &ClusterRequest::default().encoded(variant)).unwrap();
            assert_eq!(answered, AnsweredRequest { resource_type: Some(Cluster), nonce: None, error: None });
            let nonce = stream.next_response(now).unwrap().nonce;
            let refusal = ClusterRequest { nonce: &nonce.to_string(), error: Some("bad"), ..ClusterRequest::default() };
            let answered = stream.on_request(now, &refusal.encoded(variant)).unwrap();
            assert_eq!((answered.nonce, answered.error.as_deref()), (Some(nonce), Some("bad")), "{variant:?}");
        }
    }

    #[test]
    fn both_variants_tell_the_same_of_each_step_of_a_resource() {
        let now = Instant::now();
        let in_state = |state: ResourceState| [("a".to_owned(), state)];
        for variant in VARIANTS {
            let stream = AdsStream::new(variant, view(&[("a", "1")]), Limits::default());
            assert_eq!(stream.sync(Cluster).sync, TypeSync::NotRequested, "{variant:?}");
            assert_eq!(states(&stream), [], "{variant:?}");

            let mut stream = asked(variant, view(&[("a", "1")]), now);
            assert_eq!(stream.sync(Cluster).sync, TypeSync::Stale, "{variant:?}");
            assert_eq!(states(&stream), in_state(ResourceState::Due), "{variant:?}");

            let response = stream.next_response(now).unwrap();
            assert_eq!(states(&stream), in_state(ResourceState::Sent), "{variant:?}");
            let nonce = response.nonce.to_string();
            let acknowledgement = ClusterRequest { nonce: &nonce, ..ClusterRequest::default() };
            stream.on_request(now, &acknowledgement.encoded(variant)).unwrap();
            assert_eq!(states(&stream), in_state(ResourceState::Acked), "{variant:?}");
            assert_eq!(stream.sync(Cluster).sync, TypeSync::Synced, "{variant:?}");
            assert_eq!(stream.sync(Endpoint).sync, TypeSync::NotRequested, "{variant:?}");
        }
    }

    #[test]
    fn a_refused_resource_stands_among_the_refusals_until_there_is_another_version() {
        let now = Instant::now();
        for variant in VARIANTS {
            let first = view(&[("a", "1")]);
            let mut stream = asked(variant, first.clone(), now);
            assert_eq!(answer(&mut stream, variant, now, Some("bad")), 1, "{variant:?}: it is not sent again");
            let texts: Vec<_> = stream.refusals().into_iter().map(|refusal| (refusal.name, refusal.error)).collect();
            assert_eq!(texts, [("a".into(), "bad".to_owned())], "{variant:?}");
            assert!(stream.is_settled(), "{variant:?}");
            stream.on_view(now, with_clusters(&first, &[("a", "2")]));
            assert!(!stream.is_settled(), "{variant:?}");
            assert_eq!(answer(&mut stream, variant, now, None), 1, "{variant:?}");
            assert!(stream.refusals().is_empty(), "{variant:?}");
        }
    }

    #[test]
    fn both_variants_log_what_they_sent_and_how_it_was_answered() {
        let now = Instant::now();
        for variant in VARIANTS {
            let first = view(&[("a", "1"), ("b", "1")]);
            let mut stream = asked(variant, first.clone(), now);
            answer(&mut stream, variant, now, None);
            stream.on_view(now, View { revision: 9, since: Some(now), ..with_clusters(&first, &[("a", "2")]) });
            answer(&mut stream, variant, now, Some("bad"));
            let pushes: Vec<_> = stream.pushes().map(|push| (push.revision, push.error.as_deref())).collect();
            assert_eq!(pushes[..2], [(0, None), (9, Some("bad"))], "{variant:?}");
            assert!(stream.pushes().all(|push| push.answered == Some(now)), "{variant:?}");
        }
    }

    #[test]
    fn a_stream_with_nothing_open_needs_no_timer() {
        let now = Instant::now();
        for variant in VARIANTS {
            let mut stream = asked(variant, view(&[("a", "1")]), now);
            answer(&mut stream, variant, now, None);
            assert_eq!(stream.wake_at(now + Duration::from_secs(1)), None, "{variant:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_request_and_requests_without_measure_close_the_stream() {
        let now = Instant::now();
        for variant in VARIANTS {
            let limits = Limits { names_max: 1, ..Limits::default() };
            let mut stream = AdsStream::new(variant, view(&[("a", "1")]), limits);
            let refused = stream.on_request(now, b"\x0a\xff\x01");
            assert_eq!(refused, Err(RequestError::Malformed(MalformedRequest)), "{variant:?}");
            let request = ClusterRequest { names: &["a", "b"], ..ClusterRequest::default() };
            let refused = stream.on_request(now, &request.encoded(variant));
            let too_many = StreamError::TooMany { what: "names", max: 1 };
            assert_eq!(refused, Err(RequestError::Stream(too_many)), "{variant:?}");
        }
    }
}
