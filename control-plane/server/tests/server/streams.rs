//! Streams of clients: who is taken, what ends a stream, and load reports.

use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3 as discovery;
use rutter_api::pb::envoy::service::load_stats::v3 as lrs;
use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Code;

use crate::process::{Process, Sidecar, channel, channel_from, service, wanted};

fn request(id: &str) -> discovery::DeltaDiscoveryRequest {
    discovery::DeltaDiscoveryRequest {
        node: Some(Node { id: id.into(), ..Default::default() }),
        type_url: ResourceType::Cluster.type_url().into(),
        ..Default::default()
    }
}

/// Returns how the stream of a first request ends.
async fn refused(process: &Process, first: discovery::DeltaDiscoveryRequest) -> tonic::Status {
    match Sidecar::with_request(process, first).await {
        Ok(mut sidecar) => sidecar.next().await.unwrap_err(),
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_told_is_refused_with_the_reason() {
    let process = Process::start().await;
    let status = refused(&process, request("")).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("node.id: want sidecar~IP~POD.NAMESPACE~"), "{status}");
    let status = refused(&process, request("waypoint~10.0.0.1~a.shop~x")).await;
    assert!(status.message().contains("a node of type \"waypoint\""), "{status}");
    let nobody = discovery::DeltaDiscoveryRequest { node: None, ..request("") };
    assert_eq!(refused(&process, nobody).await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_sidecar_has_no_more_streams_than_it_may() {
    let process = Process::with_settings(|settings| settings.limits.streams_per_sidecar = 1).await;
    let mut first = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    first.acknowledge().await;
    let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
    let status = refused(&process, request(id)).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "want at most 1 streams of one sidecar from one address")
    );
    let mut another = Sidecar::connect(&process, "web-2", ResourceType::Cluster).await;
    assert!(!another.acknowledge().await.is_empty(), "another sidecar has a place of its own");
}

#[tokio::test]
async fn false_streams_from_elsewhere_lock_no_sidecar_out_and_are_shown_and_named() {
    let mut process = Process::with_settings(|settings| settings.limits.streams_per_sidecar = 100).await;
    let stranger = channel_from("127.0.0.66".parse().unwrap(), process.xds_addr).await;
    let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
    let mut false_ones = Vec::new();
    for _ in 0..100 {
        let mut sidecar = Sidecar::over(stranger.clone(), request(id)).await.unwrap();
        sidecar.acknowledge().await;
        false_ones.push(sidecar);
    }
    let mut one_more = Sidecar::over(stranger.clone(), request(id)).await.unwrap();
    assert_eq!(one_more.next().await.unwrap_err().code(), Code::ResourceExhausted);
    let mut true_one = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    true_one.acknowledge().await;
    let shown = process.admin.proxy_status(pb::ProxyStatusRequest::default()).await.unwrap().into_inner().sidecars;
    assert!(shown.iter().all(|sidecar| sidecar.contested), "{shown:?}");
    let mut addresses: Vec<&str> = shown.iter().map(|sidecar| sidecar.peer.as_str()).collect();
    addresses.dedup();
    assert_eq!(addresses, ["127.0.0.66", "127.0.0.1"]);
    assert!(process.monitoring("/metrics").await.contains("rutter_sidecars_contested 1\n"));
    let revision = process.apply(&service("a")).await;
    true_one.acknowledge().await;
    let request = pb::WaitForAckRequest { revision, timeout_ms: 500 };
    let mut waiting = process.admin.wait_for_ack(request).await.unwrap().into_inner().waiting;
    waiting.dedup();
    assert_eq!(waiting, ["web-1.shop at 127.0.0.66"], "who keeps silent is named");
}

#[tokio::test]
async fn a_refusal_by_one_of_many_is_said_to_be_one() {
    let mut process = Process::start().await;
    let mut sidecars = Vec::new();
    for number in 0..40 {
        let mut sidecar = Sidecar::connect(&process, &format!("web-{number}"), ResourceType::Cluster).await;
        sidecar.acknowledge().await;
        sidecars.push(sidecar);
    }
    let revision = process.apply(&service("a")).await;
    for (number, sidecar) in sidecars.iter_mut().enumerate() {
        if number == 7 {
            sidecar.refuse("no").await;
        } else {
            sidecar.acknowledge().await;
        }
    }
    let request = pb::WaitForAckRequest { revision, timeout_ms: 10_000 };
    assert_eq!(process.admin.wait_for_ack(request).await.unwrap().into_inner().refused, ["web-7.shop"]);
    let object = process.admin.get(wanted("service", "", "")).await.unwrap().into_inner().objects.remove(0);
    assert_eq!((object.refused_by, object.sent_to), (1, 40));
    let json = String::from_utf8(object.json.to_vec()).unwrap();
    assert!(json.contains("refused by 1 of 40 sidecars"), "{json}");
}

#[tokio::test]
async fn a_stream_that_asks_for_too_many_names_is_closed_and_told_why() {
    let process = Process::with_settings(|settings| settings.limits.names_max = 3).await;
    let mut greedy = request("sidecar~10.0.0.1~web-1.shop~x");
    greedy.resource_names_subscribe = (0..4).map(|number| format!("name{number}")).collect();
    let status = refused(&process, greedy).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "want at most 3 names on one stream, got more")
    );
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_the_stream() {
    let process = Process::with_settings(|settings| settings.limits.request_mb = "1".parse().unwrap()).await;
    let mut large = request("sidecar~10.0.0.1~web-1.shop~x");
    large.resource_names_subscribe = vec!["x".repeat(1 << 20)];
    let status = refused(&process, large).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("want requests of at most 1048576 bytes, got "), "{status}");
}

