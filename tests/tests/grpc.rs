//! Real gRPC clients and servers without sidecars, against a real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use rutter_tests::process::{ControlPlane, eventually};
use rutter_tests::root;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const TARGET: &str = "xds:///names.shop.svc.cluster.local:7070";
/// No script, but the library for Rust in this process.
const RUST: &str = "";

const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: names, namespace: shop}
spec: {clusterIP: 10.96.7.1, ports: [{name: grpc, port: 7070}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: names, namespace: shop}
spec: {host: names, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
";

fn slice(name: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: names, version: {name}}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{ip}], targetRef: {{kind: Pod, name: {name}, namespace: shop}}}}]\nports: [{{name: grpc, port: 7070}}]\n"
    )
}

/// A VirtualService with weights for v1 and v2.
fn routes(v1: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: names, namespace: shop}}\nspec: {{hosts: [names], http: [{{match: [{{headers: {{user: {{exact: jason}}}}}}], route: [{{destination: {{host: names, subset: v1}}}}]}}, {{route: [{{destination: {{host: names, subset: v1}}, weight: {v1}}}, {{destination: {{host: names, subset: v2}}, weight: {}}}]}}]}}\n",
        100 - v1
    )
}

/// Runs a script of `tests/grpc` as a workload, with the bootstrap that rutterctl prints.
async fn run(dir: &Path, plane: &ControlPlane, (pod, ip): (&str, &str), args: &[&str]) -> Result<Child> {
    let xds = plane.xds.to_string();
    let bootstrap =
        plane.ctl(&["-n", "shop", "bootstrap", "--proxy", "grpc", "--pod", pod, "--ip", ip, "--xds", &xds]).await?;
    let path = dir.join(format!("{pod}.json"));
    std::fs::write(&path, bootstrap)?;
    let (script, more) = args.split_first().context("want a script")?;
    let interpreter = root().join(if script.ends_with(".js") { ".venv/bin/node" } else { ".venv/bin/python" });
    Command::new(&interpreter)
        .arg(root().join("tests/grpc").join(script))
        .args(more)
        .env("GRPC_XDS_BOOTSTRAP", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.join(format!("{pod}.log")))?)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{}: run `make venv`", interpreter.display()))
}

async fn server(dir: &Path, plane: &ControlPlane, name: &str, ip: &str) -> Result<Child> {
    let address = format!("{ip}:7070");
    let child = run(dir, plane, (name, ip), &["server.py", name, &address]).await?;
    let address: SocketAddr = address.parse()?;
    let serves = eventually("the server serves", || async { tokio::net::TcpStream::connect(address).await.is_ok() });
    let log = || std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
    serves.await.with_context(|| format!("{name}: {}", log()))?;
    Ok(child)
}

struct Script {
    _child: Child,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

/// A client that calls all the time.
enum Client {
    /// A script of its own process.
    Script(Box<Script>),
    /// The library for Rust, here.
    Rust(RustClient),
}

impl Client {
    async fn start(dir: &Path, plane: &ControlPlane, script: &str) -> Result<Self> {
        let modules = root().join(".venv/js/node_modules").display().to_string();
        let args = [script, TARGET, &modules];
        let mut child = run(dir, plane, ("client", "127.0.41.9"), &args).await?;
        let (stdin, stdout) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        Ok(Self::Script(Box::new(Script { _child: child, stdin, said: BufReader::new(stdout).lines() })))
    }

