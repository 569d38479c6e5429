//! What each part of a policy comes to in a cluster, so that a change of any field is seen as a change of this file.

#![expect(clippy::too_many_lines, reason = "most of it is expected output")]

use expect_test::{Expect, expect};
use serde_json::Value;

use super::*;
use crate::encode::Shared;
use crate::encode::testing::json_of;

/// Compares the cluster of a service under a policy, without what every cluster has.
fn check(port: &str, policy: &str, want: Expect) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\n\
         spec: {{hosts: [e.x], resolution: STATIC, ports: [{{{port}}}], endpoints: [{{address: 10.0.0.1}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\n\
         spec: {{host: e.x, trafficPolicy: {{{policy}}}}}\n---\n"
    );
    let mesh = Mesh::new(&text);
    let inputs = ClusterInputs {
        takes_secrets: false,
        locality: None,
        connection_defaults: Shared::from(&Arc::default()),
        locality_default: None,
        dns_refresh_rate: None,
        ports: None,
        service: mesh.service("e.x"),
        destination_rule: mesh.destination_rule("e.x"),
        dns_endpoints: None,
        form: ClusterForm::Sidecar,
        follows_client: false,
    };
    let mut json = json_of(ResourceType::Cluster, &encode_clusters(&inputs)[0]);
    let cluster = json.as_object_mut().unwrap();
    for field in ["metadata", "alt_stat_name", "name", "eds_cluster_config"] {
        cluster.remove(field);
    }
    cluster.retain(|_, value| *value != Value::Null);
    want.assert_eq(&serde_json::to_string_pretty(&cluster).unwrap());
}

const HTTP: &str = "number: 80, name: http, protocol: HTTP";

#[test]
fn limits() {
    check(
        HTTP,
        "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 2s, tcpKeepalive: {probes: 3, time: 4s, interval: 5s}, \
         maxConnectionDuration: 6s}, http: {http1MaxPendingRequests: 7, http2MaxRequests: 8, maxRequestsPerConnection: 9, \
         maxRetries: 10, idleTimeout: 11s}}, retryBudget: {percent: 12, minRetryConcurrency: 13}",
        expect![[r#"
            {
              "circuit_breakers": {
                "thresholds": [
                  {
                    "max_connections": 1,
                    "max_pending_requests": 7,
                    "max_requests": 8,
                    "max_retries": 10,
                    "retry_budget": {
                      "budget_percent": {
                        "value": 12.0
                      },
                      "min_retry_concurrency": 13
                    }
                  }
                ]
              },
              "common_lb_config": {
                "healthy_panic_threshold": {}
              },
              "connect_timeout": "2s",
              "lb_policy": "LEAST_REQUEST",
              "type": "EDS",
              "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                  "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                  "common_http_protocol_options": {
                    "idle_timeout": "11s",
                    "max_connection_duration": "6s",
                    "max_requests_per_connection": 9
                  },
                  "explicit_http_config": {
                    "http_protocol_options": {}
                  }
                }
              },
              "upstream_connection_options": {
                "tcp_keepalive": {
                  "keepalive_interval": 5,
                  "keepalive_probes": 3,
                  "keepalive_time": 4
                }
              }
            }"#]],
    );
    check(
        HTTP,
        "connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 5}}",
        expect![[r#"
        {
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
          "lb_policy": "LEAST_REQUEST",
          "type": "EDS",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "explicit_http_config": {
                "http2_protocol_options": {
                  "max_concurrent_streams": 5
                }
              }
            }
          }
        }"#]],
    );
    check(
        HTTP,
        "connectionPool: {http: {useClientProtocol: true}}",
        expect![[r#"
        {
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
          "lb_policy": "LEAST_REQUEST",
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
        }"#]],
    );
}

#[test]
fn balancers() {
    check(
        HTTP,
        "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s, minimumPercent: 2, aggression: 3}}",
        expect![[r#"
            {
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
              "round_robin_lb_config": {
                "slow_start_config": {
                  "aggression": {
                    "default_value": 3.0,
                    "runtime_key": "rutter.slow_start.aggression"
                  },
                  "min_weight_percent": {
                    "value": 2.0
                  },
                  "slow_start_window": "1s"
                }
              },
              "type": "EDS"
            }"#]],
    );
    check(
        HTTP,
        "loadBalancer: {warmupDurationSecs: 1s}",
        expect![[r#"
        {
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
          "lb_policy": "LEAST_REQUEST",
          "least_request_lb_config": {
            "slow_start_config": {
              "min_weight_percent": {
                "value": 10.0
              },
              "slow_start_window": "1s"
            }
          },
          "type": "EDS"
        }"#]],
    );
    check(
        HTTP,
        "loadBalancer: {simple: PASSTHROUGH}",
        expect![[r#"
        {
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
          "lb_policy": "CLUSTER_PROVIDED",
          "type": "ORIGINAL_DST"
        }"#]],
    );
    check(
        HTTP,
        "loadBalancer: {consistentHash: {useSourceIp: true}}",
        expect![[r#"
        {
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
          "lb_policy": "RING_HASH",
          "ring_hash_lb_config": {
            "minimum_ring_size": "1024"
          },
          "type": "EDS"
        }"#]],
    );
    check(
        HTTP,
        "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 17}}}",
        expect![[r#"
        {
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
          "lb_policy": "MAGLEV",
          "maglev_lb_config": {
            "table_size": "17"
          },
          "type": "EDS"
        }"#]],
    );
}

#[test]
fn ejection() {
    check(
        HTTP,
        "outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 1, splitExternalLocalOriginErrors: true, \
         consecutiveLocalOriginFailures: 2, interval: 3s, baseEjectionTime: 4s, maxEjectionPercent: 5, minHealthPercent: 6}",
        expect![[r#"
            {
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
                "healthy_panic_threshold": {
                  "value": 6.0
                }
              },
              "connect_timeout": "10s",
              "lb_policy": "LEAST_REQUEST",
              "outlier_detection": {
                "base_ejection_time": "4s",
                "consecutive_5xx": 0,
                "consecutive_gateway_failure": 1,
                "consecutive_local_origin_failure": 2,
                "enforcing_consecutive_5xx": 0,
                "enforcing_consecutive_gateway_failure": 100,
                "enforcing_consecutive_local_origin_failure": 100,
                "enforcing_local_origin_success_rate": 0,
                "enforcing_success_rate": 0,
                "interval": "3s",
                "max_ejection_percent": 5,
                "split_external_local_origin_errors": true
              },
              "type": "EDS"
            }"#]],
    );
}

#[test]
fn encryption() {
    check(
        HTTP,
        "tls: {mode: SIMPLE}",
        expect![[r#"
        {
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
          "lb_policy": "LEAST_REQUEST",
          "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
              "common_tls_context": {
                "tls_params": {
                  "tls_maximum_protocol_version": "TLSv1_3",
                  "tls_minimum_protocol_version": "TLSv1_2"
                },
                "validation_context": {
                  "trusted_ca": {
                    "filename": "/etc/ssl/certs/ca-certificates.crt"
                  }
                }
              }
            }
          },
          "type": "EDS",
          "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              "explicit_http_config": {
                "http_protocol_options": {}
              },
              "upstream_http_protocol_options": {
                "auto_san_validation": true,
                "auto_sni": true
              }
            }
          }
        }"#]],
    );
    check(
        "number: 443, name: tls, protocol: TLS",
        "tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, sni: s.x, \
         subjectAltNames: [a.x, 'spiffe://b', 10.0.0.1]}, proxyProtocol: {version: V2}",
        expect![[r#"
            {
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
              "lb_policy": "LEAST_REQUEST",
              "transport_socket": {
                "name": "envoy.transport_sockets.upstream_proxy_protocol",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                  "config": {
                    "version": "V2"
                  },
                  "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                      "common_tls_context": {
                        "tls_certificates": [
                          {
                            "certificate_chain": {
                              "filename": "/c"
                            },
                            "private_key": {
                              "filename": "/k"
                            }
                          }
                        ],
                        "tls_params": {
                          "tls_maximum_protocol_version": "TLSv1_3",
                          "tls_minimum_protocol_version": "TLSv1_2"
                        },
                        "validation_context": {
                          "match_typed_subject_alt_names": [
                            {
                              "matcher": {
                                "exact": "a.x"
                              },
                              "san_type": "DNS"
                            },
                            {
                              "matcher": {
                                "exact": "spiffe://b"
                              },
                              "san_type": "URI"
                            },
                            {
                              "matcher": {
                                "exact": "10.0.0.1"
                              },
                              "san_type": "IP_ADDRESS"
                            }
                          ],
                          "trusted_ca": {
                            "filename": "/ca"
                          }
                        }
                      },
                      "sni": "s.x"
                    }
                  }
                }
              },
              "type": "EDS"
            }"#]],
    );
    check(
        "number: 80, name: grpc, protocol: GRPC",
        "tls: {mode: SIMPLE, insecureSkipVerify: true, sni: s.x}",
        expect![[r#"
            {
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
              "lb_policy": "LEAST_REQUEST",
              "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                  "common_tls_context": {
                    "alpn_protocols": [
                      "h2"
                    ],
                    "tls_params": {
                      "tls_maximum_protocol_version": "TLSv1_3",
                      "tls_minimum_protocol_version": "TLSv1_2"
                    }
                  },
                  "sni": "s.x"
                }
              },
              "type": "EDS",
              "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                  "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                  "explicit_http_config": {
                    "http2_protocol_options": {}
                  }
                }
              }
            }"#]],
    );
}
