//! Gateways: a real Envoy at the edge of the mesh, and what Gateway objects and VirtualServices make of it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use rutter_tests::edge::{Edge, TO_A, TO_B, gateway, virtual_service};
use rutter_tests::http::{Answer, exchange};
use rutter_tests::process::{Release, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn plain_requests(release: Release, number: u8) -> Result<()> {
    let edge = Edge::start(release, number).await?;
    let http =
        "{port: {number: 8080, name: http, protocol: HTTP}, bind: BIND, hosts: ['*.example.com', 'bank/*.bank.test']}";
    edge.apply(&gateway("edge", http)).await?;
    edge.expect(8080, &[("www.example.com/", "404")]).await?;
    // Two VirtualServices of one host are merged, and what takes everything comes last, although its object is older.
    let objects = [
        virtual_service("all", &format!("hosts: [www.example.com], gateways: [edge], http: [{{{TO_B}}}]")),
        virtual_service(
            "some",
            &format!(
                "hosts: [www.example.com], gateways: [shop/edge], http: [{{match: [{{uri: {{prefix: /a}}}}], {TO_A}}}]"
            ),
        ),
        virtual_service(
            "wild",
            &format!("hosts: ['*'], gateways: [edge], http: [{{match: [{{port: 8080}}], {TO_A}}}]"),
        ),
        virtual_service("other", &format!("hosts: [x.bank.test], gateways: [edge], http: [{{{TO_A}}}]")),
        virtual_service("inside", &format!("hosts: [in.example.com], http: [{{{TO_B}}}]")),
        virtual_service(
            "both",
            &format!(
                "hosts: [both.example.com], gateways: [edge, mesh], \
                 http: [{{match: [{{gateways: [mesh]}}], {TO_B}}}, {{match: [{{gateways: [edge]}}], {TO_A}}}]"
            ),
        ),
    ];
    edge.apply(&objects.concat()).await?;
    let asks = [
        ("www.example.com/", "b"),
        ("www.example.com/a", "a"),
        ("www.example.com:8080/a", "a"),
        // A wildcard of a VirtualService is narrowed to that of the server.
        ("any.example.com/", "a"),
        ("example.org/", "404"),
        // The server admits only VirtualServices of another namespace for this host.
        ("x.bank.test/", "404"),
        // What is for the mesh alone is not for the gateway; the wildcard takes it.
        ("in.example.com/", "a"),
        ("both.example.com/", "a"),
    ];
    edge.expect(8080, &asks).await?;
    // What a client says of its address is not believed.
    let answer = edge.ask(8080, "www.example.com", "/").await?;
    let echoed: Value = serde_json::from_str(&answer.body)?;
    ensure!(echoed["headers"]["x-forwarded-for"].is_string(), "{echoed}");
    edge.nothing_refused().await
}

#[tokio::test]
async fn plain_requests_are_routed_as_bound_virtual_services_say_with_the_latest_envoy() -> Result<()> {
    plain_requests(Release::V1_40, 61).await
}

#[tokio::test]
async fn plain_requests_are_routed_as_bound_virtual_services_say_with_the_oldest_envoy() -> Result<()> {
    plain_requests(Release::V1_36, 62).await
}

async fn pushes_of(edge: &Edge, since: u64) -> Result<Vec<(String, u64)>> {
    let text = edge.plane.ctl(&["pushes", "--since", &since.to_string(), "-o", "json"]).await?;
    let pushes: Vec<Value> = serde_json::from_str(&text)?;
    let word =
        |push: &Value| (push["type"].as_str().unwrap_or_default().to_owned(), push["resources"].as_u64().unwrap_or(0));
    Ok(pushes.iter().map(word).collect())
}

#[tokio::test]
async fn a_changed_virtual_service_sends_a_gateway_one_virtual_host() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 63).await?;
    let http = "{port: {number: 8080, name: http, protocol: HTTP}, bind: BIND, hosts: ['*']}";
    let routed = |number: usize, to: &str| {
        virtual_service(&format!("v{number}"), &format!("hosts: [h{number}.test], gateways: [edge], http: [{{{to}}}]"))
    };
    let all: Vec<String> = (0..30).map(|number| routed(number, TO_A)).collect();
    edge.apply(&[gateway("edge", http), all.concat()].concat()).await?;
    edge.expect(8080, &[("h0.test/", "a"), ("h29.test/", "a")]).await?;
    let history = edge.plane.ctl(&["history", "-o", "json"]).await?;
    let history: Value = serde_json::from_str(&history)?;
    let revision = history[0]["revision"].as_u64().context("a revision")?;
    edge.apply(&routed(7, TO_B)).await?;
    edge.expect(8080, &[("h7.test/", "b"), ("h8.test/", "a")]).await?;
    let pushes = pushes_of(&edge, revision + 1).await?;
    // The destination that nothing led to before comes with its cluster and its endpoints.
    ensure!(pushes.iter().any(|push| *push == ("virtualhost".to_owned(), 1)), "{pushes:?}");
    ensure!(!pushes.iter().any(|(word, _)| word == "route" || word == "listener"), "{pushes:?}");
    edge.apply(&routed(8, TO_B)).await?;
    let pushes = pushes_of(&edge, revision + 2).await?;
    ensure!(pushes == [("virtualhost".to_owned(), 1)], "{pushes:?}");
    edge.nothing_refused().await
}

