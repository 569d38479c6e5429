//! The examples: Istio's samples and tasks, each applied as it stands in `examples/`, and what its documentation says will
//! happen seen with real Envoys: the sidecar of a client, a gateway for what comes in, and one for what goes out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use rutter_tests::bytes_apps::{
    exchange_bytes, exchange_on_websocket, start_connect_proxy, start_echo, start_websocket,
};
use rutter_tests::echo::{self, Asked};
use rutter_tests::expect::{expect_word, send};
use rutter_tests::http::exchange;
use rutter_tests::process::{ControlPlane, Sidecar, Workload, eventually};
use rutter_tests::root;
use rutter_tests::tls::Authority;
use tokio::task::JoinSet;

/// The sidecar of the client.
const CLIENT: [u8; 4] = [127, 0, 50, 1];
/// The gateway for what comes in.
const INGRESS: [u8; 4] = [127, 0, 50, 8];
/// The gateway for what goes out.
const EGRESS: [u8; 4] = [127, 0, 50, 9];

/// The applications behind the examples: their names and addresses.
const APPS: &[(&str, [u8; 4], u16)] = &[
    ("productpage-v1", [127, 0, 11, 1], 9081),
    ("details-v1", [127, 0, 12, 1], 9081),
    ("reviews-v1", [127, 0, 13, 1], 9081),
    ("reviews-v2", [127, 0, 13, 2], 9081),
    ("reviews-v3", [127, 0, 13, 3], 9081),
    ("ratings-v1", [127, 0, 14, 1], 9081),
    ("httpbin-v1", [127, 0, 51, 1], 8080),
    ("httpbin-v2", [127, 0, 51, 2], 8080),
    ("helloworld-v1", [127, 0, 52, 1], 5000),
    ("helloworld-v2", [127, 0, 52, 2], 5000),
    ("outside", [127, 0, 59, 1], 8080),
];

/// The names of the servers that decrypt connections themselves.
const OUTSIDE: [&str; 5] =
    ["nginx.example.com", "edition.cnn.com", "www.google.com", "www.googleapis.com", "*.wikipedia.org"];

/// Everything that the examples are tried with.
struct Stage {
    dir: tempfile::TempDir,
    plane: ControlPlane,
    authority: Authority,
    asked: BTreeMap<&'static str, Asked>,
    envoys: [Sidecar; 3],
    _apps: JoinSet<()>,
}

