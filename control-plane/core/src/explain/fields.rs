//! The fields of objects that say something.

use std::num::NonZeroU16;

use rutter_api::config::istio::{EgressBind, Gateway, Server};
use rutter_api::{Config, Hostname, Spec, socket_path};

/// Returns the field of a service that has a port.
pub(super) fn of_port(config: &Config, port: u16) -> Option<String> {
    if let Spec::Service(service) = &config.spec {
        // Ports of other protocols than TCP are not kept, so that the places are not those of the document.
        return service.ports.iter().any(|own| own.number == port).then(|| format!("spec.ports[port={port}]"));
    }
    let at = config.spec.as_service_entry()?.ports.iter().position(|own| own.number.get() == port)?;
    Some(format!("spec.ports[{at}]"))
}

/// Returns the field of an object that has the address of an endpoint.
pub(super) fn of_address(config: &Config, address: &str) -> Option<String> {
    let is_meant = |own: &str| own == address || socket_path(own).is_some_and(|path| path == address);
    let spec = &config.spec;
    if let Some(slice) = spec.as_endpoint_slice() {
        let mut endpoints = slice.endpoints.iter();
        let at = endpoints.position(|endpoint| endpoint.addresses.iter().any(|own| is_meant(own)))?;
        return Some(format!("endpoints[{at}]"));
    }
    if let Some(entry) = spec.as_service_entry() {
        let at = entry.endpoints.iter().position(|endpoint| is_meant(&endpoint.address))?;
        return Some(format!("spec.endpoints[{at}]"));
    }
    let is_workload = spec.as_workload_entry().is_some_and(|entry| is_meant(&entry.address));
    let is_pod = spec.as_pod().is_some_and(|pod| pod.addresses.iter().any(|own| is_meant(own)));
    let path = if is_workload { "spec.address" } else { "status.podIP" };
    (is_workload || is_pod).then(|| path.to_owned())
}

/// Returns the field of a DestinationRule that has a subset.
pub(super) fn of_subset(config: &Config, name: &str) -> Option<String> {
    let rule = config.spec.as_destination_rule()?;
    let at = rule.subsets.iter().position(|subset| *subset.name == *name)?;
    Some(format!("spec.subsets[{at}]"))
}

/// Returns the fields of a DestinationRule that say how connections to a port are made.
pub(super) fn of_policy(config: &Config, port: u16) -> Vec<String> {
    let policy = config.spec.as_destination_rule().and_then(|rule| rule.traffic_policy.as_deref());
    let Some(policy) = policy else { return Vec::new() };
    let at = policy.port_level_settings.iter().position(|settings| settings.port.number.get() == port);
    let of_port = at.map(|at| format!("spec.trafficPolicy.portLevelSettings[{at}]"));
    vec![of_port.unwrap_or_else(|| "spec.trafficPolicy".to_owned())]
}

/// Returns the field of a Gateway that has a server at a port, of those for some names if they are given.
pub(super) fn of_server(config: &Config, port: u16, names: Option<&[String]>) -> Option<String> {
    let Gateway { servers, .. } = config.spec.as_gateway()?;
    let is_for = |server: &Server| {
        let mut hosts = server.hosts.iter().map(|host| host.host.to_string());
        names.is_none_or(|names| names.is_empty() || hosts.any(|host| names.contains(&host)))
    };
    let at = servers.iter().position(|server| server.port.number.get() == port && is_for(server))?;
    Some(format!("spec.servers[{at}]"))
}

/// Returns the field of an object that a filter chain is made from: a server of a Gateway, or a rule of a VirtualService.
pub(super) fn of_chain(config: &Config, port: u16, server_names: &[String], subnets: &[String]) -> String {
    if let Some(path) = of_server(config, port, Some(server_names)) {
        return path;
    }
    let Some(spec) = config.spec.as_virtual_service() else { return String::new() };
    let is_port = |own: Option<NonZeroU16>| own.is_none_or(|own| port == 0 || own.get() == port);
    let are_subnets = |own: &[ipnet::IpNet]| {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        own == subnets
    };
    let is_named = |hosts: &[Hostname]| hosts.iter().any(|host| server_names.iter().any(|name| name == host.as_str()));
    for (rule, tls) in spec.tls.iter().enumerate() {
        let taken = tls.matches.iter().position(|condition| {
            is_named(&condition.sni_hosts) && are_subnets(&condition.destination_subnets) && is_port(condition.port)
        });
        if let Some(condition) = taken {
            return format!("spec.tls[{rule}].match[{condition}]");
        }
    }
    for (rule, tcp) in spec.tcp.iter().enumerate() {
        let mut conditions = tcp.matches.iter();
        let taken =
            conditions.position(|condition| are_subnets(&condition.destination_subnets) && is_port(condition.port));
        match taken {
            Some(condition) => return format!("spec.tcp[{rule}].match[{condition}]"),
            None if tcp.matches.is_empty() && subnets.is_empty() => return format!("spec.tcp[{rule}]"),
            None => {}
        }
    }
    String::new()
}

/// Returns the field of a Sidecar object that says how a port of the application is reached.
pub(super) fn of_ingress(config: &Config, port: u16) -> Option<String> {
    let at = config.spec.as_sidecar()?.ingress.iter().position(|listener| listener.port.number == port)?;
    Some(format!("spec.ingress[{at}]"))
}

/// Returns the field of a Sidecar object that says where a port of services is.
pub(super) fn of_egress(config: &Config, port: u16) -> Option<String> {
    let mut listeners = config.spec.as_sidecar()?.egress.iter();
    let at = listeners.position(|listener| listener.port.as_ref().is_some_and(|own| own.number == port))?;
    Some(format!("spec.egress[{at}]"))
}

/// Returns the field of a Sidecar object that puts a listener at a Unix socket.
pub(super) fn of_socket(config: &Config, path: &str) -> Option<String> {
    let sidecar = config.spec.as_sidecar()?;
    let is_meant = |bind: &EgressBind| match bind {
        EgressBind::Socket(own) => **own == *path,
        EgressBind::Ip(_) => false,
    };
    let at = sidecar.egress.iter().position(|listener| listener.bind.as_ref().is_some_and(is_meant))?;
    Some(format!("spec.egress[{at}]"))
}
