//! The demo: bookinfo behind real Envoy sidecars, and one change of weights, shown step by step.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rutter_server::shutdown_signal;
use rutter_tests::apps::{App, BOOKINFO, start};
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload};
use rutter_tests::tls::Authority;
use rutter_tests::{http, root};
use tokio::task::JoinSet;

/// The address of the gateway, and the host of its certificate.
const EDGE: &str = "127.0.10.1";
const EDGE_HOST: &str = "bookinfo.example.com";
/// The number of requests from which the shares are counted.
const REQUESTS: usize = 200;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let run = async {
        tokio::select! {
            result = story() => result,
            () = shutdown_signal() => bail!("interrupted; everything is stopped"),
        }
    };
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn step(number: u32, text: &str) {
    println!("\n\x1b[1m{number}. {text}\x1b[0m");
}

async fn story() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let examples = root().join("examples/bookinfo");
    let file = |name: &str| examples.join(name).display().to_string();

    step(1, "The control plane starts, with its store (sled) in a temporary folder");
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    println!("   xDS at {}, admin at {}", plane.xds, plane.admin_socket().display());

    step(2, "bookinfo is applied: 6 workloads of 4 services, reviews all at v1");
    print!("{}", plane.ctl(&["apply", "-f", &file("bookinfo.yaml"), "-f", &file("reviews-v1.yaml")]).await?);

    let (proxy, name) = match std::env::var("PROXY").as_deref() {
        Ok("rutter") => (Proxy::Rutter, "our own proxy"),
        Ok("envoy" | "") | Err(_) => (Proxy::ENVOY, "a real Envoy"),
        Ok(other) => bail!("PROXY={other}: want envoy or rutter"),
    };
    step(3, &format!("6 applications start, each with {name} as its sidecar"));
    let mut tasks = JoinSet::new();
    for app in BOOKINFO {
        start(app, &mut tasks).await?;
    }
    let _sidecars = sidecars(dir.path(), &plane, proxy).await?;
    print!("{}", plane.ctl(&["proxy-status"]).await?);

    step(4, "Traffic: productpage asks details and reviews, all through sidecars");
    let before = split("reviews-v1 only").await?;
    expect(&before, "reviews-v1", 100..=100)?;

    step(5, "One `rutterctl apply` moves half of the requests to v3");
    println!("   Sent to each sidecar: one virtual host, and nothing else.");
    print!("{}", plane.ctl(&["apply", "-f", &file("reviews-v1-v3.yaml"), "--wait"]).await?);
    let half = split("half and half").await?;
    expect(&half, "reviews-v3", 30..=70)?;

    step(6, "Another moves the rest");
    print!("{}", plane.ctl(&["apply", "-f", &file("reviews-v3.yaml"), "--wait"]).await?);
    let after = split("reviews-v3 only").await?;
    expect(&after, "reviews-v3", 100..=100)?;

    step(7, "What productpage's sidecar holds now, and has acknowledged");
    print!("{}", plane.ctl(&["proxy-config", "productpage-v1.default", "route"]).await?);

    step(8, "A gateway: another Envoy takes requests from outside, in the clear and over TLS");
    let gateway = gateway(dir.path(), &plane, &file("gateway.yaml")).await?;
    ask_gateway(&gateway).await?;

    println!("\nDone: the weights that were applied are the traffic that was seen.");
    if std::env::var("STAY").is_ok_and(|stay| stay == "1") {
        println!("Staying up until Ctrl-C. Try:");
        println!("  target/debug/rutterctl --server {} proxy-status", plane.admin_socket().display());
        println!("  curl -H 'Host: productpage:9080' http://{}/", BOOKINFO[0].outbound());
        shutdown_signal().await;
    }
    Ok(())
}

