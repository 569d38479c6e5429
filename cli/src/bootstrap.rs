//! Bootstraps, by which a proxy connects to Rutter as the sidecar of a workload.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::args::{Bootstrap, Interception, Proxy};

/// Returns the bootstrap of a proxy as JSON.
pub(crate) fn print(wanted: &Bootstrap, namespace: &str) -> Result<String> {
    let (host, port) = wanted.xds.rsplit_once(':').context("--xds: want HOST:PORT")?;
    let port: u16 = port.parse().with_context(|| format!("--xds {}: want HOST:PORT", wanted.xds))?;
    let json = match (wanted.proxy, wanted.interception) {
        (Proxy::Envoy, _) => envoy(wanted, namespace, ControlPlane { host: host.trim_matches(['[', ']']), port }),
        (Proxy::Grpc, _) => grpc(wanted, namespace),
        (Proxy::Rutter, Interception::None) => rutter(wanted, namespace),
        (Proxy::Rutter, Interception::Redirect) => {
            bail!("--proxy rutter: want --interception none: it does not take captured traffic yet")
        }
    };
    Ok(serde_json::to_string_pretty(&json)?)
}

fn rutter(wanted: &Bootstrap, namespace: &str) -> Value {
    json!({"xds": wanted.xds, "admin": format!("127.0.0.1:{}", wanted.admin_port), "node": node(wanted, namespace)})
}

