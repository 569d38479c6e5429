//! What real Envoys were seen to need of an xDS server (`docs/xds.md`), each done to our server with resources
//! that are set by hand: every release that we test with, asking either way.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use rutter_api::ResourceType::{self, Cluster, Endpoint, Route, Secret, VirtualHost};
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_core::ResourceWrite;
use rutter_core::{EncodedResource, Variant};
use rutter_server::Settings;
use rutter_server::scripted_server::{ScriptedResources, ScriptedServer};
use rutter_tests::apps::{self, App};
use rutter_tests::cutter::Cutter;
use rutter_tests::process::{Proxy, Sidecar, eventually, free_port};
use rutter_tests::{http, root};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A server whose resources the test sets, and something to cut between it and the Envoys.
struct World {
    dir: tempfile::TempDir,
    resources: ScriptedResources,
    cutter: Cutter,
    _tasks: JoinSet<Result<()>>,
}

impl World {
    async fn start() -> Result<Self> {
        let resources = ScriptedResources::default();
        let server = ScriptedServer::bind(Settings::for_tests(Path::new("")), resources.clone())?;
        let cutter = Cutter::start(server.addr()?).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(std::future::pending()));
        Ok(Self { dir: tempfile::tempdir()?, resources, cutter, _tasks: tasks })
    }

    fn put(&self, resource_type: ResourceType, name: &str, body: &impl Message) {
        self.put_bytes(resource_type, name, &body.encode_to_vec());
    }

    fn put_bytes(&self, resource_type: ResourceType, name: &str, body: &[u8]) {
        self.resources
            .write("", vec![ResourceWrite::Put(resource_type, EncodedResource::new(resource_type, name.into(), body))]);
    }

    /// An Envoy with more in its bootstrap than the way to the server.
    fn spawn(&self, name: &str, proxy: Proxy, more: impl FnOnce(&mut Value)) -> Result<Sidecar> {
        let port = free_port()?;
        let mut bootstrap = bootstrap(self.cutter.addr, port, proxy);
        more(&mut bootstrap);
        Sidecar::spawn_with(self.dir.path(), (name, proxy), &bootstrap.to_string(), port)
    }

    async fn ready(&self, name: &str, envoy: &Sidecar) -> Result<()> {
        let log = || std::fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
        envoy.wait_ready().await.with_context(|| format!("{name}: {}", log()))
    }
}

fn ads() -> Value {
    json!({"ads": {}, "resource_api_version": "V3"})
}

fn bootstrap(xds: SocketAddr, admin: u16, proxy: Proxy) -> Value {
    let api_type = if matches!(proxy, Proxy::Envoy(_, Variant::Sotw)) { "GRPC" } else { "DELTA_GRPC" };
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    json!({
        "node": {"id": "n1", "cluster": "c"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {"api_type": api_type, "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
            "cds_config": ads(), "lds_config": ads(),
        },
        "static_resources": {"listeners": [], "clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": address(xds.port())}}]}]},
        }]},
    })
}

/// A listener of the bootstrap's own, with HTTP filters before the router.
fn listener(at: SocketAddr, routes: Value, filters: &[Value]) -> Value {
    let router = json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    let filters: Vec<Value> = filters.iter().cloned().chain([router]).collect();
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s", "http_filters": filters,
    });
    for (key, value) in routes.as_object().into_iter().flatten() {
        manager[key] = value.clone();
    }
    json!({
        "name": "own", "address": {"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    })
}

fn answers_itself() -> Value {
    json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}}]}]}})
}

fn pb_ads() -> core::ConfigSource {
    use core::config_source::ConfigSourceSpecifier::Ads;
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    }
}

fn cluster(name: &str, connect_timeout_s: i64) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    cluster::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(pb_ads()), ..Default::default() }),
        connect_timeout: Some(prost_types::Duration { seconds: connect_timeout_s, nanos: 0 }),
        ..Default::default()
    }
}

fn assignment(name: &str, at: SocketAddr) -> endpoint::ClusterLoadAssignment {
    let address = core::SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(at.port().into())),
        ..Default::default()
    };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(address)) };
    let one = endpoint::Endpoint { address: Some(address), ..Default::default() };
    let one = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(one)),
        ..Default::default()
    };
    let locality = endpoint::LocalityLbEndpoints { lb_endpoints: vec![one], ..Default::default() };
    endpoint::ClusterLoadAssignment { cluster_name: name.into(), endpoints: vec![locality], ..Default::default() }
}

