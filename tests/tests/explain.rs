//! What `rutterctl explain` says, compared with what real Envoys do with random requests in random meshes.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use rutter_core::walk::{End, Outcome, Walk};
use rutter_tests::dice::Dice;
use rutter_tests::edge::{Edge, gateway};
use rutter_tests::expect::send;
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload, eventually};
use rutter_tests::walks::{self, Sent};
use rutter_tests::{echo, edge, http};
use tokio::task::JoinSet;

const PORT: u16 = 8000;
/// The number of meshes, and of requests in each.
const MESHES: u64 = 8;
const REQUESTS: u64 = 250;

/// Returns one of some words.
fn pick<'a>(dice: &mut Dice, words: &[&'a str]) -> &'a str {
    let at = dice.below(words.len() as u64);
    words[usize::try_from(at).unwrap_or_default()]
}

/// Returns some of the words, each with a probability of one in `one_in`.
fn some<'a>(dice: &mut Dice, words: &[&'a str], one_in: u64) -> Vec<&'a str> {
    words.iter().copied().filter(|_| dice.below(one_in) == 0).collect()
}

const CONDITIONS: &[&str] = &[
    "uri: {exact: /a}",
    "uri: {exact: /A/b}, ignoreUriCase: true",
    "uri: {prefix: /a}",
    "uri: {prefix: /a/}",
    "uri: {prefix: /b/c}",
    "uri: {prefix: /B}, ignoreUriCase: true",
    "uri: {regex: '/[ab]/.*'}",
    "uri: {regex: '/c.?'}",
    "uri: {regex: '/(a|b)\\{2\\}'}",
    "method: {exact: POST}",
    "method: {regex: 'P.*'}",
    "headers: {x-a: {exact: v}}",
    "headers: {x-a: {prefix: v}, x-b: {}}",
    "headers: {x-b: {regex: '[a-w]+'}}",
    "withoutHeaders: {x-a: {exact: v}}",
    "withoutHeaders: {x-b: {}}",
    "queryParams: {q: {exact: '1'}}",
    "queryParams: {q: {}}",
    "queryParams: {q: {regex: '[0-9]+'}, r: {prefix: x}}",
    "authority: {prefix: m}",
    "authority: {regex: '.*:8000'}",
    "scheme: {exact: https}",
    "headers: {x-forwarded-proto: {exact: https}}",
    "headers: {x-request-id: {}}, uri: {prefix: /c}",
    "headers: {x-forwarded-for: {}}, uri: {prefix: /b}",
    "port: 8000, uri: {prefix: /p}",
    "port: 8001",
    "uri: {prefix: /a}, method: {exact: GET}, headers: {x-a: {exact: v}}",
];

const ACTIONS: &[&str] = &[
    "TO_A",
    "TO_B",
    "TO_BOTH",
    "rewrite: {uri: /new}, TO_A",
    "rewrite: {uri: /new/, authority: inner.test}, TO_B",
    "rewrite: {uriRegexRewrite: {match: '/([^/]*)/(.*)', rewrite: '/\\2/\\1'}}, TO_A",
    "headers: {request: {set: {x-a: new}, add: {x-b: more}, remove: [x-c]}}, TO_A",
    "route: [{destination: {host: HOST, subset: b}, weight: 100, headers: {request: {set: {host: set.test}}}}]",
    "rewrite: {authority: route.test}, route: [{destination: {host: HOST, subset: a}, weight: 50, headers: {request: {set: {host: own.test}}}}, \
     {destination: {host: HOST, subset: b}, weight: 50, headers: {request: {set: {x-empty: ''}, remove: [x-a]}}}]",
    "redirect: {uri: /there, authority: other.test}",
    "redirect: {scheme: https, port: 8443, redirectCode: 308}",
    "redirect: {authority: other.test, redirectCode: 302}",
    "directResponse: {status: 418, body: {string: tea}}",
    "directResponse: {status: 204}",
    "directResponse: {status: 200}",
    "fault: {abort: {httpStatus: 599, percentage: {value: 100}}}, TO_A",
    "fault: {abort: {httpStatus: 599, percentage: {value: 30}}}, TO_B",
    "fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}, TO_B",
    "fault: {delay: {fixedDelay: 0.001s, percentage: {value: 100}}}, TO_B",
    "corsPolicy: {allowOrigins: [{exact: 'https://a.test'}, {regex: 'https://b.*'}], allowMethods: [GET]}, TO_A",
    "corsPolicy: {allowOrigins: [{prefix: 'https://a'}], unmatchedPreflights: IGNORE}, TO_B",
    "fault: {abort: {httpStatus: 599, percentage: {value: 30}}}, corsPolicy: {allowOrigins: [{prefix: https}]}, TO_B",
    "route: [{destination: {host: gone.test}}]",
    "route: [{destination: {host: HOST, subset: none}}]",
    "route: [{destination: {host: HOST, subset: a}, weight: 50}, {destination: {host: gone.test}, weight: 50}]",
    "mirror: {host: HOST, subset: b}, timeout: 3s, TO_A",
];

