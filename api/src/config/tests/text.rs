//! The text that is kept of an object, and the names of objects.

use expect_test::expect;

use crate::config::testing::{istio, read};
use crate::config::{ConfigKey, Kind};

/// Returns the JSON that is kept of an object, indented.
fn kept(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(&read(text).unwrap().json).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn what_the_writer_says_is_kept_and_what_servers_add_is_not() {
    let text = "kind: VirtualService\napiVersion: networking.istio.io/v1beta1\nmetadata:\n  name: a\n  uid: u\n  generation: 3\n\
                \x20 managedFields: []\n  selfLink: /x\n  creationTimestamp: '2026-01-01T00:00:00Z'\n  resourceVersion: '7'\n\
                \x20 labels: {team: web}\nspec: {http: [{route: [{destination: {host: a}}]}], hosts: [a]}\nstatus: {conditions: []}\n";
    expect![[r#"
        {
          "apiVersion": "networking.istio.io/v1beta1",
          "kind": "VirtualService",
          "metadata": {
            "labels": {
              "team": "web"
            },
            "name": "a",
            "namespace": "default"
          },
          "spec": {
            "hosts": [
              "a"
            ],
            "http": [
              {
                "route": [
                  {
                    "destination": {
                      "host": "a"
                    }
                  }
                ]
              }
            ]
          }
        }"#]]
    .assert_eq(&kept(text));
}

#[test]
fn equal_objects_are_kept_as_equal_texts() {
    let text = istio("DestinationRule", "{host: a, subsets: [{name: v1, labels: {b: '2', a: '1'}}]}");
    let other_order = "spec:\n  subsets:\n  - labels: {a: '1', b: '2'}\n    name: v1\n  host: a\nmetadata: {namespace: default, name: x}\n\
                       kind: DestinationRule\napiVersion: networking.istio.io/v1\n";
    assert_eq!(read(&text).unwrap().json, read(other_order).unwrap().json);
    assert_ne!(read(&text).unwrap().json, read(&text.replace("v1,", "v2,")).unwrap().json);
}

#[test]
fn an_object_that_names_no_namespace_is_in_the_default_one_and_says_so_afterwards() {
    assert!(kept(&istio("Sidecar", "{}")).contains("\"namespace\": \"default\""));
    let empty = istio("Sidecar", "{}").replace("{name: x}", "{name: x, namespace: ''}");
    assert!(kept(&empty).contains("\"namespace\": \"default\""));
    let namespace = kept("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}");
    assert!(!namespace.contains("default"), "{namespace}");
}

#[test]
fn names_of_objects_are_those_of_kubernetes() {
    let name = |name: &str| read(&istio("Sidecar", "{}").replace("name: x", &format!("name: {name}")));
    for good in ["a", "a-b.c", "1", "a1"] {
        assert!(name(&format!("'{good}'")).is_ok(), "{good}");
    }
    for bad in ["", "A", "-a", "a-", ".a", "a/b", "a b", "\u{e4}"] {
        let error = name(&format!("'{bad}'")).unwrap_err();
        assert!(error.starts_with("Sidecar: metadata.name: want 1 to 253 lower-case letters"), "{bad}: {error}");
    }
    let long = "a".repeat(254);
    assert!(name(&long).is_err() && name(&long[1..]).is_ok());
    let namespace = istio("Sidecar", "{}").replace("{name: x}", &format!("{{name: x, namespace: {}}}", "a".repeat(64)));
    assert!(read(&namespace).unwrap_err().starts_with("Sidecar: metadata.namespace: want 1 to 63 "));
}

#[test]
fn what_is_no_object_is_refused_by_what_is_missing() {
    let refused = |text: &str| read(text).unwrap_err();
    expect!["want an object with apiVersion, kind and metadata, got a list"].assert_eq(&refused("[1]"));
    expect!["apiVersion: want a string, got nothing"].assert_eq(&refused("kind: Service"));
    expect!["kind: want a string, got a number"].assert_eq(&refused("apiVersion: v1\nkind: 7"));
    expect!["kind: want config of a mesh, got v1 ServiceAccount"]
        .assert_eq(&refused("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}"));
    expect!["Service: apiVersion: want v1, got v2"]
        .assert_eq(&refused("apiVersion: v2\nkind: Service\nmetadata: {name: a}"));
    expect!["Service: metadata: want a name, got nothing"].assert_eq(&refused("apiVersion: v1\nkind: Service"));
    expect!["service default/a: spec: want the service's ports, got nothing"]
        .assert_eq(&refused("apiVersion: v1\nkind: Service\nmetadata: {name: a}"));
}

#[test]
fn keys_print_as_in_messages_and_as_in_istios_metadata() {
    let lines: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| ConfigKey::new(kind, "shop", "a"))
        .map(|key| format!("{key} {}", key.metadata_path()))
        .collect();
    expect![[r#"
        namespace a /api/v1/namespaces//namespace/a
        configMap shop/a /api/v1/namespaces/shop/config-map/a
        service shop/a /api/v1/namespaces/shop/service/a
        pod shop/a /api/v1/namespaces/shop/pod/a
        endpointSlice shop/a /apis/discovery.k8s.io/v1/namespaces/shop/endpoint-slice/a
        serviceEntry shop/a /apis/networking.istio.io/v1/namespaces/shop/service-entry/a
        workloadGroup shop/a /apis/networking.istio.io/v1/namespaces/shop/workload-group/a
        workloadEntry shop/a /apis/networking.istio.io/v1/namespaces/shop/workload-entry/a
        secret shop/a /api/v1/namespaces/shop/secret/a
        gateway shop/a /apis/networking.istio.io/v1/namespaces/shop/gateway/a
        ingress shop/a /apis/networking.k8s.io/v1/namespaces/shop/ingress/a
        virtualService shop/a /apis/networking.istio.io/v1/namespaces/shop/virtual-service/a
        destinationRule shop/a /apis/networking.istio.io/v1/namespaces/shop/destination-rule/a
        sidecar shop/a /apis/networking.istio.io/v1/namespaces/shop/sidecar/a"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn kinds_have_the_words_of_kubectl() {
    let words = |kind: Kind| {
        let candidates = ["ns", "svc", "vs", "dr", "se", "we", "sidecar", "sidecars", "services", "serviceentries"];
        candidates.into_iter().filter(|word| Kind::from_word(word) == Some(kind)).collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| format!("{kind} [{}] {}", words(kind), kind.api_versions().join(" ")))
        .collect();
    expect![[r#"
        Namespace [ns] v1
        ConfigMap [] v1
        Service [svc services] v1
        Pod [] v1
        EndpointSlice [] discovery.k8s.io/v1
        ServiceEntry [se serviceentries] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        WorkloadGroup [] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        WorkloadEntry [we] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        Secret [] v1
        Gateway [] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        Ingress [] networking.k8s.io/v1
        VirtualService [vs] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        DestinationRule [dr] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3
        Sidecar [sidecar sidecars] networking.istio.io/v1 networking.istio.io/v1beta1 networking.istio.io/v1alpha3"#]]
    .assert_eq(&lines.join("\n"));
    assert_eq!(Kind::from_word("pods"), Some(Kind::Pod));
}
