//! Every sort of listener in full, so that a change of any field is seen as a change of this file.

#![expect(clippy::too_many_lines, reason = "most of it is expected output")]

use std::net::SocketAddr;
use std::time::Duration;

use expect_test::expect;
use rutter_api::{ClusterName, ResourceType, RouteTableName};

use super::{inbound, to};
use crate::encode::listener::*;
use crate::encode::testing::pretty;
use crate::model::Protocol;
use crate::model::UnknownTraffic;

fn listener(resource: &EncodedResource) -> String {
    pretty(ResourceType::Listener, resource)
}

#[test]
fn outbound_port_with_http_tls_and_tcp() {
    let uses = OutboundPort {
        http: true,
        connections: [
            (ConnectionMatch::server_name("t.x"), to("outbound|443||t.x")),
            (ConnectionMatch::default(), to("outbound|443||db.x")),
        ]
        .into(),
    };
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 443
            }
          },
          "bind_to_port": false,
          "continue_on_listener_filters_timeout": true,
          "default_filter_chain": {
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "outbound|443||db.x",
                  "stat_prefix": "outbound|443||db.x"
                }
              }
            ],
            "transport_socket_connect_timeout": "15s"
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "application_protocols": [
                  "http/1.1",
                  "h2c"
                ],
                "transport_protocol": "raw_buffer"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
                      "route_config_name": "443"
                    },
                    "stat_prefix": "outbound_0.0.0.0_443;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": false
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            },
            {
              "filter_chain_match": {
                "server_names": [
                  "t.x"
                ]
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "outbound|443||t.x",
                    "stat_prefix": "outbound|443||t.x"
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
            },
            {
              "name": "envoy.filters.listener.http_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
              }
            }
          ],
          "listener_filters_timeout": "0s",
          "name": "0.0.0.0_443",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener(&encode_outbound_port(443, &uses, &UnknownTraffic::Passes.into())));
}

#[test]
fn outbound_port_from_which_nothing_unknown_goes_on() {
    let uses = OutboundPort { http: true, ..OutboundPort::default() };
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 80
            }
          },
          "bind_to_port": false,
          "continue_on_listener_filters_timeout": true,
          "default_filter_chain": {
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "BlackHoleCluster",
                  "stat_prefix": "BlackHoleCluster"
                }
              }
            ],
            "name": "PassthroughFilterChain"
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "application_protocols": [
                  "http/1.1",
                  "h2c"
                ],
                "transport_protocol": "raw_buffer"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
                      "route_config_name": "80"
                    },
                    "stat_prefix": "outbound_0.0.0.0_80;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": false
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "listener_filters": [
            {
              "name": "envoy.filters.listener.http_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
              }
            }
          ],
          "listener_filters_timeout": "0s",
          "name": "0.0.0.0_80",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener(&encode_outbound_port(80, &uses, &UnknownTraffic::IsRefused.into())));
}

#[test]
fn outbound_address_of_tcp() {
    let ip = "10.9.0.1".parse().unwrap();
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.9.0.1",
              "port_value": 3306
            }
          },
          "bind_to_port": false,
          "continue_on_listener_filters_timeout": true,
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "outbound|3306||db.x",
                    "stat_prefix": "outbound|3306||db.x"
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "listener_filters_timeout": "0s",
          "name": "10.9.0.1_3306",
          "traffic_direction": "OUTBOUND"
        }"#]]
    .assert_eq(&listener(&encode_outbound_address(
        SocketAddr::new(ip, 3306),
        &[(ConnectionMatch::default(), to("outbound|3306||db.x"))].into(),
        None,
        Duration::ZERO,
    )));
}

#[test]
fn outbound_address_of_an_unknown_protocol() {
    let table = "db.x:3306".parse().unwrap();
    let ip = "fd00::1".parse().unwrap();
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "fd00::1",
              "port_value": 3306
            }
          },
          "bind_to_port": false,
          "continue_on_listener_filters_timeout": true,
          "default_filter_chain": {
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "outbound|3306||db.x",
                  "stat_prefix": "outbound|3306||db.x"
                }
              }
            ],
            "transport_socket_connect_timeout": "15s"
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "application_protocols": [
                  "http/1.1",
                  "h2c"
                ],
                "transport_protocol": "raw_buffer"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
                      "route_config_name": "db.x:3306"
                    },
                    "stat_prefix": "outbound_fd00::1_3306;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": false
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "listener_filters": [
            {
              "name": "envoy.filters.listener.http_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
              }
            }
          ],
          "listener_filters_timeout": "0.100s",
          "name": "fd00::1_3306",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener(&encode_outbound_address(SocketAddr::new(ip, 3306), &[(ConnectionMatch::default(), to("outbound|3306||db.x"))].into(), Some(&table), Duration::from_millis(100))));
}

