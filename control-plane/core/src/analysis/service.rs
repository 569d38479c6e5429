//! Checks of services, of Ingresses and of the mesh config.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::config::istio::{Resolution, ServiceEntry};
use rutter_api::config::kubernetes::{Ingress, IngressControllerMode, KubernetesService, MeshConfig};
use rutter_api::{Config, Hostname};

use super::code::Code;
use super::finding::Found;
use super::surroundings::{Surroundings, meet};
use crate::model::{Protocol, Service, ServiceKey};

pub(super) fn check(config: &Config, spec: &KubernetesService, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let host = Hostname::kubernetes(&config.key.name, &config.key.namespace, &around.settings().domain);
    for (at, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let is_unknown = Protocol::of_port(&port.protocol, port.number) == Protocol::Unknown;
        if spec.external_name.is_some() && (port.name.is_empty() || port.name == "tcp" || port.name.starts_with("tcp-"))
        {
            let cause = format!(
                "all connections of the mesh to port {} go to this service, whatever their host is",
                port.number
            );
            let fix = "Name the port after its protocol, such as http or tls.";
            found.add(Code::ExternalNameServiceTypeInvalidPortName, format!("{path}.name"), cause, fix);
        } else if is_unknown && is_anybodys_business(&host, around) {
            let cause = format!(
                "neither the name {:?} nor an appProtocol of port {} tells its protocol; it is found out from the first bytes of each \
                 connection, and routes hold for what turns out to be HTTP",
                port.name, port.number
            );
            let fix = "Name it PROTOCOL or PROTOCOL-SUFFIX, such as http-web, or write appProtocol.";
            found.add(Code::PortNameIsNotUnderNamingConvention, format!("{path}.name"), cause, fix);
        }
    }
    check_shared_ports(config, around, found);
}

/// Returns whether routes or a rule are about a service.
fn is_anybodys_business(host: &Hostname, around: &Surroundings<'_>) -> bool {
    let mut routing = around.routing(host).chain(around.sending_to(host));
    let mut rules = around.rules_about(host);
    routing.next().is_some() || rules.next().is_some()
}

pub(super) fn check_entry(config: &Config, spec: &ServiceEntry, around: &Surroundings<'_>, found: &mut Found<'_>) {
    check_addresses(config, spec, around, found);
    check_protocols(config, spec, around, found);
    check_shared_ports(config, around, found);
}

fn check_addresses(config: &Config, spec: &ServiceEntry, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let has_given = |host: &Hostname| {
        let key = ServiceKey { host: host.clone(), origin: config.key.clone() };
        around.addressed(&key).is_some_and(|service| service.wants_address && !service.addresses.is_empty())
    };
    if !spec.addresses.is_empty() || spec.hosts.iter().all(has_given) {
        return;
    }
    // Requests for hosts that are resolved as they are named carry their name.
    if spec.resolution == Resolution::DynamicDns {
        return;
    }
    for (at, port) in spec.ports.iter().enumerate() {
        let is_tcp = port.protocol.is_empty() && Protocol::from_word(&port.name) == Protocol::Unknown
            || port.protocol.eq_ignore_ascii_case("tcp");
        if is_tcp {
            let number = port.number;
            let cause = format!(
                "without an address all TCP connections to port {number} go to this service, whatever their host is"
            );
            let fix = "Write addresses, or name the protocol if it is HTTP or TLS.";
            found.add(Code::ServiceEntryAddressesRequired, format!("spec.ports[{at}]"), cause, fix);
        }
    }
}

fn check_protocols(config: &Config, spec: &ServiceEntry, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let export = around.export_of(config);
    for (at, port) in spec.ports.iter().enumerate() {
        let mut rivals: BTreeSet<String> = BTreeSet::new();
        for host in &spec.hosts {
            for service in around.definitions(host).iter().filter(|service| service.key.origin != config.key) {
                let Some(other) = around.written(&service.key.origin) else { continue };
                let Some(entry) = other.spec.as_service_entry() else { continue };
                let differs = entry
                    .ports
                    .iter()
                    .any(|other| other.number == port.number && !other.protocol.eq_ignore_ascii_case(&port.protocol));
                if differs && meet(&export, &around.export_of(other)) {
                    rivals.insert(format!("{} for {host}", other.key));
                }
            }
        }
        if !rivals.is_empty() {
            let rivals: Vec<String> = rivals.into_iter().collect();
            let cause = format!("port {} has another protocol in {}", port.number, rivals.join(", "));
            let fix = "Write one protocol in all of them.";
            found.add(Code::ConflictingServiceEntryProtocol, format!("spec.ports[{at}].protocol"), cause, fix);
        }
    }
}

/// Tells the ports whose connections go to another service: neither has an address, and nothing in the connections tells which
/// of them is meant.
fn check_shared_ports(config: &Config, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let settings = around.settings();
    for own in crate::model::services_of(config, &settings.domain) {
        let Some(own) = around.addressed(&own.key) else { continue };
        if !is_told_by_port(own) {
            continue;
        }
        for port in own.tcp_ports() {
            let takes = |other: &&Arc<Service>| {
                let is_other = other.key != own.key && other.key.host != own.key.host;
                is_other && is_told_by_port(other) && meet(&own.export_to, &other.export_to)
            };
            let others = around.tcp_services_at(port).filter(takes);
            let first = others.min_by_key(|other| &other.key.host).filter(|other| other.key.host < own.key.host);
            if let Some(first) = first {
                let cause = format!(
                    "connections to port {} of {} go to {} of {}, because neither has an address",
                    port, own.key.host, first.key.host, first.key.origin
                );
                let fix = "Write addresses, or give one of them another port.";
                found.add(Code::PortTakenByAnother, "spec.ports", cause, fix);
            }
        }
    }
}

/// Returns whether nothing but the port of a connection tells that a service is meant.
fn is_told_by_port(service: &Service) -> bool {
    // Kubernetes gives addresses to its services, whether or not they are in a manifest.
    !service.is_kubernetes()
        && service.addresses.is_empty()
        && service.subnets.is_empty()
        && !service.discovery.follows_client()
}

pub(super) fn check_mesh_config(config: &Config, mesh: &MeshConfig, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let root = &around.settings().root_namespace;
    if config.key.namespace != *root {
        let cause = format!("only the mesh config in the root namespace, {root}, has an effect");
        found.add(Code::SchemaWarning, "metadata.namespace", cause, "Apply it there.");
        return;
    }
    for field in &mesh.ignored {
        found.add(Code::SchemaWarning, field, "Rutter does not act on the field yet", "Do not count on it.");
    }
}

pub(super) fn check_ingress(_: &Config, ingress: &Ingress, around: &Surroundings<'_>, found: &mut Found<'_>) {
    let mesh = around.mesh().cloned().unwrap_or_default();
    let class = ingress.class.as_deref();
    if mesh.serves_ingress(class) {
        for fault in &ingress.left_out {
            found.add(Code::SchemaWarning, "spec", format!("left out: {fault}"), "Correct it.");
        }
    } else if class.is_none() && mesh.ingress_controller_mode == IngressControllerMode::Strict {
        let served = mesh.ingress_class();
        let cause = format!("no gateway serves it, because it has no class; that of this mesh is {served}");
        found.add(Code::SchemaWarning, "spec.ingressClassName", cause, format!("Write ingressClassName: {served}."));
    }
}
