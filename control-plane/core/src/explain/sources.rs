//! The objects behind what one client is sent.

use std::fmt;
use std::net::IpAddr;

use prost::Message;
use rutter_api::pb::envoy::config::core::v3::TrafficDirection;
use rutter_api::pb::envoy::config::listener::v3::Listener;
use rutter_api::{ClusterName, Config, ConfigKey, Direction, Hostname, Kind, ListenerName, ResourceType};

use super::fields;
use crate::index::MeshIndex;
use crate::mesh::{Mesh, NodeId};
use crate::model::{Service, delegate_rules};
use crate::scope::{RuleOfRoute, Scope, rule_of_route};
use crate::walk::Origin;

/// A field of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectField {
    /// The object.
    pub object: ConfigKey,
    /// The path of the field. It is empty if the object as a whole is meant.
    pub path: String,
}

impl fmt::Display for ObjectField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}", self.object),
            path => write!(f, "{} {path}", self.object),
        }
    }
}

impl ObjectField {
    fn new(object: &ConfigKey, path: impl Into<String>) -> Self {
        Self { object: object.clone(), path: path.into() }
    }
}

/// Finds the objects behind what one client is sent.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) id: NodeId,
    pub(super) scope: &'a Scope,
    base: Option<&'a Scope>,
}

impl<'a> Sources<'a> {
    /// Returns the sources of what a client is sent. `None` means that there is no such client.
    pub fn of(mesh: &'a Mesh, id: NodeId) -> Option<Self> {
        let (scope, base) = mesh.scope_of(id)?;
        Some(Self { mesh, id, scope, base })
    }

    /// Returns the name of the client, `POD.NAMESPACE`.
    pub fn node_id(&self) -> Option<String> {
        self.mesh.node(self.id).map(|node| node.id())
    }

