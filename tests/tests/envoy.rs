//! Real Envoys against a real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rutter_api::ResourceType;
use rutter_api::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use rutter_api::pb::envoy::service::status::v3::{ClientStatusRequest, ConfigStatus};
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;
use rutter_tests::apps::{App, BOOKINFO, start};
use rutter_tests::client::admin_channel;
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload, eventually, free_port};
use rutter_tests::tls::Authority;
use rutter_tests::{http, root};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Types that each sidecar asks for: all but secrets.
const SERVED: usize = ResourceType::COUNT - 1;

struct Bookinfo {
    dir: tempfile::TempDir,
    plane: ControlPlane,
    envoys: Vec<Sidecar>,
    _apps: JoinSet<()>,
}

fn example(name: &str) -> String {
    root().join("examples/bookinfo").join(name).display().to_string()
}

impl Bookinfo {
    async fn start() -> Result<Self> {
        Self::start_with(Proxy::ENVOY).await
    }

    async fn start_with(proxy: Proxy) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        plane.ctl(&["apply", "-f", &example("bookinfo.yaml"), "-f", &example("reviews-v1.yaml")]).await?;
        let mut apps = JoinSet::new();
        let mut envoys = Vec::new();
        for app in BOOKINFO {
            start(app, &mut apps).await?;
            let workload = Workload { proxy, ..Workload::new(&app.pod(), "default", app.ip.into()) };
            envoys.push(Sidecar::spawn(dir.path(), &plane, &workload).await?);
        }
        for envoy in &envoys {
            envoy.wait_ready().await?;
        }
        Ok(Self { dir, plane, envoys, _apps: apps })
    }

    async fn page(&self) -> Result<String> {
        let page: App = BOOKINFO[0];
        Ok(http::get(page.outbound(), "/", &[("host", "productpage:9080")]).await?.body)
    }

    async fn rejected(&self) -> Result<u64> {
        let mut sum = 0;
        for envoy in &self.envoys {
            sum += envoy.stat("update_rejected").await?;
        }
        Ok(sum)
    }
}

async fn pushes(plane: &ControlPlane, since: u64) -> Result<Vec<Value>> {
    let text = plane.ctl(&["pushes", "--since", &since.to_string(), "-o", "json"]).await?;
    Ok(serde_json::from_str::<Vec<Value>>(&text)?)
}

#[tokio::test]
async fn a_weight_change_sends_each_sidecar_one_virtual_host_and_moves_the_traffic() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    assert!(mesh.page().await?.contains("reviews-v1"));
    mesh.plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
    for _ in 0..20 {
        assert!(mesh.page().await?.contains("reviews-v3 [ratings-v1]"));
    }
    let sent = pushes(&mesh.plane, 2).await?;
    assert_eq!(sent.len(), BOOKINFO.len());
    for push in &sent {
        let fields =
            (push["type"].as_str(), push["resources"].as_u64(), push["removed"].as_u64(), push["error"].as_str());
        assert_eq!(fields, (Some("virtualhost"), Some(1), Some(0), Some("")), "{push}");
        assert!(push["ackUs"].is_u64(), "{push}");
    }
    let trace: Value = serde_json::from_str(&mesh.plane.ctl(&["trace", "2", "-o", "json"]).await?)?;
    let counts = ["sent", "answered"].map(|step| trace[step]["count"].as_u64());
    assert_eq!((counts, trace["waitingCount"].as_u64()), ([Some(BOOKINFO.len() as u64); 2], Some(0)), "{trace}");
    assert!(trace["sent"]["maxUs"].as_u64() <= trace["answered"]["maxUs"].as_u64(), "{trace}");
    // The same again is no change, and nothing is sent.
    let again = mesh.plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
    assert!(again.contains("unchanged"), "{again}");
    assert_eq!(pushes(&mesh.plane, 2).await?.len(), BOOKINFO.len());
    assert_eq!(mesh.rejected().await?, 0);
    Ok(())
}

/// What sidecars are sent: for each of them and each type the names, as far as they are told, how many resources come and how many
/// go, and the bytes of those that come.
type Sent = BTreeMap<(String, String), (BTreeSet<String>, u64, u64, u64)>;

