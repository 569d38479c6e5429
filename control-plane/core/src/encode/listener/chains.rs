//! Filter chains: what becomes of a connection once a listener has taken it.

use std::time::Duration;

use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;

use crate::encode::cluster::BLACK_HOLE;
use crate::encode::wire::any;

/// Istio's bound on the time in which a TLS connection is established.
const TRANSPORT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The type of the HTTP connection manager's config.
pub(super) const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Returns the chain that passes bytes on to a cluster, without a bound on the TLS handshake.
pub(super) fn bare_tcp_chain(cluster: &str) -> pb::FilterChain {
    let proxy = tcp::TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    chain_of("envoy.filters.network.tcp_proxy", any("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", &proxy))
}

/// Returns the chain that passes bytes on to a cluster.
pub(super) fn tcp_chain(cluster: &str) -> pb::FilterChain {
    pb::FilterChain {
        transport_socket_connect_timeout: Some(to_pb(TRANSPORT_CONNECT_TIMEOUT)),
        ..bare_tcp_chain(cluster)
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
    let config_type = Some(pb::filter::ConfigType::TypedConfig(config));
    pb::FilterChain { filters: vec![pb::Filter { name: filter_name.to_owned(), config_type }], ..Default::default() }
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
