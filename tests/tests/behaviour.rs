//! What each field of a VirtualService and of a DestinationRule means, tried with a real Envoy: a request goes in, and what became of it is
//! compared with what Istio's documentation says.
//!
//! One Envoy stands in front of two applications, `a` and `b`. Each case has a host of its own, so that all of them are
//! applied at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use rutter_api::config::istio;
use rutter_api::config::kubernetes::MeshConfig;
use rutter_api::yaml;
use rutter_tests::echo::{self, Asked};
use rutter_tests::expect::{expect_word, send};
use rutter_tests::process::{ControlPlane, Proxy, Release, Sidecar, Workload, eventually};
use rutter_tests::schema::{Noted, Schema};
use rutter_tests::walks::{self, Sent};
use rutter_tests::{http, root};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

const PORT: u16 = 8000;
/// The port of the application at the address that `localhost` means.
const LOCAL_PORT: u16 = 8017;

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
        http: "{match: [{name: only-a, uri: {exact: /a}}], TO_A}, REST",
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
               unmatchedPreflights: FORWARD}, TO_A}, \
               {match: [{uri: {prefix: /unspecified}}], corsPolicy: {allowOrigins: [{exact: 'https://a.example.com'}], \
               unmatchedPreflights: UNSPECIFIED}, TO_A}, REST",
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
            ("OPTIONS /unspecified origin=https://evil.example.com access-control-request-method=PUT", "200 a"),
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
            ("GET /slow", "200 a"),
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
               {match: [{uri: {prefix: /far}}], delegate: {name: far, namespace: other}}, \
               {match: [{uri: {prefix: /missing}}], delegate: {name: nobody}}, REST",
        asks: &[
            ("GET /reviews/top", "200 a"),
            ("GET /reviews x-wait-ms=1000", "504"),
            ("GET /far", "200 a"),
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
    {route: [{destination: {host: c0.test, subset: a}}]}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: far, namespace: other}\n\
    spec: {http: [{route: [{destination: {host: c0.test, subset: a}}]}]}\n---\n";