/// Returns what an impact foresees.
fn foreseen(impact: &Value) -> Sent {
    let mut sent = Sent::new();
    for group in impact["groups"].as_array().into_iter().flatten() {
        for sidecar in group["sidecars"].as_array().into_iter().flatten() {
            for resource in group["resources"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let entry = sent.entry((text(sidecar), text(&resource["type"]))).or_default();
                entry.0.insert(text(&resource["name"]));
                match resource["bytesAfter"].as_u64() {
                    Some(bytes) => (entry.1, entry.3) = (entry.1 + 1, entry.3 + bytes),
                    None => entry.2 += 1,
                }
            }
        }
    }
    sent
}

/// The bytes that a response has beside its resources, and the names of what it takes away.
const RESPONSE_BYTES: u64 = 400;

/// Applies or deletes something after an impact was asked for, and compares that with what is sent.
async fn compare_impact(mesh: &Bookinfo, args: &[&str]) -> Result<Value> {
    let tried = mesh.plane.ctl(&[args, &["--dry-run", "--impact", "-o", "json"]].concat()).await?;
    let tried = tried.split("\nwarning: ").next().unwrap_or_default();
    let impact = serde_json::from_str::<Value>(tried).with_context(|| tried.to_owned())?["impact"].clone();
    let before = pushes(&mesh.plane, 0).await?;
    mesh.plane.ctl(&[args, &["--wait"]].concat()).await?;
    let foreseen = foreseen(&impact);
    let mut told = Sent::new();
    // What was asked for in consequence has no revision of its own. The latest come first.
    let after = pushes(&mesh.plane, 0).await?;
    for push in after.iter().take_while(|push| before.first() != Some(push)) {
        let key = (
            push["sidecar"].as_str().unwrap_or_default().to_owned(),
            push["type"].as_str().unwrap_or_default().to_owned(),
        );
        let entry = told.entry(key).or_default();
        entry
            .0
            .extend(push["names"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())));
        entry.1 += push["resources"].as_u64().unwrap_or_default();
        entry.2 += push["removed"].as_u64().unwrap_or_default();
        entry.3 += push["bytes"].as_u64().unwrap_or_default();
    }
    ensure!(foreseen.keys().eq(told.keys()), "{args:?}: foreseen {foreseen:#?}, sent {told:#?}");
    for (key, (names, sent, removed, bytes)) in &foreseen {
        let got = &told[key];
        ensure!(got.0.is_subset(names), "{args:?}: {key:?}: foreseen {names:?}, sent {:?}", got.0);
        ensure!((got.1, got.2) == (*sent, *removed), "{args:?}: {key:?}: foreseen {sent} and {removed}, sent {got:?}");
        ensure!(
            (*bytes..bytes + RESPONSE_BYTES + 100 * removed).contains(&got.3),
            "{args:?}: {key:?}: foreseen {bytes} bytes, sent {}",
            got.3
        );
    }
    Ok(impact)
}

