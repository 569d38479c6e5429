//! Secrets: certificates that a gateway is sent, and that nobody else sees.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rutter_tests::edge::{Edge, TO_A, TO_B, gateway, virtual_service};
use rutter_tests::process::{Release, eventually};

/// Returns a Secret with a certificate of the authority, and with that of the authority if it is wanted.
fn secret(edge: &Edge, name: &str, certificate: &str, with_authority: bool) -> Result<String> {
    let indented = |file: &str| -> Result<String> { Ok(edge.authority.text(file)?.replace('\n', "\n    ")) };
    let (chain, key) = (indented(&format!("{certificate}.pem"))?, indented(&format!("{certificate}.key"))?);
    let authority = if with_authority { format!("  ca.crt: |\n    {}\n", indented("ca.pem")?) } else { String::new() };
    Ok(format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n    {chain}\n  tls.key: |\n    {key}\n{authority}---\n"
    ))
}

fn https(port: u16, host: &str, tls: &str) -> String {
    format!(
        "{{port: {{number: {port}, name: {host}, protocol: HTTPS}}, bind: BIND, hosts: [{host}.test], tls: {{{tls}}}}}"
    )
}

fn routes() -> String {
    let route = |name: &str, host: &str, to: &str| {
        virtual_service(name, &format!("hosts: [{host}], gateways: [edge], http: [{{{to}}}]"))
    };
    [route("a", "a.test", TO_A), route("b", "b.test", TO_B)].concat()
}

async fn answers(edge: &Edge, host: &str, client: Option<&str>) -> Result<bool> {
    Ok(edge.ask_encrypted(8443, host, client).await?.status == 200)
}

async fn comes_and_goes(release: Release, number: u8) -> Result<()> {
    let edge = Edge::start(release, number).await?;
    edge.authority.issue("files", &["b.test"])?;
    edge.authority.issue("web", &["a.test"])?;
    let servers = [
        https(8443, "a", "mode: SIMPLE, credentialName: web"),
        https(8443, "b", "mode: SIMPLE, serverCertificate: DIR/files.pem, privateKey: DIR/files.key"),
    ];
    let said = edge.apply(&[gateway("edge", &servers.join(", ")), routes()].concat()).await?;
    ensure!(said.contains("IST0101 gateway shop/edge"), "{said}");
    // A Secret that is missing holds nothing else up.
    eventually("the other server serves", async || answers(&edge, "b.test", None).await.unwrap_or_default()).await?;
    ensure!(edge.ask_encrypted(8443, "a.test", None).await.is_err());
    edge.apply(&secret(&edge, "web", "web", false)?).await?;
    eventually("the Secret is used", async || answers(&edge, "a.test", None).await.unwrap_or_default()).await?;
    // One of the same name elsewhere has nothing to do with the gateway.
    edge.authority.issue("other", &["other.test"])?;
    edge.apply(&secret(&edge, "web", "other", false)?.replace("istio-system", "shop")).await?;
    ensure!(answers(&edge, "a.test", None).await?);
    // A key that does not belong to the certificate is refused, and what is there stays.
    let (web, other) = (secret(&edge, "web", "web", false)?, edge.authority.text("other.key")?);
    let mixed = web.replace(&edge.authority.text("web.key")?.replace('\n', "\n    "), &other.replace('\n', "\n    "));
    let error = format!("{:#}", edge.apply(&mixed).await.unwrap_err());
    ensure!(error.contains("data[tls.key]: want the key of the certificate in tls.crt, got another"), "{error}");
    ensure!(answers(&edge, "a.test", None).await?);
    // What an Envoy has it keeps.
    edge.plane.ctl(&["delete", "secret", "web", "-n", "istio-system", "--wait"]).await?;
    ensure!(answers(&edge, "a.test", None).await?);
    edge.nothing_refused().await
}

#[tokio::test]
async fn a_secret_that_is_missing_holds_nothing_up_and_is_used_when_it_comes_with_the_latest_envoy() -> Result<()> {
    comes_and_goes(Release::V1_40, 71).await
}

#[tokio::test]
async fn a_secret_that_is_missing_holds_nothing_up_and_is_used_when_it_comes_with_the_oldest_envoy() -> Result<()> {
    comes_and_goes(Release::V1_36, 72).await
}

/// The number of certificates that follow each other under load.
const ROTATIONS: usize = 20;

