//! Which virtual host takes a request.

use bytes::Bytes;
use prost::Message;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::route::v3 as pb;

use super::Resources;

/// The domains of a virtual host. The rest of it is not decoded.
#[derive(Clone, PartialEq, Message)]
struct Domains {
    #[prost(string, repeated, tag = "2")]
    domains: Vec<String>,
}

/// How well a domain fits a host. The greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Everything,
    /// `a.*`, with the length of the text.
    Prefix(usize),
    /// `*.b`, with the length of the text.
    Suffix(usize),
    Exact,
}

fn fit(domain: &str, host: &str) -> Option<Fit> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some(Fit::Everything);
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        return (host.len() > suffix.len() && host.ends_with(suffix)).then_some(Fit::Suffix(suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (host.len() > prefix.len() && host.starts_with(prefix)).then_some(Fit::Prefix(prefix.len()));
    }
    (domain == host).then_some(Fit::Exact)
}

fn best_fit(domains: &[String], host: &str) -> Option<Fit> {
    domains.iter().filter_map(|domain| fit(domain, host)).max()
}

/// The virtual host that takes a request, and the resource that it is in.
pub(super) struct Found {
    pub(super) host: pb::VirtualHost,
    pub(super) resource_type: ResourceType,
    pub(super) name: String,
}

/// Returns the virtual host of a table that takes requests for an authority.
pub(super) fn virtual_host(
    table: &pb::RouteConfiguration,
    authority: &str,
    resources: &dyn Resources,
) -> Option<Found> {
    let host = authority.to_ascii_lowercase();
    let host = if table.ignore_port_in_host_matching { without_port(&host) } else { &host };
    let mut best: Option<(Fit, Found)> = None;
    for inline in &table.virtual_hosts {
        let fit = best_fit(&inline.domains, host);
        if let Some(fit) = fit.filter(|fit| best.as_ref().is_none_or(|(known, _)| fit > known)) {
            let found = Found { host: inline.clone(), resource_type: ResourceType::Route, name: table.name.clone() };
            best = Some((fit, found));
        }
    }
    if table.vhds.is_some() {
        let known = best.as_ref().map(|(fit, _)| *fit);
        if let Some((name, body)) = separate(&table.name, host, known, resources) {
            let host = pb::VirtualHost::decode(body).ok()?;
            return Some(Found { host, resource_type: ResourceType::VirtualHost, name });
        }
    }
    best.map(|(_, found)| found)
}

/// Returns the virtual host that is a resource of its own and fits better than what is known.
fn separate(table: &str, host: &str, known: Option<Fit>, resources: &dyn Resources) -> Option<(String, Bytes)> {
    let mut best = known;
    let mut found = None;
    resources.for_each(ResourceType::VirtualHost, &format!("{table}/"), &mut |name, body| {
        let domains = Domains::decode(body.clone()).unwrap_or_default().domains;
        let fit = best_fit(&domains, host);
        if fit > best {
            best = fit;
            found = Some((name.to_owned(), body));
        }
    });
    found
}

/// Returns a host without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && is_bare(name) => name,
        Some(_) | None => host,
    }
}

/// Returns whether a text is a host and no part of an IPv6 address.
fn is_bare(name: &str) -> bool {
    !name.contains(':') || name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_domain_counts() {
        let fits = |domain: &str, host: &str| fit(domain, host).is_some();
        assert!(fits("*", "a.b") && fits("*.b", "a.b") && fits("A.b", "a.b") && fits("a.*", "a.b"));
        assert!(!fits("*.b", ".b") && !fits("*.b", "b") && !fits("a", "a.b"));
        let best = best_fit(&["*".into(), "*.b".into(), "*.a.b".into()], "x.a.b");
        assert_eq!(best, Some(Fit::Suffix(4)));
        assert!(Fit::Exact > Fit::Suffix(100) && Fit::Suffix(1) > Fit::Prefix(100));
    }

    #[test]
    fn ports_are_left_out() {
        for (host, want) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1")] {
            assert_eq!(without_port(host), want);
        }
    }
}