#[tokio::test]
async fn what_an_impact_foresees_is_what_envoys_are_sent() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    let written = async |name: &str, text: &str| -> Result<Value> {
        let path = mesh.dir.path().join(name);
        std::fs::write(&path, text)?;
        compare_impact(&mesh, &["apply", "-f", &path.display().to_string()]).await
    };
    let all = BOOKINFO.len();
    let moved = compare_impact(&mesh, &["apply", "-f", &example("reviews-v3.yaml")]).await?;
    ensure!(moved["affected"] == all && moved["brokenRoutes"] == 0, "{moved}");
    let route = &moved["groups"][0]["routes"][0];
    ensure!(route["before"].as_str().is_some_and(|before| before.contains("|v1|")), "{moved}");
    ensure!(route["after"].as_str().is_some_and(|after| after.contains("|v3|")), "{moved}");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: {clusterIP: 10.96.9.9, ports: [{name: http, port: 9080}]}\n";
    written("service.yaml", service).await?;
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: new}\n\
                spec: {host: new, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}, subsets: [{name: a}]}\n";
    written("rule.yaml", rule).await?;
    let nowhere = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: details}\n\
                   spec: {hosts: [details], http: [{route: [{destination: {host: nowhere}}]}]}\n";
    let broken = written("nowhere.yaml", nowhere).await?;
    ensure!(broken["brokenRoutes"] == all, "{broken}");
    let narrow = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n\
                  spec: {egress: [{hosts: [./details.default.svc.cluster.local]}], ingress: [{port: {number: 9081, name: http, \
                  protocol: HTTP}, defaultEndpoint: '0.0.0.0:9082'}]}\n";
    let narrow = written("narrow.yaml", narrow).await?;
    ensure!(narrow["affected"] == all && narrow["groups"][0]["lost"].as_u64() > Some(5), "{narrow}");
    compare_impact(&mesh, &["delete", "sidecar/default"]).await?;
    compare_impact(&mesh, &["delete", "dr/new", "svc/new"]).await?;
    // Too many are affected, so that nothing is changed.
    let revision = mesh.plane.ctl(&["history", "--limit", "1", "-o", "json"]).await?;
    let too_many = ["apply", "-f", &example("reviews-v1.yaml"), "--impact", "--fail-over", "2"];
    let said = mesh.plane.said(&too_many).await?;
    ensure!(said.contains(&format!("{all} sidecars are affected, more than 2 (--fail-over)")), "{said}");
    ensure!(mesh.plane.ctl(&too_many).await.is_err() && said.contains("configured (dry run)"), "{said}");
    ensure!(mesh.plane.ctl(&["history", "--limit", "1", "-o", "json"]).await? == revision);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_asks_for_the_state_of_the_world_gets_it() -> Result<()> {
    let mesh = Bookinfo::start_with(Proxy::SOTW_ENVOY).await?;
    assert!(mesh.page().await?.contains("reviews-v1"));
    mesh.plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
    for _ in 0..20 {
        assert!(mesh.page().await?.contains("reviews-v3 [ratings-v1]"));
    }
    // Of routes what changed is sent: one table.
    for push in pushes(&mesh.plane, 2).await? {
        let fields = (push["type"].as_str(), push["resources"].as_u64(), push["error"].as_str());
        assert_eq!(fields, (Some("route"), Some(1), Some("")), "{push}");
    }
    // O3, O4: clusters that change want their endpoints again.
    let subset = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews}\nspec: {host: reviews, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]}";
    mesh.plane.apply(subset, &["--wait"]).await?;
    for envoy in &mesh.envoys {
        assert_eq!((envoy.stat("warming_clusters").await?, envoy.stat("update_rejected").await?), (0, 0));
    }
    assert!(mesh.page().await?.contains("reviews-v3 [ratings-v1]"));
    Ok(())
}

