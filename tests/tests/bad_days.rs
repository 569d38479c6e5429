//! Configuration that is taken and goes badly: a host for everything, a host that never resolves, a port that changes what it
//! is under live connections, and ten thousand objects about one host. A real Envoy keeps serving.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use rutter_tests::echo;
use rutter_tests::http::get;
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload, eventually};
use tempfile::TempDir;
use tokio::task::JoinSet;

const PORT: u16 = 8000;

/// An Envoy in front of two applications, `a` and `b`.
struct Scene {
    dir: TempDir,
    plane: ControlPlane,
    envoy: Sidecar,
    address: SocketAddr,
    ips: [IpAddr; 2],
    _apps: JoinSet<()>,
}

impl Scene {
    async fn start(number: u8) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
        let mut apps = JoinSet::new();
        for (name, ip) in [("a", a), ("b", b)] {
            echo::start(name, SocketAddr::new(ip, PORT + 1), &mut apps).await?;
        }
        plane.apply(&service_entry("near.test", "HTTP", a), &[]).await?;
        let workload = Workload { proxy: Proxy::ENVOY, ..Workload::new("client-1", "default", client) };
        let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
        let scene = Self { dir, plane, envoy, address: SocketAddr::new(client, PORT), ips: [a, b], _apps: apps };
        scene.reaches("near.test", "a").await?;
        Ok(scene)
    }

    /// Returns the application that answers for a host, or the status if none does.
    async fn backend(&self, host: &str) -> Result<String> {
        let answer = get(self.address, "/", &[("host", host)]).await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    }

    async fn reaches(&self, host: &str, want: &str) -> Result<()> {
        eventually(&format!("{host} is answered by {want}"), async || {
            self.backend(host).await.is_ok_and(|got| got == want)
        })
        .await
    }

    async fn nothing_is_refused(&self) -> Result<()> {
        ensure!(self.envoy.stat("update_rejected").await? == 0, "{}", self.plane.ctl(&["proxy-status"]).await?);
        Ok(())
    }
}

fn service_entry(host: &str, protocol: &str, ip: IpAddr) -> String {
    let name = host.replace('*', "all").replace('.', "-");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
         spec: {{hosts: ['{host}'], location: MESH_INTERNAL, resolution: STATIC, endpoints: [{{address: {ip}}}], \
         ports: [{{number: {PORT}, name: one, protocol: {protocol}, targetPort: {}}}]}}\n---\n",
        PORT + 1
    )
}

#[tokio::test]
async fn a_service_entry_for_every_host_is_refused_and_changes_nothing() -> Result<()> {
    let scene = Scene::start(61).await?;
    let both = [service_entry("late.test", "HTTP", scene.ips[1]), service_entry("*", "HTTP", scene.ips[1])].concat();
    let error = scene.plane.apply(&both, &[]).await.expect_err("as in Istio").to_string();
    ensure!(error.contains("serviceEntry default/all: spec.hosts[0]: want a full DNS name"), "{error}");
    ensure!(scene.plane.ctl(&["get", "serviceentry", "late-test"]).await.is_err(), "all or nothing");
    ensure!(scene.backend("near.test").await? == "a" && scene.backend("other.test").await? == "502");
    scene.nothing_is_refused().await
}

#[tokio::test]
async fn a_host_that_never_resolves_holds_nothing_up() -> Result<()> {
    let scene = Scene::start(62).await?;
    let never = service_entry("never.invalid", "HTTP", scene.ips[0])
        .replace("STATIC", "DNS")
        .replace(&format!("endpoints: [{{address: {}}}], ", scene.ips[0]), "");
    scene.plane.apply(&never, &[]).await?;
    scene.plane.apply(&service_entry("late.test", "HTTP", scene.ips[1]), &[]).await?;
    scene.reaches("late.test", "b").await?;
    scene.reaches("never.invalid", "503").await?;
    // Neither does it hold up an Envoy that starts.
    let workload =
        Workload { proxy: Proxy::OLD_ENVOY, ..Workload::new("client-2", "default", IpAddr::from([127, 0, 62, 4])) };
    let second = Sidecar::start(scene.dir.path(), &scene.plane, &workload).await?;
    let answer = get(SocketAddr::from(([127, 0, 62, 4], PORT)), "/", &[("host", "late.test")]).await?;
    ensure!(answer.header("x-backend") == Some("b"), "{answer:?}");
    ensure!(second.stat("update_rejected").await? == 0);
    scene.nothing_is_refused().await
}