/// The connect timeouts of an Envoy's clusters, as it says them itself.
async fn timeouts(envoy: &Sidecar) -> Result<Vec<(String, String)>> {
    let dump = http::get(envoy.admin, "/config_dump?resource=dynamic_active_clusters", &[]).await?;
    let dump: Value = serde_json::from_str(&dump.body)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let clusters = dump["configs"].as_array().into_iter().flatten().map(|one| &one["cluster"]);
    let mut all: Vec<_> = clusters.map(|one| (text(&one["name"]), text(&one["connect_timeout"]))).collect();
    all.sort();
    Ok(all)
}

fn somewhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[tokio::test]
async fn o7_o8_2000_clusters_arrive_in_parts_and_a_cut_while_they_warm_leaves_none_behind() -> Result<()> {
    const CLUSTERS: usize = 2000;
    for (number, proxy) in Proxy::envoys().enumerate() {
        let world = World::start().await?;
        let writes = (0..CLUSTERS).flat_map(|number| {
            let name = format!("c{number:04}");
            // Of such a weight that all together are more than one response.
            let cluster =
                cluster::Cluster { alt_stat_name: format!("{name}-{}", "x".repeat(600)), ..cluster(&name, 1) };
            let of = |resource_type: ResourceType, body: Vec<u8>| {
                ResourceWrite::Put(resource_type, EncodedResource::new(resource_type, name.as_str().into(), &body))
            };
            [of(Cluster, cluster.encode_to_vec()), of(Endpoint, assignment(&name, somewhere()).encode_to_vec())]
        });
        world.resources.write("", writes.collect());
        // In the second response of a delta stream; in the only one of the state of the world.
        world.cutter.cut_after(1_250_000);
        let name = format!("many-{number}");
        let envoy = world.spawn(&name, proxy, |_| {})?;
        world.ready(&name, &envoy).await?;
        let stat = async |name: &str| envoy.stat(name).await.unwrap_or_default();
        eventually("all clusters are active", || async {
            stat("cluster_manager.active_clusters").await == CLUSTERS as u64 + 1
                && stat("cluster_manager.warming_clusters").await == 0
        })
        .await
        .with_context(|| format!("{proxy:?}"))?;
        assert!(!world.cutter.is_to_cut() && world.cutter.connections() > 1, "{proxy:?}: it was not cut");
        assert_eq!(envoy.stat("update_rejected").await?, 0, "{proxy:?}");
    }
    Ok(())
}