#[tokio::test]
async fn headers_choose_the_subset() -> Result<()> {
    let _mesh = Bookinfo::start().await?;
    let headers = [("host", "productpage:9080"), ("end-user", "jason")];
    let answer = http::get(BOOKINFO[0].outbound(), "/", &headers).await?;
    assert!(answer.body.contains("reviews-v2 [ratings-v1]"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn an_unknown_destination_is_warned_of_and_answered_503_with_the_reason() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n\
                spec: {hosts: [reviews], http: [{route: [{destination: {host: nowhere}}]}]}";
    let said = mesh.plane.apply(yaml, &["--wait"]).await?;
    assert!(
        said.contains("warning: IST0101 virtualService default/reviews: spec.http[0].route[0].destination.host: no service nowhere.default.svc"),
        "{said}"
    );
    let answer = http::get(BOOKINFO[0].outbound(), "/", &[("host", "reviews:9080")]).await?;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "rutter: virtualService default/reviews: no service nowhere.default.svc.cluster.local in this sidecar's scope\n"
    );
    let other = http::get(BOOKINFO[0].outbound(), "/", &[("host", "details:9080")]).await?;
    assert_eq!((other.status, other.body.as_str()), (200, "details-v1"));
    let unknown = http::get(BOOKINFO[0].outbound(), "/", &[("host", "example.com")]).await?;
    assert_eq!((unknown.status, unknown.body.starts_with("rutter: no service")), (502, true));
    Ok(())
}

#[tokio::test]
async fn a_killed_control_plane_costs_no_request_and_a_restart_sends_nothing_twice() -> Result<()> {
    let Bookinfo { dir, plane, envoys, _apps } = Bookinfo::start().await?;
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    let page = || http::get(BOOKINFO[0].outbound(), "/", &[("host", "productpage:9080")]);
    plane.kill().await?;
    for _ in 0..20 {
        assert_eq!(page().await?.status, 200);
    }
    let plane = ControlPlane::start_at(dir.path(), (xds, monitoring), &[]).await?;
    eventually("every Envoy is back", || async {
        let status = plane.ctl(&["proxy-status", "-o", "json"]).await.unwrap_or_default();
        status.matches("\"SYNCED\"").count() == SERVED * BOOKINFO.len()
    })
    .await?;
    let resent = pushes(&plane, 0).await?;
    assert!(resent.is_empty(), "nothing had changed, yet: {resent:?}");
    plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
    assert!(page().await?.body.contains("reviews-v3"));
    for envoy in &envoys {
        assert_eq!(envoy.stat("update_rejected").await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn another_replica_with_the_same_config_sends_nothing_again() -> Result<()> {
    let Bookinfo { dir: _dir, plane, envoys: _envoys, _apps } = Bookinfo::start().await?;
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    // Its store is its own, and its config came in other commits.
    let dir = tempfile::tempdir()?;
    let replica = ControlPlane::start(dir.path(), &[]).await?;
    replica.ctl(&["apply", "-f", &example("reviews-v3.yaml")]).await?;
    replica.ctl(&["apply", "-f", &example("bookinfo.yaml")]).await?;
    replica.ctl(&["apply", "-f", &example("reviews-v1.yaml")]).await?;
    replica.kill().await?;
    plane.kill().await?;
    let replica = ControlPlane::start_at(dir.path(), (xds, monitoring), &[]).await?;
    eventually("every Envoy is back", || async {
        let status = replica.ctl(&["proxy-status", "-o", "json"]).await.unwrap_or_default();
        status.matches("\"SYNCED\"").count() == SERVED * BOOKINFO.len()
    })
    .await?;
    let sent = pushes(&replica, 0).await?;
    assert!(sent.is_empty(), "the Envoys had it all, yet: {sent:?}");
    Ok(())
}

#[tokio::test]
async fn a_control_plane_killed_while_a_delta_is_in_flight_loses_nothing() -> Result<()> {
    let Bookinfo { dir, mut plane, envoys, _apps } = Bookinfo::start().await?;
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    for round in 0..5 {
        let file = if round % 2 == 0 { "reviews-v3.yaml" } else { "reviews-v1.yaml" };
        // Killed at once after the answer: the push is under way or not even begun.
        plane.ctl(&["apply", "-f", &example(file)]).await?;
        plane.kill().await?;
        plane = ControlPlane::start_at(dir.path(), (xds, monitoring), &[]).await?;
    }
    eventually("the last weights arrive", || async {
        let answer = http::get(BOOKINFO[0].outbound(), "/", &[("host", "reviews:9080")]).await;
        answer.is_ok_and(|answer| answer.body.starts_with("reviews-v3"))
    })
    .await?;
    assert_eq!(envoys[0].stat("update_rejected").await?, 0);
    Ok(())
}

#[tokio::test]
async fn endpoints_and_services_come_and_go() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    let client = BOOKINFO[0].outbound();
    let ask = async |host: &'static str| http::get(client, "/", &[("host", host)]).await;
    mesh.plane.ctl(&["delete", "endpointslice", "details-v1"]).await?;
    eventually("details has no endpoint", || async { ask("details:9080").await.is_ok_and(|a| a.status == 503) })
        .await?;
    mesh.plane.ctl(&["delete", "service", "details"]).await?;
    eventually("details is unknown", || async { ask("details:9080").await.is_ok_and(|a| a.status == 502) }).await?;
    mesh.plane.ctl(&["apply", "-f", &example("bookinfo.yaml"), "--wait"]).await?;
    eventually("details is back", || async { ask("details:9080").await.is_ok_and(|a| a.body == "details-v1") }).await?;
    assert_eq!(mesh.rejected().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_stock_envoy_takes_all_that_a_captured_sidecar_is_sent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    for name in ["bookinfo", "ports", "scope", "services", "routes-full"] {
        let path = root().join(format!("tests/golden/{name}.yaml"));
        plane.ctl(&["apply", "-f", &path.display().to_string()]).await?;
    }
    let ip: IpAddr = "10.1.1.1".parse()?;
    let workload = Workload { captured: true, ..Workload::new("web-1", "shop", ip) };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    assert_eq!(envoy.stat("update_rejected").await?, 0);
    let dump = http::get(envoy.admin, "/config_dump?resource=dynamic_listeners", &[]).await?;
    let dump: Value = serde_json::from_str(&dump.body)?;
    let taken: BTreeSet<String> = dump["configs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|listener| listener.get("active_state").is_some())
        .filter_map(|listener| Some(listener["name"].as_str()?.to_owned()))
        .collect();
    let sent: Value =
        serde_json::from_str(&plane.ctl(&["proxy-config", "web-1.shop", "listener", "-o", "json"]).await?)?;
    let sent: BTreeSet<String> = sent["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some(one["name"].as_str()?.to_owned()))
        .collect();
    assert_eq!(taken, sent);
    assert!(sent.contains("virtualInbound") && sent.contains("240.1.0.1_7000"));
    Ok(())
}

#[tokio::test]
async fn a_refused_resource_is_shown_with_its_reason_and_the_rest_flows_on() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    // Envoy has no such address here: the listener is well-formed and cannot be bound.
    let workload = Workload::new("lost", "default", "198.51.100.7".parse()?);
    let _envoy = Sidecar::spawn(mesh.dir.path(), &mesh.plane, &workload).await?;
    eventually("the refusal is shown", || async {
        mesh.plane
            .ctl(&["proxy-status"])
            .await
            .is_ok_and(|text| text.contains("lost.default refuses 198.51.100.7_9080"))
    })
    .await?;
    mesh.plane.ctl(&["apply", "-f", &example("reviews-v3.yaml")]).await?;
    eventually("others are served", || async { mesh.page().await.is_ok_and(|page| page.contains("reviews-v3")) })
        .await?;
    let address: SocketAddr = BOOKINFO[0].outbound();
    assert_eq!(http::get(address, "/", &[("host", "details:9080")]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_refusal_names_the_object_and_ends_when_that_is_mended() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    let rule = |file: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: details}}\n\
             spec: {{host: details, trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {file}}}}}}}\n"
        )
    };
    // A file that the proxy does not have.
    mesh.plane.apply(&rule("/nowhere/ca.pem"), &[]).await?;
    let status = async || mesh.plane.ctl(&["proxy-status"]).await.unwrap_or_default();
    let says = "it is made from service default/details, destinationRule default/details";
    let named = eventually("the object is named", || async { status().await.contains(says) }).await;
    assert!(named.is_ok(), "want {says}, got {}", status().await);
    assert!(status().await.contains("refuses outbound|9080||details.default.svc.cluster.local"), "{}", status().await);
    assert!(status().await.lines().count() < 40, "{}", status().await);
    let metric = r#"rutter_config_refused{kind="DestinationRule",namespace="default",name="details"}"#;
    let all = BOOKINFO.len() as u64;
    let refused = || async { mesh.plane.metric(metric).await.is_ok_and(|count| count == all) };
    eventually("every sidecar refuses it", refused).await?;
    // What it had serves on, and so does what comes.
    mesh.plane.ctl(&["apply", "-f", &example("reviews-v3.yaml")]).await?;
    let page = || async { mesh.page().await.is_ok_and(|page| page.contains("[details-v1] [reviews-v3")) };
    eventually("the rest flows on", page).await?;
    // So say the object itself, and a metric.
    let object = async || mesh.plane.ctl(&["get", "destinationrule", "details", "-o", "json"]).await;
    let condition: Value = serde_json::from_str(&object().await?)?;
    let condition = &condition["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Reconciled"), &json!("False")));
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("refused by 6 of 6 sidecars, which keep what they had")
            && message.contains("refuses cluster outbound|9080||details")
    );
    assert!(message.lines().count() < 10, "{message}");
    // What was asked for as it is can be applied again.
    mesh.plane.apply(&object().await?, &[]).await?;
    let authority = Authority::new(mesh.dir.path())?;
    mesh.plane.apply(&rule(&authority.path("ca.pem")), &[]).await?;
    eventually("nothing is refused", || async { !status().await.contains("refuses") }).await?;
    let is_told = || async { object().await.is_ok_and(|text| !text.contains("status")) };
    eventually("nor is it said of the object", is_told).await?;
    let is_counted = || async { mesh.plane.metric(metric).await.is_err() };
    eventually("nor counted", is_counted).await
}

