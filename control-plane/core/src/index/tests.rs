use rutter_api::config::Object;
use rutter_api::yaml;

use super::*;

/// The configs of a YAML text, in namespace `default`, created in the order of the text.
pub(crate) fn configs(text: &str) -> Vec<Arc<Config>> {
    let documents = yaml::parse(text).unwrap();
    let object = |document: yaml::Document| Object::from_value(document.value, "default").unwrap();
    let numbered = documents.into_iter().map(object).zip(1..);
    numbered.map(|(object, created)| Arc::new(Config { created, ..(*object.config).clone() })).collect()
}

pub(crate) fn config(text: &str) -> Arc<Config> {
    configs(text).remove(0)
}

pub(crate) fn batch(configs: Vec<Arc<Config>>) -> ConfigBatch {
    let changes = configs.into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
    ConfigBatch { changes, revision: 1, since: None }
}

pub(crate) fn delete(kind: Kind, namespace: &str, name: &str) -> ConfigBatch {
    let changes = [(ConfigKey::new(kind, namespace, name), ConfigChange::Delete)].into();
    ConfigBatch { changes, revision: 1, since: None }
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.9.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n";
const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-v1, labels: {kubernetes.io/service-name: a, version: v1}}\n\
    addressType: IPv4\nports: [{name: http, port: 9090}]\n\
    endpoints: [{addresses: [10.0.0.1], zone: z1}, {addresses: [10.0.0.2], conditions: {ready: false}}]\n---\n";
const WORKLOAD: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\nspec: {address: 10.0.0.3, labels: {app: a, version: v2}, weight: 4}\n";

fn key() -> ServiceKey {
    let host = "a.default.svc.cluster.local".parse().unwrap();
    ServiceKey { host, origin: ConfigKey::new(Kind::Service, "default", "a") }
}

fn index(text: &str) -> MeshIndex {
    let mut index = MeshIndex::new(MeshSettings::default());
    index.apply(&batch(configs(text)));
    index
}

#[test]
fn endpoints_come_from_ready_slice_addresses_and_selected_workloads() {
    let index = index(&format!("{SERVICE}{SLICE}{WORKLOAD}"));
    let endpoints = index.endpoints(&key());
    let seen: Vec<_> =
        endpoints.iter().map(|e| (&*e.address, e.target(80), e.weight, e.labels.get("version").unwrap())).collect();
    assert_eq!(seen, [("10.0.0.3", Some(8080), 4, "v2"), ("10.0.0.1", Some(9090), 1, "v1")]);
    let own: Vec<_> = index.own_services(&"10.0.0.1".parse().unwrap()).map(|service| service.key.clone()).collect();
    assert_eq!(own, [key()]);
}

#[test]
fn a_write_that_changes_nothing_has_an_empty_delta() {
    let text = format!("{SERVICE}{SLICE}{WORKLOAD}");
    let mut index = index(&text);
    let delta = index.apply(&batch(configs(&text)));
    assert!(delta.services.is_empty() && delta.endpoints.is_empty() && delta.addresses.is_empty());
}

#[test]
fn a_removed_slice_takes_its_endpoints_along() {
    let mut index = index(&format!("{SERVICE}{SLICE}"));
    let delta = index.apply(&delete(Kind::EndpointSlice, "default", "a-v1"));
    assert_eq!(delta.endpoints, [key()].into());
    assert!(delta.services.is_empty());
    assert!(index.endpoints(&key()).is_empty());
    assert_eq!(index.own_services(&"10.0.0.1".parse().unwrap()).count(), 0);
}

#[test]
fn rules_are_looked_up_at_the_client_then_the_service_then_the_root() {
    let rule = |namespace: &str, host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: {namespace}}}\nspec: {{host: '{host}'}}\n"
        )
    };
    let host = "a.default.svc.cluster.local";
    let all = [
        rule("istio-system", "*.svc.cluster.local"),
        rule("default", "*.default.svc.cluster.local"),
        rule("client", host),
    ];
    let mut index = index(&format!("{SERVICE}{}", all.concat()));
    let found = |index: &MeshIndex, client: &str| {
        let service = index.service(&key()).unwrap().clone();
        index.rule_for(&service, client).map(|rule| rule.key.namespace.to_string())
    };
    assert_eq!(found(&index, "client").as_deref(), Some("client"));
    assert_eq!(found(&index, "other").as_deref(), Some("default"));
    index.apply(&delete(Kind::DestinationRule, "default", "r"));
    assert_eq!(found(&index, "other").as_deref(), Some("istio-system"));
    index.apply(&delete(Kind::DestinationRule, "istio-system", "r"));
    assert_eq!(found(&index, "other"), None);
}

#[test]
fn the_older_of_two_virtual_services_comes_first() {
    let service = |name: &str, host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: ['{host}'], http: [{{route: [{{destination: {{host: b}}}}]}}]}}\n"
        )
    };
    let index = index(&[service("z", "a"), service("b", "a"), service("w", "*.svc.cluster.local")].concat());
    let names: Vec<_> = index.virtual_services_for(&key().host).map(|config| config.key.name.to_string()).collect();
    assert_eq!(names, ["z", "b", "w"]);
    let to: Vec<_> = index.virtual_services_to(&"b.default.svc.cluster.local".parse().unwrap()).collect();
    assert_eq!(to.len(), 3);
}