#[tokio::test]
async fn certificates_follow_each_other_without_a_failed_request() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 73).await?;
    edge.authority.issue("web", &["a.test"])?;
    edge.apply(&secret(&edge, "web", "web", false)?).await?;
    let server = https(8443, "a", "mode: SIMPLE, credentialName: web");
    edge.apply(&[gateway("edge", &server), routes()].concat()).await?;
    eventually("the Secret is used", async || answers(&edge, "a.test", None).await.unwrap_or_default()).await?;
    let edge = Arc::new(edge);
    let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (edge, is_over, asked) = (edge.clone(), is_over.clone(), asked.clone());
        async move {
            while !is_over.load(Ordering::Relaxed) {
                ensure!(answers(&edge, "a.test", None).await?);
                asked.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    for _ in 0..ROTATIONS {
        edge.authority.issue("web", &["a.test"])?;
        edge.apply(&secret(&edge, "web", "web", false)?).await?;
        let before = asked.load(Ordering::Relaxed);
        eventually("requests go on", async || load.is_finished() || asked.load(Ordering::Relaxed) > before).await?;
    }
    is_over.store(true, Ordering::Relaxed);
    load.await??;
    let address = SocketAddr::new(edge.ip, 8443);
    let latest = edge.authority.certificate("web")?;
    eventually("the latest certificate is shown", async || {
        let stream = edge.authority.connect(address, "a.test", None).await;
        let shown = stream.ok().and_then(|stream| stream.get_ref().1.peer_certificates().map(<[_]>::to_vec));
        shown.is_some_and(|shown| shown.first() == Some(&latest))
    })
    .await?;
    edge.nothing_refused().await
}

#[tokio::test]
async fn clients_and_servers_are_checked_with_secrets() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 74).await?;
    edge.authority.issue("web", &["a.test", "b.test"])?;
    edge.authority.issue("client", &["client.test"])?;
    // The server `b` is behind another one that wants the certificate of the gateway.
    let servers = [
        https(8443, "a", "mode: MUTUAL, credentialName: web"),
        https(8443, "b", "mode: SIMPLE, credentialNames: ['kubernetes://web']"),
    ];
    let itself = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: itself, namespace: shop}\n\
        spec: {hosts: [a.test], resolution: STATIC, ports: [{number: 80, targetPort: 8443, name: http, protocol: HTTP}], \
        endpoints: [{address: BIND}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: itself, namespace: shop}\n\
        spec: {host: a.test, trafficPolicy: {tls: {mode: MUTUAL, credentialName: client, sni: a.test}}}\n---\n";
    let named =
        |name: &str| itself.replace("resolution: STATIC", &format!("subjectAltNames: [{name}], resolution: STATIC"));
    let to_itself = "{match: [{uri: {prefix: /through}}], rewrite: {authority: a.test}, \
        route: [{destination: {host: a.test, port: {number: 80}}}]}";
    let objects = [
        secret(&edge, "web", "web", true)?,
        secret(&edge, "client", "client", true)?,
        gateway("edge", &servers.join(", ")),
        named("a.test"),
        virtual_service("a", &format!("hosts: [a.test], gateways: [edge], http: [{{{TO_A}}}]")),
        virtual_service("b", &format!("hosts: [b.test], gateways: [edge], http: [{to_itself}, {{{TO_B}}}]")),
    ];
    edge.apply(&objects.concat()).await?;
    eventually("the Secrets are used", async || answers(&edge, "b.test", None).await.unwrap_or_default()).await?;
    ensure!(edge.ask_encrypted(8443, "a.test", None).await.is_err(), "a client shows its certificate");
    ensure!(answers(&edge, "a.test", Some("client")).await?);
    let through = async || -> Result<bool> {
        let stream = edge.authority.connect(SocketAddr::new(edge.ip, 8443), "b.test", None).await?;
        let answer = rutter_tests::http::exchange(stream, ("GET", "/through"), "b.test", &[]).await?;
        Ok(answer.status == 200 && answer.header("x-backend") == Some("a"))
    };
    eventually("the gateway shows its certificate", async || through().await.unwrap_or_default()).await?;
    // The entry says what the name of the server is.
    edge.apply(&named("another.test")).await?;
    eventually("the server has another name", async || !through().await.unwrap_or(true)).await?;
    edge.nothing_refused().await
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_told() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 75).await?;
    edge.authority.issue_until("old", &["a.test"], 2020)?;
    let said = edge.plane.apply(&secret(&edge, "old", "old", false)?, &[]).await?;
    ensure!(
        said.contains("secret istio-system/old: tls.crt: the certificate") && said.contains("ended at 2020-01-01"),
        "{said}"
    );
    let shown = edge.plane.ctl(&["get", "secret", "old", "-n", "istio-system", "-o", "yaml"]).await?;
    ensure!(shown.contains("reason: CertificateDates") && shown.contains("ended at 2020-01-01"), "{shown}");
    let table = edge.plane.ctl(&["get", "secrets", "-A"]).await?;
    ensure!(table.contains("kubernetes.io/tls") && table.contains("tls.crt,tls.key"), "{table}");
    Ok(())
}