#[tokio::test]
async fn csds_says_what_each_sidecar_has() -> Result<()> {
    let mesh = Bookinfo::start().await?;
    let mut client = ClientStatusDiscoveryServiceClient::new(admin_channel(mesh.plane.admin_socket()).await?);
    let ask = |part: &str| {
        let contains = matcher::string_matcher::MatchPattern::Contains(part.into());
        let node_id = matcher::StringMatcher { match_pattern: Some(contains), ..Default::default() };
        let node_matchers = vec![matcher::NodeMatcher { node_id: Some(node_id), ..Default::default() }];
        ClientStatusRequest { node_matchers, ..Default::default() }
    };
    let all = client.fetch_client_status(ClientStatusRequest::default()).await?.into_inner();
    assert_eq!(all.config.len(), BOOKINFO.len());
    let one = client.fetch_client_status(ask("~productpage-v1.default~")).await?.into_inner().config;
    assert_eq!(one.len(), 1);
    let has = |name: &str| one[0].generic_xds_configs.iter().find(|config| config.name == name);
    let cluster = has("outbound|9080||reviews.default.svc.cluster.local").context("the cluster of reviews")?;
    assert_eq!(cluster.config_status(), ConfigStatus::Synced);
    assert!(cluster.xds_config.is_some() && cluster.version_info.len() == 16);
    // By stream: an answer for each request.
    let requests = vec![ask("~details-v1.default~"), ask("~nobody~")];
    let mut answers = client.stream_client_status(tokio_stream::iter(requests)).await?.into_inner();
    let counts = [answers.message().await?, answers.message().await?].map(|one| one.map(|one| one.config.len()));
    assert_eq!(counts, [Some(1), Some(0)]);
    Ok(())
}

