//! What is wrong in a DestinationRule that has the right types.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::policy::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, CookieAttribute, HashCookie, LoadBalancer,
    OutlierDetection, PortTrafficPolicy, SimpleLb, TrafficPolicy,
};
use super::{DestinationRule, locality};
use crate::config::checks::{Faults, check_export_to};
use crate::dns_name::{LABEL_MAX, check_dns_name, shown};
use crate::invalid::Invalid;
use crate::names::Hostname;

/// Returns what is wrong in a DestinationRule that has the right types.
pub(crate) fn check(spec: &DestinationRule) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{index}].name");
        if check_dns_name(&path, &subset.name, LABEL_MAX).is_err() || subset.name.contains('.') {
            let want = format!("1 to {LABEL_MAX} lower-case letters, digits and \"-\"");
            faults.push(Invalid::new(&path, want, shown(&subset.name)));
        } else if !names.insert(&subset.name) {
            faults.push(Invalid::new(&path, "a name used once in this rule", format!("{:?} again", subset.name)));
        }
        if let Some(policy) = &subset.traffic_policy {
            check_policy(&format!("spec.subsets[{index}].trafficPolicy"), policy, &mut faults);
        }
    }
    if let Some(policy) = &spec.traffic_policy {
        check_policy("spec.trafficPolicy", policy, &mut faults);
    }
    check_export_to(&spec.export_to, &mut faults);
    faults
}

fn check_policy(path: &str, policy: &TrafficPolicy, faults: &mut Faults) {
    let TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        retry_budget,
        proxy_protocol: _,
        tunnel,
        port_level_settings,
    } = policy;
    let parts = Parts { load_balancer, connection_pool, outlier_detection, tls };
    check_parts(path, &parts, faults);
    if let Some(percent) = retry_budget.as_ref().and_then(|budget| budget.percent) {
        check_percent(&format!("{path}.retryBudget.percent"), percent, faults);
    }
    if let Some(tunnel) = tunnel {
        let host = &tunnel.target_host;
        let is_name = host.parse::<Hostname>().is_ok_and(|name| !name.is_wildcard());
        if !is_name && host.parse::<IpAddr>().is_err() {
            let want = "an IP address or a DNS name";
            faults.push(Invalid::new(format!("{path}.tunnel.targetHost"), want, format!("{host:?}")));
        }
    }
    let mut ports = BTreeSet::new();
    for (index, settings) in port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        let PortTrafficPolicy { port, load_balancer, connection_pool, outlier_detection, tls } = settings;
        if !ports.insert(port.number) {
            faults.push(Invalid::new(format!("{path}.port.number"), "a port used once", port.number));
        }
        check_parts(&path, &Parts { load_balancer, connection_pool, outlier_detection, tls }, faults);
    }
}

/// The parts that a policy and the policy of a port have in common.
struct Parts<'a> {
    load_balancer: &'a Option<LoadBalancer>,
    connection_pool: &'a Option<ConnectionPool>,
    outlier_detection: &'a Option<OutlierDetection>,
    tls: &'a Option<ClientTls>,
}

fn check_parts(path: &str, parts: &Parts<'_>, faults: &mut Faults) {
    if let Some(load_balancer) = parts.load_balancer {
        check_load_balancer(&format!("{path}.loadBalancer"), load_balancer, faults);
    }
    let tcp = parts.connection_pool.as_ref().map(|pool| &pool.tcp);
    if tcp.and_then(|tcp| tcp.connect_timeout).is_some_and(|timeout| timeout.as_millis() == 0) {
        faults.push(Invalid::new(format!("{path}.connectionPool.tcp.connectTimeout"), "at least 1ms", "less"));
    }
    if let Some(detection) = parts.outlier_detection {
        check_outlier_detection(&format!("{path}.outlierDetection"), detection, faults);
    }
    if let Some(tls) = parts.tls {
        check_tls(&format!("{path}.tls"), tls, faults);
    }
}