#[tokio::test]
async fn connections_are_decrypted_passed_through_and_redirected_as_servers_say() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 64).await?;
    edge.authority.issue("server", &["a.example.com", "b.example.com", "mutual.example.com"])?;
    edge.authority.issue("client", &["client.example.com"])?;
    let files = "serverCertificate: DIR/server.pem, privateKey: DIR/server.key";
    let servers = [
        "{port: {number: 8080, name: http, protocol: HTTP}, bind: BIND, hosts: [a.example.com, nobody.example.com], \
         tls: {httpsRedirect: true}}"
            .to_owned(),
        format!("{{port: {{number: 8443, name: a, protocol: HTTPS}}, bind: BIND, hosts: [a.example.com], tls: {{mode: SIMPLE, {files}}}}}"),
        format!(
            "{{port: {{number: 8443, name: b, protocol: HTTPS}}, bind: BIND, hosts: [b.example.com], \
             tls: {{mode: SIMPLE, {files}, minProtocolVersion: TLSV1_3}}}}"
        ),
        format!(
            "{{port: {{number: 8443, name: m, protocol: HTTPS}}, bind: BIND, hosts: [mutual.example.com], \
             tls: {{mode: MUTUAL, {files}, caCertificates: DIR/ca.pem, subjectAltNames: [client.example.com]}}}}"
        ),
        "{port: {number: 9443, name: pass, protocol: TLS}, bind: BIND, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}".to_owned(),
        format!(
            "{{port: {{number: 9444, name: tls, protocol: TLS}}, bind: BIND, hosts: [a.example.com], tls: {{mode: SIMPLE, {files}}}}}"
        ),
        "{port: {number: 9081, name: tcp, protocol: TCP}, bind: BIND, hosts: ['*']}".to_owned(),
    ];
    // Encrypted connections that pass through come back to the gateway itself, which decrypts them.
    let itself = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: itself, namespace: shop}\n\
        spec: {hosts: [itself.test], resolution: STATIC, ports: [{number: 8443, name: tls, protocol: TLS}], endpoints: [{address: BIND}]}\n---\n";
    let tcp = "tcp: [{match: [{port: 9081}, {port: 9444}], route: [{destination: {host: b, port: {number: 81}}}]}]";
    let tls = "tls: [{match: [{port: 9443, sniHosts: [a.example.com]}], route: [{destination: {host: itself.test, port: {number: 8443}}}]}]";
    let objects = [
        gateway("edge", &servers.join(", ")),
        itself.to_owned(),
        virtual_service("a", &format!("hosts: [a.example.com], gateways: [edge], http: [{{{TO_A}}}], {tls}")),
        virtual_service("b", &format!("hosts: [b.example.com], gateways: [edge], http: [{{{TO_B}}}]")),
        virtual_service("m", &format!("hosts: [mutual.example.com], gateways: [edge], http: [{{{TO_B}}}]")),
        virtual_service("tcp", &format!("hosts: ['*'], gateways: [edge], {tcp}")),
    ];
    edge.apply(&objects.concat()).await?;
    for host in ["a.example.com", "nobody.example.com"] {
        let answer = edge.ask(8080, host, "/x").await?;
        let location = answer.header("location").unwrap_or_default();
        ensure!(
            answer.status == 301 && location == format!("https://{host}/x"),
            "{host}: {} {location}",
            answer.status
        );
    }
    let backend = |answer: &Answer| answer.header("x-backend").map(str::to_owned);
    assert_eq!(backend(&edge.ask_encrypted(8443, "a.example.com", None).await?).as_deref(), Some("a"));
    assert_eq!(backend(&edge.ask_encrypted(8443, "b.example.com", None).await?).as_deref(), Some("b"));
    assert_eq!(backend(&edge.ask_encrypted(9443, "a.example.com", None).await?).as_deref(), Some("a"));
    assert!(edge.ask_encrypted(9443, "b.example.com", None).await.is_err(), "no route passes it through");
    assert_eq!(backend(&edge.ask_encrypted(8443, "mutual.example.com", Some("client")).await?).as_deref(), Some("b"));
    assert!(edge.ask_encrypted(8443, "mutual.example.com", None).await.is_err(), "a client shows its certificate");
    assert!(
        edge.ask_encrypted(8443, "mutual.example.com", Some("server")).await.is_err(),
        "and that of the right name"
    );
    // By the connection of one server nobody is asked for the hosts of another.
    let address = SocketAddr::new(edge.ip, 8443);
    let stream = edge.authority.connect(address, "a.example.com", None).await?;
    assert_eq!(exchange(stream, ("GET", "/"), "mutual.example.com", &[]).await?.status, 404);
    assert_eq!(backend(&edge.ask(9081, "x", "/").await?).as_deref(), Some("b"));
    let mut stream = edge.authority.connect(SocketAddr::new(edge.ip, 9444), "a.example.com", None).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(String::from_utf8_lossy(&answer).contains("x-backend: b"));
    edge.nothing_refused().await
}