#[tokio::test]
async fn load_reports_are_taken_in() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let (port, xds) = (free_port()?, plane.xds.to_string());
    let admin = format!("127.0.0.1:{port}");
    let args = ["bootstrap", "--proxy", "envoy", "--pod", "loaded", "--ip", "127.0.34.1", "--interception", "none"];
    let bootstrap = plane.ctl(&[&args[..], &["--xds", &xds, "--admin", &admin]].concat()).await?;
    let mut bootstrap: Value = serde_json::from_str(&bootstrap)?;
    bootstrap["cluster_manager"] = json!({"load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "rutter"}}]}});
    let envoy = Sidecar::spawn_with(dir.path(), ("loaded", Proxy::ENVOY), &bootstrap.to_string(), port)?;
    envoy.wait_ready().await?;
    // The first after ten seconds, as we tell it.
    let reported = || async { plane.metric("rutter_xds_load_reports_total").await.is_ok_and(|count| count > 0) };
    eventually("a report comes", reported).await
}

#[tokio::test]
async fn our_own_proxy_tells_the_same_story() -> Result<()> {
    let Bookinfo { dir, plane, envoys: _proxies, _apps } = Bookinfo::start_with(Proxy::Rutter).await?;
    let client = BOOKINFO[0].outbound();
    let ask = async |host: &'static str| http::get(client, "/", &[("host", host)]).await;
    assert!(ask("productpage:9080").await?.body.contains("[details-v1] [reviews-v1]"));
    let jason = http::get(client, "/", &[("host", "reviews:9080"), ("end-user", "jason")]).await?;
    assert_eq!(jason.body, "reviews-v2 [ratings-v1]");
    plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
    for _ in 0..20 {
        assert_eq!(ask("reviews:9080").await?.body, "reviews-v3 [ratings-v1]");
    }
    assert_eq!(ask("example.com").await?.status, 502);

    // It serves on while the control plane is away, and reconnects at no cost.
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    plane.kill().await?;
    assert_eq!(ask("reviews:9080").await?.status, 200);
    let plane = ControlPlane::start_at(dir.path(), (xds, monitoring), &[]).await?;
    eventually("every proxy is back", || async {
        let status = plane.ctl(&["proxy-status", "-o", "json"]).await.unwrap_or_default();
        status.matches("\"SYNCED\"").count() == SERVED * BOOKINFO.len()
    })
    .await?;
    assert!(pushes(&plane, 0).await?.is_empty());

    // A listener that is no longer needed closes; one that is, opens; the others keep their sockets.
    let port = std::net::SocketAddr::new(client.ip(), 9090);
    assert!(http::get(port, "/", &[]).await.is_err());
    let other = "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {ports: [{name: http, port: 9090}]}";
    plane.apply(other, &["--wait"]).await?;
    assert_eq!(http::get(port, "/", &[("host", "other:9090")]).await?.status, 503);
    plane.ctl(&["delete", "service", "other"]).await?;
    eventually("the listener closes", || async { http::get(port, "/", &[]).await.is_err() }).await?;
    assert_eq!(ask("reviews:9080").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn an_envoy_below_1_37_gets_whole_tables_and_so_does_any_by_the_setting() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut types = Vec::new();
    for (number, (proxy, more)) in
        [(Proxy::OLD_ENVOY, &[][..]), (Proxy::ENVOY, &[]), (Proxy::ENVOY, &["--whole-route-tables"])]
            .into_iter()
            .enumerate()
    {
        let dir = dir.path().join(number.to_string());
        std::fs::create_dir(&dir)?;
        let plane = ControlPlane::start(&dir, more).await?;
        plane.ctl(&["apply", "-f", &example("bookinfo.yaml"), "-f", &example("reviews-v1.yaml")]).await?;
        let ip = IpAddr::from([127, 0, 33, u8::try_from(number)? + 1]);
        let workload = Workload { proxy, ..Workload::new("client", "default", ip) };
        let envoy = Sidecar::start(&dir, &plane, &workload).await?;
        plane.ctl(&["apply", "-f", &example("reviews-v3.yaml"), "--wait"]).await?;
        let sent = pushes(&plane, 2).await?;
        types.extend(sent.iter().filter_map(|push| push["type"].as_str().map(str::to_owned)));
        assert_eq!(envoy.stat("update_rejected").await?, 0);
    }
    assert_eq!(types, ["route", "virtualhost", "route"]);
    Ok(())
}

/// Returns the answer of an admin page at a Unix socket.
async fn admin_at(socket: &Path) -> Result<String> {
    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn sidecars_of_one_machine_have_admin_pages_that_do_not_collide_and_who_leaves_is_listed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    plane.ctl(&["apply", "-f", &example("bookinfo.yaml")]).await?;
    let xds = plane.xds.to_string();
    let socket = dir.path().join("admin.sock");
    let socket_text = socket.display().to_string();
    let spawn = async |pod: &str, ip: &str, more: &[&str]| {
        let args = ["bootstrap", "--proxy", "envoy", "--pod", pod, "--ip", ip, "--interception", "none", "--xds", &xds];
        let bootstrap = plane.ctl(&[&args[..], more].concat()).await?;
        Sidecar::spawn_with(dir.path(), (pod, Proxy::ENVOY), &bootstrap, 0)
    };
    let first = spawn("first", "127.0.36.1", &[]).await?;
    let _second = spawn("second", "127.0.36.2", &[]).await?;
    let _third = spawn("third", "127.0.36.3", &["--admin", &socket_text]).await?;
    for ip in ["127.0.36.1", "127.0.36.2"] {
        let is_live = || async {
            let page = SocketAddr::new(ip.parse().unwrap(), 15000);
            http::get(page, "/ready", &[]).await.is_ok_and(|answer| answer.body == "LIVE\n")
        };
        eventually("the admin page answers", is_live).await?;
    }
    let is_live = || async { admin_at(&socket).await.is_ok_and(|answer| answer.contains("\nLIVE\n")) };
    eventually("the admin page at the socket answers", is_live).await?;
    // The pages of others must not be read.
    assert_eq!(std::fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    // What is asked for in both orders is the same.
    let either = plane.ctl(&["proxy-config", "cluster", "first"]).await?;
    assert_eq!(either, plane.ctl(&["pc", "first.default", "c"]).await?);
    assert!(either.lines().next().is_some_and(|head| head.starts_with(" SERVICE FQDN")), "{either}");
    drop(first);
    let has_left = || async {
        let status = plane.ctl(&["proxy-status"]).await.unwrap_or_default();
        status.lines().skip_while(|line| !line.starts_with(" LEFT")).any(|line| line.starts_with(" first.default"))
    };
    eventually("who left is listed", has_left).await?;
    Ok(())
}
