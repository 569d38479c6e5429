//! Which scopes there are, what a scope may see, and which scopes a change finds.

use expect_test::expect;
use rutter_api::{Kind, ResourceType};

use crate::scope::testing::{
    HTTP, Scopes, bound, captured, exported, grpc, istio, istio_in, service, service_in, with_whole_tables,
};
use crate::testing::node;

/// Two services in `shop` and one in `bank`.
fn three_services() -> String {
    service("a", "10.9.0.1", HTTP) + &service("b", "10.9.0.2", HTTP) + &service_in("bank", "c", "10.9.0.3", HTTP)
}

fn sidecar(egress: &str) -> String {
    istio("Sidecar", "default", &format!("{{egress: [{{hosts: [{egress}]}}]}}"))
}

fn slice(name: &str, service: &str, ip: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [{ip}]}}]\n---\n"
    )
}

#[test]
fn clients_with_the_same_key_enter_the_same_scope() {
    let mut scopes = Scopes::new(&three_services());
    let first = scopes.enter(&node("a", "shop", "10.0.0.1"));
    assert_eq!(scopes.enter(&node("b", "shop", "10.0.0.2")), first, "pods and addresses do not matter");
    let others = [captured("bank"), bound("shop"), grpc("shop"), with_whole_tables("shop")];
    for (other, count) in others.iter().zip(2..) {
        assert_ne!(scopes.enter(other), first, "{other:?}");
        assert_eq!(scopes.table.len(), count);
    }
}

