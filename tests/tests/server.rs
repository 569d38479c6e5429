//! The control plane with bad input, bad clients, a watched folder and faults. No sidecar is needed.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use rutter_tests::client::{Client, admin_channel, channel, request};
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, binary, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tonic::Code;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";

fn rule(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {spec}\n")
}

async fn start() -> Result<(tempfile::TempDir, ControlPlane)> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    Ok((dir, plane))
}

#[tokio::test]
async fn bad_input_is_refused_with_its_place_and_nothing_of_it_lands() -> Result<()> {
    let (_dir, plane) = start().await?;
    let refused = async |yaml: &str, want: &str| {
        let error = plane.apply(&format!("{SERVICE}---\n{yaml}"), &[]).await.unwrap_err().to_string();
        assert!(error.contains(want), "want {want:?} in {error:?}");
        let left = plane.ctl(&["get", "all"]).await.unwrap();
        assert_eq!(left, "no objects\n", "{yaml}");
    };
    refused("a: [1, 2", "line ").await;
    refused("kind: 7", "apiVersion: want a string, got nothing").await;
    refused(
        &rule("{host: a, subsets: [{name: v1}, {name: v1}]}"),
        "spec.subsets[1].name: want a name used once in this rule",
    )
    .await;
    refused(&rule("{host: on}"), "are booleans in YAML: quote the value").await;
    refused(
        &rule("{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}"),
        "spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported yet",
    )
    .await;
    refused(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}]}",
        "want weights of a sum from 1 to 4294967295, got 0",
    )
    .await;
    refused(SERVICE, "want each object once, got it at ").await;
    Ok(())
}

#[tokio::test]
async fn a_file_of_50_mib_is_refused_by_client_and_server() -> Result<()> {
    let (dir, plane) = start().await?;
    let path = dir.path().join("big.yaml");
    std::fs::write(&path, "# padding\n".repeat(5 << 20))?;
    let error = plane.ctl(&["apply", "-f", &path.display().to_string()]).await.unwrap_err().to_string();
    assert!(error.contains("want at most 16777216 bytes, got 52428800"), "{error}");
    let mut client =
        rutter_api::pb::rutter::admin::v1::admin_client::AdminClient::new(admin_channel(plane.admin_socket()).await?);
    let sources =
        vec![rutter_api::pb::rutter::admin::v1::Source { name: "big".into(), text: vec![b'#'; 20 << 20].into() }];
    let request = rutter_api::pb::rutter::admin::v1::ApplyRequest { sources, ..Default::default() };
    let error = client.apply(request).await.unwrap_err();
    assert!(error.message().contains("want at most 16777216 bytes"), "{error}");
    plane.apply(SERVICE, &[]).await?;
    Ok(())
}

#[tokio::test]
async fn what_no_grpc_client_could_take_is_refused_by_apply_and_by_the_folder() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("config");
    std::fs::create_dir(&folder)?;
    let matches: Vec<String> = (0..12_000).map(|number| format!("{{uri: {{exact: /{number}}}}}")).collect();
    let routes = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: many}}\nspec: {{hosts: [a], http: [{{match: [{}], route: [{{destination: {{host: b}}}}]}}]}}",
        matches.join(", ")
    );
    write(&folder, "many.yaml", &routes);
    let plane = ControlPlane::start(dir.path(), &["--config-dir", &folder.display().to_string()]).await?;
    assert_eq!(plane.metric("rutter_folder_files_broken").await?, 1);
    let error = plane.apply(&routes, &[]).await.unwrap_err().to_string();
    let want = "virtualService default/many: spec.http: want a virtual host of at most 4128768 bytes";
    assert!(error.contains(want), "{error}");
    assert_eq!(plane.ctl(&["get", "all"]).await?, "no objects\n");
    Ok(())
}

