//! The index as a whole: what batches change, and what is found afterwards.

use std::sync::Arc;

use rutter_api::{Config, ConfigKey, Hostname, Kind};

use super::*;
use crate::model::{ExportTo, ServiceKey};
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, delete};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n\
    spec: {clusterIP: 10.9.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n";
const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
    metadata: {name: a-v1, labels: {kubernetes.io/service-name: a, version: v1}}\n\
    addressType: IPv4\nports: [{name: http, port: 9090}]\n\
    endpoints: [{addresses: [10.0.0.1], zone: z1}, {addresses: [10.0.0.2], conditions: {ready: false}}]\n---\n";
const WORKLOAD: &str = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n\
    spec: {address: 10.0.0.3, labels: {app: a, version: v2}, weight: 4}\n---\n";

fn key() -> ServiceKey {
    let host = "a.default.svc.cluster.local".parse().unwrap();
    ServiceKey { host, origin: ConfigKey::new(Kind::Service, "default", "a") }
}

fn index(text: &str) -> MeshIndex {
    let mut index = MeshIndex::new(MeshSettings::default());
    index.apply(&batch(configs(text)));
    index
}

fn virtual_service(name: &str, host: &str, destination: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec: {{hosts: ['{host}'], http: [{{route: [{{destination: {{host: {destination}}}}}]}}]}}\n---\n"
    )
}

fn is_empty(delta: &IndexDelta) -> bool {
    let IndexDelta {
        services,
        endpoints,
        addresses,
        destination_rules,
        virtual_services,
        sidecars,
        gateways,
        secrets,
        locality_needs,
        mesh_defaults,
        capture,
        source_labels,
    } = delta;
    services.is_empty()
        && endpoints.is_empty()
        && addresses.is_empty()
        && destination_rules.is_empty()
        && virtual_services.is_empty()
        && sidecars.is_empty()
        && gateways.is_empty()
        && secrets.is_empty()
        && !locality_needs
        && !mesh_defaults
        && !capture
        && source_labels.is_empty()
}

#[test]
fn endpoints_come_from_ready_slice_addresses_and_selected_workloads() {
    let index = index(&format!("{SERVICE}{SLICE}{WORKLOAD}"));
    let endpoints = index.endpoints(&key());
    let seen: Vec<_> =
        endpoints.iter().map(|e| (&*e.address, e.target(80), e.weight, e.labels.get("version").unwrap())).collect();
    assert_eq!(seen, [("10.0.0.3", Some(8080), 4, "v2"), ("10.0.0.1", Some(9090), 1, "v1")]);
    let services: Vec<_> = index.services_at(&"10.0.0.1".parse().unwrap()).map(|service| &service.key).collect();
    assert_eq!(services, [&key()]);
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a-1, labels: {app: a, version: v7, istio-locality: r.z}}\n\
    status: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}\n---\n";

#[test]
fn endpoints_have_the_labels_and_the_place_of_their_pod() {
    let slice = SLICE.replace("zone: z1}", "zone: z1, targetRef: {kind: Pod, name: a-1}}");
    let mut index = index(&format!("{SERVICE}{slice}"));
    let seen = |index: &MeshIndex| {
        let endpoint = &index.endpoints(&key())[0];
        (endpoint.labels.get("version").unwrap().to_owned(), endpoint.locality.join("/"))
    };
    assert_eq!(seen(&index), ("v1".to_owned(), "/z1/".to_owned()), "of the slice, as long as the Pod is not known");
    let delta = index.apply(&batch(configs(POD)));
    assert_eq!(delta.endpoints, [key()].into());
    assert_eq!(seen(&index), ("v7".to_owned(), "r/z/".to_owned()));
    assert_eq!(index.endpoints(&key()).len(), 1, "a Pod is no endpoint of a Kubernetes Service by itself");
    index.apply(&batch(configs(&POD.replace("10.0.0.1", "10.0.0.8"))));
    assert_eq!(seen(&index).0, "v1", "a Pod of the same name somewhere else is another");
    index.apply(&batch(configs(POD)));
    index.apply(&delete(Kind::Pod, "default", "a-1"));
    assert_eq!(seen(&index).0, "v1");
}