#[tokio::test]
async fn an_old_connection_is_closed_so_that_its_client_connects_again() {
    let process = Process::with_settings(|settings| settings.limits.connection_age_s = "1".parse().unwrap()).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    sidecar.acknowledge().await;
    let status = sidecar.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the connection has lived for its time: connect again");
}

#[tokio::test]
async fn the_end_of_the_process_ends_every_stream() {
    let process = Process::start().await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    sidecar.acknowledge().await;
    let ended = tokio::spawn(process.end());
    let status = sidecar.next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the control plane is ending"));
    drop(sidecar);
    ended.await.unwrap();
}

#[tokio::test]
async fn a_change_reaches_those_whom_it_concerns_and_nobody_else() {
    let mut process = Process::start().await;
    process.apply(&service("a")).await;
    let mut sidecar = Sidecar::connect(&process, "web-1", ResourceType::Endpoint).await;
    assert_eq!(sidecar.acknowledge().await, ["outbound|80||a.shop.svc.cluster.local"]);
    let private = service("hidden")
        .replace("namespace: shop", "namespace: bank, annotations: {networking.istio.io/exportTo: '.'}");
    process.apply(&private).await;
    process.apply(&service("b")).await;
    let names = sidecar.acknowledge().await;
    assert_eq!(names, ["outbound|80||b.shop.svc.cluster.local"], "the next response is about b and nothing before");
}

#[tokio::test]
async fn other_methods_of_the_service_are_refused_by_name() {
    let process = Process::start().await;
    let mut grpc = tonic::client::Grpc::new(channel(process.xds_addr).await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Node, Node>::default();
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchResources".parse().unwrap();
    let status = grpc.unary(tonic::Request::new(Node::default()), path, codec).await.unwrap_err();
    let want = "FetchResources: want DeltaAggregatedResources or StreamAggregatedResources";
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, want));
}

#[tokio::test]
async fn load_reports_are_asked_for_once_and_counted() {
    let process = Process::start().await;
    let (requests, waiting) = tokio::sync::mpsc::channel(8);
    let waiting = tokio_stream::wrappers::ReceiverStream::new(waiting);
    let mut client =
        lrs::load_reporting_service_client::LoadReportingServiceClient::new(channel(process.xds_addr).await);
    requests.send(lrs::LoadStatsRequest::default()).await.unwrap();
    let mut answers = client.stream_load_stats(waiting).await.unwrap().into_inner();
    let instructions = answers.message().await.unwrap().unwrap();
    assert!(instructions.send_all_clusters);
    assert_eq!(instructions.load_reporting_interval.unwrap().seconds, 10);
    for _ in 0..3 {
        requests.send(lrs::LoadStatsRequest::default()).await.unwrap();
    }
    drop(requests);
    assert!(answers.message().await.unwrap().is_none(), "there is no second answer");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(process.monitoring_addr).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("rutter_xds_load_reports_total 3\n"), "{text}");
}

#[tokio::test]
async fn two_processes_cannot_have_one_address() {
    let process = Process::start().await;
    let mut settings = rutter_server::Settings::for_tests(std::path::Path::new(""));
    settings.store.data_dir = None;
    settings.store.memory = true;
    settings.addresses.xds = process.xds_addr;
    let error = rutter_server::App::bind(settings).await.err().unwrap();
    assert!(format!("{error:#}").starts_with(&format!("--xds: listening at {}: ", process.xds_addr)), "{error:#}");
}
