//! Real Envoys through random changes, cut connections and a killed control plane. The judge is what each
//! Envoy itself says that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use rutter_tests::cutter::Cutter;
use rutter_tests::dice::Dice;
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload, eventually};
use rutter_tests::tls::Authority;
use serde_json::{Value, json};

/// How long it goes on, in seconds; each Envoy has to agree at the end. `CHAOS_SECONDS` in the environment: another
/// time, 600 for instance.
const SECONDS: u64 = 60;
/// The same run every time. `CHAOS_SEED` in the environment: another run.
const SEED: u64 = 0x5EED_0004;

fn setting(name: &str, usual: u64) -> Result<u64> {
    let Ok(text) = std::env::var(name) else { return Ok(usual) };
    text.parse().with_context(|| format!("{name}: want a number, got {text:?}"))
}

const NAMESPACES: [&str; 3] = ["open", "closed", "other"];

fn service(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    let port = [80, 80, 81, 3306][dice.below(4) as usize];
    let word = if port == 3306 { "tcp" } else { "http" };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{name}, namespace: {ns}}}\nspec: {{clusterIP: 10.9.{name}.{port}, ports: [{{name: {word}, port: {port}}}]}}\n",
        port = port % 250
    )
    .replace(&format!("port: {}}}", port % 250), &format!("port: {port}}}"))
}

fn slice(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    let ips: Vec<String> = (0..dice.below(4))
        .map(|_| {
            let (ip, zone, pod) = (dice.below(9) + 1, dice.below(2), dice.below(4));
            format!("{{addresses: [10.7.0.{ip}], zone: z{zone}, targetRef: {{kind: Pod, name: p{pod}}}}}")
        })
        .collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{name}, namespace: {ns}, labels: {{kubernetes.io/service-name: s{name}, version: v{}}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: 8080}}, {{name: tcp, port: 3306}}]\n",
        dice.below(2),
        ips.join(", ")
    )
}

/// Pods, some of which are behind slices, and which ServiceEntries select.
fn pods(dice: &mut Dice) -> String {
    let (ns, name, ip) = (NAMESPACES[dice.below(3) as usize], dice.below(4), dice.below(9) + 1);
    let ready = ["True", "False"][dice.below(2) as usize];
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{name}, namespace: {ns}, labels: {{app: p{name}, version: v{}}}}}\nstatus: {{podIP: 10.7.0.{ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}\n",
        dice.below(2)
    )
}

fn entries(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    let endpoints =
        ["workloadSelector: {labels: {app: p1}}", "endpoints: [{address: 10.7.1.1}, {address: 'unix:///nowhere'}]"]
            [dice.below(2) as usize];
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: n{name}, namespace: {ns}}}\nspec: {{hosts: [n{name}.test], resolution: STATIC, ports: [{{number: 80, name: http}}, {{number: 3306, name: tcp, protocol: TCP}}], {endpoints}}}\n"
    )
}

/// Hosts that are resolved as clients name them.
fn resolved(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(2));
    let port =
        ["{number: 80, name: http, protocol: HTTP}", "{number: 443, name: tls, protocol: TLS, targetPort: 8443}"]
            [dice.below(2) as usize];
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: dyn{name}, namespace: {ns}}}\nspec: {{hosts: ['*.n{name}.localhost'], resolution: DYNAMIC_DNS, ports: [{port}]}}\n"
    )
}

/// Connections of an entry, some of which go through another service.
fn tunnels(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: t{name}, namespace: {ns}}}\nspec: {{host: n{name}.test, trafficPolicy: {{tunnel: {{targetHost: end.test, targetPort: {}}}}}}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: t{name}, namespace: {ns}}}\nspec: {{hosts: [n{name}.test], tcp: [{{route: [{{destination: {{host: n{name}.test, port: {{number: 3306}}}}}}]}}]}}\n",
        dice.below(9) + 1
    )
}

fn routes(dice: &mut Dice) -> String {
    let (ns, name, to) = (NAMESPACES[dice.below(3) as usize], dice.below(4), dice.below(4));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r{name}, namespace: {ns}}}\nspec: {{hosts: [s{name}], http: [{{timeout: {}s, route: [{{destination: {{host: s{to}}}}}]}}]}}\n",
        dice.below(90) + 1
    )
}

