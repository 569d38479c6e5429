//! Listener filters: what looks at a connection before a filter chain is chosen for it.
//!
//! Which listener has which of them, and in what order, is decided where that listener is encoded: `outbound` has
//! inspectors for the protocols that share a port, `inbound` has all three. Bound listeners and those of gRPC have none.

use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::listener as inspector;

use crate::encode::wire::any;

/// The number of first bytes of a connection that the TLS inspector reads at once: Istio's value.
const TLS_INSPECTOR_BUFFER: u32 = 512;

/// Returns the listener filter that finds out whether a connection begins with HTTP.
pub(super) fn http_inspector() -> pb::ListenerFilter {
    let config = inspector::http_inspector::v3::HttpInspector::default();
    listener_filter("http_inspector", any("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", &config))
}

/// Returns the listener filter that finds out whether a connection begins with TLS, and for which host.
pub(super) fn tls_inspector() -> pb::ListenerFilter {
    let config = inspector::tls_inspector::v3::TlsInspector {
        initial_read_buffer_size: Some(TLS_INSPECTOR_BUFFER),
        ..Default::default()
    };
    listener_filter("tls_inspector", any("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", &config))
}

/// Returns the listener filter that restores where a captured connection was going.
pub(super) fn original_destination() -> pb::ListenerFilter {
    let config = inspector::original_dst::v3::OriginalDst {};
    listener_filter("original_dst", any("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", &config))
}

fn listener_filter(name: &str, config: prost_types::Any) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: format!("envoy.filters.listener.{name}"),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// Returns the condition that switches a listener filter off for connections to some ports, or `None` for no port.
pub(super) fn off_at(ports: &[u16]) -> Option<pb::ListenerFilterChainMatchPredicate> {
    use pb::listener_filter_chain_match_predicate::{MatchSet, Rule};
    match ports {
        [] => None,
        [only] => Some(at_port(*only)),
        several => {
            let rules = several.iter().map(|port| at_port(*port)).collect();
            Some(pb::ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) })
        }
    }
}

fn at_port(port: u16) -> pb::ListenerFilterChainMatchPredicate {
    use pb::listener_filter_chain_match_predicate::Rule;
    use rutter_api::pb::envoy::r#type::v3::Int32Range;
    let range = Int32Range { start: i32::from(port), end: i32::from(port) + 1 };
    pb::ListenerFilterChainMatchPredicate { rule: Some(Rule::DestinationPortRange(range)) }
}
