//! What each field of a route comes to, as a whole route, so that a change of any field is seen as a change of this file.

#![expect(clippy::too_many_lines, reason = "most of it is expected output")]

use expect_test::{Expect, expect};
use rutter_api::ResourceType;

use super::{SERVICE, encode, inputs, virtual_service};
use crate::client::RouteTableForm;
use crate::encode::route::encode_virtual_host;
use crate::encode::testing::json_of;

/// Compares the first route that some HTTP routes come to, without what every route has.
fn check(http: &str, want: Expect) {
    let resource = encode(&format!("{SERVICE}{}", virtual_service(http)), RouteTableForm::Split);
    let mut json = json_of(ResourceType::VirtualHost, &resource);
    let route = json["routes"][0].as_object_mut().unwrap();
    route.remove("metadata");
    route.remove("decorator");
    want.assert_eq(&serde_json::to_string_pretty(&route).unwrap());
}

const TO_A: &str = "route: [{destination: {host: a}}]";

#[test]
fn conditions() {
    check(
        &format!(
            "{{match: [{{uri: {{regex: '/[a-z]+'}}, method: {{exact: GET}}, scheme: {{prefix: http}}, authority: {{regex: 'a.*'}}, \
             headers: {{x-a: {{exact: b}}, x-there: {{}}}}, withoutHeaders: {{x-b: {{prefix: c}}, x-c: {{}}}}, \
             queryParams: {{q: {{exact: '1'}}, r: {{}}}}, statPrefix: counted}}], {TO_A}}}"
        ),
        expect![[r#"
            {
              "match": {
                "case_sensitive": true,
                "headers": [
                  {
                    "name": "x-a",
                    "string_match": {
                      "exact": "b"
                    }
                  },
                  {
                    "name": "x-there",
                    "present_match": true
                  },
                  {
                    "invert_match": true,
                    "name": "x-b",
                    "string_match": {
                      "prefix": "c"
                    },
                    "treat_missing_header_as_empty": true
                  },
                  {
                    "invert_match": true,
                    "name": "x-c",
                    "present_match": true
                  },
                  {
                    "name": ":method",
                    "string_match": {
                      "exact": "GET"
                    }
                  },
                  {
                    "name": ":authority",
                    "string_match": {
                      "safe_regex": {
                        "regex": "a.*"
                      }
                    }
                  },
                  {
                    "name": ":scheme",
                    "string_match": {
                      "prefix": "http"
                    }
                  }
                ],
                "query_parameters": [
                  {
                    "name": "q",
                    "string_match": {
                      "exact": "1"
                    }
                  },
                  {
                    "name": "r",
                    "present_match": true
                  }
                ],
                "safe_regex": {
                  "regex": "/[a-z]+"
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
              },
              "stat_prefix": "counted"
            }"#]],
    );
}

#[test]
fn retries_and_time_limits() {
    check(
        &format!(
            "{{timeout: 3s, retries: {{attempts: 4, perTryTimeout: 1s, retryOn: 'reset,503', backoff: 10ms, \
             retryRemoteLocalities: true, retryIgnorePreviousHosts: false}}, {TO_A}}}"
        ),
        expect![[r#"
            {
              "match": {
                "prefix": "/"
              },
              "route": {
                "cluster": "outbound|80||a.default.svc.cluster.local",
                "max_grpc_timeout": "3s",
                "retry_policy": {
                  "host_selection_retry_max_attempts": "5",
                  "num_retries": 4,
                  "per_try_timeout": "1s",
                  "retriable_status_codes": [
                    503
                  ],
                  "retry_back_off": {
                    "base_interval": "0.010s"
                  },
                  "retry_on": "reset,retriable-status-codes",
                  "retry_priority": {
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {
                      "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                      "update_frequency": 2
                    }
                  }
                },
                "timeout": "3s"
              }
            }"#]],
    );
    check(
        &format!("{{retries: {{attempts: 0}}, {TO_A}}}"),
        expect![[r#"
        {
          "match": {
            "prefix": "/"
          },
          "route": {
            "cluster": "outbound|80||a.default.svc.cluster.local",
            "max_stream_duration": {
              "grpc_timeout_header_max": "0s"
            },
            "timeout": "0s"
          }
        }"#]],
    );
}

#[test]
fn rewrites_copies_and_headers() {
    check(
        "{rewrite: {uri: /b, authority: c}, mirrors: [{destination: {host: a}, percentage: {value: 0.5}}], \
         headers: {request: {set: {x-a: b}, add: {x-c: d}, remove: [x-e]}}, \
         route: [{destination: {host: a}, headers: {response: {set: {x-f: g}}}}]}",
        expect![[r#"
            {
              "match": {
                "prefix": "/"
              },
              "request_headers_to_add": [
                {
                  "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                  "header": {
                    "key": "x-a",
                    "value": "b"
                  }
                },
                {
                  "header": {
                    "key": "x-c",
                    "value": "d"
                  }
                }
              ],
              "request_headers_to_remove": [
                "x-e"
              ],
              "response_headers_to_add": [
                {
                  "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                  "header": {
                    "key": "x-f",
                    "value": "g"
                  }
                }
              ],
              "route": {
                "cluster": "outbound|80||a.default.svc.cluster.local",
                "host_rewrite_literal": "c",
                "max_stream_duration": {
                  "grpc_timeout_header_max": "0s"
                },
                "prefix_rewrite": "/b",
                "request_mirror_policies": [
                  {
                    "cluster": "outbound|80||a.default.svc.cluster.local",
                    "disable_shadow_host_suffix_append": true,
                    "runtime_fraction": {
                      "default_value": {
                        "denominator": "MILLION",
                        "numerator": 5000
                      }
                    },
                    "trace_sampled": false
                  }
                ],
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
            }"#]],
    );
    check(
        "{rewrite: {uriRegexRewrite: {match: '^/a', rewrite: /b}}, headers: {request: {set: {host: h}}}, \
         route: [{destination: {host: a}, weight: 1}, {destination: {host: gone.x}, weight: 2, \
         headers: {request: {remove: [x-a]}}}]}",
        expect![[r#"
            {
              "match": {
                "prefix": "/"
              },
              "route": {
                "host_rewrite_literal": "h",
                "max_stream_duration": {
                  "grpc_timeout_header_max": "0s"
                },
                "regex_rewrite": {
                  "pattern": {
                    "regex": "^/a"
                  },
                  "substitution": "/b"
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
                "timeout": "0s",
                "weighted_clusters": {
                  "clusters": [
                    {
                      "name": "outbound|80||a.default.svc.cluster.local",
                      "weight": 1
                    },
                    {
                      "name": "outbound|80||gone.x",
                      "request_headers_to_remove": [
                        "x-a"
                      ],
                      "weight": 2
                    }
                  ]
                }
              }
            }"#]],
    );
}

#[test]
fn answers_of_the_proxy() {
    check(
        "{redirect: {uri: /b, authority: c, scheme: https, redirectCode: 307}}",
        expect![[r#"
        {
          "match": {
            "prefix": "/"
          },
          "redirect": {
            "host_redirect": "c",
            "path_redirect": "/b",
            "response_code": "TEMPORARY_REDIRECT",
            "scheme_redirect": "https"
          }
        }"#]],
    );
    check(
        "{redirect: {derivePort: FROM_REQUEST_PORT}}",
        expect![[r#"
        {
          "match": {
            "prefix": "/"
          },
          "redirect": {
            "port_redirect": 80
          }
        }"#]],
    );
    check(
        "{directResponse: {status: 418, body: {string: tea}}}",
        expect![[r#"
        {
          "direct_response": {
            "body": {
              "inline_string": "tea"
            },
            "status": 418
          },
          "match": {
            "prefix": "/"
          }
        }"#]],
    );
    check(
        "{directResponse: {status: 200, body: {bytes: YQ==}}}",
        expect![[r#"
        {
          "direct_response": {
            "body": {
              "inline_bytes": "YQ=="
            },
            "status": 200
          },
          "match": {
            "prefix": "/"
          }
        }"#]],
    );
}

#[test]
fn faults_and_other_origins() {
    check(
        &format!(
            "{{fault: {{delay: {{fixedDelay: 1s, percentage: {{value: 0.1}}}}, abort: {{grpcStatus: UNAVAILABLE}}}}, \
             corsPolicy: {{allowOrigins: [{{exact: a}}, {{regex: b}}], allowMethods: [GET, PUT], allowHeaders: [x-a], \
             exposeHeaders: [x-b], maxAge: 1m, allowCredentials: false, unmatchedPreflights: IGNORE}}, {TO_A}}}"
        ),
        expect![[r#"
            {
              "match": {
                "prefix": "/"
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
              },
              "typed_per_filter_config": {
                "envoy.filters.http.cors": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
                  "allow_credentials": false,
                  "allow_headers": "x-a",
                  "allow_methods": "GET,PUT",
                  "allow_origin_string_match": [
                    {
                      "exact": "a"
                    },
                    {
                      "safe_regex": {
                        "regex": "b"
                      }
                    }
                  ],
                  "expose_headers": "x-b",
                  "filter_enabled": {
                    "default_value": {
                      "numerator": 100
                    }
                  },
                  "forward_not_matching_preflights": false,
                  "max_age": "60"
                },
                "envoy.filters.http.fault": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                  "abort": {
                    "grpc_status": 14,
                    "percentage": {
                      "numerator": 100
                    }
                  },
                  "delay": {
                    "fixed_delay": "1s",
                    "percentage": {
                      "denominator": "MILLION",
                      "numerator": 1000
                    }
                  }
                }
              }
            }"#]],
    );
}

#[test]
fn hashes_of_requests() {
    for (hash, want) in [
        ("httpCookie: {name: c, ttl: 60s, path: /}", r#"[{"cookie":{"name":"c","path":"/","ttl":"60s"}}]"#),
        (
            "httpCookie: {name: c, ttl: 0s, attributes: [{name: Secure}, {name: SameSite, value: Lax}]}",
            r#"[{"cookie":{"attributes":[{"name":"Secure"},{"name":"SameSite","value":"Lax"}],"name":"c","ttl":"0s"}}]"#,
        ),
        ("httpHeaderName: x-a", r#"[{"header":{"header_name":"x-a"}}]"#),
        ("httpQueryParameterName: q", r#"[{"query_parameter":{"name":"q"}}]"#),
        ("useSourceIp: true", r#"[{"connection_properties":{"source_ip":true}}]"#),
    ] {
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\n\
             spec: {{host: a, trafficPolicy: {{loadBalancer: {{consistentHash: {{{hash}}}}}}}}}\n---\n"
        );
        let resource = encode_virtual_host(&inputs(&format!("{SERVICE}{rule}"), RouteTableForm::Split));
        let route = json_of(ResourceType::VirtualHost, &resource)["routes"][0]["route"].clone();
        assert_eq!(route["hash_policy"].to_string(), want);
        assert!(route["retry_policy"].get("retry_host_predicate").is_none(), "the same endpoint is tried again");
    }
}