fn subsets(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    let subset = if dice.below(2) == 0 { "[]" } else { "[{name: v1, labels: {version: v1}}]" };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{name}, namespace: {ns}}}\nspec: {{host: s{name}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {}}}}}}}, subsets: {subset}}}\n",
        dice.below(50) + 1
    )
}

/// Rules by which the place of clients matters, or that choose clients.
fn places(dice: &mut Dice) -> String {
    let (ns, name) = (NAMESPACES[dice.below(3) as usize], dice.below(4));
    let said = [
        "trafficPolicy: {outlierDetection: {}}",
        "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: eu/z0, to: {'*': 100}}]}}}",
        "trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [app, version]}}}",
        "workloadSelector: {matchLabels: {half: even}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}",
    ];
    let said = said[dice.below(4) as usize];
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{name}, namespace: {ns}}}\nspec: {{host: s{name}, {said}}}\n"
    )
}

/// What both gateways listen for, each at its own address, and the Secrets that they need.
fn gateways(dice: &mut Dice) -> String {
    let (name, host) = (dice.below(3), dice.below(4));
    let gateway = dice.below(2);
    let server = [
        "port: {number: 18080, name: http, protocol: HTTP}, hosts: ['*']".to_owned(),
        "port: {number: 18443, name: https, protocol: HTTPS}, hosts: [a.test], tls: {mode: SIMPLE, credentialName: c0}"
            .to_owned(),
        "port: {number: 18443, name: https, protocol: HTTPS}, hosts: [b.test], tls: {mode: MUTUAL, credentialName: c1}"
            .to_owned(),
        format!("port: {{number: 1844{host}, name: tls, protocol: TLS}}, hosts: ['*'], tls: {{mode: PASSTHROUGH}}"),
        format!("port: {{number: 1844{host}, name: auto, protocol: TLS}}, hosts: ['open/*'], tls: {{mode: AUTO_PASSTHROUGH}}"),
    ][dice.below(5) as usize]
        .clone();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g{name}, namespace: open}}\nspec: {{selector: {{edge: 'g{gateway}'}}, servers: [{{bind: 127.0.31.20{gateway}, {server}}}]}}\n"
    )
}

fn routes_of_gateways(dice: &mut Dice) -> String {
    let (name, gateway, to) = (dice.below(4), dice.below(3), dice.below(4));
    let tls = if dice.below(3) == 0 {
        format!(
            ", tls: [{{match: [{{sniHosts: [h{name}.test]}}], route: [{{destination: {{host: s{to}, port: {{number: 80}}}}}}]}}]"
        )
    } else {
        String::new()
    };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: b{name}, namespace: open}}\nspec: {{hosts: [h{name}.test, a.test], gateways: [g{gateway}], http: [{{timeout: {}s, route: [{{destination: {{host: s{to}, port: {{number: 80}}}}}}]}}]{tls}}}\n",
        dice.below(90) + 1
    )
}

/// Listeners of the sidecars of one namespace, at an address that nobody binds.
fn listeners(dice: &mut Dice) -> String {
    let place = ["", "port: {number: 80, protocol: HTTP}, ", "port: {number: 81, protocol: TCP}, bind: 10.3.3.3, "]
        [dice.below(3) as usize];
    let proxy = ["", ", egressProxy: {host: s0.open.svc.cluster.local, port: {number: 80}}"][dice.below(2) as usize];
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s0, namespace: other}}\nspec: {{outboundTrafficPolicy: {{mode: ALLOW_ANY{proxy}}}, egress: [{{{place}hosts: ['./*', 'open/*']}}], inboundConnectionPool: {{http: {{http2MaxRequests: {}}}}}}}\n",
        dice.below(9) + 1
    )
}

fn mesh_config(dice: &mut Dice) -> String {
    let said = [
        "{connectTimeout: 3s}",
        "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
        "{localityLbSetting: {enabled: false}}",
        "{defaultVirtualServiceExportTo: [.], defaultServiceExportTo: [., open], protocolDetectionTimeout: 5s}",
        "{ingressControllerMode: DEFAULT, ingressClass: edge}",
    ][dice.below(5) as usize];
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{said}'}}\n"
    )
}

