//! Where connections go whose content is not looked at, and which of them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rutter_api::config::istio::ConsistentHash;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::{ClusterName, Config};

use super::chains::{ConnectionTarget, tcp_chain};
use crate::encode::wire::{istio_metadata, text_value};
use crate::model::{ConnectionRoute, Policy, Service};

/// The connections that a filter chain takes. The empty one takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionMatch {
    /// The host that the client names in TLS, perhaps a wildcard. `None` means any, or none.
    pub server_name: Option<String>,
    /// The addresses that the connection is for. Empty means any.
    pub subnets: Vec<IpNet>,
}

impl ConnectionMatch {
    /// Returns the match of TLS connections that name a host.
    pub fn server_name(name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..Self::default() }
    }
}

/// Where the connections to a port go, by what is known of them. The more specific match counts.
pub type ConnectionTargets = BTreeMap<ConnectionMatch, ConnectionTarget>;

/// Returns where connections go that all go to their own service, under its policy.
pub fn target_of_service(service: &Service, cluster: &ClusterName, policy: &Policy<'_>) -> ConnectionTarget {
    ConnectionTarget {
        port_of_named_host: service.port_of_named_host(cluster.port),
        idle_timeout: policy.connection_pool.and_then(|pool| pool.tcp.idle_timeout),
        hashes_source_ip: policy.consistent_hash().is_some_and(hashes_source_ip),
        ..ConnectionTarget::cluster(cluster.to_string())
    }
}

fn hashes_source_ip(hash: &ConsistentHash) -> bool {
    hash.use_source_ip == Some(true)
}

/// Returns where the connections that some rules take go. Of two rules for the same connections the first counts.
pub fn targets_of_routes(routes: &[ConnectionRoute<'_>], virtual_service: &Config) -> ConnectionTargets {
    let mut targets = ConnectionTargets::new();
    for route in routes {
        let clusters = route.clusters.iter().map(|cluster| (cluster.name.to_string(), cluster.weight)).collect();
        let target = ConnectionTarget {
            clusters,
            source: Some(virtual_service.key.clone()),
            idle_timeout: route.clusters.iter().find_map(|cluster| cluster.idle_timeout),
            // As in Istio: several clusters would all have to be proxies.
            tunnel: if let [only] = &route.clusters[..] { only.tunnel.clone() } else { None },
            port_of_named_host: route.clusters.iter().find_map(|cluster| cluster.port_of_named_host),
            hashes_source_ip: route.clusters.iter().filter_map(|cluster| cluster.hash.as_ref()).any(hashes_source_ip),
        };
        let names = route.server_names.iter().map(|name| Some(name.to_string()));
        let names: Vec<Option<String>> = if route.server_names.is_empty() { vec![None] } else { names.collect() };
        for server_name in names {
            let connection_match = ConnectionMatch { server_name, subnets: route.subnets.to_vec() };
            targets.entry(connection_match).or_insert_with(|| target.clone());
        }
    }
    targets
}

/// Returns the chain that takes some connections to where they go.
pub(super) fn connection_chain(connection_match: &ConnectionMatch, target: &ConnectionTarget) -> pb::FilterChain {
    let ConnectionMatch { server_name, subnets } = connection_match;
    let chain_match = (*connection_match != ConnectionMatch::default()).then(|| pb::FilterChainMatch {
        server_names: server_name.iter().cloned().collect(),
        prefix_ranges: subnets.iter().map(prefix_range).collect(),
        ..Default::default()
    });
    let config = target.source.as_ref().map(|key| vec![("config", text_value(&key.metadata_path()))]);
    pb::FilterChain { filter_chain_match: chain_match, metadata: config.map(istio_metadata), ..tcp_chain(target) }
}

fn prefix_range(subnet: &IpNet) -> core::CidrRange {
    core::CidrRange { address_prefix: subnet.addr().to_string(), prefix_len: Some(u32::from(subnet.prefix_len())) }
}

/// Returns whether the host that a client names in TLS has to be found out.
pub(super) fn names_servers(connections: &ConnectionTargets) -> bool {
    connections
        .iter()
        .any(|(connection_match, target)| connection_match.server_name.is_some() || target.port_of_named_host.is_some())
}