#[tokio::test]
async fn a_stale_version_is_a_conflict_and_dry_runs_write_nothing() -> Result<()> {
    let (_dir, plane) = start().await?;
    assert!(plane.apply(SERVICE, &["--dry-run"]).await?.contains("created (dry run)"));
    assert_eq!(plane.ctl(&["get", "svc"]).await?, "no objects\n");
    plane.apply(SERVICE, &[]).await?;
    let seen = plane.ctl(&["-n", "shop", "get", "svc", "a", "-o", "yaml"]).await?;
    assert!(seen.contains("\"1\""), "{seen}");
    plane.apply(&SERVICE.replace("port: 80", "port: 81"), &[]).await?;
    let error = plane.apply(&seen.replace("80", "82"), &[]).await.unwrap_err().to_string();
    assert!(error.contains("service shop/a: want version 1, got 2"), "{error}");
    plane.ctl(&["-n", "shop", "delete", "service", "a"]).await?;
    let error = plane.ctl(&["-n", "shop", "delete", "service", "a"]).await.unwrap_err().to_string();
    assert_eq!(error, "service shop/a: not found");
    Ok(())
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_and_the_first_serves_on() -> Result<()> {
    let (dir, plane) = start().await?;
    let data = dir.path().join("data").display().to_string();
    let args = ["serve", "--data-dir", &data, "--xds", "127.0.0.1:0", "--monitoring", "127.0.0.1:0"];
    let output = Command::new(binary("rutter")?).args(args).output().await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another process uses this data folder"), "{said}");
    plane.apply(SERVICE, &[]).await?;
    Ok(())
}

#[tokio::test]
async fn health_and_metrics_are_told_and_each_signal_to_end_drains() -> Result<()> {
    for signal in ["TERM", "INT", "HUP"] {
        let (_dir, plane) = start().await?;
        assert_eq!(http::get(plane.monitoring, "/healthz", &[]).await?.body, "ok\n");
        let mut client = Client::connect(plane.xds).await?;
        client.send(request("sidecar~10.0.0.1~a.shop~x", ResourceType::Cluster)).await;
        assert_eq!(client.next().await?.resources.len(), 3);
        assert_eq!(plane.metric("rutter_xds_streams").await?, 1);
        let ended = tokio::spawn(plane.end_by(signal));
        assert_eq!(client.next().await.unwrap_err().code(), Code::Unavailable, "{signal}");
        assert!(ended.await??.success(), "{signal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_is_started_to_ignore_hangups_ignores_them() -> Result<()> {
    let script =
        "trap '' HUP; exec \"$0\" serve --memory --xds 127.0.0.1:0 --monitoring 127.0.0.1:0 --admin-socket \"$1\"";
    let mut command = Command::new("sh");
    let dir = tempfile::tempdir()?;
    command.arg("-c").arg(script).arg(binary("rutter")?).arg(dir.path().join("admin.sock")).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let pid = child.id().context("it has ended")?.to_string();
    let mut log = BufReader::new(child.stderr.take().context("no log")?).lines();
    while !log.next_line().await?.context("it has ended")?.contains("rutter serves") {}
    Command::new("kill").args(["-s", "HUP", &pid]).status().await?;
    Command::new("kill").args(["-s", "TERM", &pid]).status().await?;
    assert!(child.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_is_deleted_is_told_everywhere_and_the_config_is_served_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("admin.sock").display().to_string();
    let plane = ControlPlane::start(dir.path(), &["--admin-socket", &socket]).await?;
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    plane.apply(SERVICE, &[]).await?;
    std::fs::rename(&data, &away)?;
    let changed = SERVICE.replace("port: 80", "port: 81");
    for _ in 0..2 {
        let refused = plane.apply(&changed, &[]).await.unwrap_err().to_string();
        let want = format!("{}: the files of the store were deleted or replaced while it was open", data.display());
        assert!(refused.contains(&want), "{refused}");
    }
    let verbose = http::get(plane.monitoring, "/readyz?verbose", &[]).await?;
    assert_eq!(verbose.status, 200, "sidecars are served as before");
    assert!(verbose.body.contains("store: read-only: "), "{}", verbose.body);
    assert_eq!(plane.metric("rutter_store_writable").await?, 0);
    assert_eq!(plane.metric("rutter_store_failures_total").await?, 2);
    assert_eq!(plane.log().matches("the store can only be read").count(), 1, "{}", plane.log());
    assert!(plane.ctl(&["get", "services", "-n", "shop", "-o", "yaml"]).await?.contains("port: 80\n"));

    std::fs::rename(&away, &data)?;
    plane.apply(&changed, &[]).await?;
    assert_eq!(plane.metric("rutter_store_writable").await?, 1);
    assert!(http::get(plane.monitoring, "/readyz?verbose", &[]).await?.body.contains("store: ok"));
    Ok(())
}

#[tokio::test]
async fn s1_bad_clients_are_told_why_and_cost_the_others_nothing() -> Result<()> {
    let (_dir, plane) = start().await?;
    let mut good = Client::connect(plane.xds).await?;
    good.send(request("sidecar~10.0.0.1~a.shop~x", ResourceType::Cluster)).await;
    assert_eq!(good.next().await?.resources.len(), 3);

    let mut nameless = Client::connect(plane.xds).await?;
    nameless.send(request("", ResourceType::Cluster)).await;
    let status = nameless.next().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("want sidecar~IP~POD.NAMESPACE~"), "{status}");

    let mut greedy = Client::connect(plane.xds).await?;
    let mut many = request("sidecar~10.0.0.2~b.shop~x", ResourceType::Endpoint);
    many.resource_names_subscribe =
        (0..200_000).map(|number| format!("outbound|80||service-{number:030}.shop.svc")).collect();
    assert!(prost::Message::encoded_len(&many) > 10 << 20);
    greedy.send(many).await;
    let status = greedy.next().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "want at most 100000 names on one stream, got more")
    );

    // A message of another type: its first field is no node.
    let mut garbage = tonic::client::Grpc::new(channel(plane.xds).await?);
    garbage.ready().await?;
    let other = prost_types::Any { type_url: "\u{7f}garbage".into(), value: vec![0xff; 64] };
    let codec = tonic_prost::ProstCodec::<prost_types::Any, DeltaDiscoveryResponse>::default();
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources".parse()?;
    let stream = garbage.streaming(tonic::Request::new(tokio_stream::once(other)), path, codec).await;
    let status = match stream {
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("want a discovery request: "), "{status}");

    let garbage = http::get(plane.xds, "/", &[]).await;
    assert!(garbage.is_err(), "HTTP/1.1 is no gRPC");

    plane.apply(SERVICE, &[]).await?;
    let pushed = good.next().await?;
    assert_eq!(pushed.resources[0].name, "outbound|80||a.shop.svc.cluster.local");
    Ok(())
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_and_the_others_are_served() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &["--stuck-after-s", "1"]).await?;
    plane.apply(SERVICE, &[]).await?;
    let mut builder = h2::client::Builder::new();
    // Room for a few bytes of a response, and never more.
    builder.initial_window_size(10);
    let socket = tokio::net::TcpStream::connect(plane.xds).await?;
    let (client, connection) = builder.handshake::<_, bytes::Bytes>(socket).await?;
    let ended = tokio::spawn(connection);
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let post = hyper::Request::post(format!("http://{}{path}", plane.xds)).header("content-type", "application/grpc");
    let (response, mut send) = client.ready().await?.send_request(post.body(())?, false)?;
    let first = request("sidecar~10.0.0.1~stuck.shop~shop.svc.cluster.local", ResourceType::Cluster);
    let message = prost::Message::encode_to_vec(&first);
    let head = [&[0][..], &u32::try_from(message.len())?.to_be_bytes()].concat();
    send.send_data([head, message].concat().into(), false)?;
    let _response = response.await?;
    // How it ends does not matter: it ends.
    drop(tokio::time::timeout(std::time::Duration::from_secs(15), ended).await?);
    eventually("it is counted", || async {
        plane.metric("rutter_xds_stuck_total").await.is_ok_and(|count| count == 1)
    })
    .await?;
    assert_eq!(plane.metric("rutter_xds_streams").await?, 0);

    let mut other = Client::connect(plane.xds).await?;
    other.send(request("sidecar~10.0.0.2~well.shop~shop.svc.cluster.local", ResourceType::Cluster)).await;
    assert!(!other.next().await?.resources.is_empty());
    Ok(())
}
