//! Fields that the APIs have and Rutter does not act on yet: refused by name, never ignored.

use super::kind::Kind;

const VIRTUAL_SERVICE: &[&str] = &[
    "spec.tls",
    "spec.tcp",
    "spec.http[].redirect",
    "spec.http[].directResponse",
    "spec.http[].delegate",
    "spec.http[].rewrite",
    "spec.http[].retries",
    "spec.http[].fault",
    "spec.http[].mirror",
    "spec.http[].mirrors",
    "spec.http[].mirrorPercent",
    "spec.http[].mirrorPercentage",
    "spec.http[].corsPolicy",
    "spec.http[].headers",
    "spec.http[].route[].headers",
    "spec.http[].match[].scheme",
    "spec.http[].match[].method",
    "spec.http[].match[].authority",
    "spec.http[].match[].port",
    "spec.http[].match[].sourceLabels",
    "spec.http[].match[].sourceNamespace",
    "spec.http[].match[].gateways",
    "spec.http[].match[].queryParams",
    "spec.http[].match[].ignoreUriCase",
    "spec.http[].match[].withoutHeaders",
    "spec.http[].match[].statPrefix",
    "spec.http[].match[].uri.regex",
    "spec.http[].match[].headers.*.regex",
];

const DESTINATION_RULE: &[&str] = &[
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

const SIDECAR: &[&str] = &[
    "spec.egress[].port",
    "spec.egress[].bind",
    "spec.egress[].captureMode",
    "spec.ingress[].bind",
    "spec.ingress[].captureMode",
    "spec.ingress[].tls",
    "spec.ingress[].connectionPool",
    "spec.inboundConnectionPool",
    "spec.outboundTrafficPolicy.egressProxy",
];

const SERVICE_ENTRY: &[&str] = &["spec.subjectAltNames", "spec.endpoints[].network", "spec.endpoints[].serviceAccount"];

const WORKLOAD_ENTRY: &[&str] = &["spec.network", "spec.serviceAccount"];

/// Whether `path` (`spec.http[3].fault`) is such a field of `kind`.
pub(crate) fn is_listed(kind: Kind, path: &str) -> bool {
    let listed = match kind {
        Kind::VirtualService => VIRTUAL_SERVICE,
        Kind::DestinationRule => DESTINATION_RULE,
        Kind::Sidecar => SIDECAR,
        Kind::ServiceEntry => SERVICE_ENTRY,
        Kind::WorkloadEntry => WORKLOAD_ENTRY,
        Kind::Namespace | Kind::Service | Kind::EndpointSlice => &[],
    };
    listed.iter().any(|pattern| matches(pattern, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut wants = pattern.split('.');
    let mut gots = path.split('.');
    loop {
        match (wants.next(), gots.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(got)) if want == without_index(got) => {}
            _ => return false,
        }
    }
}

fn without_index(part: &str) -> String {
    match part.split_once('[') {
        Some((name, _)) => format!("{name}[]"),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_map_keys_match_any() {
        assert!(is_listed(Kind::VirtualService, "spec.http[12].fault"));
        assert!(is_listed(Kind::VirtualService, "spec.http[0].match[1].headers.end-user.regex"));
        assert!(!is_listed(Kind::VirtualService, "spec.http[0].faults"));
        assert!(!is_listed(Kind::Sidecar, "spec.http[0].fault"));
    }
}