#[tokio::test]
async fn a_port_that_changes_its_protocol_serves_the_requests_that_are_under_way() -> Result<()> {
    let scene = Scene::start(63).await?;
    let slow = get(scene.address, "/slow", &[("host", "near.test"), ("x-wait-ms", "3000")]);
    let (slow, changed) = tokio::join!(slow, async {
        scene.plane.apply(&service_entry("near.test", "TCP", scene.ips[1]), &[]).await?;
        // As TCP the host does not matter.
        scene.reaches("whatever.test", "b").await
    });
    changed?;
    let slow = slow.context("the request that was under way")?;
    ensure!((slow.status, slow.header("x-backend")) == (200, Some("a")), "{slow:?}");
    scene.plane.apply(&service_entry("near.test", "HTTP", scene.ips[0]), &[]).await?;
    scene.reaches("whatever.test", "502").await?;
    scene.reaches("near.test", "a").await?;
    scene.nothing_is_refused().await
}

#[tokio::test]
async fn ten_thousand_virtual_services_for_one_host_cost_a_sidecar_one() -> Result<()> {
    let scene = Scene::start(64).await?;
    let routes = |number: u32, status: u16| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number:05}}}\n\
             spec: {{hosts: [near.test], http: [{{directResponse: {{status: {status}}}}}]}}\n---\n"
        )
    };
    scene.plane.apply(&routes(0, 418), &[]).await?;
    scene.reaches("near.test", "418").await?;
    let all: String = (1..10_000).map(|number| routes(number, 404)).collect();
    let told = scene.plane.apply(&all, &[]).await?;
    ensure!(told.lines().count() <= 10_100, "{} lines", told.lines().count());
    let encodes = scene.plane.metric("rutter_encodes").await?;
    scene.plane.apply(&routes(7_000, 405), &[]).await?;
    ensure!(scene.plane.metric("rutter_encodes").await? == encodes, "one that has no effect is not encoded");
    scene.plane.ctl(&["delete", "virtualservice", "v00000"]).await?;
    scene.reaches("near.test", "404").await?;
    scene.nothing_is_refused().await
}

fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

#[tokio::test]
async fn delegates_in_a_ring_are_refused_and_a_missing_one_takes_its_route_and_no_other() -> Result<()> {
    let scene = Scene::start(65).await?;
    let route = "route: [{destination: {host: near.test}}]";
    let delegate = |name: &str, to: &str| virtual_service(name, &format!("http: [{{delegate: {{name: {to}}}}}]"));
    let root = virtual_service(
        "root",
        &format!(
            "hosts: [near.test], http: [{{match: [{{uri: {{prefix: /missing}}}}], delegate: {{name: nobody}}}}, \
             {{match: [{{uri: {{exact: /}}}}], {route}}}]"
        ),
    );
    let ring = [root.as_str(), &delegate("one", "two"), &delegate("two", "one")].concat();
    let error = scene.plane.apply(&ring, &[]).await.expect_err("a ring").to_string();
    ensure!(error.contains("virtualService default/one: spec.http[0].delegate: want no delegate"), "{error}");
    scene.reaches("near.test", "a").await?;
    scene.plane.apply(&root, &["--wait"]).await?;
    let statuses = async || -> Result<[u16; 2]> {
        let status = async |path: &str| anyhow::Ok(get(scene.address, path, &[("host", "near.test")]).await?.status);
        Ok([status("/").await?, status("/missing").await?])
    };
    ensure!(statuses().await? == [200, 404]);
    scene.plane.apply(&virtual_service("nobody", &format!("http: [{{{route}}}]")), &["--wait"]).await?;
    ensure!(statuses().await? == [200, 200]);
    scene.plane.ctl(&["delete", "virtualservice", "nobody", "--wait"]).await?;
    ensure!(statuses().await? == [200, 404]);
    scene.nothing_is_refused().await
}

