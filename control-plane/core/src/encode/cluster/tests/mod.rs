mod policies;
mod whole_messages;

use std::sync::Arc;

use expect_test::expect;

use super::*;
use crate::client::ClusterForm;
use crate::encode::Shared;
use crate::encode::testing::{Mesh, json_of, pretty, summaries};
use crate::model::UnknownTraffic;
use crate::model::{Protocol, Service};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n\
    spec: {ports: [{name: http, port: 80}, {name: grpc, port: 81}, {name: tcp, port: 82}]}\n---\n";

fn rule(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\n\
         spec: {{host: a.default.svc.cluster.local, {spec}}}\n---\n"
    )
}

/// Returns the cluster of port 8080 of an application, without limits.
fn inbound_cluster(protocol: Protocol, service: Option<&Arc<Service>>, address: ApplicationAddress) -> EncodedResource {
    let service = service.map(|service| &**service);
    encode_inbound_cluster(&InboundClusterInputs {
        port: 8080,
        protocol,
        service,
        address: &address,
        connection_pool: None,
    })
}

fn clusters(text: &str, host: &str, form: ClusterForm) -> Vec<EncodedResource> {
    let mesh = Mesh::new(text);
    let service = mesh.service(host);
    let dns_endpoints = (!service.discovery.is_told()).then(|| mesh.endpoints(host));
    let inputs = ClusterInputs {
        takes_secrets: false,
        locality: None,
        connection_defaults: Shared::from(&Arc::default()),
        locality_default: None,
        dns_refresh_rate: None,
        ports: None,
        service,
        destination_rule: mesh.destination_rule(host),
        dns_endpoints,
        form,
        follows_client: false,
    };
    encode_clusters(&inputs).into_vec()
}

const HOST: &str = "a.default.svc.cluster.local";

#[test]
fn a_cluster_has_what_istio_gives_it() {
    let text = format!("{SERVICE}{}", rule("subsets: [{name: v1, labels: {version: v1}}]"));
    let clusters = clusters(&text, HOST, ClusterForm::Sidecar);
    expect![[r#"
        {
          "alt_stat_name": "outbound|80|v1|a.default.svc.cluster.local;",
          "circuit_breakers": {
            "thresholds": [
              {
                "max_connections": 4294967295,
                "max_pending_requests": 4294967295,
                "max_requests": 4294967295,
                "max_retries": 4294967295
              }
            ]
          },
          "common_lb_config": {
            "healthy_panic_threshold": {}
          },
          "connect_timeout": "10s",
          "eds_cluster_config": {
            "eds_config": {
              "ads": {},
              "initial_fetch_timeout": "0s",
              "resource_api_version": "V3"
            },
            "service_name": "outbound|80|v1|a.default.svc.cluster.local"
          },
          "lb_policy": "LEAST_REQUEST",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "config": "/apis/networking.istio.io/v1/namespaces/default/destination-rule/r",
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ],
                "subset": "v1"
              }
            }
          },
          "name": "outbound|80|v1|a.default.svc.cluster.local",
          "type": "EDS"
        }"#]]
    .assert_eq(&pretty(ResourceType::Cluster, &clusters[1]));
}

