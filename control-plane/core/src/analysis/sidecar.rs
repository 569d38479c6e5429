//! Checks of Sidecars.

use std::sync::Arc;

use rutter_api::config::istio::Sidecar;
use rutter_api::{Config, Hostname, Labels};

use super::code::Code;
use super::finding::Found;
use super::surroundings::Surroundings;
use crate::model::ExportTo;
use crate::visibility::Egress;

pub(super) fn check(config: &Config, spec: &Sidecar, around: &Surroundings<'_>, found: &mut Found<'_>) {
    check_selector(config, spec, around, found);
    check_egress(config, spec, around, found);
    let namespace = &config.key.namespace;
    let root = &around.settings().root_namespace;
    let of_root = around.sidecars_of(root).into_iter().find(|other| selector_of(other).is_none());
    let is_narrow = |other: &&Arc<Config>| {
        other.spec.as_sidecar().is_some_and(|sidecar| !Egress::new(sidecar, namespace).is_everything())
    };
    let inherits = around.settings().inherit_egress;
    if let Some(other) = of_root.filter(|other| namespace != root && !inherits && is_narrow(other))
        && spec.egress.is_empty()
    {
        let cause =
            format!("it says nothing of egress, so that its workloads see everything, although {} does not", other.key);
        let fix = "Write egress here as well, or let such Sidecars inherit it with --inherit-egress.";
        found.add(Code::SidecarSeesEverything, "spec.egress", cause, fix);
    }
    if let Some(policy) = &spec.outbound_traffic_policy
        && policy.egress_proxy.is_some()
    {
        let path = "spec.outboundTrafficPolicy.egressProxy";
        let cause = "Istio may drop the field";
        found.add(Code::Deprecated, path, cause, "Route by a VirtualService for the hosts that are meant.");
        check_egress_proxy(config, spec, around, found);
    }
}

fn check_egress_proxy(config: &Config, spec: &Sidecar, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let policy = spec.outbound_traffic_policy.as_ref();
    let Some(proxy) = policy.and_then(|policy| policy.egress_proxy.as_deref()) else { return };
    if around.services_seen(&proxy.host, &config.key.namespace).is_empty() {
        let path = "spec.outboundTrafficPolicy.egressProxy.host";
        let cause = format!("no service {} is known; traffic to unknown hosts is answered 503", proxy.host);
        found.add(Code::ReferencedResourceNotFound, path, cause, "Apply the service, or correct the name.");
    }
}

/// Returns the labels by which a Sidecar selects workloads. `None` means that it is for all.
fn selector_of(config: &Config) -> Option<&Labels> {
    let labels = &config.spec.as_sidecar()?.workload_selector.as_ref()?.labels;
    (!labels.is_empty()).then_some(labels)
}

fn check_selector(config: &Config, _: &Sidecar, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let namespace = &config.key.namespace;
    let others = around.sidecars_of(namespace).into_iter().filter(|other| other.key != config.key);
    let Some(selector) = selector_of(config) else {
        let others: Vec<String> =
            others.filter(|other| selector_of(other).is_none()).map(|other| other.key.to_string()).collect();
        if !others.is_empty() {
            let cause = format!("{} has no workloadSelector either; the oldest counts", others.join(", "));
            let fix = "Keep one of them, or give the others a workloadSelector.";
            found.add(Code::MultipleSidecarsWithoutWorkloadSelectors, "spec.workloadSelector", cause, fix);
        }
        return;
    };
    let selected: Vec<&Labels> = around.workloads_of(namespace).filter(|labels| selector.selects(labels)).collect();
    let has_same = |other: &&Arc<Config>| {
        selector_of(other).is_some_and(|other| selected.iter().any(|labels| other.selects(labels)))
    };
    let others: Vec<String> = others.filter(has_same).map(|other| other.key.to_string()).collect();
    if !others.is_empty() {
        let cause = format!("{} selects some of its workloads too; the oldest counts for them", others.join(", "));
        let fix = "Let each workload be selected by one of them.";
        found.add(Code::ConflictingSidecarWorkloadSelectors, "spec.workloadSelector", cause, fix);
    }
    if selected.is_empty() && around.knows_workloads_of(namespace) {
        let cause = format!("no workload in {namespace} has the labels {selector}");
        let fix = "Correct the labels, or remove the object.";
        found.add(Code::ReferencedResourceNotFound, "spec.workloadSelector.labels", cause, fix);
    }
}