impl Stage {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        let authority = Authority::new(dir.path())?;
        authority.issue("outside", &OUTSIDE)?;
        let mut apps = JoinSet::new();
        let mut asked = BTreeMap::new();
        for (name, ip, port) in APPS {
            asked.insert(*name, echo::start(name, SocketAddr::from((*ip, *port)), &mut apps).await?);
        }
        for (name, ip) in [("nginx", [127, 0, 55, 1]), ("outside-tls", [127, 0, 59, 2])] {
            let acceptor = authority.acceptor("outside")?;
            echo::start_encrypted(name, SocketAddr::from((ip, 8443)), acceptor, &mut apps).await?;
        }
        for (name, last) in [("one", 1), ("two", 2)] {
            start_echo(name, SocketAddr::from(([127, 0, 53, last], 9000)), &mut apps).await?;
        }
        start_websocket("127.0.54.1:8765".parse()?, &mut apps).await?;
        start_connect_proxy("127.0.59.3:3128".parse()?, &mut apps).await?;
        for example in
            ["bookinfo/bookinfo.yaml", "bookinfo/networking/destination-rule-all.yaml", "tasks/services.yaml"]
        {
            plane.ctl(&["apply", "-f", &path(example)]).await?;
        }
        // Nobody's sidecar is before the applications here, and the client sees everything.
        plane.ctl(&["delete", "sidecar", "default"]).await?;
        let gateway = |name: &str, ip: [u8; 4], label: &str| Workload {
            labels: vec![format!("istio={label}")],
            is_gateway: true,
            ..Workload::new(name, "istio-system", IpAddr::from(ip))
        };
        let workloads = [
            Workload {
                labels: vec!["app=curl".into(), "istio-locality=eu.z1".into()],
                ..Workload::new("curl-1", "default", IpAddr::from(CLIENT))
            },
            gateway("ingress-1", INGRESS, "ingressgateway"),
            gateway("egress-1", EGRESS, "egressgateway"),
        ];
        let mut envoys = Vec::new();
        for workload in &workloads {
            envoys.push(Sidecar::start(dir.path(), &plane, workload).await?);
        }
        let envoys = envoys.try_into().ok().context("three Envoys")?;
        Ok(Self { dir, plane, authority, asked, envoys, _apps: apps })
    }

    /// Applies examples, and waits until every Envoy has them.
    async fn apply(&self, examples: &[&str]) -> Result<()> {
        for example in examples {
            let said = self.plane.ctl(&["apply", "-f", &path(example), "--wait"]).await;
            let said = match said {
                Ok(said) => said,
                Err(error) => bail!("{example}: {error:#}\n{}", self.plane.said(&["proxy-status"]).await?),
            };
            ensure!(!said.contains("warning"), "{example}: {said}");
        }
        Ok(())
    }

    async fn remove(&self, examples: &[&str]) -> Result<()> {
        for example in examples {
            self.plane.ctl(&["delete", "-f", &path(example), "--wait"]).await?;
        }
        Ok(())
    }

    /// Sends a request on the way that a case names, and checks each word of what is expected.
    async fn check(&self, case: &Case) -> Result<()> {
        let said = || format!("{} {} {}", case.host, case.ask, case.want);
        let answer = send(case.from.at(case.port), case.host, case.ask).await.with_context(said)?;
        case.want.split(' ').try_for_each(|word| expect_word(word, &answer)).with_context(said)
    }

    /// Returns the share in per cent of 200 requests to a host that each backend answers.
    async fn shares(&self, from: From, port: u16, host: &str) -> Result<BTreeMap<String, usize>> {
        let mut shares = BTreeMap::new();
        for _ in 0..200 {
            let answer = send(from.at(port), host, "GET /").await?;
            *shares.entry(answer.header("x-backend").unwrap_or("none").to_owned()).or_default() += 1;
        }
        Ok(shares.into_iter().map(|(name, count): (String, usize)| (name, count / 2)).collect())
    }

    async fn nothing_refused(&self) -> Result<()> {
        for envoy in &self.envoys {
            ensure!(envoy.stat("update_rejected").await? == 0, "{}", self.plane.ctl(&["proxy-status"]).await?);
        }
        Ok(())
    }
}

fn path(example: &str) -> String {
    root().join("examples").join(example).display().to_string()
}

/// On which way a request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// By the sidecar of the client.
    Client,
    /// By the gateway for what comes in.
    Outside,
}

impl From {
    fn at(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self::Client => CLIENT,
            Self::Outside => INGRESS,
        };
        SocketAddr::from((ip, port))
    }
}

/// A request while some examples are applied, and what is expected of it, in the words of [`expect_word`].
struct Case {
    from: From,
    port: u16,
    host: &'static str,
    ask: &'static str,
    want: &'static str,
}

const fn inside(port: u16, host: &'static str, ask: &'static str, want: &'static str) -> Case {
    Case { from: From::Client, port, host, ask, want }
}

const fn outside(host: &'static str, ask: &'static str, want: &'static str) -> Case {
    Case { from: From::Outside, port: 8080, host, ask, want }
}

