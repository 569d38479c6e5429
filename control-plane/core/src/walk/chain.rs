//! Which filter chain of a listener takes a connection.
//!
//! Envoy looks at one property after the other, and at each goes on with the chains of the most specific value that fits. It never goes
//! back: if some chain names the port and none of those that do takes the connection, the default chain does.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;

/// What is known of a connection when its filter chain is chosen.
pub(super) struct Connection<'a> {
    /// The address that it is for. `None` means one that no chain is about.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// The host that the client names in TLS, as far as the listener finds it out.
    pub(super) server_name: Option<&'a str>,
    /// `tls` or `raw_buffer`.
    pub(super) transport: &'static str,
    /// The protocols of the application, as far as the listener finds them out.
    pub(super) protocols: Vec<String>,
}

/// Returns the chain that takes a connection. `None` means that none does, and the connection is closed.
pub(super) fn chosen<'a>(listener: &'a pb::Listener, connection: &Connection<'_>) -> Option<&'a pb::FilterChain> {
    let all: Vec<&pb::FilterChain> = listener.filter_chains.iter().collect();
    let port = u32::from(connection.port);
    let with_port: Vec<_> = all.iter().copied().filter(|chain| matched(chain).destination_port == Some(port)).collect();
    let any_port = || all.iter().copied().filter(|chain| matched(chain).destination_port.is_none()).collect();
    let chains = if with_port.is_empty() { any_port() } else { with_port };
    of_address(chains, connection).or(listener.default_filter_chain.as_ref())
}

fn matched(chain: &pb::FilterChain) -> &pb::FilterChainMatch {
    static ANY: LazyLock<pb::FilterChainMatch> = LazyLock::new(pb::FilterChainMatch::default);
    chain.filter_chain_match.as_ref().unwrap_or(&ANY)
}

fn of_address<'a>(chains: Vec<&'a pb::FilterChain>, connection: &Connection<'_>) -> Option<&'a pb::FilterChain> {
    let bits = |chain: &pb::FilterChain| -> Option<u8> {
        let ranges = &matched(chain).prefix_ranges;
        if ranges.is_empty() {
            return Some(0);
        }
        let address = connection.address?;
        let nets = ranges.iter().filter_map(net).filter(|net| net.contains(&address));
        // A range of no bits is still more specific than none.
        nets.map(|net| net.prefix_len().saturating_add(1)).max()
    };
    let best = chains.iter().filter_map(|chain| bits(chain)).max()?;
    of_server_name(chains.into_iter().filter(|chain| bits(chain) == Some(best)).collect(), connection)
}

/// Returns a range of addresses.
pub(super) fn net(range: &core::CidrRange) -> Option<IpNet> {
    let bits = u8::try_from(range.prefix_len.unwrap_or_default()).ok()?;
    IpNet::new(range.address_prefix.parse().ok()?, bits).ok()
}

fn of_server_name<'a>(chains: Vec<&'a pb::FilterChain>, connection: &Connection<'_>) -> Option<&'a pb::FilterChain> {
    let mut wanted: Vec<String> = Vec::new();
    if let Some(name) = connection.server_name {
        wanted.push(name.to_owned());
        let dots = name.char_indices().filter(|(_, sign)| *sign == '.');
        wanted.extend(dots.map(|(at, _)| format!("*{}", &name[at..])));
    }
    let has = |chain: &pb::FilterChain, name: &String| matched(chain).server_names.contains(name);
    let found = wanted.iter().find(|name| chains.iter().any(|chain| has(chain, name)));
    let is_taken = |chain: &&pb::FilterChain| match found {
        Some(name) => has(chain, name),
        None => matched(chain).server_names.is_empty(),
    };
    of_transport(chains.into_iter().filter(is_taken).collect(), connection)
}

fn of_transport<'a>(chains: Vec<&'a pb::FilterChain>, connection: &Connection<'_>) -> Option<&'a pb::FilterChain> {
    let is = |chain: &pb::FilterChain, wanted: &str| matched(chain).transport_protocol == wanted;
    let wanted = if chains.iter().any(|chain| is(chain, connection.transport)) { connection.transport } else { "" };
    let chains: Vec<_> = chains.into_iter().filter(|chain| is(chain, wanted)).collect();
    let of_protocol = |protocol: &String| {
        chains.iter().copied().find(|chain| matched(chain).application_protocols.contains(protocol))
    };
    let any = || chains.iter().copied().find(|chain| matched(chain).application_protocols.is_empty());
    connection.protocols.iter().find_map(of_protocol).or_else(any)
}