#[tokio::test]
async fn gateways_come_and_go_under_their_virtual_services() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 65).await?;
    let server = |port: u16, protocol: &str| {
        format!("{{port: {{number: {port}, name: p, protocol: {protocol}}}, bind: BIND, hosts: ['*']}}")
    };
    edge.apply(&virtual_service("v", &format!("hosts: [h.test], gateways: [edge, late], http: [{{{TO_A}}}]"))).await?;
    edge.apply(&gateway("edge", &server(8080, "HTTP"))).await?;
    edge.expect(8080, &[("h.test/", "a")]).await?;
    // Of two protocols at one port the older object's stays.
    edge.apply(&gateway("late", &[server(8080, "TCP"), server(8081, "HTTP")].join(", "))).await?;
    edge.expect(8080, &[("h.test/", "a")]).await?;
    edge.expect(8081, &[("h.test/", "a")]).await?;
    edge.plane.ctl(&["delete", "gateway", "edge", "-n", "shop", "--wait"]).await?;
    eventually("the port of the deleted gateway is closed", async || edge.backend(8080, "h.test", "/").await.is_err())
        .await?;
    edge.expect(8081, &[("h.test/", "a")]).await?;
    edge.apply(&gateway("edge", &server(8080, "HTTP")).replace("ingressgateway", "another")).await?;
    assert!(edge.backend(8080, "h.test", "/").await.is_err(), "it selects no gateway that is here");
    edge.nothing_refused().await
}

