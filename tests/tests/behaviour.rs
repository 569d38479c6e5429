//! What each field of a VirtualService means, tried with a real Envoy: a request goes in, and what became of it is
//! compared with what Istio's documentation says.
//!
//! One Envoy stands in front of two applications, `a` and `b`. Each case has a host of its own, so that all of them are
//! applied at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use rutter_tests::echo::{self, Asked};
use rutter_tests::http::{Answer, request};
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload, eventually};
use serde_json::Value;
use tokio::task::JoinSet;

const PORT: u16 = 8000;

/// A field, the HTTP routes that set it, and requests with what becomes of them.
struct Case {
    field: &'static str,
    http: &'static str,
    /// A request, `METHOD PATH` and headers `name=value`, and what is expected of it: the status, and words of
    /// [`expect_word`].
    asks: &'static [(&'static str, &'static str)],
}

/// The routes that most cases end with.
const REST: &str = "{route: [{destination: {host: HOST, subset: b}}]}";

const MATCHES: &[Case] = &[
    Case {
        field: "match.uri.exact",
        http: "{match: [{uri: {exact: /a}}], TO_A}, REST",
        asks: &[("GET /a", "200 a"), ("GET /a?q=1", "200 a"), ("GET /ab", "200 b"), ("GET /A", "200 b")],
    },
    Case {
        field: "match.uri.prefix",
        http: "{match: [{uri: {prefix: /a}}], TO_A}, REST",
        asks: &[("GET /a", "200 a"), ("GET /abc", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.uri.regex",
        http: "{match: [{uri: {regex: '/isbn/[0-9-]+'}}], TO_A}, REST",
        asks: &[("GET /isbn/1-2", "200 a"), ("GET /isbn/1-2?q=1", "200 a"), ("GET /isbn/1/x", "200 b")],
    },
    Case {
        field: "match.ignoreUriCase",
        http: "{match: [{uri: {exact: /Index}, ignoreUriCase: true}, {uri: {prefix: /Sub/}, ignoreUriCase: true}], TO_A}, REST",
        asks: &[("GET /iNDEX", "200 a"), ("GET /sub/x", "200 a"), ("GET /index/", "200 b")],
    },
    Case {
        field: "match.method",
        http: "{match: [{method: {exact: POST}}, {method: {regex: 'DEL.*'}}], TO_A}, REST",
        asks: &[("POST /", "200 a"), ("DELETE /", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.scheme",
        http: "{match: [{scheme: {exact: http}, uri: {prefix: /s}}, {scheme: {exact: https}}], TO_A}, REST",
        asks: &[("GET /s", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.authority",
        http: "{match: [{authority: {prefix: HOST}, uri: {exact: /yes}}, {authority: {exact: other}}], TO_A}, REST",
        asks: &[("GET /yes", "200 a"), ("GET /no", "200 b")],
    },
    Case {
        field: "match.headers",
        http: "{match: [{headers: {x-exact: {exact: v}}}, {headers: {x-prefix: {prefix: v}}}, \
               {headers: {x-regex: {regex: 'v[0-9]'}}}, {headers: {x-there: {}}}], TO_A}, REST",
        asks: &[
            ("GET / x-exact=v", "200 a"),
            ("GET / x-exact=vv", "200 b"),
            ("GET / x-prefix=vv", "200 a"),
            ("GET / x-prefix=w", "200 b"),
            ("GET / x-regex=v1", "200 a"),
            ("GET / x-regex=v11", "200 b"),
            ("GET / x-there=anything", "200 a"),
            ("GET /", "200 b"),
        ],
    },
    Case {
        field: "match.withoutHeaders",
        http: "{match: [{uri: {prefix: /value}, withoutHeaders: {x-a: {exact: v}}}, \
               {uri: {prefix: /there}, withoutHeaders: {x-a: {}}}], TO_A}, REST",
        asks: &[
            ("GET /value", "200 a"),
            ("GET /value x-a=w", "200 a"),
            ("GET /value x-a=v", "200 b"),
            ("GET /there", "200 a"),
            ("GET /there x-a=w", "200 b"),
        ],
    },
    Case {
        field: "match.queryParams",
        http: "{match: [{queryParams: {e: {exact: '1'}}}, {queryParams: {p: {prefix: x}}}, \
               {queryParams: {r: {regex: '[0-9]+'}}}, {queryParams: {t: {}}}], TO_A}, REST",
        asks: &[
            ("GET /?e=1", "200 a"),
            ("GET /?e=12", "200 b"),
            ("GET /?p=xy", "200 a"),
            ("GET /?r=17", "200 a"),
            ("GET /?r=x", "200 b"),
            ("GET /?t=", "200 a"),
            ("GET /", "200 b"),
        ],
    },
    Case {
        field: "match.port",
        http: "{match: [{port: 8000, uri: {prefix: /here}}, {port: 8001}], TO_A}, REST",
        asks: &[("GET /here", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.sourceNamespace",
        http: "{match: [{sourceNamespace: default, uri: {prefix: /mine}}, {sourceNamespace: other}], TO_A}, REST",
        asks: &[("GET /mine", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.sourceLabels",
        http: "{match: [{sourceLabels: {app: client}, uri: {prefix: /mine}}, {sourceLabels: {app: x}}], TO_A}, REST",
        asks: &[("GET /mine", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.gateways",
        http: "{match: [{gateways: [mesh], uri: {prefix: /mesh}}], TO_A}, REST",
        asks: &[("GET /mesh", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match.statPrefix",
        http: "{match: [{statPrefix: counted, uri: {prefix: /x}}], TO_A}, REST",
        asks: &[("GET /x", "200 a"), ("GET /", "200 b")],
    },
    Case {
        field: "match, several in one condition",
        http: "{match: [{uri: {prefix: /a}, method: {exact: GET}, headers: {x-a: {exact: v}}}], TO_A}, REST",
        asks: &[("GET /a x-a=v", "200 a"), ("POST /a x-a=v", "200 b"), ("GET /a", "200 b")],
    },
];

const ACTIONS: &[Case] = &[
    Case {
        field: "route.weight",
        http: "{route: [{destination: {host: HOST, subset: a}, weight: 0}, {destination: {host: HOST, subset: b}, weight: 3}]}",
        asks: &[("GET /", "200 b")],
    },
    Case {
        field: "timeout",
        http: "{match: [{uri: {prefix: /short}}], timeout: 0.2s, retries: {attempts: 0}, TO_A}, REST",
        asks: &[("GET /short x-wait-ms=1500", "504"), ("GET /short", "200 a"), ("GET / x-wait-ms=300", "200 b")],
    },
    Case {
        field: "retries",
        http: "{match: [{uri: {prefix: /three}}], retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}, TO_A}, \
               {match: [{uri: {prefix: /codes}}], retries: {attempts: 2, retryOn: '418', backoff: 1ms, \
               retryIgnorePreviousHosts: false}, TO_A}, \
               {match: [{uri: {prefix: /none}}], retries: {attempts: 0}, TO_A}, \
               {match: [{uri: {prefix: /try}}], retries: {attempts: 2, retryOn: 5xx, perTryTimeout: 0.2s, \
               retryRemoteLocalities: true}, TO_A}, REST",
        asks: &[
            ("GET /three x-status=500 x-until=4", "200 a request:x-envoy-attempt-count=4"),
            ("GET /three x-status=500 x-until=5", "500"),
            ("GET /codes x-status=418 x-until=3", "200 a request:x-envoy-attempt-count=3"),
            ("GET /codes x-status=500 x-until=3", "500"),
            ("GET /none x-status=503 x-until=2", "503"),
            ("GET /try x-wait-ms=1000", "504"),
            // The default tries no status again.
            ("GET / x-status=503 x-until=2", "503"),
        ],
    },
    Case {
        field: "rewrite.uri",
        http: "{match: [{uri: {prefix: /v1/}}], rewrite: {uri: /v2/}, TO_A}, \
               {match: [{uri: {exact: /one}}], rewrite: {uri: /two}, TO_A}, \
               {match: [{uri: {regex: '/r[0-9]'}}], rewrite: {uri: /three}, TO_A}, REST",
        asks: &[
            ("GET /v1/x?q=1", "200 a path=/v2/x?q=1"),
            ("GET /one", "200 a path=/two"),
            ("GET /r7", "200 a path=/three"),
            ("GET /", "200 b path=/"),
        ],
    },
    Case {
        field: "rewrite.authority",
        http: "{rewrite: {authority: books.internal}, TO_A}",
        asks: &[("GET /", "200 a host=books.internal")],
    },
    Case {
        field: "rewrite.uriRegexRewrite",
        http: r"{rewrite: {uriRegexRewrite: {match: '^/author/([^/]+)$', rewrite: '/by/\1'}}, TO_A}",
        asks: &[("GET /author/x", "200 a path=/by/x"), ("GET /author/x/y", "200 a path=/author/x/y")],
    },
    Case {
        field: "redirect",
        http: "{match: [{uri: {exact: /all}}], redirect: {uri: /market, authority: www.example.com, scheme: https, redirectCode: 308}}, \
               {match: [{uri: {exact: /port}}], redirect: {port: 8080}}, \
               {match: [{uri: {exact: /default-port}}], redirect: {derivePort: FROM_PROTOCOL_DEFAULT, scheme: https}}, \
               {match: [{uri: {exact: /request-port}}], redirect: {derivePort: FROM_REQUEST_PORT, authority: x.example.com}}, \
               {match: [{uri: {prefix: /code/302}}], redirect: {uri: /x, redirectCode: 302}}, \
               {match: [{uri: {prefix: /code/303}}], redirect: {uri: /x, redirectCode: 303}}, \
               {match: [{uri: {prefix: /code/307}}], redirect: {uri: /x, redirectCode: 307}}, REST",
        asks: &[
            ("GET /all", "308 response:location=https://www.example.com/market"),
            ("GET /port", "301 response:location=http://HOST:8080/port"),
            ("GET /default-port", "301 response:location=https://HOST/default-port"),
            ("GET /request-port", "301 response:location=http://x.example.com:8000/request-port"),
            ("GET /code/302", "302 response:location=http://HOST/x"),
            ("GET /code/303", "303"),
            ("GET /code/307", "307"),
            ("GET /", "200 b"),
        ],
    },
    Case {
        field: "directResponse",
        http: "{match: [{uri: {exact: /text}}], directResponse: {status: 200, body: {string: pong}}}, \
               {match: [{uri: {exact: /bytes}}], directResponse: {status: 418, body: {bytes: cG9uZw==}}}, \
               {match: [{uri: {exact: /nothing}}], directResponse: {status: 503}}, REST",
        asks: &[
            ("GET /text", "200 body=pong"),
            ("GET /bytes", "418 body=pong"),
            ("GET /nothing", "503 body="),
            ("GET /", "200 b"),
        ],
    },
    Case {
        field: "headers",
        http: "{headers: {request: {set: {x-set: s}, add: {x-add: added}, remove: [x-gone]}, \
               response: {set: {x-backend: changed}, add: {x-new: fresh}, remove: [x-secret]}}, TO_A}",
        asks: &[(
            "GET / x-set=before x-add=before x-gone=1",
            "200 request:x-set=s request:x-add=before,added request:x-gone=- response:x-backend=changed response:x-new=fresh \
             response:x-secret=-",
        )],
    },
    Case {
        field: "headers.request.set of the host",
        http: "{headers: {request: {set: {host: set.example.com}}}, TO_A}",
        asks: &[("GET /", "200 a host=set.example.com")],
    },
    Case {
        field: "route.headers",
        http: "{match: [{uri: {prefix: /one}}], headers: {request: {set: {x-route: r}}}, route: [{destination: {host: HOST, subset: a}, \
               headers: {request: {set: {x-destination: d}}, response: {remove: [x-secret]}}}]}, \
               {route: [{destination: {host: HOST, subset: b}, weight: 100, headers: {response: {add: {x-canary: '1'}}, \
               request: {set: {':authority': canary.example.com}}}}, {destination: {host: HOST, subset: a}, weight: 0}]}",
        asks: &[
            ("GET /one", "200 a request:x-route=r request:x-destination=d response:x-secret=-"),
            ("GET /", "200 b response:x-canary=1 response:x-secret=1 host=canary.example.com"),
        ],
    },
    Case {
        field: "corsPolicy",
        http: "{match: [{uri: {prefix: /ajax}}], corsPolicy: {allowOrigins: [{exact: 'https://a.example.com'}, {regex: 'https://.*\\.dev'}, \
               {prefix: 'http://p'}], allowMethods: [GET, PUT], allowHeaders: [x-a, x-b], exposeHeaders: [x-backend], maxAge: 600s, \
               allowCredentials: true, unmatchedPreflights: IGNORE}, TO_A}, \
               {match: [{uri: {prefix: /forward}}], corsPolicy: {allowOrigin: ['https://a.example.com'], \
               unmatchedPreflights: FORWARD}, TO_A}, REST",
        asks: &[
            (
                "OPTIONS /ajax origin=https://a.example.com access-control-request-method=PUT",
                "200 response:access-control-allow-origin=https://a.example.com response:access-control-allow-methods=GET,PUT \
                 response:access-control-allow-headers=x-a,x-b response:access-control-max-age=600 \
                 response:access-control-allow-credentials=true response:x-backend=-",
            ),
            (
                "GET /ajax origin=https://x.dev",
                "200 a response:access-control-allow-origin=https://x.dev response:access-control-expose-headers=x-backend",
            ),
            ("GET /ajax origin=http://p1", "200 a response:access-control-allow-origin=http://p1"),
            ("GET /ajax origin=https://evil.example.com", "200 a response:access-control-allow-origin=-"),
            (
                "OPTIONS /ajax origin=https://evil.example.com access-control-request-method=PUT",
                "200 response:x-backend=-",
            ),
            (
                "OPTIONS /forward origin=https://a.example.com access-control-request-method=PUT",
                "200 response:x-backend=-",
            ),
            ("OPTIONS /forward origin=https://evil.example.com access-control-request-method=PUT", "200 a"),
        ],
    },
    Case {
        field: "fault",
        http: "{match: [{uri: {prefix: /abort}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, TO_A}, \
               {match: [{uri: {prefix: /all}}], fault: {abort: {httpStatus: 555}}, TO_A}, \
               {match: [{uri: {prefix: /never}}], fault: {abort: {httpStatus: 418, percentage: {value: 0}}}, TO_A}, \
               {match: [{uri: {prefix: /grpc}}], fault: {abort: {grpcStatus: UNAVAILABLE}}, TO_A}, \
               {match: [{uri: {prefix: /slow}}], timeout: 3s, fault: {delay: {fixedDelay: 0.6s, percent: 100}}, TO_A}, REST",
        asks: &[
            ("GET /abort", "418 response:x-backend=-"),
            ("GET /all", "555"),
            ("GET /never", "200 a"),
            ("POST /grpc content-type=application/grpc", "200 response:grpc-status=14 response:x-backend=-"),
            ("GET /slow", "200 a took=600"),
            ("GET /", "200 b"),
        ],
    },
    Case {
        field: "mirrors",
        http: "{match: [{uri: {prefix: /copied}}], mirrors: [{destination: {host: HOST, subset: b}, percentage: {value: 100}}], TO_A}, \
               {match: [{uri: {prefix: /former-copied}}], mirror: {host: HOST, subset: b}, mirrorPercentage: {value: 100}, TO_A}, \
               {match: [{uri: {prefix: /not-mirrored}}], mirror: {host: HOST, subset: b}, mirrorPercent: 0, TO_A}, \
               {match: [{uri: {prefix: /nowhere}}], mirror: {host: nowhere.test}, TO_A}, REST",
        asks: &[
            ("GET /copied", "200 a"),
            ("GET /former-copied", "200 a"),
            ("GET /not-mirrored", "200 a"),
            ("GET /nowhere", "200 a"),
        ],
    },
    Case {
        field: "delegate",
        http: "{match: [{uri: {prefix: /reviews}}], timeout: 0.2s, delegate: {name: reviews}}, \
               {match: [{uri: {prefix: /missing}}], delegate: {name: nobody}}, REST",
        asks: &[
            ("GET /reviews/top", "200 a"),
            ("GET /reviews x-wait-ms=1000", "504"),
            ("GET /other", "200 b"),
            ("GET /missing", "200 b"),
        ],
    },
    Case {
        field: "a destination that does not exist",
        http: "{match: [{uri: {prefix: /gone}}], route: [{destination: {host: gone.test}}]}, REST",
        asks: &[("GET /gone", "503 response:x-backend=-"), ("GET /", "200 b")],
    },
];

const DELEGATE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n\
    spec: {http: [{match: [{uri: {prefix: /reviews/top}}], timeout: 2s, route: [{destination: {host: c0.test, subset: a}}]}, \
    {match: [{uri: {prefix: /elsewhere}}], route: [{destination: {host: c0.test, subset: a}}]}, \
    {route: [{destination: {host: c0.test, subset: a}}]}]}\n---\n";

fn cases() -> impl Iterator<Item = (String, &'static Case)> {
    MATCHES.iter().chain(ACTIONS).enumerate().map(|(number, case)| (format!("c{number}.test"), case))
}

fn config(ips: [IpAddr; 2]) -> String {
    let hosts: Vec<String> = cases().map(|(host, _)| host).collect();
    let [a, b] = ips.map(|ip| ip.to_string());
    let mut config = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: cases}}\nspec:\n  hosts: [{}]\n  \
         location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: {PORT}, name: http, protocol: HTTP, targetPort: {}}}]\n  \
         endpoints: [{{address: {a}, labels: {{version: a}}}}, {{address: {b}, labels: {{version: b}}}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: cases}}\n\
         spec: {{host: '*.test', subsets: [{{name: a, labels: {{version: a}}}}, {{name: b, labels: {{version: b}}}}]}}\n---\n{DELEGATE}",
        hosts.join(", "),
        PORT + 1,
    );
    for (host, case) in cases() {
        let http = case.http.replace("TO_A", "route: [{destination: {host: HOST, subset: a}}]").replace("REST", REST);
        let name = host.replace(".test", "");
        config.push_str(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [{host}], http: [{}]}}\n---\n",
            http.replace("HOST", &host)
        ));
    }
    config
}

/// A case's request, sent.
struct Exchange {
    answer: Answer,
    milliseconds: u128,
}

async fn send(envoy: SocketAddr, host: &str, ask: &str) -> Result<Exchange> {
    let mut words = ask.split(' ');
    let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
    let mut headers: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    headers.push(("host", host));
    let start = std::time::Instant::now();
    let answer = request(envoy, (method, path), &headers).await?;
    Ok(Exchange { answer, milliseconds: start.elapsed().as_millis() })
}

/// Checks one word of what is expected: a status; a backend; `body=`, `path=` and `host=` as the backend saw them;
/// `request:NAME=` and `response:NAME=`, where `-` means none; `took=` for at least so many milliseconds.
fn expect_word(word: &str, exchange: &Exchange) -> Result<()> {
    let answer = &exchange.answer;
    let echoed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let Some((place, want)) = word.split_once('=') else {
        if let Ok(status) = word.parse::<u16>() {
            ensure!(answer.status == status, "want status {status}, got {}", answer.status);
        } else {
            ensure!(text(&echoed["backend"]) == word, "want backend {word}, got {}", echoed["backend"]);
        }
        return Ok(());
    };
    let got = match place.split_once(':') {
        Some(("request", name)) => text(&echoed["headers"][name]),
        Some(("response", name)) => answer.header(name).unwrap_or("-").to_owned(),
        Some(_) | None => match place {
            "body" => answer.body.clone(),
            "took" => {
                return Ok(ensure!(exchange.milliseconds >= want.parse()?, "it took {} ms", exchange.milliseconds));
            }
            _ => text(&echoed[place]),
        },
    };
    ensure!(got == want, "want {place} {want:?}, got {got:?}");
    Ok(())
}

async fn check_all(release: Release, number: u8) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
    let mut apps = JoinSet::new();
    let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
    for (name, ip) in [("a", a), ("b", b)] {
        asked.insert(name, echo::start(name, SocketAddr::new(ip, PORT + 1), &mut apps).await?);
    }
    plane.apply(&config([a, b]), &[]).await?;
    let proxy = Proxy::Envoy(release, rutter_core::Variant::Delta);
    let workload =
        Workload { proxy, labels: vec!["app=client".into()], ..Workload::new("client-1", "default", client) };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    let address = SocketAddr::new(client, PORT);
    let mut wrong = Vec::new();
    for (host, case) in cases() {
        for (ask, want) in case.asks {
            let exchange = send(address, &host, ask).await.with_context(|| format!("{}: {ask}", case.field))?;
            for word in want.replace("HOST", &host).split(' ').filter(|word| !word.is_empty()) {
                if let Err(error) = expect_word(word, &exchange) {
                    wrong.push(format!("{}: {ask}: {error}", case.field));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{release:?}:\n{}", wrong.join("\n"));
    eventually("copies of both mirrored requests", async || {
        ["/copied", "/former-copied"].iter().all(|path| asked["b"].count(path) == 1)
    })
    .await?;
    assert_eq!(asked["b"].count("/not-mirrored"), 0);
    assert!(envoy.stat("vhost.*counted").await? > 0, "the route with a prefix is counted");
    assert_eq!(envoy.stat("update_rejected").await?, 0);
    Ok(())
}

#[tokio::test]
async fn every_field_of_a_virtual_service_means_what_istio_says_with_the_latest_envoy() -> Result<()> {
    check_all(Release::V1_40, 41).await
}

#[tokio::test]
async fn every_field_of_a_virtual_service_means_what_istio_says_with_the_oldest_envoy() -> Result<()> {
    check_all(Release::V1_36, 42).await
}