/// Returns the HTTP routes of a VirtualService, by chance.
fn routes(dice: &mut Dice) -> String {
    let mut routes = Vec::new();
    for _ in 0..=dice.below(5) {
        let conditions: Vec<String> = (0..dice.below(3)).map(|_| format!("{{{}}}", pick(dice, CONDITIONS))).collect();
        let conditions =
            if conditions.is_empty() { String::new() } else { format!("match: [{}], ", conditions.join(", ")) };
        routes.push(format!("{{{conditions}{}}}", pick(dice, ACTIONS)));
    }
    routes.join(", ")
}

/// Fills in where routes lead.
fn filled(text: &str, host: &str) -> String {
    let to = |subset: &str| format!("{{destination: {{host: HOST, subset: {subset}}}, weight: 50}}");
    let text = text.replace("TO_BOTH", &format!("route: [{}, {}]", to("a"), to("b")));
    let text = text.replace("TO_A", "route: [{destination: {host: HOST, subset: a}}]");
    let text = text.replace("TO_B", "route: [{destination: {host: HOST, subset: b}}]");
    text.replace("HOST", host)
}

fn entry(name: &str, hosts: &str, ips: [IpAddr; 2]) -> String {
    let [a, b] = ips;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{hosts}]\n  \
         location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: {PORT}, name: http, protocol: HTTP, targetPort: {}}}]\n  \
         endpoints: [{{address: {a}, labels: {{version: a}}}}, {{address: {b}, labels: {{version: b}}}}]\n---\n",
        PORT + 1
    )
}

fn rule(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
         spec: {{host: '{host}', subsets: [{{name: a, labels: {{version: a}}}}, {{name: b, labels: {{version: b}}}}, \
         {{name: none, labels: {{version: none}}}}]}}\n---\n"
    )
}

fn virtual_service(name: &str, host: &str, more: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec: {{hosts: ['{host}'], {more}http: [{http}]}}\n---\n"
    )
}

/// Returns the hosts of a mesh, of which the last is a wildcard.
fn hosts(mesh: u64) -> Vec<String> {
    let mut hosts: Vec<String> = (0..5).map(|number| format!("m{mesh}-h{number}.test")).collect();
    hosts.push(format!("*.m{mesh}-wild.test"));
    hosts
}

/// Returns a mesh, by chance. Hosts whose routes are left to chance may have none.
fn mesh(mesh: u64, ips: [IpAddr; 2], dice: &mut Dice) -> String {
    let mut config = String::new();
    for (number, host) in hosts(mesh).iter().enumerate() {
        let name = format!("m{mesh}-{number}");
        config.push_str(&entry(&name, &format!("'{host}'"), ips));
        config.push_str(&rule(&name, host));
        if dice.below(6) > 0 {
            // What a wildcard leads to is told by a host that it does not cover.
            let to = if host.starts_with('*') { &hosts(mesh)[0] } else { host };
            config.push_str(&filled(&virtual_service(&name, host, "", &routes(dice)), to));
        }
    }
    config
}

