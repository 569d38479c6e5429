//! What each field of the mesh config means, tried with real Envoys. The mesh configs are in `tests/cases/mesh-config/`; those about
//! Ingresses are tried in `gateway.rs`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use rutter_tests::echo::{self, Asked};
use rutter_tests::expect::send;
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload};
use serde_json::Value;
use tokio::task::JoinSet;

/// The port of the services.
const PORT: u16 = 8000;

/// Services in two namespaces, and rules and routes about them in others. The application is at A_IP, the other one at B_IP.
const OBJECTS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: near}
spec:
  hosts: [near.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8001}]
  endpoints: [{address: A_IP, locality: eu/z1}, {address: B_IP, locality: us/z1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere, namespace: elsewhere}
spec:
  hosts: [elsewhere.test]
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8001}]
  endpoints: [{address: A_IP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ruled}
spec:
  hosts: [ruled.test, routed.test]
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8001}]
  endpoints: [{address: A_IP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-dns}
spec:
  hosts: [by-dns.test]
  resolution: DNS
  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8001}]
  endpoints: [{address: localhost}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ruled, namespace: istio-system}
spec: {host: ruled.test, trafficPolicy: {tls: {mode: SIMPLE}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed, namespace: elsewhere}
spec: {hosts: [routed.test], http: [{directResponse: {status: 418}}]}
---
apiVersion: v1
kind: Service
metadata: {name: unnamed}
spec: {clusterIP: 10.9.0.1, ports: [{name: any, port: 9000}]}
";

/// A client with bound listeners, one whose traffic is captured, and the applications.
struct Mesh {
    dir: tempfile::TempDir,
    plane: ControlPlane,
    client: IpAddr,
    bound: Sidecar,
    captured: Sidecar,
    asked: Asked,
    _apps: JoinSet<()>,
}

impl Mesh {
    async fn start(release: Release, number: u8) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
        let mut apps = JoinSet::new();
        let asked = echo::start("a", SocketAddr::new(a, PORT + 1), &mut apps).await?;
        echo::start("b", SocketAddr::new(b, PORT + 1), &mut apps).await?;
        plane.apply(&OBJECTS.replace("A_IP", &a.to_string()).replace("B_IP", &b.to_string()), &[]).await?;
        let proxy = Proxy::Envoy(release, rutter_core::Variant::Delta);
        let labels = vec!["istio-locality=eu.z1".to_owned()];
        let workload = Workload { proxy, labels, ..Workload::new("client-1", "default", client) };
        let bound = Sidecar::start(dir.path(), &plane, &workload).await?;
        let captured = Workload { proxy, captured: true, ..Workload::new("client-2", "default", [10, 1, 0, 1].into()) };
        let captured = Sidecar::start(dir.path(), &plane, &captured).await?;
        Ok(Self { dir, plane, client, bound, captured, asked, _apps: apps })
    }

    async fn apply(&self, mesh: &str) -> Result<String> {
        self.plane.apply(mesh, &["--wait"]).await
    }

    /// Returns which application answers, or the status if none does.
    async fn backend(&self, host: &str) -> Result<String> {
        let answer = send(SocketAddr::new(self.client, PORT), host, "GET /").await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    }

    /// Returns which applications answer eight requests.
    async fn backends(&self, host: &str) -> Result<Vec<String>> {
        let mut backends = Vec::new();
        for _ in 0..8 {
            backends.push(self.backend(host).await?);
        }
        backends.sort();
        backends.dedup();
        Ok(backends)
    }

    async fn tries(&self, path: &str) -> Result<usize> {
        send(SocketAddr::new(self.client, PORT), "elsewhere.test", &format!("GET {path} x-status=500")).await?;
        Ok(self.asked.count(path))
    }
}

/// Returns what an Envoy has of a sort under a name.
async fn dumped(envoy: &Sidecar, sort: &str, name: &str) -> Result<Value> {
    let dump = http::get(envoy.admin, &format!("/config_dump?resource={sort}"), &[]).await?;
    let dump: Value = serde_json::from_str(&dump.body)?;
    let configs = dump["configs"].as_array().cloned().unwrap_or_default();
    let config_of = |entry: &Value| match sort {
        "dynamic_listeners" => entry["active_state"]["listener"].clone(),
        _ => entry["cluster"].clone(),
    };
    configs.iter().map(config_of).find(|config| config["name"] == name).with_context(|| format!("{name}: {dump}"))
}

