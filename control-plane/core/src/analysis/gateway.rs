//! Checks of Gateways.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::config::istio::{Gateway, Server};
use rutter_api::{Config, ConfigKey, Labels};

use super::code::Code;
use super::facts::certificates_of;
use super::finding::Found;
use super::surroundings::Surroundings;
use crate::model::credentials_of;

pub(super) fn check(config: &Config, spec: &Gateway, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let selected: Vec<(&Arc<str>, &Labels)> =
        around.workloads().filter(|(_, labels)| spec.selector.selects(labels)).collect();
    if around.knows_workloads() && selected.is_empty() {
        let cause = format!("no workload has the labels {}; nobody serves the Gateway", spec.selector);
        let fix = "Start such a gateway, or correct the labels.";
        found.add(Code::ReferencedResourceNotFound, "spec.selector", cause, fix);
    }
    check_credentials(config, &selected, around, found);
    check_conflicts(config, spec, &selected, around, found);
    check_ports(spec, &selected, around, found);
    check_certificates(config, spec, around, found);
}

/// Tells the Secrets that no gateway could be sent, because its namespace has none of that name.
fn check_credentials(
    config: &Config,
    selected: &[(&Arc<str>, &Labels)],
    around: &Surroundings<'_>,
    found: &mut Found<'_>,
) {
    let namespaces: BTreeSet<&str> = selected.iter().map(|(namespace, _)| &***namespace).collect();
    for credential in credentials_of(config) {
        let name = &credential.name;
        let is_there = |namespace: &str| {
            let mut keys = credential.secrets(namespace).into_iter();
            keys.any(|key| around.written(&key).is_some())
        };
        let cause = if namespaces.is_empty() {
            let is_known = around.knows_secret(&credential.secrets(""));
            (!is_known).then(|| format!("no Secret {name} is known in any namespace; connections that need it fail"))
        } else {
            let without: Vec<&str> = namespaces.iter().copied().filter(|namespace| !is_there(namespace)).collect();
            (!without.is_empty()).then(|| {
                format!(
                    "no Secret {name} is in {}, where its gateway is; connections that need it fail",
                    without.join(", ")
                )
            })
        };
        if let Some(cause) = cause {
            let fix = "Apply the Secret in the namespace of the gateway's workload.";
            found.add(Code::ReferencedResourceNotFound, "spec.servers", cause, fix);
        }
    }
}

/// Returns whether two Gateways are served by one workload: their selectors say so, or some known workload has both.
fn share_workload(one: &Gateway, other: &Gateway, selected: &[(&Arc<str>, &Labels)]) -> bool {
    one.selector == other.selector || selected.iter().any(|(_, labels)| other.selector.selects(labels))
}

fn check_conflicts(
    config: &Config,
    spec: &Gateway,
    selected: &[(&Arc<str>, &Labels)],
    around: &Surroundings<'_>,
    found: &mut Found<'_>,
) {
    for other in around.gateways().filter(|other| other.key != config.key) {
        let Some(gateway) = other.spec.as_gateway().filter(|gateway| share_workload(spec, gateway, selected)) else {
            continue;
        };
        for (at, server) in spec.servers.iter().enumerate() {
            let beside = gateway
                .servers
                .iter()
                .filter(|theirs| theirs.port.number == server.port.number && theirs.bind == server.bind);
            for theirs in beside {
                check_servers((&format!("spec.servers[{at}]"), config, server), (other, theirs), found);
            }
        }
    }
}

/// Tells what of two servers at one port of one workload cannot be.
fn check_servers(
    (path, config, server): (&str, &Config, &Server),
    (other, theirs): (&Config, &Server),
    found: &mut Found<'_>,
) {
    let port = server.port.number;
    let sort = |server: &Server| match server.port.protocol.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => "HTTP",
        "HTTPS" | "TLS" => "TLS",
        _ => "TCP",
    };
    let is_older = (other.created, &other.key) < (config.created, &config.key);
    if sort(server) != sort(theirs) {
        if is_older {
            let cause = format!(
                "the older {} has port {port} for {}, which cannot be shared; what comes for this server is not served",
                other.key, theirs.port.protocol
            );
            found.add(Code::GatewayPortTaken, path, cause, "Give one of them another port.");
        }
        return;
    }
    // Of a wildcard and a host that it covers the more specific one counts.
    let common = server.hosts.iter().filter(|own| {
        let meets = |their: &Option<Box<str>>| their.is_none() || own.namespace.is_none() || *their == own.namespace;
        theirs.hosts.iter().any(|their| their.host == own.host && meets(&their.namespace))
    });
    let common: BTreeSet<&str> = common.map(|own| own.host.as_str()).collect();
    if !common.is_empty() {
        let hosts: Vec<&str> = common.into_iter().collect();
        let cause = format!("{} has {} at port {port} of the same workload too", other.key, hosts.join(", "));
        let fix = "Give each host to one of them.";
        found.add(Code::ConflictingGateways, path, cause, fix);
    }
}

/// Tells the ports that no service in front of the gateway has.
fn check_ports(spec: &Gateway, selected: &[(&Arc<str>, &Labels)], around: &Surroundings<'_>, found: &mut Found<'_>) {
    let in_front = |namespace: &Arc<str>, labels: &Labels| -> Vec<u16> {
        let selecting = around.services_of(namespace).filter(|service| {
            let selector = service.selector.as_ref().filter(|selector| !selector.is_empty());
            service.is_kubernetes() && selector.is_some_and(|selector| selector.selects(labels))
        });
        selecting.flat_map(|service| &service.ports).flat_map(|port| [port.number, port.target]).collect()
    };
    let ports: BTreeSet<u16> = selected.iter().flat_map(|(namespace, labels)| in_front(namespace, labels)).collect();
    // Without a service in front of it a gateway is reached otherwise, and nothing can be said.
    if ports.is_empty() {
        return;
    }
    for (at, server) in spec.servers.iter().enumerate() {
        let number = server.port.number.get();
        if !ports.contains(&number) {
            let cause =
                format!("no service of the gateway's workloads has port {number}, as a port or as a targetPort");
            let fix = "Add the port to the service, or correct it here.";
            found.add(Code::GatewayPortNotDefinedOnService, format!("spec.servers[{at}].port.number"), cause, fix);
        }
    }
}

/// Tells the certificates that another Gateway of the same workload has too.
fn check_certificates(config: &Config, spec: &Gateway, around: &Surroundings<'_>, found: &mut Found<'_>) {
    for (at, server) in spec.servers.iter().enumerate() {
        let names = server.tls.as_deref().map(certificates_of).unwrap_or_default();
        for name in names {
            let sharing = around.gateways_with(&name);
            let same_workload = |key: &&ConfigKey| {
                let gateway = around.written(key).and_then(|other| other.spec.as_gateway());
                **key != config.key && gateway.is_some_and(|gateway| gateway.selector == spec.selector)
            };
            let others: Vec<String> = sharing.filter(same_workload).map(|key| key.to_string()).collect();
            if !others.is_empty() {
                let cause = format!(
                    "{} has {name} too: browsers use one HTTP/2 connection for the hosts of both, and get 404 for those of the other",
                    others.join(", ")
                );
                let fix = "Put the hosts into one Gateway, or give each a certificate of its own.";
                found.add(Code::GatewayDuplicateCertificate, format!("spec.servers[{at}].tls"), cause, fix);
            }
        }
    }
}
