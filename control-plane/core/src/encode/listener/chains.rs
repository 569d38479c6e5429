//! Filter chains: what becomes of a connection once a listener has taken it.

use std::time::Duration;

use rutter_api::ConfigKey;
use rutter_api::config::istio::{Tunnel, TunnelProtocol};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use rutter_api::pb::envoy::r#type::v3::{HashPolicy, hash_policy};

use crate::encode::cluster::BLACK_HOLE;
use crate::encode::dns_cache::dns_cache;
use crate::encode::wire::any;

/// Istio's bound on the time in which a TLS connection is established.
const TRANSPORT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The type of the HTTP connection manager's config.
pub(super) const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Returns the chain that passes bytes on to a cluster, without a bound on the TLS handshake.
pub(super) fn bare_tcp_chain(cluster: &str) -> pb::FilterChain {
    tcp_proxy_chain(&tcp::TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    })
}

fn tcp_proxy_chain(proxy: &tcp::TcpProxy) -> pb::FilterChain {
    chain_of("envoy.filters.network.tcp_proxy", any("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy))
}

/// Where connections go: clusters by weight, and the VirtualService that says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionTarget {
    /// The clusters, at least one, each with its weight.
    pub clusters: Vec<(String, u32)>,
    /// The VirtualService. `None` means that the connections go to their own service.
    pub source: Option<ConfigKey>,
    /// How long a connection may be silent. `None` means Envoy's default, which is an hour.
    pub idle_timeout: Option<Duration>,
    /// Whether the address of the client is hashed to choose an endpoint.
    pub hashes_source_ip: bool,
    /// How the connections go through the clusters, which are HTTP proxies, to somewhere else.
    pub tunnel: Option<Tunnel>,
    /// The port at which the connections go to the host that the client names in TLS, of which DNS is asked. `None` means that
    /// they go to endpoints of the clusters.
    pub port_of_named_host: Option<u16>,
}

impl ConnectionTarget {
    /// Returns the target of connections that all go to one cluster.
    pub fn cluster(name: impl Into<String>) -> Self {
        let clusters = vec![(name.into(), 0)];
        Self {
            clusters,
            source: None,
            idle_timeout: None,
            hashes_source_ip: false,
            tunnel: None,
            port_of_named_host: None,
        }
    }
}

/// Returns the chain that passes bytes on to a cluster.
pub(super) fn cluster_chain(cluster: &str) -> pb::FilterChain {
    tcp_chain(&ConnectionTarget::cluster(cluster))
}

/// Returns the chain that passes bytes on to where a target says.
pub(super) fn tcp_chain(target: &ConnectionTarget) -> pb::FilterChain {
    let mut chain = tcp_proxy_chain(&tcp_proxy(target));
    chain.filters.splice(0..0, target.port_of_named_host.map(resolve_named_host));
    pb::FilterChain { transport_socket_connect_timeout: Some(to_pb(TRANSPORT_CONNECT_TIMEOUT)), ..chain }
}

fn tcp_proxy(target: &ConnectionTarget) -> tcp::TcpProxy {
    use tcp::tcp_proxy::ClusterSpecifier;
    let ConnectionTarget { clusters, source, idle_timeout, hashes_source_ip, tunnel, port_of_named_host: _ } = target;
    let (stat_prefix, specifier) = match &clusters[..] {
        [(only, _)] => (only.clone(), ClusterSpecifier::Cluster(only.clone())),
        several => {
            let several = several.iter().map(|(name, weight)| tcp::tcp_proxy::weighted_cluster::ClusterWeight {
                name: name.clone(),
                weight: *weight,
                ..Default::default()
            });
            let weighted = tcp::tcp_proxy::WeightedCluster { clusters: several.collect() };
            // Istio's name: that of the VirtualService.
            let name = source.as_ref().map(|key| format!("{}.{}", key.name, key.namespace)).unwrap_or_default();
            (name, ClusterSpecifier::WeightedClusters(weighted))
        }
    };
    let source_ip = hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {});
    let hash_policy = hashes_source_ip.then_some(HashPolicy { policy_specifier: Some(source_ip) });
    tcp::TcpProxy {
        stat_prefix,
        cluster_specifier: Some(specifier),
        idle_timeout: idle_timeout.map(to_pb),
        hash_policy: hash_policy.into_iter().collect(),
        tunneling_config: tunnel.as_ref().map(tunneling),
        ..Default::default()
    }
}

/// Returns the filter that asks DNS for the host that the client names in TLS.
fn resolve_named_host(port: u16) -> pb::Filter {
    let config = sni::FilterConfig {
        dns_cache_config: Some(dns_cache()),
        port_specifier: Some(sni::filter_config::PortSpecifier::PortValue(u32::from(port))),
        ..Default::default()
    };
    const NAME: &str = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig";
    filter("envoy.filters.network.sni_dynamic_forward_proxy", any(NAME, &config))
}

fn tunneling(tunnel: &Tunnel) -> tcp::tcp_proxy::TunnelingConfig {
    let Tunnel { protocol, target_host, target_port } = tunnel;
    let host = if target_host.contains(':') { format!("[{target_host}]") } else { target_host.clone() };
    tcp::tcp_proxy::TunnelingConfig {
        hostname: format!("{host}:{target_port}"),
        use_post: *protocol == TunnelProtocol::Post,
        ..Default::default()
    }
}

/// Returns the chain that takes HTTP apart.
pub(super) fn http_chain(manager: &hcm::HttpConnectionManager) -> pb::FilterChain {
    pb::FilterChain {
        transport_socket_connect_timeout: Some(to_pb(TRANSPORT_CONNECT_TIMEOUT)),
        ..chain_of("envoy.filters.network.http_connection_manager", any(MANAGER, manager))
    }
}

fn chain_of(filter_name: &str, config: prost_types::Any) -> pb::FilterChain {
    pb::FilterChain { filters: vec![filter(filter_name, config)], ..Default::default() }
}

fn filter(name: &str, config: prost_types::Any) -> pb::Filter {
    pb::Filter { name: name.to_owned(), config_type: Some(pb::filter::ConfigType::TypedConfig(config)) }
}

/// Returns a chain that takes only plain text which the HTTP inspector has found to be HTTP.
pub(super) fn only_plain_http(chain: pb::FilterChain) -> pb::FilterChain {
    let chain_match = pb::FilterChainMatch {
        transport_protocol: "raw_buffer".into(),
        application_protocols: vec!["http/1.1".into(), "h2c".into()],
        ..Default::default()
    };
    pb::FilterChain { filter_chain_match: Some(chain_match), ..chain }
}

/// Returns the chain for connections to the capture port itself, which would otherwise go round for ever.
pub(super) fn black_hole_chain(name: &str, port: u16) -> pb::FilterChain {
    let chain_match = pb::FilterChainMatch { destination_port: Some(u32::from(port)), ..Default::default() };
    pb::FilterChain { name: name.to_owned(), filter_chain_match: Some(chain_match), ..bare_tcp_chain(BLACK_HOLE) }
}