fn check_load_balancer(path: &str, load_balancer: &LoadBalancer, faults: &mut Faults) {
    let LoadBalancer { simple, consistent_hash, warmup, warmup_duration_secs, locality_lb_setting } = load_balancer;
    if let Some(setting) = locality_lb_setting {
        locality::check(&format!("{path}.localityLbSetting"), setting, faults);
    }
    if simple.is_some() && consistent_hash.is_some() {
        faults.push(Invalid::new(path, "one of simple and consistentHash", "both"));
    }
    let can_warm_up = match simple {
        None => consistent_hash.is_none(),
        Some(SimpleLb::Unspecified | SimpleLb::RoundRobin | SimpleLb::LeastRequest | SimpleLb::LeastConn) => true,
        Some(SimpleLb::Random | SimpleLb::Passthrough) => false,
    };
    if !can_warm_up && (warmup.is_some() || warmup_duration_secs.is_some()) {
        let want = "warmup with ROUND_ROBIN or LEAST_REQUEST alone";
        faults.push(Invalid::new(format!("{path}.warmup"), want, "another load balancer"));
    }
    if let Some(warmup) = warmup {
        if warmup.duration.is_none_or(|duration| duration.as_millis() == 0) {
            faults.push(Invalid::new(format!("{path}.warmup.duration"), "at least 1ms", "less or none"));
        }
        if let Some(percent) = warmup.minimum_percent {
            check_percent(&format!("{path}.warmup.minimumPercent"), percent, faults);
        }
        if let Some(aggression) = warmup.aggression.filter(|aggression| *aggression < 1.0) {
            faults.push(Invalid::new(format!("{path}.warmup.aggression"), "at least 1", aggression));
        }
    }
    if let Some(hash) = consistent_hash {
        check_consistent_hash(&format!("{path}.consistentHash"), hash, faults);
    }
}

fn check_consistent_hash(path: &str, hash: &ConsistentHash, faults: &mut Faults) {
    let ConsistentHash {
        http_header_name,
        http_cookie,
        use_source_ip,
        http_query_parameter_name,
        ring_hash,
        maglev,
        minimum_ring_size: _,
    } = hash;
    let sources = [
        http_header_name.is_some(),
        http_cookie.is_some(),
        use_source_ip.unwrap_or(false),
        http_query_parameter_name.is_some(),
    ];
    let count = sources.into_iter().filter(|is_given| *is_given).count();
    if count != 1 {
        let want = "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
        faults.push(Invalid::new(path, want, if count == 0 { "none" } else { "several" }));
    }
    check_hashed(path, hash, faults);
    if ring_hash.is_some() && maglev.is_some() {
        faults.push(Invalid::new(path, "one of ringHash and maglev", "both"));
    }
    let table_size = maglev.as_ref().and_then(|maglev| maglev.table_size);
    if let Some(size) = table_size.filter(|size| *size > 5_000_011 || !is_prime(*size)) {
        faults.push(Invalid::new(format!("{path}.maglev.tableSize"), "a prime of at most 5000011", size));
    }
}