#[test]
fn workloads_that_different_sidecar_objects_select_are_in_different_scopes() {
    let selecting = "{workloadSelector: {labels: {app: special}}, egress: [{hosts: ['./*']}]}";
    let mut scopes = Scopes::new(&(three_services() + &istio("Sidecar", "special", selecting)));
    let special = scopes.enter(&node("special", "shop", "10.0.0.1"));
    let common = scopes.enter(&node("common", "shop", "10.0.0.2"));
    assert_ne!(special, common);
    let endpoints = |id| scopes.shown_of(id, ResourceType::Endpoint);
    expect![[r#"
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|80||b.shop.svc.cluster.local
    "#]]
    .assert_eq(&endpoints(special));
    expect![[r#"
        base endpoint outbound|80||a.shop.svc.cluster.local
        base endpoint outbound|80||b.shop.svc.cluster.local
        base endpoint outbound|80||c.bank.svc.cluster.local
    "#]]
    .assert_eq(&endpoints(common));
}

#[test]
fn an_egress_admits_namespaces_and_hosts() {
    let admitted = |egress: &str| {
        let mut scopes = Scopes::new(&(three_services() + &sidecar(egress)));
        let id = scopes.enter(&captured("shop"));
        scopes.shown_of(id, ResourceType::Endpoint)
    };
    expect![[r#"
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|80||b.shop.svc.cluster.local
    "#]]
    .assert_eq(&admitted("./*"));
    expect![[r#"
        own  endpoint outbound|80||c.bank.svc.cluster.local
    "#]]
    .assert_eq(&admitted("bank/*"));
    expect![[r#"
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|80||c.bank.svc.cluster.local
    "#]]
    .assert_eq(&admitted("./a.shop.svc.cluster.local, bank/*"));
    expect![[r#"
        own  endpoint outbound|80||b.shop.svc.cluster.local
    "#]]
    .assert_eq(&admitted("'*/b.shop.svc.cluster.local'"));
    expect![""].assert_eq(&admitted("~/*"));
    expect![[r#"
        base endpoint outbound|80||a.shop.svc.cluster.local
        base endpoint outbound|80||b.shop.svc.cluster.local
        base endpoint outbound|80||c.bank.svc.cluster.local
    "#]]
    .assert_eq(&admitted("'*/*'"));
}

#[test]
fn a_restricted_scope_is_widened_by_what_the_virtual_services_it_sees_send_to() {
    let routes = |to: &str| {
        let spec = format!("{{hosts: [a], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}");
        istio("VirtualService", "routes", &spec)
    };
    let mut scopes = Scopes::new(&(three_services() + &sidecar("./a.shop.svc.cluster.local")));
    let id = scopes.enter(&captured("shop"));
    let clusters = |scopes: &Scopes| {
        let shown = scopes.shown_of(id, ResourceType::Cluster);
        shown.lines().filter_map(|line| line.split("||").nth(1)).collect::<Vec<_>>().join(", ")
    };
    expect!["a.shop.svc.cluster.local"].assert_eq(&clusters(&scopes));
    expect!["changed 1; listeners moved none; 2 visits, 4 encodes, 0 tables"]
        .assert_eq(&scopes.put(&routes("c.bank.svc.cluster.local")));
    expect!["a.shop.svc.cluster.local, c.bank.svc.cluster.local"].assert_eq(&clusters(&scopes));
    expect!["changed 1; listeners moved none; 3 visits, 4 encodes, 0 tables"].assert_eq(&scopes.put(&routes("b")));
    expect!["a.shop.svc.cluster.local, b.shop.svc.cluster.local"].assert_eq(&clusters(&scopes));
    expect!["changed 1; listeners moved none; 2 visits, 1 encodes, 0 tables"]
        .assert_eq(&scopes.delete(Kind::VirtualService, "routes"));
    expect!["a.shop.svc.cluster.local"].assert_eq(&clusters(&scopes));
}

#[test]
fn a_host_that_two_virtual_services_send_to_stays_until_neither_does() {
    let routes = |name: &str, host: &str| {
        let spec = format!("{{hosts: [{host}], http: [{{route: [{{destination: {{host: b}}}}]}}]}}");
        istio("VirtualService", name, &spec)
    };
    let text = three_services()
        + &service("d", "10.9.0.4", HTTP)
        + &sidecar("./a.shop.svc.cluster.local, ./d.shop.svc.cluster.local")
        + &routes("first", "a")
        + &routes("second", "d");
    let mut scopes = Scopes::new(&text);
    let id = scopes.enter(&captured("shop"));
    let has_b = |scopes: &Scopes| scopes.shown(id).contains("outbound|80||b.shop.svc.cluster.local");
    assert!(has_b(&scopes));
    scopes.delete(Kind::VirtualService, "first");
    assert!(has_b(&scopes), "the second still sends there");
    scopes.delete(Kind::VirtualService, "second");
    assert!(!has_b(&scopes));
}

/// Five scopes of each sort that a change may find: 1 and 2 lie over a base, 3 to 5 stand alone.
fn five_scopes() -> Scopes {
    let only_a = "{workloadSelector: {labels: {app: only-a}}, egress: [{hosts: ['./a.shop.svc.cluster.local']}]}";
    let own_namespace =
        istio_in("bank", "Sidecar", "own", "{workloadSelector: {labels: {app: own}}, egress: [{hosts: ['./*']}]}");
    let mut scopes = Scopes::new(&(three_services() + &istio("Sidecar", "only-a", only_a) + &own_namespace));
    scopes.enter(&captured("shop"));
    scopes.enter(&captured("bank"));
    scopes.enter(&node("only-a", "shop", "10.0.0.1"));
    scopes.enter(&node("own", "bank", "10.0.0.2"));
    scopes.enter(&grpc("shop"));
    scopes
}

#[test]
fn a_change_finds_the_scopes_that_it_concerns_and_no_others() {
    let virtual_service = |export_to: &str, host: &str| {
        let spec =
            format!("{{exportTo: [{export_to}], hosts: [{host}], http: [{{route: [{{destination: {{host: a}}}}]}}]}}");
        istio("VirtualService", "v", &spec)
    };
    let pool = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}";
    let steps = [
        ("endpoints of a", slice("s", "a", "10.0.7.1")),
        ("endpoints of b", slice("s", "b", "10.0.7.2")),
        ("a new service of shop", service("d", "10.9.0.4", HTTP)),
        ("a new service of bank", service_in("bank", "e", "10.9.0.5", HTTP)),
        ("a new service that nobody else sees", exported("f", "10.9.0.6", ".")),
        ("a rule beside the service", istio("DestinationRule", "r", &format!("{{host: a, {pool}}}"))),
        (
            "a rule of the namespace of some clients",
            istio_in("bank", "DestinationRule", "r", &format!("{{host: b.shop.svc.cluster.local, {pool}}}")),
        ),
        (
            "a rule of the root namespace",
            istio_in("istio-system", "DestinationRule", "r", &format!("{{host: '*.bank.svc.cluster.local', {pool}}}")),
        ),
        ("routes of a for all", virtual_service("'*'", "a")),
        ("routes of b for bank", virtual_service("bank", "b")),
        ("routes of what no service has", virtual_service("'.'", "x.example.com")),
        ("routes of every host of bank", virtual_service("'*'", "'*.bank.svc.cluster.local'")),
        (
            "a namespace with labels",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}".to_owned(),
        ),
        (
            "a Sidecar object that selects nobody here",
            istio("Sidecar", "nobody", "{workloadSelector: {labels: {app: nobody}}}"),
        ),
        (
            "the restriction of 3",
            istio("Sidecar", "only-a", "{workloadSelector: {labels: {app: only-a}}, egress: [{hosts: ['./*']}]}"),
        ),
    ];
    let mut scopes = five_scopes();
    let lines: Vec<String> = steps.iter().map(|(what, text)| format!("{what}: {}", scopes.put(text))).collect();
    expect![[r#"
        endpoints of a: changed 1 2 3 5; listeners moved none; 4 visits, 1 encodes, 0 tables
        endpoints of b: changed 1 2 3 5; listeners moved none; 7 visits, 2 encodes, 0 tables
        a new service of shop: changed 1 2 5; listeners moved none; 4 visits, 6 encodes, 0 tables
        a new service of bank: changed 1 2 4 5; listeners moved none; 4 visits, 6 encodes, 0 tables
        a new service that nobody else sees: changed 1 5; listeners moved none; 4 visits, 5 encodes, 0 tables
        a rule beside the service: changed 1 2 3 5; listeners moved none; 4 visits, 3 encodes, 0 tables
        a rule of the namespace of some clients: changed 2; listeners moved none; 3 visits, 2 encodes, 0 tables
        a rule of the root namespace: changed 1 2 4 5; listeners moved none; 8 visits, 6 encodes, 0 tables
        routes of a for all: changed 1 2 3 5; listeners moved none; 4 visits, 3 encodes, 0 tables
        routes of b for bank: changed 1 2 3 5; listeners moved none; 7 visits, 4 encodes, 0 tables
        routes of what no service has: changed 1 2; listeners moved none; 7 visits, 1 encodes, 0 tables
        routes of every host of bank: changed 1 2 5; listeners moved none; 12 visits, 6 encodes, 0 tables
        a namespace with labels: changed none; listeners moved none; 0 visits, 0 encodes, 0 tables
        a Sidecar object that selects nobody here: changed none; listeners moved none; 0 visits, 0 encodes, 0 tables
        the restriction of 3: changed 3; listeners moved none; 4 visits, 0 encodes, 1 tables"#]]
    .assert_eq(&lines.join("\n"));
    assert_eq!(scopes.put(&steps[14].1), "changed none; listeners moved none; 0 visits, 0 encodes, 0 tables");
}

#[test]
fn a_removal_finds_the_scopes_that_had_the_object() {
    let mut scopes = five_scopes();
    scopes.put(&(slice("s", "a", "10.0.7.1") + &istio("DestinationRule", "r", "{host: b, subsets: [{name: v1}]}")));
    let mut lines = Vec::new();
    for (kind, name) in [
        (Kind::EndpointSlice, "s"),
        (Kind::DestinationRule, "r"),
        (Kind::Service, "b"),
        (Kind::Service, "a"),
        (Kind::Service, "a"),
    ] {
        lines.push(format!("{kind} {name}: {}", scopes.delete(kind, name)));
    }
    expect![[r#"
        EndpointSlice s: changed 1 2 3 5; listeners moved none; 4 visits, 1 encodes, 0 tables
        DestinationRule r: changed 1 2 5; listeners moved none; 3 visits, 3 encodes, 0 tables
        Service b: changed 1 2 5; listeners moved none; 9 visits, 0 encodes, 0 tables
        Service a: changed 1 2 3 5; listeners moved 3; 9 visits, 0 encodes, 1 tables
        Service a: changed none; listeners moved none; 0 visits, 0 encodes, 0 tables"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_scope_that_begins_to_restrict_is_built_anew_when_its_clients_come_to_it() {
    let mut scopes = Scopes::new(&(three_services() + &sidecar("'*/*'")));
    let open = scopes.enter(&captured("shop"));
    assert!(scopes.table.base_of(open).is_some());
    scopes.put(&sidecar("./*"));
    assert!(scopes.table.get(open).is_none(), "its base is not the one that it should lie over");
    let restricted = scopes.enter(&captured("shop"));
    assert_ne!(open, restricted);
    assert!(scopes.table.base_of(restricted).is_none());
    expect![[r#"
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|80||b.shop.svc.cluster.local
    "#]]
    .assert_eq(&scopes.shown_of(restricted, ResourceType::Endpoint));
}

#[test]
fn a_restriction_that_changes_is_carried_out_in_place() {
    let mut scopes = Scopes::new(&(three_services() + &sidecar("./*")));
    let id = scopes.enter(&captured("shop"));
    expect!["changed 1; listeners moved none; 3 visits, 3 encodes, 1 tables"]
        .assert_eq(&scopes.put(&sidecar("bank/*")));
    expect![[r#"
        own  endpoint outbound|80||c.bank.svc.cluster.local
    "#]]
    .assert_eq(&scopes.shown_of(id, ResourceType::Endpoint));
    expect!["changed none; listeners moved none; 0 visits, 0 encodes, 0 tables"]
        .assert_eq(&scopes.put(&service("d", "10.9.0.4", HTTP)));
    expect!["changed 1; listeners moved none; 1 visits, 3 encodes, 0 tables"]
        .assert_eq(&scopes.put(&service_in("bank", "e", "10.9.0.5", HTTP)));
}

#[test]
fn a_scope_without_clients_is_forgotten_with_all_its_edges() {
    let mut scopes = five_scopes();
    let kept = scopes.enter(&captured("shop"));
    scopes.table.retain(&[kept].into());
    assert_eq!(scopes.table.len(), 1);
    expect!["changed 1; listeners moved none; 1 visits, 1 encodes, 0 tables"]
        .assert_eq(&scopes.put(&slice("s", "c", "10.0.7.9").replace("shop", "bank")));
    scopes.table.retain(&[].into());
    assert!(scopes.table.is_empty());
    expect!["ReverseEdges { watching: {}, watching_all: {}, of_namespace: {}, selecting: {}, inferring: {}, of_sidecar: {}, of_gateway: {} }"].assert_eq(&format!("{:?}", scopes.table.edges));
}