#[tokio::test]
async fn n4_of_a_mixed_response_the_good_arrives_and_the_bad_keeps_what_it_was() -> Result<()> {
    for (number, proxy) in Proxy::envoys().enumerate() {
        let world = World::start().await?;
        let names = ["a", "b", "c", "d"];
        for name in names {
            world.put(Endpoint, name, &assignment(name, somewhere()));
            world.put(Cluster, name, &cluster(name, 1));
        }
        let name = format!("mixed-{number}");
        let envoy = world.spawn(&name, proxy, |_| {})?;
        world.ready(&name, &envoy).await?;
        let none = prost_types::Duration::default();
        let bad = cluster::OutlierDetection { interval: Some(none), ..Default::default() };
        let change = |name: &str| match name {
            "b" => cluster::Cluster { outlier_detection: Some(bad.clone()), ..cluster(name, 2) },
            _ => cluster(name, 2),
        };
        let put = |one: cluster::Cluster| {
            ResourceWrite::Put(Cluster, EncodedResource::new(Cluster, one.name.as_str().into(), &one.encode_to_vec()))
        };
        world.resources.write("", names.map(|name| put(change(name))).into());
        let is_so = async |want: [&str; 4]| {
            let all = timeouts(&envoy).await.unwrap_or_default();
            all.iter().map(|(_, timeout)| timeout.as_str()).eq(want)
        };
        let arrived = eventually("the good arrive", || is_so(["2s", "1s", "2s", "2s"])).await;
        arrived.with_context(|| format!("{proxy:?}: {:?}", envoy.admin))?;
        assert!(envoy.stat("cds.update_rejected").await? > 0, "{proxy:?}");
        // The rest flows on, and what is mended arrives.
        world.put(Cluster, "d", &cluster("d", 3));
        eventually("others flow on", || is_so(["2s", "1s", "2s", "3s"])).await.with_context(|| format!("{proxy:?}"))?;
        world.put(Cluster, "b", &cluster("b", 4));
        eventually("it is mended", || is_so(["2s", "4s", "2s", "3s"])).await.with_context(|| format!("{proxy:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn o10_a_filter_that_we_do_not_have_fails_no_request() -> Result<()> {
    for (number, proxy) in Proxy::envoys().enumerate() {
        let world = World::start().await?;
        let at = SocketAddr::new(IpAddr::from([127, 0, 61, 1]), free_port()?);
        let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
        let source = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"});
        let filter = json!({"name": "later", "config_discovery": {
            "config_source": source, "default_config": {"@type": fault}, "type_urls": [fault]}});
        let name = format!("ecds-{number}");
        let envoy = world.spawn(&name, proxy, |bootstrap| {
            bootstrap["static_resources"]["listeners"] = json!([listener(at, answers_itself(), &[filter])]);
        })?;
        world.ready(&name, &envoy).await?;
        let works = async || http::get(at, "/", &[]).await.is_ok_and(|answer| answer.status == 200);
        eventually("it answers", works).await.with_context(|| format!("{proxy:?}"))?;
        let before = world.cutter.connections();
        world.cutter.cut();
        world.put(Endpoint, "mark", &assignment("mark", somewhere()));
        world.put(Cluster, "mark", &cluster("mark", 1));
        let is_back = async || timeouts(&envoy).await.is_ok_and(|all| all.len() == 1);
        eventually("it is back", is_back).await.with_context(|| format!("{proxy:?}"))?;
        assert!(world.cutter.connections() > before && works().await, "{proxy:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_layer_of_runtime_settings_holds_nothing_up() -> Result<()> {
    for (number, proxy) in Proxy::envoys().enumerate() {
        let world = World::start().await?;
        world.put(Endpoint, "a", &assignment("a", somewhere()));
        world.put(Cluster, "a", &cluster("a", 1));
        let name = format!("rtds-{number}");
        let envoy = world.spawn(&name, proxy, |bootstrap| {
            // For ever: only an answer lets it go on.
            let source = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
            bootstrap["layered_runtime"] =
                json!({"layers": [{"name": "ours", "rtds_layer": {"name": "layer", "rtds_config": source}}]});
        })?;
        world.ready(&name, &envoy).await?;
        assert_eq!(timeouts(&envoy).await?.len(), 1, "{proxy:?}");
        assert_eq!(envoy.stat("update_rejected").await?, 0, "{proxy:?}");
    }
    Ok(())
}

fn on_demand(more: Value) -> Value {
    let mut config = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand"});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    json!({"name": "envoy.filters.http.on_demand", "typed_config": config})
}

fn virtual_host(domain: &str) -> route::VirtualHost {
    use route::route::Action::DirectResponse;
    let text = core::data_source::Specifier::InlineString(domain.into());
    let body = core::DataSource { specifier: Some(text), ..Default::default() };
    let answer = route::DirectResponseAction { status: 200, body: Some(body), ..Default::default() };
    let prefix = route::route_match::PathSpecifier::Prefix("/".into());
    let all = route::RouteMatch { path_specifier: Some(prefix), ..Default::default() };
    let one = route::Route { r#match: Some(all), action: Some(DirectResponse(answer)), ..Default::default() };
    route::VirtualHost {
        name: format!("8080/{domain}"),
        domains: vec![domain.into()],
        routes: vec![one],
        ..Default::default()
    }
}

/// Envoys that take virtual hosts one by one.
fn with_virtual_hosts() -> impl Iterator<Item = Proxy> {
    Proxy::envoys().filter(|proxy| matches!(proxy, Proxy::Envoy(_, Variant::Delta)) && *proxy != Proxy::OLD_ENVOY)
}

#[tokio::test]
async fn d2_a_virtual_host_that_is_asked_for_and_missing_is_a_404_at_once() -> Result<()> {
    for (number, proxy) in with_virtual_hosts().enumerate() {
        let world = World::start().await?;
        let at = SocketAddr::new(IpAddr::from([127, 0, 61, 2]), free_port()?);
        let vhds = route::Vhds { config_source: Some(pb_ads()) };
        let table = route::RouteConfiguration { name: "8080".into(), vhds: Some(vhds), ..Default::default() };
        world.put(Route, "8080", &table);
        world.put(VirtualHost, "8080/a.test", &virtual_host("a.test"));
        let routes = json!({"rds": {"route_config_name": "8080", "config_source": ads()}});
        let name = format!("vhds-{number}");
        let envoy = world.spawn(&name, proxy, |bootstrap| {
            bootstrap["static_resources"]["listeners"] = json!([listener(at, routes, &[on_demand(json!({}))])]);
        })?;
        world.ready(&name, &envoy).await?;
        let ask = async |host: &'static str| http::get(at, "/", &[("host", host)]).await;
        let found = async || ask("a.test").await.is_ok_and(|answer| answer.body == "a.test");
        eventually("the one that is there answers", found).await.with_context(|| format!("{proxy:?}"))?;
        // It would hang if it were told no more than that it is gone.
        assert_eq!(ask("b.test").await.with_context(|| format!("{proxy:?}"))?.status, 404, "{proxy:?}");
        world.put(VirtualHost, "8080/b.test", &virtual_host("b.test"));
        let comes = async || ask("b.test").await.is_ok_and(|answer| answer.body == "b.test");
        eventually("it comes when it is there", comes).await.with_context(|| format!("{proxy:?}"))?;
        assert_eq!(envoy.stat("update_rejected").await?, 0, "{proxy:?}");
    }
    Ok(())
}

#[tokio::test]
async fn d1_a_cluster_on_demand_comes_and_a_missing_one_is_a_503_at_once() -> Result<()> {
    let mut apps = JoinSet::new();
    let app = App { name: "there", version: "v1", ip: [127, 0, 61, 9], asks: &[] };
    apps::start(app, &mut apps).await?;
    for (number, proxy) in Proxy::envoys().filter(|one| matches!(one, Proxy::Envoy(_, Variant::Delta))).enumerate() {
        let world = World::start().await?;
        let at = SocketAddr::new(IpAddr::from([127, 0, 61, 3]), free_port()?);
        world.put(Endpoint, "there", &assignment("there", SocketAddr::new(app.ip.into(), apps::APP_PORT)));
        world.put(Cluster, "there", &cluster("there", 1));
        let routes = json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}]}]}});
        let name = format!("odcds-{number}");
        let envoy = world.spawn(&name, proxy, |bootstrap| {
            // The filter waits for longer than the client of this test, so that its own limit never gives the answer.
            let filter = on_demand(json!({"odcds": {"source": ads(), "timeout": "30s"}}));
            bootstrap["static_resources"]["listeners"] = json!([listener(at, routes, &[filter])]);
            // Else it would have every cluster before anybody asks.
            if let Some(dynamic) = bootstrap["dynamic_resources"].as_object_mut() {
                dynamic.remove("cds_config");
            }
        })?;
        world.ready(&name, &envoy).await?;
        let ask = async |name: &'static str| http::get(at, "/", &[("x-cluster", name)]).await;
        let answer = ask("there").await.with_context(|| format!("{proxy:?}"))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "there-v1"), "{proxy:?}");
        assert_eq!(ask("missing").await.with_context(|| format!("{proxy:?}"))?.status, 503, "{proxy:?}");
    }
    Ok(())
}

