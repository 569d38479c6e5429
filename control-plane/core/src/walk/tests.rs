use std::collections::BTreeMap;

use prost::Message;
use rutter_api::pb::envoy::config::cluster::v3 as cluster;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::endpoint::v3 as endpoint;
use rutter_api::pb::envoy::config::listener::v3 as listener;

use super::chain::{Connection, chosen};
use super::endpoints::{Choice, choice};
use super::*;

/// Resources of one type each by name.
#[derive(Default)]
struct Few(BTreeMap<(ResourceType, String), Vec<u8>>);

impl Resources for Few {
    fn body(&self, resource_type: ResourceType, name: &str) -> Option<Bytes> {
        self.0.get(&(resource_type, name.to_owned())).map(|body| body.clone().into())
    }

    fn for_each(&self, resource_type: ResourceType, prefix: &str, each: &mut dyn FnMut(&str, Bytes)) {
        let of_type = self.0.iter().filter(|((known, name), _)| *known == resource_type && name.starts_with(prefix));
        of_type.for_each(|((_, name), body)| each(name, body.clone().into()));
    }
}

fn chain(name: &str, matched: listener::FilterChainMatch) -> listener::FilterChain {
    listener::FilterChain { name: name.into(), filter_chain_match: Some(matched), ..Default::default() }
}

#[test]
fn the_most_specific_filter_chain_counts_and_nothing_goes_back() {
    let any = listener::FilterChainMatch::default;
    let range = |address: &str, bits: u32| core::CidrRange { address_prefix: address.into(), prefix_len: Some(bits) };
    let of_port = |port: u32| listener::FilterChainMatch { destination_port: Some(port), ..any() };
    let to =
        |address: &str, bits: u32| listener::FilterChainMatch { prefix_ranges: vec![range(address, bits)], ..any() };
    let named = |name: &str| listener::FilterChainMatch { server_names: vec![name.into()], ..any() };
    let tls = listener::FilterChainMatch { transport_protocol: "tls".into(), ..named("a.test") };
    let http = listener::FilterChainMatch { application_protocols: vec!["http/1.1".into()], ..any() };
    let listener = listener::Listener {
        filter_chains: vec![
            chain("rest", any()),
            chain("port", listener::FilterChainMatch { transport_protocol: "tls".into(), ..of_port(1) }),
            chain("wide", to("10.0.0.0", 8)),
            chain("near", to("10.1.0.0", 16)),
            chain("wild", named("*.test")),
            chain("tls", tls),
            chain("http", http),
        ],
        default_filter_chain: Some(chain("default", any())),
        ..Default::default()
    };
    let check = |address: &str, port: u16, name: Option<&str>, transport: &'static str, protocol: &str, want: &str| {
        let connection = Connection {
            address: address.parse().ok(),
            port,
            server_name: name,
            transport,
            protocols: vec![protocol.to_owned()],
        };
        assert_eq!(
            chosen(&listener, &connection).unwrap().name,
            want,
            "{address} {port} {name:?} {transport} {protocol}"
        );
    };
    check("9.9.9.9", 1, None, "tls", "", "port");
    check("9.9.9.9", 1, None, "raw_buffer", "", "default");
    check("9.9.9.9", 2, None, "raw_buffer", "", "rest");
    check("10.2.0.1", 2, None, "raw_buffer", "", "wide");
    check("10.1.0.1", 2, None, "raw_buffer", "", "near");
    check("10.1.0.1", 2, Some("a.test"), "tls", "", "near");
    check("", 2, Some("x.y.test"), "tls", "", "wild");
    check("", 2, Some("a.test"), "tls", "", "tls");
    // The chains of the name are for TLS alone, and those without a name are not gone back to.
    check("", 2, Some("a.test"), "raw_buffer", "", "default");
    check("", 2, None, "raw_buffer", "http/1.1", "http");
    check("", 2, None, "raw_buffer", "h2c", "rest");
}