    pub(super) fn index(&self) -> &'a MeshIndex {
        self.mesh.index()
    }

    /// Returns the fields that made a step what it is.
    pub fn of_step(&self, origin: &Origin) -> Vec<ObjectField> {
        match origin {
            Origin::Nowhere => Vec::new(),
            Origin::VirtualHost { resource_type, name, virtual_host } => {
                self.of_virtual_host(*resource_type, name, virtual_host)
            }
            Origin::Route { resource_type, name, virtual_host, index, config } => match config {
                Some(path) => self.of_written_route(path, (*resource_type, name), virtual_host, *index),
                None => self.of_default_route(virtual_host),
            },
            Origin::Chain { listener, server_names, subnets, config } => {
                match config.as_deref().and_then(key_of_path) {
                    Some(key) => {
                        let ports = self.ports_before(port_of_listener(listener));
                        let of_port =
                            |config: &Config, port: u16| fields::of_chain(config, port, server_names, subnets);
                        let found = self.index().written(&key).and_then(|config| {
                            ports.iter().map(|port| of_port(config, *port)).find(|path| !path.is_empty())
                        });
                        vec![self.as_written(&key, found.unwrap_or_default())]
                    }
                    None => self.of_listener(listener),
                }
            }
            Origin::Resource { resource_type, name } => match resource_type {
                ResourceType::Listener => self.of_listener(name),
                ResourceType::Cluster => self.of_cluster(name),
                ResourceType::Endpoint | ResourceType::Route | ResourceType::VirtualHost | ResourceType::Secret => {
                    let sources = self.mesh.sources(self.id, *resource_type, name);
                    sources.iter().map(|object| self.as_written(object, String::new())).collect()
                }
            },
        }
    }

    /// Returns the field that names an endpoint of a cluster.
    pub fn of_endpoint(&self, cluster: &str, address: &str) -> Option<ObjectField> {
        let name: ClusterName = cluster.parse().ok()?;
        if name.direction == Direction::Inbound {
            return self.of_cluster(cluster).into_iter().next();
        }
        let cluster = name;
        let service = self.scope.viewpoint().service(self.index(), &cluster.host?)?;
        let address = address.rsplit_once(':').map_or(address, |(address, _)| address).trim_matches(['[', ']']);
        let index = self.index();
        let own = index.objects_of_service(&service.key);
        let selected =
            [Kind::WorkloadEntry, Kind::Pod].into_iter().flat_map(|kind| index.of_namespace(kind, service.namespace()));
        own.chain(selected).find_map(|config| Some(ObjectField::new(&config.key, fields::of_address(config, address)?)))
    }

    /// Returns the field of an object that nobody has written as the object that means it.
    fn as_written(&self, key: &ConfigKey, path: String) -> ObjectField {
        match key.name.split_once('~') {
            Some((ingress, _)) if self.index().is_derived(key) => {
                ObjectField::new(&ConfigKey::new(Kind::Ingress, &key.namespace, ingress), "")
            }
            Some(_) | None => ObjectField::new(key, path),
        }
    }

    fn of_written_route(
        &self,
        path: &str,
        (resource_type, name): (ResourceType, &str),
        virtual_host: &str,
        index: usize,
    ) -> Vec<ObjectField> {
        let Some(key) = key_of_path(path) else { return Vec::new() };
        let table = table_of(resource_type, name);
        let rule = rule_of_route(self.scope, self.base, table, virtual_host, index);
        let Some(RuleOfRoute { virtual_service, http, condition }) = rule else {
            return vec![self.as_written(&key, String::new())];
        };
        let (object, delegating, number) = self.written_rule(&virtual_service, http);
        let path = match condition.filter(|_| delegating.is_none()) {
            Some(condition) => format!("spec.http[{number}].match[{condition}]"),
            None => format!("spec.http[{number}]"),
        };
        let delegating =
            delegating.map(|number| ObjectField::new(&virtual_service, format!("spec.http[{number}].delegate")));
        std::iter::once(self.as_written(&object, path)).chain(delegating).collect()
    }

    /// Returns the objects that a virtual host is made from, whether it is a resource of its own or stands in a table.
    fn of_virtual_host(&self, resource_type: ResourceType, name: &str, virtual_host: &str) -> Vec<ObjectField> {
        if resource_type == ResourceType::Listener || matches!(virtual_host, "allow_any" | "block_all") {
            return self.of_default_route(virtual_host);
        }
        let table = table_of(resource_type, name);
        let is_whole_name = virtual_host.strip_prefix(table).is_some_and(|rest| rest.starts_with('/'));
        let full = if is_whole_name { virtual_host.to_owned() } else { format!("{table}/{virtual_host}") };
        let sources = self.mesh.sources(self.id, ResourceType::VirtualHost, &full);
        sources.iter().map(|object| self.as_written(object, String::new())).collect()
    }

    /// Returns the object that has a rule of a VirtualService, which may be a delegate, the number of the rule that delegates, and the
    /// number of the rule in that object.
    fn written_rule(&self, virtual_service: &ConfigKey, http: usize) -> (ConfigKey, Option<usize>, usize) {
        let index = self.index();
        let rules = index.written(virtual_service).map(|root| delegate_rules(root, |key| index.config(key)));
        match rules.unwrap_or_default().into_iter().nth(http) {
            Some(rule) => (rule.object, rule.delegating, rule.number),
            None => (virtual_service.clone(), None, http),
        }
    }

    /// Returns what a route is made from that no VirtualService says anything of.
    fn of_default_route(&self, virtual_host: &str) -> Vec<ObjectField> {
        if let Some(port) = virtual_host.strip_prefix("inbound|http|") {
            let port = port.parse().unwrap_or_default();
            let sidecar = self.scope.sidecar_config(self.index());
            let ingress =
                sidecar.and_then(|config| Some(ObjectField::new(&config.key, fields::of_ingress(config, port)?)));
            if ingress.is_some() {
                return ingress.into_iter().collect();
            }
            return self.own_services().filter_map(|service| self.port_of(service, port)).take(1).collect();
        }
        if matches!(virtual_host, "allow_any" | "block_all") {
            return self.of_unknown_traffic();
        }
        let name = virtual_host.rsplit('/').next().unwrap_or_default();
        let Ok(rutter_api::HostPort { host, port }) = name.parse() else { return Vec::new() };
        let service = self.scope.viewpoint().service(self.index(), &host);
        service.and_then(|service| self.port_of(service, port)).into_iter().collect()
    }

    /// Returns what says how traffic is treated of which nothing is known.
    fn of_unknown_traffic(&self) -> Vec<ObjectField> {
        let sidecar = self.scope.sidecar_config(self.index());
        let policy = sidecar
            .filter(|config| config.spec.as_sidecar().is_some_and(|spec| spec.outbound_traffic_policy.is_some()));
        if let Some(sidecar) = policy {
            return vec![ObjectField::new(&sidecar.key, "spec.outboundTrafficPolicy")];
        }
        let says = self.index().mesh().is_some_and(|mesh| mesh.outbound_traffic_policy.is_some());
        let root = &self.index().settings().root_namespace;
        let mesh = says.then(|| {
            ObjectField::new(&ConfigKey::new(Kind::ConfigMap, root, "istio"), "data.mesh outboundTrafficPolicy")
        });
        mesh.into_iter().collect()
    }

    fn port_of(&self, service: &Service, port: u16) -> Option<ObjectField> {
        let object = &service.key.origin;
        Some(ObjectField::new(object, fields::of_port(self.index().config(object)?, port)?))
    }

    /// Returns the services that lead to the client's own application.
    fn own_services(&self) -> impl Iterator<Item = &'a Service> {
        let node = self.mesh.node(self.id);
        let index = self.index();
        let addresses = node.into_iter().flat_map(|node| &node.addresses);
        let services = addresses.flat_map(move |ip| index.services_at(ip));
        services
            .filter(move |service| node.is_some_and(|node| *service.namespace() == node.namespace))
            .map(|service| &**service)
    }

    fn of_listener(&self, name: &str) -> Vec<ObjectField> {
        let sidecar = self.scope.sidecar_config(self.index());
        match name.parse() {
            Ok(ListenerName::Address { ip, port }) => self.of_address(name, ip, port),
            Ok(ListenerName::Socket(path)) => {
                let field =
                    sidecar.and_then(|config| Some(ObjectField::new(&config.key, fields::of_socket(config, &path)?)));
                field.into_iter().collect()
            }
            Ok(ListenerName::GrpcClient(target)) => {
                let host = full_host(&target.host, self);
                let service = host.and_then(|host| self.scope.viewpoint().service(self.index(), &host));
                service.and_then(|service| self.port_of(service, target.port)).into_iter().collect()
            }
            Ok(ListenerName::VirtualInbound | ListenerName::VirtualOutbound | ListenerName::GrpcServer(_)) | Err(_) => {
                Vec::new()
            }
        }
    }

    /// Returns what a listener at an address and a port is made from.
    fn of_address(&self, name: &str, ip: IpAddr, port: u16) -> Vec<ObjectField> {
        if self.scope.is_gateway() {
            let gateways = self.scope.gateways().filter_map(|key| self.index().config(key));
            let of_server = |config: &&'a std::sync::Arc<Config>| {
                self.ports_before(port).into_iter().find_map(|port| fields::of_server(config, port, None))
            };
            let servers = gateways.filter_map(|config| Some((config, of_server(&config)?)));
            return servers.map(|(config, path)| self.as_written(&config.key, path)).collect();
        }
        let listener = self.mesh.view(self.id).and_then(|view| view.get(ResourceType::Listener, name));
        let listener = listener.and_then(|listener| Listener::decode(listener.body()).ok()).unwrap_or_default();
        if listener.traffic_direction() == TrafficDirection::Inbound {
            return self.of_application_port(port);
        }
        let sidecar = self.scope.sidecar_config(self.index());
        let egress = sidecar.and_then(|config| Some(ObjectField::new(&config.key, fields::of_egress(config, port)?)));
        let at_address =
            self.index().hosts_at(&ip).filter_map(|host| self.scope.viewpoint().service(self.index(), host));
        egress.into_iter().chain(at_address.filter_map(|service| self.port_of(service, port))).collect()
    }

    /// Returns the ports of servers of a gateway that listens at a port.
    fn ports_before(&self, port: u16) -> Vec<u16> {
        let targets = &self.scope.objects().target_ports;
        let mapped = targets.iter().filter(|(_, target)| **target == port).map(|(port, _)| *port);
        let own = (!targets.contains_key(&port)).then_some(port);
        mapped.chain(own).collect()
    }

    /// Returns what leads to a port of the client's own application.
    fn of_application_port(&self, port: u16) -> Vec<ObjectField> {
        let sidecar = self.scope.sidecar_config(self.index());
        let ingress = sidecar.and_then(|config| Some(ObjectField::new(&config.key, fields::of_ingress(config, port)?)));
        let of_own = |service: &'a Service| {
            let node = self.mesh.node(self.id)?;
            let is_here = |ip: IpAddr| node.addresses.contains(&ip);
            let mut endpoints = self.index().endpoints(&service.key).iter();
            let endpoint = endpoints.find(|endpoint| endpoint.ip().is_some_and(is_here))?;
            let own = service.ports.iter().find(|own| endpoint.target(own.number) == Some(port))?;
            self.port_of(service, own.number)
        };
        ingress.or_else(|| self.own_services().find_map(of_own)).into_iter().collect()
    }

    fn of_cluster(&self, name: &str) -> Vec<ObjectField> {
        let Ok(ClusterName { direction, port, subset, host }) = name.parse() else { return self.of_unknown_traffic() };
        let Some(host) = host.filter(|_| direction == Direction::Outbound) else {
            return self.of_application_port(port);
        };
        let viewpoint = self.scope.viewpoint();
        let Some(service) = viewpoint.service(self.index(), &host) else { return Vec::new() };
        let rule = viewpoint.destination_rule(self.index(), service);
        let of_rule = rule.into_iter().flat_map(|rule| self.of_rule(rule, port, subset.as_deref()));
        self.port_of(service, port).into_iter().chain(of_rule).collect()
    }

    /// Returns the fields of a DestinationRule, and of those whose subsets are added to it, that make a cluster.
    fn of_rule(&self, rule: &Config, port: u16, subset: Option<&str>) -> Vec<ObjectField> {
        let parts: Vec<_> = self.index().destination_rules_with(rule).collect();
        let of_subset = subset.and_then(|name| {
            parts.iter().find_map(|part| Some(ObjectField::new(&part.key, fields::of_subset(part, name)?)))
        });
        // Of several policies that of the oldest rule holds that has one.
        let of_policy = parts.iter().find_map(|part| {
            let paths = fields::of_policy(part, port);
            (!paths.is_empty()).then(|| paths.into_iter().map(|path| ObjectField::new(&part.key, path)))
        });
        let of_policy = of_policy.into_iter().flatten();
        of_subset.into_iter().chain(of_policy).collect()
    }
}

