//! The policy that holds for the connections to a port or to a subset at it.

use std::sync::LazyLock;

use rutter_api::config::istio::{
    ClientTls, ConnectionPool, ConsistentHash, DestinationRule, LoadBalancer, LocalityLbSetting, OutlierDetection,
    PolicyProxyProtocol, PortTrafficPolicy, RetryBudget, TrafficPolicy, Tunnel, UpgradePolicy,
};

use super::mesh_config::ConnectionDefaults;
use super::service::Service;

/// The balancer of a service with session affinity: a sidecar speaks for one client, so that the address of the client is
/// always the same, and with it the endpoint.
static STAY_WITH_ENDPOINT: LazyLock<LoadBalancer> = LazyLock::new(|| LoadBalancer {
    consistent_hash: Some(ConsistentHash { use_source_ip: Some(true), ..ConsistentHash::default() }),
    ..LoadBalancer::default()
});

/// The parts of a DestinationRule that hold for the connections to a port, or to a subset at it. What is absent is
/// Istio's default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Policy<'a> {
    /// How an endpoint is chosen.
    pub load_balancer: Option<&'a LoadBalancer>,
    /// Limits on connections.
    pub connection_pool: Option<&'a ConnectionPool>,
    /// When an endpoint is left out.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// How connections are encrypted.
    pub tls: Option<&'a ClientTls>,
    /// How much of the load may be retries.
    pub retry_budget: Option<&'a RetryBudget>,
    /// Whether endpoints are told the address of the client.
    pub proxy_protocol: Option<&'a PolicyProxyProtocol>,
    /// How connections of a VirtualService go through the host.
    pub tunnel: Option<&'a Tunnel>,
    /// The names one of which the certificate of an endpoint must have, if `tls` names none.
    pub service_names: &'a [String],
    /// How connections are made where nothing else says it.
    pub connection_defaults: Option<&'a ConnectionDefaults>,
    /// How requests are divided among localities where nothing else says it.
    pub locality_default: Option<&'a LocalityLbSetting>,
}

impl<'a> Policy<'a> {
    /// Returns the policy for a port, and for a subset if one is named. The policy of the host is lain over by that of
    /// its port, that by the one of the subset, and that by the one of the subset's port. The policy of a port takes the
    /// place of all four parts that it can have; a subset's takes the place of the parts that it has. Nothing is merged
    /// within a part.
    pub fn of_rule(rule: Option<&'a DestinationRule>, port: u16, subset: Option<&str>) -> Self {
        let Some(rule) = rule else { return Self::default() };
        let mut policy = Self::default();
        if let Some(of_host) = &rule.traffic_policy {
            policy.lay_over(of_host);
            policy.lay_port_over(of_host, port);
        }
        let subset = subset.and_then(|name| rule.subsets.iter().find(|subset| subset.name == name));
        if let Some(of_subset) = subset.and_then(|subset| subset.traffic_policy.as_ref()) {
            policy.lay_over(of_subset);
            policy.lay_port_over(of_subset, port);
        }
        policy
    }

    /// Returns the policy for a port of a service, or for a subset at it: that of the rule, and what the service itself says
    /// where the rule says nothing.
    pub fn new(service: &'a Service, rule: Option<&'a DestinationRule>, port: u16, subset: Option<&str>) -> Self {
        let mut policy = Self { service_names: &service.subject_alt_names, ..Self::of_rule(rule, port, subset) };
        if service.endpoint_use.has_session_affinity {
            policy.load_balancer = policy.load_balancer.or(Some(&STAY_WITH_ENDPOINT));
        }
        policy
    }

    /// Returns the policy in a mesh that has defaults of its own for connections.
    #[must_use]
    pub fn with_connection_defaults(self, defaults: &'a ConnectionDefaults) -> Self {
        Self { connection_defaults: Some(defaults), ..self }
    }

    /// Returns the policy in a mesh that has a default of its own for localities.
    #[must_use]
    pub fn with_locality_default(self, setting: Option<&'a LocalityLbSetting>) -> Self {
        Self { locality_default: setting, ..self }
    }

    fn lay_over(&mut self, over: &'a TrafficPolicy) {
        // A new part of a policy does not compile until it is decided here.
        let TrafficPolicy {
            load_balancer,
            connection_pool,
            outlier_detection,
            tls,
            retry_budget,
            proxy_protocol,
            tunnel,
            port_level_settings: _,
        } = over;
        self.load_balancer = load_balancer.as_ref().or(self.load_balancer);
        self.connection_pool = connection_pool.as_ref().or(self.connection_pool);
        self.outlier_detection = outlier_detection.as_ref().or(self.outlier_detection);
        self.tls = tls.as_ref().or(self.tls);
        self.retry_budget = retry_budget.as_ref().or(self.retry_budget);
        self.proxy_protocol = proxy_protocol.as_ref().or(self.proxy_protocol);
        self.tunnel = tunnel.as_ref().or(self.tunnel);
    }