    /// What happened since the last time; calls have `header` from now on.
    async fn since(&mut self, header: &str) -> Result<Value> {
        let script = match self {
            Self::Rust(client) => return Ok(client.since(header)),
            Self::Script(script) => script,
        };
        script.stdin.write_all(format!("{header}\n").as_bytes()).await?;
        let line = timeout(Duration::from_secs(10), script.said.next_line()).await??.context("the client ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// What the calls have (a header), and what they came to.
type Calls = Arc<std::sync::Mutex<(String, BTreeMap<String, usize>, Vec<String>)>>;

/// As client.py, with `tonic-xds`.
struct RustClient {
    calls: Calls,
    ends: Arc<AtomicBool>,
}

impl Drop for RustClient {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl RustClient {
    async fn start(plane: &ControlPlane) -> Result<Self> {
        // The library wants to be told how to speak.
        let xds = format!("http://{}", plane.xds);
        let args =
            ["-n", "shop", "bootstrap", "--proxy", "grpc", "--pod", "client", "--ip", "127.0.41.9", "--xds", &xds];
        let bootstrap = tonic_xds::BootstrapConfig::from_json(&plane.ctl(&args).await?)?;
        let target = tonic_xds::XdsUri::parse(TARGET)?;
        let config = tonic_xds::XdsChannelConfig::new(target).with_bootstrap(bootstrap);
        let (calls, ends) = (Calls::default(), Arc::new(AtomicBool::new(false)));
        let (theirs, end) = (calls.clone(), ends.clone());
        // A thread of its own: the library's futures stay on one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let channel = tonic_xds::XdsChannelBuilder::new(config).build_grpc_channel()?;
                while !end.load(Ordering::Relaxed) {
                    let header = lock(&theirs).0.clone();
                    match call(channel.clone(), &header).await {
                        Ok(who) => *lock(&theirs).1.entry(who).or_default() += 1,
                        Err(status) => lock(&theirs).2.push(status.to_string()),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                anyhow::Ok(())
            })
        });
        Ok(Self { calls, ends })
    }

    fn since(&self, header: &str) -> Value {
        let mut calls = lock(&self.calls);
        calls.0 = header.to_owned();
        json!({"answers": std::mem::take(&mut calls.1), "failures": std::mem::take(&mut calls.2)})
    }
}

fn lock(calls: &Calls) -> std::sync::MutexGuard<'_, (String, BTreeMap<String, usize>, Vec<String>)> {
    calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn call(channel: tonic_xds::XdsChannelGrpc, header: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut request = tonic::Request::new(Bytes::new());
    request.set_timeout(Duration::from_secs(5));
    if let Some(("user", value)) = header.split_once('=') {
        let value = value.parse().map_err(|_| Status::internal("want a header"))?;
        request.metadata_mut().insert("user", value);
    }
    let path = http::uri::PathAndQuery::from_static("/test.Names/Get");
    let answer = client.unary(request, path, Raw).await?.into_inner();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Bytes as they are: the servers answer with a name, and no message around it.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Waits until just these answer, and counts every failure on the way.
async fn answered_by(client: &Mutex<Client>, header: &str, names: &[&str]) -> Result<()> {
    let failures = Mutex::new(Vec::new());
    let result = eventually("the right ones answer", || async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(said) = client.lock().await.since(header).await else { return false };
        failures.lock().await.extend(said["failures"].as_array().into_iter().flatten().cloned());
        let mut who: Vec<&str> =
            said["answers"].as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        who.sort_unstable();
        who == names
    })
    .await;
    let failures = failures.into_inner();
    if !failures.is_empty() {
        bail!("{names:?}: calls failed: {}", json!(failures));
    }
    result
}

#[tokio::test]
async fn the_grpc_library_for_python_follows_every_change_without_a_failed_call() -> Result<()> {
    follows_every_change("client.py").await
}

#[tokio::test]
async fn the_grpc_library_for_node_follows_every_change_without_a_failed_call() -> Result<()> {
    follows_every_change("client.js").await
}

#[tokio::test]
async fn the_grpc_library_for_rust_follows_every_change_without_a_failed_call() -> Result<()> {
    follows_every_change(RUST).await
}

async fn follows_every_change(script: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut plane = ControlPlane::start(dir.path(), &[]).await?;
    let (xds, monitoring) = (plane.xds, plane.monitoring);
    let text = [MESH, &slice("v1", "127.0.41.1"), &slice("v2", "127.0.41.2"), "---\n", &routes(100)].concat();
    plane.apply(&text, &[]).await?;
    let _one = server(dir.path(), &plane, "v1", "127.0.41.1").await?;
    let _two = server(dir.path(), &plane, "v2", "127.0.41.2").await?;
    let client = match script {
        RUST => Client::Rust(RustClient::start(&plane).await?),
        _ => Client::start(dir.path(), &plane, script).await?,
    };
    let client = Mutex::new(client);
    answered_by(&client, "", &["v1"]).await?;
    // Weights.
    plane.apply(&routes(0), &["--wait"]).await?;
    answered_by(&client, "", &["v2"]).await?;
    plane.apply(&routes(50), &["--wait"]).await?;
    answered_by(&client, "", &["v1", "v2"]).await?;
    // A header.
    answered_by(&client, "user=jason", &["v1"]).await?;
    answered_by(&client, "", &["v1", "v2"]).await?;
    told_and_foreseen(dir.path(), &plane).await?;
    // A restart of the control plane, and a change after it.
    plane.kill().await?;
    answered_by(&client, "", &["v1", "v2"]).await?;
    plane = ControlPlane::start_at(dir.path(), (xds, monitoring), &[]).await?;
    plane.apply(&routes(100), &[]).await?;
    answered_by(&client, "", &["v1"]).await?;
    // A subset that moves, and an endpoint that goes: v1 is now where v2 was.
    let _three = server(dir.path(), &plane, "v3", "127.0.41.3").await?;
    plane.apply(&slice("v1", "127.0.41.3"), &["--wait"]).await?;
    answered_by(&client, "", &["v3"]).await?;
    // Without the rule: turns.
    plane.ctl(&["-n", "shop", "delete", "virtualservice", "names"]).await?;
    answered_by(&client, "", &["v2", "v3"]).await?;
    let status = plane.ctl(&["proxy-status"]).await?;
    for name in ["client.shop", "v1.shop", "v2.shop", "v3.shop"] {
        assert!(status.lines().any(|line| line.contains(name) && line.contains("SYNCED")), "{status}");
    }
    assert!(!status.contains("NACK") && status.contains("gRPC"), "{status}");
    Ok(())
}

/// Checks what is explained of calls of the client, and that a change sends it what was foreseen.
async fn told_and_foreseen(dir: &Path, plane: &ControlPlane) -> Result<()> {
    let url = "http://names.shop.svc.cluster.local:7070/names.Names/Name";
    let told = plane.ctl(&["explain", "--from", "client.shop", "POST", url]).await?;
    ensure!(told.contains("50 %: sent to 127.0.41.1:7070") && told.contains("50 %: sent to 127.0.41.2:7070"), "{told}");
    let of_jason = plane.ctl(&["explain", "--from", "client.shop", "POST", url, "-H", "user: jason"]).await?;
    ensure!(of_jason.contains("\nsent to 127.0.41.1:7070") && of_jason.contains("spec.http[0].match[0]"), "{of_jason}");
    let change = dir.join("change.yaml");
    std::fs::write(&change, routes(40))?;
    let change = change.display().to_string();
    let foreseen = plane.ctl(&["apply", "-f", &change, "--dry-run", "--impact", "-o", "json"]).await?;
    let foreseen: Value = serde_json::from_str(&foreseen)?;
    let groups = foreseen["impact"]["groups"].as_array().context("groups")?;
    let is_client =
        |group: &&Value| group["sidecars"].as_array().is_some_and(|all| all.contains(&json!("client.shop")));
    let group = groups.iter().find(is_client).with_context(|| foreseen.to_string())?;
    let names = |resources: &Value| -> BTreeSet<String> {
        let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
        resources.as_array().into_iter().flatten().map(name).collect()
    };
    let revision = foreseen["impact"]["revision"].as_u64().context("a revision")?;
    plane.ctl(&["apply", "-f", &change, "--wait"]).await?;
    let since = (revision + 1).to_string();
    let pushes: Value =
        serde_json::from_str(&plane.ctl(&["pushes", "client", "--since", &since, "-o", "json"]).await?)?;
    let sent: BTreeSet<String> = pushes
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|push| push["names"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    ensure!(names(&group["resources"]) == sent && !sent.is_empty(), "foreseen {group}, sent {pushes}");
    plane.apply(&routes(50), &["--wait"]).await?;
    Ok(())
}