/// Examples that are seen by single requests: the files, and the requests.
const TASKS: &[(&[&str], &[Case])] = &[
    (
        &["bookinfo/networking/virtual-service-all-v1.yaml"],
        &[
            inside(9080, "reviews", "GET /", "200 reviews-v1"),
            inside(9080, "reviews:9080", "GET / end-user=jason", "200 reviews-v1"),
            inside(9080, "ratings", "GET /", "200 ratings-v1"),
        ],
    ),
    (
        &["bookinfo/networking/virtual-service-reviews-test-v2.yaml"],
        &[
            inside(9080, "reviews", "GET / end-user=jason", "200 reviews-v2"),
            inside(9080, "reviews", "GET /", "200 reviews-v1"),
        ],
    ),
    (
        &["bookinfo/networking/virtual-service-ratings-test-abort.yaml"],
        &[inside(9080, "ratings", "GET / end-user=jason", "500 -"), inside(9080, "ratings", "GET /", "200 ratings-v1")],
    ),
    (&["bookinfo/networking/virtual-service-reviews-v3.yaml"], &[inside(9080, "reviews", "GET /", "200 reviews-v3")]),
    (
        &["bookinfo/networking/virtual-service-reviews-jason-v2-v3.yaml"],
        &[
            inside(9080, "reviews", "GET / end-user=jason", "200 reviews-v2"),
            inside(9080, "reviews", "GET /", "200 reviews-v3"),
        ],
    ),
    (&["bookinfo/networking/fault-injection-details-v1.yaml"], &[inside(9080, "details", "GET /", "555")]),
    // No Pod is of version v2 here.
    (&["bookinfo/networking/virtual-service-details-v2.yaml"], &[inside(9080, "details", "GET /", "503")]),
    (
        &["tasks/helloworld-gateway.yaml"],
        &[
            outside("any.example.com", "GET /hello", "200 helloworld-v1|helloworld-v2"),
            outside("any.example.com", "GET /", "404"),
        ],
    ),
    (
        &["tasks/httpbin-gateway.yaml"],
        &[
            outside("httpbin.example.com", "GET /status/200", "200 httpbin-v1|httpbin-v2"),
            outside("httpbin.example.com", "GET /headers", "404"),
            outside("other.example.com", "GET /status/200", "404"),
        ],
    ),
    (
        &["tasks/httpbin-ingress.yaml"],
        &[
            Case { port: 8088, ..outside("httpbin.example.com", "GET /status/200", "200 httpbin-v1|httpbin-v2") },
            Case { port: 8088, ..outside("httpbin.example.com", "GET /headers", "404") },
        ],
    ),
    (
        &["tasks/egress-control.yaml"],
        &[
            inside(8000, "httpbin.org", "GET /headers", "200 outside"),
            inside(8000, "httpbin.org", "GET /delay/5 x-wait-ms=4500", "504"),
            inside(8000, "example.org", "GET /", "502"),
        ],
    ),
    (
        &["tasks/egress-gateway.yaml"],
        &[inside(8000, "edition.cnn.com", "GET /politics", "200 outside path=/politics host=edition.cnn.com")],
    ),
];

async fn tasks_of_single_requests(stage: &Stage) -> Result<()> {
    for (examples, cases) in TASKS {
        stage.apply(examples).await?;
        for case in *cases {
            let is_ready = async || stage.check(case).await.is_ok();
            if case.from == From::Outside {
                eventually(&format!("{examples:?} {}", case.ask), is_ready).await?;
            }
            stage.check(case).await.with_context(|| format!("{examples:?}"))?;
        }
        stage.remove(examples).await?;
    }
    Ok(())
}

/// Returns an error unless a backend has a share of the requests between two bounds, in per cent.
fn within(shares: &BTreeMap<String, usize>, backend: &str, bounds: std::ops::RangeInclusive<usize>) -> Result<()> {
    let share = shares.get(backend).copied().unwrap_or_default();
    ensure!(bounds.contains(&share), "want {bounds:?} of {backend}, got {shares:?}");
    Ok(())
}

async fn traffic_is_shifted(stage: &Stage) -> Result<()> {
    for (file, backend, bounds) in [
        ("reviews-50-v3", "reviews-v3", 35..=65),
        ("reviews-80-20", "reviews-v2", 10..=32),
        ("reviews-90-10", "reviews-v2", 3..=20),
        ("reviews-v2-v3", "reviews-v2", 35..=65),
    ] {
        let example = format!("bookinfo/networking/virtual-service-{file}.yaml");
        stage.apply(&[&example]).await?;
        within(&stage.shares(From::Client, 9080, "reviews").await?, backend, bounds).context(example.clone())?;
        stage.remove(&[&example]).await?;
    }
    stage.apply(&["tasks/locality-distribute.yaml"]).await?;
    within(&stage.shares(From::Client, 5000, "hello.example.com").await?, "helloworld-v1", 68..=92)?;
    stage.remove(&["tasks/locality-distribute.yaml"]).await
}

