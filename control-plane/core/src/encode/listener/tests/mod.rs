mod gateway;
mod whole_messages;

use std::net::SocketAddr;
use std::time::Duration;

use expect_test::expect;
use rutter_api::{ClusterName, RouteTableName};
use serde_json::Value;

use super::*;
use crate::encode::testing::{json_of, pretty};
use crate::model::Protocol;
use crate::model::UnknownTraffic;

/// Returns a line for each filter chain of a listener: which connections it takes, and what is in it.
fn chains(listener: &EncodedResource) -> String {
    let json = json_of(ResourceType::Listener, listener);
    let chains = json["filter_chains"].as_array().cloned().unwrap_or_default();
    let default = json.get("default_filter_chain").cloned();
    let lines = chains.iter().chain(&default).map(|chain| {
        let filter = &chain["filters"][0]["typed_config"];
        let target = filter.get("cluster").or_else(|| filter["rds"].get("route_config_name"));
        let target = target.or_else(|| filter["route_config"].get("name"));
        let chain_match = chain.get("filter_chain_match").map_or("any".to_owned(), Value::to_string);
        format!("{chain_match} -> {}", target.unwrap_or(&Value::Null))
    });
    let filters = json["listener_filters"].as_array().cloned().unwrap_or_default();
    let filters: Vec<String> = filters.iter().map(|filter| filter["name"].to_string()).collect();
    let head = format!("{} [{}]", listener.name, filters.join(", "));
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}

fn to(cluster: &str) -> ConnectionTarget {
    ConnectionTarget::cluster(cluster)
}

fn inbound(port: u16, protocol: Protocol) -> InboundPort {
    InboundPort { port, service_port: 80, protocol, host: "a.x".into(), tls: None }
}