/// Returns a request, by chance: the host, and the rest as `send` takes it.
fn request(mesh: u64, dice: &mut Dice) -> (String, String) {
    let hosts = hosts(mesh);
    let host = &hosts[usize::try_from(dice.below(hosts.len() as u64)).unwrap_or_default()];
    let host = host.replace('*', pick(dice, &["x", "x.y"]));
    let host = match dice.below(12) {
        0 => host.to_ascii_uppercase(),
        1 => format!("{host}:{PORT}"),
        2 => format!("{host}:8001"),
        3 => format!("sub.{host}"),
        4 => format!("{host}."),
        _ => host,
    };
    let method = pick(dice, &["GET", "GET", "GET", "POST", "PUT", "OPTIONS"]);
    let first = pick(dice, &["/a", "/A", "/b", "/B", "/c", "/cc", "/p", "/", "/aa", "/%61", "/x/../a", "/a/."]);
    let rest = pick(dice, &["", "", "/b", "/B", "/c", "/", "//b", "/%2e%2E/b", "/b/./c", "/\\b", "/é"]);
    let query = pick(dice, &["", "", "?q=1", "?q=12&r=xy", "?r=x&q=z", "?q", "?r=x#f"]);
    let query = query.split('#').next().unwrap_or_default();
    let path = format!("{}{}{query}", first, rest.replace('é', "%c3%a9"));
    let path = if path.starts_with("//") { path[1..].to_owned() } else { path };
    let headers = [
        "x-a=v",
        "x-a=vv",
        "x-b=abc",
        "x-b=xyz",
        "x-c=1",
        "x-forwarded-proto=https",
        "origin=https://a.test",
        "origin=https://c.test",
        "access-control-request-method=GET",
        "content-type=application/grpc",
    ];
    let headers = some(dice, &headers, 4);
    let mut named: Vec<&str> = Vec::new();
    let unique = headers.into_iter().filter(|header| {
        let name = header.split('=').next().unwrap_or_default();
        !named.contains(&name) && {
            named.push(name);
            true
        }
    });
    let headers: String = unique.map(|header| format!(" {header}")).collect();
    (host, format!("{method} {path}{headers}"))
}

async fn sidecars(release: Release, number: u8, seed: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
    let mut apps = JoinSet::new();
    let applications = [(SocketAddr::new(a, PORT + 1), "a"), (SocketAddr::new(b, PORT + 1), "b")];
    for (address, name) in applications {
        echo::start(name, address, &mut apps).await?;
    }
    plane.apply(&entry("first", "first.test", [a, b]), &[]).await?;
    let workload = Workload {
        proxy: Proxy::Envoy(release, rutter_core::Variant::Delta),
        ..Workload::new("client-1", "default", client)
    };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    let address = SocketAddr::new(client, PORT);
    let mut dice = Dice::new(seed);
    let mut differences = Vec::new();
    for number in 0..MESHES {
        let config = mesh(number, [a, b], &mut dice);
        plane.apply(&config, &["--wait"]).await.with_context(|| config.clone())?;
        let marker =
            virtual_service("marker", "first.test", "", &format!("{{directResponse: {{status: {}}}}}", 400 + number));
        plane.apply(&marker, &["--wait"]).await?;
        eventually("the mesh is in force", async || {
            let answer = send(address, "first.test", "GET /").await;
            answer.is_ok_and(|answer| u64::from(answer.status) == 400 + number)
        })
        .await?;
        let sent = Sent::to(&plane, "client-1.default").await?;
        for _ in 0..REQUESTS {
            let (host, ask) = request(number, &mut dice);
            let answer = send(address, &host, &ask).await.with_context(|| format!("{host} {ask}"))?;
            let walk = sent.walk(address, &host, &ask)?;
            if let Err(error) = walks::compare(&walk, &answer, &applications) {
                differences.push(format!("seed {seed}, mesh {number}: {host} {ask}: {error}"));
            }
        }
    }
    ensure!(envoy.stat("update_rejected").await? == 0, "{}", plane.ctl(&["proxy-status"]).await?);
    ensure!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(5)].join("\n")
    );
    Ok(())
}

#[tokio::test]
async fn random_requests_go_where_the_evaluator_says_with_the_latest_envoy() -> Result<()> {
    sidecars(Release::V1_40, 151, 0x5eed_0001).await
}

#[tokio::test]
async fn random_requests_go_where_the_evaluator_says_with_the_oldest_envoy() -> Result<()> {
    sidecars(Release::V1_36, 152, 0x5eed_0002).await
}