#[test]
fn virtual_outbound() {
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 15001
            }
          },
          "filter_chains": [
            {
              "filter_chain_match": {
                "destination_port": 15001
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "BlackHoleCluster",
                    "stat_prefix": "BlackHoleCluster"
                  }
                }
              ],
              "name": "virtualOutbound-blackhole"
            },
            {
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "PassthroughCluster",
                    "stat_prefix": "PassthroughCluster"
                  }
                }
              ],
              "name": "virtualOutbound-catchall-tcp"
            }
          ],
          "max_connections_to_accept_per_socket_event": 1,
          "name": "virtualOutbound",
          "traffic_direction": "OUTBOUND",
          "use_original_dst": true
        }"#]]
    .assert_eq(&listener(&encode_virtual_outbound(&UnknownTraffic::Passes.into())));
}

#[test]
fn virtual_inbound_of_an_application_without_ports() {
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "0.0.0.0",
              "port_value": 15006
            }
          },
          "continue_on_listener_filters_timeout": true,
          "filter_chains": [
            {
              "filter_chain_match": {
                "destination_port": 15006
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "BlackHoleCluster",
                    "stat_prefix": "BlackHoleCluster"
                  }
                }
              ],
              "name": "virtualInbound-blackhole"
            },
            {
              "filter_chain_match": {
                "application_protocols": [
                  "http/1.1",
                  "h2c"
                ],
                "transport_protocol": "raw_buffer"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "http_filters": [
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
                    "route_config": {
                      "name": "InboundPassthroughCluster",
                      "validate_clusters": false,
                      "virtual_hosts": [
                        {
                          "domains": [
                            "*"
                          ],
                          "name": "inbound|http|0",
                          "routes": [
                            {
                              "decorator": {
                                "operation": ":0/*"
                              },
                              "match": {
                                "prefix": "/"
                              },
                              "name": "default",
                              "route": {
                                "cluster": "InboundPassthroughCluster",
                                "max_stream_duration": {
                                  "grpc_timeout_header_max": "0s",
                                  "max_stream_duration": "0s"
                                },
                                "retry_policy": {
                                  "num_retries": 2,
                                  "retry_on": "reset-before-request"
                                },
                                "timeout": "0s"
                              }
                            }
                          ]
                        }
                      ]
                    },
                    "stat_prefix": "InboundPassthroughCluster;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": false
                  }
                }
              ],
              "name": "virtualInbound-catchall-http"
            },
            {
              "filter_chain_match": {
                "transport_protocol": "raw_buffer"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "InboundPassthroughCluster",
                    "stat_prefix": "InboundPassthroughCluster"
                  }
                }
              ],
              "name": "virtualInbound"
            },
            {
              "filter_chain_match": {
                "transport_protocol": "tls"
              },
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "InboundPassthroughCluster",
                    "stat_prefix": "InboundPassthroughCluster"
                  }
                }
              ],
              "name": "virtualInbound"
            }
          ],
          "listener_filters": [
            {
              "name": "envoy.filters.listener.original_dst",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
              }
            },
            {
              "filter_disabled": {
                "destination_port_range": {
                  "end": 15007,
                  "start": 15006
                }
              },
              "name": "envoy.filters.listener.tls_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                "initial_read_buffer_size": 512
              }
            },
            {
              "filter_disabled": {
                "destination_port_range": {
                  "end": 15007,
                  "start": 15006
                }
              },
              "name": "envoy.filters.listener.http_inspector",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
              }
            }
          ],
          "listener_filters_timeout": "0s",
          "max_connections_to_accept_per_socket_event": 1,
          "name": "virtualInbound",
          "traffic_direction": "INBOUND"
        }"#]].assert_eq(&listener(&encode_virtual_inbound(&[], Duration::ZERO)));
}