/// The policies of DestinationRules, each for a host of its own, `p0.test` and so on, and what a usual request comes to. What
/// the first ones do besides is seen in [`check_policies`].
const POLICIES: &[(&str, &str)] = &[
    ("loadBalancer: {consistentHash: {httpHeaderName: x-user, minimumRingSize: 128}}", "200"),
    (
        "loadBalancer: {consistentHash: {httpCookie: {name: session, ttl: 60s, path: /, attributes: [{name: Secure}, \
         {name: SameSite, value: Lax}]}, maglev: {tableSize: 1021}}}",
        "200",
    ),
    ("loadBalancer: {consistentHash: {httpQueryParameterName: user, ringHash: {minimumRingSize: 64}}}", "200"),
    ("loadBalancer: {consistentHash: {useSourceIp: true}}", "200"),
    (
        "outlierDetection: {consecutive5xxErrors: 1, interval: 0.1s, baseEjectionTime: 60s, maxEjectionPercent: 100}",
        "200",
    ),
    ("connectionPool: {http: {http2MaxRequests: 1}}", "200"),
    (
        "loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 8000}, loadBalancer: {consistentHash: \
         {httpHeaderName: x-user}}}]",
        "200",
    ),
    ("loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 20s, minimumPercent: 5, aggression: 2}}", "200"),
    ("loadBalancer: {simple: LEAST_REQUEST, warmupDurationSecs: 20s}", "200"),
    ("loadBalancer: {simple: RANDOM}", "200"),
    ("loadBalancer: {simple: LEAST_CONN}", "200"),
    ("loadBalancer: {simple: UNSPECIFIED}", "200"),
    // Where the request was for is known only of captured traffic.
    ("loadBalancer: {simple: PASSTHROUGH}", "503"),
    (
        "connectionPool: {tcp: {maxConnections: 9, connectTimeout: 1s, tcpKeepalive: {probes: 3, time: 60s, interval: 5s}, \
         maxConnectionDuration: 1h, idleTimeout: 1h}, http: {http1MaxPendingRequests: 9, maxRequestsPerConnection: 9, \
         maxRetries: 9, idleTimeout: 9s, maxConcurrentStreams: 9}}, retryBudget: {percent: 25, minRetryConcurrency: 4}",
        "200",
    ),
    // The application speaks HTTP/1.1 alone.
    ("connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "503"),
    ("connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}", "200"),
    ("connectionPool: {http: {h2UpgradePolicy: DEFAULT}}", "200"),
    ("connectionPool: {http: {useClientProtocol: true}}", "200"),
    (
        "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, consecutiveGatewayErrors: 2, \
         consecutive5xxErrors: 0, minHealthPercent: 30}",
        "200",
    ),
    // The application speaks plain text.
    ("tls: {mode: SIMPLE, insecureSkipVerify: true, sni: other.test}", "503"),
    (
        "tls: {mode: SIMPLE, caCertificates: /etc/ssl/certs/ca-certificates.crt, subjectAltNames: [a.test, 'spiffe://b/c', 10.0.0.1]}",
        "503",
    ),
    // It takes the line of the PROXY protocol for a request.
    ("tls: {mode: DISABLE}, proxyProtocol: {version: V1}", "400"),
    ("tls: {mode: SIMPLE, insecureSkipVerify: true}, proxyProtocol: {version: V2}", "503"),
    (
        "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}, portLevelSettings: [{port: {number: 8000}, \
         connectionPool: {http: {http2MaxRequests: 5}}, outlierDetection: {consecutive5xxErrors: 0}}]",
        "200",
    ),
];

/// The hosts of [`POLICIES`], each with a service, and a rule that has the policy.
fn policies(ips: [IpAddr; 2]) -> String {
    let mut config = String::new();
    for (number, (policy, _)) in POLICIES.iter().enumerate() {
        config.push_str(&service_entry(&format!("p{number}.test"), ips));
        config.push_str(&format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: p{number}}}\n\
             spec: {{host: p{number}.test, trafficPolicy: {{{policy}}}, subsets: [{{name: a, labels: {{version: a}}, \
             trafficPolicy: {{{policy}}}}}]}}\n---\n"
        ));
    }
    config
}

fn service_entry(hosts: &str, ips: [IpAddr; 2]) -> String {
    let [a, b] = ips.map(|ip| ip.to_string());
    let name = hosts.split('.').next().unwrap_or_default();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{hosts}]\n  \
         location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: {PORT}, name: http, protocol: HTTP, targetPort: {}}}]\n  \
         endpoints: [{{address: {a}, labels: {{version: a}}}}, {{address: {b}, labels: {{version: b}}}}]\n---\n",
        PORT + 1
    )
}