async fn change(plane: &ControlPlane, dice: &mut Dice, secrets: &[String]) -> Result<()> {
    let kinds: [fn(&mut Dice) -> String; 17] = [
        pods,
        pods,
        entries,
        resolved,
        tunnels,
        service,
        service,
        slice,
        slice,
        routes,
        routes,
        subsets,
        places,
        gateways,
        routes_of_gateways,
        listeners,
        mesh_config,
    ];
    let mut texts: Vec<String> = (0..=dice.below(3)).map(|_| kinds[dice.below(17) as usize](dice)).collect();
    if dice.below(4) == 0 {
        texts.push(secrets[dice.below(secrets.len() as u64) as usize].clone());
    }
    // The kind, the name and the namespace: each object once.
    let name = |text: &String| text.split([',', '}']).take(2).collect::<String>();
    let texts: BTreeMap<String, String> = texts.into_iter().map(|text| (name(&text), text)).collect();
    let text: Vec<String> = texts.into_values().collect();
    plane.apply(&text.join("---\n"), &[]).await?;
    if dice.below(4) == 0 {
        let kinds = [
            ("service", "s"),
            ("endpointslice", "e"),
            ("virtualservice", "r"),
            ("virtualservice", "b"),
            ("destinationrule", "d"),
            ("gateway", "g"),
            ("secret", "c"),
            ("sidecar", "s"),
            ("pod", "p"),
            ("serviceentry", "n"),
            ("destinationrule", "t"),
        ];
        let (kind, prefix) = kinds[dice.below(kinds.len() as u64) as usize];
        let (ns, name) = (NAMESPACES[dice.below(3) as usize], format!("{prefix}{}", dice.below(4)));
        // There may be none of that name.
        let _ = plane.ctl(&["-n", ns, "delete", kind, &name]).await;
    }
    Ok(())
}

/// Two Secrets, each with one certificate and with another.
fn secrets(dir: &Path) -> Result<Vec<String>> {
    let authority = Authority::new(dir)?;
    let mut secrets = Vec::new();
    for certificate in ["one", "another"] {
        authority.issue(certificate, &["a.test", "b.test"])?;
        let indented = |file: &str| anyhow::Ok(authority.text(file)?.replace('\n', "\n    "));
        let (chain, key) = (indented(&format!("{certificate}.pem"))?, indented(&format!("{certificate}.key"))?);
        let ca = indented("ca.pem")?;
        secrets.extend(["c0", "c1"].map(|name| {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: open}}\nstringData:\n  tls.crt: |\n    {chain}\n  tls.key: |\n    {key}\n  ca.crt: |\n    {ca}\n"
            )
        }));
    }
    Ok(secrets)
}

/// What an Envoy has, by type and name: versions, and for virtual hosts and endpoints what is in them.
type World = BTreeSet<String>;

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn endpoints(assignment: &Value) -> String {
    let hosts = items(&assignment["endpoints"]).flat_map(|locality| items(&locality["lb_endpoints"]));
    let address = |host: &Value| {
        let address = &host["endpoint"]["address"]["socket_address"];
        format!("{}:{}", address["address"].as_str().unwrap_or_default(), address["port_value"])
    };
    let all: BTreeSet<String> = hosts.map(address).collect();
    format!("endpoint {} {all:?}", assignment["cluster_name"].as_str().unwrap_or_default())
}

fn virtual_hosts(table: &Value) -> Vec<String> {
    let one = |host: &Value| {
        let routes: Vec<String> = items(&host["routes"])
            .map(|route| format!("{} {}", route["route"]["timeout"], route["route"]["cluster"]))
            .collect();
        let mut domains: Vec<&str> = items(&host["domains"]).filter_map(Value::as_str).collect();
        domains.sort_unstable();
        format!("host {} {} {domains:?} {routes:?}", table["name"], host["name"])
    };
    items(&table["virtual_hosts"]).map(one).collect()
}

/// A listener or cluster: Envoy's word on a listener's version is that of an earlier one where it goes back
/// to what it was, and on a cluster's, where it asks for the state of the world, that of the whole state.
fn content(kind: &str, resource: &Value) -> String {
    let mut resource = resource.clone();
    if let Some(fields) = resource.as_object_mut() {
        fields.remove("@type");
    }
    format!("{kind} {resource}")
}