/// Fills in where the routes of a gateway lead, whose applications are services.
fn filled_for_gateway(text: &str) -> String {
    let [a, b] = ["a", "b"].map(|name| format!("host: {name}, port: {{number: 80}}"));
    let text = filled(text, "HOST");
    let text = text.replace("host: HOST, subset: a", &a).replace("host: HOST, subset: b", &b);
    text.replace("host: HOST, subset: none", "host: gone.test")
}

/// The servers of the gateway: plain requests, a host that is redirected, requests that are decrypted, TLS that is passed on, and
/// bytes.
const SERVERS: &str = "{port: {number: 8080, name: http, protocol: HTTP}, bind: BIND, hosts: ['*.gw.test', '*.other.test']}, \
    {port: {number: 8080, name: up, protocol: HTTP}, bind: BIND, hosts: [up.test], tls: {httpsRedirect: true}}, \
    {port: {number: 8443, name: tls, protocol: HTTPS}, bind: BIND, hosts: ['*.gw.test'], tls: {mode: SIMPLE, \
    serverCertificate: DIR/server.pem, privateKey: DIR/server.key}}, \
    {port: {number: 9443, name: pass, protocol: TLS}, bind: BIND, hosts: ['*.gw.test'], tls: {mode: PASSTHROUGH}}, \
    {port: {number: 9081, name: tcp, protocol: TCP}, bind: BIND, hosts: ['*']}";

/// What the gateway does not see into: TLS for one host comes back to the gateway itself, and bytes go to `b`.
const CONNECTIONS: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: itself, namespace: shop}\n\
    spec: {hosts: [itself.test], resolution: STATIC, ports: [{number: 8443, name: tls, protocol: TLS}], endpoints: [{address: BIND}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: tcp, namespace: shop}\n\
    spec: {hosts: ['*'], gateways: [edge], tcp: [{match: [{port: 9081}], route: [{destination: {host: b, port: {number: 81}}}]}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: tls, namespace: shop}\n\
    spec: {hosts: [h0.gw.test], gateways: [edge], tls: [{match: [{port: 9443, sniHosts: [h0.gw.test]}], \
    route: [{destination: {host: itself.test, port: {number: 8443}}}]}]}\n---\n";

/// Returns the hosts of the gateway: several VirtualServices have the first, and the last is a wildcard.
const GATEWAY_HOSTS: [&str; 6] = ["h0.gw.test", "h0.gw.test", "h1.gw.test", "h2.other.test", "up.test", "*.gw.test"];

#[tokio::test]
async fn random_requests_at_a_gateway_go_where_the_evaluator_says() -> Result<()> {
    let edge = Edge::start(Release::V1_40, 153).await?;
    let names: Vec<&str> = GATEWAY_HOSTS.into_iter().filter(|host| !host.starts_with('*')).collect();
    edge.authority.issue("server", &[&names[..], &["x.gw.test"]].concat())?;
    edge.apply(&[gateway("edge", SERVERS), CONNECTIONS.to_owned()].concat()).await?;
    let mut dice = Dice::new(0x5eed_0003);
    let mut differences = Vec::new();
    for mesh in 0..4 {
        let services = GATEWAY_HOSTS.iter().enumerate().map(|(number, host)| {
            let http = filled_for_gateway(&routes(&mut dice));
            edge::virtual_service(
                &format!("v{number}"),
                &format!("hosts: ['{host}'], gateways: [edge], http: [{http}]"),
            )
        });
        let marker = format!(
            "hosts: [marker.gw.test], gateways: [edge], http: [{{directResponse: {{status: {}}}}}]",
            400 + mesh
        );
        let services: Vec<String> = services.collect();
        edge.apply(&[services.concat(), edge::virtual_service("marker", &marker)].concat()).await?;
        eventually("the mesh is in force", async || {
            edge.ask(8080, "marker.gw.test", "/").await.is_ok_and(|answer| u64::from(answer.status) == 400 + mesh)
        })
        .await?;
        let sent = Sent::to(&edge.plane, "edge-1.istio-system").await?;
        for _ in 0..REQUESTS {
            let (_, ask) = request(0, &mut dice);
            let host = pick(&mut dice, &GATEWAY_HOSTS).replace('*', "x");
            let host = if dice.below(8) == 0 { "unknown.test".to_owned() } else { host };
            let port = [8080, 8080, 8080, 8443, 9443, 9081][usize::try_from(dice.below(6))?];
            let address = SocketAddr::new(edge.ip, port);
            let said = match port {
                8443 | 9443 => {
                    let walk = sent.walk_encrypted(address, &host, &ask)?;
                    compare_encrypted(&edge, &walk, (&host, &ask), address).await
                }
                _ => {
                    let answer = send(address, &host, &ask).await.with_context(|| format!("{port} {host} {ask}"))?;
                    walks::compare(&sent.walk(address, &host, &ask)?, &answer, &edge.applications())
                }
            };
            if let Err(error) = said {
                differences.push(format!("mesh {mesh}: {port} {host} {ask}: {error}"));
            }
        }
    }
    ensure!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(5)].join("\n")
    );
    edge.nothing_refused().await
}

