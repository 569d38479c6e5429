//! Requests through a real Envoy, all the time, while routes move and clusters come and go: make before break.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rutter_tests::dice::Dice;
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Changes under load.
const CHANGES: usize = 200;
/// Each sends a request, waits for the answer, and then for this long.
const CALLERS: usize = 12;
const PAUSE: Duration = Duration::from_millis(3);
/// Applications, at 127.0.52.N.
const APPS: u8 = 6;
const PORT: u16 = 8085;

async fn app(number: u8, tasks: &mut JoinSet<()>) -> Result<()> {
    let socket = TcpListener::bind((IpAddr::from([127, 0, 52, number]), PORT)).await?;
    tasks.spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let answer = move |_| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("app-{number}")))))
            };
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    });
    Ok(())
}

/// What was answered, and how often: a status that is not 200 stands with its text.
type Answers = BTreeMap<String, usize>;

async fn call(to: SocketAddr, stop: Arc<AtomicBool>) -> Result<Answers> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(to).await?)).await?;
    tokio::spawn(connection);
    let mut answers = Answers::new();
    while !stop.load(Ordering::Relaxed) {
        let request = Request::get("/").header("host", format!("front:{PORT}")).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await.context("the Envoy closed a connection")?;
        let status = answer.status();
        let body = String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes()).into_owned();
        *answers.entry(if status == 200 { body } else { format!("{status}: {body}") }).or_default() += 1;
        sleep(PAUSE).await;
    }
    Ok(answers)
}

fn service(name: &str, apps: &[u8]) -> String {
    let endpoints: Vec<String> = apps.iter().map(|number| format!("{{addresses: [127.0.52.{number}]}}")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: {PORT}}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}, version: v1}}}}\naddressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: {PORT}}}]\n---\n",
        endpoints.join(", ")
    )
}

/// Where front goes: a host, and a subset of it.
fn route(to: &str, subset: bool) -> String {
    let subset = if subset { ", subset: v1" } else { "" };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: front}}\nspec: {{hosts: [front], http: [{{route: [{{destination: {{host: {to}{subset}}}}}]}}]}}\n---\n"
    )
}

fn subsets(host: &str, some: bool) -> String {
    let subsets = if some { "{name: v1, labels: {version: v1}}" } else { "" };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec: {{host: {host}, subsets: [{subsets}]}}\n---\n"
    )
}

async fn change(plane: &ControlPlane, dice: &mut Dice, number: usize) -> Result<()> {
    let app = |dice: &mut Dice| dice.below(u64::from(APPS)) as u8 + 1;
    match dice.below(4) {
        // The route moves between services that stay.
        0 => drop(plane.apply(&route(["a", "b"][dice.below(2) as usize], false), &[]).await?),
        // To a service that comes with it; and away, and the service goes.
        1 => {
            let name = format!("new-{number}");
            plane.apply(&(service(&name, &[app(dice)]) + &route(&name, false)), &[]).await?;
            sleep(Duration::from_millis(dice.below(60))).await;
            plane.apply(&route("a", false), &[]).await?;
            plane.ctl(&["delete", "service", &name]).await?;
            plane.ctl(&["delete", "endpointslice", &name]).await?;
        }
        // To a subset that comes with it; and away as the subset goes.
        2 => {
            plane.apply(&(subsets("b", true) + &route("b", true)), &[]).await?;
            sleep(Duration::from_millis(dice.below(60))).await;
            plane.apply(&(route("b", false) + &subsets("b", false)), &[]).await?;
        }
        // Endpoints move.
        _ => drop(plane.apply(&service(["a", "b"][dice.below(2) as usize], &[app(dice), app(dice)]), &[]).await?),
    }
    Ok(())
}

async fn nothing_fails(proxy: Proxy) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let mut tasks = JoinSet::new();
    for number in 1..=APPS {
        app(number, &mut tasks).await?;
    }
    let text = [service("front", &[]), service("a", &[1]), service("b", &[2]), route("a", false)].concat();
    plane.apply(&text, &[]).await?;
    let ip = IpAddr::from([127, 0, 51, 1]);
    let envoy = Sidecar::start(dir.path(), &plane, &Workload { proxy, ..Workload::new("load", "default", ip) }).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    (0..CALLERS).for_each(|_| drop(callers.spawn(call(SocketAddr::new(ip, PORT), stop.clone()))));
    let (mut dice, start) = (Dice::new(0x5EED), tokio::time::Instant::now());
    for number in 0..CHANGES {
        change(&plane, &mut dice, number).await?;
        sleep(Duration::from_millis(dice.below(30))).await;
    }
    stop.store(true, Ordering::Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    let mut answers = Answers::new();
    while let Some(one) = callers.join_next().await {
        for (answer, count) in one?? {
            *answers.entry(answer).or_default() += count;
        }
    }
    println!("{:.0} requests a second for {seconds:.0} s", answers.values().sum::<usize>() as f64 / seconds);
    let failed: Vec<_> = answers.iter().filter(|(answer, _)| !answer.starts_with("app-")).collect();
    assert!(failed.is_empty(), "{answers:?}");
    assert!(answers.len() == usize::from(APPS) && answers.values().sum::<usize>() > 20 * CHANGES, "{answers:?}");
    assert_eq!(envoy.stat("update_rejected").await?, 0);
    Ok(())
}

#[tokio::test]
async fn nothing_fails_while_routes_move_and_clusters_come_and_go() -> Result<()> {
    nothing_fails(Proxy::ENVOY).await
}

#[tokio::test]
async fn nothing_fails_so_either_with_the_state_of_the_world() -> Result<()> {
    nothing_fails(Proxy::SOTW_ENVOY).await
}
