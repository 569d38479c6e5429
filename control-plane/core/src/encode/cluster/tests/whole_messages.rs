//! Every sort of cluster in full, so that a change of any field is seen as a change of this file.

#![expect(clippy::too_many_lines, reason = "most of it is expected output")]

use expect_test::expect;
use rutter_api::ResourceType;

use super::{DNS, HOST, SERVICE, clusters, inbound_cluster, rule};
use crate::client::ClusterForm;
use crate::encode::cluster::*;
use crate::encode::testing::{Mesh, pretty};
use crate::model::Protocol;

fn cluster(resource: &EncodedResource) -> String {
    pretty(ResourceType::Cluster, resource)
}

#[test]
fn cluster_without_a_rule() {
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||a.default.svc.cluster.local;",
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
            "service_name": "outbound|80||a.default.svc.cluster.local"
          },
          "lb_policy": "LEAST_REQUEST",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|80||a.default.svc.cluster.local",
          "type": "EDS"
        }"#]]
    .assert_eq(&cluster(&clusters(SERVICE, HOST, ClusterForm::Sidecar)[0]));
}

#[test]
fn cluster_with_a_policy_of_every_field() {
    let policy = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, \
                  connectionPool: {tcp: {maxConnections: 100, connectTimeout: 250ms}}, \
                  outlierDetection: {consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 1m, maxEjectionPercent: 50}}";
    let clusters = clusters(&format!("{SERVICE}{}", rule(policy)), HOST, ClusterForm::Sidecar);
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||a.default.svc.cluster.local;",
          "circuit_breakers": {
            "thresholds": [
              {
                "max_connections": 100,
                "max_pending_requests": 4294967295,
                "max_requests": 4294967295,
                "max_retries": 4294967295
              }
            ]
          },
          "common_lb_config": {
            "healthy_panic_threshold": {}
          },
          "connect_timeout": "0.250s",
          "eds_cluster_config": {
            "eds_config": {
              "ads": {},
              "initial_fetch_timeout": "0s",
              "resource_api_version": "V3"
            },
            "service_name": "outbound|80||a.default.svc.cluster.local"
          },
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
                ]
              }
            }
          },
          "name": "outbound|80||a.default.svc.cluster.local",
          "outlier_detection": {
            "base_ejection_time": "60s",
            "consecutive_5xx": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": "5s",
            "max_ejection_percent": 50
          },
          "type": "EDS"
        }"#]]
    .assert_eq(&cluster(&clusters[0]));
}

#[test]
fn cluster_of_grpc_endpoints() {
    expect![[r#"
        {
          "alt_stat_name": "outbound|81||a.default.svc.cluster.local;",
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
            "service_name": "outbound|81||a.default.svc.cluster.local"
          },
          "lb_policy": "LEAST_REQUEST",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|81||a.default.svc.cluster.local",
          "type": "EDS",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "explicit_http_config": {
                "http2_protocol_options": {}
              }
            }
          }
        }"#]]
    .assert_eq(&cluster(&clusters(SERVICE, HOST, ClusterForm::Sidecar)[1]));
}

#[test]
fn cluster_of_endpoints_whose_protocol_is_not_known() {
    let text = SERVICE.replace("{name: http, port: 80}", "{name: x, port: 80}");
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||a.default.svc.cluster.local;",
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
            "service_name": "outbound|80||a.default.svc.cluster.local"
          },
          "lb_policy": "LEAST_REQUEST",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|80||a.default.svc.cluster.local",
          "type": "EDS",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "use_downstream_protocol_config": {
                "http2_protocol_options": {},
                "http_protocol_options": {}
              }
            }
          }
        }"#]]
    .assert_eq(&cluster(&clusters(&text, HOST, ClusterForm::Sidecar)[0]));
}

#[test]
fn cluster_of_a_dns_name_with_endpoints() {
    let endpoints =
        ", endpoints: [{address: one.e.x, weight: 3, locality: r/z}, {address: two.e.x, ports: {http: 8080}}]";
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||e.x;",
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
          "dns_lookup_family": "V4_ONLY",
          "dns_refresh_rate": "60s",
          "lb_policy": "LEAST_REQUEST",
          "load_assignment": {
            "cluster_name": "outbound|80||e.x",
            "endpoints": [
              {
                "lb_endpoints": [
                  {
                    "endpoint": {
                      "address": {
                        "socket_address": {
                          "address": "two.e.x",
                          "port_value": 8080
                        }
                      }
                    },
                    "load_balancing_weight": 1
                  }
                ],
                "load_balancing_weight": 1,
                "locality": {}
              },
              {
                "lb_endpoints": [
                  {
                    "endpoint": {
                      "address": {
                        "socket_address": {
                          "address": "one.e.x",
                          "port_value": 80
                        }
                      }
                    },
                    "load_balancing_weight": 3
                  }
                ],
                "load_balancing_weight": 3,
                "locality": {
                  "region": "r",
                  "zone": "z"
                }
              }
            ]
          },
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "e.x",
                    "name": "e.x",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|80||e.x",
          "respect_dns_ttl": true,
          "type": "STRICT_DNS",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "use_downstream_protocol_config": {
                "http2_protocol_options": {},
                "http_protocol_options": {}
              }
            }
          }
        }"#]]
    .assert_eq(&cluster(&clusters(&DNS.replace("ENDPOINTS", endpoints), "e.x", ClusterForm::Sidecar)[0]));
}