async fn held(envoy: &Sidecar) -> Result<World> {
    let dump: Value = serde_json::from_str(&http::get(envoy.admin, "/config_dump?include_eds", &[]).await?.body)?;
    let mut world = World::new();
    // Envoy lists the endpoints of clusters that it resolves itself among those that it was sent.
    let clusters = items(&dump["configs"]).flat_map(|section| items(&section["dynamic_active_clusters"]));
    let resolved = clusters.map(|cluster| &cluster["cluster"]).filter(|cluster| cluster["cluster_type"].is_object());
    let resolved: BTreeSet<&str> = resolved.filter_map(|cluster| cluster["name"].as_str()).collect();
    for section in items(&dump["configs"]) {
        for cluster in items(&section["dynamic_active_clusters"]) {
            world.insert(content("cluster", &cluster["cluster"]));
        }
        for listener in items(&section["dynamic_listeners"]) {
            // One that drains has none.
            if listener["active_state"].is_object() {
                world.insert(content("listener", &listener["active_state"]["listener"]));
            }
        }
        for table in items(&section["dynamic_route_configs"]) {
            world.extend(virtual_hosts(&table["route_config"]));
        }
        for assignment in items(&section["dynamic_endpoint_configs"]) {
            let name = assignment["endpoint_config"]["cluster_name"].as_str().unwrap_or_default();
            if resolved.contains(name) {
                continue;
            }
            let text = endpoints(&assignment["endpoint_config"]);
            // Those of static clusters are listed too.
            world.extend(Some(text).filter(|text| text.contains("outbound|")));
        }
    }
    Ok(world)
}

async fn wanted(plane: &ControlPlane, pod: &str) -> Result<World> {
    let config: Value = serde_json::from_str(&plane.ctl(&["proxy-config", pod, "-o", "json"]).await?)?;
    let of = |word: &str| -> Vec<&Value> {
        items(&config["resources"])
            .filter(|one| one["type"].as_str().is_some_and(|kind| kind.ends_with(word)))
            .collect()
    };
    let mut world = World::new();
    world.extend(of("Cluster").into_iter().map(|one| content("cluster", &one["resource"])));
    world.extend(of("Listener").into_iter().map(|one| content("listener", &one["resource"])));
    world.extend(of("ClusterLoadAssignment").into_iter().map(|one| endpoints(&one["resource"])));
    for table in of("RouteConfiguration") {
        let mut table = table["resource"].clone();
        let start = format!("{}/", table["name"].as_str().unwrap_or_default());
        let hosts = of("VirtualHost")
            .into_iter()
            .filter(|one| one["name"].as_str().is_some_and(|name| name.starts_with(&start)));
        let hosts: Vec<Value> = hosts.map(|one| one["resource"].clone()).collect();
        // The table of a gateway has no fallback.
        let table_hosts = table.as_object_mut().context("a table")?.entry("virtual_hosts").or_insert_with(|| json!([]));
        table_hosts.as_array_mut().context("virtual hosts")?.extend(hosts);
        world.extend(virtual_hosts(&table));
    }
    Ok(world)
}

/// What an Envoy should have, and what it has. The table of a listener that drains is kept for ten minutes,
/// and nobody asks for it.
async fn both(plane: &ControlPlane, pod: &str, envoy: &Sidecar) -> Result<(World, World)> {
    let (wanted, mut held) = (wanted(plane, pod).await?, held(envoy).await?);
    let table = |text: &str| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let tables: BTreeSet<String> =
        wanted.iter().filter(|text| text.starts_with("host ")).map(|text| table(text)).collect();
    held.retain(|text| !text.starts_with("host ") || tables.contains(&table(text)));
    Ok((wanted, held))
}

/// How often a control plane has compared itself with a full recomputation, and what was different.
async fn verified(plane: &ControlPlane) -> Result<(u64, u64)> {
    let (checks, differences) = ("rutter_verify_checks_total", "rutter_verify_differences_total");
    Ok((plane.metric(checks).await?, plane.metric(differences).await?))
}

