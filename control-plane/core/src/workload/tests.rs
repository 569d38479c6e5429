//! What leads to the application of a sidecar: which ports it has, and where they lead.

use expect_test::expect;
use rutter_api::node::Interception;

use super::*;
use crate::encode::testing::json_of;
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, node};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
    spec: {ports: [{name: http, port: 80}, {name: tcp, port: 3306}]}\n---\n";

/// A slice of the endpoints of `web`, which serve HTTP at 8080 and TCP at 3307.
fn slice(ip: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}, {{name: tcp, port: 3307}}]\n\
         endpoints: [{{addresses: [{ip}]}}]\n---\n"
    )
}

fn index(text: &str) -> MeshIndex {
    let mut index = MeshIndex::new(MeshSettings::default());
    index.apply(&batch(configs(text)));
    index
}

fn sidecar(spec: &str) -> Sidecar {
    let text = format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {spec}\n");
    configs(&text)[0].spec.as_sidecar().unwrap().clone()
}

fn captured() -> SidecarNode {
    node("web-1", "shop", "10.0.0.1")
}

fn bound() -> SidecarNode {
    SidecarNode { interception: Interception::None, ..captured() }
}

/// Returns the ports of the application of a node, a line each: the port, the protocol, the address at which the
/// application listens, and the host that names it.
fn ports(text: &str, node: &SidecarNode, sidecar: Option<&Sidecar>) -> String {
    let ports = application_ports(&index(text), node, sidecar);
    let line = |port: &ApplicationPort| {
        let InboundPort { port: number, service_port, protocol, host, tls: _ } = &port.port;
        let address = match &port.address {
            ApplicationAddress::AsAddressed => "as addressed".to_owned(),
            ApplicationAddress::Fixed(address) => address.to_string(),
            ApplicationAddress::Socket(path) => path.to_string(),
        };
        format!("{number} for {host}:{service_port} {protocol:?} {address}")
    };
    ports.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the resources of a sidecar that has to bind no listener for what its application asks.
fn resources(text: &str, node: &SidecarNode) -> SidecarResources {
    SidecarEncoder::default().encode(&index(text), node, None, BTreeMap::new)
}

fn names(resources: &SidecarResources) -> String {
    let of_type = |resource_type| resources.snapshot.iter(resource_type).map(move |resource| (resource_type, resource));
    let resources = [ResourceType::Cluster, ResourceType::Listener].into_iter().flat_map(of_type);
    resources
        .map(|(resource_type, resource)| format!("{resource_type} {}", resource.name))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn ports_are_those_at_which_services_of_the_namespace_reach_the_address() {
    let text = format!("{SERVICE}{}", slice("10.0.0.1"));
    expect![[r#"
        3307 for web.shop.svc.cluster.local:3306 Tcp as addressed
        8080 for web.shop.svc.cluster.local:80 Http as addressed"#]]
    .assert_eq(&ports(&text, &captured(), None));
    expect![[r#"
        3307 for web.shop.svc.cluster.local:3306 Tcp 127.0.0.1:3307
        8080 for web.shop.svc.cluster.local:80 Http 127.0.0.1:8080"#]]
    .assert_eq(&ports(&text, &bound(), None));
    let elsewhere = node("web-1", "bank", "10.0.0.1");
    expect![].assert_eq(&ports(&text, &elsewhere, None));
    let other_address = node("web-2", "shop", "10.0.0.2");
    expect![].assert_eq(&ports(&text, &other_address, None));
}

#[test]
fn every_address_of_a_workload_is_looked_at() {
    let node = SidecarNode { addresses: vec!["10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap()], ..captured() };
    expect![[r#"
        3307 for web.shop.svc.cluster.local:3306 Tcp as addressed
        8080 for web.shop.svc.cluster.local:80 Http as addressed"#]]
    .assert_eq(&ports(&format!("{SERVICE}{}", slice("10.0.0.1")), &node, None));
}

#[test]
fn of_several_services_at_one_port_the_oldest_names_it() {
    let other = "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop, creationTimestamp: '1969-01-01T00:00:00Z'}\n\
                 spec: {ports: [{name: grpc, port: 81}]}\n---\n";
    let its_slice = slice("10.0.0.1")
        .replace("name: web", "name: api")
        .replace("service-name: web", "service-name: api")
        .replace("name: http", "name: grpc");
    let text = format!("{SERVICE}{}{other}{its_slice}", slice("10.0.0.1"));
    expect![[r#"
        3307 for web.shop.svc.cluster.local:3306 Tcp as addressed
        8080 for api.shop.svc.cluster.local:81 Grpc as addressed"#]]
    .assert_eq(&ports(&text, &captured(), None));
}

#[test]
fn a_sidecar_object_may_name_the_ports_instead() {
    let object = sidecar(
        "{ingress: [{port: {number: 9080, protocol: HTTP}}, \
         {port: {number: 9081, protocol: GRPC}, defaultEndpoint: '127.0.0.1:7070'}, \
         {port: {number: 9082, protocol: TCP}, defaultEndpoint: '0.0.0.0:7071'}]}",
    );
    expect![[r#"
        9080 for web-1.shop:9080 Http 127.0.0.1:9080
        9081 for web-1.shop:9081 Grpc 127.0.0.1:7070
        9082 for web-1.shop:9082 Tcp 10.0.0.1:7071"#]]
    .assert_eq(&ports(&format!("{SERVICE}{}", slice("10.0.0.1")), &captured(), Some(&object)));
    let without_ingress = sidecar("{egress: [{hosts: ['./*']}]}");
    expect![[r#"
        3307 for web.shop.svc.cluster.local:3306 Tcp as addressed
        8080 for web.shop.svc.cluster.local:80 Http as addressed"#]]
    .assert_eq(&ports(&format!("{SERVICE}{}", slice("10.0.0.1")), &captured(), Some(&without_ingress)));
}

#[test]
fn a_captured_sidecar_has_one_listener_and_a_cluster_for_each_port() {
    expect![[r#"
        cluster inbound|3307||
        cluster inbound|8080||
        listener virtualInbound"#]]
    .assert_eq(&names(&resources(&format!("{SERVICE}{}", slice("10.0.0.1")), &captured())));
    expect!["listener virtualInbound"].assert_eq(&names(&resources(SERVICE, &captured())));
}

#[test]
fn a_sidecar_without_capture_binds_a_listener_for_each_port() {
    expect![[r#"
        cluster inbound|3307||
        cluster inbound|8080||
        listener 10.0.0.1_3307
        listener 10.0.0.1_8080"#]]
    .assert_eq(&names(&resources(&format!("{SERVICE}{}", slice("10.0.0.1")), &bound())));
}

#[test]
fn of_an_inbound_and_an_outbound_listener_at_one_port_the_inbound_one_is_bound() {
    let text = format!("{SERVICE}{}", slice("10.0.0.1"));
    let outbound = || [8080, 80].map(|port| ((None, port), BoundListener::Routes(port.to_string()))).into();
    let resources = SidecarEncoder::default().encode(&index(&text), &bound(), None, outbound);
    let directions: Vec<String> = resources
        .snapshot
        .iter(ResourceType::Listener)
        .map(|listener| format!("{} {}", listener.name, json_of(ResourceType::Listener, listener)["traffic_direction"]))
        .collect();
    expect![[r#"
        10.0.0.1_3307 "INBOUND"
        10.0.0.1_80 "OUTBOUND"
        10.0.0.1_8080 "INBOUND""#]]
    .assert_eq(&directions.join("\n"));
}

#[test]
fn a_grpc_client_has_no_resources_of_its_own() {
    let client = SidecarNode { proxyless: true, ..bound() };
    expect![""].assert_eq(&names(&resources(&format!("{SERVICE}{}", slice("10.0.0.1")), &client)));
}

#[test]
fn captured_sidecars_of_one_service_share_what_is_encoded_and_bound_ones_do_not() {
    let text = format!("{SERVICE}{}{}", slice("10.0.0.1"), slice("10.0.0.2").replace("name: web,", "name: web2,"));
    let index = index(&text);
    let mut encoder = SidecarEncoder::default();
    let nodes = [captured(), node("web-2", "shop", "10.0.0.2")];
    let held = nodes.map(|node| encoder.encode(&index, &node, None, BTreeMap::new));
    assert!(Arc::ptr_eq(&held[0].snapshot, &held[1].snapshot));
    assert_eq!(encoder.encoded(), 1);
    encoder.encode(&index, &bound(), None, BTreeMap::new);
    encoder.encode(&index, &bound(), None, BTreeMap::new);
    assert_eq!(encoder.encoded(), 3, "the address is in the listeners");
}
