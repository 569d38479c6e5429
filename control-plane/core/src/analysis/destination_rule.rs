//! Checks of DestinationRules.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::config::istio::{ClientTls, ClientTlsMode, DestinationRule, LoadBalancer, OutlierDetection, Subset};
use rutter_api::{Config, ConfigKey, Hostname, Labels};

use super::code::Code;
use super::finding::Found;
use super::surroundings::Surroundings;
use crate::model::{Endpoint, ExportTo, LOCALITY_LABELS, Service};

pub(super) fn check(config: &Config, spec: &DestinationRule, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let namespace = &config.key.namespace;
    let host = around.full_host(&spec.host, namespace);
    check_tls(spec, found);
    check_failover(spec, found);
    let services = services_of(&host, namespace, around);
    if services.is_empty() {
        let hidden = around.definitions(&host).first();
        let cause = match hidden {
            Some(service) => {
                format!("{host} is defined by {}, which is not exported to {namespace}", service.key.origin)
            }
            None => format!("no service {host} is known; the rule acts on nothing"),
        };
        let fix = "Apply the service, or correct the host: a short name means a service of the rule's own namespace.";
        found.add(Code::UnknownDestinationRuleHost, "spec.host", cause, fix);
        return;
    }
    check_reach(config, &host, &services, around, found);
    for (at, subset) in spec.subsets.iter().enumerate() {
        check_subset((at, subset), &host, &services, around, found);
    }
}

/// Returns the services that a rule of a namespace is about.
fn services_of<'a>(host: &Hostname, namespace: &str, around: &Surroundings<'a>) -> Vec<&'a Arc<Service>> {
    let seen = around.services_seen(host, namespace);
    if !host.is_wildcard() {
        let by_wildcard = if seen.is_empty() { around.wildcard_covering(host, namespace) } else { None };
        return seen.into_iter().chain(by_wildcard).collect();
    }
    let covered = around.covered_by(host).into_iter().filter(|covered| covered != host);
    let covered = covered.flat_map(|host| around.services_seen(&host, namespace));
    seen.into_iter().chain(covered).collect()
}

fn check_tls(spec: &DestinationRule, found: &mut Found<'_>) {
    let selects = spec.workload_selector.is_some();
    let is_unverified = |tls: &ClientTls| {
        let encrypts = matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
        let by_secret = tls.credential_name.is_some() && selects;
        encrypts && tls.ca_certificates.is_none() && !by_secret && tls.insecure_skip_verify != Some(true)
    };
    let host = &spec.host;
    let mut tell = |code: Code, path: String| {
        let cause = format!(
            "connections to {host} are encrypted, and without caCertificates their servers are checked with the system's \
                             authorities only, if the proxy has some"
        );
        found.add(code, path, cause, "Name the authorities in caCertificates.");
    };
    let policies = spec.traffic_policy.iter().map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let of_subsets = spec.subsets.iter().enumerate().filter_map(|(at, subset)| {
        Some((format!("spec.subsets[{at}].trafficPolicy"), subset.traffic_policy.as_ref()?))
    });
    for (path, policy) in policies.chain(of_subsets) {
        if policy.tls.as_ref().is_some_and(is_unverified) {
            tell(Code::NoServerCertificateVerificationDestinationLevel, format!("{path}.tls"));
        }
        for (at, port) in policy.port_level_settings.iter().enumerate() {
            if port.tls.as_ref().is_some_and(is_unverified) {
                let path = format!("{path}.portLevelSettings[{at}].tls");
                tell(Code::NoServerCertificateVerificationPortLevel, path);
            }
        }
    }
}

/// Tells the policies that say where requests go when endpoints fail, and not how that is found out.
fn check_failover(spec: &DestinationRule, found: &mut Found<'_>) {
    let Some(policy) = &spec.traffic_policy else { return };
    let fails_over = |balancer: &Option<LoadBalancer>, detection: &Option<OutlierDetection>| {
        let setting = balancer.as_ref().and_then(|balancer| balancer.locality_lb_setting.as_deref());
        let says_where = setting.is_some_and(|setting| {
            setting.enabled != Some(false) && (!setting.failover.is_empty() || !setting.failover_priority.is_empty())
        });
        says_where && detection.is_none()
    };
    let mut tell = |path: &str| {
        let cause = "without outlierDetection nobody knows that an endpoint fails, so that requests never go elsewhere";
        found.add(Code::FailoverWithoutOutlierDetection, path, cause, "Write outlierDetection: {} beside it.");
    };
    if fails_over(&policy.load_balancer, &policy.outlier_detection) {
        tell("spec.trafficPolicy.loadBalancer.localityLbSetting");
    }
    for (at, port) in policy.port_level_settings.iter().enumerate() {
        if fails_over(&port.load_balancer, &port.outlier_detection) {
            tell(&format!("spec.trafficPolicy.portLevelSettings[{at}].loadBalancer.localityLbSetting"));
        }
    }
}