/// The chains of the ports alone, because the others are those of an application without ports.
#[test]
fn virtual_inbound_chains_of_a_port_of_each_sort() {
    let ports = [inbound(8080, Protocol::Http2), inbound(8081, Protocol::Unknown), inbound(8082, Protocol::Tls)];
    let json = crate::encode::testing::json_of(ResourceType::Listener, &encode_virtual_inbound(&ports, Duration::ZERO));
    let chains = json["filter_chains"].as_array().unwrap();
    let of_ports: Vec<_> =
        chains.iter().filter(|chain| chain["name"].as_str().unwrap().starts_with("0.0.0.0_")).collect();
    expect![[r#"
        [
          {
            "filter_chain_match": {
              "destination_port": 8080,
              "transport_protocol": "raw_buffer"
            },
            "filters": [
              {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                  "http2_protocol_options": {},
                  "http_filters": [
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
                  "route_config": {
                    "name": "inbound|8080||",
                    "validate_clusters": false,
                    "virtual_hosts": [
                      {
                        "domains": [
                          "*"
                        ],
                        "name": "inbound|http|80",
                        "routes": [
                          {
                            "decorator": {
                              "operation": "a.x:80/*"
                            },
                            "match": {
                              "prefix": "/"
                            },
                            "name": "default",
                            "route": {
                              "cluster": "inbound|8080||",
                              "max_stream_duration": {
                                "grpc_timeout_header_max": "0s",
                                "max_stream_duration": "0s"
                              },
                              "timeout": "0s"
                            }
                          }
                        ]
                      }
                    ]
                  },
                  "stat_prefix": "inbound_0.0.0.0_8080;",
                  "stream_idle_timeout": "0s",
                  "upgrade_configs": [
                    {
                      "upgrade_type": "websocket"
                    }
                  ],
                  "use_remote_address": false
                }
              }
            ],
            "name": "0.0.0.0_8080"
          },
          {
            "filter_chain_match": {
              "application_protocols": [
                "http/1.1",
                "h2c"
              ],
              "destination_port": 8081,
              "transport_protocol": "raw_buffer"
            },
            "filters": [
              {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                  "http_filters": [
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
                  "route_config": {
                    "name": "inbound|8081||",
                    "validate_clusters": false,
                    "virtual_hosts": [
                      {
                        "domains": [
                          "*"
                        ],
                        "name": "inbound|http|80",
                        "routes": [
                          {
                            "decorator": {
                              "operation": "a.x:80/*"
                            },
                            "match": {
                              "prefix": "/"
                            },
                            "name": "default",
                            "route": {
                              "cluster": "inbound|8081||",
                              "max_stream_duration": {
                                "grpc_timeout_header_max": "0s",
                                "max_stream_duration": "0s"
                              },
                              "retry_policy": {
                                "num_retries": 2,
                                "retry_on": "reset-before-request"
                              },
                              "timeout": "0s"
                            }
                          }
                        ]
                      }
                    ]
                  },
                  "stat_prefix": "inbound_0.0.0.0_8081;",
                  "stream_idle_timeout": "0s",
                  "upgrade_configs": [
                    {
                      "upgrade_type": "websocket"
                    }
                  ],
                  "use_remote_address": false
                }
              }
            ],
            "name": "0.0.0.0_8081"
          },
          {
            "filter_chain_match": {
              "destination_port": 8081,
              "transport_protocol": "raw_buffer"
            },
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "inbound|8081||",
                  "stat_prefix": "inbound|8081||"
                }
              }
            ],
            "name": "0.0.0.0_8081"
          },
          {
            "filter_chain_match": {
              "destination_port": 8081,
              "transport_protocol": "tls"
            },
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "inbound|8081||",
                  "stat_prefix": "inbound|8081||"
                }
              }
            ],
            "name": "0.0.0.0_8081"
          },
          {
            "filter_chain_match": {
              "destination_port": 8082,
              "transport_protocol": "tls"
            },
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "inbound|8082||",
                  "stat_prefix": "inbound|8082||"
                }
              }
            ],
            "name": "0.0.0.0_8082"
          },
          {
            "filter_chain_match": {
              "destination_port": 8082,
              "transport_protocol": "raw_buffer"
            },
            "filters": [
              {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                  "cluster": "inbound|8082||",
                  "stat_prefix": "inbound|8082||"
                }
              }
            ],
            "name": "0.0.0.0_8082"
          }
        ]"#]].assert_eq(&serde_json::to_string_pretty(&of_ports).unwrap());
    expect![[r#"
        [
          {
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            }
          },
          {
            "filter_disabled": {
              "destination_port_range": {
                "end": 15007,
                "start": 15006
              }
            },
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
              "initial_read_buffer_size": 512
            }
          },
          {
            "filter_disabled": {
              "or_match": {
                "rules": [
                  {
                    "destination_port_range": {
                      "end": 8081,
                      "start": 8080
                    }
                  },
                  {
                    "destination_port_range": {
                      "end": 8083,
                      "start": 8082
                    }
                  },
                  {
                    "destination_port_range": {
                      "end": 15007,
                      "start": 15006
                    }
                  }
                ]
              }
            },
            "name": "envoy.filters.listener.http_inspector",
            "typed_config": {
              "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&json["listener_filters"]).unwrap());
}

#[test]
fn bound_listener_of_routes() {
    let listener_of_routes = encode_bound("10.0.0.1".parse().unwrap(), 80, &BoundListener::Routes("80".into()));
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.0.0.1",
              "port_value": 80
            }
          },
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "envoy.filters.network.http_connection_manager",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
                      "route_config_name": "80"
                    },
                    "stat_prefix": "outbound_10.0.0.1_80;",
                    "stream_idle_timeout": "0s",
                    "upgrade_configs": [
                      {
                        "upgrade_type": "websocket"
                      }
                    ],
                    "use_remote_address": false
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "name": "10.0.0.1_80",
          "traffic_direction": "OUTBOUND"
        }"#]].assert_eq(&listener(&listener_of_routes));
}

