//! Sets every field that the API of a kind has, one at a time, and shows what becomes of it. A field that Rutter does not
//! act on is refused by its path; none is taken and then forgotten.

use expect_test::{Expect, expect};
use serde_json::{Map, Value};

use crate::config::Object;
use crate::yaml;

/// Sets each field of `fields` in a valid document, and compares what becomes of it. A field is a path, whose last part is
/// added, and a YAML value.
fn check(document: &str, fields: &[(&str, &str)], want: Expect) {
    let valid = value(document);
    Object::from_value(valid.clone(), "default").unwrap();
    let mut lines = Vec::new();
    for (path, field_value) in fields {
        let mut changed = valid.clone();
        set(&mut changed, path, value(field_value));
        let outcome = match Object::from_value(changed, "default") {
            Ok(_) => "taken".to_owned(),
            Err(faults) => {
                let faults: Vec<String> =
                    faults.iter().map(|fault| format!("want {}, got {}", fault.want, fault.got)).collect();
                faults.join("; ")
            }
        };
        lines.push(format!("{path}: {outcome}"));
    }
    want.assert_eq(&lines.join("\n"));
}

fn value(text: &str) -> Value {
    yaml::parse(text).unwrap().remove(0).value
}

/// Sets the field at a path such as `spec.http.0.fault`. What is missing on the way is added.
fn set(document: &mut Value, path: &str, value: Value) {
    let mut place = document;
    for part in path.split('.') {
        place = match part.parse::<usize>() {
            Ok(at) => &mut place[at],
            Err(_) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                &mut place[part]
            }
        };
    }
    *place = value;
}