#[test]
fn an_outbound_port_divides_http_tls_by_name_and_the_rest() {
    let uses = OutboundPort {
        http: true,
        connections: [
            (ConnectionMatch::server_name("t.x"), to("to-t")),
            (
                ConnectionMatch { subnets: vec!["10.0.0.0/8".parse().unwrap()], ..ConnectionMatch::default() },
                to("to-net"),
            ),
            (ConnectionMatch::default(), to("to-tcp")),
        ]
        .into(),
    };
    let nothing = OutboundPort { http: true, ..OutboundPort::default() };
    let listeners = [
        encode_outbound_port(80, &uses, &UnknownTraffic::Passes.into()),
        encode_outbound_port(81, &nothing, &UnknownTraffic::Passes.into()),
        encode_outbound_port(82, &nothing, &UnknownTraffic::IsRefused.into()),
    ];
    expect![[r#"
        0.0.0.0_80 ["envoy.filters.listener.tls_inspector", "envoy.filters.listener.http_inspector"]
        {"application_protocols":["http/1.1","h2c"],"transport_protocol":"raw_buffer"} -> "80"
        {"prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]} -> "to-net"
        {"server_names":["t.x"]} -> "to-t"
        any -> "to-tcp"
        0.0.0.0_81 ["envoy.filters.listener.http_inspector"]
        {"application_protocols":["http/1.1","h2c"],"transport_protocol":"raw_buffer"} -> "81"
        any -> "PassthroughCluster"
        0.0.0.0_82 ["envoy.filters.listener.http_inspector"]
        {"application_protocols":["http/1.1","h2c"],"transport_protocol":"raw_buffer"} -> "82"
        any -> "BlackHoleCluster""#]]
    .assert_eq(&listeners.iter().map(chains).collect::<Vec<_>>().join("\n"));
}

#[test]
fn hosts_that_are_resolved_as_clients_name_them_need_the_name_of_a_connection() {
    let target = ConnectionTarget { port_of_named_host: Some(8443), ..to("to-named") };
    let connections = [(ConnectionMatch::default(), target)].into();
    let address = SocketAddr::new("10.9.0.1".parse().unwrap(), 443);
    let json = json_of(ResourceType::Listener, &encode_outbound_address(address, &connections, None, Duration::ZERO));
    assert_eq!(json["listener_filters"][0]["name"], "envoy.filters.listener.tls_inspector");
    let chain = json["filter_chains"].get(0).unwrap_or(&json["default_filter_chain"]);
    expect![[r#"{"name":"envoy.filters.network.sni_dynamic_forward_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig","dns_cache_config":{"dns_lookup_family":"V4_ONLY","name":"hosts-of-clients"},"port_value":8443}}"#]].assert_eq(&chain["filters"][0].to_string());
    assert_eq!(chain["filters"][1]["typed_config"]["cluster"], "to-named");
}

#[test]
fn a_virtual_address_has_a_listener_of_its_own() {
    let ip = "10.9.0.1".parse().unwrap();
    let table = RouteTableName::Port(80);
    let targets = [(ConnectionMatch::default(), to("to"))].into();
    let at = |port: u16, table: Option<&RouteTableName>| {
        encode_outbound_address(SocketAddr::new(ip, port), &targets, table, Duration::ZERO)
    };
    let listeners = [at(80, None), at(81, Some(&table))];
    expect![[r#"
        10.9.0.1_80 []
        any -> "to"
        10.9.0.1_81 ["envoy.filters.listener.http_inspector"]
        {"application_protocols":["http/1.1","h2c"],"transport_protocol":"raw_buffer"} -> "80"
        any -> "to""#]]
    .assert_eq(&listeners.iter().map(chains).collect::<Vec<_>>().join("\n"));
}

#[test]
fn everything_captured_arrives_at_one_listener_that_never_connects_to_itself() {
    let listeners =
        [UnknownTraffic::Passes, UnknownTraffic::IsRefused].map(|unknown| encode_virtual_outbound(&unknown.into()));
    expect![[r#"
        virtualOutbound []
        {"destination_port":15001} -> "BlackHoleCluster"
        any -> "PassthroughCluster"
        virtualOutbound []
        {"destination_port":15001} -> "BlackHoleCluster"
        any -> "BlackHoleCluster""#]]
    .assert_eq(&listeners.iter().map(chains).collect::<Vec<_>>().join("\n"));
}

#[test]
fn inbound_chains_follow_from_the_protocol_of_each_port() {
    let ports = [inbound(8080, Protocol::Http), inbound(8081, Protocol::Unknown), inbound(8082, Protocol::Tcp)];
    expect![[r#"
        virtualInbound ["envoy.filters.listener.original_dst", "envoy.filters.listener.tls_inspector", "envoy.filters.listener.http_inspector"]
        {"destination_port":15006} -> "BlackHoleCluster"
        {"application_protocols":["http/1.1","h2c"],"transport_protocol":"raw_buffer"} -> "InboundPassthroughCluster"
        {"transport_protocol":"raw_buffer"} -> "InboundPassthroughCluster"
        {"transport_protocol":"tls"} -> "InboundPassthroughCluster"
        {"destination_port":8080,"transport_protocol":"raw_buffer"} -> "inbound|8080||"
        {"application_protocols":["http/1.1","h2c"],"destination_port":8081,"transport_protocol":"raw_buffer"} -> "inbound|8081||"
        {"destination_port":8081,"transport_protocol":"raw_buffer"} -> "inbound|8081||"
        {"destination_port":8081,"transport_protocol":"tls"} -> "inbound|8081||"
        {"destination_port":8082,"transport_protocol":"tls"} -> "inbound|8082||"
        {"destination_port":8082,"transport_protocol":"raw_buffer"} -> "inbound|8082||""#]].assert_eq(&chains(&encode_virtual_inbound(&ports, Duration::ZERO)));
}

#[test]
fn an_inbound_listener_has_what_istio_gives_it() {
    let listener =
        encode_bound("10.0.0.1".parse().unwrap(), 8080, &BoundListener::Inbound(inbound(8080, Protocol::Grpc)));
    expect![[r#"
        {
          "address": {
            "socket_address": {
              "address": "10.0.0.1",
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
                    "stat_prefix": "inbound_10.0.0.1_8080;",
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
          "name": "10.0.0.1_8080",
          "traffic_direction": "INBOUND"
        }"#]].assert_eq(&pretty(ResourceType::Listener, &listener));
}

#[test]
fn bound_listeners_route_or_pass_on() {
    let ip = "10.0.0.1".parse().unwrap();
    let listeners = [
        encode_bound(ip, 80, &BoundListener::Routes("80".into())),
        encode_bound(ip, 81, &BoundListener::cluster("to")),
        encode_bound(ip, 82, &BoundListener::Inbound(inbound(82, Protocol::Tls))),
    ];
    expect![[r#"
        10.0.0.1_80 []
        any -> "80"
        10.0.0.1_81 []
        any -> "to"
        10.0.0.1_82 []
        any -> "inbound|82||""#]]
    .assert_eq(&listeners.iter().map(chains).collect::<Vec<_>>().join("\n"));
}

#[test]
fn grpc_listeners_are_called_as_the_library_asks() {
    let table = RouteTableName::Grpc(ClusterName::outbound(80, &"a.x".parse().unwrap()));
    let client = encode_grpc_client("a.x", 80, &table);
    let json = json_of(ResourceType::Listener, &client);
    let rds = &json["api_listener"]["api_listener"]["rds"]["route_config_name"];
    assert_eq!(format!("{} {rds}", client.name), r#"a.x:80 "outbound|80||a.x""#);
    let name = "xds.istio.io/grpc/lds/inbound/[::]:7070";
    let server = encode_grpc_server(name).unwrap();
    let address = &json_of(ResourceType::Listener, &server)["address"]["socket_address"]["port_value"];
    assert_eq!((&*server.name, address.as_u64()), (name, Some(7070)));
    for other in ["virtualInbound", "a.x:80", "xds.istio.io/grpc/lds/inbound/a.x:80"] {
        assert!(encode_grpc_server(other).is_none(), "{other}");
    }
}