#[tokio::test]
async fn a_deleted_root_sidecar_object_shows_everything_and_breaks_nothing() -> Result<()> {
    let scene = Scene::start(66).await?;
    let far = service_entry("far.test", "HTTP", scene.ips[1]).replace("metadata: {", "metadata: {namespace: far, ");
    let root = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: istio-system}\n\
        spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}\n---\n";
    scene.plane.apply(&[&far, root].concat(), &["--wait"]).await?;
    scene.reaches("far.test", "502").await?;
    let held = get(scene.address, "/held", &[("host", "near.test"), ("x-wait-ms", "2000")]);
    let (held, changed) = tokio::join!(held, async {
        scene.plane.ctl(&["delete", "sidecar", "default", "-n", "istio-system", "--wait"]).await?;
        scene.reaches("far.test", "b").await?;
        scene.plane.apply(root, &["--wait"]).await?;
        scene.reaches("far.test", "502").await
    });
    changed?;
    ensure!(held?.header("x-backend") == Some("a"), "the request that was under way");
    scene.reaches("near.test", "a").await?;
    scene.nothing_is_refused().await
}

#[tokio::test]
async fn a_regular_expression_is_refused_at_the_door_or_by_the_envoy_that_bounds_it() -> Result<()> {
    let scene = Scene::start(67).await?;
    let routes = |regex: &str| {
        let spec = "hosts: [near.test], http: [{match: [{uri: {regex: 'REGEX'}}], directResponse: {status: 418}}, \
                    {route: [{destination: {host: near.test}}]}]";
        virtual_service("regex", &spec.replace("REGEX", regex))
    };
    let error = scene.plane.apply(&routes("/(?=a)"), &[]).await.expect_err("RE2 has no such thing").to_string();
    ensure!(error.contains("spec.http[0].match[0].uri.regex"), "{error}");
    // An Envoy whose bootstrap is not ours, and says nothing of regular expressions.
    let foreign = IpAddr::from([127, 0, 67, 5]);
    let (ip, xds) = (foreign.to_string(), scene.plane.xds.to_string());
    let mut args = vec!["bootstrap", "--proxy", "envoy", "--pod", "foreign-1", "--ip", &ip, "--xds", &xds];
    args.extend(["--interception", "none", "--admin", "127.0.0.1:18999"]);
    let bootstrap = scene.plane.ctl(&args).await?.replace("re2.max_program_size.error_level", "re2.other");
    let bootstrap = bootstrap.replace("RE2_PROGRAM_MAX", "OTHER");
    let foreign_envoy = Sidecar::spawn_with(scene.dir.path(), ("foreign-1", Proxy::ENVOY), &bootstrap, 18_999)?;
    foreign_envoy.wait_ready().await?;
    let words: Vec<String> =
        (100u32..200).map(|number| format!("item{number}x{:x}", number.wrapping_mul(2_654_435_761))).collect();
    let (long, path) = (format!("/({})", words.join("|")), format!("/{}", words[23]));
    let said = scene.plane.apply(&routes(&long), &[]).await?;
    let warning = "virtualService default/regex: spec.http[0].match[0].uri.regex: its program has about";
    ensure!(said.contains(warning) && said.contains("which is not known of foreign-1.default"), "{said}");
    eventually("ours takes it", async || {
        get(scene.address, &path, &[("host", "near.test")]).await.is_ok_and(|answer| answer.status == 418)
    })
    .await?;
    eventually("the other one's refusal is told with the object", async || {
        let said = scene.plane.said(&["proxy-status"]).await.unwrap_or_default();
        said.contains("foreign-1.default refuses") && said.contains("virtualService default/regex")
    })
    .await?;
    // It goes on as before, and with what comes later.
    let at = async |host: &str| get(SocketAddr::new(foreign, PORT), &path, &[("host", host)]).await;
    ensure!(at("near.test").await?.header("x-backend") == Some("a"));
    scene.plane.apply(&service_entry("late.test", "HTTP", scene.ips[1]), &[]).await?;
    eventually("a later host is served", async || {
        at("late.test").await.is_ok_and(|answer| answer.header("x-backend") == Some("b"))
    })
    .await?;
    scene.nothing_is_refused().await
}
