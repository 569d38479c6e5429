//! DestinationRules by host.

use std::collections::BTreeMap;
use std::sync::Arc;

use rutter_api::config::istio::DestinationRule;
use rutter_api::{Config, ConfigKey, CreationTimestamp, Hostname, Labels, Spec};

use super::by_host::ByHost;
use crate::model::shapes_routes;

/// What rules have in common that count as one: the namespace, the full host, to whom they are exported, and the workloads
/// that they choose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleGroup {
    namespace: Arc<str>,
    host: Hostname,
    export_to: Vec<String>,
    selector: Option<Labels>,
}

impl RuleGroup {
    /// Returns the group of a DestinationRule, or `None` for other kinds.
    pub(super) fn of(config: &Config, domain: &str) -> Option<Self> {
        let rule = config.spec.as_destination_rule()?;
        let mut export_to = rule.export_to.clone();
        export_to.sort_unstable();
        export_to.dedup();
        let selector = workload_labels(config).cloned();
        Some(Self { namespace: config.key.namespace.clone(), host: rule_host(config, domain)?, export_to, selector })
    }
}

/// The rules of a group as they are written, the oldest first.
type Rules = BTreeMap<(CreationTimestamp, ConfigKey), Arc<Config>>;

/// The DestinationRules, by the full host that each is about. The host may be a wildcard.
///
/// Several rules of one group count as one, as in Istio: the oldest has the subsets of the others beside its own, and the
/// policy of the first of them that has one if it has none itself. The others are not found by their host.
#[derive(Debug, Default, Clone)]
pub(super) struct DestinationRuleIndex {
    by_host: ByHost,
    groups: BTreeMap<RuleGroup, Rules>,
    /// The number of groups whose rule decides something of routes. It is zero in nearly every mesh, which then pays nothing
    /// for it.
    route_shaping: usize,
}

impl DestinationRuleIndex {
    /// Adds a rule as it is written to its group.
    pub(super) fn insert(&mut self, group: &RuleGroup, written: &Arc<Config>) {
        let rules = self.groups.entry(group.clone()).or_default();
        rules.insert((written.created, written.key.clone()), written.clone());
    }

    /// Removes a rule as it is written from its group.
    pub(super) fn remove(&mut self, group: &RuleGroup, written: &Config) {
        let Some(rules) = self.groups.get_mut(group) else { return };
        rules.remove(&(written.created, written.key.clone()));
        if rules.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Returns the rule that a group counts as: the oldest, with what the others add to it. `None` means that there is no
    /// rule in the group.
    pub(super) fn merged(&self, group: &RuleGroup) -> Option<Arc<Config>> {
        let mut rules = self.groups.get(group)?.values();
        let oldest = rules.next()?;
        let younger: Vec<&DestinationRule> = rules.filter_map(|rule| rule.spec.as_destination_rule()).collect();
        let Some(spec) = oldest.spec.as_destination_rule().filter(|_| !younger.is_empty()) else {
            return Some(oldest.clone());
        };
        let mut merged = spec.clone();
        for rule in younger {
            for subset in &rule.subsets {
                if !merged.subsets.iter().any(|known| known.name == subset.name) {
                    merged.subsets.push(subset.clone());
                }
            }
            merged.traffic_policy = merged.traffic_policy.or_else(|| rule.traffic_policy.clone());
        }
        Some(Arc::new(Config { spec: Spec::DestinationRule(merged), ..(**oldest).clone() }))
    }

    /// Returns the rules of a group as they are written.
    pub(super) fn written(&self, group: &RuleGroup) -> impl Iterator<Item = &Arc<Config>> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::values)
    }

    /// Lets the rule that a group counts as be found by its host.
    pub(super) fn show(&mut self, group: &RuleGroup, merged: &Config) {
        self.by_host.insert(group.host.clone(), merged);
        self.route_shaping += usize::from(is_route_shaping(merged));
    }

    /// Lets the rule that a group counts as be found no longer.
    pub(super) fn hide(&mut self, group: &RuleGroup, merged: &Config) {
        self.by_host.remove(&group.host, merged);
        self.route_shaping -= usize::from(is_route_shaping(merged));
    }

    /// Returns whether routes depend on some rule.
    pub(super) fn some_shape_routes(&self) -> bool {
        self.route_shaping > 0
    }

    /// Returns the DestinationRules about a host or about a wildcard that covers it, the most specific first.
    pub(super) fn about(&self, host: &Hostname) -> impl Iterator<Item = &ConfigKey> + use<'_> {
        self.by_host.covering(host)
    }
}

/// Returns the labels by which a rule chooses clients of its namespace. `None` means that it is for all.
pub(super) fn workload_labels(config: &Config) -> Option<&Labels> {
    Some(&config.spec.as_destination_rule()?.workload_selector.as_ref()?.match_labels)
}

fn is_route_shaping(config: &Config) -> bool {
    config.spec.as_destination_rule().is_some_and(shapes_routes)
}

/// Returns the full host of a DestinationRule, or `None` for other kinds.
pub(super) fn rule_host(config: &Config, domain: &str) -> Option<Hostname> {
    Some(config.spec.as_destination_rule()?.host.resolve(&config.key.namespace, domain))
}