    fn lay_port_over(&mut self, over: &'a TrafficPolicy, number: u16) {
        let settings = over.port_level_settings.iter().find(|settings| settings.port.number.get() == number);
        let Some(settings) = settings else { return };
        let PortTrafficPolicy { port: _, load_balancer, connection_pool, outlier_detection, tls } = settings;
        self.load_balancer = load_balancer.as_ref();
        self.connection_pool = connection_pool.as_ref();
        self.outlier_detection = outlier_detection.as_ref();
        self.tls = tls.as_ref();
    }

    /// Returns the names one of which the certificate of an endpoint must have. Empty means the host that is asked for.
    pub fn certificate_names(&self) -> &'a [String] {
        let of_rule = self.tls.map(|tls| tls.subject_alt_names.as_slice()).unwrap_or_default();
        if of_rule.is_empty() { self.service_names } else { of_rule }
    }

    /// Returns whether HTTP/1.1 is spoken as HTTP/2 to endpoints.
    pub fn upgrades_to_http2(&self) -> bool {
        let of_rule = self.connection_pool.map(|pool| pool.http.h2_upgrade_policy).unwrap_or_default();
        let of_mesh = self.connection_defaults.map(|defaults| defaults.h2_upgrade_policy).unwrap_or_default();
        match (of_rule, of_mesh) {
            (UpgradePolicy::Upgrade, _) | (UpgradePolicy::Default, UpgradePolicy::Upgrade) => true,
            (UpgradePolicy::DoNotUpgrade | UpgradePolicy::Default, _) => false,
        }
    }

    /// Returns what is hashed to choose an endpoint, if something is.
    pub fn consistent_hash(&self) -> Option<&'a ConsistentHash> {
        self.load_balancer?.consistent_hash.as_ref()
    }
}

/// Returns whether routes to the host of a rule depend on it: some policy of it hashes requests, limits how long a
/// connection may be silent, or has connections go through the host. Of all other rules routes know nothing, so that a
/// change of one costs no route.
pub fn shapes_routes(rule: &DestinationRule) -> bool {
    let of_parts = |load_balancer: &Option<LoadBalancer>, pool: &Option<ConnectionPool>| {
        load_balancer.as_ref().is_some_and(|balancer| balancer.consistent_hash.is_some())
            || pool.as_ref().is_some_and(|pool| pool.tcp.idle_timeout.is_some())
    };
    let of_policy = |policy: &TrafficPolicy| {
        let ports = policy.port_level_settings.iter();
        policy.tunnel.is_some()
            || of_parts(&policy.load_balancer, &policy.connection_pool)
            || ports.clone().any(|port| of_parts(&port.load_balancer, &port.connection_pool))
    };
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_deref());
    rule.traffic_policy.as_deref().into_iter().chain(subsets).any(of_policy)
}

#[cfg(test)]
mod tests {
    use rutter_api::config::istio::SimpleLb;

    use super::*;
    use crate::testing::config;

    /// Returns the method and the number of connections that hold for a port and a subset.
    fn policy(spec: &str, port: u16, subset: Option<&str>) -> (Option<SimpleLb>, Option<u32>) {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: a, {spec}}}"
        );
        let config = config(&text);
        let policy = Policy::of_rule(config.spec.as_destination_rule(), port, subset);
        let simple = policy.load_balancer.and_then(|balancer| balancer.simple);
        (simple, policy.connection_pool.and_then(|pool| pool.tcp.max_connections))
    }

    #[test]
    fn each_part_of_a_subset_takes_the_place_of_the_hosts_and_a_port_takes_all_places() {
        let pool = |max: u32| format!("connectionPool: {{tcp: {{maxConnections: {max}}}}}");
        let spec = format!(
            "trafficPolicy: {{loadBalancer: {{simple: RANDOM}}, {}, portLevelSettings: [{{port: {{number: 81}}, {}}}]}}, \
             subsets: [{{name: a, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}}}, \
             {{name: b, trafficPolicy: {{portLevelSettings: [{{port: {{number: 81}}}}]}}}}]",
            pool(1),
            pool(2),
        );
        assert_eq!(policy(&spec, 80, None), (Some(SimpleLb::Random), Some(1)));
        assert_eq!(policy(&spec, 81, None), (None, Some(2)));
        assert_eq!(policy(&spec, 80, Some("a")), (Some(SimpleLb::RoundRobin), Some(1)));
        assert_eq!(policy(&spec, 81, Some("a")), (Some(SimpleLb::RoundRobin), Some(2)));
        assert_eq!(policy(&spec, 81, Some("b")), (None, None));
        assert_eq!(policy(&spec, 80, Some("none")), (Some(SimpleLb::Random), Some(1)));
    }
}