/// The policy of a host, the localities of `a` and `b`, which applications answer a client in eu/z1, and which do when one
/// answer was an error.
struct Near {
    field: &'static str,
    policy: &'static str,
    places: [&'static str; 2],
    first: &'static str,
    after_error: &'static str,
}

/// What leaves an endpoint out after one error.
const DETECTION: &str =
    "outlierDetection: {consecutive5xxErrors: 1, interval: 0.1s, baseEjectionTime: 60s, maxEjectionPercent: 100}";

const NEAR: &[Near] = &[
    Near {
        field: "localityLbSetting.distribute",
        policy: "loadBalancer: {localityLbSetting: {distribute: [{from: us, to: {eu: 100}}, {from: eu/*, to: {eu/z2: 100}}]}}",
        places: ["eu/z1", "eu/z2"],
        first: "b",
        after_error: "b",
    },
    Near {
        field: "localityLbSetting.distribute, of other clients",
        policy: "loadBalancer: {localityLbSetting: {distribute: [{from: us, to: {eu/z1: 100}}]}}",
        places: ["eu/z1", "eu/z2"],
        first: "ab",
        after_error: "ab",
    },
    Near {
        field: "outlierDetection alone",
        policy: "DETECTION",
        places: ["eu/z1", "eu/z2"],
        first: "a",
        after_error: "b",
    },
    Near {
        field: "localityLbSetting.enabled",
        policy: "DETECTION, loadBalancer: {localityLbSetting: {enabled: false}}",
        places: ["eu/z1", "eu/z2"],
        first: "ab",
        after_error: "a or b",
    },
    Near {
        field: "localityLbSetting.failover",
        policy: "DETECTION, loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}",
        places: ["asia/z1", "us/z1"],
        first: "b",
        after_error: "a",
    },
    Near {
        field: "localityLbSetting.failoverPriority",
        policy: "DETECTION, loadBalancer: {localityLbSetting: {failoverPriority: [version=b, topology.kubernetes.io/zone]}}",
        places: ["eu/z1", "eu/z2"],
        first: "b",
        after_error: "a",
    },
];

/// The hosts of [`NEAR`], `n0.test` and so on, each with a service and a rule.
fn near(ips: [IpAddr; 2]) -> String {
    let mut config = String::new();
    for (number, Near { policy, places: [a, b], .. }) in NEAR.iter().enumerate() {
        let entry = service_entry(&format!("n{number}.test"), ips);
        let entry = entry.replace("version: a}", &format!("version: a}}, locality: {a}"));
        config.push_str(&entry.replace("version: b}", &format!("version: b}}, locality: {b}")));
        let policy = policy.replace("DETECTION", DETECTION);
        config.push_str(&format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: n{number}}}\n\
             spec: {{host: n{number}.test, trafficPolicy: {{{policy}}}}}\n---\n"
        ));
    }
    config
}

/// Returns the applications that answer for a host.
async fn answering(envoy: SocketAddr, host: &str) -> Result<String> {
    let mut backends = BTreeSet::new();
    for _ in 0..20 {
        backends.insert(send(envoy, host, "GET /").await?.header("x-backend").unwrap_or("-").to_owned());
    }
    Ok(backends.into_iter().collect())
}

async fn check_near(envoy: SocketAddr) -> Result<()> {
    for (number, Near { field, first, after_error, .. }) in NEAR.iter().enumerate() {
        let host = format!("n{number}.test");
        let got = answering(envoy, &host).await?;
        ensure!(got == *first, "{field}: want answers of {first}, got {got}");
        send(envoy, &host, "GET / x-status=500").await?;
        // The endpoint is left out by another thread of the proxy.
        eventually(&format!("{field}, after an error: answers of {after_error}"), async || {
            let got = answering(envoy, &host).await;
            got.is_ok_and(|got| after_error.split(" or ").any(|want| got == want))
        })
        .await?;
    }
    Ok(())
}

/// Returns the applications that answer requests of some forms, each asked for several times.
async fn backends(envoy: SocketAddr, host: &str, asks: &[String]) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for ask in asks {
        let mut backends = Vec::new();
        for _ in 0..6 {
            backends.push(send(envoy, host, ask).await?.header("x-backend").unwrap_or("-").to_owned());
        }
        backends.dedup();
        all.push(backends);
    }
    Ok(all)
}

/// Checks that requests of one value stay with one application, and that not all values are with the same.
async fn check_sticky(envoy: SocketAddr, host: &str, form: &str) -> Result<()> {
    let asks: Vec<String> = (0..12).map(|value| form.replace('N', &value.to_string())).collect();
    let backends = backends(envoy, host, &asks).await?;
    ensure!(backends.iter().all(|backends| backends.len() == 1), "{host}: {backends:?}");
    let used: BTreeSet<&String> = backends.iter().flatten().collect();
    ensure!(used.len() == 2, "{host}: all requests go to {used:?}");
    Ok(())
}

