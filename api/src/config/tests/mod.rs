mod every_field;
mod exported;
mod published;
mod text;

use serde_json::Value;

use super::testing::{assert_refused as refused, istio, read, read as object};
use super::*;
use crate::CreationTimestamp;

#[test]
fn every_kind_and_version_is_read() {
    let route = "[{destination: {host: a}}]";
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let text = istio("VirtualService", &format!("{{hosts: [a], http: [{{route: {route}}}]}}"));
        object(&text.replace("istio.io/v1", &format!("istio.io/{version}"))).unwrap();
    }
    object(&istio("DestinationRule", "{host: a, subsets: [{name: v1, labels: {version: v1}}]}")).unwrap();
    object(&istio("Sidecar", "{egress: [{hosts: ['./*', 'istio-system/*', '~/*']}]}")).unwrap();
    object(&istio("ServiceEntry", "{hosts: [a.b], resolution: STATIC, ports: [{number: 80, name: http}]}")).unwrap();
    object(&istio("WorkloadEntry", "{address: 10.0.0.1}")).unwrap();
    object("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}").unwrap();
    object("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}").unwrap();
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n\
                 endpoints: [{addresses: [10.0.0.1]}]\nports: [{port: 80, name: http}]";
    object(slice).unwrap();
}

#[test]
fn unknown_fields_are_refused_with_their_path() {
    refused(
        &istio("VirtualService", "{hosts: [a], http: [{rout: [], route: [{destination: {host: a, sub: x}}]}]}"),
        "virtualService default/x: spec.http[0].rout: want a field of VirtualService, got unknown field \"rout\"\n\
         virtualService default/x: spec.http[0].route[0].destination.sub: want a field of VirtualService, got unknown field \"sub\"",
    );
    refused(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, prt: 1}]}",
        "service default/a: spec.ports[0].prt: want a field of Service, got unknown field \"prt\"",
    );
    refused(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, nam: b}\nspec: {ports: [{port: 80}]}",
        "service default/a: metadata.nam: want a field of metadata, got an unknown field",
    );
}

#[test]
fn what_is_not_acted_on_is_refused() {
    refused(
        &istio(
            "VirtualService",
            "{hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]}",
        ),
        "virtualService default/x: spec.tcp[0].match[0].sourceSubnet: not supported yet",
    );
    refused(
        &istio("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}"),
        "destinationRule default/x: spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported yet",
    );
    let error = object("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}").unwrap_err();
    assert_eq!(error, "kind: want config of a mesh, got apps/v1 Deployment");
}

#[test]
fn what_is_wrong_with_fields_and_with_values_is_told_at_once() {
    refused(
        &istio(
            "DestinationRule",
            "{host: a, hots: b, subsets: [{name: v1}, {name: v1}], trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}",
        ),
        "destinationRule default/x: spec.hots: want a field of DestinationRule, got unknown field \"hots\"\n\
         destinationRule default/x: spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported yet\n\
         destinationRule default/x: spec.subsets[1].name: want a name used once in this rule, got \"v1\" again",
    );
}

#[test]
fn impossible_values_are_refused() {
    refused(
        &istio("DestinationRule", "{host: a, subsets: [{name: v1}, {name: v1}]}"),
        "destinationRule default/x: spec.subsets[1].name: want a name used once in this rule, got \"v1\" again",
    );
    refused(
        &istio(
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}]}",
        ),
        "virtualService default/x: spec.http[0].route: want weights of a sum from 1 to 4294967295, got 0",
    );
    refused(
        &istio("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 140}}}"),
        "destinationRule default/x: spec.trafficPolicy.outlierDetection.maxEjectionPercent: want 0..=100, got 140",
    );
    refused(
        &istio("Sidecar", "{egress: [{hosts: [reviews]}]}"),
        "sidecar default/x: spec.egress[0].hosts[0]: want namespace/dnsName, such as ./* or prod/api.example.com, got \"reviews\"",
    );
    let error = object(&istio("ServiceEntry", "{hosts: [a.b], resolution: STATIC, ports: [{number: 0, name: http}]}"));
    assert!(error.unwrap_err().contains("spec.ports[0].number"));
    let error =
        object(&istio("VirtualService", "{hosts: [a], http: [{timeout: 5, route: [{destination: {host: a}}]}]}"));
    assert!(error.unwrap_err().contains("spec.http[0].timeout: want a string, got integer `5` (quote the number)"));
}

