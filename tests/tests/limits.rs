//! What a client may cost, each bound exceeded by doing it; the others are served all the same.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rutter_api::ResourceType::{Cluster, Endpoint};
use rutter_tests::client::{Client, request};
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, Sidecar, Workload, binary, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";

/// The bound on the way to ADS that is set here.
async fn start(more: &[&str]) -> Result<(tempfile::TempDir, ControlPlane)> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), more).await?;
    plane.apply(SERVICE, &[]).await?;
    Ok((dir, plane))
}

fn id(pod: &str) -> String {
    format!("sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local")
}

/// A client that has been answered.
async fn served(plane: &ControlPlane, pod: &str) -> Result<Client> {
    let mut client = Client::connect(plane.xds).await?;
    client.send(request(&id(pod), Cluster)).await;
    ensure!(!client.next().await?.resources.is_empty(), "{pod} got nothing");
    Ok(client)
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_its_stream() -> Result<()> {
    let (_dir, plane) = start(&["--request-mb", "1"]).await?;
    let mut client = Client::connect(plane.xds).await?;
    let mut large = request(&id("large"), Endpoint);
    large.resource_names_subscribe = vec!["x".repeat(2 << 20)];
    client.send(large).await;
    let status = client.next().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("want requests of at most 1048576 bytes, got 20972"), "{status}");
    served(&plane, "other").await.map(drop)
}

#[tokio::test]
async fn too_many_names_end_their_stream() -> Result<()> {
    let (_dir, plane) = start(&["--names-max", "10"]).await?;
    let mut client = Client::connect(plane.xds).await?;
    let mut many = request(&id("many"), Endpoint);
    many.resource_names_subscribe = (0..11).map(|number| format!("n{number}")).collect();
    client.send(many).await;
    let status = client.next().await.unwrap_err();
    assert_eq!(status.message(), "want at most 10 names on one stream, got more");
    served(&plane, "other").await.map(drop)
}

#[tokio::test]
async fn one_sidecar_has_so_many_streams_and_others_have_theirs() -> Result<()> {
    let (_dir, plane) = start(&["--streams-per-sidecar", "2"]).await?;
    let one = served(&plane, "greedy").await?;
    let _two = served(&plane, "greedy").await?;
    let mut three = Client::connect(plane.xds).await?;
    three.send(request(&id("greedy"), Cluster)).await;
    let status = three.next().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "want at most 2 streams of one sidecar from one address")
    );
    let _other = served(&plane, "modest").await?;
    drop(one);
    eventually("its place is free again", || async { served(&plane, "greedy").await.is_ok() }).await
}

#[tokio::test]
async fn streams_begin_one_after_the_other_where_they_may_not_all_at_once() -> Result<()> {
    let (_dir, plane) = start(&["--streams-per-second", "1"]).await?;
    let mut clients = futures::stream::FuturesUnordered::new();
    for number in 0..3 {
        let mut client = Client::connect(plane.xds).await?;
        client.send(request(&id(&format!("p{number}")), Cluster)).await;
        // Kept, so that its stream counts.
        clients.push(async move { (client.next().await, client) });
    }
    let mut begun = Vec::new();
    while let Some((answer, client)) = clients.next().await {
        assert!(!answer?.resources.is_empty());
        begun.push(client);
        let streams = plane.metric("rutter_xds_streams").await?;
        assert!(begun.len() > 1 || streams < 3, "all began at once");
    }
    assert_eq!(begun.len(), 3);
    Ok(())
}

async fn handshake(plane: &ControlPlane) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(plane.xds).await?;
    // The preface, and settings with nothing in them.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await?;
    Ok(socket)
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_closed() -> Result<()> {
    let (_dir, plane) = start(&["--keepalive-s", "1", "--keepalive-timeout-s", "1"]).await?;
    // It reads, and never answers a ping.
    let mut silent = handshake(&plane).await?;
    let mut all = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(15), silent.read_to_end(&mut all)).await;
    // Whether with a word or without does not matter.
    drop(closed.context("it is still open")?);
    let _well = served(&plane, "well").await?;
    Ok(())
}

#[tokio::test]
async fn an_old_connection_is_closed_and_a_real_envoy_does_not_notice() -> Result<()> {
    let (dir, plane) = start(&["--connection-age-s", "3"]).await?;
    let mut client = served(&plane, "old").await?;
    let status = client.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("lived for its time"), "{status}");

    let ip = IpAddr::from([127, 0, 62, 1]);
    let envoy = Sidecar::start(dir.path(), &plane, &Workload::new("aging", "shop", ip)).await?;
    let reconnects = || async { envoy.stat("cluster.rutter.upstream_cx_total").await.is_ok_and(|count| count > 2) };
    eventually("it has come back twice", reconnects).await?;
    plane.apply(&SERVICE.replace("port: 80", "port: 8081"), &[]).await?;
    let is_bound = || async { TcpStream::connect(SocketAddr::new(ip, 8081)).await.is_ok() };
    eventually("what changes arrives", is_bound).await?;
    assert_eq!(envoy.stat("update_rejected").await?, 0);
    Ok(())
}

/// GOAWAY's type, and the code of one that is told to be calm.
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

