//! What becomes of connections, each field tried with a real Envoy: where they are routed, who sees that, and how they are
//! encrypted on the way out of a sidecar and into a gateway. The objects are in `tests/cases/`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rutter_tests::echo;
use rutter_tests::edge::Edge;
use rutter_tests::expect::{expect_word, send};
use rutter_tests::http::exchange;
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload, eventually};
use rutter_tests::tls::{Authority, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ProtocolVersion;

/// The applications `a` and `b`, in plain text and encrypted, and the sidecar of a client.
struct Mesh {
    dir: tempfile::TempDir,
    plane: ControlPlane,
    authority: Authority,
    client: IpAddr,
    envoy: Sidecar,
    _apps: JoinSet<()>,
}

impl Mesh {
    /// Starts everything at addresses `127.0.NUMBER.x`, with some objects.
    async fn start(release: Release, number: u8, objects: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        let authority = Authority::new(dir.path())?;
        authority.issue("app", &["app.test", "*.mesh.test"])?;
        authority.issue("client", &["client.test"])?;
        authority.revoke("revoked.pem", &["app"])?;
        authority.revoke("empty.pem", &[])?;
        let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
        let mut apps = JoinSet::new();
        for (name, ip) in [("a", a), ("b", b)] {
            echo::start(name, SocketAddr::new(ip, 8001), &mut apps).await?;
            let acceptor = authority.acceptor_for_clients("app")?;
            echo::start_encrypted(name, SocketAddr::new(ip, 8011), acceptor, &mut apps).await?;
        }
        let objects = objects.replace("A_IP", &a.to_string()).replace("B_IP", &b.to_string());
        plane.apply(&objects.replace("DIR", &dir.path().display().to_string()), &[]).await?;
        let workload = Workload {
            proxy: Proxy::Envoy(release, rutter_core::Variant::Delta),
            labels: vec!["app=client".into()],
            ..Workload::new("client-1", "default", client)
        };
        let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
        Ok(Self { dir, plane, authority, client, envoy, _apps: apps })
    }

    async fn expect(&self, host: &str, word: &str) -> Result<()> {
        let answer = send(SocketAddr::new(self.client, 8000), host, "GET /").await?;
        expect_word(word, &answer).with_context(|| host.to_owned())
    }

    async fn nothing_refused(&self) -> Result<()> {
        ensure!(self.envoy.stat("update_rejected").await? == 0, "{}", self.plane.ctl(&["proxy-status"]).await?);
        Ok(())
    }
}

async fn routes_of_connections(release: Release, number: u8) -> Result<()> {
    let mesh = Mesh::start(release, number, include_str!("../cases/connections.yaml")).await?;
    for (at, field) in ["labels", "namespace", "gateways", "subnets"].into_iter().enumerate() {
        let port = u16::try_from(at)?;
        let answer = send(SocketAddr::new(mesh.client, 9101 + port), "any.test", "GET /").await?;
        expect_word("b", &answer).context(field)?;
        let host = format!("tls-{field}.mesh.test");
        let address = SocketAddr::new(mesh.client, 9111 + port);
        let stream = mesh.authority.connect(address, &host, Some("client")).await.context(host.clone())?;
        expect_word("b", &exchange(stream, ("GET", "/"), &host, &[]).await?).context(field)?;
        ensure!(
            mesh.authority.connect(address, "unknown.mesh.test", Some("client")).await.is_err(),
            "{field}: another name"
        );
    }
    // A proxy that is asked by POST answers with what it was asked.
    let mut tunnel = TcpStream::connect(SocketAddr::new(mesh.client, 9121)).await?;
    tunnel.write_all(b"x").await?;
    let mut said = Vec::new();
    while !said.ends_with(b"}}") && tunnel.read_buf(&mut said).await? > 0 {}
    let said: serde_json::Value = serde_json::from_slice(&said)?;
    ensure!(said["method"] == "POST" && said["host"] == "end.example.com:443", "{said}");
    mesh.nothing_refused().await
}

#[tokio::test]
async fn connections_are_routed_by_what_is_known_of_them_with_the_latest_envoy() -> Result<()> {
    routes_of_connections(Release::V1_40, 71).await
}

#[tokio::test]
async fn connections_are_routed_by_what_is_known_of_them_with_the_oldest_envoy() -> Result<()> {
    routes_of_connections(Release::V1_36, 72).await
}

#[tokio::test]
async fn objects_count_where_they_are_exported_to() -> Result<()> {
    let mesh = Mesh::start(Release::V1_40, 73, include_str!("../cases/exports.yaml")).await?;
    mesh.expect("route-seen.test", "418").await?;
    mesh.expect("route-unseen.test", "200").await?;
    // The rule has connections encrypted that the application takes in plain text only.
    mesh.expect("rule-seen.test", "503").await?;
    mesh.expect("rule-unseen.test", "200").await?;
    mesh.nothing_refused().await
}

async fn encryption_by_sidecars(release: Release, number: u8) -> Result<()> {
    let mesh = Mesh::start(release, number, include_str!("../cases/client-tls.yaml")).await?;
    for (name, status) in [
        ("mutual", "200"),
        ("no-certificate", "503"),
        ("other-name", "503"),
        ("name-of-service", "200"),
        ("other-name-of-service", "503"),
        ("revoked", "503"),
        ("not-revoked", "200"),
        ("secret-of-gateways", "200"),
    ] {
        mesh.expect(&format!("{name}.test"), status).await?;
    }
    ensure!(mesh.dir.path().join("client.key").is_file());
    mesh.nothing_refused().await
}

#[tokio::test]
async fn sidecars_encrypt_as_rules_say_with_the_latest_envoy() -> Result<()> {
    encryption_by_sidecars(Release::V1_40, 74).await
}

#[tokio::test]
async fn sidecars_encrypt_as_rules_say_with_the_oldest_envoy() -> Result<()> {
    encryption_by_sidecars(Release::V1_36, 75).await
}

/// Returns a Secret with a certificate and its key, or with the certificates of an authority.
fn secret(edge: &Edge, name: &str, files: &[(&str, &str)]) -> Result<String> {
    let mut text =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\nstringData:\n");
    for (key, file) in files {
        text.push_str(&format!("  {key}: |\n    {}\n", edge.authority.text(file)?.replace('\n', "\n    ")));
    }
    Ok(text + "---\n")
}

async fn encryption_by_gateways(release: Release, number: u8) -> Result<()> {
    let edge = Edge::start(release, number).await?;
    edge.authority.issue("server", &["*.edge.test"])?;
    edge.authority.issue("client", &["client.test"])?;
    edge.authority.issue("other", &["other.test"])?;
    edge.authority.revoke("revoked.pem", &["other"])?;
    let hash: String =
        sha256(&edge.authority.certificate("client")?).iter().map(|byte| format!("{byte:02x}")).collect();
    let spki = STANDARD.encode(sha256(&edge.authority.public_key("client")?));
    let secrets = [
        secret(&edge, "server", &[("tls.crt", "server.pem"), ("tls.key", "server.key")])?,
        secret(&edge, "authority", &[("ca.crt", "ca.pem")])?,
    ];
    edge.apply(&secrets.concat()).await?;
    let objects = include_str!("../cases/gateway-tls.yaml").replace("CLIENT_HASH", &hash).replace("CLIENT_SPKI", &spki);
    edge.apply(&objects).await?;
    eventually("the gateway decrypts", async || edge.ask_encrypted(8443, "secret.edge.test", None).await.is_ok())
        .await?;
    // Which clients a server takes: one that shows nothing, the client, and another one of the same authority.
    for (name, [nobody, client, other]) in [
        ("simple", [true, true, true]),
        ("mutual", [false, true, true]),
        ("named", [false, true, false]),
        ("optional", [true, true, true]),
        ("revoked", [false, true, false]),
        ("by-hash", [false, true, false]),
        ("by-key", [false, true, false]),
        ("several", [true, true, true]),
        ("old", [true, true, true]),
        ("new", [true, true, true]),
        ("auto", [true, true, true]),
        ("ancient", [false, false, false]),
        ("secret", [true, true, true]),
        ("secrets", [true, true, true]),
        ("other-authority", [false, true, true]),
    ] {
        let host = format!("{name}.edge.test");
        for (shown, want) in [(None, nobody), (Some("client"), client), (Some("other"), other)] {
            let answer = edge.ask_encrypted(8443, &host, shown).await;
            let is_taken = answer.as_ref().is_ok_and(|answer| answer.header("x-backend") == Some("a"));
            ensure!(is_taken == want, "{name}, {shown:?}: want {want}, got {answer:?}");
        }
    }
    let version = async |host: &str| -> Result<Option<ProtocolVersion>> {
        let stream = edge.authority.connect(SocketAddr::new(edge.ip, 8443), host, None).await?;
        Ok(stream.get_ref().1.protocol_version())
    };
    ensure!(version("old.edge.test").await? == Some(ProtocolVersion::TLSv1_2));
    ensure!(version("new.edge.test").await? == Some(ProtocolVersion::TLSv1_3));
    let stream = edge.authority.connect(SocketAddr::new(edge.ip, 8443), "old.edge.test", None).await?;
    let suite = stream.get_ref().1.negotiated_cipher_suite().context("a suite")?.suite();
    ensure!(format!("{suite:?}") == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "{suite:?}");
    ensure!(edge.ask(8080, "simple.edge.test", "/").await?.status == 301);
    edge.nothing_refused().await
}

#[tokio::test]
async fn gateways_decrypt_as_servers_say_with_the_latest_envoy() -> Result<()> {
    encryption_by_gateways(Release::V1_40, 76).await
}

#[tokio::test]
async fn gateways_decrypt_as_servers_say_with_the_oldest_envoy() -> Result<()> {
    encryption_by_gateways(Release::V1_36, 77).await
}

/// Starts what every name under localhost leads to: an application, and one that decrypts.
async fn start_localhost(authority: &Authority) -> Result<JoinSet<()>> {
    let mut apps = JoinSet::new();
    authority.issue("localhost", &["good.enc.localhost", "*.dyn.localhost", "*.by-route.localhost"])?;
    echo::start("plain", SocketAddr::from(([127, 0, 0, 1], 9141)), &mut apps).await?;
    let decrypting = SocketAddr::from(([127, 0, 0, 1], 9142));
    echo::start_encrypted("encrypted", decrypting, authority.acceptor("localhost")?, &mut apps).await?;
    Ok(apps)
}

#[tokio::test]
async fn sidecars_resolve_hosts_as_clients_name_them() -> Result<()> {
    for (release, number) in [(Release::V1_40, 78), (Release::V1_36, 79)] {
        let objects = include_str!("../cases/dynamic-dns.yaml").replace("BIND", "127.0.0.9");
        let mesh = Mesh::start(release, number, &objects).await?;
        let _apps = start_localhost(&mesh.authority).await?;
        for (host, port, word) in [
            ("any.dyn.localhost:9141", 9141, "plain"),
            ("other.dyn.localhost:9141", 9141, "plain"),
            // DNS knows no such host.
            ("any.dyn.invalid:9141", 9141, "503"),
            // The certificate has the name of the first only.
            ("good.enc.localhost:9142", 9142, "encrypted"),
            ("bad.enc.localhost:9142", 9142, "503"),
        ] {
            let answer = send(SocketAddr::new(mesh.client, port), host, "GET /").await?;
            expect_word(word, &answer).with_context(|| host.to_owned())?;
        }
        for (host, port) in [("any.dyn.localhost", 9143), ("any.by-route.localhost", 9144)] {
            let stream = mesh.authority.connect(SocketAddr::new(mesh.client, port), host, None).await.context(host)?;
            expect_word("encrypted", &exchange(stream, ("GET", "/"), host, &[]).await?).context(host)?;
        }
        let unknown = SocketAddr::new(mesh.client, 9143);
        ensure!(mesh.authority.connect(unknown, "any.dyn.invalid", None).await.is_err(), "DNS knows no such host");
        mesh.nothing_refused().await?;
    }
    Ok(())
}

#[tokio::test]
async fn gateways_resolve_hosts_as_clients_name_them() -> Result<()> {
    for (release, number) in [(Release::V1_40, 80), (Release::V1_36, 81)] {
        let edge = Edge::start(release, number).await?;
        let _apps = start_localhost(&edge.authority).await?;
        edge.apply(include_str!("../cases/dynamic-dns.yaml")).await?;
        ensure!(edge.backend(9080, "any.dyn.localhost:9141", "/").await? == "plain");
        let answer = edge.ask_encrypted(9443, "any.dyn.localhost", None).await?;
        expect_word("encrypted", &answer)?;
        edge.nothing_refused().await?;
    }
    Ok(())
}

#[tokio::test]
async fn hosts_without_an_address_are_given_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    plane.apply(include_str!("../cases/given-addresses.yaml"), &[]).await?;
    let hosts = plane.ctl(&["get", "se", "-A", "-o", "hosts"]).await?;
    let given = |host: &str| -> Option<&str> {
        hosts.lines().find_map(|line| line.split_once('\t').filter(|(_, of)| *of == host)).map(|(ip, _)| ip)
    };
    let one = given("one.db.test").context("an address")?;
    let two = given("two.db.test").context("an address")?;
    ensure!(one != two && one.starts_with("240.") && two.starts_with("240."), "{hosts}");
    ensure!(given("known.db.test") == Some("10.7.7.7") && hosts.lines().count() == 3, "{hosts}");
    let shown = plane.ctl(&["get", "se", "databases", "-o", "yaml"]).await?;
    ensure!(shown.contains("status:") && shown.contains(one), "{shown}");
    ensure!(plane.apply(&shown, &[]).await?.contains("unchanged"), "what is shown can be applied again");

    let mesh = dir.path().join("mesh.yaml");
    std::fs::write(&mesh, "{defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}}}")?;
    let mesh = mesh.display().to_string();
    let xds = plane.xds.to_string();
    for (last, learns) in [(1, true), (2, false)] {
        let (pod, ip, admin) = (format!("db-{last}"), format!("10.1.82.{last}"), 18_980 + last);
        let page = format!("127.0.0.1:{admin}");
        let mut line =
            vec!["bootstrap", "--proxy", "envoy", "--pod", &pod, "--ip", &ip, "--xds", &xds, "--admin", &page];
        if learns {
            line.extend(["--mesh-config", &mesh]);
        }
        let bootstrap = plane.ctl(&line).await?;
        let envoy = Sidecar::spawn_with(dir.path(), (&pod, Proxy::ENVOY), &bootstrap, admin)?;
        envoy.wait_ready().await?;
        let dump = rutter_tests::http::get(envoy.admin, "/config_dump?resource=dynamic_listeners", &[]).await?.body;
        for (ip, host) in [(one, "one"), (two, "two")] {
            let has_listener = dump.contains(&format!("\"{ip}_3306\""));
            ensure!(has_listener == learns, "{pod}, {host}: {ip}: want {learns}");
            let has_chain = dump.contains(&format!("\"outbound|3306||{host}.db.test\""));
            ensure!(has_chain || !learns, "{pod}, {host}: no chain leads there");
        }
        ensure!(envoy.stat("update_rejected").await? == 0, "{}", plane.ctl(&["proxy-status"]).await?);
    }
    // They are the same after a restart, and when others have come.
    plane
        .apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.db.test], \
        resolution: DNS, ports: [{number: 80, name: http}]}\n",
            &[],
        )
        .await?;
    plane.kill().await?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let after = plane.ctl(&["get", "se", "-A", "-o", "hosts"]).await?;
    ensure!(hosts.lines().all(|line| after.contains(line)) && after.lines().count() == 4, "{hosts} {after}");
    Ok(())
}