async fn delays_and_timeouts(stage: &Stage) -> Result<()> {
    let ask = async |host: &str, ask: &str| -> Result<u16> { Ok(send(From::Client.at(9080), host, ask).await?.status) };
    let injected = async || stage.envoys[0].stat("fault.delays_injected").await;
    let delayed = "bookinfo/networking/virtual-service-ratings-test-delay.yaml";
    stage.apply(&[delayed]).await?;
    let before = injected().await?;
    ensure!(ask("ratings", "GET / end-user=jason").await? == 200);
    ensure!(injected().await? == before + 1, "jason is held up");
    ensure!(ask("ratings", "GET /").await? == 200);
    ensure!(injected().await? == before + 1, "others are not held up");
    stage.remove(&[delayed]).await?;
    let limited = "bookinfo/networking/virtual-service-reviews-timeout.yaml";
    stage.apply(&[limited]).await?;
    ensure!(ask("reviews", "GET / x-wait-ms=2000").await? == 504);
    ensure!(ask("reviews", "GET /").await? == 200);
    stage.remove(&[limited]).await
}

async fn copies_are_sent(stage: &Stage) -> Result<()> {
    stage.apply(&["tasks/mirroring.yaml"]).await?;
    let before = [stage.asked["httpbin-v1"].count("/mirrored"), stage.asked["httpbin-v2"].count("/mirrored")];
    for _ in 0..5 {
        stage.check(&inside(8000, "httpbin", "GET /mirrored", "200 httpbin-v1")).await?;
    }
    eventually("v2 gets a copy of each request", async || {
        stage.asked["httpbin-v2"].count("/mirrored") == before[1] + 5
    })
    .await?;
    ensure!(stage.asked["httpbin-v1"].count("/mirrored") == before[0] + 5);
    stage.remove(&["tasks/mirroring.yaml"]).await
}

async fn circuits_break(stage: &Stage) -> Result<()> {
    stage.apply(&["tasks/circuit-breaking.yaml"]).await?;
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        requests.spawn(async { send(From::Client.at(8000), "httpbin", "GET / x-wait-ms=300").await });
    }
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    while let Some(answer) = requests.join_next().await {
        *statuses.entry(answer??.status).or_default() += 1;
    }
    let [good, refused] = [200, 503].map(|status| statuses.get(&status).copied().unwrap_or_default());
    ensure!(good >= 1 && refused >= 1 && good + refused == 10, "{statuses:?}");
    ensure!(stage.envoys[0].stat("upstream_rq_pending_overflow").await? >= 1);
    stage.remove(&["tasks/circuit-breaking.yaml"]).await
}

async fn endpoints_of_another_zone_take_over(stage: &Stage) -> Result<()> {
    stage.apply(&["tasks/locality-failover.yaml"]).await?;
    let host = "hello.example.com";
    within(&stage.shares(From::Client, 5000, host).await?, "helloworld-v1", 100..=100)?;
    send(From::Client.at(5000), host, "GET / x-status=500").await?;
    eventually("the other zone takes over", async || {
        let answer = send(From::Client.at(5000), host, "GET /").await;
        answer.is_ok_and(|answer| answer.header("x-backend") == Some("helloworld-v2"))
    })
    .await?;
    stage.remove(&["tasks/locality-failover.yaml"]).await
}