fn field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// `Secret { name, tls_certificate { certificate_chain { inline_string }, private_key { inline_string } } }`
fn secret(name: &str) -> Result<Vec<u8>> {
    let (mut body, mut pair) = (Vec::new(), Vec::new());
    for (number, file) in [(1, "cert.pem"), (2, "key.pem")] {
        let mut source = Vec::new();
        field(3, &std::fs::read(root().join("tests/tls").join(file))?, &mut source);
        field(number, &source, &mut pair);
    }
    field(1, name.as_bytes(), &mut body);
    field(2, &pair, &mut body);
    Ok(body)
}

#[tokio::test]
async fn a_secret_is_sent_when_it_is_there_and_nobody_else_waits_for_it() -> Result<()> {
    for (number, proxy) in Proxy::envoys().enumerate() {
        let world = World::start().await?;
        let ip = IpAddr::from([127, 0, 61, 4]);
        let (plain, secure) = (SocketAddr::new(ip, free_port()?), SocketAddr::new(ip, free_port()?));
        let name = format!("sds-{number}");
        let envoy = world.spawn(&name, proxy, |bootstrap| {
            let mut tls = listener(secure, answers_itself(), &[]);
            tls["name"] = json!("secure");
            tls["filter_chains"][0]["transport_socket"] = json!({"name": "tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "default", "sds_config":
                    {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}}]}}});
            bootstrap["static_resources"]["listeners"] = json!([listener(plain, answers_itself(), &[]), tls]);
        })?;
        world.ready(&name, &envoy).await?;
        let has_certificate = async || {
            let certs = http::get(envoy.admin, "/certs", &[]).await;
            certs.is_ok_and(|answer| answer.body.contains("serial_number"))
        };
        let works = async || http::get(plain, "/", &[]).await.is_ok_and(|answer| answer.status == 200);
        eventually("the other listener works", works).await.with_context(|| format!("{proxy:?}"))?;
        assert!(!has_certificate().await, "{proxy:?}");
        world.put_bytes(Secret, "default", &secret("default")?);
        eventually("the secret arrives", has_certificate).await.with_context(|| format!("{proxy:?}"))?;
        assert!(TcpStream::connect(secure).await.is_ok(), "{proxy:?}");
        assert_eq!(envoy.stat("update_rejected").await?, 0, "{proxy:?}");
    }
    Ok(())
}