/// One host of an egress listener.
struct Pattern<'a> {
    path: String,
    namespace: Place<'a>,
    /// The host. `None` means every host.
    host: Option<Hostname>,
}

/// The namespaces that a pattern means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Any,
    /// That of each workload, in a Sidecar that is for workloads of several namespaces.
    OfWorkload,
    Named(&'a str),
}

impl Place<'_> {
    fn may_be(self, namespace: &str) -> bool {
        match self {
            Self::Any | Self::OfWorkload => true,
            Self::Named(name) => name == namespace,
        }
    }
}

impl<'a> Pattern<'a> {
    /// Reads a pattern. `own` is what `.` means. `None` means that it lets in nothing.
    fn parse(path: String, text: &'a str, own: Place<'a>) -> Option<Self> {
        let (namespace, host) = text.split_once('/')?;
        let namespace = match namespace {
            "~" => return None,
            "*" => Place::Any,
            "." => own,
            name => Place::Named(name),
        };
        let host = if host == "*" { None } else { Some(host.parse().ok()?) };
        Some(Self { path, namespace, host })
    }

    fn covers(&self, other: &Self) -> bool {
        let covers_host = match (&self.host, &other.host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.covers(other),
        };
        (self.namespace == Place::Any || self.namespace == other.namespace) && covers_host
    }
}

fn check_egress(config: &Config, spec: &Sidecar, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let namespace = &config.key.namespace;
    let is_default = *namespace == around.settings().root_namespace && selector_of(config).is_none();
    let own = if is_default { Place::OfWorkload } else { Place::Named(namespace) };
    let reaches = |export: &ExportTo| is_default || export.reaches(namespace);
    for (at, listener) in spec.egress.iter().enumerate() {
        let hosts = listener.hosts.iter().enumerate();
        let patterns =
            hosts.filter_map(|(number, text)| Pattern::parse(format!("spec.egress[{at}].hosts[{number}]"), text, own));
        let patterns: Vec<Pattern<'_>> = patterns.collect();
        for (number, pattern) in patterns.iter().enumerate() {
            let wider = patterns.iter().enumerate().find(|(other, wider)| {
                *other != number && wider.covers(pattern) && (!pattern.covers(wider) || *other < number)
            });
            if let Some((_, wider)) = wider {
                let cause = format!("{} lets in all of it already", wider.path);
                found.add(Code::SidecarEgressRedundant, &pattern.path, cause, "Remove one of them.");
                continue;
            }
            // A pattern for several hosts is a plan, and not a name that may be wrong.
            let Some(host) = pattern.host.as_ref().filter(|host| !host.is_wildcard()) else { continue };
            let is_defined = around
                .services_named(host)
                .iter()
                .any(|service| reaches(&service.export_to) && pattern.namespace.may_be(service.namespace()));
            let is_routed = around
                .routing(host)
                .any(|routes| reaches(&around.export_of(routes)) && pattern.namespace.may_be(&routes.key.namespace));
            if !is_defined && !is_routed {
                let place = match pattern.namespace {
                    Place::Any | Place::OfWorkload => "any namespace",
                    Place::Named(name) => name,
                };
                let cause = format!("no service {host} in {place} is known, or none that may be seen here");
                let fix = "Correct the host or its namespace: a host is written in full.";
                found.add(Code::SidecarEgressMatchesNothing, &pattern.path, cause, fix);
            }
        }
    }
}
