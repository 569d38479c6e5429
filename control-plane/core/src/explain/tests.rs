use expect_test::{Expect, expect};
use rutter_api::node::{Interception, Role};

use super::*;
use crate::mesh::{Mesh, NodeId};
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, node};
use crate::walk::{HttpRequest, Outcome, TlsHello, walk};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.9.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web, version: v1}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.8], conditions: {ready: false}}, {addresses: [10.1.0.1]}]
ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: bank}
spec: {clusterIP: 10.9.0.2, ports: [{name: tcp, port: 3306}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.test]
  resolution: STATIC
  location: MESH_EXTERNAL
  ports: [{number: 9, name: other, protocol: TCP}, {number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.2.0.1}, {address: 10.2.0.2, weight: 3}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web-more, namespace: shop}
spec: {host: web, subsets: [{name: v0, labels: {version: v0}}, {name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - {match: [{uri: {prefix: /never}, sourceNamespace: other}], route: [{destination: {host: web}}]}
  - {name: api, match: [{uri: {exact: /x}}, {uri: {prefix: /api}}], rewrite: {uri: /v1}, fault: {abort: {httpStatus: 500, percentage: {value: 25}}},
     route: [{destination: {host: web, subset: v1}, weight: 75}, {destination: {host: outside.test}, weight: 25}]}
  - {match: [{uri: {prefix: /far}}], delegate: {name: far}}
  - {route: [{destination: {host: web, subset: v0}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far, namespace: shop}
spec: {http: [{match: [{uri: {prefix: /elsewhere}}], directResponse: {status: 418}}, {match: [{uri: {prefix: /far/away}}], directResponse: {status: 418}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tls, namespace: shop}
spec: {hosts: [outside.test], tls: [{match: [{port: 443, sniHosts: [outside.test]}], route: [{destination: {host: web, port: {number: 80}}}]}]}
---
";

fn mesh() -> (Mesh, NodeId) {
    let mut mesh = Mesh::new(MeshSettings::default());
    mesh.apply(&batch(configs(MESH)));
    let id = mesh.connect(node("client", "shop", "10.0.0.1"));
    (mesh, id)
}

fn request(method: &str, authority: &str, path: &str) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        scheme: "http".into(),
        authority: authority.into(),
        path: path.into(),
        headers: Vec::new(),
    }
}

fn http(host: &str, port: u16, path: &str) -> Asked {
    Asked { host: host.into(), port, tls: None, request: Some(request("GET", host, path)) }
}

/// Prints what becomes of something that is asked for, and which fields make it so.
fn told(mesh: &Mesh, id: NodeId, asked: &Asked) -> String {
    let sources = Sources::of(mesh, id).unwrap();
    match arrival(&sources, asked) {
        Ok(arrival) => walked(mesh, id, &arrival),
        Err(error) => format!("{error}\n"),
    }
}

fn walked(mesh: &Mesh, id: NodeId, arrival: &crate::walk::Arrival) -> String {
    let sources = Sources::of(mesh, id).unwrap();
    let walk = walk(mesh.view(id).unwrap(), arrival);
    let mut text = String::new();
    let step = |step: &crate::walk::Step| {
        let fields: Vec<String> = sources.of_step(&step.origin).iter().map(ToString::to_string).collect();
        format!("{} {}: {} <- {}\n", step.kind.name(), step.name, step.text, fields.join(", "))
    };
    walk.steps.iter().for_each(|one| text.push_str(&step(one)));
    for end in &walk.ends {
        text.push_str(&format!("= {:.3}\n", end.share));
        end.steps.iter().for_each(|one| text.push_str(&format!("  {}", step(one))));
        if let Outcome::Endpoints { cluster, endpoints, request, tls: _ } = &end.outcome {
            for endpoint in endpoints {
                let field = sources.of_endpoint(cluster, &endpoint.address).map(|field| field.to_string());
                text.push_str(&format!(
                    "  {} {:.3} <- {}\n",
                    endpoint.address,
                    endpoint.share,
                    field.unwrap_or_default()
                ));
            }
            text.extend(request.as_ref().map(|request| format!("  as {} {}\n", request.authority, request.path)));
        } else {
            text.push_str(&format!("  {:?}\n", end.outcome));
        }
    }
    text
}

fn check(asked: &Asked, want: Expect) {
    let (mesh, id) = mesh();
    want.assert_eq(&told(&mesh, id, asked));
}

#[test]
fn a_route_is_told_with_its_rule_and_every_way_that_chance_can_take() {
    check(
        &http("web", 80, "/api/a"),
        expect![[r#"
            listener virtualOutbound: hands the connection to the listener of its destination <- 
            listener 0.0.0.0_80: at 0.0.0.0:80 <- 
            filter chain : takes plain, http/1.1 or h2c <- 
            virtual host 80/web.shop.svc.cluster.local:80: for web.shop.svc.cluster.local and 5 other names <- service shop/web, virtualService shop/web
            route api: /api* <- virtualService shop/web spec.http[1].match[1]
            filter fault: answers 25 % of requests itself <- virtualService shop/web spec.http[1].match[1]
            retry : tried again up to 2 times on connect-failure, refused-stream, unavailable, cancelled, retriable-status-codes <- virtualService shop/web spec.http[1].match[1]
            = 0.250
              Answered { status: 500, grpc_status: None, flag: "FI", reason: "a fault is injected" }
            = 0.562
              rewrite : path /v1/a <- virtualService shop/web spec.http[1].match[1]
              cluster outbound|80|v1|web.shop.svc.cluster.local: EDS, RANDOM <- service shop/web spec.ports[port=80], destinationRule shop/web-more spec.subsets[1], destinationRule shop/web spec.trafficPolicy.portLevelSettings[0]
              endpoints : 1 endpoint <- service shop/web
              10.1.0.1:8080 1.000 <- endpointSlice shop/web-1 endpoints[1]
              as web /v1/a
            = 0.188
              rewrite : path /v1/a <- virtualService shop/web spec.http[1].match[1]
              cluster outbound|80||outside.test: EDS, LEAST_REQUEST <- serviceEntry shop/outside spec.ports[2]
              endpoints : one of 2 endpoints <- serviceEntry shop/outside
              10.2.0.1:80 0.250 <- serviceEntry shop/outside spec.endpoints[0]
              10.2.0.2:80 0.750 <- serviceEntry shop/outside spec.endpoints[1]
              as web /v1/a
        "#]],
    );
}

#[test]
fn rules_of_delegates_are_told_where_they_are_written() {
    check(
        &http("web.shop", 80, "/far/away"),
        expect![[r#"
        listener virtualOutbound: hands the connection to the listener of its destination <- 
        listener 0.0.0.0_80: at 0.0.0.0:80 <- 
        filter chain : takes plain, http/1.1 or h2c <- 
        virtual host 80/web.shop.svc.cluster.local:80: for web.shop.svc.cluster.local and 5 other names <- service shop/web, virtualService shop/web
        route : /far/away* <- virtualService shop/far spec.http[1], virtualService shop/web spec.http[2].delegate
        = 1.000
          Answered { status: 418, grpc_status: None, flag: "", reason: "" }
    "#]],
    );
}

#[test]
fn a_route_to_nothing_ends_with_its_reason() {
    check(
        &http("web", 80, "/"),
        expect![[r#"
            listener virtualOutbound: hands the connection to the listener of its destination <- 
            listener 0.0.0.0_80: at 0.0.0.0:80 <- 
            filter chain : takes plain, http/1.1 or h2c <- 
            virtual host 80/web.shop.svc.cluster.local:80: for web.shop.svc.cluster.local and 5 other names <- service shop/web, virtualService shop/web
            route : /* <- virtualService shop/web spec.http[3]
            retry : tried again up to 2 times on connect-failure, refused-stream, unavailable, cancelled, retriable-status-codes <- virtualService shop/web spec.http[3]
            = 1.000
              cluster outbound|80|v0|web.shop.svc.cluster.local: EDS, RANDOM <- service shop/web spec.ports[port=80], destinationRule shop/web-more spec.subsets[0], destinationRule shop/web spec.trafficPolicy.portLevelSettings[0]
              Answered { status: 503, grpc_status: None, flag: "UH", reason: "no endpoint of outbound|80|v0|web.shop.svc.cluster.local can be used" }
        "#]],
    );
    check(
        &http("nobody.test", 80, "/"),
        expect![[r#"
        listener virtualOutbound: hands the connection to the listener of its destination <- 
        listener 0.0.0.0_80: at 0.0.0.0:80 <- 
        filter chain : takes plain, http/1.1 or h2c <- 
        virtual host allow_any: for * <- 
        route allow_any: /* <- 
        = 1.000
          cluster PassthroughCluster: ORIGINAL_DST, CLUSTER_PROVIDED <- 
          OriginalDestination { cluster: "PassthroughCluster", request: Some(HttpRequest { method: "GET", scheme: "http", authority: "nobody.test", path: "/", headers: [] }) }
    "#]],
    );
}

#[test]
fn connections_are_told_apart_by_address_and_by_name() {
    let bytes = |host: &str, port: u16| Asked { host: host.into(), port, tls: None, request: None };
    check(
        &bytes("10.9.0.2", 3306),
        expect![[r#"
        listener virtualOutbound: hands the connection to the listener of its destination <- 
        listener 10.9.0.2_3306: at 10.9.0.2:3306 <- service bank/db spec.ports[port=3306]
        filter chain : takes everything else <- service bank/db spec.ports[port=3306]
        = 1.000
          cluster outbound|3306||db.bank.svc.cluster.local: EDS, LEAST_REQUEST <- service bank/db spec.ports[port=3306]
          Closed { flag: "UH", reason: "no endpoint of outbound|3306||db.bank.svc.cluster.local can be used" }
    "#]],
    );
    let hello = TlsHello { server_name: Some("outside.test".into()), protocols: Vec::new() };
    check(
        &Asked { tls: Some(hello), ..bytes("outside.test", 443) },
        expect![[r#"
        listener virtualOutbound: hands the connection to the listener of its destination <- 
        listener 0.0.0.0_443: at 0.0.0.0:443 <- 
        filter chain : takes SNI outside.test <- virtualService shop/tls spec.tls[0].match[0]
        = 1.000
          cluster outbound|80||web.shop.svc.cluster.local: EDS, RANDOM <- service shop/web spec.ports[port=80], destinationRule shop/web spec.trafficPolicy.portLevelSettings[0]
          endpoints : 1 endpoint <- service shop/web
          10.1.0.1:8080 1.000 <- endpointSlice shop/web-1 endpoints[1]
    "#]],
    );
}

#[test]
fn what_arrives_at_an_application_is_told_by_its_service() {
    let (mut mesh, _) = mesh();
    let id = mesh.connect(node("web-1", "shop", "10.1.0.1"));
    let sources = Sources::of(&mesh, id).unwrap();
    let asked = http("web", 80, "/");
    assert_eq!(asked.port_at(&sources), 8080);
    let arrival = asked.arrival_inbound(&sources, 8080).unwrap();
    expect![[r#"
        listener virtualInbound: at 0.0.0.0:15006 <- 
        filter chain 0.0.0.0_8080: takes port 8080, plain <- 
        virtual host inbound|http|80: for * <- service shop/web spec.ports[port=80]
        route default: /* <- service shop/web spec.ports[port=80]
        retry : tried again up to 2 times on reset-before-request <- service shop/web spec.ports[port=80]
        = 1.000
          cluster inbound|8080||: ORIGINAL_DST, CLUSTER_PROVIDED <- service shop/web spec.ports[port=80]
          OriginalDestination { cluster: "inbound|8080||", request: Some(HttpRequest { method: "GET", scheme: "http", authority: "web", path: "/", headers: [] }) }
    "#]].assert_eq(&walked(&mesh, id, &arrival));
    let unknown = asked.arrival_inbound(&sources, 7).unwrap();
    expect![[r#"
        listener virtualInbound: at 0.0.0.0:15006 <- 
        filter chain virtualInbound-catchall-http: takes plain, http/1.1 or h2c <- 
        virtual host inbound|http|0: for * <- 
        route default: /* <- 
        retry : tried again up to 2 times on reset-before-request <- 
        = 1.000
          cluster InboundPassthroughCluster: ORIGINAL_DST, CLUSTER_PROVIDED <- 
          OriginalDestination { cluster: "InboundPassthroughCluster", request: Some(HttpRequest { method: "GET", scheme: "http", authority: "web", path: "/", headers: [] }) }
    "#]].assert_eq(&walked(&mesh, id, &unknown));
}

#[test]
fn a_gateway_is_told_by_its_servers() {
    let (mut mesh, _) = mesh();
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n\
        spec: {selector: {app: edge}, servers: [{port: {number: 1, name: a, protocol: TCP}, hosts: ['*']}, {port: {number: 8080, name: http, protocol: HTTP}, hosts: [a.test]}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: all, namespace: shop}\n\
        spec: {hosts: [a.test], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: some, namespace: shop}\n\
        spec: {hosts: [a.test], gateways: [edge], http: [{match: [{uri: {exact: /one}}, {uri: {exact: /two}}], directResponse: {status: 200}}]}\n---\n";
    mesh.apply(&batch(configs(gateway)));
    let id = mesh.connect(rutter_api::SidecarNode { role: Role::Gateway, ..node("edge", "shop", "10.0.0.9") });
    expect![[r#"
        listener 0.0.0.0_8080: at 0.0.0.0:8080 <- gateway shop/edge spec.servers[1]
        filter chain : takes everything else <- gateway shop/edge spec.servers[1]
        virtual host http.8080/a.test:8080: for a.test <- gateway shop/edge, virtualService shop/all, virtualService shop/some
        route : /two <- virtualService shop/some spec.http[0].match[1]
        = 1.000
          Answered { status: 200, grpc_status: None, flag: "", reason: "" }
    "#]].assert_eq(&told(&mesh, id, &http("a.test", 8080, "/two")));
    expect![[r#"
        listener 0.0.0.0_8080: at 0.0.0.0:8080 <- gateway shop/edge spec.servers[1]
        filter chain : takes everything else <- gateway shop/edge spec.servers[1]
        virtual host http.8080/a.test:8080: for a.test <- gateway shop/edge, virtualService shop/all, virtualService shop/some
        route : /* <- virtualService shop/all spec.http[0]
        retry : tried again up to 2 times on connect-failure, refused-stream, unavailable, cancelled, retriable-status-codes <- virtualService shop/all spec.http[0]
        = 1.000
          cluster outbound|80||web.shop.svc.cluster.local: EDS, RANDOM <- service shop/web spec.ports[port=80], destinationRule shop/web spec.trafficPolicy.portLevelSettings[0]
          endpoints : 1 endpoint <- service shop/web
          10.1.0.1:8080 1.000 <- endpointSlice shop/web-1 endpoints[1]
          as a.test /
    "#]].assert_eq(&told(&mesh, id, &http("a.test", 8080, "/")));
    expect![[r#"
        = 1.000
          Closed { flag: "", reason: "the proxy does not listen at port 80, but at 0.0.0.0:8080" }
    "#]]
    .assert_eq(&told(&mesh, id, &http("a.test", 80, "/")));
}

#[test]
fn the_grpc_library_asks_by_name_and_a_bound_sidecar_at_its_own_address() {
    let (mut mesh, _) = mesh();
    let proxyless = rutter_api::SidecarNode {
        proxyless: true,
        interception: Interception::None,
        takes_virtual_hosts: false,
        ..node("grpc", "shop", "10.0.0.7")
    };
    let id = mesh.connect(proxyless);
    let asked = http("web.shop.svc.cluster.local", 80, "/far/away");
    expect![[r#"
        listener web.shop.svc.cluster.local:80: the gRPC library asks for it by name <- service shop/web spec.ports[port=80]
        virtual host web.shop.svc.cluster.local:80: for * <- 
        route : /far/away* <- virtualService shop/far spec.http[1], virtualService shop/web spec.http[2].delegate
        = 1.000
          Answered { status: 200, grpc_status: Some(14), flag: "", reason: "the gRPC library fails the call: a route answers it" }
    "#]].assert_eq(&told(&mesh, id, &asked));
    expect![[r#"
        the gRPC library makes calls, and no other connections
    "#]]
    .assert_eq(&told(&mesh, id, &Asked { request: None, ..asked.clone() }));
    let bound = rutter_api::SidecarNode { interception: Interception::None, ..node("bound", "shop", "10.0.0.8") };
    let id = mesh.connect(bound);
    expect![[r#"
        listener 10.0.0.8_80: at 10.0.0.8:80 <- 
        filter chain : takes everything else <- 
        virtual host 80/web.shop.svc.cluster.local:80: for web.shop.svc.cluster.local and 5 other names <- service shop/web, virtualService shop/web
        route : /far/away* <- virtualService shop/far spec.http[1], virtualService shop/web spec.http[2].delegate
        = 1.000
          Answered { status: 418, grpc_status: None, flag: "", reason: "" }
    "#]].assert_eq(&told(&mesh, id, &http("web", 80, "/far/away")));
}

#[test]
fn the_ports_of_a_gateway_are_those_of_its_service() {
    let (mut mesh, _) = mesh();
    let gateway = "apiVersion: v1\nkind: Service\nmetadata: {name: edge, namespace: istio-system}\nspec: {selector: {app: edge}, \
        ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\n\
        spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test]}]}\n---\n\
        apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: all, namespace: shop}\n\
        spec: {hosts: [a.test], gateways: [edge], http: [{match: [{headers: {x-forwarded-proto: {exact: http}}}], directResponse: {status: 200}}]}\n---\n";
    mesh.apply(&batch(configs(gateway)));
    let edge = rutter_api::SidecarNode { role: Role::Gateway, ..node("edge", "istio-system", "10.0.0.9") };
    let id = mesh.connect(edge.clone());
    expect![[r#"
        listener 0.0.0.0_8080: at 0.0.0.0:8080 <- gateway shop/edge spec.servers[0]
        filter chain : takes everything else <- gateway shop/edge spec.servers[0]
        virtual host http.80/a.test:80: for a.test <- gateway shop/edge, virtualService shop/all
        route : /* x-forwarded-proto=http <- virtualService shop/all spec.http[0].match[0]
        = 1.000
          Answered { status: 200, grpc_status: None, flag: "", reason: "" }
    "#]]
    .assert_eq(&told(&mesh, id, &http("a.test", 80, "/")));
    // So it is where the virtual hosts stand in the table.
    let id = mesh.connect(rutter_api::SidecarNode { takes_virtual_hosts: false, ..edge });
    expect![[r#"
        listener 0.0.0.0_8080: at 0.0.0.0:8080 <- gateway shop/edge spec.servers[0]
        filter chain : takes everything else <- gateway shop/edge spec.servers[0]
        virtual host a.test:80: for a.test <- gateway shop/edge, virtualService shop/all
        route : /* x-forwarded-proto=http <- virtualService shop/all spec.http[0].match[0]
        = 1.000
          Answered { status: 200, grpc_status: None, flag: "", reason: "" }
    "#]]
    .assert_eq(&told(&mesh, id, &http("a.test", 80, "/")));
}

#[test]
fn listeners_that_a_sidecar_object_binds_are_found_where_they_are() {
    let (mut mesh, _) = mesh();
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: shop}\n\
        spec: {egress: [{port: {number: 3306, protocol: TCP}, bind: 127.0.0.9, captureMode: NONE, hosts: ['*/*']}, {hosts: ['*/*']}], \
        ingress: [{port: {number: 9000, protocol: HTTP}, captureMode: NONE, bind: 127.0.0.8, defaultEndpoint: '127.0.0.1:9001'}]}\n---\n";
    mesh.apply(&batch(configs(sidecar)));
    let bound = rutter_api::SidecarNode { interception: Interception::None, ..node("bound", "shop", "10.0.0.8") };
    let id = mesh.connect(bound);
    let bytes = Asked { host: "db.bank".into(), port: 3306, tls: None, request: None };
    expect![[r#"
        listener 10.0.0.8_3306: at 10.0.0.8:3306 <- sidecar shop/s spec.egress[0]
        filter chain : takes everything else <- sidecar shop/s spec.egress[0]
        = 1.000
          cluster outbound|3306||db.bank.svc.cluster.local: EDS, LEAST_REQUEST <- service bank/db spec.ports[port=3306]
          Closed { flag: "UH", reason: "no endpoint of outbound|3306||db.bank.svc.cluster.local can be used" }
    "#]]
    .assert_eq(&told(&mesh, id, &bytes));
    let id = mesh.connect(node("captured", "shop", "10.0.0.7"));
    let sources = Sources::of(&mesh, id).unwrap();
    let arrival = http("captured", 9000, "/").arrival_inbound(&sources, 9000).unwrap();
    expect![[r#"
        listener 127.0.0.8_9000: at 127.0.0.8:9000 <- sidecar shop/s spec.ingress[0]
        filter chain : takes everything else <- sidecar shop/s spec.ingress[0]
        virtual host inbound|http|9000: for * <- sidecar shop/s spec.ingress[0]
        route default: /* <- sidecar shop/s spec.ingress[0]
        retry : tried again up to 2 times on reset-before-request <- sidecar shop/s spec.ingress[0]
        = 1.000
          cluster inbound|9000||: STATIC, ROUND_ROBIN <- sidecar shop/s spec.ingress[0]
          endpoints : 1 endpoint <- sidecar shop/s spec.ingress[0]
          127.0.0.1:9001 1.000 <- sidecar shop/s spec.ingress[0]
          as captured /
    "#]]
    .assert_eq(&walked(&mesh, id, &arrival));
}

#[test]
fn a_whole_table_is_told_with_the_objects_of_the_host() {
    let (mut mesh, _) = mesh();
    let older = rutter_api::SidecarNode { takes_virtual_hosts: false, ..node("older", "shop", "10.0.0.6") };
    let id = mesh.connect(older);
    expect![[r#"
        listener virtualOutbound: hands the connection to the listener of its destination <- 
        listener 0.0.0.0_80: at 0.0.0.0:80 <- 
        filter chain : takes plain, http/1.1 or h2c <- 
        virtual host web.shop.svc.cluster.local:80: for web.shop.svc.cluster.local and 5 other names <- service shop/web, virtualService shop/web
        route api: /x <- virtualService shop/web spec.http[1].match[0]
        filter fault: answers 25 % of requests itself <- virtualService shop/web spec.http[1].match[0]
        retry : tried again up to 2 times on connect-failure, refused-stream, unavailable, cancelled, retriable-status-codes <- virtualService shop/web spec.http[1].match[0]
        = 0.250
          Answered { status: 500, grpc_status: None, flag: "FI", reason: "a fault is injected" }
        = 0.562
          rewrite : path /v1 <- virtualService shop/web spec.http[1].match[0]
          cluster outbound|80|v1|web.shop.svc.cluster.local: EDS, RANDOM <- service shop/web spec.ports[port=80], destinationRule shop/web-more spec.subsets[1], destinationRule shop/web spec.trafficPolicy.portLevelSettings[0]
          endpoints : 1 endpoint <- service shop/web
          10.1.0.1:8080 1.000 <- endpointSlice shop/web-1 endpoints[1]
          as web /v1
        = 0.188
          rewrite : path /v1 <- virtualService shop/web spec.http[1].match[0]
          cluster outbound|80||outside.test: EDS, LEAST_REQUEST <- serviceEntry shop/outside spec.ports[2]
          endpoints : one of 2 endpoints <- serviceEntry shop/outside
          10.2.0.1:80 0.250 <- serviceEntry shop/outside spec.endpoints[0]
          10.2.0.2:80 0.750 <- serviceEntry shop/outside spec.endpoints[1]
          as web /v1
    "#]].assert_eq(&told(&mesh, id, &http("web", 80, "/x")));
}
