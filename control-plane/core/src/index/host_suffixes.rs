//! Every known host, ordered from its end, so that the hosts under a wildcard stand together.

use std::collections::BTreeMap;

use rutter_api::Hostname;

/// Hosts in the order of their reversed text.
#[derive(Debug, Default, Clone)]
pub(super) struct HostSuffixes(BTreeMap<Box<[u8]>, Hostname>);

impl HostSuffixes {
    pub(super) fn insert(&mut self, host: &Hostname) {
        self.0.entry(reversed(host.as_str())).or_insert_with(|| host.clone());
    }

    pub(super) fn remove(&mut self, host: &Hostname) {
        self.0.remove(&reversed(host.as_str()));
    }

    /// Returns the hosts that a host covers: itself, and those under it if it is a wildcard. It takes time in
    /// proportion to the number of hosts that it returns, and not to the size of the mesh.
    pub(super) fn covered_by<'a>(&'a self, host: &'a Hostname) -> impl Iterator<Item = &'a Hostname> {
        let end = reversed(host.as_str().strip_prefix('*').unwrap_or(host.as_str()));
        let start = self.0.range(end.clone()..);
        let with_end = start.take_while(move |(name, _)| name.starts_with(&end));
        with_end.map(|(_, candidate)| candidate).filter(|candidate| host.covers(candidate))
    }
}

fn reversed(text: &str) -> Box<[u8]> {
    text.bytes().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(suffixes: &HostSuffixes, host: &str) -> Vec<String> {
        suffixes.covered_by(&host.parse().unwrap()).map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_covers_what_ends_like_it() {
        let mut suffixes = HostSuffixes::default();
        let hosts: Vec<Hostname> =
            ["a.shop.x", "b.shop.x", "shop.x", "a.workshop.x", "*.shop.x"].map(|text| text.parse().unwrap()).into();
        hosts.iter().for_each(|host| suffixes.insert(host));
        assert_eq!(covered(&suffixes, "*.shop.x"), ["*.shop.x", "a.shop.x", "b.shop.x"]);
        assert_eq!(covered(&suffixes, "shop.x"), ["shop.x"]);
        assert_eq!(covered(&suffixes, "*").len(), 5);
        suffixes.remove(&hosts[0]);
        assert_eq!(covered(&suffixes, "*.shop.x"), ["*.shop.x", "b.shop.x"]);
        assert!(covered(&suffixes, "a.shop.x").is_empty());
    }
}