#[tokio::test]
async fn an_ingress_is_served_in_plain_text_and_in_tls_behind_a_service() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 66).await?;
    edge.authority.issue("web", &["a.test"])?;
    let indented = |text: String| text.replace('\n', "\n    ");
    // The ports of the gateway's pod are those that its service leads to.
    let objects = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: edge, namespace: istio-system}}\n\
         spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: https, port: 443, targetPort: 8443}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: edge, namespace: istio-system, \
         labels: {{kubernetes.io/service-name: edge}}}}\naddressType: IPv4\nendpoints: [{{addresses: [BIND]}}]\n\
         ports: [{{name: http, port: 8080}}, {{name: https, port: 8443}}]\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: web, namespace: istio-system}}\nstringData:\n  tls.crt: |\n    {}\n  \
         tls.key: |\n    {}\n---\n",
        indented(edge.authority.text("web.pem")?),
        indented(edge.authority.text("web.key")?),
    );
    let path = |path: &str, path_type: &str, backend: &str| {
        format!(
            "{{path: {path}, pathType: {path_type}, backend: {{service: {{name: {backend}, port: {{name: http}}}}}}}}"
        )
    };
    let ingress = |name: &str, paths: &[String]| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{ingressClassName: istio, tls: [{{hosts: [a.test], secretName: web}}], \
             rules: [{{host: a.test, http: {{paths: [{}]}}}}]}}\n---\n",
            paths.join(", ")
        )
    };
    let paths = [path("/", "Prefix", "a"), path("/b", "Prefix", "b"), path("/exact", "Exact", "b")];
    let said = edge.apply(&[objects, ingress("web", &paths)].concat()).await?;
    ensure!(said.contains("ingress shop/web created"), "{said}");
    let asks = [
        ("a.test/", "a"),
        ("a.test/b", "b"),
        ("a.test/b/c", "b"),
        ("a.test/bc", "a"),
        ("a.test/exact", "b"),
        ("a.test/exact/", "a"),
        ("other.test/", "404"),
    ];
    eventually("the ingress is served", async || edge.backend(8080, "a.test", "/").await.is_ok_and(|got| got == "a"))
        .await?;
    edge.expect(8080, &asks).await?;
    eventually("it is served in TLS", async || edge.ask_encrypted(8443, "a.test", None).await.is_ok()).await?;
    // Another one adds to the same host, and one that is deleted takes its paths with it.
    edge.apply(&ingress("more", &[path("/more", "Prefix", "b")])).await?;
    edge.expect(8080, &[("a.test/more", "b"), ("a.test/", "a")]).await?;
    edge.plane.ctl(&["delete", "ingress", "web", "-n", "shop", "--wait"]).await?;
    edge.expect(8080, &[("a.test/more", "b"), ("a.test/", "404")]).await?;
    let table = edge.plane.ctl(&["get", "ing", "-A"]).await?;
    ensure!(table.contains("istio") && table.contains("a.test"), "{table}");
    edge.nothing_refused().await
}

#[tokio::test]
async fn the_mesh_config_says_which_ingresses_are_served() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 112).await?;
    let served = async || {
        let mut hosts = Vec::new();
        for host in ["istio", "edge", "none"] {
            if edge.backend(8080, &format!("{host}.test"), "/").await.is_ok_and(|backend| backend == "a") {
                hosts.push(host);
            }
        }
        hosts
    };
    let said = edge.apply(include_str!("../cases/ingresses.yaml")).await?;
    let unclassed = "ingress shop/none: spec.ingressClassName: no gateway serves it, because it has no class; that of this mesh is istio";
    ensure!(said.contains(unclassed) && !said.contains("shop/other:"), "{said}");
    for (mesh, want) in [
        ("", vec!["istio"]),
        (include_str!("../cases/mesh-config/ingress-default.yaml"), vec!["istio", "none"]),
        (include_str!("../cases/mesh-config/ingress-strict.yaml"), vec!["edge"]),
        (include_str!("../cases/mesh-config/ingress-off.yaml"), Vec::new()),
        // The gateways of another label serve them.
        (
            &include_str!("../cases/mesh-config/ingress-strict.yaml").replace("ingressSelector: ingressgateway, ", ""),
            Vec::new(),
        ),
    ] {
        if !mesh.is_empty() {
            edge.apply(mesh).await?;
        }
        eventually(&format!("{want:?} of {mesh}"), async || served().await == want).await?;
    }
    let other =
        include_str!("../cases/mesh-config/ingress-strict.yaml").replace("ingressClass: edge", "ingressClass: other");
    let said = edge.apply(&[&other, "---\n", include_str!("../cases/ingresses.yaml")].concat()).await?;
    let left_out = "ingress shop/other: spec: left out: spec.defaultBackend.resource: not supported yet";
    ensure!(said.contains(left_out), "{said}");
    edge.nothing_refused().await
}