/// Sends a request in TLS, and compares. What passes through comes back to the gateway, which decrypts it.
async fn compare_encrypted(edge: &Edge, walk: &Walk, (host, ask): (&str, &str), address: SocketAddr) -> Result<()> {
    let closes = walk.ends.iter().all(|end| matches!(end.outcome, Outcome::Closed { .. }));
    let stream = match edge.authority.connect(address, host, None).await {
        Ok(stream) => stream,
        Err(error) => {
            ensure!(closes, "{error:#}, and not {:?}", walk.ends);
            return Ok(());
        }
    };
    ensure!(!closes, "the gateway takes the connection, and not {:?}", walk.ends);
    let mut words = ask.split(' ');
    let target = (words.next().context("a method")?, words.next().context("a path")?);
    let headers: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let answer = http::exchange(stream, target, host, &headers).await?;
    match &walk.ends[..] {
        [End { outcome: Outcome::Endpoints { endpoints, request: None, .. }, .. }] => {
            let itself = SocketAddr::new(edge.ip, 8443).to_string();
            ensure!(endpoints.iter().any(|endpoint| endpoint.address == itself), "{endpoints:?}");
            Ok(())
        }
        _ => walks::compare(walk, &answer, &edge.applications()),
    }
}

/// The client, and the application `a` behind a sidecar of its own.
const PAIR: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec:\n  hosts: [a.test]\n  \
    location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8001}]\n  \
    endpoints: [{address: A_IP, labels: {version: v1}}]\n---\n\
    apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n\
    spec: {workloadSelector: {labels: {app: a}}, ingress: [{port: {number: 8001, protocol: HTTP, name: http}, \
    defaultEndpoint: '0.0.0.0:8002'}]}\n---\n";

/// A rule that no Envoy takes, because it has no such file.
const REFUSED: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\n\
    spec: {host: a.test, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /nowhere/ca.pem}}}\n";