async fn connections_are_shifted(stage: &Stage) -> Result<()> {
    let first_words = async || -> Result<BTreeMap<String, usize>> {
        let mut shares = BTreeMap::new();
        for _ in 0..100 {
            let said = exchange_bytes(From::Outside.at(31400), "hello").await?;
            *shares.entry(said.trim_end_matches(" hello").to_owned()).or_default() += 1;
        }
        Ok(shares)
    };
    stage.apply(&["tasks/tcp-echo-all-v1.yaml"]).await?;
    eventually("the gateway listens", async || exchange_bytes(From::Outside.at(31400), "x").await.is_ok()).await?;
    within(&first_words().await?, "one", 100..=100)?;
    stage.apply(&["tasks/tcp-echo-20-v2.yaml"]).await?;
    eventually("some connections go to the second", async || {
        first_words().await.is_ok_and(|shares| (5..=40).contains(&shares.get("two").copied().unwrap_or_default()))
    })
    .await?;
    stage.remove(&["tasks/tcp-echo-20-v2.yaml"]).await
}

async fn a_websocket_passes_the_gateway(stage: &Stage) -> Result<()> {
    stage.apply(&["tasks/websockets.yaml"]).await?;
    let address = From::Outside.at(8080);
    eventually("the WebSocket is opened", async || exchange_on_websocket(address, "/chat", "ping").await.is_ok())
        .await?;
    ensure!(exchange_on_websocket(address, "/chat", "ping").await? == "ping");
    ensure!(exchange_on_websocket(address, "/other", "ping").await.is_err());
    stage.remove(&["tasks/websockets.yaml"]).await
}

async fn ingress_is_encrypted(stage: &Stage) -> Result<()> {
    let authority = &stage.authority;
    authority.issue("httpbin", &["httpbin.example.com"])?;
    authority.issue("helloworld", &["helloworld.example.com"])?;
    authority.issue("client", &["client.example.com"])?;
    // As `kubectl create secret` makes them from the files.
    let secret = |name: &str, with_authority: bool| -> Result<String> {
        let indented = |file: &str| authority.text(file).map(|text| text.replace('\n', "\n    "));
        let [chain, key, ca] = [format!("{name}.pem"), format!("{name}.key"), "ca.pem".to_owned()];
        let ca = if with_authority { format!("  ca.crt: |\n    {}\n", indented(&ca)?) } else { String::new() };
        Ok(format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-credential, namespace: istio-system}}\nstringData:\n  \
             tls.crt: |\n    {}\n  tls.key: |\n    {}\n{ca}---\n",
            indented(&chain)?,
            indented(&key)?
        ))
    };
    stage.plane.apply(&[secret("httpbin", false)?, secret("helloworld", true)?].concat(), &[]).await?;
    stage.apply(&["tasks/secure-gateways.yaml"]).await?;
    let ask = async |host: &str, path: &str, client: Option<&str>| -> Result<String> {
        let stream = authority.connect(From::Outside.at(8443), host, client).await?;
        let answer = exchange(stream, ("GET", path), host, &[]).await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    };
    let (httpbin, helloworld) = ("httpbin.example.com", "helloworld.example.com");
    eventually("httpbin in TLS", async || ask(httpbin, "/status/200", None).await.is_ok()).await?;
    ensure!(ask(httpbin, "/status/200", None).await?.starts_with("httpbin-"));
    ensure!(ask(httpbin, "/hello", None).await? == "404");
    ensure!(ask(helloworld, "/hello", None).await.is_err(), "the client shows a certificate");
    ensure!(ask(helloworld, "/hello", Some("client")).await?.starts_with("helloworld-"));
    stage.remove(&["tasks/secure-gateways.yaml"]).await?;
    stage.apply(&["tasks/ingress-sni-passthrough.yaml"]).await?;
    eventually("TLS passes through", async || ask("nginx.example.com", "/", None).await.is_ok()).await?;
    ensure!(ask("nginx.example.com", "/", None).await? == "nginx");
    ensure!(ask("edition.cnn.com", "/", None).await.is_err(), "no other name does");
    stage.remove(&["tasks/ingress-sni-passthrough.yaml"]).await
}