#[tokio::test]
async fn gateways_pass_connections_to_the_service_that_they_name() -> Result<()> {
    for (release, number) in [(Release::V1_40, 83), (Release::V1_36, 84)] {
        let edge = Edge::start(release, number).await?;
        let name = |subset: &str, host: &str| format!("outbound_.443_.{subset}_.{host}");
        let names = ["", "v1", "v2"].map(|subset| name(subset, "named.pass.test"));
        let late = name("", "late.pass.test");
        let refused = [
            name("v3", "named.pass.test"),
            name("", "elsewhere.pass.test"),
            name("", "named.other.test"),
            name("", "encrypted.pass.test"),
            name("", "external.pass.test"),
            "named.pass.test".to_owned(),
        ];
        // The application would answer to all of them.
        let all: Vec<&str> = names.iter().chain(&refused).chain([&late]).map(String::as_str).collect();
        edge.authority.issue("app", &all)?;
        let [a, b] = [3, 4].map(|last| IpAddr::from([127, 0, number, last]));
        let mut apps = JoinSet::new();
        for (app, ip) in [("v1", a), ("v2", b)] {
            let acceptor = edge.authority.acceptor("app")?;
            echo::start_encrypted(app, SocketAddr::new(ip, 8011), acceptor, &mut apps).await?;
        }
        let objects = include_str!("../cases/auto-passthrough.yaml");
        let objects = objects.replace("A_IP", &a.to_string()).replace("B_IP", &b.to_string());
        edge.apply(&objects).await?;
        let backend = async |name: &str| -> Result<String> {
            let answer = edge.ask_encrypted(15443, name, None).await?;
            Ok(answer.header("x-backend").unwrap_or_default().to_owned())
        };
        for (subset, want) in [("v1", "v1"), ("v2", "v2")] {
            let got = backend(&name(subset, "named.pass.test")).await?;
            ensure!(got == want, "{subset}: {got}");
        }
        ensure!(["v1", "v2"].contains(&backend(&names[0]).await?.as_str()));
        for refused in &refused {
            ensure!(backend(refused).await.is_err(), "{refused} leads nowhere");
        }
        // A service that comes later is passed to without anything else.
        let late_entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: late, namespace: shop}\n\
            spec: {hosts: [late.pass.test], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8011}], \
            endpoints: [{address: A_IP}]}\n";
        edge.apply(&late_entry.replace("A_IP", &a.to_string())).await?;
        ensure!(backend(&late).await? == "v1");
        edge.plane.ctl(&["delete", "gateway", "cross-network", "-n", "shop", "--wait"]).await?;
        eventually("nobody listens", async || backend(&late).await.is_err()).await?;
        edge.nothing_refused().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_of_a_group_is_an_endpoint_by_the_entry_that_is_made_for_it() -> Result<()> {
    let group = include_str!("../cases/workload-group.yaml");
    let mesh = Mesh::start(Release::V1_40, 85, group).await?;
    mesh.expect("machines.test", "503").await?;
    let file = mesh.dir.path().join("group.yaml");
    let shown = mesh.plane.ctl(&["get", "wg", "machines", "-o", "yaml"]).await?;
    std::fs::write(&file, shown)?;
    let file = file.display().to_string();
    let line = ["bootstrap", "--proxy", "envoy", "--pod", "machine-1", "--ip", "127.0.85.1", "--workload-group", &file];
    let entry = mesh.plane.ctl(&[&line[..], &["--workload-entry"]].concat()).await?;
    mesh.plane.apply(&entry, &["--wait"]).await?;
    mesh.expect("machines.test", "a").await?;
    let bootstrap: serde_json::Value = serde_json::from_str(&mesh.plane.ctl(&line).await?)?;
    let metadata = &bootstrap["node"]["metadata"];
    ensure!(metadata["LABELS"] == serde_json::json!({"app": "machine", "version": "v1"}), "{metadata}");
    ensure!(metadata["SERVICE_ACCOUNT"] == "machine" && bootstrap["node"]["locality"]["region"] == "eu", "{bootstrap}");
    mesh.nothing_refused().await
}