fn group(priority: u32, weight: u32, healths: &[core::HealthStatus]) -> endpoint::LocalityLbEndpoints {
    let one = |(number, health): (usize, &core::HealthStatus)| {
        let address = core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: format!("10.{priority}.{weight}.{number}"),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
                ..Default::default()
            })),
        };
        let endpoint = endpoint::Endpoint { address: Some(address), ..Default::default() };
        endpoint::LbEndpoint {
            health_status: *health as i32,
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        }
    };
    endpoint::LocalityLbEndpoints {
        priority,
        load_balancing_weight: Some(weight),
        lb_endpoints: healths.iter().enumerate().map(one).collect(),
        ..Default::default()
    }
}

/// Returns the addresses that are used, each with its share in percent.
fn shares(groups: Vec<endpoint::LocalityLbEndpoints>, common: Option<cluster::cluster::CommonLbConfig>) -> Vec<String> {
    let assignment = endpoint::ClusterLoadAssignment { endpoints: groups, ..Default::default() };
    let resources = Few([((ResourceType::Endpoint, "c".to_owned()), assignment.encode_to_vec())].into());
    let cluster = cluster::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds as i32,
        )),
        common_lb_config: common,
        ..Default::default()
    };
    let Choice::Endpoints(endpoints) = choice(&cluster, &resources) else { panic!("endpoints") };
    endpoints.iter().map(|endpoint| format!("{} {:.1}", endpoint.address, endpoint.share * 100.0)).collect()
}

#[test]
fn healthy_endpoints_of_the_first_priorities_share_the_requests() {
    use core::HealthStatus::{Healthy, Unhealthy};
    assert_eq!(shares(vec![group(0, 1, &[Healthy]), group(1, 1, &[Healthy])], None), ["10.0.1.0:80 100.0"]);
    // Half of the first takes 70 %, because it may take 40 % more than its part.
    assert_eq!(
        shares(vec![group(0, 1, &[Healthy, Unhealthy]), group(1, 1, &[Healthy])], None),
        ["10.0.1.0:80 70.0", "10.1.1.0:80 30.0"]
    );
    // Below the threshold all are used, unless it is zero.
    let none = [group(0, 1, &[Unhealthy])];
    assert_eq!(shares(none.to_vec(), None), ["10.0.1.0:80 100.0"]);
    let zero =
        cluster::cluster::CommonLbConfig { healthy_panic_threshold: Some(Default::default()), ..Default::default() };
    assert!(shares(none.to_vec(), Some(zero)).is_empty());
    assert!(shares(Vec::new(), None).is_empty());
}

#[test]
fn localities_share_by_their_weights_where_the_cluster_says_so() {
    use cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    use core::HealthStatus::Unknown;
    let groups = || vec![group(0, 9, &[Unknown]), group(0, 1, &[Unknown, Unknown])];
    assert_eq!(shares(groups(), None), ["10.0.9.0:80 33.3", "10.0.1.0:80 33.3", "10.0.1.1:80 33.3"]);
    let by_locality = cluster::cluster::CommonLbConfig {
        locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})),
        ..Default::default()
    };
    assert_eq!(shares(groups(), Some(by_locality)), ["10.0.9.0:80 90.0", "10.0.1.0:80 5.0", "10.0.1.1:80 5.0"]);
}

#[test]
fn a_proxy_without_resources_closes_connections() {
    let arrival = |entry: Entry| Arrival { entry, address: None, port: 80, tls: None, request: None };
    let ended = |entry: Entry| {
        let outcome = walk(&Few::default(), &arrival(entry)).ends.remove(0).outcome;
        let Outcome::Closed { reason, .. } = outcome else { panic!("{outcome:?}") };
        reason
    };
    assert_eq!(ended(Entry::Bound), "the proxy does not listen at port 80, but at no address");
    assert_eq!(ended(Entry::Redirected("l".into())), "the proxy has no listener l");
    assert_eq!(ended(Entry::Named("l".into())), "there is no listener l");
}