#[test]
fn service_entries_select_pods_that_are_ready() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
        spec: {hosts: [e.x], resolution: STATIC, ports: [{number: 80, name: http, targetPort: 8080}], \
        workloadSelector: {labels: {app: a}}}\n---\n";
    let mut index = index(&format!("{entry}{POD}"));
    let key = ServiceKey { host: "e.x".parse().unwrap(), origin: ConfigKey::new(Kind::ServiceEntry, "default", "e") };
    let endpoint = &index.endpoints(&key)[0];
    assert_eq!((&*endpoint.address, endpoint.target(80)), ("10.0.0.1", Some(8080)));
    for gone in [POD.replace("'True'", "'False'"), POD.replace("app: a", "app: b")] {
        index.apply(&batch(configs(POD)));
        assert_eq!(index.endpoints(&key).len(), 1);
        index.apply(&batch(configs(&gone)));
        assert!(index.endpoints(&key).is_empty());
    }
}

#[test]
fn the_mesh_config_says_who_sees_what_says_nothing_of_it() {
    let mesh = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{text}'}}\n---\n"
        )
    };
    let routes = virtual_service("v", "a", "b");
    let text = format!("{SERVICE}{routes}");
    let mut index = index(&text);
    let seen = |index: &MeshIndex| {
        let routes = index.config(&ConfigKey::new(Kind::VirtualService, "default", "v")).unwrap();
        let service = index.service(&key()).unwrap();
        (service.export_to.reaches("other"), ExportTo::of_config(routes).reaches("other"))
    };
    assert_eq!(seen(&index), (true, true));
    let before: Vec<Arc<Config>> = index.configs().cloned().collect();
    let narrow = mesh("{defaultServiceExportTo: [.], defaultVirtualServiceExportTo: [.]}");
    let delta = index.apply(&batch(configs(&narrow)));
    assert_eq!((delta.services.len(), delta.virtual_services.len(), delta.mesh_defaults), (1, 2, false));
    assert_eq!(seen(&index), (false, false));
    let after: Vec<Arc<Config>> =
        index.configs().filter(|config| config.key.kind != Kind::ConfigMap).cloned().collect();
    assert_eq!(before, after, "objects are shown as they are written");
    assert!(is_empty(&index.apply(&batch(configs(&text)))), "what is written as it was changes nothing");
    index.apply(&batch(configs(&mesh("{defaultServiceExportTo: [.]}"))));
    assert_eq!(seen(&index), (false, true));
    index.apply(&delete(Kind::ConfigMap, "istio-system", "istio"));
    assert_eq!(seen(&index), (true, true));
}

#[test]
fn a_write_that_changes_nothing_has_an_empty_delta() {
    let text = format!("{SERVICE}{SLICE}{WORKLOAD}{}", virtual_service("v", "a", "b"));
    let mut index = index(&text);
    assert!(is_empty(&index.apply(&batch(configs(&text)))));
    assert!(is_empty(&index.apply(&delete(Kind::Sidecar, "default", "unknown"))));
}

#[test]
fn a_removed_slice_takes_its_endpoints_along() {
    let mut index = index(&format!("{SERVICE}{SLICE}"));
    let delta = index.apply(&delete(Kind::EndpointSlice, "default", "a-v1"));
    assert_eq!(delta.endpoints, [key()].into());
    assert!(delta.services.is_empty());
    assert!(index.endpoints(&key()).is_empty());
    assert_eq!(index.services_at(&"10.0.0.1".parse().unwrap()).count(), 0);
}

#[test]
fn a_workload_that_changes_its_labels_leaves_the_service() {
    let mut index = index(&format!("{SERVICE}{WORKLOAD}"));
    assert_eq!(index.endpoints(&key()).len(), 1);
    let delta = index.apply(&batch(configs(&WORKLOAD.replace("app: a", "app: b"))));
    assert_eq!(delta.endpoints, [key()].into());
    assert_eq!(delta.addresses, ["10.0.0.3".parse().unwrap()].into());
    assert!(index.endpoints(&key()).is_empty());
}

#[test]
fn a_changed_service_is_in_the_delta_as_it_was_and_as_it_is() {
    let mut index = index(&format!("{SERVICE}{SLICE}"));
    let changed = SERVICE.replace("port: 80,", "port: 81,");
    let delta = index.apply(&batch(configs(&changed)));
    let ports: Vec<u16> = delta.services[&key().host].iter().map(|service| service.ports[0].number).collect();
    assert_eq!(ports, [80, 81]);
    assert_eq!(delta.addresses, ["10.0.0.1".parse().unwrap()].into(), "whose service has other ports now");
    assert_eq!(index.endpoints(&key())[0].target(81), Some(9090));
}