#[tokio::test]
async fn streams_that_are_begun_and_reset_at_once_end_their_connection() -> Result<()> {
    let (_dir, plane) = start(&["--resets-max", "20"]).await?;
    let mut other = served(&plane, "other").await?;
    let mut rapid = handshake(&plane).await?;
    let mut frames = Vec::new();
    for number in 0..2000u32 {
        let stream = (number * 2 + 1).to_be_bytes();
        // HEADERS: POST, http, and the path /; then RST_STREAM: CANCEL.
        frames.extend([&[0, 0, 3, 1, 4][..], &stream, &[0x83, 0x86, 0x84]].concat());
        frames.extend([&[0, 0, 4, 3, 0][..], &stream, &[0, 0, 0, 8]].concat());
    }
    // It may be closed before all is written.
    let _ = rapid.write_all(&frames).await;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), rapid.read_to_end(&mut said)).await.context("still open")?;
    let mut rest = &said[..];
    let mut codes = Vec::new();
    while let Some((head, more)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, more) = more.split_at_checked(length).unwrap_or((more, &[]));
        if head[3] == GOAWAY && payload.len() >= 8 {
            codes.push(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        }
        rest = more;
    }
    assert_eq!(codes.last(), Some(&ENHANCE_YOUR_CALM), "{codes:?}");
    plane.apply(&SERVICE.replace("name: a", "name: b"), &[]).await?;
    assert_eq!(other.next().await?.resources[0].name, "outbound|80||b.shop.svc.cluster.local");
    assert_eq!(http::get(plane.monitoring, "/readyz", &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn connections_that_send_nothing_are_closed_and_cost_others_nothing() -> Result<()> {
    let (_dir, plane) = start(&[]).await?;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(plane.xds).await?);
    }
    // Half of a request of gRPC, and half of one of HTTP/1.1.
    let mut half = TcpStream::connect(plane.xds).await?;
    half.write_all(b"PRI * HTTP/2").await?;
    let mut of_monitoring = TcpStream::connect(plane.monitoring).await?;
    of_monitoring.write_all(b"GET /metrics HT").await?;
    let client = served(&plane, "w1").await?;
    eventually("the silent connections are closed", || async {
        plane.metric("rutter_connections_silent_total").await.is_ok_and(|closed| closed == 500)
    })
    .await?;
    for socket in &mut silent {
        // The server says what it takes, and then nothing but the end comes.
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut Vec::new())).await?;
    }
    assert_eq!(plane.metric("rutter_connections").await?, 2, "the half one has some time left, and the client stays");
    drop(client);
    Ok(())
}

#[tokio::test]
async fn there_are_so_many_connections_and_so_many_from_one_address() -> Result<()> {
    let (_dir, plane) = start(&["--connections-max", "20"]).await?;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(TcpStream::connect(plane.xds).await?);
    }
    let mut refused = TcpStream::connect(plane.xds).await?;
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or_default(), 0, "half of them may come from one address");
    let from_elsewhere = tokio::net::TcpSocket::new_v4()?;
    from_elsewhere.bind("127.0.0.2:0".parse()?)?;
    let mut other = from_elsewhere.connect(plane.xds).await?;
    assert_eq!(other.read(&mut [0; 1]).await?, 1, "another address has places of its own");
    assert_eq!(plane.metric("rutter_connections_refused_total").await?, 1);
    drop(open.pop());
    eventually("a place is free again", || async { served(&plane, "w1").await.is_ok() }).await?;
    for _ in 0..100 {
        let mut refused = TcpStream::connect(plane.xds).await?;
        let _ = refused.read(&mut [0; 1]).await;
    }
    let told = plane.log().matches("a connection was refused").count();
    assert!((1..=2).contains(&told), "{told} lines for a hundred refusals");
    Ok(())
}

#[tokio::test]
async fn three_hundred_sidecars_behind_one_address_are_served() -> Result<()> {
    let (_dir, plane) = start(&["--connections-max", "600"]).await?;
    let mut clients = Vec::new();
    for number in 0..300 {
        clients.push(served(&plane, &format!("w{number}")).await?);
    }
    assert_eq!(plane.metric("rutter_xds_streams").await?, 300);
    assert_eq!(plane.metric("rutter_connections_refused_total").await?, 0);
    Ok(())
}

/// A process that may open few files keeps some of them for operators, however many connections others open.
#[tokio::test]
async fn with_few_descriptors_operators_are_served_all_the_same() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [xds, monitoring] = [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let script = "ulimit -n 300; exec \"$0\" serve --data-dir data --xds \"$1\" --monitoring \"$2\" 2> log";
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", script]).arg(binary("rutter")?).args([xds.to_string(), monitoring.to_string()]);
    let mut child = shell.current_dir(dir.path()).kill_on_drop(true).spawn()?;
    eventually("it serves", || async { http::get(monitoring, "/readyz", &[]).await.is_ok() }).await?;
    let mut open = Vec::new();
    for last in 1..=4 {
        for _ in 0..100 {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
            open.push(socket.connect(xds).await?);
        }
    }
    eventually("those that are too many are refused", || async {
        let metrics = http::get(monitoring, "/metrics", &[]).await.map(|answer| answer.body).unwrap_or_default();
        metrics.contains("rutter_connections 150\n") && metrics.contains("rutter_connections_refused_total 250\n")
    })
    .await?;
    let data = dir.path().join("data").display().to_string();
    let output =
        tokio::process::Command::new(binary("rutterctl")?).args(["--server", &data, "get", "all"]).output().await?;
    assert!(output.status.success(), "{output:?}");
    child.kill().await?;
    Ok(())
}