/// A rule for everybody, one that chooses the client of the test, and one that chooses another.
fn chosen(ips: [IpAddr; 2]) -> String {
    let mut config = service_entry("chosen.test", ips);
    for (name, labels, policy) in [
        ("all", "", "loadBalancer: {simple: RANDOM}"),
        (
            "own",
            "workloadSelector: {matchLabels: {app: client}}, ",
            "loadBalancer: {consistentHash: {httpHeaderName: x-user}}",
        ),
        ("other", "workloadSelector: {matchLabels: {app: another}}, ", "connectionPool: {http: {http2MaxRequests: 1}}"),
    ] {
        config.push_str(&format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: chosen-{name}}}\n\
             spec: {{host: chosen.test, {labels}trafficPolicy: {{{policy}}}}}\n---\n"
        ));
    }
    config
}

async fn check_policies(envoy: SocketAddr, asked: &BTreeMap<&str, Asked>) -> Result<()> {
    for (number, (policy, want)) in POLICIES.iter().enumerate() {
        let answer = send(envoy, &format!("p{number}.test"), "GET /").await?;
        expect_word(want, &answer).with_context(|| (*policy).to_owned())?;
    }
    check_sticky(envoy, "p0.test", "GET / x-user=N").await?;
    check_sticky(envoy, "p1.test", "GET / cookie=session=N").await?;
    check_sticky(envoy, "p2.test", "GET /?user=N").await?;
    check_sticky(envoy, "p6.test", "GET / x-user=N").await?;
    check_sticky(envoy, "chosen.test", "GET / x-user=N").await?;
    let fresh = send(envoy, "p1.test", "GET /").await?;
    let cookie = fresh.header("set-cookie").unwrap_or_default().to_owned();
    ensure!(cookie.starts_with("session="), "the proxy sets the cookie: {cookie:?}");
    for part in ["Max-Age=60", "Secure", "SameSite=Lax"] {
        ensure!(cookie.contains(part), "the cookie has {part}: {cookie:?}");
    }
    ensure!(backends(envoy, "p3.test", &["GET /".into()]).await?[0].len() == 1, "one address, one endpoint");
    // An endpoint that fails once is left out, and when both are nobody answers.
    send(envoy, "p4.test", "GET / x-status=500").await?;
    eventually("one endpoint is ejected", async || {
        backends(envoy, "p4.test", &["GET /".into()]).await.is_ok_and(|backends| backends[0].len() == 1)
    })
    .await?;
    // One request at a time, the second one is refused.
    let arrived = async || asked.values().any(|asked| asked.count("/held") > 0);
    let (held, other) = tokio::join!(send(envoy, "p5.test", "GET /held x-wait-ms=2000"), async {
        eventually("the first request arrives", arrived).await?;
        send(envoy, "p5.test", "GET /").await
    });
    let statuses = (held?.status, other?.status);
    ensure!(statuses == (200, 503), "one request at a time: {statuses:?}");
    Ok(())
}