fn istio(kind: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is expected output")]
fn virtual_service_fields() {
    let document = istio("VirtualService", "{hosts: [a], http: [{match: [{}], route: [{destination: {host: a}}]}]}");
    let fields = [
        ("spec.hosts", "[a, b.example.com, '*.c']"),
        ("spec.gateways", "[mesh]"),
        ("spec.gateways", "[edge, shop/edge]"),
        ("spec.gateways", "['*/edge']"),
        ("spec.exportTo", "['.']"),
        ("spec.tls", "[{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]"),
        ("spec.tls", "[{match: [{sniHosts: [b]}], route: [{destination: {host: a}}]}]"),
        ("spec.tls", "[{match: [{}], route: [{destination: {host: a}}]}]"),
        (
            "spec.tls",
            "[{match: [{sniHosts: [a], port: 443, destinationSubnets: [10.0.0.0/8], sourceLabels: {a: b}, \
             sourceNamespace: c, gateways: [mesh]}], route: [{destination: {host: a}, weight: 1}]}]",
        ),
        ("spec.tls", "[{match: [{sniHosts: [a], sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]"),
        ("spec.tcp", "[{route: [{destination: {host: a}}]}]"),
        (
            "spec.tcp",
            "[{match: [{port: 443, destinationSubnets: [10.0.0.1], sourceLabels: {a: b}, sourceNamespace: c, \
             gateways: [mesh]}], route: [{destination: {host: a}, weight: 1}]}]",
        ),
        ("spec.tcp", "[{match: [{destinationSubnets: [10.0.0.0/40]}], route: [{destination: {host: a}}]}]"),
        ("spec.http.0.name", "r"),
        ("spec.http.0.timeout", "5s"),
        ("spec.http.0", "{redirect: {uri: /}}"),
        ("spec.http.0", "{redirect: {authority: a, port: 8080, scheme: https, redirectCode: 308}}"),
        ("spec.http.0", "{redirect: {derivePort: FROM_PROTOCOL_DEFAULT}}"),
        ("spec.http.0", "{redirect: {derivePort: FROM_REQUEST_PORT}}"),
        ("spec.http.0", "{redirect: {derivePort: NEVER}}"),
        ("spec.http.0", "{directResponse: {status: 200}}"),
        ("spec.http.0", "{directResponse: {status: 200, body: {string: a}}}"),
        ("spec.http.0", "{directResponse: {status: 200, body: {bytes: YQ==}}}"),
        ("spec.http.0", "{delegate: {name: a}}"),
        ("spec.http.0", "{delegate: {name: a, namespace: b}}"),
        ("spec.http.0.delegate", "{name: a}"),
        ("spec.http.0.rewrite", "{uri: /, authority: a}"),
        ("spec.http.0.rewrite", "{uriRegexRewrite: {match: a, rewrite: b}}"),
        ("spec.http.0.retries", "{attempts: 0}"),
        ("spec.http.0.retries", "{attempts: 3, perTryTimeout: 1s, retryOn: '5xx,503', backoff: 10ms}"),
        ("spec.http.0.retries", "{attempts: 3, retryRemoteLocalities: true, retryIgnorePreviousHosts: false}"),
        ("spec.http.0.retries", "{}"),
        ("spec.http.0.fault", "{delay: {fixedDelay: 5s, percentage: {value: 0.1}}}"),
        ("spec.http.0.fault", "{delay: {fixedDelay: 5s, percent: 10}}"),
        ("spec.http.0.fault", "{delay: {fixedDelay: 5s, exponentialDelay: 5s}}"),
        ("spec.http.0.fault", "{abort: {httpStatus: 500, percentage: {value: 0.1}}}"),
        ("spec.http.0.fault", "{abort: {grpcStatus: UNAVAILABLE}}"),
        ("spec.http.0.fault", "{abort: {http2Error: a}}"),
        ("spec.http.0.mirror", "{host: a, subset: v1, port: {number: 80}}"),
        ("spec.http.0.mirrors", "[{destination: {host: a}, percentage: {value: 10}}]"),
        ("spec.http.0.mirrorPercent", "10"),
        ("spec.http.0.mirrorPercentage", "{value: 10}"),
        ("spec.http.0.corsPolicy", "{allowOrigins: [{exact: a}, {prefix: b}, {regex: c}], allowOrigin: ['*']}"),
        ("spec.http.0.corsPolicy", "{allowMethods: [GET], allowHeaders: [a], exposeHeaders: [b], maxAge: 1h}"),
        ("spec.http.0.corsPolicy", "{allowCredentials: true, unmatchedPreflights: IGNORE}"),
        ("spec.http.0.corsPolicy", "{unmatchedPreflights: FORWARD}"),
        ("spec.http.0.corsPolicy", "{unmatchedPreflights: UNSPECIFIED}"),
        ("spec.http.0.headers", "{request: {set: {a: b}, add: {c: d}, remove: [e]}}"),
        ("spec.http.0.headers", "{response: {set: {a: b}, add: {c: d}, remove: [e]}}"),
        ("spec.http.0.match.0.name", "m"),
        ("spec.http.0.match.0.uri", "{exact: /}"),
        ("spec.http.0.match.0.uri", "{prefix: /}"),
        ("spec.http.0.match.0.uri", "{regex: '.*'}"),
        ("spec.http.0.match.0.scheme", "{exact: https}"),
        ("spec.http.0.match.0.method", "{exact: GET}"),
        ("spec.http.0.match.0.authority", "{exact: a}"),
        ("spec.http.0.match.0.headers", "{x-a: {exact: b}}"),
        ("spec.http.0.match.0.headers", "{x-a: {prefix: b}, x-b: {regex: b}, x-c: {}}"),
        ("spec.http.0.match.0.port", "80"),
        ("spec.http.0.match.0.sourceLabels", "{app: a}"),
        ("spec.http.0.match.0.gateways", "[mesh]"),
        ("spec.http.0.match.0.queryParams", "{a: {exact: b}}"),
        ("spec.http.0.match.0.ignoreUriCase", "true"),
        ("spec.http.0.match.0.withoutHeaders", "{a: {}, b: {exact: c}}"),
        ("spec.http.0.match.0.sourceNamespace", "a"),
        ("spec.http.0.match.0.statPrefix", "a"),
        ("spec.http.0.route.0.weight", "100"),
        ("spec.http.0.route.0.headers", "{response: {remove: [a]}}"),
        ("spec.http.0.route.0.destination.subset", "v1"),
        ("spec.http.0.route.0.destination.port", "{number: 80}"),
        ("spec.http.0.route.0.destination.port", "{number: 0}"),
        ("spec.nothing", "1"),
    ];
    check(
        &document,
        &fields,
        expect![[r#"
            spec.hosts: taken
            spec.gateways: taken
            spec.gateways: taken
            spec.gateways: want mesh, NAME or NAMESPACE/NAME, got "*/edge"
            spec.exportTo: taken
            spec.tls: taken
            spec.tls: want a host that spec.hosts covers, got b
            spec.tls: want at least one, got none
            spec.tls: taken
            spec.tls: want a field that Rutter acts on, got one that is not supported yet
            spec.tcp: taken
            spec.tcp: taken
            spec.tcp: want an IP address or a range such as 10.0.0.0/8, got "10.0.0.0/40"
            spec.http.0.name: taken
            spec.http.0.timeout: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: want `FROM_PROTOCOL_DEFAULT` or `FROM_REQUEST_PORT`, got unknown variant `NEVER`
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0: taken
            spec.http.0.delegate: want one of route, redirect, directResponse and delegate, got route and delegate
            spec.http.0.rewrite: taken
            spec.http.0.rewrite: taken
            spec.http.0.retries: taken
            spec.http.0.retries: taken
            spec.http.0.retries: taken
            spec.http.0.retries: want the field `attempts`, got nothing
            spec.http.0.fault: taken
            spec.http.0.fault: taken
            spec.http.0.fault: want a field that Rutter acts on, got one that is not supported yet
            spec.http.0.fault: taken
            spec.http.0.fault: taken
            spec.http.0.fault: want a field that Rutter acts on, got one that is not supported yet; want httpStatus or grpcStatus, got none
            spec.http.0.mirror: taken
            spec.http.0.mirrors: taken
            spec.http.0.mirrorPercent: taken
            spec.http.0.mirrorPercentage: taken
            spec.http.0.corsPolicy: taken
            spec.http.0.corsPolicy: taken
            spec.http.0.corsPolicy: taken
            spec.http.0.corsPolicy: taken
            spec.http.0.corsPolicy: taken
            spec.http.0.headers: taken
            spec.http.0.headers: taken
            spec.http.0.match.0.name: taken
            spec.http.0.match.0.uri: taken
            spec.http.0.match.0.uri: taken
            spec.http.0.match.0.uri: taken
            spec.http.0.match.0.scheme: taken
            spec.http.0.match.0.method: taken
            spec.http.0.match.0.authority: taken
            spec.http.0.match.0.headers: taken
            spec.http.0.match.0.headers: taken
            spec.http.0.match.0.port: taken
            spec.http.0.match.0.sourceLabels: taken
            spec.http.0.match.0.gateways: taken
            spec.http.0.match.0.queryParams: taken
            spec.http.0.match.0.ignoreUriCase: taken
            spec.http.0.match.0.withoutHeaders: taken
            spec.http.0.match.0.sourceNamespace: taken
            spec.http.0.match.0.statPrefix: taken
            spec.http.0.route.0.weight: taken
            spec.http.0.route.0.headers: taken
            spec.http.0.route.0.destination.subset: taken
            spec.http.0.route.0.destination.port: taken
            spec.http.0.route.0.destination.port: want 1..=65535, got integer `0`
            spec.nothing: want a field of VirtualService, got unknown field "nothing""#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is expected output")]
fn destination_rule_fields() {
    let document = istio("DestinationRule", "{host: a, subsets: [{name: v1}], trafficPolicy: {}}");
    let fields = [
        ("spec.host", "'*.example.com'"),
        ("spec.exportTo", "[shop]"),
        ("spec.workloadSelector", "{matchLabels: {app: a}}"),
        ("spec.subsets.0.labels", "{version: v1}"),
        ("spec.subsets.0.trafficPolicy", "{loadBalancer: {simple: RANDOM}}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: UNSPECIFIED}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: ROUND_ROBIN}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: LEAST_REQUEST}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: LEAST_CONN}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: RANDOM}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: PASSTHROUGH}"),
        ("spec.trafficPolicy.loadBalancer", "{simple: NEVER}"),
        ("spec.trafficPolicy.loadBalancer", "{consistentHash: {httpHeaderName: a, ringHash: {minimumRingSize: 2048}}}"),
        (
            "spec.trafficPolicy.loadBalancer",
            "{consistentHash: {httpCookie: {name: a, path: /, ttl: 1h}, maglev: {tableSize: 1021}}}",
        ),
        (
            "spec.trafficPolicy.loadBalancer",
            "{consistentHash: {httpCookie: {name: a, ttl: 0s, attributes: [{name: b, value: c}]}}}",
        ),
        ("spec.trafficPolicy.loadBalancer", "{consistentHash: {useSourceIp: true, minimumRingSize: 7}}"),
        ("spec.trafficPolicy.loadBalancer", "{consistentHash: {httpQueryParameterName: a}}"),
        ("spec.trafficPolicy.loadBalancer", "{localityLbSetting: {enabled: true}}"),
        ("spec.trafficPolicy.loadBalancer", "{warmupDurationSecs: 10s}"),
        (
            "spec.trafficPolicy.loadBalancer",
            "{simple: ROUND_ROBIN, warmup: {duration: 10s, minimumPercent: 5, aggression: 2}}",
        ),
        ("spec.trafficPolicy.connectionPool.tcp.maxConnections", "7"),
        ("spec.trafficPolicy.connectionPool.tcp.connectTimeout", "250ms"),
        ("spec.trafficPolicy.connectionPool.tcp.connectTimeout", "soon"),
        ("spec.trafficPolicy.connectionPool.tcp.tcpKeepalive", "{time: 7200s, interval: 75s, probes: 9}"),
        ("spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration", "1h"),
        ("spec.trafficPolicy.connectionPool.tcp.idleTimeout", "1h"),
        (
            "spec.trafficPolicy.connectionPool.http",
            "{http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRequestsPerConnection: 1, maxRetries: 1}",
        ),
        (
            "spec.trafficPolicy.connectionPool.http",
            "{idleTimeout: 1h, useClientProtocol: true, maxConcurrentStreams: 1}",
        ),
        ("spec.trafficPolicy.connectionPool.http", "{h2UpgradePolicy: DEFAULT}"),
        ("spec.trafficPolicy.connectionPool.http", "{h2UpgradePolicy: DO_NOT_UPGRADE}"),
        ("spec.trafficPolicy.connectionPool.http", "{h2UpgradePolicy: UPGRADE}"),
        ("spec.trafficPolicy.outlierDetection.consecutive5xxErrors", "3"),
        ("spec.trafficPolicy.outlierDetection.interval", "5s"),
        ("spec.trafficPolicy.outlierDetection.baseEjectionTime", "1m"),
        ("spec.trafficPolicy.outlierDetection.maxEjectionPercent", "100"),
        ("spec.trafficPolicy.outlierDetection.maxEjectionPercent", "101"),
        ("spec.trafficPolicy.outlierDetection.minHealthPercent", "50"),
        ("spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors", "1"),
        ("spec.trafficPolicy.outlierDetection.consecutiveErrors", "1"),
        (
            "spec.trafficPolicy.outlierDetection",
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1}",
        ),
        ("spec.trafficPolicy.tls", "{mode: DISABLE}"),
        (
            "spec.trafficPolicy.tls",
            "{mode: SIMPLE, caCertificates: a, subjectAltNames: [b], sni: c, insecureSkipVerify: true}",
        ),
        ("spec.trafficPolicy.tls", "{mode: MUTUAL, clientCertificate: a, privateKey: b}"),
        ("spec.trafficPolicy.tls", "{mode: ISTIO_MUTUAL}"),
        ("spec.trafficPolicy.tls", "{mode: SIMPLE, credentialName: a}"),
        ("spec.trafficPolicy.tls", "{mode: SIMPLE, caCrl: a}"),
        ("spec.trafficPolicy.portLevelSettings", "[{port: {number: 80}}]"),
        (
            "spec.trafficPolicy.portLevelSettings",
            "[{port: {number: 80}, loadBalancer: {simple: RANDOM}, connectionPool: {}, outlierDetection: {}, tls: {}}]",
        ),
        ("spec.trafficPolicy.tunnel", "{protocol: POST, targetHost: a.b, targetPort: 443}"),
        ("spec.trafficPolicy.tunnel", "{protocol: CONNECT}"),
        ("spec.trafficPolicy.proxyProtocol", "{version: V1}"),
        ("spec.trafficPolicy.proxyProtocol", "{version: V2}"),
        ("spec.trafficPolicy.retryBudget", "{percent: 10, minRetryConcurrency: 1}"),
        ("spec.nothing", "1"),
    ];
    check(
        &document,
        &fields,
        expect![[r#"
            spec.host: taken
            spec.exportTo: taken
            spec.workloadSelector: taken
            spec.subsets.0.labels: taken
            spec.subsets.0.trafficPolicy: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: want one of `UNSPECIFIED`, `ROUND_ROBIN`, `LEAST_REQUEST`, `LEAST_CONN`, `RANDOM`, `PASSTHROUGH`, got unknown variant `NEVER`
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.loadBalancer: taken
            spec.trafficPolicy.connectionPool.tcp.maxConnections: taken
            spec.trafficPolicy.connectionPool.tcp.connectTimeout: taken
            spec.trafficPolicy.connectionPool.tcp.connectTimeout: want a duration such as 5s or 250ms, got "soon"
            spec.trafficPolicy.connectionPool.tcp.tcpKeepalive: taken
            spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration: taken
            spec.trafficPolicy.connectionPool.tcp.idleTimeout: taken
            spec.trafficPolicy.connectionPool.http: taken
            spec.trafficPolicy.connectionPool.http: taken
            spec.trafficPolicy.connectionPool.http: taken
            spec.trafficPolicy.connectionPool.http: taken
            spec.trafficPolicy.connectionPool.http: taken
            spec.trafficPolicy.outlierDetection.consecutive5xxErrors: taken
            spec.trafficPolicy.outlierDetection.interval: taken
            spec.trafficPolicy.outlierDetection.baseEjectionTime: taken
            spec.trafficPolicy.outlierDetection.maxEjectionPercent: taken
            spec.trafficPolicy.outlierDetection.maxEjectionPercent: want 0..=100, got 101
            spec.trafficPolicy.outlierDetection.minHealthPercent: taken
            spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors: taken
            spec.trafficPolicy.outlierDetection.consecutiveErrors: want a field that Rutter acts on, got one that is not supported yet
            spec.trafficPolicy.outlierDetection: taken
            spec.trafficPolicy.tls: taken
            spec.trafficPolicy.tls: taken
            spec.trafficPolicy.tls: taken
            spec.trafficPolicy.tls: want a field that Rutter acts on, got one that is not supported yet
            spec.trafficPolicy.tls: taken
            spec.trafficPolicy.tls: taken
            spec.trafficPolicy.portLevelSettings: taken
            spec.trafficPolicy.portLevelSettings: taken
            spec.trafficPolicy.tunnel: taken
            spec.trafficPolicy.tunnel: want the field `targetHost`, got nothing
            spec.trafficPolicy.proxyProtocol: taken
            spec.trafficPolicy.proxyProtocol: taken
            spec.trafficPolicy.retryBudget: taken
            spec.nothing: want a field of DestinationRule, got unknown field "nothing""#]],
    );
}

#[test]
fn service_entry_fields() {
    let document = istio(
        "ServiceEntry",
        "{hosts: [a.example.com], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: 10.0.0.1}]}",
    );
    let fields = [
        ("spec.hosts", "['*.example.com']"),
        ("spec.addresses", "[10.0.0.9]"),
        ("spec.addresses", "[10.0.0.0/8]"),
        ("spec.location", "MESH_INTERNAL"),
        ("spec.location", "MESH_EXTERNAL"),
        ("spec.resolution", "DNS"),
        ("spec.resolution", "NONE"),
        ("spec.resolution", "DNS_ROUND_ROBIN"),
        ("spec.resolution", "DYNAMIC_DNS"),
        ("spec.exportTo", "['*']"),
        ("spec.exportTo", "['~']"),
        ("spec.subjectAltNames", "[a]"),
        ("spec.workloadSelector", "{labels: {app: a}}"),
        ("spec.ports.0.protocol", "GRPC"),
        ("spec.ports.0.protocol", "UDP"),
        ("spec.ports.0.targetPort", "8080"),
        ("spec.ports.0.number", "65536"),
        ("spec.endpoints.0.ports", "{http: 8080}"),
        ("spec.endpoints.0.labels", "{version: v1}"),
        ("spec.endpoints.0.locality", "r/z/s"),
        ("spec.endpoints.0.weight", "3"),
        ("spec.endpoints.0.network", "n"),
        ("spec.endpoints.0.serviceAccount", "s"),
        ("spec.endpoints.0.address", "'unix:///a'"),
        ("spec.nothing", "1"),
    ];
    check(
        &document,
        &fields,
        expect![[r#"
            spec.hosts: taken
            spec.addresses: taken
            spec.addresses: taken
            spec.location: taken
            spec.location: taken
            spec.resolution: taken
            spec.resolution: want no endpoints beside resolution NONE, which goes to where clients go, got some
            spec.resolution: taken
            spec.resolution: want a wildcard beside resolution DYNAMIC_DNS, got a.example.com; want no endpoints beside resolution DYNAMIC_DNS, which asks DNS for them, got some; want HTTP, HTTP2, GRPC, HTTPS or TLS beside resolution DYNAMIC_DNS, which needs a name, got ""
            spec.exportTo: taken
            spec.exportTo: want ".", "*" or a namespace, got "~"
            spec.subjectAltNames: taken
            spec.workloadSelector: want one of endpoints and workloadSelector, got both
            spec.ports.0.protocol: taken
            spec.ports.0.protocol: want a field that Rutter acts on, got one that is not supported yet
            spec.ports.0.targetPort: taken
            spec.ports.0.number: want 1..=65535, got integer `65536`
            spec.endpoints.0.ports: taken
            spec.endpoints.0.labels: taken
            spec.endpoints.0.locality: taken
            spec.endpoints.0.weight: taken
            spec.endpoints.0.network: want a field that Rutter acts on, got one that is not supported yet
            spec.endpoints.0.serviceAccount: want a field that Rutter acts on, got one that is not supported yet
            spec.endpoints.0.address: taken
            spec.nothing: want a field of ServiceEntry, got unknown field "nothing""#]],
    );
}

#[test]
fn workload_entry_fields() {
    let document = istio("WorkloadEntry", "{address: 10.0.0.1}");
    let fields = [
        ("spec.address", "'fd00::1'"),
        ("spec.address", "a.example.com"),
        ("spec.ports", "{http: 8080}"),
        ("spec.labels", "{app: a}"),
        ("spec.locality", "r"),
        ("spec.weight", "0"),
        ("spec.network", "n"),
        ("spec.serviceAccount", "s"),
        ("spec.nothing", "1"),
    ];
    check(
        &document,
        &fields,
        expect![[r#"
            spec.address: taken
            spec.address: want an IP address or unix:///PATH, got "a.example.com"
            spec.ports: taken
            spec.labels: taken
            spec.locality: taken
            spec.weight: want at least 1, got 0
            spec.network: want a field that Rutter acts on, got one that is not supported yet
            spec.serviceAccount: want a field that Rutter acts on, got one that is not supported yet
            spec.nothing: want a field of WorkloadEntry, got unknown field "nothing""#]],
    );
}

#[test]
fn sidecar_fields() {
    let document = istio(
        "Sidecar",
        "{egress: [{hosts: ['./*']}], ingress: [{port: {number: 80, protocol: HTTP}}], outboundTrafficPolicy: {mode: ALLOW_ANY}}",
    );
    let fields = [
        ("spec.workloadSelector", "{labels: {app: a}}"),
        ("spec.egress.0.hosts", "['shop/*.example.com', '*/a.b', '~/*']"),
        ("spec.egress.0.hosts", "[a]"),
        ("spec.egress.0.port", "{number: 80, protocol: HTTP}"),
        ("spec.egress.0.bind", "127.0.0.1"),
        ("spec.egress.0", "{hosts: ['./*'], bind: 'unix:///a', port: {number: 0, protocol: HTTP}}"),
        ("spec.egress.0.captureMode", "NONE"),
        ("spec.ingress.0.defaultEndpoint", "'127.0.0.1:8080'"),
        ("spec.ingress.0.defaultEndpoint", "'unix:///a'"),
        ("spec.ingress.0.bind", "127.0.0.1"),
        ("spec.ingress.0.captureMode", "NONE"),
        ("spec.ingress.0.tls", "{mode: SIMPLE}"),
        ("spec.ingress.0.port", "{number: 443, protocol: HTTPS}"),
        ("spec.ingress.0.connectionPool", "{tcp: {maxConnections: 1}}"),
        ("spec.ingress.0.port.name", "http"),
        ("spec.ingress.0.port.protocol", "MYSQL"),
        ("spec.inboundConnectionPool", "{tcp: {maxConnections: 1}}"),
        ("spec.outboundTrafficPolicy.mode", "REGISTRY_ONLY"),
        ("spec.outboundTrafficPolicy.egressProxy", "{host: a.b, port: {number: 80}}"),
        ("spec.nothing", "1"),
    ];
    check(
        &document,
        &fields,
        expect![[r#"
            spec.workloadSelector: taken
            spec.egress.0.hosts: taken
            spec.egress.0.hosts: want namespace/dnsName, such as ./* or prod/api.example.com, got "a"
            spec.egress.0.port: taken
            spec.egress.0.bind: taken
            spec.egress.0: taken
            spec.egress.0.captureMode: taken
            spec.ingress.0.defaultEndpoint: taken
            spec.ingress.0.defaultEndpoint: taken
            spec.ingress.0.bind: taken
            spec.ingress.0.captureMode: taken
            spec.ingress.0.tls: want HTTPS or TLS beside tls, got HTTP; want a file or credentialName, because the mode is SIMPLE, got none; want a file or credentialName, because the mode is SIMPLE, got none
            spec.ingress.0.port: taken
            spec.ingress.0.connectionPool: taken
            spec.ingress.0.port.name: taken
            spec.ingress.0.port.protocol: taken
            spec.inboundConnectionPool: taken
            spec.outboundTrafficPolicy.mode: taken
            spec.outboundTrafficPolicy.egressProxy: taken
            spec.nothing: want a field of Sidecar, got unknown field "nothing""#]],
    );
}

#[test]
fn kubernetes_service_fields() {
    let document = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n";
    let fields = [
        ("metadata.labels", "{app: a}"),
        ("metadata.annotations", "{networking.istio.io/exportTo: '.'}"),
        ("metadata.finalizers", "[a]"),
        ("metadata.generateName", "a-"),
        ("metadata.nothing", "1"),
        ("status", "{loadBalancer: {}}"),
        ("spec.selector", "{app: a}"),
        ("spec.clusterIP", "10.0.0.1"),
        ("spec.clusterIP", "None"),
        ("spec.clusterIPs", "[10.0.0.1, 'fd00::1']"),
        ("spec.clusterIPs", "[here]"),
        ("spec.type", "NodePort"),
        ("spec.type", "LoadBalancer"),
        ("spec.type", "ExternalName"),
        ("spec.externalName", "a.example.com"),
        ("spec.externalIPs", "[10.0.0.1]"),
        ("spec.ipFamilies", "[IPv4]"),
        ("spec.sessionAffinity", "None"),
        ("spec.sessionAffinity", "ClientIP"),
        ("spec.internalTrafficPolicy", "Cluster"),
        ("spec.internalTrafficPolicy", "Local"),
        ("spec.publishNotReadyAddresses", "true"),
        ("spec.trafficDistribution", "PreferClose"),
        ("spec.ports.0.protocol", "TCP"),
        ("spec.ports.0.protocol", "UDP"),
        ("spec.ports.0.appProtocol", "http2"),
        ("spec.ports.0.nodePort", "30080"),
        ("spec.ports.0.targetPort", "8080"),
        ("spec.ports.0.targetPort", "web"),
        ("spec.ports.0.port", "0"),
        ("spec.nothing", "1"),
    ];
    check(
        document,
        &fields,
        expect![[r#"
            metadata.labels: taken
            metadata.annotations: taken
            metadata.finalizers: taken
            metadata.generateName: taken
            metadata.nothing: want a field of metadata, got an unknown field
            status: taken
            spec.selector: taken
            spec.clusterIP: taken
            spec.clusterIP: taken
            spec.clusterIPs: taken
            spec.clusterIPs: want an IP address, got "here"
            spec.type: taken
            spec.type: taken
            spec.type: want a DNS name, got ""
            spec.externalName: taken
            spec.externalIPs: taken
            spec.ipFamilies: taken
            spec.sessionAffinity: taken
            spec.sessionAffinity: taken
            spec.internalTrafficPolicy: taken
            spec.internalTrafficPolicy: taken
            spec.publishNotReadyAddresses: taken
            spec.trafficDistribution: taken
            spec.ports.0.protocol: taken
            spec.ports.0.protocol: taken
            spec.ports.0.appProtocol: taken
            spec.ports.0.nodePort: taken
            spec.ports.0.targetPort: taken
            spec.ports.0.targetPort: taken
            spec.ports.0.port: want 1..=65535, got 0
            spec.nothing: want a field of Service, got unknown field "nothing""#]],
    );
}

#[test]
fn endpoint_slice_fields() {
    let document = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n\
                    ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]\n";
    let fields = [
        ("addressType", "IPv6"),
        ("addressType", "FQDN"),
        ("endpoints.0.addresses", "[here]"),
        ("endpoints.0.conditions", "{ready: false, serving: true, terminating: true}"),
        ("endpoints.0.hostname", "a"),
        ("endpoints.0.nodeName", "node-1"),
        ("endpoints.0.targetRef", "{kind: Pod, name: a}"),
        ("endpoints.0.zone", "z"),
        ("endpoints.0.hints", "{forZones: [{name: z}]}"),
        ("ports.0.appProtocol", "http"),
        ("ports.0.protocol", "UDP"),
        ("ports.0.port", "70000"),
        ("nothing", "1"),
    ];
    check(
        document,
        &fields,
        expect![[r#"
            addressType: taken
            addressType: want IPv4 or IPv6, got "FQDN"
            endpoints.0.addresses: want an IP address, got "here"
            endpoints.0.conditions: taken
            endpoints.0.hostname: taken
            endpoints.0.nodeName: taken
            endpoints.0.targetRef: taken
            endpoints.0.zone: taken
            endpoints.0.hints: taken
            ports.0.appProtocol: taken
            ports.0.protocol: taken
            ports.0.port: want 1..=65535, got 70000
            nothing: want a field of EndpointSlice, got unknown field "nothing""#]],
    );
}

#[test]
fn namespace_fields() {
    let document = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let fields = [
        ("metadata.labels", "{istio-injection: enabled}"),
        ("metadata.namespace", "ignored"),
        ("spec", "{finalizers: [kubernetes]}"),
        ("status", "{phase: Active}"),
        ("data", "{}"),
    ];
    check(
        document,
        &fields,
        expect![[r#"
        metadata.labels: taken
        metadata.namespace: taken
        spec: taken
        status: taken
        data: want a field of Namespace, got unknown field "data""#]],
    );
}
