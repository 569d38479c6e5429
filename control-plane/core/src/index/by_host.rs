//! Objects by the host that they are about, which may be a wildcard.

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname};

/// The objects about one host, the oldest first. Of objects of the same age the one with the lowest key is first.
type KeysByAge = BTreeSet<(CreationTimestamp, ConfigKey)>;

/// The keys of objects by the full host that they are about.
#[derive(Debug, Default, Clone)]
pub(super) struct ByHost(BTreeMap<Hostname, KeysByAge>);

impl ByHost {
    pub(super) fn insert(&mut self, host: Hostname, config: &Config) {
        self.0.entry(host).or_default().insert((config.created, config.key.clone()));
    }

    pub(super) fn remove(&mut self, host: &Hostname, config: &Config) {
        let Some(keys) = self.0.get_mut(host) else { return };
        keys.remove(&(config.created, config.key.clone()));
        if keys.is_empty() {
            self.0.remove(host);
        }
    }

    pub(super) fn contains(&self, host: &Hostname) -> bool {
        self.0.contains_key(host)
    }

    /// Returns the hosts, wildcards included, that some object is about.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Hostname> {
        self.0.keys()
    }

    /// Returns the objects about exactly this host, the oldest first.
    pub(super) fn at(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> {
        self.0.get(host).into_iter().flatten().map(|(_, key)| key)
    }

    /// Returns the objects about this host or about a wildcard that covers it: those with the longest host first, and
    /// of these the oldest first. The cost is the number of labels in the host, whatever the number of objects.
    pub(super) fn covering(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        let mut found: Vec<&KeysByAge> = self.0.get(host).into_iter().collect();
        let text = host.as_str();
        let suffixes = text.match_indices('.').map(|(at, _)| format!("*{}", &text[at..]));
        for wildcard in suffixes.chain(["*".to_owned()]).filter(|wildcard| wildcard != text) {
            found.extend(wildcard.parse().ok().and_then(|wildcard: Hostname| self.0.get(&wildcard)));
        }
        found.into_iter().flatten().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    fn rule(name: &str, created: i64) -> Config {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec: {{host: a}}"
        );
        let created = CreationTimestamp::from_microseconds(created);
        Config { created, ..(*config(&text)).clone() }
    }

    fn names<'a>(keys: impl Iterator<Item = &'a ConfigKey>) -> Vec<&'a str> {
        keys.map(|key| &*key.name).collect()
    }

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_host_comes_first_and_then_the_oldest_object() {
        let mut by_host = ByHost::default();
        by_host.insert(host("*"), &rule("everything", 1));
        by_host.insert(host("a.b.c"), &rule("young", 9));
        by_host.insert(host("a.b.c"), &rule("old", 2));
        by_host.insert(host("*.c"), &rule("short", 1));
        by_host.insert(host("*.b.c"), &rule("long", 3));
        assert_eq!(names(by_host.covering(&host("a.b.c"))), ["old", "young", "long", "short", "everything"]);
        assert_eq!(names(by_host.covering(&host("*.b.c"))), ["long", "short", "everything"]);
        assert_eq!(names(by_host.at(&host("a.b.c"))), ["old", "young"]);
    }

    #[test]
    fn of_objects_of_the_same_age_the_lower_key_is_first() {
        let mut by_host = ByHost::default();
        for name in ["z", "b", "a"] {
            by_host.insert(host("a.b"), &rule(name, 5));
        }
        assert_eq!(names(by_host.at(&host("a.b"))), ["a", "b", "z"]);
    }

    #[test]
    fn a_host_without_objects_is_forgotten() {
        let mut by_host = ByHost::default();
        by_host.insert(host("a.b"), &rule("r", 1));
        by_host.remove(&host("a.b"), &rule("r", 2));
        assert!(by_host.contains(&host("a.b")), "an object of another age is another entry");
        by_host.remove(&host("a.b"), &rule("r", 1));
        assert_eq!(by_host.hosts().count(), 0);
    }
}