#[test]
fn each_kind_of_object_has_its_place_in_the_delta() {
    let mut index = index("");
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: a}\n";
    let delta = index.apply(&batch(configs(rule)));
    let hosts: Vec<&str> = delta.destination_rules.iter().map(|rule| rule.host.as_str()).collect();
    assert_eq!(hosts, ["a.default.svc.cluster.local"]);
    let delta = index.apply(&batch(configs(&rule.replace("host: a", "host: b"))));
    assert_eq!(delta.destination_rules.len(), 2, "where it worked, and where it works now");

    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {}\n";
    let delta = index.apply(&batch(configs(sidecar)));
    assert_eq!(delta.sidecars, [ConfigKey::new(Kind::Sidecar, "default", "s")].into());

    let delta = index.apply(&batch(configs(&virtual_service("v", "a", "b"))));
    assert_eq!(delta.virtual_services.len(), 1);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    assert!(is_empty(&index.apply(&batch(configs(namespace)))), "nothing depends on a namespace object yet");
}

#[test]
fn the_older_of_two_virtual_services_comes_first() {
    let text = [
        virtual_service("z", "a", "b"),
        virtual_service("b", "a", "b"),
        virtual_service("w", "*.svc.cluster.local", "b"),
    ];
    let index = index(&text.concat());
    let names: Vec<&str> = index.virtual_services_routing(&key().host).map(|config| &*config.key.name).collect();
    assert_eq!(names, ["z", "b", "w"]);
    let destination: Hostname = "b.default.svc.cluster.local".parse().unwrap();
    assert_eq!(index.virtual_services_sending_to(&destination).count(), 3);
}

#[test]
fn two_indexes_with_the_same_ages_choose_alike_whatever_the_order_of_the_writes() {
    let aged = |name: &str, time: &str| {
        virtual_service(name, "a", "b").replace("metadata: {", &format!("metadata: {{creationTimestamp: '{time}', "))
    };
    let (old, young) = (aged("z", "2026-11-24T10:00:00Z"), aged("a", "2026-11-24T11:00:00Z"));
    let twin = aged("yy", "2026-11-24T10:00:00Z");
    let texts = [&old, &young, &twin];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut index = index("");
        for at in order {
            index.apply(&batch(configs(texts[at])));
        }
        let names: Vec<&str> = index.virtual_services_routing(&key().host).map(|config| &*config.key.name).collect();
        assert_eq!(names, ["yy", "z", "a"], "{order:?}: the oldest first, and of twins the lower key");
    }
}

#[test]
fn hosts_under_a_wildcard_are_those_of_services_and_of_virtual_services() {
    let mut index = index(&format!("{SERVICE}{}", virtual_service("v", "c.default.svc.cluster.local", "a")));
    let wildcard: Hostname = "*.default.svc.cluster.local".parse().unwrap();
    let covered = |index: &MeshIndex| -> Vec<String> { index.covered_by(&wildcard).map(ToString::to_string).collect() };
    assert_eq!(covered(&index), ["a.default.svc.cluster.local", "c.default.svc.cluster.local"]);
    index.apply(&delete(Kind::Service, "default", "a"));
    assert_eq!(covered(&index), ["c.default.svc.cluster.local"]);
    index.apply(&delete(Kind::VirtualService, "default", "v"));
    assert!(covered(&index).is_empty());
}

#[test]
fn objects_are_found_by_the_namespaces_that_they_are_exported_to() {
    let text = virtual_service("v", "a", "b").replace("spec: {", "spec: {exportTo: ['.', shop], ");
    let mut index = index(&text);
    let names = |index: &MeshIndex, namespace: &str| index.exported_to(namespace).count();
    assert_eq!((names(&index, "default"), names(&index, "shop"), names(&index, "bank")), (1, 1, 0));
    index.apply(&batch(configs(&text.replace("shop", "bank"))));
    assert_eq!((names(&index, "shop"), names(&index, "bank")), (0, 1));
}