#[test]
fn each_port_has_a_cluster_and_each_subset_one_more_in_the_protocol_of_the_port() {
    let text = format!("{SERVICE}{}", rule("subsets: [{name: v1, labels: {version: v1}}]"));
    let lines = summaries(ResourceType::Cluster, &clusters(&text, HOST, ClusterForm::Sidecar), |cluster| {
        let is_http2 = cluster.to_string().contains("http2_protocol_options");
        format!(" {}", if is_http2 { "HTTP/2" } else { "-" })
    });
    expect![[r#"
        outbound|80||a.default.svc.cluster.local -
        outbound|80|v1|a.default.svc.cluster.local -
        outbound|81||a.default.svc.cluster.local HTTP/2
        outbound|81|v1|a.default.svc.cluster.local HTTP/2
        outbound|82||a.default.svc.cluster.local -
        outbound|82|v1|a.default.svc.cluster.local -"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_policy_sets_the_balancer_the_limits_and_the_outlier_detection() {
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}, \
                  connectionPool: {tcp: {maxConnections: 7, connectTimeout: 2s}}, \
                  outlierDetection: {consecutive5xxErrors: 3, interval: 1s}}";
    let clusters = clusters(&format!("{SERVICE}{}", rule(policy)), HOST, ClusterForm::Sidecar);
    let cluster = json_of(ResourceType::Cluster, &clusters[0]);
    let fields = ["lb_policy", "connect_timeout", "outlier_detection", "circuit_breakers"];
    let lines: Vec<String> = fields.iter().map(|field| format!("{field}: {}", cluster[field])).collect();
    expect![[r#"
        lb_policy: "RANDOM"
        connect_timeout: "2s"
        outlier_detection: {"consecutive_5xx":3,"enforcing_consecutive_5xx":100,"enforcing_success_rate":0,"interval":"1s"}
        circuit_breakers: {"thresholds":[{"max_connections":7,"max_pending_requests":4294967295,"max_requests":4294967295,"max_retries":4294967295}]}"#]].assert_eq(&lines.join("\n"));
}

const DNS: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
    spec: {hosts: [e.x], resolution: DNS, ports: [{number: 80, name: http}]ENDPOINTS}";

#[test]
fn endpoints_of_a_dns_service_are_in_the_cluster_and_without_any_it_is_the_host_itself() {
    let targets = |endpoints: &str, form: ClusterForm| {
        let clusters = clusters(&DNS.replace("ENDPOINTS", endpoints), "e.x", form);
        summaries(ResourceType::Cluster, &clusters, |cluster| {
            let mut text = format!(" {}", cluster["type"].as_str().unwrap());
            let localities = cluster["load_assignment"]["endpoints"].as_array().unwrap();
            for endpoint in localities.iter().flat_map(|locality| locality["lb_endpoints"].as_array().unwrap()) {
                text.push_str(&format!(" {}", endpoint["endpoint"]["address"]["socket_address"]["address"]));
            }
            text
        })
    };
    let two = ", endpoints: [{address: one.e.x}, {address: two.e.x}]";
    assert_eq!(targets("", ClusterForm::Sidecar), [r#"outbound|80||e.x STRICT_DNS "e.x""#]);
    assert_eq!(targets(two, ClusterForm::Sidecar), [r#"outbound|80||e.x STRICT_DNS "one.e.x" "two.e.x""#]);
    assert_eq!(targets("", ClusterForm::Grpc), [r#"outbound|80||e.x LOGICAL_DNS "e.x""#]);
    assert!(targets(two, ClusterForm::Grpc).is_empty(), "the gRPC library takes one name");
}

#[test]
fn the_grpc_form_has_no_more_than_the_library_takes() {
    let clusters = clusters(SERVICE, HOST, ClusterForm::Grpc);
    let cluster = json_of(ResourceType::Cluster, &clusters[1]);
    assert_eq!(cluster.get("typed_extension_protocol_options"), None);
    // ROUND_ROBIN is the default value, which JSON leaves out.
    assert_eq!(cluster.get("lb_policy"), None);
}

#[test]
fn captured_sidecars_have_three_clusters_for_what_is_not_known() {
    let lines = summaries(ResourceType::Cluster, &encode_capture_clusters(), |cluster| format!(" {}", cluster["type"]));
    assert_eq!(
        lines,
        [
            r#"BlackHoleCluster "STATIC""#,
            r#"PassthroughCluster "ORIGINAL_DST""#,
            r#"InboundPassthroughCluster "ORIGINAL_DST""#
        ]
    );
    assert_eq!(unknown_destination_cluster(&UnknownTraffic::Passes), PASSTHROUGH);
    assert_eq!(unknown_destination_cluster(&UnknownTraffic::IsRefused), BLACK_HOLE);
}

#[test]
fn an_inbound_cluster_leads_to_where_the_caller_addressed_or_to_a_fixed_address() {
    let mesh = Mesh::new(SERVICE);
    let service = mesh.service(HOST);
    let addressed = ApplicationAddress::AsAddressed;
    let captured = inbound_cluster(Protocol::Http, Some(service.as_arc()), addressed);
    let fixed = ApplicationAddress::Fixed("127.0.0.1:9000".parse().unwrap());
    let bound = inbound_cluster(Protocol::Tcp, None, fixed);
    let lines = summaries(ResourceType::Cluster, &[captured, bound], |cluster| {
        let source = &cluster["upstream_bind_config"]["source_address"]["address"];
        let name = &cluster["metadata"]["filter_metadata"]["istio"]["services"][0]["name"];
        format!(" type {} source {source} service {name}", cluster["type"])
    });
    expect![[r#"
        inbound|8080|| type "ORIGINAL_DST" source "127.0.0.6" service "a"
        inbound|8080|| type "STATIC" source null service null"#]]
    .assert_eq(&lines.join("\n"));
}
