//! The framing in both directions, over bodies that the tests write themselves.

use std::convert::Infallible;

use futures::{FutureExt, StreamExt, stream};
use http_body_util::StreamBody;
use rutter_api::ResourceType;
use rutter_core::resource::EncodedResource;
use rutter_core::stream::Limits;
use rutter_core::{AdsStream, ResourceWrite, Snapshot, Variant, View};

use super::*;

/// Returns requests whose bytes arrive in the given parts. Afterwards the client has finished.
fn requests(parts: &[&[u8]], budget: &Arc<Budget>, bytes_max: usize) -> Requests {
    let parts: Vec<Result<Frame<Bytes>, Infallible>> =
        parts.iter().map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
    let body = tonic::body::Body::new(StreamBody::new(stream::iter(parts)));
    Requests::new(body, budget.clone(), bytes_max)
}

fn budget(max: usize) -> Arc<Budget> {
    Arc::new(Budget::new(max))
}

/// Returns a message with the five bytes that come before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

async fn all(mut requests: Requests) -> Vec<Result<Vec<u8>, String>> {
    let mut messages = Vec::new();
    while let Some(message) = requests.next().await {
        let is_over = message.is_err();
        messages.push(message.map(|bytes| bytes.to_vec()).map_err(|status| status.message().to_owned()));
        if is_over {
            break;
        }
    }
    messages
}

fn ok(messages: &[&[u8]]) -> Vec<Result<Vec<u8>, String>> {
    messages.iter().map(|message| Ok(message.to_vec())).collect()
}

#[tokio::test]
async fn messages_are_found_however_the_bytes_are_divided() {
    let bytes = [framed(b"one"), framed(b""), framed(b"three")].concat();
    let want = ok(&[b"one", b"", b"three"]);
    assert_eq!(all(requests(&[&bytes], &budget(1000), 100)).await, want);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(all(requests(&single, &budget(1000), 100)).await, want);
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(all(requests(&[first, second], &budget(1000), 100)).await, want, "divided at {at}");
    }
}