#[tokio::test]
async fn envoys_agree_after_random_changes_cuts_and_kills() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let more = ["--verify", "--debounce-ms", "1"];
    let mut plane = ControlPlane::start(dir.path(), &more).await?;
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    let cutter = Cutter::start(xds).await?;
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: closed}\nspec: {egress: [{hosts: ['./*', 'other/s1.other.svc.cluster.local']}]}\n";
    plane.apply(sidecar, &[]).await?;
    // The Envoys connect through the cutter.
    plane.xds = cutter.addr;
    let mut envoys = Vec::new();
    let places = [("open", true), ("closed", true), ("other", true), ("open", false), ("closed", false)];
    let all = Proxy::envoys().flat_map(|proxy| places.map(|(namespace, captured)| (namespace, captured, proxy)));
    for (number, (namespace, captured, proxy)) in all.enumerate() {
        let ip = IpAddr::from([127, 0, 31, number as u8 + 1]);
        let half = if number % 2 == 0 { "even" } else { "odd" };
        let labels = vec![format!("half={half}"), format!("istio-locality=eu.z{}", number % 2)];
        let workload = Workload { captured, proxy, labels, ..Workload::new(&format!("chaos-{number}"), namespace, ip) };
        envoys.push((format!("chaos-{number}.{namespace}"), Sidecar::spawn(dir.path(), &plane, &workload).await?));
    }
    for (number, proxy) in Proxy::envoys().step_by(4).take(2).enumerate() {
        let (pod, ip) = (format!("edge-{number}"), IpAddr::from([127, 0, 31, 200 + number as u8]));
        let labels = vec![format!("edge=g{number}")];
        let workload = Workload { proxy, labels, is_gateway: true, ..Workload::new(&pod, "open", ip) };
        envoys.push((format!("{pod}.open"), Sidecar::spawn(dir.path(), &plane, &workload).await?));
    }
    let secrets = secrets(dir.path())?;
    // Each gateway always has something.
    let always = [0, 1].map(|number| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: always-{number}, namespace: open}}\nspec: {{selector: {{edge: 'g{number}'}}, servers: [{{bind: 127.0.31.20{number}, port: {{number: 18099, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n"
        )
    });
    plane.apply(&always.join("---\n"), &[]).await?;
    for (_, envoy) in &envoys {
        envoy.wait_ready().await?;
    }
    assert_eq!(envoys.len(), 32);
    let (seed, seconds) = (setting("CHAOS_SEED", SEED)?, setting("CHAOS_SECONDS", SECONDS)?);
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
    let mut dice = Dice::new(seed);
    let (mut rounds, mut kills, mut all_checks, mut all_differences) = (0, 0, 0, 0);
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while tokio::time::Instant::now() < end {
        rounds += 1;
        change(&plane, &mut dice, &secrets).await?;
        match dice.below(10) {
            // At once, so that some are cut while they warm what they were just sent.
            0..4 => cutter.cut(),
            4 => {
                // What it has verified would be lost with it.
                let (checks, differences) = verified(&plane).await?;
                (all_checks, all_differences) = (all_checks + checks, all_differences + differences);
                plane.kill().await?;
                plane = ControlPlane::start_at(dir.path(), (xds, monitoring), &more).await?;
                plane.xds = cutter.addr;
                kills += 1;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(dice.below(40))).await,
        }
    }
    for (pod, envoy) in &envoys {
        let agreed = eventually("the Envoy has what it should", || async {
            both(&plane, pod, envoy).await.is_ok_and(|(wanted, held)| held == wanted && !wanted.is_empty())
        })
        .await;
        if agreed.is_err() {
            let (wanted, held) = both(&plane, pod, envoy).await?;
            let missing: Vec<_> = wanted.difference(&held).collect();
            let extra: Vec<_> = held.difference(&wanted).collect();
            let pushes = plane.ctl(&["proxy-status"]).await?;
            panic!("{pod}: missing {missing:#?}, extra {extra:#?}, {pushes}");
        }
        assert_eq!(envoy.stat("warming_clusters").await?, 0);
        assert_eq!(envoy.stat("update_rejected").await?, 0);
    }
    let connections = cutter.connections();
    println!("{rounds} rounds, {connections} connections, {kills} kills");
    assert!(connections as usize > envoys.len() * 5 && kills > 0, "{connections} connections, {kills} kills");
    let (checks, differences) = verified(&plane).await?;
    assert_eq!(all_differences + differences, 0, "{}", plane.log());
    assert!(all_checks + checks > rounds / 10, "{} checks", all_checks + checks);
    Ok(())
}
