//! `DestinationRule`: how the endpoints of a host are divided into subsets, and how connections to them are made.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::config::checks::{Faults, check_export_to};
use crate::duration;
use crate::invalid::Invalid;
use crate::labels::Labels;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "spec.workloadSelector",
    "spec.subsets[].trafficPolicy",
    "spec.trafficPolicy.portLevelSettings",
    "spec.trafficPolicy.tls",
    "spec.trafficPolicy.tunnel",
    "spec.trafficPolicy.proxyProtocol",
    "spec.trafficPolicy.retryBudget",
    "spec.trafficPolicy.loadBalancer.consistentHash",
    "spec.trafficPolicy.loadBalancer.localityLbSetting",
    "spec.trafficPolicy.loadBalancer.warmupDurationSecs",
    "spec.trafficPolicy.loadBalancer.warmup",
    "spec.trafficPolicy.connectionPool.http",
    "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive",
    "spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration",
    "spec.trafficPolicy.connectionPool.tcp.idleTimeout",
    "spec.trafficPolicy.outlierDetection.splitExternalLocalOriginErrors",
    "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
    "spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors",
    "spec.trafficPolicy.outlierDetection.consecutiveErrors",
    "spec.trafficPolicy.outlierDetection.minHealthPercent",
];

/// How the endpoints of a host are used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// The host. A short name is that of a service in the object's own namespace; a wildcard means many hosts.
    pub host: Hostname,
    /// The policy for all endpoints and for all subsets.
    #[serde(default)]
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of the endpoints, to which routes can send.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// The namespaces whose clients see the object: `.` for its own, `*`, or names. Empty means every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// The endpoints that have certain labels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// The name by which routes refer to the subset. It is used once in a rule.
    pub name: String,
    /// The labels, all of which an endpoint must have. Empty means every endpoint.
    #[serde(default)]
    pub labels: Labels,
}

/// How connections to a host are made.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How an endpoint is chosen. Absent means least request.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on connections. Absent means no limits.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is left out. Absent means never.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
}

/// How an endpoint is chosen for a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoadBalancer {
    /// The method; only those without settings of their own are supported.
    pub simple: SimpleLb,
}

/// How the endpoints of a cluster are chosen: Istio's `LoadBalancerSettings.SimpleLB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// Istio chooses the method, which is least request.
    Unspecified,
    /// The endpoints are taken in turn.
    RoundRobin,
    /// The less busy of two endpoints that are chosen at random.
    LeastRequest,
    /// The former name of least request.
    LeastConn,
    /// An endpoint at random.
    Random,
}

/// Limits on connections, by protocol.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ConnectionPool {
    /// Limits that hold for every protocol.
    #[serde(default)]
    pub tcp: TcpSettings,
}

/// Limits on TCP connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// The most connections of one sidecar to one cluster. Absent means no limit.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// The time that a connection may take to be established. Absent means 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub connect_timeout: Option<Duration>,
}

/// When an endpoint that fails is left out for a while.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// The number of 5xx answers in a row after which an endpoint is ejected. Absent means 5, and 0 means never.
    #[serde(default, rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// The time between two sweeps in which ejected endpoints may return. Absent means 10 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub interval: Option<Duration>,
    /// How long an endpoint is left out, times the number of its ejections. Absent means 30 s.
    #[serde(default, deserialize_with = "duration::optional")]
    pub base_ejection_time: Option<Duration>,
    /// The share of endpoints that may be left out at once, from 0 to 100 per cent. Absent means 10.
    #[serde(default)]
    pub max_ejection_percent: Option<u32>,
}

/// Returns what is wrong in a DestinationRule that has the right types.
pub(crate) fn check(spec: &DestinationRule) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{index}].name");
        if subset.name.is_empty() || subset.name.contains('|') {
            faults.push(Invalid::new(&path, "a name without \"|\"", format!("{:?}", subset.name)));
        } else if !names.insert(&subset.name) {
            faults.push(Invalid::new(&path, "a name used once in this rule", format!("{:?} again", subset.name)));
        }
    }
    let outlier = spec.traffic_policy.as_ref().and_then(|policy| policy.outlier_detection.as_ref());
    if let Some(percent) = outlier.and_then(|outlier| outlier.max_ejection_percent).filter(|percent| *percent > 100) {
        faults.push(Invalid::new("spec.trafficPolicy.outlierDetection.maxEjectionPercent", "0..=100", percent));
    }
    check_export_to(&spec.export_to, &mut faults);
    faults
}

#[cfg(test)]
mod tests {
    use crate::config::Spec;
    use crate::config::testing::{assert_refused, istio, read};

    use super::*;

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("DestinationRule", spec), &format!("destinationRule default/x: {want}"));
    }

    #[test]
    fn every_field_is_read() {
        let text = istio(
            "DestinationRule",
            "{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: all}], exportTo: ['.', other], \
             trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, \
             connectionPool: {tcp: {maxConnections: 7, connectTimeout: 250ms}}, \
             outlierDetection: {consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 1m, maxEjectionPercent: 50}}}",
        );
        let Spec::DestinationRule(rule) = read(&text).unwrap().config.spec.clone() else { panic!() };
        let policy = rule.traffic_policy.unwrap();
        assert_eq!(policy.load_balancer.unwrap().simple, SimpleLb::RoundRobin);
        let tcp = policy.connection_pool.unwrap().tcp;
        assert_eq!((tcp.max_connections, tcp.connect_timeout), (Some(7), Some(Duration::from_millis(250))));
        let outlier = policy.outlier_detection.unwrap();
        assert_eq!((outlier.consecutive_5xx_errors, outlier.max_ejection_percent), (Some(3), Some(50)));
        assert_eq!(outlier.base_ejection_time, Some(Duration::from_secs(60)));
        assert_eq!((rule.subsets.len(), rule.subsets[0].labels.get("version")), (2, Some("v1")));
        assert_eq!(rule.export_to, [".", "other"]);
    }

    #[test]
    fn subsets_have_names_of_their_own() {
        refused(
            "{host: a, subsets: [{name: v1}, {name: v1}]}",
            "spec.subsets[1].name: want a name used once in this rule, got \"v1\" again",
        );
        refused("{host: a, subsets: [{name: 'a|b'}]}", "spec.subsets[0].name: want a name without \"|\", got \"a|b\"");
        refused("{host: a, subsets: [{name: ''}]}", "spec.subsets[0].name: want a name without \"|\", got \"\"");
    }

    #[test]
    fn shares_are_per_cent() {
        let spec =
            |percent| format!("{{host: a, trafficPolicy: {{outlierDetection: {{maxEjectionPercent: {percent}}}}}}}");
        read(&istio("DestinationRule", &spec(100))).unwrap();
        refused(&spec(140), "spec.trafficPolicy.outlierDetection.maxEjectionPercent: want 0..=100, got 140");
    }

    #[test]
    fn what_is_not_acted_on_is_refused_by_name() {
        let want = |field: &str| format!("spec.trafficPolicy.{field}: not supported yet");
        for field in ["tls", "portLevelSettings", "tunnel", "proxyProtocol"] {
            refused(&format!("{{host: a, trafficPolicy: {{{field}: {{}}}}}}"), &want(field));
        }
    }
}
