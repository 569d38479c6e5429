//! `localityLbSetting`: how requests are divided among the places where endpoints are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::checks::Faults;
use crate::invalid::Invalid;

/// How requests are divided among localities. A locality is written `region/zone/sub-zone`; later parts may be missing or
/// `*`, which means any.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalityLbSetting {
    /// Shares of the requests, by the locality of the client. Not beside `failover` and `failover_priority`.
    #[serde(default)]
    pub distribute: Vec<LocalityDistribution>,
    /// Which region takes over if no endpoint of the client's own is healthy. It needs outlier detection.
    #[serde(default)]
    pub failover: Vec<LocalityFailover>,
    /// The labels, `KEY` or `KEY=VALUE`, of which endpoints that have more at the beginning of the list in common with the
    /// client come first. It needs outlier detection.
    #[serde(default)]
    pub failover_priority: Vec<Cow<'static, str>>,
    /// Whether localities matter at all. Absent means yes.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// Shares of the requests of clients in a locality.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LocalityDistribution {
    /// The locality of the clients.
    #[serde(default)]
    pub from: String,
    /// The shares of localities in per cent, 100 together.
    #[serde(default)]
    pub to: BTreeMap<String, u32>,
}

/// The region that takes over for clients of another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LocalityFailover {
    /// The region of the clients.
    #[serde(default)]
    pub from: String,
    /// The region that takes over.
    #[serde(default)]
    pub to: String,
}

/// The number of parts of a locality.
const PARTS_MAX: usize = 3;

/// Adds what is wrong in a setting at `path`.
pub(crate) fn check(path: &str, setting: &LocalityLbSetting, faults: &mut Faults) {
    let LocalityLbSetting { distribute, failover, failover_priority, enabled: _ } = setting;
    let has_priorities = !failover.is_empty() || !failover_priority.is_empty();
    if has_priorities && !distribute.is_empty() {
        let want = "distribute, or failover and failoverPriority";
        faults.push(Invalid::new(path, want, "both"));
    }
    for (index, LocalityDistribution { from, to }) in distribute.iter().enumerate() {
        let path = format!("{path}.distribute[{index}]");
        check_locality(&format!("{path}.from"), from, faults);
        to.keys().for_each(|locality| check_locality(&format!("{path}.to"), locality, faults));
        let sum = to.values().fold(0u32, |sum, share| sum.saturating_add(*share));
        if sum != 100 {
            faults.push(Invalid::new(format!("{path}.to"), "shares of 100 together", sum));
        }
        if to.values().any(|share| *share == 0) {
            faults.push(Invalid::new(format!("{path}.to"), "shares of at least 1", 0));
        }
        let localities: Vec<&String> = to.keys().collect();
        for (index, locality) in localities.iter().enumerate() {
            if let Some(other) = localities[..index].iter().find(|other| overlap(locality, other)) {
                let got = format!("{other} and {locality}");
                faults.push(Invalid::new(format!("{path}.to"), "localities that have nothing in common", got));
            }
        }
    }
    for (index, LocalityFailover { from, to }) in failover.iter().enumerate() {
        let path = format!("{path}.failover[{index}]");
        let is_region = |region: &str| !region.is_empty() && !region.contains(['/', '*']);
        if from == to || !is_region(from) || !is_region(to) {
            faults.push(Invalid::new(path, "from one region to another", format!("from {from:?} to {to:?}")));
        }
    }
    for (index, label) in failover_priority.iter().enumerate() {
        let key = label.split('=').next().unwrap_or_default();
        if key.is_empty() || label.matches('=').count() > 1 {
            let path = format!("{path}.failoverPriority[{index}]");
            faults.push(Invalid::new(path, "a label, KEY or KEY=VALUE", format!("{label:?}")));
        }
    }
}

fn check_locality(path: &str, locality: &str, faults: &mut Faults) {
    let parts: Vec<&str> = locality.split('/').collect();
    let first_any = parts.iter().position(|part| *part == "*").unwrap_or(parts.len());
    let is_valid = parts.len() <= PARTS_MAX
        && parts.iter().all(|part| !part.is_empty() && (*part == "*" || !part.contains('*')))
        // What is below any region or zone could be anywhere.
        && parts[first_any..].iter().all(|part| *part == "*");
    if !is_valid {
        let want = "region/zone/sub-zone, of which the last parts may be missing or *";
        faults.push(Invalid::new(path, want, format!("{locality:?}")));
    }
}

/// Returns whether a place may be in two localities.
fn overlap(a: &str, b: &str) -> bool {
    a.split('/').zip(b.split('/')).all(|(a, b)| a == b || a == "*" || b == "*")
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn rule(setting: &str) -> String {
        let policy = format!("trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{setting}}}}}}}");
        istio("DestinationRule", &format!("{{host: a, {policy}}}"))
    }

    #[test]
    fn shares_failover_and_priorities_are_taken() {
        for taken in [
            "distribute: [{from: eu/*, to: {eu/z1/*: 60, eu/z2: 30, us/*: 10}}, {from: '*', to: {us: 100}}]",
            "failover: [{from: eu, to: us}], failoverPriority: [topology.kubernetes.io/zone, version=v1]",
            "enabled: false",
        ] {
            read(&rule(taken)).unwrap();
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let refused = |setting: &str, want: &str| {
            let path = "spec.trafficPolicy.loadBalancer.localityLbSetting";
            assert_refused(&rule(setting), &format!("destinationRule default/x: {path}{want}"));
        };
        refused(
            "distribute: [{from: eu, to: {eu: 100}}], failover: [{from: a, to: b}]",
            ": want distribute, or failover",
        );
        refused(
            "distribute: [{from: eu, to: {eu: 50, us: 40}}]",
            ".distribute[0].to: want shares of 100 together, got 90",
        );
        refused("distribute: [{from: eu, to: {eu: 100, us: 0}}]", ".distribute[0].to: want shares of at least 1");
        refused(
            "distribute: [{from: eu, to: {eu/*: 50, eu/z: 50}}]",
            ".distribute[0].to: want localities that have nothing",
        );
        refused("distribute: [{from: '*/z', to: {eu: 100}}]", ".distribute[0].from: want region/zone/sub-zone");
        refused("distribute: [{from: a/b/c/d, to: {eu: 100}}]", ".distribute[0].from: want region/zone/sub-zone");
        refused("failover: [{from: eu, to: eu}]", ".failover[0]: want from one region to another");
        refused("failoverPriority: ['=a']", ".failoverPriority[0]: want a label, KEY or KEY=VALUE");
    }
}