#[tokio::test]
async fn what_a_sidecar_has_and_what_it_should_have_are_told_apart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let [a, client] = [1, 3].map(|last| IpAddr::from([127, 0, 154, last]));
    let mut apps = JoinSet::new();
    echo::start("a", SocketAddr::new(a, 8002), &mut apps).await?;
    plane.apply(&PAIR.replace("A_IP", &a.to_string()), &[]).await?;
    let workload = |name: &str, app: &str, ip: IpAddr| Workload {
        proxy: Proxy::ENVOY,
        labels: vec![format!("app={app}")],
        ..Workload::new(name, "default", ip)
    };
    let of_client = Sidecar::start(dir.path(), &plane, &workload("client-1", "client", client)).await?;
    let of_a = Sidecar::start(dir.path(), &plane, &workload("a-1", "a", a)).await?;
    let answer = send(SocketAddr::new(client, 8000), "a.test", "GET /x").await?;
    ensure!(answer.header("x-backend") == Some("a"), "{} {}", answer.status, answer.body);
    let ask = ["explain", "--from", "client-1", "--to", "a-1", "http://a.test:8000/x"];
    let told = plane.ctl(&ask).await?;
    for part in [
        "client-1.default, outbound: a connection comes to the proxy at 127.0.154.3:8000",
        "serviceEntry default/a spec.ports[0]",
        "sent to 127.0.154.1:8001",
        "serviceEntry default/a spec.endpoints[0]",
        "a-1.default, inbound: a connection comes to the proxy at 127.0.154.1:8001",
        "sidecar default/a spec.ingress[0]",
        "sent to 127.0.154.1:8002",
    ] {
        ensure!(told.contains(part), "want {part}, got\n{told}");
    }
    ensure!(!told.contains("note:") && !told.contains("NOT ASKED"), "{told}");
    // What is not applied can be tried.
    let tried = dir.path().join("tried.yaml");
    let all = "directResponse: {status: 418, body: {string: tea}}";
    std::fs::write(&tried, virtual_service("tea", "a.test", "", &format!("{{{all}}}")))?;
    let tried = tried.display().to_string();
    let told = plane.ctl(&["explain", "--from", "client-1", "a.test:8000/x", "-f", &tried]).await?;
    ensure!(
        told.contains("the proxy answers 418: tea") && told.contains("virtualService default/tea spec.http[0]"),
        "{told}"
    );
    ensure!(!plane.ctl(&ask).await?.contains("418"), "nothing was applied");
    // A cluster that the Envoy refuses: it goes on with the one that it had.
    plane.apply(REFUSED, &[]).await?;
    eventually("the refusal is told", async || plane.ctl(&ask).await.is_ok_and(|told| told.contains("REFUSED")))
        .await?;
    described(&plane).await?;
    let dump = dir.path().join("dump.json");
    std::fs::write(&dump, of_client.admin("/config_dump?include_eds").await?)?;
    let told = plane.ctl(&[&ask[..], &["--config-dump", &dump.display().to_string()]].concat()).await?;
    let (should, has) = told.split_once("outbound, by its config dump").context("what it has")?;
    let of_should = should.lines().find(|line| line.contains("outbound|8000||a.test")).unwrap_or_default();
    ensure!(of_should.contains("encrypted (TLS)") && of_should.contains("REFUSED"), "{told}");
    let of_has = has.lines().find(|line| line.contains("outbound|8000||a.test")).unwrap_or_default();
    ensure!(!of_has.is_empty() && !of_has.contains("encrypted"), "{told}");
    ensure!(told.contains("note: this is what client-1.default should have"), "{told}");
    // One that has left is told as such.
    drop(of_client);
    let left = async || {
        let told = plane.said(&ask).await.unwrap_or_default();
        told.contains("client-1.default left ")
    };
    eventually("the sidecar has left", left).await?;
    let nobody = plane.said(&["explain", "--from", "nobody", "a.test"]).await?;
    ensure!(nobody.contains("nobody: no such sidecar is connected"), "{nobody}");
    drop(of_a);
    Ok(())
}

/// Checks what is described while the client refuses the rule.
async fn described(plane: &ControlPlane) -> Result<()> {
    let refused = plane.ctl(&["describe", "dr/a"]).await?;
    for part in ["in force for 2 of 2 sidecars", "REFUSED by", "client-1.default refuses cluster outbound|8000||a.test"]
    {
        ensure!(refused.contains(part), "want {part}, got\n{refused}");
    }
    let service = plane.ctl(&["describe", "se", "a", "-o", "json"]).await?;
    let service: serde_json::Value = serde_json::from_str(&service)?;
    let service = &service["descriptions"][0];
    ensure!(service["seenBy"] == 2 && service["lastSentUs"].as_i64() > Some(0), "{service}");
    ensure!(service["shapedBy"][0]["object"] == "destinationRule default/a", "{service}");
    let top: serde_json::Value = serde_json::from_str(&plane.ctl(&["top", "--once", "-o", "json"]).await?)?;
    ensure!(top["connected"] == 2 && top["refusing"].as_u64() > Some(0) && top["pushes"].as_u64() > Some(4), "{top}");
    ensure!(top["refusals"][0]["resource"].as_str().is_some_and(|name| name.contains("a.test")), "{top}");
    ensure!(top["biggest"][0]["bytes"].as_u64() > Some(0) && top["converged"]["p50Us"].is_u64(), "{top}");
    let no_terminal = plane.said(&["top"]).await?;
    ensure!(no_terminal.contains("--once"), "{no_terminal}");
    let client_told = plane.ctl(&["describe", "client"]).await?;
    ensure!(client_told.starts_with("sidecar client-1.default\n") && client_told.contains("0 others"), "{client_told}");
    Ok(())
}
