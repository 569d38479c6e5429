//! Scopes that restrict nothing lie over a base, and have only what their namespace sees otherwise.

use expect_test::expect;
use rutter_api::{Kind, ResourceType};

use crate::scope::testing::{
    HTTP, Scopes, TCP, bound, captured, exported, grpc, istio, istio_in, service, service_in, with_whole_tables,
};

fn mesh() -> Scopes {
    Scopes::new(&(service("a", "10.9.0.1", HTTP) + &service_in("bank", "b", "10.9.0.2", HTTP)))
}

#[test]
fn a_scope_over_a_base_has_the_hosts_of_its_own_namespace_by_their_short_names() {
    let mut scopes = mesh();
    let id = scopes.enter(&captured("shop"));
    expect![[r#"
        base cluster BlackHoleCluster
        base cluster InboundPassthroughCluster
        base cluster PassthroughCluster
        base cluster outbound|80||a.shop.svc.cluster.local
        base cluster outbound|80||b.bank.svc.cluster.local
        base endpoint outbound|80||a.shop.svc.cluster.local
        base endpoint outbound|80||b.bank.svc.cluster.local
        base listener 0.0.0.0_80 with all to 80
        base listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
        base route 80 with allow_any for *
        base virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop a.shop.svc 10.9.0.1
        base virtualhost 80/b.bank.svc.cluster.local:80 for b.bank.svc.cluster.local b.bank.svc.cluster.local. b.bank b.bank.svc 10.9.0.2
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a a.shop.svc a.shop 10.9.0.1
    "#]].assert_eq(&scopes.shown(id));
}

#[test]
fn a_namespace_without_objects_differs_nowhere() {
    let mut scopes = mesh();
    let id = scopes.enter(&captured("elsewhere"));
    let own: Vec<String> = scopes.shown(id).lines().filter(|line| line.starts_with("own")).map(str::to_owned).collect();
    assert_eq!(own, <[String; 0]>::default());
}

#[test]
fn a_base_is_built_once_and_goes_with_the_last_scope_over_it() {
    let mut scopes = mesh();
    let visits = |scopes: &Scopes| scopes.table.encoder().visits;
    scopes.enter(&captured("elsewhere"));
    assert_eq!(visits(&scopes), 2, "the two hosts of the base");
    let shop = scopes.enter(&captured("shop"));
    assert_eq!(visits(&scopes), 3, "and the one at which shop differs");
    scopes.table.retain(&[shop].into());
    scopes.enter(&captured("elsewhere"));
    assert_eq!(visits(&scopes), 3, "the base is still there");
    scopes.table.retain(&[].into());
    scopes.enter(&captured("elsewhere"));
    assert_eq!(visits(&scopes), 5, "it was built again");
}

#[test]
fn clients_of_one_class_and_mode_share_a_base() {
    let closed =
        istio("Sidecar", "closed", "{egress: [{hosts: ['*/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}");
    let mut scopes = Scopes::new(&(service("a", "10.9.0.1", HTTP) + &closed));
    let ids =
        [captured("bank"), captured("elsewhere"), captured("shop"), bound("bank")].map(|node| scopes.enter(&node));
    let base_of = |id| std::ptr::from_ref(scopes.table.base_of(id).unwrap());
    assert_eq!(base_of(ids[0]), base_of(ids[1]));
    assert_ne!(base_of(ids[0]), base_of(ids[2]), "another mode");
    assert_ne!(base_of(ids[0]), base_of(ids[3]), "another class");
}

#[test]
fn who_takes_tables_that_are_whole_or_its_own_stands_alone() {
    let mut scopes = mesh();
    for client in [with_whole_tables("shop"), grpc("shop")] {
        let id = scopes.enter(&client);
        assert!(scopes.table.base_of(id).is_none(), "{client:?}");
    }
}

#[test]
fn a_change_is_encoded_for_the_base_once_and_shown_to_every_scope_over_it() {
    let mut scopes = mesh();
    for namespace in ["shop", "bank", "x", "y", "z"] {
        scopes.enter(&captured(namespace));
    }
    expect!["changed 1 2 3 4 5; listeners moved none; 2 visits, 4 encodes, 0 tables"]
        .assert_eq(&scopes.put(&service("c", "10.9.0.3", HTTP)));
    expect!["changed 1 2 3 4 5; listeners moved none; 1 visits, 2 encodes, 0 tables"]
        .assert_eq(&scopes.put(&service_in("w", "d", "10.9.0.4", TCP)));
    expect!["changed 1 2 3 4 5; listeners moved none; 7 visits, 0 encodes, 0 tables"]
        .assert_eq(&scopes.delete(Kind::Service, "c"));
}

#[test]
fn what_only_some_namespaces_see_is_not_in_the_base() {
    let mut scopes = mesh();
    let [shop, bank, other] = ["shop", "bank", "other"].map(|namespace| scopes.enter(&captured(namespace)));
    expect!["changed 2; listeners moved none; 3 visits, 3 encodes, 0 tables"]
        .assert_eq(&scopes.put(&exported("secret", "10.9.0.9", "bank")));
    let layer_of = |id| {
        let shown = scopes.shown_of(id, ResourceType::Endpoint);
        shown.lines().find(|line| line.contains("secret")).map(|line| line[..4].trim().to_owned())
    };
    assert_eq!([layer_of(shop), layer_of(bank), layer_of(other)], [None, Some("own".to_owned()), None]);
}

/// A ServiceEntry for `x.example.com` that everybody or only its own namespace sees.
fn entry(namespace: &str, export_to: &str, port: &str) -> String {
    let spec = format!("{{exportTo: [{export_to}], hosts: [x.example.com], resolution: DNS, ports: [{port}]}}");
    istio_in(namespace, "ServiceEntry", "x", &spec)
}

const ENTRY_HTTP: &str = "{number: 80, name: http}";

#[test]
fn a_namespace_may_see_a_definition_of_its_own_instead_of_the_bases() {
    let mut scopes = Scopes::new(&entry("shop", "'*'", ENTRY_HTTP));
    let [bank, other] = ["bank", "other"].map(|namespace| scopes.enter(&captured(namespace)));
    let before = scopes.shown(bank);
    scopes.put(&entry("bank", "'.'", "{number: 3306, name: tcp}"));
    expect![[r#"
        base cluster BlackHoleCluster
        base cluster InboundPassthroughCluster
        base cluster PassthroughCluster
        base cluster outbound|80||x.example.com
        own  cluster outbound|3306||x.example.com
        own  cluster outbound|80||x.example.com is hidden
        base listener 0.0.0.0_80 with all to 80
        base listener virtualOutbound with all to BlackHoleCluster; all to PassthroughCluster
        own  listener 0.0.0.0_3306
        own  listener 0.0.0.0_80 is hidden
        base route 80 with allow_any for *
        own  route 80 is hidden
        base virtualhost 80/x.example.com:80 for x.example.com x.example.com.
        own  virtualhost 80/x.example.com:80 is hidden
    "#]]
    .assert_eq(&scopes.shown(bank));
    assert!(!scopes.shown(other).contains("own"), "{}", scopes.shown(other));
    scopes.delete_in("bank", Kind::ServiceEntry, "x");
    assert_eq!(scopes.shown(bank), before);
}

#[test]
fn a_rule_of_the_clients_namespace_makes_a_cluster_of_its_own() {
    let rule = "{host: a.shop.svc.cluster.local, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}";
    let mut scopes = mesh();
    let bank = scopes.enter(&captured("bank"));
    expect!["changed 1; listeners moved none; 2 visits, 2 encodes, 0 tables"].assert_eq(&scopes.put(&istio_in(
        "bank",
        "DestinationRule",
        "mine",
        rule,
    )));
    expect![[r#"
        base cluster BlackHoleCluster
        base cluster InboundPassthroughCluster
        base cluster PassthroughCluster
        base cluster outbound|80||a.shop.svc.cluster.local
        base cluster outbound|80||b.bank.svc.cluster.local
        own  cluster outbound|80||a.shop.svc.cluster.local
    "#]]
    .assert_eq(&scopes.shown_of(bank, ResourceType::Cluster));
}

#[test]
fn a_host_of_the_base_gives_up_a_domain_that_a_host_of_the_scope_has_by_full_name() {
    let entry = "{exportTo: ['.'], hosts: [a.shop], resolution: DNS, ports: [{number: 80, name: http}]}";
    let mut scopes = mesh();
    let bank = scopes.enter(&captured("bank"));
    let before = scopes.shown(bank);
    scopes.put(&istio_in("bank", "ServiceEntry", "short", entry));
    expect![[r#"
        base virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop a.shop.svc 10.9.0.1
        base virtualhost 80/b.bank.svc.cluster.local:80 for b.bank.svc.cluster.local b.bank.svc.cluster.local. b.bank b.bank.svc 10.9.0.2
        own  virtualhost 80/a.shop.svc.cluster.local:80 for a.shop.svc.cluster.local a.shop.svc.cluster.local. a.shop.svc 10.9.0.1
        own  virtualhost 80/a.shop:80 for a.shop a.shop.
        own  virtualhost 80/b.bank.svc.cluster.local:80 for b.bank.svc.cluster.local b.bank.svc.cluster.local. b b.bank.svc b.bank 10.9.0.2
    "#]].assert_eq(&scopes.shown_of(bank, ResourceType::VirtualHost));
    let scope = scopes.table.get(bank).unwrap();
    expect!["{a.shop.svc.cluster.local: {80}}"].assert_eq(&format!("{:?}", scope.contested));
    scopes.delete_in("bank", Kind::ServiceEntry, "short");
    assert_eq!(scopes.shown(bank), before);
    assert!(scopes.table.get(bank).unwrap().contested.is_empty());
}

#[test]
fn what_was_hidden_in_vain_is_no_longer_hidden() {
    let mut scopes = Scopes::new(&entry("shop", "'*'", ENTRY_HTTP));
    let bank = scopes.enter(&captured("bank"));
    scopes.put(&entry("bank", "'.'", "{number: 3306, name: tcp}"));
    assert!(scopes.shown(bank).contains("is hidden"));
    scopes.delete(Kind::ServiceEntry, "x");
    assert!(!scopes.shown(bank).contains("is hidden"), "the base has nothing any more that could be hidden");
    scopes.put(&entry("shop", "'*'", ENTRY_HTTP));
    assert!(scopes.shown(bank).contains("is hidden"), "and now it has");
}