async fn egress_is_encrypted_and_told_apart(stage: &Stage) -> Result<()> {
    let ask = async |host: &str| -> Result<String> {
        let stream = stage.authority.connect(From::Client.at(8443), host, None).await?;
        let answer = exchange(stream, ("GET", "/"), host, &[]).await?;
        Ok(answer.header("x-backend").unwrap_or("none").to_owned())
    };
    for (example, host) in [
        ("tasks/egress-control.yaml", "www.google.com"),
        ("bookinfo/networking/egress-rule-google-apis.yaml", "www.googleapis.com"),
    ] {
        stage.apply(&[example]).await?;
        ensure!(ask(host).await? == "outside-tls", "{host}");
        ensure!(ask("en.wikipedia.org").await.is_err(), "nothing is known of another name");
        stage.remove(&[example]).await?;
    }
    stage.apply(&["tasks/wildcard-egress.yaml"]).await?;
    for host in ["en.wikipedia.org", "de.wikipedia.org", "www.wikipedia.org"] {
        ensure!(ask(host).await? == "outside-tls", "{host}");
    }
    ensure!(ask("www.google.com").await.is_err());
    stage.remove(&["tasks/wildcard-egress.yaml"]).await?;
    // The certificate is that of the test's own authority.
    let example = std::fs::read_to_string(path("tasks/egress-tls-origination.yaml"))?;
    let trusted = format!("mode: SIMPLE, caCertificates: {},", stage.dir.path().join("ca.pem").display());
    stage.plane.apply(&example.replace("mode: SIMPLE,", &trusted), &["--wait"]).await?;
    stage.check(&inside(8000, "edition.cnn.com", "GET /politics", "200 outside-tls path=/politics")).await?;
    stage.remove(&["tasks/egress-tls-origination.yaml"]).await?;
    stage.apply(&["tasks/egress-tunnel.yaml"]).await?;
    let said = exchange_bytes(From::Client.at(9443), "hello").await?;
    ensure!(said == "one hello", "through the tunnel: {said:?}");
    stage.remove(&["tasks/egress-tunnel.yaml"]).await
}

/// Returns the examples below a folder, by their paths in `examples/`.
fn examples_in(folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("examples").join(folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            found.push(format!("{folder}/{name}"));
        }
    }
    found.sort();
    Ok(found)
}

/// Each example by itself is taken as it is, without a word of warning but for what it needs of others.
async fn every_example_is_taken(stage: &Stage) -> Result<()> {
    for folder in ["bookinfo/networking", "tasks"] {
        for example in examples_in(folder)? {
            stage.plane.ctl(&["check", "-f", &path(&example)]).await.with_context(|| example.clone())?;
            let text = std::fs::read_to_string(path(&example))?;
            ensure!(text.starts_with("# "), "{example} does not say what it shows");
            let is_tried = include_str!("examples.rs").contains(example.as_str());
            let by_name = example.rsplit('/').next().unwrap_or_default().trim_end_matches(".yaml");
            let by_name = by_name.trim_start_matches("virtual-service-");
            ensure!(is_tried || include_str!("examples.rs").contains(by_name), "{example} is tried by no test");
        }
    }
    Ok(())
}

#[tokio::test]
async fn examples_do_what_they_say() -> Result<()> {
    let stage = Stage::start().await?;
    every_example_is_taken(&stage).await?;
    tasks_of_single_requests(&stage).await?;
    traffic_is_shifted(&stage).await.context("shifting")?;
    delays_and_timeouts(&stage).await.context("delays")?;
    copies_are_sent(&stage).await.context("mirroring")?;
    circuits_break(&stage).await.context("circuit breaking")?;
    endpoints_of_another_zone_take_over(&stage).await.context("failover")?;
    connections_are_shifted(&stage).await.context("tcp-echo")?;
    a_websocket_passes_the_gateway(&stage).await.context("websockets")?;
    ingress_is_encrypted(&stage).await.context("secure ingress")?;
    egress_is_encrypted_and_told_apart(&stage).await.context("egress")?;
    stage.nothing_refused().await
}