/// Returns the full name of a host as a client of a namespace means it.
fn full_host(host: &Hostname, sources: &Sources<'_>) -> Option<Hostname> {
    let node = sources.mesh.node(sources.id)?;
    hosts_meant(host.as_str(), &node.namespace, &sources.index().settings().domain)
        .into_iter()
        .find(|host| sources.scope.viewpoint().service(sources.index(), host).is_some())
}

/// Returns the name of the table that a virtual host is in.
fn table_of(resource_type: ResourceType, name: &str) -> &str {
    if resource_type == ResourceType::VirtualHost { rutter_api::names::table_of_virtual_host(name) } else { name }
}

fn port_of_listener(name: &str) -> u16 {
    match name.parse() {
        Ok(ListenerName::Address { port, .. }) => port,
        Ok(_) | Err(_) => 0,
    }
}

/// Returns the key of the object that a path of Kubernetes' API names.
fn key_of_path(path: &str) -> Option<ConfigKey> {
    let mut parts = path.rsplit('/');
    let (name, _, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let mut keys = Kind::ALL.into_iter().map(|kind| ConfigKey::new(kind, namespace, name));
    keys.find(|key| key.metadata_path() == path)
}

/// Returns the hosts that a name may mean in a namespace, the most likely first.
pub(super) fn hosts_meant(name: &str, namespace: &str, domain: &str) -> Vec<Hostname> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let forms = [
        name.clone(),
        format!("{name}.{namespace}.svc.{domain}"),
        format!("{name}.svc.{domain}"),
        format!("{name}.{domain}"),
    ];
    forms.iter().filter_map(|form| form.parse().ok()).collect()
}