async fn sidecars(dir: &Path, plane: &ControlPlane, proxy: Proxy) -> Result<Vec<Sidecar>> {
    let mut envoys = Vec::new();
    for app in BOOKINFO {
        let workload = Workload { proxy, ..Workload::new(&app.pod(), "default", app.ip.into()) };
        envoys.push(Sidecar::spawn(dir, plane, &workload).await?);
        println!("   {} at {}", app.pod(), workload.ip);
    }
    for envoy in &envoys {
        envoy.wait_ready().await?;
    }
    Ok(envoys)
}

/// A gateway, and the authority that vouches for it.
struct Edge {
    _envoy: Sidecar,
    authority: Authority,
}

/// Starts a gateway whose Gateway objects are those of the example, and one with a certificate.
async fn gateway(dir: &Path, plane: &ControlPlane, example: &str) -> Result<Edge> {
    let authority = Authority::new(dir)?;
    authority.issue("edge", &[EDGE_HOST])?;
    let labels = vec!["istio=ingressgateway".to_owned()];
    let ip = EDGE.parse()?;
    let workload = Workload { labels, is_gateway: true, ..Workload::new("edge-1", "istio-system", ip) };
    let envoy = Sidecar::start(dir, plane, &workload).await?;
    let (certificate, key) = (authority.path("edge.pem"), authority.path("edge.key"));
    let encrypted = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: bookinfo-tls}}\n\
         spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: 8443, name: https, protocol: HTTPS}}, bind: {EDGE}, \
         hosts: [{EDGE_HOST}], tls: {{mode: SIMPLE, serverCertificate: {certificate}, privateKey: {key}}}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: bookinfo-tls}}\n\
         spec: {{hosts: [{EDGE_HOST}], gateways: [bookinfo-tls], \
         http: [{{route: [{{destination: {{host: productpage, port: {{number: 9080}}}}}}]}}]}}\n"
    );
    plane.ctl(&["apply", "-f", example, "--wait"]).await?;
    plane.apply(&encrypted, &["--wait"]).await?;
    print!("{}", plane.ctl(&["get", "gateways"]).await?);
    Ok(Edge { _envoy: envoy, authority })
}

/// Asks the gateway for a page in both ways.
async fn ask_gateway(edge: &Edge) -> Result<()> {
    let plain = http::get(format!("{EDGE}:8080").parse()?, "/productpage", &[("host", EDGE_HOST)]).await?;
    println!("   http://{EDGE}:8080/productpage answers {}: {}", plain.status, plain.body);
    let stream = edge.authority.connect(format!("{EDGE}:8443").parse()?, EDGE_HOST, None).await?;
    let encrypted = http::exchange(stream, ("GET", "/"), EDGE_HOST, &[]).await?;
    println!("   https://{EDGE_HOST}:8443/ answers {}: {}", encrypted.status, encrypted.body);
    if plain.status != 200 || encrypted.status != 200 {
        bail!("want 200 from the gateway in both ways");
    }
    Ok(())
}

/// Returns the share of each version of reviews that answered, in percent.
async fn split(wanted: &str) -> Result<BTreeMap<String, usize>> {
    let page: App = BOOKINFO[0];
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = http::get(page.outbound(), "/", &[("host", "productpage:9080")]).await?;
        let version = answer.body.split(['[', ']', ' ']).find(|word| word.starts_with("reviews"));
        *counts.entry(version.with_context(|| answer.body.clone())?.to_owned()).or_default() += 1;
    }
    println!("   {REQUESTS} requests, {wanted}:");
    let shares: BTreeMap<String, usize> =
        counts.into_iter().map(|(name, count)| (name, count * 100 / REQUESTS)).collect();
    for (name, share) in &shares {
        println!("   {name:12} {share:3} %  {}", "#".repeat(share / 2));
    }
    Ok(shares)
}

fn expect(shares: &BTreeMap<String, usize>, name: &str, range: std::ops::RangeInclusive<usize>) -> Result<()> {
    let got = shares.get(name).copied().unwrap_or_default();
    if !range.contains(&got) {
        bail!("want {range:?} % from {name}, got {got}");
    }
    Ok(())
}