#[test]
fn bound_listener_of_tcp() {
    let tcp = BoundListener::cluster("outbound|3306||db.x");
    let listener_of_tcp = encode_bound("10.0.0.1".parse().unwrap(), 3306, &tcp);
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.0.0.1",
              "port_value": 3306
            }
          },
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "envoy.filters.network.tcp_proxy",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "cluster": "outbound|3306||db.x",
                    "stat_prefix": "outbound|3306||db.x"
                  }
                }
              ],
              "transport_socket_connect_timeout": "15s"
            }
          ],
          "name": "10.0.0.1_3306",
          "traffic_direction": "OUTBOUND"
        }"#]]
    .assert_eq(&listener(&listener_of_tcp));
}

#[test]
fn listener_of_a_grpc_client() {
    let table = RouteTableName::Grpc(ClusterName::outbound(80, &"a.x".parse().unwrap()));
    expect![[r#"
        {
          "api_listener": {
            "api_listener": {
              "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              "http_filters": [
                {
                  "name": "envoy.filters.http.fault",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
                  }
                },
                {
                  "name": "envoy.filters.http.router",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                  }
                }
              ],
              "rds": {
                "config_source": {
                  "ads": {},
                  "initial_fetch_timeout": "0s",
                  "resource_api_version": "V3"
                },
                "route_config_name": "outbound|80||a.x"
              }
            }
          },
          "name": "a.x:80"
        }"#]].assert_eq(&listener(&encode_grpc_client("a.x", 80, &table)));
}

#[test]
fn listener_of_a_grpc_server() {
    let server = encode_grpc_server("xds.istio.io/grpc/lds/inbound/10.0.0.1:7070").unwrap();
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.0.0.1",
              "port_value": 7070
            }
          },
          "filter_chains": [
            {
              "filters": [
                {
                  "name": "inbound",
                  "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "http_filters": [
                      {
                        "name": "envoy.filters.http.router",
                        "typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                        }
                      }
                    ],
                    "route_config": {
                      "virtual_hosts": [
                        {
                          "domains": [
                            "*"
                          ],
                          "routes": [
                            {
                              "match": {
                                "prefix": "/"
                              },
                              "non_forwarding_action": {}
                            }
                          ]
                        }
                      ]
                    }
                  }
                }
              ],
              "name": "inbound"
            }
          ],
          "name": "xds.istio.io/grpc/lds/inbound/10.0.0.1:7070",
          "traffic_direction": "INBOUND"
        }"#]].assert_eq(&listener(&server));
}