#[tokio::test]
async fn a_message_that_is_cut_off_is_none() {
    let bytes = framed(b"whole");
    assert_eq!(all(requests(&[&bytes[..bytes.len() - 1]], &budget(1000), 100)).await, ok(&[]));
    assert_eq!(all(requests(&[&bytes[..3]], &budget(1000), 100)).await, ok(&[]));
    assert_eq!(all(requests(&[], &budget(1000), 100)).await, ok(&[]));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_head() {
    let head = &framed(&[7; 101])[..HEAD];
    let want = "want requests of at most 100 bytes, got 101";
    assert_eq!(all(requests(&[head], &budget(1000), 100)).await, [Err(want.to_owned())]);
    assert_eq!(all(requests(&[&framed(&[7; 100])], &budget(1000), 100)).await, ok(&[&[7; 100]]));
}

#[tokio::test]
async fn a_compressed_message_is_refused() {
    let mut bytes = framed(b"zipped");
    bytes[0] = 1;
    let want = "want requests without compression";
    assert_eq!(all(requests(&[&bytes], &budget(1000), 100)).await, [Err(want.to_owned())]);
}

#[tokio::test]
async fn large_requests_are_counted_until_they_are_taken() {
    let budget = budget(2 * SMALL_REQUEST);
    let bytes = framed(&vec![7; SMALL_REQUEST + 1]);
    let (first, second) = bytes.split_at(SMALL_REQUEST + 2);
    let mut requests = requests(&[first, second], &budget, 1 << 20);
    assert!(requests.next().await.unwrap().is_ok());
    assert_eq!(budget.held.load(Ordering::Relaxed), 0, "the buffer is given back");
}

#[tokio::test]
async fn a_large_request_is_refused_while_others_fill_the_budget() {
    let budget = budget(SMALL_REQUEST);
    let others = Share::new(budget.clone(), SMALL_REQUEST);
    let bytes = framed(&vec![7; SMALL_REQUEST + 1]);
    let want = "want less at a time: other clients' requests and responses fill the budget";
    assert_eq!(all(requests(&[&bytes], &budget, 1 << 20)).await, [Err(want.to_owned())]);
    drop(others);
    assert_eq!(budget.held.load(Ordering::Relaxed), 0, "a refused request gives its share back");
    let small = framed(&vec![7; SMALL_REQUEST / 2]);
    let _others = Share::new(budget.clone(), 2 * SMALL_REQUEST);
    assert!(all(requests(&[&small], &budget, 1 << 20)).await[0].is_ok(), "small ones are never refused");
}

#[test]
fn a_share_counts_what_it_is_set_to_and_nothing_once_it_is_dropped() {
    let budget = budget(10);
    let mut share = Share::new(budget.clone(), 4);
    let other = Share::new(budget.clone(), 6);
    assert!(!budget.is_exceeded());
    share.set(5);
    assert!(budget.is_exceeded());
    share.set(1);
    assert_eq!(budget.held.load(Ordering::Relaxed), 7);
    drop((share, other));
    assert_eq!(budget.held.load(Ordering::Relaxed), 0);
}

/// Returns a response with one cluster, as a stream sends it.
fn response() -> rutter_core::Response {
    let cluster = EncodedResource::new(ResourceType::Cluster, "a".into(), b"\x0a\x01a");
    let snapshot = Snapshot::new(1).apply(vec![ResourceWrite::Put(ResourceType::Cluster, cluster)]).unwrap();
    let view = View { scope: Arc::new(snapshot), ..View::default() };
    let limits = Limits { names_max: 10, resource_bytes_max: usize::MAX };
    let mut stream = AdsStream::new(Variant::Delta, view, limits);
    let request = rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest {
        type_url: ResourceType::Cluster.type_url().into(),
        ..Default::default()
    };
    let now = std::time::Instant::now();
    stream.on_request(now, &prost::Message::encode_to_vec(&request)).unwrap();
    stream.next_response(now).unwrap()
}

fn message(budget: &Arc<Budget>) -> (Out, usize) {
    let response = response();
    let length = response.wire_len();
    (Out::Message(response.into_frames(), Share::new(budget.clone(), length)), length)
}

/// Reads all that a body hands on without waiting: the bytes of data, and the trailers.
fn read(body: &mut Outgoing) -> (usize, Option<http::HeaderMap>) {
    let (mut bytes, mut trailers) = (0, None);
    while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
        match frame.into_data() {
            Ok(data) => bytes += data.len(),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    (bytes, trailers)
}

#[tokio::test]
async fn a_slot_takes_one_message_and_is_ready_again_when_all_of_it_was_handed_on() {
    let budget = budget(1 << 20);
    let (sender, mut body) = outgoing();
    assert_eq!(sender.ready().now_or_never(), Some(true));
    let (out, length) = message(&budget);
    sender.send(out);
    assert!(!sender.is_empty());
    assert_eq!(sender.ready().now_or_never(), None, "the message waits for the body");
    let first = body.frame().now_or_never().flatten().unwrap().unwrap().into_data().unwrap();
    assert_eq!(sender.ready().now_or_never(), None, "the rest of the message waits");
    assert_eq!(first.len() + read(&mut body).0, length);
    assert_eq!(sender.ready().now_or_never(), Some(true));
    assert!(sender.is_empty());
    assert_eq!(budget.held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_end_of_a_stream_is_its_status() {
    let (sender, mut body) = outgoing();
    sender.send(Out::End(Status::unavailable("the control plane is ending")));
    let (bytes, trailers) = read(&mut body);
    let trailers = trailers.unwrap();
    assert_eq!((bytes, trailers["grpc-status"].to_str().unwrap()), (0, "14"));
    assert_eq!(trailers["grpc-message"], "the%20control%20plane%20is%20ending");
    assert!(body.frame().await.is_none(), "nothing comes after the end");
}

#[tokio::test]
async fn a_task_that_ends_without_a_word_ends_the_stream_with_an_error() {
    let (sender, mut body) = outgoing();
    drop(sender);
    assert_eq!(read(&mut body).1.unwrap()["grpc-status"], "13");
}

#[tokio::test]
async fn a_body_that_nobody_reads_any_more_is_noticed() {
    let (sender, body) = outgoing();
    let (out, _) = message(&budget(1 << 20));
    sender.send(out);
    drop(body);
    assert!(!sender.ready().await);
    sender.taken().await;
}

#[tokio::test]
async fn a_body_wakes_up_for_a_message_that_comes_later() {
    let budget = budget(1 << 20);
    let (sender, mut body) = outgoing();
    let reader = tokio::spawn(async move { body.frame().await.unwrap().unwrap().into_data().unwrap().len() });
    tokio::task::yield_now().await;
    sender.send(message(&budget).0);
    assert!(reader.await.unwrap() > 0);
}

#[tokio::test]
async fn parts_of_a_body_that_are_no_data_are_passed_over() {
    let trailers = Frame::trailers(http::HeaderMap::new());
    let parts: Vec<Result<Frame<Bytes>, Infallible>> = vec![Ok(Frame::data(Bytes::from(framed(b"x")))), Ok(trailers)];
    let body = tonic::body::Body::new(StreamBody::new(stream::iter(parts).boxed()));
    assert_eq!(all(Requests::new(body, budget(10), 10)).await, ok(&[b"x"]));
}
