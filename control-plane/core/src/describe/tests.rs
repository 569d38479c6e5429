use expect_test::{Expect, expect};
use rutter_api::SidecarNode;
use rutter_api::node::Role;
use rutter_api::{ConfigKey, Kind};

use super::description::joined;
use super::*;
use crate::mesh::{Mesh, NodeId};
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, node};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: shop, annotations: {networking.istio.io/exportTo: .}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, namespace: shop}
spec: {hosts: [web], http: [{delegate: {name: part}}, {delegate: {name: missing}}, {route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: shop}
spec: {http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: shop}
spec: {hosts: [www.test, other.org], gateways: [edge, missing], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stray, namespace: shop}
spec: {hosts: [stray.org], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {app: edge}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.test']}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: more, namespace: shop}
spec: {host: web, subsets: [{name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: narrow, namespace: shop}
spec: {host: web, exportTo: [.], subsets: [{name: v3, labels: {version: v3}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: bank}
spec: {host: web.shop.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: third, namespace: nowhere}
spec: {host: web.shop.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: poor}
spec: {egress: [{hosts: [./*]}]}
---
";

fn mesh() -> Mesh {
    let mut mesh = Mesh::new(MeshSettings::default());
    mesh.apply(&batch(configs(MESH)));
    mesh.connect(node("a", "shop", "10.0.0.1"));
    mesh.connect(node("b", "shop", "10.0.0.2"));
    mesh.connect(node("c", "bank", "10.0.0.3"));
    mesh.connect(node("d", "poor", "10.0.0.4"));
    mesh.connect(SidecarNode { role: Role::Gateway, ..node("edge", "istio-system", "10.0.0.5") });
    mesh.connect(SidecarNode { role: Role::Gateway, ..node("other", "istio-system", "10.0.0.6") });
    mesh
}

fn told(mesh: &Mesh, description: &Description) -> String {
    let Description { title, facts, seen_by, unseen, shaped_by, without_effect, cost } = description;
    let mut lines = vec![title.clone()];
    lines.extend(facts.iter().map(|(name, value)| format!("  {name}: {value}")));
    let names = seen_by.iter().filter_map(|id| mesh.node(*id)).map(|node| node.id());
    lines.push(format!("  seen by {}", joined(names)));
    lines.extend(unseen.iter().map(|(why, clients)| format!("  not by {clients}: {why}")));
    lines.extend(shaped_by.iter().map(|((key, what), clients)| format!("  {key} {what} ({clients})")));
    lines.extend(
        without_effect.iter().map(|((key, why), clients)| format!("  without effect: {key}: {why} ({clients})")),
    );
    for ((resource_type, name, _), clients) in &cost.resources {
        lines.push(format!("  {resource_type} {name} ({clients})"));
    }
    lines.join("\n") + "\n"
}

fn check(kind: Kind, namespace: &str, name: &str, want: Expect) {
    let mesh = mesh();
    let descriptions = describe(&mesh, &ConfigKey::new(kind, namespace, name)).unwrap().unwrap();
    let texts: Vec<String> = descriptions.iter().map(|description| told(&mesh, description)).collect();
    want.assert_eq(&texts.concat());
}

#[test]
fn a_service_is_told_with_those_who_see_it_and_what_shapes_it() {
    check(
        Kind::Service,
        "shop",
        "web",
        expect![[r#"
            service shop/web
              host: web.shop.svc.cluster.local
              ports: 80 http
              addresses: 10.9.0.1
              endpoints: 1
              exported to: every namespace
              seen by a.shop, b.shop, c.bank, edge.istio-system
              not by 1: nothing leads to it
              not by 1: sidecar poor/narrow does not admit it
              virtualService shop/edge sends requests to it (0)
              virtualService shop/first routes requests (3)
              virtualService shop/first sends requests to it (0)
              virtualService shop/part sends requests to it (0)
              virtualService shop/second sends requests to it (0)
              virtualService shop/stray sends requests to it (0)
              destinationRule bank/own applies to connections (1)
              destinationRule shop/more applies to connections (3)
              destinationRule shop/web applies to connections (3)
              without effect: virtualService shop/first: it is bound to none of their Gateways (1)
              without effect: virtualService shop/second: it is bound to none of their Gateways (1)
              without effect: virtualService shop/second: virtualService shop/first routes web.shop.svc.cluster.local, which is older (3)
              without effect: destinationRule bank/own: its namespace is neither theirs, nor the service's, nor the root namespace (3)
              without effect: destinationRule nowhere/third: its namespace is neither theirs, nor the service's, nor the root namespace (4)
              without effect: destinationRule shop/narrow: destinationRule shop/web applies, which is older (2)
              without effect: destinationRule shop/narrow: it is not exported to their namespace (2)
              without effect: destinationRule shop/web: destinationRule bank/own applies, whose namespace comes first (1)
              cluster outbound|80|v1|web.shop.svc.cluster.local (3)
              cluster outbound|80|v2|web.shop.svc.cluster.local (3)
              cluster outbound|80||web.shop.svc.cluster.local (4)
              endpoint outbound|80|v1|web.shop.svc.cluster.local (3)
              endpoint outbound|80|v2|web.shop.svc.cluster.local (3)
              endpoint outbound|80||web.shop.svc.cluster.local (4)
              virtualhost 80/web.shop.svc.cluster.local:80 (1)
              virtualhost 80/web.shop.svc.cluster.local:80 (2)
        "#]],
    );
    check(
        Kind::Service,
        "shop",
        "hidden",
        expect![[r#"
        service shop/hidden
          host: hidden.shop.svc.cluster.local
          ports: 80 http
          endpoints: 0
          exported to: shop
          seen by a.shop, b.shop
          not by 4: it is not exported to their namespace
          cluster outbound|80||hidden.shop.svc.cluster.local (2)
          endpoint outbound|80||hidden.shop.svc.cluster.local (2)
          virtualhost 80/hidden.shop.svc.cluster.local:80 (2)
    "#]],
    );
}

#[test]
fn a_virtual_service_is_told_with_why_others_do_not_follow_it() {
    check(
        Kind::VirtualService,
        "shop",
        "first",
        expect![[r#"
        virtualService shop/first
          hosts: web.shop.svc.cluster.local
          gateways: mesh
          rules: 3 http, 0 tls, 0 tcp
          exported to: every namespace
          sends to: web.shop.svc.cluster.local
          seen by a.shop, b.shop, c.bank
          not by 1: it is bound to none of their Gateways
          not by 1: sidecar poor/narrow admits none of its hosts
          not by 1: they see none of its hosts
          virtualService shop/part is a delegate, whose rules take the place of one here (0)
          without effect: virtualService shop/missing: is a delegate that does not exist (0)
          virtualhost 80/web.shop.svc.cluster.local:80 (1)
          virtualhost 80/web.shop.svc.cluster.local:80 (2)
    "#]],
    );
    check(
        Kind::VirtualService,
        "shop",
        "second",
        expect![[r#"
        virtualService shop/second
          hosts: web.shop.svc.cluster.local
          gateways: mesh
          rules: 1 http, 0 tls, 0 tcp
          exported to: every namespace
          sends to: web.shop.svc.cluster.local
          seen by 
          not by 1: it is bound to none of their Gateways
          not by 1: sidecar poor/narrow admits none of its hosts
          not by 1: they see none of its hosts
          not by 3: virtualService shop/first routes web.shop.svc.cluster.local, which is older
    "#]],
    );
}

#[test]
fn delegates_and_what_is_for_gateways_are_told_as_such() {
    check(
        Kind::VirtualService,
        "shop",
        "part",
        expect![[r#"
            virtualService shop/part
              gateways: mesh
              rules: 1 http, 0 tls, 0 tcp
              exported to: every namespace
              sends to: web.shop.svc.cluster.local
              delegated to by: virtualService shop/first
              seen by a.shop, b.shop, c.bank
              virtualhost 80/web.shop.svc.cluster.local:80 (1)
              virtualhost 80/web.shop.svc.cluster.local:80 (2)
        "#]],
    );
    check(
        Kind::VirtualService,
        "shop",
        "edge",
        expect![[r#"
        virtualService shop/edge
          hosts: www.test, other.org
          gateways: gateway shop/edge, gateway shop/missing
          rules: 1 http, 0 tls, 0 tcp
          exported to: every namespace
          sends to: web.shop.svc.cluster.local
          seen by edge.istio-system
          not by 5: it is for gateways alone
          gateway shop/edge serves it at gateways (0)
          without effect: gateway shop/missing: does not exist (0)
          virtualhost http.8080/www.test:8080 (1)
    "#]],
    );
}

#[test]
fn a_destination_rule_is_told_with_why_it_does_not_apply() {
    check(
        Kind::DestinationRule,
        "shop",
        "web",
        expect![[r#"
        destinationRule shop/web
          host: web.shop.svc.cluster.local
          subsets: v1
          policy: for all endpoints
          exported to: every namespace
          services: 1
          seen by a.shop, b.shop, edge.istio-system
          not by 1: destinationRule bank/own applies, whose namespace comes first
          not by 2: they do not see its host
          cluster outbound|80|v1|web.shop.svc.cluster.local (3)
          cluster outbound|80|v2|web.shop.svc.cluster.local (3)
          cluster outbound|80||web.shop.svc.cluster.local (3)
          endpoint outbound|80|v1|web.shop.svc.cluster.local (3)
          endpoint outbound|80|v2|web.shop.svc.cluster.local (3)
          endpoint outbound|80||web.shop.svc.cluster.local (3)
    "#]],
    );
    check(
        Kind::DestinationRule,
        "shop",
        "more",
        expect![[r#"
            destinationRule shop/more
              host: web.shop.svc.cluster.local
              subsets: v2
              exported to: every namespace
              services: 1
              seen by a.shop, b.shop, edge.istio-system
              not by 1: destinationRule bank/own applies, whose namespace comes first
              not by 2: they do not see its host
              destinationRule shop/web is older and as specific: both are one rule, with the subsets of both and the policy of the first that has one (3)
              cluster outbound|80|v1|web.shop.svc.cluster.local (3)
              cluster outbound|80|v2|web.shop.svc.cluster.local (3)
              cluster outbound|80||web.shop.svc.cluster.local (3)
              endpoint outbound|80|v1|web.shop.svc.cluster.local (3)
              endpoint outbound|80|v2|web.shop.svc.cluster.local (3)
              endpoint outbound|80||web.shop.svc.cluster.local (3)
        "#]],
    );
    check(
        Kind::DestinationRule,
        "nowhere",
        "third",
        expect![[r#"
        destinationRule nowhere/third
          host: web.shop.svc.cluster.local
          exported to: every namespace
          services: 1
          seen by 
          not by 4: its namespace is neither theirs, nor the service's, nor the root namespace
          not by 2: they do not see its host
    "#]],
    );
}

#[test]
fn rules_that_are_not_one_rule_and_routes_that_no_server_serves_are_without_effect() {
    check(
        Kind::DestinationRule,
        "shop",
        "narrow",
        expect![[r#"
        destinationRule shop/narrow
          host: web.shop.svc.cluster.local
          subsets: v3
          exported to: .
          services: 1
          seen by 
          not by 2: destinationRule shop/web applies, which is older
          not by 2: it is not exported to their namespace
          not by 2: they do not see its host
    "#]],
    );
    check(
        Kind::VirtualService,
        "shop",
        "stray",
        expect![[r#"
        virtualService shop/stray
          hosts: stray.org
          gateways: gateway shop/edge
          rules: 1 http, 0 tls, 0 tcp
          exported to: every namespace
          sends to: web.shop.svc.cluster.local
          seen by 
          not by 5: it is for gateways alone
          not by 1: none of its hosts is one of a server
          without effect: gateway shop/edge: has no server for any of the hosts (0)
    "#]],
    );
}

#[test]
fn a_gateway_and_a_sidecar_are_told_with_those_whom_they_select() {
    check(
        Kind::Gateway,
        "shop",
        "edge",
        expect![[r#"
        gateway shop/edge
          selector: app=edge
          server: 8080/HTTP *.test
          seen by edge.istio-system
          not by 1: its selector does not select them
          virtualService shop/edge routes www.test (0)
          without effect: virtualService shop/stray: none of its hosts is one of a server, or its namespace is not admitted (0)
          listener 0.0.0.0_8080 (1)
          route http.8080 (1)
          virtualhost http.8080/www.test:8080 (1)
    "#]],
    );
    check(
        Kind::Sidecar,
        "poor",
        "narrow",
        expect![[r#"
        sidecar poor/narrow
          selects: every workload of the namespace without one of its own
          egress: ./*
          seen by d.poor
          cluster BlackHoleCluster (1)
          cluster InboundPassthroughCluster (1)
          cluster PassthroughCluster (1)
          listener virtualInbound (1)
          listener virtualOutbound (1)
    "#]],
    );
}

#[test]
fn a_client_is_told_with_what_it_has() {
    let mesh = mesh();
    expect![[r#"
        sidecar a.shop
          addresses: 10.0.0.1
          labels: app=a
          class: a sidecar to which traffic is redirected
          sees the same as: 1 other
          seen by 
          virtualService shop/first routes requests to 1 host (1)
          destinationRule shop/web applies to connections to 1 host (1)
          cluster BlackHoleCluster (1)
          cluster InboundPassthroughCluster (1)
          cluster PassthroughCluster (1)
          cluster outbound|80|v1|web.shop.svc.cluster.local (1)
          cluster outbound|80|v2|web.shop.svc.cluster.local (1)
          cluster outbound|80||hidden.shop.svc.cluster.local (1)
          cluster outbound|80||web.shop.svc.cluster.local (1)
          endpoint outbound|80|v1|web.shop.svc.cluster.local (1)
          endpoint outbound|80|v2|web.shop.svc.cluster.local (1)
          endpoint outbound|80||hidden.shop.svc.cluster.local (1)
          endpoint outbound|80||web.shop.svc.cluster.local (1)
          listener 0.0.0.0_80 (1)
          listener virtualInbound (1)
          listener virtualOutbound (1)
          route 80 (1)
          virtualhost 80/hidden.shop.svc.cluster.local:80 (1)
          virtualhost 80/web.shop.svc.cluster.local:80 (1)
    "#]]
    .assert_eq(&told(&mesh, &describe_client(&mesh, NodeId(1)).unwrap()));
    assert!(describe_client(&mesh, NodeId(99)).is_none());
}

#[test]
fn other_kinds_are_refused_and_what_is_not_there_is_nothing() {
    let mesh = mesh();
    let error = describe(&mesh, &ConfigKey::new(Kind::EndpointSlice, "shop", "web")).unwrap_err();
    assert!(error.ends_with("got the kind EndpointSlice"), "{error}");
    assert!(describe(&mesh, &ConfigKey::new(Kind::Service, "shop", "gone")).unwrap().is_none());
}

#[test]
fn of_a_wildcard_for_very_many_hosts_the_first_are_looked_at_and_that_is_told() {
    let service = |number: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: many}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: all, namespace: many}\n\
        spec: {host: '*.many.svc.cluster.local'}\n";
    let mut mesh = mesh();
    mesh.apply(&batch(configs(&((0..1_001).map(service).collect::<String>() + rule))));
    let description =
        describe(&mesh, &ConfigKey::new(Kind::DestinationRule, "many", "all")).unwrap().unwrap().remove(0);
    let told = ("looked at".to_owned(), "the first 1000 of 1001 hosts that *.many.svc.cluster.local covers".to_owned());
    assert!(description.facts.contains(&told), "{:?}", description.facts);
}
