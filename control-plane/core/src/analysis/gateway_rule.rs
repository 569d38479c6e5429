//! Rules of VirtualServices at gateways, by which those are found that have the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use rutter_api::config::istio::HttpRoute;
use rutter_api::{Config, ConfigKey, Hostname};

use crate::model::bound_gateways;

/// A condition of requests for a host at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GatewayRule {
    gateway: ConfigKey,
    /// The full host.
    pub(super) host: Hostname,
    /// Stands for the condition, or for all requests.
    condition: u64,
}

impl GatewayRule {
    /// Returns what a rule of a VirtualService is at the gateways that it is bound to.
    pub(super) fn of(config: &Config, http: &HttpRoute, domain: &str) -> Vec<Self> {
        let mut conditions: Vec<u64> = http.matches.iter().map(|condition| digest(&format!("{condition:?}"))).collect();
        if conditions.is_empty() {
            conditions.push(digest(""));
        }
        let hosts = config.spec.as_virtual_service().map(|spec| spec.hosts.as_slice()).unwrap_or_default();
        let hosts: Vec<Hostname> = hosts.iter().map(|host| host.resolve(&config.key.namespace, domain)).collect();
        let mut rules = Vec::new();
        for gateway in bound_gateways(config) {
            for host in &hosts {
                let rule =
                    |condition: &u64| Self { gateway: gateway.clone(), host: host.clone(), condition: *condition };
                rules.extend(conditions.iter().map(rule));
            }
        }
        rules
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
