//! Listeners of gateways.

#![expect(clippy::too_many_lines, reason = "most of it is expected output")]

use expect_test::expect;

use super::*;
use crate::encode::testing::pretty;
use crate::model::servers_of;
use crate::testing::configs;

/// Encodes the listener of some servers of one Gateway object.
fn listener(servers: &str, connections: &ConnectionTargets) -> String {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: shop}}\nspec: {{servers: [{servers}]}}"
    );
    let configs = configs(&text);
    let servers = servers_of(configs.iter(), &std::collections::BTreeMap::new());
    let (address, servers) = servers.first_key_value().unwrap();
    let servers: Vec<ServerOfListener<'_>> =
        servers.iter().map(|server| ServerOfListener { server, connections: connections.clone() }).collect();
    let listener = encode_gateway_listener(*address, &servers);
    listener.map_or("none".to_owned(), |listener| pretty(ResourceType::Listener, &listener))
}

#[test]
fn plain_requests() {
    let server = "{port: {number: 8080, protocol: HTTP}, hosts: [a.x]}";
    let two = format!("{server}, {}", server.replace("a.x", "b.x"));
    let listener_of_two = listener(&two, &ConnectionTargets::new());
    assert_eq!(listener_of_two, listener(server, &ConnectionTargets::new()), "servers of plain requests share all");
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 8080
            }
          },
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "forward_client_cert_details": "SANITIZE_SET",
                    "http_filters": [
                      {
                        "name": "envoy.filters.http.fault",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
                        }
                      },
                      {
                        "name": "envoy.filters.http.cors",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
                        }
                      },
                      {
                        "name": "envoy.filters.http.router",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                        }
                      }
                    ],
                    "normalize_path": true,
                    "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
                    "proxy_100_continue": true,
                    "rds": {
                      "config_source": {
                        "ads": {},
                        "initial_fetch_timeout": "0s",
                        "resource_api_version": "V3"
                      },
                      "route_config_name": "http.8080"
                    },
                    "set_current_client_cert_details": {
                      "cert": true,
                      "dns": true,
                      "subject": true,
                      "uri": true
                    },
                    "stat_prefix": "outbound_0.0.0.0_8080;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": true
                  }
                }
              ],
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/shop/gateway/g"
                  }
                }
              },
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "name": "0.0.0.0_8080",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener_of_two);
}

#[test]
fn encrypted_requests() {
    let tls = "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, subjectAltNames: [c.x], \
               verifyCertificateSpki: [AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=], verifyCertificateHash: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa], minProtocolVersion: TLSV1_3, cipherSuites: [AES128-SHA]";
    let server = format!(
        "{{port: {{number: 8443, name: https, protocol: HTTPS}}, hosts: [a.x, '*.b.x'], bind: 10.0.0.1, tls: {{{tls}}}}}"
    );
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.0.0.1",
              "port_value": 8443
            }
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "server_names": [
                  "*.b.x",
                  "a.x"
                ]
              },
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "forward_client_cert_details": "SANITIZE_SET",
                    "http_filters": [
                      {
                        "name": "envoy.filters.http.fault",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
                        }
                      },
                      {
                        "name": "envoy.filters.http.cors",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
                        }
                      },
                      {
                        "name": "envoy.filters.http.router",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                        }
                      }
                    ],
                    "normalize_path": true,
                    "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
                    "proxy_100_continue": true,
                    "rds": {
                      "config_source": {
                        "ads": {},
                        "initial_fetch_timeout": "0s",
                        "resource_api_version": "V3"
                      },
                      "route_config_name": "https.8443.https-0.g.shop"
                    },
                    "set_current_client_cert_details": {
                      "cert": true,
                      "dns": true,
                      "subject": true,
                      "uri": true
                    },
                    "stat_prefix": "outbound_10.0.0.1_8443;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": true
                  }
                }
              ],
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/shop/gateway/g"
                  }
                }
              },
              "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                  "common_tls_context": {
                    "alpn_protocols": [
                      "h2",
                      "http/1.1"
                    ],
                    "combined_validation_context": {
                      "default_validation_context": {
                        "match_typed_subject_alt_names": [
                          {
                            "matcher": {
                              "exact": "c.x"
                            },
                            "san_type": "DNS"
                          }
                        ],
                        "verify_certificate_hash": [
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                        ],
                        "verify_certificate_spki": [
                          "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
                        ]
                      },
                      "validation_context_sds_secret_config": {
                        "name": "file-root:/ca",
                        "sds_config": {
                          "ads": {},
                          "initial_fetch_timeout": "5s",
                          "resource_api_version": "V3"
                        }
                      }
                    },
                    "tls_certificate_sds_secret_configs": [
                      {
                        "name": "file-cert:/c~/k",
                        "sds_config": {
                          "ads": {},
                          "initial_fetch_timeout": "5s",
                          "resource_api_version": "V3"
                        }
                      }
                    ],
                    "tls_params": {
                      "cipher_suites": [
                        "AES128-SHA"
                      ],
                      "tls_maximum_protocol_version": "TLSv1_3",
                      "tls_minimum_protocol_version": "TLSv1_3"
                    }
                  },
                  "require_client_certificate": true
                }
              },
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "listener_filters": [
            {
              "name": "envoy.filters.listener.tls_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                "initial_read_buffer_size": 512
              }
            }
          ],
          "name": "10.0.0.1_8443",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener(&server, &ConnectionTargets::new()));
}

#[test]
fn a_name_that_two_servers_have_is_taken_by_the_first() {
    let server = |name: &str, hosts: &str| {
        let files = "mode: SIMPLE, serverCertificate: /c, privateKey: /k";
        format!("{{port: {{number: 8443, name: {name}, protocol: HTTPS}}, hosts: [{hosts}], tls: {{{files}}}}}")
    };
    let servers = [server("first", "a.x, b.x"), server("second", "b.x, c.x"), server("third", "a.x")].join(", ");
    let listener: serde_json::Value = serde_json::from_str(&listener(&servers, &ConnectionTargets::new())).unwrap();
    let names = listener["filter_chains"].as_array().unwrap().iter();
    let names: Vec<String> = names.map(|chain| chain["filter_chain_match"]["server_names"].to_string()).collect();
    assert_eq!(names, [r#"["a.x","b.x"]"#, r#"["c.x"]"#]);
}

#[test]
fn connections() {
    let passthrough = "{port: {number: 443, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}";
    assert_eq!(listener(passthrough, &ConnectionTargets::new()), "none", "no route leads anywhere");
    let named = [(ConnectionMatch::server_name("a.x"), to("to-a"))].into();
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 443
            }
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "server_names": [
                  "a.x"
                ]
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "to-a",
                    "stat_prefix": "to-a"
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "listener_filters": [
            {
              "name": "envoy.filters.listener.tls_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                "initial_read_buffer_size": 512
              }
            }
          ],
          "name": "0.0.0.0_443",
          "traffic_direction": "OUTBOUND"
        }"#]]
    .assert_eq(&listener(passthrough, &named));
    let tcp = "{port: {number: 9000, protocol: TCP}, hosts: ['*']}";
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 9000
            }
          },
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "to-b",
                    "stat_prefix": "to-b"
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "name": "0.0.0.0_9000",
          "traffic_direction": "OUTBOUND"
        }"#]]
    .assert_eq(&listener(tcp, &[(ConnectionMatch::default(), to("to-b"))].into()));
}
