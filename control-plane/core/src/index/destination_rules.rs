//! DestinationRules by host.

use rutter_api::{Config, ConfigKey, Hostname};

use super::by_host::ByHost;

/// The DestinationRules, by the full host that each is about. The host may be a wildcard.
#[derive(Debug, Default)]
pub(super) struct DestinationRuleIndex(ByHost);

impl DestinationRuleIndex {
    pub(super) fn insert(&mut self, config: &Config, domain: &str) {
        if let Some(host) = rule_host(config, domain) {
            self.0.insert(host, config);
        }
    }

    pub(super) fn remove(&mut self, config: &Config, domain: &str) {
        if let Some(host) = rule_host(config, domain) {
            self.0.remove(&host, config);
        }
    }

    /// Returns the DestinationRules about a host or about a wildcard that covers it, the most specific first.
    pub(super) fn about(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        self.0.covering(host)
    }
}

/// Returns the full host of a DestinationRule, or `None` for other kinds.
pub(super) fn rule_host(config: &Config, domain: &str) -> Option<Hostname> {
    Some(config.spec.as_destination_rule()?.host.resolve(&config.key.namespace, domain))
}