#[test]
fn cluster_for_the_grpc_library() {
    expect![[r#"
        {
          "alt_stat_name": "outbound|81||a.default.svc.cluster.local;",
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
            "service_name": "outbound|81||a.default.svc.cluster.local"
          },
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|81||a.default.svc.cluster.local",
          "type": "EDS"
        }"#]]
    .assert_eq(&cluster(&clusters(SERVICE, HOST, ClusterForm::Grpc)[1]));
}

#[test]
fn cluster_of_hosts_that_are_resolved_as_clients_name_them() {
    let text = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
                spec: {hosts: ['*.e.x'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}";
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||*.e.x;",
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
          "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
              "allow_insecure_cluster_options": true,
              "dns_cache_config": {
                "dns_lookup_family": "V4_ONLY",
                "name": "hosts-of-clients"
              }
            }
          },
          "common_lb_config": {
            "healthy_panic_threshold": {}
          },
          "connect_timeout": "10s",
          "lb_policy": "CLUSTER_PROVIDED",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "*.e.x",
                    "name": "*.e.x",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|80||*.e.x"
        }"#]]
    .assert_eq(&cluster(&clusters(text, "*.e.x", ClusterForm::Sidecar)[0]));
    assert!(clusters(text, "*.e.x", ClusterForm::Grpc).is_empty(), "the library has no such clusters");
}

#[test]
fn cluster_of_a_dns_name_for_the_grpc_library() {
    expect![[r#"
        {
          "alt_stat_name": "outbound|80||e.x;",
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
          "dns_lookup_family": "V4_ONLY",
          "dns_refresh_rate": "60s",
          "load_assignment": {
            "cluster_name": "outbound|80||e.x",
            "endpoints": [
              {
                "lb_endpoints": [
                  {
                    "endpoint": {
                      "address": {
                        "socket_address": {
                          "address": "e.x",
                          "port_value": 80
                        }
                      }
                    },
                    "load_balancing_weight": 1
                  }
                ],
                "load_balancing_weight": 1,
                "locality": {}
              }
            ]
          },
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "e.x",
                    "name": "e.x",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "outbound|80||e.x",
          "respect_dns_ttl": true,
          "type": "LOGICAL_DNS"
        }"#]]
    .assert_eq(&cluster(&clusters(&DNS.replace("ENDPOINTS", ""), "e.x", ClusterForm::Grpc)[0]));
}

#[test]
fn clusters_of_every_captured_sidecar() {
    let texts: Vec<String> = encode_capture_clusters().iter().map(cluster).collect();
    expect![[r#"
        {
          "alt_stat_name": "BlackHoleCluster;",
          "connect_timeout": "10s",
          "name": "BlackHoleCluster",
          "type": "STATIC"
        }
        {
          "alt_stat_name": "PassthroughCluster;",
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
          "connect_timeout": "10s",
          "lb_policy": "CLUSTER_PROVIDED",
          "name": "PassthroughCluster",
          "type": "ORIGINAL_DST",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "common_http_protocol_options": {
                "idle_timeout": "300s"
              },
              "use_downstream_protocol_config": {
                "http2_protocol_options": {},
                "http_protocol_options": {}
              }
            }
          }
        }
        {
          "alt_stat_name": "PassthroughCluster;",
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
          "connect_timeout": "10s",
          "lb_policy": "CLUSTER_PROVIDED",
          "name": "InboundPassthroughCluster",
          "type": "ORIGINAL_DST",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "common_http_protocol_options": {
                "idle_timeout": "300s"
              },
              "use_downstream_protocol_config": {
                "http2_protocol_options": {},
                "http_protocol_options": {}
              }
            }
          },
          "upstream_bind_config": {
            "source_address": {
              "address": "127.0.0.6",
              "port_value": 0
            }
          }
        }"#]]
    .assert_eq(&texts.join("\n"));
}

#[test]
fn inbound_cluster_of_a_captured_sidecar() {
    let mesh = Mesh::new(SERVICE);
    let service = mesh.service(HOST);
    let inbound = inbound_cluster(Protocol::Http, Some(service.as_arc()), ApplicationAddress::AsAddressed);
    expect![[r#"
        {
          "alt_stat_name": "inbound|8080||;",
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
          "common_lb_config": {},
          "connect_timeout": "10s",
          "lb_policy": "CLUSTER_PROVIDED",
          "metadata": {
            "filter_metadata": {
              "istio": {
                "services": [
                  {
                    "host": "a.default.svc.cluster.local",
                    "name": "a",
                    "namespace": "default"
                  }
                ]
              }
            }
          },
          "name": "inbound|8080||",
          "type": "ORIGINAL_DST",
          "upstream_bind_config": {
            "source_address": {
              "address": "127.0.0.6",
              "port_value": 0
            }
          }
        }"#]]
    .assert_eq(&cluster(&inbound));
}

#[test]
fn inbound_cluster_at_a_fixed_address() {
    let address = ApplicationAddress::Fixed("127.0.0.1:9000".parse().unwrap());
    expect![[r#"
        {
          "alt_stat_name": "inbound|8080||;",
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
          "common_lb_config": {},
          "connect_timeout": "10s",
          "load_assignment": {
            "cluster_name": "inbound|8080||",
            "endpoints": [
              {
                "lb_endpoints": [
                  {
                    "endpoint": {
                      "address": {
                        "socket_address": {
                          "address": "127.0.0.1",
                          "port_value": 9000
                        }
                      }
                    },
                    "load_balancing_weight": 1
                  }
                ],
                "load_balancing_weight": 1,
                "locality": {}
              }
            ]
          },
          "name": "inbound|8080||",
          "type": "STATIC",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "explicit_http_config": {
                "http2_protocol_options": {}
              }
            }
          }
        }"#]]
    .assert_eq(&cluster(&inbound_cluster(Protocol::Grpc, None, address)));
}