/// Returns the files below a folder that have a text in them.
fn files_with(dir: &Path, text: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_with(&path, text)?);
        } else if path.is_file() && std::fs::read(&path)?.windows(text.len()).any(|window| window == text) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_key_is_nowhere_in_the_clear() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 76).await?;
    let server = https(8443, "a", "mode: SIMPLE, credentialName: web");
    edge.apply(&[gateway("edge", &server), routes()].concat()).await?;
    for _ in 0..2 {
        edge.authority.issue("web", &["a.test"])?;
        edge.apply(&secret(&edge, "web", "web", false)?).await?;
    }
    eventually("the Secret is used", async || answers(&edge, "a.test", None).await.unwrap_or_default()).await?;
    let key = edge.authority.text("web.key")?;
    let line = key.lines().nth(1).context("a line of the key")?.to_owned();
    let backup = edge.dir.path().join("data/backup");
    let backup_path = backup.display().to_string();
    let encoded = STANDARD.encode(&key);
    let calls: [&[&str]; 8] = [
        &["get", "secret", "web", "-n", "istio-system", "-o", "yaml"],
        &["get", "all", "-A", "-o", "json"],
        &["history", "-o", "json"],
        &["diff", "2..3"],
        &["proxy-config", "secret", "edge-1", "-n", "istio-system", "-o", "yaml"],
        &["proxy-config", "all", "edge-1", "-n", "istio-system", "-o", "json"],
        &["pushes", "-o", "json"],
        &["backup", &backup_path],
    ];
    for call in calls {
        // The exit code of a difference is not 0.
        let said = edge.plane.said(call).await?;
        ensure!(!said.contains(&line) && !said.contains(&encoded), "{call:?}: {said}");
    }
    let secrets = edge.plane.ctl(&["proxy-config", "secret", "edge-1", "-n", "istio-system", "-o", "yaml"]).await?;
    ensure!(secrets.contains("[hidden]") && secrets.contains("kubernetes://web"), "{secrets}");
    for text in [line.as_bytes(), &encoded.as_bytes()[..40]] {
        ensure!(files_with(&edge.dir.path().join("data"), text)?.is_empty());
    }
    ensure!(!edge.plane.log().contains(&line));
    let file = edge.dir.path().join("secret.yaml");
    let in_file = async |text: String| -> Result<String> {
        std::fs::write(&file, text)?;
        edge.plane.said(&["diff", "-f", &file.display().to_string()]).await
    };
    ensure!(in_file(secret(&edge, "web", "web", false)?).await?.is_empty());
    let difference = in_file(secret(&edge, "web", "web", true)?).await?;
    ensure!(difference.contains("other values") && difference.contains("+    - ca.crt"), "{difference}");
    ensure!(!difference.contains(&line), "{difference}");
    // The object can be edited and applied as it is shown, and not under another name.
    let shown = edge.plane.ctl(&["get", "secret", "web", "-n", "istio-system", "-o", "yaml"]).await?;
    let said = edge.plane.apply(&shown, &[]).await?;
    ensure!(said.contains("unchanged"), "{said}");
    let error = format!("{:#}", edge.plane.apply(&shown.replace("name: web", "name: stolen"), &[]).await.unwrap_err());
    ensure!(error.contains("sealed: want values that were sealed here for this object"), "{error}");
    restarts(edge).await
}

/// The key file is needed by the next start, and is no part of the data folder.
async fn restarts(edge: Edge) -> Result<()> {
    let Edge { dir, plane, .. } = edge;
    plane.kill().await?;
    let key = dir.path().join("data.key");
    let away = dir.path().join("away");
    std::fs::rename(&key, &away)?;
    let error = rutter_tests::process::ControlPlane::start(dir.path(), &[]).await.err().context("it starts without")?;
    let error = format!("{error:#}");
    ensure!(error.contains("want the key with which the 1 Secrets of the store are sealed"), "{error}");
    std::fs::rename(&away, &key)?;
    rutter_tests::process::ControlPlane::start(dir.path(), &[]).await?;
    Ok(())
}