async fn every_field(release: Release, number: u8) -> Result<()> {
    let mesh = Mesh::start(release, number).await?;
    let sees_all = async || -> Result<()> {
        ensure!(mesh.backends("near.test").await? == ["a", "b"]);
        ensure!(mesh.backend("elsewhere.test").await? == "a" && mesh.backend("routed.test").await? == "418");
        ensure!(mesh.backend("ruled.test").await? == "503", "the rule has connections encrypted");
        Ok(())
    };
    sees_all().await.context("without a mesh config")?;
    ensure!(mesh.tries("/without").await? == 1, "a 500 is not tried again");

    let said = mesh.apply(include_str!("../cases/mesh-config/retries.yaml")).await?;
    ensure!(
        said.contains("IST0133 configMap istio-system/istio: accessLogFile: Rutter does not act on the field yet"),
        "{said}"
    );
    ensure!(mesh.tries("/with").await? == 3, "it is tried twice again");

    mesh.apply(include_str!("../cases/mesh-config/exports.yaml")).await?;
    ensure!(mesh.backend("elsewhere.test").await? == "502", "the service is for its own namespace");
    ensure!(mesh.backend("routed.test").await? == "a", "so is the route");
    ensure!(mesh.backend("ruled.test").await? == "a", "and the rule");

    mesh.apply(include_str!("../cases/mesh-config/clusters.yaml")).await?;
    let cluster = dumped(&mesh.bound, "dynamic_active_clusters", "outbound|8000||by-dns.test").await?;
    ensure!(cluster["connect_timeout"] == "3s" && cluster["dns_refresh_rate"] == "9s", "{cluster}");
    let keepalive = &cluster["upstream_connection_options"]["tcp_keepalive"];
    let number = |field: &str| keepalive[field].as_u64();
    ensure!(
        [number("keepalive_probes"), number("keepalive_time"), number("keepalive_interval")] == [5, 60, 7].map(Some)
    );
    let listener = dumped(&mesh.captured, "dynamic_listeners", "10.9.0.1_9000").await?;
    ensure!(listener["listener_filters_timeout"] == "0.300s", "{listener}");

    mesh.apply(include_str!("../cases/mesh-config/places.yaml")).await?;
    ensure!(mesh.backends("near.test").await? == ["b"]);

    mesh.apply(include_str!("../cases/mesh-config/upgrade.yaml")).await?;
    ensure!(mesh.backends("near.test").await? == ["503"], "the applications know no HTTP/2");
    mesh.apply(include_str!("../cases/mesh-config/do-not-upgrade.yaml")).await?;
    sees_all().await.context("without an upgrade")?;

    let unknown = async || -> Result<bool> {
        let listener = dumped(&mesh.captured, "dynamic_listeners", "virtualOutbound").await?;
        Ok(listener.to_string().contains("PassthroughCluster"))
    };
    mesh.apply(include_str!("../cases/mesh-config/closed.yaml")).await?;
    ensure!(!unknown().await?, "unknown traffic is refused");
    mesh.apply(include_str!("../cases/mesh-config/open.yaml")).await?;
    ensure!(unknown().await?, "unknown traffic passes");

    let file = mesh.dir.path().join("mesh.yaml");
    std::fs::write(&file, include_str!("../cases/mesh-config/bootstraps.yaml"))?;
    let file = file.display().to_string();
    let line = ["bootstrap", "--proxy", "envoy", "--pod", "a", "--ip", "10.0.0.1", "--mesh-config", &file];
    let said = mesh.plane.ctl(&line).await?;
    ensure!(said.contains("start Envoy with --concurrency 2"), "{said}");
    let mut values = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let bootstrap = values.next().context("a bootstrap")??;
    let metadata = &bootstrap["node"]["metadata"];
    ensure!(metadata["DNS_CAPTURE"] == "true" && metadata["PROXY_CONFIG"]["concurrency"] == 2, "{metadata}");

    let wrong = include_str!("../cases/mesh-config/clusters.yaml").replace("3s", "soon");
    let error = mesh.apply(&wrong).await.unwrap_err().to_string();
    ensure!(error.contains("data.mesh.connectTimeout"), "{error}");
    mesh.plane.ctl(&["delete", "configmap", "istio", "-n", "istio-system", "--wait"]).await?;
    sees_all().await.context("without the mesh config again")?;
    for envoy in [&mesh.bound, &mesh.captured] {
        ensure!(envoy.stat("update_rejected").await? == 0, "{}", mesh.plane.ctl(&["proxy-status"]).await?);
    }
    Ok(())
}

#[tokio::test]
async fn the_mesh_config_says_what_holds_where_nothing_else_does_with_the_latest_envoy() -> Result<()> {
    every_field(Release::V1_40, 45).await
}

#[tokio::test]
async fn the_mesh_config_says_what_holds_where_nothing_else_does_with_the_oldest_envoy() -> Result<()> {
    every_field(Release::V1_36, 46).await
}
