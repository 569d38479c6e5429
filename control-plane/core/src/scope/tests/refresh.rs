//! What a scope has for its hosts: ports that hosts share, listeners that several claim, and names that several have.

use expect_test::expect;
use rutter_api::{Kind, ResourceType};

use crate::scope::testing::{
    HTTP, Scopes, TCP, TLS, UNKNOWN, bound, captured, exported, grpc, istio, service, service_in, with_whole_tables,
};

#[test]
fn a_captured_sidecar_has_its_common_resources_once_and_those_of_each_host() {
    let mut scopes = Scopes::without_sharing(&service("a", "10.9.0.1", HTTP));
    let id = scopes.enter(&captured("shop"));
    expect![[r#"
        own  cluster BlackHoleCluster
        own  cluster InboundPassthroughCluster
        own  cluster PassthroughCluster
        own  cluster outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  listener 0.0.0.0_80 with all to 80
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
        own  route 80 with allow_any for *
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
    "#]].assert_eq(&scopes.shown(id));
}

#[test]
fn a_sidecar_without_capture_has_no_listener_and_no_cluster_of_its_own_in_the_scope() {
    let mut scopes = Scopes::without_sharing(&service("a", "10.9.0.1", &format!("{HTTP}, {TCP}")));
    let id = scopes.enter(&bound("shop"));
    expect![[r#"
        own  cluster outbound|3306||a.shop.svc.cluster.local
        own  cluster outbound|80||a.shop.svc.cluster.local
        own  endpoint outbound|3306||a.shop.svc.cluster.local
        own  endpoint outbound|80||a.shop.svc.cluster.local
        own  route 80 with block_all for *
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
    "#]].assert_eq(&scopes.shown(id));
    let listeners = scopes.table.get(id).unwrap().bound_listeners(None);
    expect![[r#"{(None, 80): Routes("80"), (None, 3306): Connections({ConnectionMatch { server_name: None, subnets: [] }: ConnectionTarget { clusters: [("outbound|3306||a.shop.svc.cluster.local", 0)], source: None, idle_timeout: None, hashes_source_ip: false, tunnel: None, port_of_named_host: None }})}"#]]
        .assert_eq(&format!("{listeners:?}"));
}

#[test]
fn a_grpc_client_has_a_listener_for_each_name_and_a_table_for_each_port() {
    let mut scopes = Scopes::new(&service("a", "10.9.0.1", &format!("{{name: grpc, port: 7070}}, {TCP}")));
    let id = scopes.enter(&grpc("shop"));
    expect![[r#"
        own  cluster outbound|3306||a.shop.svc.cluster.local
        own  cluster outbound|7070||a.shop.svc.cluster.local
        own  endpoint outbound|3306||a.shop.svc.cluster.local
        own  endpoint outbound|7070||a.shop.svc.cluster.local
        own  listener a.shop.svc.cluster.local:7070
        own  listener a.shop.svc:7070
        own  listener a.shop:7070
        own  listener a:7070
        own  route outbound|7070||a.shop.svc.cluster.local with a.shop.svc.cluster.local:7070 for *
    "#]]
    .assert_eq(&scopes.shown(id));
}

#[test]
fn hosts_share_the_listener_and_the_table_of_a_port() {
    let mut scopes = Scopes::without_sharing(&service("a", "10.9.0.1", HTTP));
    let id = scopes.enter(&captured("shop"));
    let routes = |scopes: &Scopes| scopes.shown_of(id, ResourceType::Route);
    expect!["changed 1; listeners moved none; 1 visits, 3 encodes, 0 tables"]
        .assert_eq(&scopes.put(&service("b", "10.9.0.2", HTTP)));
    expect![[r#"
        own  route 80 with allow_any for *
    "#]]
    .assert_eq(&routes(&scopes));
    expect!["changed 1; listeners moved 1; 1 visits, 3 encodes, 1 tables"].assert_eq(&scopes.put(&service(
        "c",
        "10.9.0.3",
        "{name: http, port: 81}",
    )));
    expect![[r#"
        own  route 80 with allow_any for *
        own  route 81 with allow_any for *
    "#]]
    .assert_eq(&routes(&scopes));
    expect!["changed 1; listeners moved none; 1 visits, 0 encodes, 0 tables"]
        .assert_eq(&scopes.delete(Kind::Service, "a"));
    expect!["changed 1; listeners moved 1; 1 visits, 0 encodes, 1 tables"]
        .assert_eq(&scopes.delete(Kind::Service, "c"));
    expect![[r#"
        own  route 80 with allow_any for *
    "#]]
    .assert_eq(&routes(&scopes));
}

#[test]
fn a_whole_table_holds_the_virtual_hosts_and_is_put_together_for_each_change() {
    let text = service("a", "10.9.0.1", HTTP) + &service("b", "10.9.0.2", HTTP);
    let mut scopes = Scopes::new(&text);
    let id = scopes.enter(&with_whole_tables("shop"));
    expect![[r#"
        own  route 80 with a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1; b.shop.svc.cluster.local:80 for b.shop.svc.cluster.local b.shop.svc.cluster.local. b b.shop.svc b.shop 10.9.0.2; allow_any for *
    "#]].assert_eq(&scopes.shown_of(id, ResourceType::Route));
    assert_eq!(scopes.shown_of(id, ResourceType::VirtualHost), "");
    let routes = istio("VirtualService", "v", "{hosts: [a], http: [{route: [{destination: {host: b}}]}]}");
    expect!["changed 1; listeners moved none; 1 visits, 1 encodes, 1 tables"].assert_eq(&scopes.put(&routes));
    expect!["changed 1; listeners moved none; 2 visits, 1 encodes, 1 tables"]
        .assert_eq(&scopes.delete(Kind::Service, "b"));
    expect!["changed 1; listeners moved 1; 1 visits, 1 encodes, 1 tables"]
        .assert_eq(&scopes.delete(Kind::Service, "a"));
    expect![].assert_eq(&scopes.shown_of(id, ResourceType::Route));
}

#[test]
fn tcp_and_tls_hosts_without_an_address_share_the_listener_of_their_port() {
    let entry = |name: &str, port: &str| {
        let spec = format!("{{hosts: [{name}.example.com], resolution: DNS, ports: [{port}]}}");
        istio("ServiceEntry", name, &spec)
    };
    let tls = "{number: 443, name: tls, protocol: TLS}";
    let mut scopes = Scopes::without_sharing(&(entry("a", tls) + &entry("b", tls)));
    let id = scopes.enter(&captured("shop"));
    let listeners = |scopes: &Scopes| scopes.shown_of(id, ResourceType::Listener);
    expect![[r#"
        own  listener 0.0.0.0_443 with a.example.com to outbound|443||a.example.com; b.example.com to outbound|443||b.example.com
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
    "#]].assert_eq(&listeners(&scopes));
    scopes.put(&entry("c", "{number: 443, name: tcp, protocol: TCP}"));
    expect![[r#"
        own  listener 0.0.0.0_443 with a.example.com to outbound|443||a.example.com; b.example.com to outbound|443||b.example.com
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
    "#]].assert_eq(&listeners(&scopes));
    scopes.delete(Kind::ServiceEntry, "c");
    scopes.delete(Kind::ServiceEntry, "a");
    expect![[r#"
        own  listener 0.0.0.0_443 with b.example.com to outbound|443||b.example.com
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
    "#]]
    .assert_eq(&listeners(&scopes));
    scopes.delete(Kind::ServiceEntry, "b");
    expect![[r#"
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
    "#]]
    .assert_eq(&listeners(&scopes));
}

#[test]
fn a_service_with_an_address_has_listeners_of_its_own_for_what_is_not_http() {
    let mut scopes = Scopes::without_sharing(&service("a", "10.9.0.1", &format!("{TCP}, {TLS}, {UNKNOWN}")));
    let id = scopes.enter(&captured("shop"));
    expect![[r#"
        own  listener 10.9.0.1_3306 with all to outbound|3306||a.shop.svc.cluster.local
        own  listener 10.9.0.1_443 with all to outbound|443||a.shop.svc.cluster.local
        own  listener 10.9.0.1_9000 with all to a.shop.svc.cluster.local:9000
        own  listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
    "#]]
    .assert_eq(&scopes.shown_of(id, ResourceType::Listener));
    expect![[r#"
        own  route a.shop.svc.cluster.local:9000 with a.shop.svc.cluster.local:9000 for *
    "#]]
    .assert_eq(&scopes.shown_of(id, ResourceType::Route));
}

#[test]
fn of_several_hosts_that_claim_one_listener_the_first_by_name_has_it() {
    let claim = |name: &str| service(name, "10.9.0.1", TCP);
    let mut scopes = Scopes::without_sharing(&(claim("b") + &claim("c")));
    let id = scopes.enter(&captured("shop"));
    let owner = |scopes: &Scopes| {
        let snapshot = scopes.table.get(id).unwrap().snapshot().clone();
        let listener = snapshot.get(ResourceType::Listener, "10.9.0.1_3306").map(|listener| listener.body());
        listener.map(|body| {
            ["a", "b", "c"]
                .map(|name| format!("3306||{name}.shop"))
                .map(|text| body.windows(text.len()).any(|window| window == text.as_bytes()))
        })
    };
    assert_eq!(owner(&scopes), Some([false, true, false]));
    scopes.put(&claim("a"));
    assert_eq!(owner(&scopes), Some([true, false, false]), "a comes before b");
    scopes.delete(Kind::Service, "a");
    assert_eq!(owner(&scopes), Some([false, true, false]));
    scopes.delete(Kind::Service, "b");
    assert_eq!(owner(&scopes), Some([false, false, true]));
    scopes.delete(Kind::Service, "c");
    assert_eq!(owner(&scopes), None);
}

/// A service whose short form `e.shop` is the full name of a ServiceEntry.
fn rivals() -> [String; 2] {
    let entry = "{hosts: [e.shop], resolution: DNS, ports: [{number: 80, name: http}]}";
    [service("e", "10.9.0.1", HTTP), istio("ServiceEntry", "entry", entry)]
}

#[test]
fn a_full_name_takes_the_domain_from_the_host_that_has_it_as_a_short_form() {
    for client in [captured("shop"), with_whole_tables("shop")] {
        let [service, entry] = rivals();
        let mut scopes = Scopes::without_sharing(&service);
        let id = scopes.enter(&client);
        let shown = |scopes: &Scopes| {
            scopes.shown_of(id, ResourceType::VirtualHost) + &scopes.shown_of(id, ResourceType::Route)
        };
        let alone = shown(&scopes);
        scopes.put(&entry);
        let contested = shown(&scopes);
        assert!(domains_of(&alone, "e.shop.svc.cluster.local").contains(&"e.shop"), "{alone}");
        assert!(!domains_of(&contested, "e.shop.svc.cluster.local").contains(&"e.shop"), "{contested}");
        assert!(domains_of(&contested, "e.shop:80").contains(&"e.shop"), "{contested}");
        scopes.delete(Kind::ServiceEntry, "entry");
        assert_eq!(shown(&scopes), alone, "the domain comes back");
    }
}

/// Returns the domains of the virtual host whose name contains a text.
fn domains_of<'a>(shown: &'a str, name: &str) -> Vec<&'a str> {
    let line = shown.lines().find(|line| line.split(" for ").next().is_some_and(|head| head.contains(name)));
    line.and_then(|line| line.split(" for ").nth(1)).into_iter().flat_map(|domains| domains.split(' ')).collect()
}

#[test]
fn of_several_hosts_at_one_address_the_first_by_name_is_found_by_the_address() {
    let mut scopes = Scopes::without_sharing(&(service("a", "10.9.0.1", HTTP) + &service("b", "10.9.0.1", HTTP)));
    let id = scopes.enter(&captured("elsewhere"));
    let shown = |scopes: &Scopes| scopes.shown_of(id, ResourceType::VirtualHost);
    expect![[r#"
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop a.shop.svc 10.9.0.1
        own  virtualhost 80/b.shop.svc.cluster.local:80 for b.shop.svc.cluster.local b.shop.svc.cluster.local. b.shop b.shop.svc
    "#]].assert_eq(&shown(&scopes));
    scopes.delete(Kind::Service, "a");
    expect![[r#"
        own  virtualhost 80/b.shop.svc.cluster.local:80 for b.shop.svc.cluster.local b.shop.svc.cluster.local. b.shop b.shop.svc 10.9.0.1
    "#]].assert_eq(&shown(&scopes));
}

#[test]
fn short_names_are_those_of_the_clients_namespace() {
    let text = service("a", "10.9.0.1", HTTP) + &service_in("bank", "a", "10.9.0.2", HTTP);
    let mut scopes = Scopes::without_sharing(&text);
    let [shop, bank, elsewhere] = ["shop", "bank", "elsewhere"].map(|namespace| scopes.enter(&captured(namespace)));
    expect![[r#"
        own  virtualhost 80/a.bank.svc.cluster.local:80 for a.bank.svc.cluster.local a.bank.svc.cluster.local. a.bank a.bank.svc 10.9.0.2
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
    "#]].assert_eq(&scopes.shown_of(shop, ResourceType::VirtualHost));
    expect![[r#"
        own  virtualhost 80/a.bank.svc.cluster.local:80 for a.bank.svc.cluster.local a.bank.svc.cluster.local. a a.bank.svc a.bank 10.9.0.2
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop a.shop.svc 10.9.0.1
    "#]].assert_eq(&scopes.shown_of(bank, ResourceType::VirtualHost));
    expect![[r#"
        own  virtualhost 80/a.bank.svc.cluster.local:80 for a.bank.svc.cluster.local a.bank.svc.cluster.local. a.bank a.bank.svc 10.9.0.2
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop a.shop.svc 10.9.0.1
    "#]].assert_eq(&scopes.shown_of(elsewhere, ResourceType::VirtualHost));
}

#[test]
fn a_virtual_service_of_a_host_that_no_service_has_is_routed_at_port_80() {
    let routes = istio("VirtualService", "v", "{hosts: [x.example.com], http: [{route: [{destination: {host: a}}]}]}");
    let mut scopes = Scopes::without_sharing(&service("a", "10.9.0.1", HTTP));
    let id = scopes.enter(&captured("shop"));
    expect!["changed 1; listeners moved none; 1 visits, 1 encodes, 0 tables"].assert_eq(&scopes.put(&routes));
    expect![[r#"
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
        own  virtualhost 80/x.example.com:80 for x.example.com x.example.com.
    "#]].assert_eq(&scopes.shown_of(id, ResourceType::VirtualHost));
    let wild = routes.replace("x.example.com", "'*.example.com'");
    expect!["changed 1; listeners moved none; 1 visits, 0 encodes, 0 tables"].assert_eq(&scopes.put(&wild));
    expect![[r#"
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
    "#]].assert_eq(&scopes.shown_of(id, ResourceType::VirtualHost));
    scopes.put(&routes);
    scopes.delete(Kind::VirtualService, "v");
    assert!(!scopes.shown(id).contains("x.example.com"));
}

#[test]
fn a_service_that_is_no_longer_exported_leaves_the_others() {
    let mut scopes = Scopes::without_sharing(&exported("a", "10.9.0.1", "*"));
    let [shop, bank] = ["shop", "bank"].map(|namespace| scopes.enter(&captured(namespace)));
    let has_a = |scopes: &Scopes, id| scopes.shown(id).contains("a.shop.svc.cluster.local");
    assert!(has_a(&scopes, shop) && has_a(&scopes, bank));
    expect!["changed 2; listeners moved 2; 2 visits, 3 encodes, 1 tables"]
        .assert_eq(&scopes.put(&exported("a", "10.9.0.1", ".")));
    assert!(has_a(&scopes, shop) && !has_a(&scopes, bank));
    expect!["changed 1 2; listeners moved 1 2; 2 visits, 3 encodes, 2 tables"]
        .assert_eq(&scopes.put(&exported("a", "10.9.0.1", "bank")));
    assert!(!has_a(&scopes, shop) && has_a(&scopes, bank));
}

#[test]
fn a_mode_that_changes_is_encoded_again_for_every_port() {
    let policy = |mode: &str| {
        let spec = format!("{{egress: [{{hosts: ['./*']}}], outboundTrafficPolicy: {{mode: {mode}}}}}");
        istio("Sidecar", "default", &spec)
    };
    let text = service("a", "10.9.0.1", &format!("{HTTP}, {{name: grpc, port: 7070}}"));
    let mut scopes = Scopes::new(&(text + &policy("ALLOW_ANY")));
    let id = scopes.enter(&captured("shop"));
    let heads = |scopes: &Scopes| {
        let snapshot = scopes.table.get(id).unwrap().snapshot().clone();
        ["80", "7070"].map(|name| snapshot.get(ResourceType::Route, name).unwrap().version)
    };
    let open = heads(&scopes);
    expect!["changed 1; listeners moved none; 0 visits, 0 encodes, 2 tables"]
        .assert_eq(&scopes.put(&policy("REGISTRY_ONLY")));
    let closed = heads(&scopes);
    assert!(open[0] != closed[0] && open[1] != closed[1]);
    scopes.put(&policy("ALLOW_ANY"));
    assert_eq!(heads(&scopes), open);
}

#[test]
fn a_listener_at_a_socket_has_the_hosts_that_it_admits_at_all_their_ports() {
    let ports = "{name: http, port: 80}, {name: admin, port: 81}, {name: http-new, port: 82}, {name: tcp, port: 3306}";
    let text = service("a", "10.9.0.1", ports) + &service("b", "10.9.0.2", HTTP);
    let listener = |path: &str, protocol: &str, host: &str| {
        format!("{{port: {{number: 0, protocol: {protocol}}}, bind: 'unix://{path}', hosts: ['{host}']}}")
    };
    let [all, bytes] = [listener("/run/http", "HTTP", "./*"), listener("@tcp", "TCP", "./a.shop.svc.cluster.local")];
    let object = istio("Sidecar", "s", &format!("{{egress: [{all}, {bytes}]}}"));
    for node in [captured("shop"), bound("shop"), with_whole_tables("shop")] {
        let mut scopes = Scopes::new(&format!("{text}{object}"));
        let id = scopes.enter(&node);
        let shown = |scopes: &Scopes| {
            let lines = [ResourceType::Listener, ResourceType::Route].map(|shown| scopes.shown_of(id, shown));
            let at_sockets = lines.concat();
            at_sockets
                .lines()
                .filter(|line| !line.contains("virtualOutbound"))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        let before: String = shown(&scopes);
        expect![[r#"
            own  listener unix:///run/http_0 with all to unix:///run/http
            own  listener unix://@tcp_0 with all to outbound|81||a.shop.svc.cluster.local
            own  route unix:///run/http with a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1 a.shop.svc.cluster.local:80 a.shop.svc.cluster.local.:80 a:80 a.shop.svc:80 a.shop:80 10.9.0.1:80; a.shop.svc.cluster.local:81 for a.shop.svc.cluster.local:81 a.shop.svc.cluster.local.:81 a:81 a.shop.svc:81 a.shop:81 10.9.0.1:81; a.shop.svc.cluster.local:82 for a.shop.svc.cluster.local:82 a.shop.svc.cluster.local.:82 a:82 a.shop.svc:82 a.shop:82 10.9.0.1:82; b.shop.svc.cluster.local:80 for b.shop.svc.cluster.local b.shop.svc.cluster.local. b b.shop.svc b.shop 10.9.0.2 b.shop.svc.cluster.local:80 b.shop.svc.cluster.local.:80 b:80 b.shop.svc:80 b.shop:80 10.9.0.2:80; block_all for *
        "#]].assert_eq(&before);
        // What changes nothing of the virtual hosts costs nothing of the table.
        let endpoints = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {name: b-1, namespace: shop, labels: {kubernetes.io/service-name: b}}\n\
             ports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]";
        expect!["changed 1; listeners moved none; 1 visits, 1 encodes, 0 tables"].assert_eq(&scopes.put(endpoints));
        expect!["changed 1; listeners moved none; 1 visits, 0 encodes, 1 tables"]
            .assert_eq(&scopes.delete(Kind::Service, "b"));
        expect!["changed 1; listeners moved none; 1 visits, 0 encodes, 0 tables"]
            .assert_eq(&scopes.delete(Kind::Service, "a"));
        let after: String = shown(&scopes);
        expect![""].assert_eq(&after);
    }
}

#[test]
fn a_name_at_a_socket_is_that_of_the_host_that_it_is_in_full() {
    let named = |name: &str, host: &str| {
        let spec = format!("{{hosts: [{host}], resolution: STATIC, ports: [{{number: 80, name: http}}]}}");
        istio("ServiceEntry", name, &spec)
    };
    let socket = "{egress: [{port: {number: 0, protocol: HTTP}, bind: 'unix:///s', hosts: ['./*']}]}";
    let text = [service("a", "10.9.0.1", HTTP), named("e", "a.shop"), istio("Sidecar", "s", socket)].concat();
    let mut scopes = Scopes::new(&text);
    let id = scopes.enter(&captured("shop"));
    expect![[r#"
        own  route unix:///s with a.shop:80 for a.shop a.shop. a.shop:80 a.shop.:80; a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc 10.9.0.1 a.shop.svc.cluster.local:80 a.shop.svc.cluster.local.:80 a:80 a.shop.svc:80 10.9.0.1:80; block_all for *
    "#]].assert_eq(&scopes.shown_of(id, ResourceType::Route));
}

#[test]
fn an_unknown_host_at_a_socket_goes_to_the_proxy_for_egress() {
    let spec = "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: b.shop.svc.cluster.local, port: {number: 80}}}, \
         egress: [{port: {number: 0, protocol: HTTP}, bind: 'unix:///s', hosts: ['./*']}]}";
    let mut scopes = Scopes::new(&[service("b", "10.9.0.2", HTTP), istio("Sidecar", "s", spec)].concat());
    let id = scopes.enter(&captured("shop"));
    expect![[r#"
        own  route unix:///s with b.shop.svc.cluster.local:80 for b.shop.svc.cluster.local b.shop.svc.cluster.local. b b.shop.svc b.shop 10.9.0.2 b.shop.svc.cluster.local:80 b.shop.svc.cluster.local.:80 b:80 b.shop.svc:80 b.shop:80 10.9.0.2:80; allow_any for *
    "#]].assert_eq(&scopes.shown_of(id, ResourceType::Route));
}