#[test]
fn objects_are_found_by_kind_and_namespace() {
    let shop = SERVICE.replace("{name: a}", "{name: a, namespace: shop}");
    let index = index(&format!("{SERVICE}{shop}{SLICE}"));
    let names = |configs: Vec<&Arc<Config>>| -> Vec<String> {
        configs.into_iter().map(|config| format!("{}/{}", config.key.namespace, config.key.name)).collect()
    };
    assert_eq!(names(index.of_kind(Kind::Service).collect()), ["default/a", "shop/a"]);
    assert_eq!(names(index.of_namespace(Kind::Service, &"shop".into()).collect()), ["shop/a"]);
    assert_eq!(index.of_namespace(Kind::Sidecar, &"shop".into()).count(), 0);
    assert_eq!((index.len(), index.configs().count(), index.is_empty()), (3, 3, false));
    assert!(index.config(&ConfigKey::new(Kind::Service, "shop", "a")).is_some());
    assert!(index.config(&ConfigKey::new(Kind::Service, "shop", "b")).is_none());
}

#[test]
fn services_are_found_by_host_namespace_and_virtual_address() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\n\
        spec: {hosts: [one.example.com, two.example.com], addresses: [10.9.0.2], ports: [{number: 80, name: http}], \
        resolution: STATIC, endpoints: [{address: 10.0.0.9}]}\n---\n";
    let mut index = index(&format!("{SERVICE}{entry}"));
    let hosts = |found: Vec<&Hostname>| -> Vec<String> { found.into_iter().map(ToString::to_string).collect() };
    assert_eq!(hosts(index.hosts().collect()).len(), 3);
    assert_eq!(hosts(index.hosts_of_namespace("shop").collect()), ["one.example.com", "two.example.com"]);
    assert_eq!(hosts(index.hosts_at(&"10.9.0.1".parse().unwrap()).collect()), [key().host.to_string()]);
    assert_eq!(index.hosts_at(&"10.9.0.2".parse().unwrap()).count(), 2);
    let definition = &index.definitions(&"one.example.com".parse().unwrap())[0];
    assert_eq!(index.endpoints(&definition.key)[0].address.as_ref(), "10.0.0.9");
    assert_eq!(index.services_at(&"10.0.0.9".parse().unwrap()).count(), 2);
    index.apply(&delete(Kind::ServiceEntry, "shop", "e"));
    assert_eq!(index.hosts_of_namespace("shop").count(), 0);
    assert_eq!(index.hosts_at(&"10.9.0.2".parse().unwrap()).count(), 0);
    assert_eq!(index.services_at(&"10.0.0.9".parse().unwrap()).count(), 0);
}

#[test]
fn the_objects_of_a_service_are_its_definition_and_its_slices() {
    let other = SLICE.replace("name: a-v1", "name: b-v1").replace("service-name: a", "service-name: b");
    let index = index(&format!("{SERVICE}{SLICE}{other}"));
    let names: Vec<&str> = index.objects_of_service(&key()).map(|config| &*config.key.name).collect();
    assert_eq!(names, ["a", "a-v1"]);
    let slice = index.config(&ConfigKey::new(Kind::EndpointSlice, "default", "a-v1")).unwrap();
    assert_eq!(index.service_of_slice(slice), Some(key()));
    assert_eq!(index.service_of_slice(index.config(&key().origin).unwrap()), None, "a Service is no slice");
}

#[test]
fn destination_rules_about_a_host_come_the_most_specific_first() {
    let rule = |name: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
             spec: {{host: '{host}'}}\n---\n"
        )
    };
    let text = [
        rule("wide", "*.svc.cluster.local"),
        rule("exact", "a"),
        rule("narrow", "*.default.svc.cluster.local"),
        rule("other", "b"),
    ];
    let mut index = index(&text.concat());
    let names = |index: &MeshIndex| -> Vec<String> {
        index.destination_rules_about(&key().host).map(|config| config.key.name.to_string()).collect()
    };
    assert_eq!(names(&index), ["exact", "narrow", "wide"]);
    index.apply(&delete(Kind::DestinationRule, "default", "exact"));
    assert_eq!(names(&index), ["narrow", "wide"]);
}

#[test]
fn endpoints_of_a_service_that_comes_later_are_collected_when_it_comes() {
    let mut index = index(&format!("{SLICE}{WORKLOAD}"));
    assert!(index.endpoints(&key()).is_empty());
    let delta = index.apply(&batch(configs(SERVICE)));
    assert_eq!((index.endpoints(&key()).len(), delta.endpoints), (2, [key()].into()));
    let delta = index.apply(&delete(Kind::Service, "default", "a"));
    assert!(index.endpoints(&key()).is_empty());
    assert_eq!(delta.endpoints, [key()].into());
}