/// Returns the bootstrap of a gRPC library. It has Istio's names, so a client that is set up for istiod has the same.
fn grpc(wanted: &Bootstrap, namespace: &str) -> Value {
    let mut node = node(wanted, namespace);
    node["metadata"]["GENERATOR"] = "grpc".into();
    // grpc-js refuses a node without one.
    node["locality"] = json!({});
    json!({
        "xds_servers": [{
            "server_uri": wanted.xds,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": node,
        "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
    })
}

/// Returns the node with Istio's node id and metadata.
fn node(wanted: &Bootstrap, namespace: &str) -> Value {
    let labels: Map<String, Value> =
        wanted.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mode = match wanted.interception {
        Interception::Redirect => "REDIRECT",
        Interception::None => "NONE",
    };
    json!({
        "id": format!("sidecar~{}~{}.{namespace}~{namespace}.svc.cluster.local", wanted.ip, wanted.pod),
        "cluster": format!("{}.{namespace}", wanted.pod),
        "metadata": {
            "NAMESPACE": namespace,
            "LABELS": labels,
            "CLUSTER_ID": wanted.cluster_id,
            "INSTANCE_IPS": wanted.ip.to_string(),
            "INTERCEPTION_MODE": mode,
        },
    })
}

/// Where a proxy connects to.
struct ControlPlane<'a> {
    /// An IP address without brackets, or a DNS name.
    host: &'a str,
    port: u16,
}

/// Returns the bootstrap of an Envoy. It speaks delta ADS, and sends its node, which has 61 KB, in the first message
/// only. It keeps the connection alive with pings, so that a control plane that vanished is noticed within 40 s.
fn envoy(wanted: &Bootstrap, namespace: &str, ControlPlane { host, port }: ControlPlane<'_>) -> Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": node(wanted, namespace),
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": wanted.admin_port}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "rutter"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "rutter",
            "type": if host.parse::<std::net::IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                    }},
                },
            },
            "load_assignment": {"cluster_name": "rutter", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port}},
            }}]}]},
        }]},
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn envoy_bootstrap_names_the_workload_and_asks_for_deltas() {
        let line = "rutterctl bootstrap --proxy envoy --pod web-1 --ip 127.0.3.1 --label app=web --interception none --xds 127.0.0.1:9";
        let Command::Bootstrap(wanted) = Cli::parse_from(line.split(' ')).command else { panic!() };
        let json: Value = serde_json::from_str(&print(&wanted, "shop").unwrap()).unwrap();
        assert_eq!(json["node"]["id"], "sidecar~127.0.3.1~web-1.shop~shop.svc.cluster.local");
        assert_eq!(json["node"]["metadata"]["LABELS"], json!({"app": "web"}));
        assert_eq!(json["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
        assert_eq!(json["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"], true);
    }

    /// Returns the bootstrap that a command line asks for.
    fn printed(options: &str) -> Result<String> {
        let line = format!("rutterctl bootstrap --pod web-1 --ip 10.0.0.1 --label app=web {options}");
        let Command::Bootstrap(wanted) = Cli::parse_from(line.split(' ')).command else { panic!() };
        print(&wanted, "shop")
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "most of it is expected output")]
    fn bootstrap_of_a_captured_envoy() {
        expect![[r#"
            {
              "admin": {
                "address": {
                  "socket_address": {
                    "address": "127.0.0.1",
                    "port_value": 15000
                  }
                }
              },
              "dynamic_resources": {
                "ads_config": {
                  "api_type": "DELTA_GRPC",
                  "grpc_services": [
                    {
                      "envoy_grpc": {
                        "cluster_name": "rutter"
                      }
                    }
                  ],
                  "set_node_on_first_message_only": true,
                  "transport_api_version": "V3"
                },
                "cds_config": {
                  "ads": {},
                  "initial_fetch_timeout": "0s",
                  "resource_api_version": "V3"
                },
                "lds_config": {
                  "ads": {},
                  "initial_fetch_timeout": "0s",
                  "resource_api_version": "V3"
                }
              },
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "REDIRECT",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop"
                }
              },
              "static_resources": {
                "clusters": [
                  {
                    "connect_timeout": "1s",
                    "load_assignment": {
                      "cluster_name": "rutter",
                      "endpoints": [
                        {
                          "lb_endpoints": [
                            {
                              "endpoint": {
                                "address": {
                                  "socket_address": {
                                    "address": "127.0.0.1",
                                    "port_value": 15010
                                  }
                                }
                              }
                            }
                          ]
                        }
                      ]
                    },
                    "name": "rutter",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {
                          "http2_protocol_options": {
                            "connection_keepalive": {
                              "interval": "30s",
                              "timeout": "10s"
                            }
                          }
                        }
                      }
                    }
                  }
                ]
              }
            }"#]]
        .assert_eq(&printed("--proxy envoy").unwrap());
    }

    #[test]
    fn bootstrap_of_a_grpc_client() {
        expect![[r#"
            {
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "locality": {},
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "GENERATOR": "grpc",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "NONE",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop"
                }
              },
              "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
              "xds_servers": [
                {
                  "channel_creds": [
                    {
                      "type": "insecure"
                    }
                  ],
                  "server_features": [
                    "xds_v3"
                  ],
                  "server_uri": "rutter.mesh:15010"
                }
              ]
            }"#]]
        .assert_eq(&printed("--proxy grpc --interception none --xds rutter.mesh:15010").unwrap());
    }

    #[test]
    fn bootstrap_of_rutter_proxy() {
        expect![[r#"
            {
              "admin": "127.0.0.1:9901",
              "node": {
                "cluster": "web-1.shop",
                "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
                "metadata": {
                  "CLUSTER_ID": "Kubernetes",
                  "INSTANCE_IPS": "10.0.0.1",
                  "INTERCEPTION_MODE": "NONE",
                  "LABELS": {
                    "app": "web"
                  },
                  "NAMESPACE": "shop"
                }
              },
              "xds": "127.0.0.1:15010"
            }"#]]
        .assert_eq(&printed("--proxy rutter --interception none --admin-port 9901").unwrap());
    }

    #[test]
    fn an_envoy_asks_dns_for_a_control_plane_that_is_given_by_name() {
        let cluster = |xds: &str| {
            let json: Value = serde_json::from_str(&printed(&format!("--proxy envoy --xds {xds}")).unwrap()).unwrap();
            let cluster = &json["static_resources"]["clusters"][0];
            let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
            format!("{} {}", cluster["type"], endpoint["address"]["socket_address"])
        };
        assert_eq!(cluster("[fd00::1]:7"), r#""STATIC" {"address":"fd00::1","port_value":7}"#);
        assert_eq!(cluster("rutter.mesh:7"), r#""STRICT_DNS" {"address":"rutter.mesh","port_value":7}"#);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |options: &str| format!("{:#}", printed(options).unwrap_err());
        assert_eq!(refused("--proxy envoy --xds rutter"), "--xds: want HOST:PORT");
        assert!(refused("--proxy envoy --xds rutter:http").starts_with("--xds rutter:http: want HOST:PORT: "));
        let want = "--proxy rutter: want --interception none: it does not take captured traffic yet";
        assert_eq!(refused("--proxy rutter"), want);
    }
}