#[test]
fn booleans_of_yaml_1_1_are_refused_with_advice() {
    let advice = "(y, yes, no, on, off, true and false without quotes are booleans in YAML: quote the value)";
    refused(
        &istio("DestinationRule", "{host: y}"),
        &format!("destinationRule default/x: spec.host: want a string, got boolean `true` {advice}"),
    );
    refused(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: on}",
        &format!("Namespace: metadata.name: want a string, got boolean `true` {advice}"),
    );
    object(&istio("DestinationRule", "{host: 'y'}")).unwrap();
}

#[test]
fn what_servers_add_is_not_kept() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, uid: u, resourceVersion: '7', generation: 1, annotations: {rutter/revision: '5'}}\n\
                spec: {ports: [{port: 80}]}\nstatus: {loadBalancer: {}}";
    let object = read(text).unwrap();
    assert_eq!(object.revision, Some(5), "that of another store does not count");
    let exported = text.replace("rutter/revision: '5'", "kubectl.kubernetes.io/last-applied-configuration: '{}', a: b");
    let exported = read(&exported).unwrap();
    assert_eq!((exported.revision, exported.config.annotations.get("a")), (None, Some("b")));
    assert!(!exported.json.contains("last-applied") && exported.json.contains(r#""annotations":{"a":"b"}"#));
    refused(
        &text.replace("'5'", "'x'"),
        "service default/a: metadata.annotations[rutter/revision]: want a version that this store gave, got \"x\"",
    );
    let json: Value = serde_json::from_str(&object.json).unwrap();
    assert_eq!(json["metadata"], serde_json::json!({"name": "a", "namespace": "default"}));
    assert!(json.get("status").is_none());
}

#[test]
fn names_and_sizes_have_limits() {
    refused(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop}",
        "Namespace: metadata.name: want 1 to 253 lower-case letters, digits, \"-\" and \".\", got \"Shop\"",
    );
    let big = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a, annotations: {{k: {}}}}}",
        "x".repeat(OBJECT_BYTES_MAX)
    );
    assert!(object(&big).unwrap_err().contains("want at most 1048576 bytes"));
}

#[test]
fn the_age_is_kept_as_it_is_given_and_is_no_part_of_the_text() {
    let text = |time: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: a{time}}}");
    let aged = object(&text(", creationTimestamp: '2026-11-24T16:18:11Z'")).unwrap();
    let instant: CreationTimestamp = "2026-11-24T16:18:11Z".parse().unwrap();
    assert_eq!((aged.created, aged.config.created), (Some(instant), instant));
    let ageless = object(&text("")).unwrap();
    assert_eq!((ageless.created, ageless.config.created), (None, CreationTimestamp::default()));
    assert_eq!(aged.json, ageless.json);
    let exported = object(&text(", creationTimestamp: null")).unwrap();
    assert_eq!(exported.created, None);
    let error = object(&text(", creationTimestamp: yesterday")).unwrap_err();
    assert!(error.starts_with("namespace a: metadata.creationTimestamp: want "), "{error}");
}

#[test]
fn what_was_kept_is_read_back() {
    let text = istio("Sidecar", "{egress: [{hosts: ['./*']}]}");
    let written = object(&text).unwrap();
    let read = Config::from_json(written.config.key.clone(), &written.json).unwrap();
    assert_eq!(read, *written.config);
    assert!(Config::from_json(written.config.key.clone(), "{").is_err());
}
