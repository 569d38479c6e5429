//! What Sidecar objects say of the way to an application and out of it, tried with a real Envoy: decryption, Unix sockets, and a
//! proxy for what is unknown.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use rutter_tests::bytes_apps::start_echo;
use rutter_tests::echo;
use rutter_tests::expect::{expect_word, send};
use rutter_tests::http::exchange;
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload, eventually};
use rutter_tests::tls::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const OBJECTS: &str = include_str!("../cases/sidecar-ways.yaml");

async fn ways_in_and_out(release: Release, number: u8) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let authority = Authority::new(dir.path())?;
    authority.issue("app", &["app.test"])?;
    authority.issue("client", &["client.test"])?;
    let [app, proxy] = [1, 2].map(|last| IpAddr::from([127, 0, number, last]));
    let mut apps = JoinSet::new();
    echo::start_at_socket("own", &dir.path().join("app.sock"), &mut apps)?;
    echo::start("proxy", SocketAddr::new(proxy, 8001), &mut apps).await?;
    start_echo("bytes", SocketAddr::new(app, 9000), &mut apps).await?;
    let objects = OBJECTS.replace("DIR", &dir.path().display().to_string()).replace("PROXY_IP", &proxy.to_string());
    plane.apply(&objects, &[]).await?;
    let workload = Workload {
        proxy: Proxy::Envoy(release, rutter_core::Variant::Delta),
        labels: vec!["app=app".into()],
        ..Workload::new("app-1", "default", app)
    };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    let asked = async |host: &str, word: &str| -> Result<()> {
        expect_word(word, &send(SocketAddr::new(app, 8000), host, "GET /").await?)
    };
    asked("beside.test", "own").await?;
    asked("pods.test", "proxy").await?;
    asked("unknown.example.com", "proxy").await?;
    asked("unknown.example.com", "host=unknown.example.com").await?;
    expect_word("own", &send(SocketAddr::new(app, 8080), "x", "GET /").await?)?;

    let decrypted = authority.connect(SocketAddr::new(app, 8443), "app.test", None).await?;
    let answer = exchange(decrypted, ("GET", "/"), "app.test", &[]).await?;
    expect_word("own", &answer)?;
    ensure!(send(SocketAddr::new(app, 8443), "app.test", "GET /").await.is_err(), "only TLS is taken");
    let decrypted = authority.connect(SocketAddr::new(app, 8446), "app.test", Some("client")).await?;
    let answer = exchange(decrypted, ("GET", "/"), "app.test", &[("x-forwarded-client-cert", "By=me")]).await?;
    ensure!(
        answer.body.contains("DNS=client.test") && !answer.body.contains("By=me"),
        "the application is told who asks"
    );
    // A certificate that is not there costs the connections that need it.
    ensure!(authority.connect(SocketAddr::new(app, 8445), "app.test", None).await.is_err());

    let mut stream = authority.connect(SocketAddr::new(app, 8444), "app.test", Some("client")).await?;
    stream.write_all(b"hello").await?;
    let mut back = [0; 11];
    stream.read_exact(&mut back).await?;
    ensure!(back == *b"bytes hello");
    let mut stranger = authority.connect(SocketAddr::new(app, 8444), "app.test", None).await?;
    ensure!(stranger.read_exact(&mut back).await.is_err(), "who shows no certificate is refused");

    // A certificate that is replaced is read again.
    authority.issue("next", &["app.test"])?;
    for file in ["pem", "key"] {
        std::fs::rename(dir.path().join(format!("next.{file}")), dir.path().join(format!("app.{file}")))?;
    }
    let renewed = authority.certificate("app")?;
    eventually("the new certificate is shown", async || {
        let stream = authority.connect(SocketAddr::new(app, 8443), "app.test", None).await;
        stream.is_ok_and(|stream| stream.get_ref().1.peer_certificates().is_some_and(|shown| shown[0] == renewed))
    })
    .await?;

    // Without the policy what is unknown is refused again, since it is not known where it was for.
    let refused = objects.split("---\n").next().unwrap_or_default().replace("ALLOW_ANY", "REGISTRY_ONLY");
    let refused: String =
        refused.lines().filter(|line| !line.contains("egressProxy")).map(|line| format!("{line}\n")).collect();
    plane.apply(&refused, &["--wait"]).await?;
    eventually("what is unknown is refused", async || asked("unknown.example.com", "502").await.is_ok()).await?;
    only_the_lost_certificate_is_refused(&plane, &envoy).await?;

    // The same, captured: its listener for what comes in decrypts as well.
    plane.apply(&objects, &[]).await?;
    let captured = Workload { captured: true, ..Workload::new("app-2", "default", IpAddr::from([10, 1, number, 1])) };
    let captured = Workload { labels: workload.labels.clone(), proxy: workload.proxy, ..captured };
    let envoy = Sidecar::start(dir.path(), &plane, &captured).await?;
    only_the_lost_certificate_is_refused(&plane, &envoy).await
}

/// Fails if the Envoy refuses a listener or a cluster.
async fn only_the_lost_certificate_is_refused(plane: &ControlPlane, envoy: &Sidecar) -> Result<()> {
    for kind in ["lds.update_rejected", "cds.update_rejected"] {
        ensure!(envoy.stat(kind).await? == 0, "{}", plane.ctl(&["proxy-status"]).await?);
    }
    ensure!(envoy.stat("nowhere.*update_rejected").await? > 0);
    Ok(())
}

#[tokio::test]
async fn applications_are_reached_and_left_as_sidecar_objects_say_with_the_latest_envoy() -> Result<()> {
    ways_in_and_out(Release::V1_40, 46).await
}

#[tokio::test]
async fn applications_are_reached_and_left_as_sidecar_objects_say_with_the_oldest_envoy() -> Result<()> {
    ways_in_and_out(Release::V1_36, 47).await
}