/// Checks the names of what is hashed.
fn check_hashed(path: &str, hash: &ConsistentHash, faults: &mut Faults) {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b";=,".contains(&b));
    let ConsistentHash { http_header_name, http_cookie, http_query_parameter_name, .. } = hash;
    if let Some(name) = http_header_name.as_ref().filter(|name| !is_name(name)) {
        faults.push(Invalid::new(format!("{path}.httpHeaderName"), "the name of a header", format!("{name:?}")));
    }
    if http_query_parameter_name.as_ref().is_some_and(String::is_empty) {
        faults.push(Invalid::new(format!("{path}.httpQueryParameterName"), "a name", "none"));
    }
    let Some(HashCookie { name, path: cookie_path, ttl, attributes }) = http_cookie else { return };
    let path = format!("{path}.httpCookie");
    if !is_name(name) {
        faults.push(Invalid::new(format!("{path}.name"), "the name of a cookie", format!("{name:?}")));
    }
    let is_value = |value: &str| value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b';');
    if let Some(value) = cookie_path.as_ref().filter(|value| !is_value(value)) {
        faults.push(Invalid::new(format!("{path}.path"), "a value without `;`", format!("{value:?}")));
    }
    for (number, CookieAttribute { name, value }) in attributes.iter().enumerate() {
        if !is_name(name) {
            let want = "the name of an attribute";
            faults.push(Invalid::new(format!("{path}.attributes[{number}].name"), want, format!("{name:?}")));
        }
        if !is_value(value) {
            let want = "a value without `;`";
            faults.push(Invalid::new(format!("{path}.attributes[{number}].value"), want, format!("{value:?}")));
        }
    }
    if !attributes.is_empty() && ttl.is_none() {
        let want = "httpCookie.ttl beside it, with which the proxy sets the cookie";
        faults.push(Invalid::new(format!("{path}.attributes"), want, "none"));
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn check_outlier_detection(path: &str, detection: &OutlierDetection, faults: &mut Faults) {
    let percents =
        [("maxEjectionPercent", detection.max_ejection_percent), ("minHealthPercent", detection.min_health_percent)];
    for (name, percent) in percents {
        if let Some(percent) = percent.filter(|percent| *percent > 100) {
            faults.push(Invalid::new(format!("{path}.{name}"), "0..=100", percent));
        }
    }
    for (name, duration) in [("interval", detection.interval), ("baseEjectionTime", detection.base_ejection_time)] {
        if duration.is_some_and(|duration| duration.as_millis() == 0) {
            faults.push(Invalid::new(format!("{path}.{name}"), "at least 1ms", "less"));
        }
    }
    if detection.consecutive_local_origin_failures.is_some() && !detection.split_external_local_origin_errors {
        let want = "splitExternalLocalOriginErrors: true beside it";
        faults.push(Invalid::new(format!("{path}.consecutiveLocalOriginFailures"), want, "no such field"));
    }
}

fn check_tls(path: &str, tls: &ClientTls, faults: &mut Faults) {
    let ClientTls { mode, credential_name, client_certificate, private_key, .. } = tls;
    match mode {
        ClientTlsMode::Disable => {}
        ClientTlsMode::Simple => {
            for (name, file) in [("clientCertificate", client_certificate), ("privateKey", private_key)] {
                if file.is_some() {
                    faults.push(Invalid::new(format!("{path}.{name}"), "mode MUTUAL beside it", "SIMPLE"));
                }
            }
        }
        ClientTlsMode::Mutual => {
            for (name, file) in [("clientCertificate", client_certificate), ("privateKey", private_key)] {
                if file.as_ref().is_none_or(String::is_empty) && credential_name.is_none() {
                    faults.push(Invalid::new(
                        format!("{path}.{name}"),
                        "a file or credentialName, because the mode is MUTUAL",
                        "none",
                    ));
                }
            }
        }
        ClientTlsMode::IstioMutual => {
            let hint = "ISTIO_MUTUAL; certificates of the mesh come with identities";
            faults.push(Invalid::not_supported(format!("{path}.mode")).hint(hint));
        }
    }
}

fn check_percent(path: &str, percent: f64, faults: &mut Faults) {
    if !(0.0..=100.0).contains(&percent) {
        faults.push(Invalid::new(path, "0..=100", percent));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("DestinationRule", spec), &format!("destinationRule default/x: {want}"));
    }

    /// Checks what is refused of a policy, wherever it stands.
    fn refused_policy(policy: &str, want: &str) {
        refused(&format!("{{host: a, trafficPolicy: {{{policy}}}}}"), &format!("spec.trafficPolicy.{want}"));
        let subset = format!("{{host: a, subsets: [{{name: v1, trafficPolicy: {{{policy}}}}}]}}");
        refused(&subset, &format!("spec.subsets[0].trafficPolicy.{want}"));
        let port = format!("{{host: a, trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, {policy}}}]}}}}");
        refused(&port, &format!("spec.trafficPolicy.portLevelSettings[0].{want}"));
    }

    #[test]
    fn policies_are_checked_wherever_they_stand() {
        refused_policy(
            "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
            "loadBalancer: want one of simple",
        );
        refused_policy(
            "loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}",
            "loadBalancer.warmup: want warmup with",
        );
        refused_policy("loadBalancer: {warmup: {}}", "loadBalancer.warmup.duration: want at least 1ms");
        refused_policy(
            "loadBalancer: {warmup: {duration: 1s, minimumPercent: 101, aggression: 2}}",
            "loadBalancer.warmup.minimumPercent: want 0..=100, got 101",
        );
        refused_policy(
            "loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}",
            "loadBalancer.warmup.aggression: want",
        );
        refused_policy("loadBalancer: {consistentHash: {}}", "loadBalancer.consistentHash: want one of httpHeaderName");
        refused_policy(
            "loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: true}}",
            "loadBalancer.consistentHash: want one of httpHeaderName, httpCookie, useSourceIp and \
             httpQueryParameterName, got several",
        );
        refused_policy(
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}",
            "loadBalancer.consistentHash.maglev.tableSize: want a prime of at most 5000011, got 1000",
        );
        for (cookie, said) in [
            ("name: ''", "httpCookie.name: want the name of a cookie, got \"\""),
            ("name: a, path: '/; Secure'", "httpCookie.path: want a value without `;`, got \"/; Secure\""),
            ("name: a, ttl: 1s, attributes: [{name: 'a b'}]", "httpCookie.attributes[0].name: want the name of"),
            (
                "name: a, ttl: 1s, attributes: [{name: a, value: 'b; c'}]",
                "httpCookie.attributes[0].value: want a value",
            ),
            ("name: a, attributes: [{name: Secure}]", "httpCookie.attributes: want httpCookie.ttl beside it"),
        ] {
            let policy = format!("loadBalancer: {{consistentHash: {{httpCookie: {{{cookie}}}}}}}");
            refused_policy(&policy, &format!("loadBalancer.consistentHash.{said}"));
        }
        refused_policy(
            "loadBalancer: {consistentHash: {httpHeaderName: 'a b'}}",
            "loadBalancer.consistentHash.httpHeaderName: want the name of a header, got \"a b\"",
        );
        refused_policy(
            "loadBalancer: {consistentHash: {httpQueryParameterName: ''}}",
            "loadBalancer.consistentHash.httpQueryParameterName: want a name",
        );
        refused_policy(
            "connectionPool: {tcp: {connectTimeout: 0s}}",
            "connectionPool.tcp.connectTimeout: want at least",
        );
        refused_policy("outlierDetection: {minHealthPercent: 101}", "outlierDetection.minHealthPercent: want 0..=100");
        refused_policy("outlierDetection: {interval: 0s}", "outlierDetection.interval: want at least 1ms");
        refused_policy(
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            "outlierDetection.consecutiveLocalOriginFailures: want splitExternalLocalOriginErrors: true beside it",
        );
        refused_policy(
            "tls: {mode: MUTUAL, clientCertificate: a}",
            "tls.privateKey: want a file or credentialName, because the mode",
        );
        refused_policy("tls: {mode: SIMPLE, privateKey: a}", "tls.privateKey: want mode MUTUAL beside it, got SIMPLE");
        refused_policy(
            "tls: {mode: ISTIO_MUTUAL}",
            "tls.mode: not supported yet (ISTIO_MUTUAL; certificates of the mesh come with identities)",
        );
    }

    #[test]
    fn a_port_has_one_policy() {
        refused(
            "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}}",
            "spec.trafficPolicy.portLevelSettings[1].port.number: want a port used once, got 80",
        );
    }

    #[test]
    fn subsets_have_names_of_their_own() {
        refused(
            "{host: a, subsets: [{name: v1}, {name: v1}]}",
            "spec.subsets[1].name: want a name used once in this rule, got \"v1\" again",
        );
        for name in ["a|b", "", "V2", "v*", "a.b"] {
            let want = format!("spec.subsets[0].name: want 1 to 63 lower-case letters, digits and \"-\", got {name:?}");
            refused(&format!("{{host: a, subsets: [{{name: '{name}'}}]}}"), &want);
        }
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
        refused_policy("tls: {mode: SIMPLE, credentialName: a/b}", "tls.credentialName: want the name of a Secret");
        let want = "spec.trafficPolicy.tunnel.targetHost: want an IP address or a DNS name, got \"a b\"";
        refused("{host: a, trafficPolicy: {tunnel: {targetHost: a b, targetPort: 1}}}", want);
    }
}
