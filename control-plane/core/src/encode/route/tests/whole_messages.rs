//! Every sort of route table in full, so that a change of any field is seen as a change of this file.

use expect_test::expect;
use rutter_api::ResourceType;

use super::{SERVICE, encode, inputs, virtual_service};
use crate::client::RouteTableForm;
use crate::encode::route::*;
use crate::encode::testing::pretty;
use crate::model::UnknownTraffic;

#[test]
fn head_of_a_port_that_lets_unknown_hosts_pass() {
    expect![[r#"
        {
          "ignore_port_in_host_matching": true,
          "max_direct_response_body_size_bytes": 1048576,
          "name": "80",
          "validate_clusters": false,
          "vhds": {
            "config_source": {
              "ads": {},
              "initial_fetch_timeout": "0s",
              "resource_api_version": "V3"
            }
          },
          "virtual_hosts": [
            {
              "domains": [
                "*"
              ],
              "include_request_attempt_count": true,
              "name": "allow_any",
              "routes": [
                {
                  "match": {
                    "prefix": "/"
                  },
                  "name": "allow_any",
                  "route": {
                    "cluster": "PassthroughCluster",
                    "max_stream_duration": {
                      "grpc_timeout_header_max": "0s"
                    },
                    "timeout": "0s"
                  }
                }
              ]
            }
          ]
        }"#]]
    .assert_eq(&pretty(ResourceType::Route, &encode_head(80, &UnknownTraffic::Passes)));
}

#[test]
fn head_of_a_port_that_refuses_unknown_hosts() {
    expect![[r#"
        {
          "ignore_port_in_host_matching": true,
          "max_direct_response_body_size_bytes": 1048576,
          "name": "80",
          "validate_clusters": false,
          "vhds": {
            "config_source": {
              "ads": {},
              "initial_fetch_timeout": "0s",
              "resource_api_version": "V3"
            }
          },
          "virtual_hosts": [
            {
              "domains": [
                "*"
              ],
              "include_request_attempt_count": true,
              "name": "block_all",
              "routes": [
                {
                  "direct_response": {
                    "body": {
                      "inline_string": "rutter: no service of this name is in this sidecar's scope\n"
                    },
                    "status": 502
                  },
                  "match": {
                    "prefix": "/"
                  },
                  "name": "block_all"
                }
              ]
            }
          ]
        }"#]]
    .assert_eq(&pretty(ResourceType::Route, &encode_head(80, &UnknownTraffic::IsRefused)));
}

#[test]
fn whole_table_of_a_port() {
    let virtual_host = encode(SERVICE, RouteTableForm::Whole);
    let table = encode_table(80, std::iter::once(&virtual_host), &UnknownTraffic::Passes);
    expect![[r#"
        {
          "ignore_port_in_host_matching": true,
          "max_direct_response_body_size_bytes": 1048576,
          "name": "80",
          "validate_clusters": false,
          "virtual_hosts": [
            {
              "domains": [
                "a.default.svc.cluster.local",
                "a.default.svc.cluster.local.",
                "a.default",
                "a.default.svc",
                "10.9.0.1"
              ],
              "include_request_attempt_count": true,
              "name": "a.default.svc.cluster.local:80",
              "routes": [
                {
                  "decorator": {
                    "operation": "a.default.svc.cluster.local:80/*"
                  },
                  "match": {
                    "prefix": "/"
                  },
                  "name": "default",
                  "route": {
                    "cluster": "outbound|80||a.default.svc.cluster.local",
                    "max_stream_duration": {
                      "grpc_timeout_header_max": "0s"
                    },
                    "retry_policy": {
                      "host_selection_retry_max_attempts": "5",
                      "num_retries": 2,
                      "retry_host_predicate": [
                        {
                          "name": "envoy.retry_host_predicates.previous_hosts",
                          "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                          }
                        }
                      ],
                      "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                    },
                    "timeout": "0s"
                  }
                }
              ]
            },
            {
              "domains": [
                "*"
              ],
              "include_request_attempt_count": true,
              "name": "allow_any",
              "routes": [
                {
                  "match": {
                    "prefix": "/"
                  },
                  "name": "allow_any",
                  "route": {
                    "cluster": "PassthroughCluster",
                    "max_stream_duration": {
                      "grpc_timeout_header_max": "0s"
                    },
                    "timeout": "0s"
                  }
                }
              ]
            }
          ]
        }"#]].assert_eq(&pretty(ResourceType::Route, &table));
}

#[test]
fn table_of_one_service() {
    expect![[r#"
        {
          "ignore_port_in_host_matching": true,
          "max_direct_response_body_size_bytes": 1048576,
          "name": "a.default.svc.cluster.local:80",
          "validate_clusters": false,
          "virtual_hosts": [
            {
              "domains": [
                "*"
              ],
              "include_request_attempt_count": true,
              "name": "a.default.svc.cluster.local:80",
              "routes": [
                {
                  "decorator": {
                    "operation": "a.default.svc.cluster.local:80/*"
                  },
                  "match": {
                    "prefix": "/"
                  },
                  "name": "default",
                  "route": {
                    "cluster": "outbound|80||a.default.svc.cluster.local",
                    "max_stream_duration": {
                      "grpc_timeout_header_max": "0s"
                    },
                    "retry_policy": {
                      "host_selection_retry_max_attempts": "5",
                      "num_retries": 2,
                      "retry_host_predicate": [
                        {
                          "name": "envoy.retry_host_predicates.previous_hosts",
                          "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                          }
                        }
                      ],
                      "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                    },
                    "timeout": "0s"
                  }
                }
              ]
            }
          ]
        }"#]].assert_eq(&pretty(ResourceType::Route, &encode_own_table(&inputs(SERVICE, RouteTableForm::Split))));
}

#[test]
fn table_for_the_grpc_library() {
    expect![[r#"
        {
          "name": "outbound|80||a.default.svc.cluster.local",
          "virtual_hosts": [
            {
              "domains": [
                "*"
              ],
              "include_request_attempt_count": true,
              "name": "a.default.svc.cluster.local:80",
              "routes": [
                {
                  "decorator": {
                    "operation": "a.default.svc.cluster.local:80/*"
                  },
                  "match": {
                    "prefix": "/"
                  },
                  "name": "default",
                  "route": {
                    "cluster": "outbound|80||a.default.svc.cluster.local",
                    "max_stream_duration": {
                      "grpc_timeout_header_max": "0s"
                    },
                    "retry_policy": {
                      "host_selection_retry_max_attempts": "5",
                      "num_retries": 2,
                      "retry_host_predicate": [
                        {
                          "name": "envoy.retry_host_predicates.previous_hosts",
                          "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                          }
                        }
                      ],
                      "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                    },
                    "timeout": "0s"
                  }
                }
              ]
            }
          ]
        }"#]].assert_eq(&pretty(ResourceType::Route, &encode(SERVICE, RouteTableForm::PerHost)));
}

#[test]
fn virtual_host_with_every_field_of_a_virtual_service() {
    let http = "{name: exact, timeout: 2s, \
                 match: [{uri: {exact: /login}, headers: {end-user: {exact: jason}}}, {uri: {prefix: /api}, headers: {x-a: {prefix: b}, x-b: {}}}], \
                 route: [{destination: {host: a, subset: v1, port: {number: 80}}, weight: 90}, {destination: {host: a, subset: v2}, weight: 10}]}, \
                {route: [{destination: {host: a}}]}";
    let virtual_host = encode(&format!("{SERVICE}{}", virtual_service(http)), RouteTableForm::Split);
    expect![[r#"
        {
          "domains": [
            "a.default.svc.cluster.local",
            "a.default.svc.cluster.local.",
            "a.default",
            "a.default.svc",
            "10.9.0.1"
          ],
          "include_request_attempt_count": true,
          "name": "80/a.default.svc.cluster.local:80",
          "routes": [
            {
              "decorator": {
                "operation": "a.default.svc.cluster.local:80/*"
              },
              "match": {
                "case_sensitive": true,
                "headers": [
                  {
                    "name": "end-user",
                    "string_match": {
                      "exact": "jason"
                    }
                  }
                ],
                "path": "/login"
              },
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/v"
                  }
                }
              },
              "name": "exact",
              "route": {
                "max_grpc_timeout": "2s",
                "retry_policy": {
                  "host_selection_retry_max_attempts": "5",
                  "num_retries": 2,
                  "retry_host_predicate": [
                    {
                      "name": "envoy.retry_host_predicates.previous_hosts",
                      "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                      }
                    }
                  ],
                  "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                },
                "timeout": "2s",
                "weighted_clusters": {
                  "clusters": [
                    {
                      "name": "outbound|80|v1|a.default.svc.cluster.local",
                      "weight": 90
                    },
                    {
                      "name": "outbound|80|v2|a.default.svc.cluster.local",
                      "weight": 10
                    }
                  ]
                }
              }
            },
            {
              "decorator": {
                "operation": "a.default.svc.cluster.local:80/*"
              },
              "match": {
                "case_sensitive": true,
                "headers": [
                  {
                    "name": "x-a",
                    "string_match": {
                      "prefix": "b"
                    }
                  },
                  {
                    "name": "x-b",
                    "present_match": true
                  }
                ],
                "prefix": "/api"
              },
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/v"
                  }
                }
              },
              "name": "exact",
              "route": {
                "max_grpc_timeout": "2s",
                "retry_policy": {
                  "host_selection_retry_max_attempts": "5",
                  "num_retries": 2,
                  "retry_host_predicate": [
                    {
                      "name": "envoy.retry_host_predicates.previous_hosts",
                      "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                      }
                    }
                  ],
                  "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                },
                "timeout": "2s",
                "weighted_clusters": {
                  "clusters": [
                    {
                      "name": "outbound|80|v1|a.default.svc.cluster.local",
                      "weight": 90
                    },
                    {
                      "name": "outbound|80|v2|a.default.svc.cluster.local",
                      "weight": 10
                    }
                  ]
                }
              }
            },
            {
              "decorator": {
                "operation": "a.default.svc.cluster.local:80/*"
              },
              "match": {
                "prefix": "/"
              },
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/v"
                  }
                }
              },
              "route": {
                "cluster": "outbound|80||a.default.svc.cluster.local",
                "max_stream_duration": {
                  "grpc_timeout_header_max": "0s"
                },
                "retry_policy": {
                  "host_selection_retry_max_attempts": "5",
                  "num_retries": 2,
                  "retry_host_predicate": [
                    {
                      "name": "envoy.retry_host_predicates.previous_hosts",
                      "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                      }
                    }
                  ],
                  "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                },
                "timeout": "0s"
              }
            }
          ]
        }"#]].assert_eq(&pretty(ResourceType::VirtualHost, &virtual_host));
}

#[test]
fn virtual_host_of_which_no_destination_is_seen() {
    let http = "{match: [{uri: {prefix: /gone}}], route: [{destination: {host: gone.x}}]}";
    let virtual_host = encode(&format!("{SERVICE}{}", virtual_service(http)), RouteTableForm::Split);
    expect![[r#"
        {
          "domains": [
            "a.default.svc.cluster.local",
            "a.default.svc.cluster.local.",
            "a.default",
            "a.default.svc",
            "10.9.0.1"
          ],
          "include_request_attempt_count": true,
          "name": "80/a.default.svc.cluster.local:80",
          "routes": [
            {
              "decorator": {
                "operation": "gone.x:80/*"
              },
              "direct_response": {
                "body": {
                  "inline_string": "rutter: virtualService default/v: no service gone.x in this sidecar's scope\n"
                },
                "status": 503
              },
              "match": {
                "case_sensitive": true,
                "prefix": "/gone"
              },
              "metadata": {
                "filter_metadata": {
                  "istio": {
                    "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/v"
                  }
                }
              }
            }
          ]
        }"#]]
    .assert_eq(&pretty(ResourceType::VirtualHost, &virtual_host));
}
