//! What Rutter sends, against what a real istiod sent for the same input (`tests/golden/`).
//!
//! Both sides are reduced to what routes traffic. Each departure is a rule below, and a row in `docs/xds.md`.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use rutter_api::{ResourceType, SidecarNode};
use rutter_core::Mesh;
use rutter_tests::meshes::{mesh_of, nodes_in, resources};
use rutter_tests::root;
use serde_json::{Map, Value, json};

/// Fields that say nothing of where traffic goes, or that only Istio's own Envoy has.
const LEFT_OUT: [&str; 17] = [
    "transport_socket",
    "transport_socket_matches",
    "access_log",
    "tracing",
    "request_id_extension",
    "server_name",
    "forward_client_cert_details",
    "set_current_client_cert_details",
    "http_filters",
    "path_with_escaped_slashes_action",
    "typed_dns_resolver_config",
    "dns_jitter",
    "cleanup_interval",
    "max_grpc_timeout",
    "max_stream_duration",
    "metadata",
    "decorator",
];

/// What is done by other resources than istiod's, as `docs/xds.md` says.
const OTHERWISE: [&str; 5] = [
    // A headless service is in the listener of its port, by the addresses of its endpoints.
    "0.0.0.0_8600",
    "10.112.2.1_8600",
    "10.112.2.2_8600",
    // A service of type ExternalName is a cluster that asks DNS.
    "outbound|80||partner.depot.svc.cluster.local",
    "partner.depot.svc.cluster.local:80",
];

fn mesh(name: &str) -> (Mesh, Vec<SidecarNode>) {
    let text = read_to_string(root().join(format!("tests/golden/{name}.yaml"))).unwrap();
    (mesh_of(&text).unwrap(), nodes_in(&text).unwrap())
}

fn name(resource: &Value) -> String {
    let name = resource.get("name").or_else(|| resource.get("cluster_name"));
    name.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The same value without what is left out, and without what means nothing: empty lists and objects.
fn reduced(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
            let kept = kept.map(|(key, value)| (key.clone(), reduced(value))).filter(|(_, value)| !is_nothing(value));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            // Bytes that are not HTTP are passed on, whatever they are.
            let is_left_out = |name: &str| name == "envoy.filters.network.mongo_proxy" || OTHERWISE.contains(&name);
            let of_istio = |item: &Value| {
                item["name"].as_str().is_some_and(|name| name.starts_with("istio.") || is_left_out(name))
            };
            Value::Array(
                items.iter().filter(|item| !of_istio(item) && !is_tls_between_sidecars(item)).map(reduced).collect(),
            )
        }
        // Protobuf's JSON writes 64-bit numbers as text; the golden files do not.
        Value::String(text) => text.parse::<u64>().map_or_else(|_| value.clone(), Value::from),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A rule's connection pool is kept by clients; istiod has the server's sidecar keep it as well.
fn is_server_side_limit(difference: &str) -> bool {
    difference.contains(" cluster inbound|")
        && (difference.contains(".connect_timeout: ") || difference.contains("].max_connections: "))
}

/// The chain of a port that a Sidecar object names has the address of the sidecar in its name with istiod, and is shared by
/// all sidecars of the object with us. One endpoint has all requests, whatever its weight.
fn is_named_by_sidecar(difference: &str) -> bool {
    let is_weight = difference.contains(" cluster inbound|") && difference.contains("load_balancing_weight: ours 1,");
    let is_name = difference.contains(" listener virtualInbound.") && difference.contains("0.0.0.0_3000");
    is_weight || is_name
}

/// istiod writes out that new endpoints get their share evenly, which is Envoy's default.
fn is_written_default(difference: &str) -> bool {
    difference.contains(".slow_start_config.aggression: ours null, theirs {\"default_value\":1.0,")
}

fn is_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// An inbound chain for Istio's mutual TLS.
fn is_tls_between_sidecars(chain: &Value) -> bool {
    let alpn = chain["filter_chain_match"]["application_protocols"].as_array().cloned().unwrap_or_default();
    alpn.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("istio")))
}

/// The texts that we add where istiod says nothing.
fn without_reasons(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        if map.contains_key("direct_response") {
            map.insert("direct_response".into(), json!({"status": map["direct_response"]["status"].clone()}));
        }
        for inner in map.values_mut() {
            *inner = without_reasons(inner.take());
        }
    } else if let Value::Array(items) = &mut value {
        for inner in items {
            *inner = without_reasons(inner.take());
        }
    }
    value
}

/// Where two values differ, each place on a line.
fn differences(ours: &Value, theirs: &Value, path: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                differences(&ours[key], &theirs[key], &format!("{path}.{key}"), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{path}[{at}]"), out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

fn check(input: &str) {
    let (mut mesh, nodes) = mesh(input);
    assert!(!nodes.is_empty());
    let mut found = Vec::new();
    for node in nodes {
        let path = root().join(format!("tests/golden/{input}/{}.json", node.id()));
        let golden: Value = serde_json::from_str(&read_to_string(&path).unwrap()).unwrap();
        for resource_type in ResourceType::ALL {
            let theirs: Vec<Value> = golden[format!("{resource_type}s")].as_array().cloned().unwrap_or_default();
            let ours = resources(&mut mesh, &node, resource_type).unwrap();
            let names = |all: &[Value]| {
                all.iter().map(name).filter(|name| !OTHERWISE.contains(&&**name)).collect::<BTreeSet<_>>()
            };
            assert_eq!(names(&ours), names(&theirs), "{input}, {}, {resource_type}", node.id());
            for resource in ours.iter().filter(|resource| !OTHERWISE.contains(&&*name(resource))) {
                let their = theirs.iter().find(|their| name(their) == name(resource)).unwrap();
                let (ours, theirs) = (without_reasons(reduced(resource)), without_reasons(reduced(their)));
                differences(&ours, &theirs, &format!("{} {resource_type} {}", node.id(), name(resource)), &mut found);
            }
        }
    }
    found.retain(|difference| {
        !is_server_side_limit(difference) && !is_written_default(difference) && !is_named_by_sidecar(difference)
    });
    assert!(found.is_empty(), "{input}:\n{}", found.join("\n"));
}

#[test]
fn bookinfo_is_what_istiod_sends_but_for_the_listed_departures() {
    check("bookinfo");
}

#[test]
fn ports_of_every_protocol_are_what_istiod_sends_but_for_the_listed_departures() {
    check("ports");
}

#[test]
fn scopes_are_what_istiod_sends_but_for_the_listed_departures() {
    check("scope");
}

#[test]
fn listeners_of_sidecar_objects_are_what_istiod_sends_but_for_the_listed_departures() {
    check("sidecar-listeners");
}

#[test]
fn services_of_every_sort_are_what_istiod_sends_but_for_the_listed_departures() {
    check("services");
}

#[test]
fn policies_of_every_sort_are_what_istiod_sends_but_for_the_listed_departures() {
    check("policies-full");
}

#[test]
fn routes_of_every_sort_are_what_istiod_sends_but_for_the_listed_departures() {
    check("routes-full");
}