/// Tells whom a rule does not act on although somebody might think so: those of other namespaces, or anybody at all.
fn check_reach(
    config: &Config,
    host: &Hostname,
    services: &[&Arc<Service>],
    around: &Surroundings<'_>,
    found: &mut Found<'_>,
) {
    let namespace = &config.key.namespace;
    let root = &around.settings().root_namespace;
    let is_beside = services.iter().any(|service| service.namespace() == namespace);
    if !is_beside && namespace != root {
        let of: BTreeSet<&str> = services.iter().map(|service| &**service.namespace()).collect();
        let of: Vec<&str> = of.into_iter().collect();
        let cause = format!(
            "the rule acts on clients in {namespace} only, whatever its exportTo says, because it is neither in the namespace of {host} \
             ({}) nor in the root namespace",
            of.join(", ")
        );
        found.add(
            Code::DestinationRuleForOwnNamespaceOnly,
            "metadata.namespace",
            cause,
            "Move it to the namespace of the service, if other clients are meant.",
        );
    }
    // Rules of one namespace for one host count as one, so that only those of other namespaces and hosts come before this one.
    let Some(spec) = config.spec.as_destination_rule() else { return };
    if spec.workload_selector.is_some() || namespace != root {
        return;
    }
    let before = |service: &Arc<Service>| -> Option<ConfigKey> {
        let rules = around.rules_about(&service.key.host);
        let mut own = rules.filter(|rule| {
            let is_for_all = around.export_of(rule) == ExportTo::All
                && rule.spec.as_destination_rule().is_some_and(|rule| rule.workload_selector.is_none());
            is_for_all && rule.key.namespace == *service.namespace() && rule.key.namespace != *root
        });
        own.next().map(|rule| rule.key.clone())
    };
    let shadows: Option<BTreeSet<ConfigKey>> = services.iter().map(|service| before(service)).collect();
    if let Some(shadows) = shadows {
        let shadows: Vec<String> = shadows.iter().map(ConfigKey::to_string).collect();
        let cause =
            format!("no client uses the rule: {} in the namespace of the service comes before it", shadows.join(", "));
        found.add(Code::DestinationRuleShadowed, "", cause, "Remove it, or say in the other what this one says.");
    }
}

fn check_subset(
    (at, subset): (usize, &Subset),
    host: &Hostname,
    services: &[&Arc<Service>],
    around: &Surroundings<'_>,
    found: &mut Found<'_>,
) {
    let name = &subset.name;
    let of_services = services.iter().flat_map(|service| around.endpoints(&service.key).iter());
    let endpoints: Vec<&Endpoint> = of_services.collect();
    let has_labels = |endpoint: &Endpoint| subset.labels.selects(&with_place(endpoint));
    let is_told = services.iter().all(|service| service.discovery.is_told());
    // Without any endpoint there is another trouble, or nothing is known of Pods.
    let is_known = is_told && endpoints.iter().any(|endpoint| !endpoint.labels.is_empty());
    if is_known && !subset.labels.is_empty() && !endpoints.into_iter().any(has_labels) {
        let labels = &subset.labels;
        let cause =
            format!("no endpoint of {host} has the labels {labels}; requests to the subset {name} are answered 503");
        let fix = "Correct the labels, or start such workloads.";
        found.add(Code::DestinationRuleSubsetNotSelectPods, format!("spec.subsets[{at}].labels"), cause, fix);
    }
    if subset.traffic_policy.is_some() && !host.is_wildcard() && !around.is_subset_routed(host, name) {
        let cause = format!("no route leads to the subset {name}, so that its policy never acts");
        let fix =
            format!("Route to the subset in a VirtualService for {host}, or put the policy into spec.trafficPolicy.");
        found.add(Code::SubsetPolicyUnused, format!("spec.subsets[{at}].trafficPolicy"), cause, fix);
    }
}

/// Returns the labels of an endpoint with those of its place.
fn with_place(endpoint: &Endpoint) -> Labels {
    let own = endpoint.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let place = LOCALITY_LABELS.into_iter().zip(endpoint.locality.iter()).filter(|(_, value)| !value.is_empty());
    own.chain(place.map(|(name, value)| (name.to_owned(), value.to_string()))).collect()
}