/// Services of sorts that lead to an application by other ways than a list of addresses that the object holds.
fn services([a, b]: [IpAddr; 2]) -> String {
    let (port, app) = (PORT, PORT + 1);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: headless}}\n\
         spec: {{clusterIP: None, ports: [{{name: http, port: {port}, targetPort: {app}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: headless, labels: {{kubernetes.io/service-name: headless}}}}\n\
         addressType: IPv4\nendpoints: [{{addresses: ['{a}']}}]\nports: [{{name: http, port: {app}}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: partner}}\n\
         spec: {{type: ExternalName, externalName: localhost, ports: [{{name: http, port: {port}, targetPort: {}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: robin}}\n\
         spec: {{hosts: [robin.test], resolution: DNS_ROUND_ROBIN, ports: [{{number: {port}, name: http}}], \
         endpoints: [{{address: localhost, ports: {{http: {}}}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: wild}}\n\
         spec: {{hosts: ['*.wild.test'], resolution: STATIC, ports: [{{number: {port}, name: http, targetPort: {app}}}], \
         endpoints: [{{address: '{a}'}}]}}\n---\n",
        LOCAL_PORT, LOCAL_PORT
    ) + &used_otherwise([a, b])
}

/// Services that say how their endpoints are used: what each says, what its slice says of `a` and `b`, and which
/// applications answer.
const USED: &[(&str, [&str; 2], &str)] = &[
    ("sessionAffinity: ClientIP", ["", ""], "a or b"),
    ("sessionAffinity: None", ["", ""], "ab"),
    ("internalTrafficPolicy: Local", ["nodeName: n2", "nodeName: n1"], "b"),
    ("internalTrafficPolicy: Cluster", ["nodeName: n2", "nodeName: n1"], "ab"),
    ("trafficDistribution: PreferClose", ["zone: z2", "zone: z1"], "b"),
    ("trafficDistribution: PreferSameNode", ["nodeName: n1, zone: z1", "nodeName: n2, zone: z1"], "a"),
    ("publishNotReadyAddresses: true", ["conditions: {ready: false}", ""], "ab"),
    ("publishNotReadyAddresses: false", ["conditions: {ready: false}", ""], "b"),
    ("publishNotReadyAddresses: false", ["conditions: {ready: false, serving: true, terminating: true}", ""], "b"),
];

fn used_otherwise([a, b]: [IpAddr; 2]) -> String {
    let mut config = String::new();
    for (number, (says, [of_a, of_b], _)) in USED.iter().enumerate() {
        let (name, port, app) = (format!("used-{number}"), PORT, PORT + 1);
        config.push_str(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{{says}, ports: [{{name: http, port: {port}, targetPort: {app}}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
             endpoints: [{{addresses: ['{a}'], {of_a}}}, {{addresses: ['{b}'], {of_b}}}]\n\
             ports: [{{name: http, port: {app}}}]\n---\n"
        ));
    }
    config
}

async fn check_services(envoy: SocketAddr) -> Result<()> {
    let asks = [
        ("headless.default", "a"),
        ("pod-0.headless.default.svc.cluster.local", "a"),
        ("partner", "local"),
        ("robin.test", "local"),
        ("any.wild.test", "a"),
    ];
    for (host, want) in asks {
        let answer = send(envoy, host, "GET /").await?;
        ensure!(answer.header("x-backend") == Some(want), "{host}: {} {}", answer.status, answer.body);
    }
    for (number, (says, _, want)) in USED.iter().enumerate() {
        let got = answering(envoy, &format!("used-{number}")).await?;
        ensure!(want.split(" or ").any(|want| got == want), "{says}: want {want}, got {got}");
    }
    Ok(())
}

fn cases() -> impl Iterator<Item = (String, &'static Case)> {
    MATCHES.iter().chain(ACTIONS).enumerate().map(|(number, case)| (format!("c{number}.test"), case))
}

fn config(ips: [IpAddr; 2]) -> String {
    let hosts: Vec<String> = cases().map(|(host, _)| host).collect();
    let mut config = format!(
        "{}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: cases}}\n\
         spec: {{host: '*.test', subsets: [{{name: a, labels: {{version: a}}}}, {{name: b, labels: {{version: b}}}}]}}\n---\n{DELEGATE}",
        service_entry(&hosts.join(", "), ips),
    );
    config.push_str(&policies(ips));
    config.push_str(&chosen(ips));
    config.push_str(&near(ips));
    config.push_str(&services(ips));
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

async fn check_all(release: Release, number: u8) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let [a, b, client] = [1, 2, 3].map(|last| IpAddr::from([127, 0, number, last]));
    let mut apps = JoinSet::new();
    let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
    for (name, ip) in [("a", a), ("b", b)] {
        asked.insert(name, echo::start(name, SocketAddr::new(ip, PORT + 1), &mut apps).await?);
    }
    // What localhost means does not depend on the test, so that both tests find the application of either.
    let local = echo::start("local", SocketAddr::from(([127, 0, 0, 1], LOCAL_PORT)), &mut apps).await;
    drop(local);
    plane.apply(&config([a, b]), &[]).await?;
    let proxy = Proxy::Envoy(release, rutter_core::Variant::Delta);
    let workload = Workload {
        proxy,
        labels: vec!["app=client".into(), "istio-locality=eu.z1".into(), "kubernetes.io/hostname=n1".into()],
        ..Workload::new("client-1", "default", client)
    };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    let address = SocketAddr::new(client, PORT);
    let sent = Sent::to(&plane, "client-1.default").await?;
    let applications = [(SocketAddr::new(a, PORT + 1), "a"), (SocketAddr::new(b, PORT + 1), "b")];
    let mut wrong = Vec::new();
    for (host, case) in cases() {
        for (ask, want) in case.asks {
            let answer = send(address, &host, ask).await.with_context(|| format!("{}: {ask}", case.field))?;
            let walk = sent.walk(address, &host, ask)?;
            // How long the application takes, the evaluator cannot know.
            if answer.status == 504 {
                assert!(walks::may_arrive(&walk), "{}: {ask}: {walk:#?}", case.field);
            } else if let Err(error) = walks::compare(&walk, &answer, &applications) {
                wrong.push(format!("{}: {ask}: the evaluator differs: {error}", case.field));
            }
            for word in want.replace("HOST", &host).split(' ').filter(|word| !word.is_empty()) {
                if let Err(error) = expect_word(word, &answer) {
                    wrong.push(format!("{}: {ask}: {error}", case.field));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{release:?}:\n{}", wrong.join("\n"));
    check_policies(address, &asked).await?;
    check_near(address).await?;
    check_services(address).await?;
    eventually("copies of both mirrored requests", async || {
        ["/copied", "/former-copied"].iter().all(|path| asked["b"].count(path) == 1)
    })
    .await?;
    assert_eq!(asked["b"].count("/not-mirrored"), 0);
    assert!(envoy.stat("vhost.*counted").await? > 0, "the route with a prefix is counted");
    assert!(envoy.stat("fault.delays_injected").await? > 0, "a request was held up");
    let refused = envoy.stat("update_rejected").await?;
    assert_eq!(refused, 0, "{}", plane.ctl(&["proxy-status"]).await?);
    Ok(())
}

#[tokio::test]
async fn fields_of_virtual_services_and_destination_rules_mean_what_istio_says_with_the_latest_envoy() -> Result<()> {
    check_all(Release::V1_40, 41).await
}

#[tokio::test]
async fn fields_of_virtual_services_and_destination_rules_mean_what_istio_says_with_the_oldest_envoy() -> Result<()> {
    check_all(Release::V1_36, 42).await
}

/// The Sidecar object of the test below: a listener of its own for one service, limits on the own application, and nothing
/// at the address of the sidecar but the other service.
const LISTENERS: &str = include_str!("../cases/sidecar-listeners.yaml");

async fn listeners_of_sidecars(release: Release, number: u8) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let [a, client, bind] = [1, 3, 4].map(|last| IpAddr::from([127, 0, number, last]));
    let mut apps = JoinSet::new();
    echo::start("a", SocketAddr::new(a, PORT + 1), &mut apps).await?;
    // The application at the loopback address is that of whichever test came first.
    let own = echo::start("own", SocketAddr::from(([127, 0, 0, 1], 8018)), &mut apps).await;
    drop(own);
    let entry = service_entry("near.test, far.test", [a, a])
        .replace("ports: [", "ports: [{number: 8002, name: tcp, targetPort: 8001}, ");
    let folder = dir.path().to_string_lossy();
    let listeners = LISTENERS.replace("BIND", &bind.to_string()).replace("/DIR", &folder);
    plane.apply(&[entry, listeners].concat(), &[]).await?;
    let proxy = Proxy::Envoy(release, rutter_core::Variant::Delta);
    let workload =
        Workload { proxy, labels: vec!["app=client".into()], ..Workload::new("client-1", "default", client) };
    let envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    let backend = async |ip: IpAddr, port: u16, host: &str| -> Result<String> {
        let answer = send(SocketAddr::new(ip, port), host, "GET /").await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    };
    ensure!(backend(bind, 8000, "near.test").await? == "a");
    ensure!(backend(bind, 8000, "far.test").await? == "502", "what no listener admits is not seen");
    ensure!(backend(client, 8000, "near.test").await.is_err(), "the port is bound at one address");
    ensure!(backend(client, 8002, "any.test").await? == "a", "bytes are passed on where no address is given");
    let at_socket = async |socket: &str, host: &str| -> Result<String> {
        let stream = UnixStream::connect(dir.path().join(socket)).await?;
        let answer = http::exchange(stream, ("GET", "/"), host, &[]).await?;
        Ok(answer.header("x-backend").map_or_else(|| answer.status.to_string(), str::to_owned))
    };
    for (host, want) in [("near.test", "a"), ("near.test:8000", "a"), ("near.test:8003", "502"), ("far.test", "502")] {
        ensure!(at_socket("http.sock", host).await? == want, "{host} at a socket");
    }
    ensure!(at_socket("tcp.sock", "any.test").await? == "a", "the port of bytes comes before that of requests");
    ensure!(backend(bind, 8010, "x").await? == "own", "the own application is reached where its listener is bound");
    // Without capture there is nothing else that a listener which should be captured could do.
    ensure!(backend(bind, 8011, "x").await? == "own");
    let (held, other) = tokio::join!(send(SocketAddr::new(bind, 8010), "x", "GET /held x-wait-ms=1500"), async {
        eventually("the first request is under way", async || {
            envoy.stat("cluster.inbound.8010.*upstream_rq_active$").await.unwrap_or_default() == 1
        })
        .await?;
        send(SocketAddr::new(bind, 8010), "x", "GET /").await
    });
    ensure!((held?.status, other?.status) == (200, 503), "one request at a time");
    ensure!(envoy.stat("update_rejected").await? == 0, "{}", plane.ctl(&["proxy-status"]).await?);
    Ok(())
}

#[tokio::test]
async fn listeners_of_sidecar_objects_are_bound_where_they_say_with_the_latest_envoy() -> Result<()> {
    listeners_of_sidecars(Release::V1_40, 43).await
}

#[tokio::test]
async fn listeners_of_sidecar_objects_are_bound_where_they_say_with_the_oldest_envoy() -> Result<()> {
    listeners_of_sidecars(Release::V1_36, 44).await
}

/// Reads a part of a document as the type of its kind, and notes the fields and words of the type.
fn note(kind: &str, spec: &Value, schema: &RefCell<Schema>) -> Result<()> {
    let noted = Noted::new(spec, schema);
    match kind {
        "VirtualService" => istio::VirtualService::deserialize(noted).map(drop),
        "DestinationRule" => istio::DestinationRule::deserialize(noted).map(drop),
        "ServiceEntry" => istio::ServiceEntry::deserialize(noted).map(drop),
        "WorkloadEntry" => istio::WorkloadEntry::deserialize(noted).map(drop),
        "Gateway" => istio::Gateway::deserialize(noted).map(drop),
        "Sidecar" => istio::Sidecar::deserialize(noted).map(drop),
        "MeshConfig" => MeshConfig::deserialize(noted).map(drop),
        _ => return Ok(()),
    }
    .with_context(|| format!("{kind}: {spec}"))
}

fn note_all(text: &str, schema: &RefCell<Schema>) -> Result<()> {
    for document in yaml::parse(text)? {
        match document.value["kind"].as_str() {
            Some("ConfigMap") => {
                let mesh = document.value["data"]["mesh"].as_str().unwrap_or_default();
                for mesh in yaml::parse(mesh)? {
                    note("MeshConfig", &mesh.value, schema)?;
                }
            }
            Some(kind) => note(kind, &document.value["spec"], schema)?,
            None => {}
        }
    }
    Ok(())
}

/// Words that are refused by name, which `docs/istio.md` lists.
const REFUSED: [&str; 2] = ["ClientTlsMode: ISTIO_MUTUAL", "ServerTlsMode: ISTIO_MUTUAL"];

#[test]
fn every_field_and_every_word_of_the_api_has_a_case() -> Result<()> {
    let schema = RefCell::default();
    for (path, text) in texts_with_cases()? {
        note_all(&text, &schema).context(path)?;
    }
    let schema = schema.into_inner();
    let has_case = |field: &String| schema.used.contains(field) || REFUSED.contains(&field.as_str());
    let missing: Vec<&String> = schema.known.iter().filter(|field| !has_case(field)).collect();
    ensure!(missing.is_empty(), "of {} fields and words these have no case: {missing:#?}", schema.known.len());
    Ok(())
}

/// Returns the texts that have the cases: those of this file, the examples, and those that are read from files.
fn texts_with_cases() -> Result<Vec<(String, String)>> {
    let mut texts = vec![("behaviour.rs".to_owned(), config([IpAddr::from([127, 0, 0, 1]); 2]))];
    let folders = ["examples/bookinfo", "examples/bookinfo/networking", "examples/tasks", "tests/golden"];
    for folder in folders.into_iter().chain(["tests/cases", "tests/cases/mesh-config"]) {
        for entry in std::fs::read_dir(root().join(folder)).context(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                let text = std::fs::read_to_string(&path)?;
                let places = ["PROXY_IP", "A_IP", "B_IP", "BIND"];
                let filled = places.iter().fold(text, |text, place| text.replace(place, "127.0.0.1"));
                let filled = filled.replace("DIR", "/dir").replace("CLIENT_HASH", &"a".repeat(64));
                let filled = filled.replace("CLIENT_SPKI", &format!("{}=", "A".repeat(43)));
                texts.push((path.display().to_string(), filled));
            }
        }
    }
    Ok(texts)
}

#[tokio::test]
async fn every_field_is_printed_as_it_was_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    for (path, text) in texts_with_cases()? {
        let mut written: BTreeMap<(String, String, String), Value> = BTreeMap::new();
        for document in yaml::parse(&text)? {
            let object = document.value;
            let word = |value: &Value| value.as_str().unwrap_or("default").to_owned();
            let (kind, metadata) = (word(&object["kind"]), &object["metadata"]);
            if !object.is_null() && kind != "Namespace" {
                written.insert((kind, word(&metadata["namespace"]), word(&metadata["name"])), object);
            }
        }
        plane.apply(&text, &[]).await.with_context(|| path.clone())?;
        for ((kind, namespace, name), object) in written {
            let printed = plane.ctl(&["get", &kind, &name, "-n", &namespace, "-o", "json"]).await?;
            let printed: Value = serde_json::from_str(&printed)?;
            for field in object.as_object().context("an object")?.keys() {
                let is_said_by_store = matches!(field.as_str(), "metadata" | "status" | "apiVersion");
                ensure!(
                    is_said_by_store || printed[field] == object[field],
                    "{path}: {kind} {name}: {field}: want {}, got {}",
                    object[field],
                    printed[field]
                );
            }
            let labels = |object: &Value| object["metadata"]["labels"].clone();
            ensure!(labels(&printed) == labels(&object), "{path}: {kind} {name}: {printed}");
        }
    }
    Ok(())
}
