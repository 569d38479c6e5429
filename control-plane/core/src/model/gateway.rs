//! Gateways: their servers, the route tables that these have, and the VirtualServices that are bound to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::{Server, ServerHost, ServerProtocol};
use rutter_api::{Config, ConfigKey, Hostname, Kind, RouteTableName};

use super::service::Service;

/// Where routes are used: in sidecars, or in the gateways of some Gateway objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In sidecars.
    Mesh,
    /// In gateways.
    Gateways(&'a BTreeSet<ConfigKey>),
}

impl Place<'_> {
    /// Returns whether the place is one of those that a VirtualService names.
    pub fn is_one_of(self, names: &[String], virtual_service: &ConfigKey) -> bool {
        names.iter().any(|name| match (self, gateway_key(name, virtual_service)) {
            (Place::Mesh, gateway) => gateway.is_none(),
            (Place::Gateways(gateways), Some(gateway)) => gateways.contains(&gateway),
            (Place::Gateways(_), None) => false,
        })
    }
}

/// Returns the Gateway object that a VirtualService names: `NAME` in its own namespace, or `NAMESPACE/NAME`. `None` means
/// `mesh`, which is no gateway.
fn gateway_key(name: &str, virtual_service: &ConfigKey) -> Option<ConfigKey> {
    let (namespace, name) = match name.split_once('/') {
        None if name == "mesh" => return None,
        None => (virtual_service.namespace.clone(), name),
        Some((namespace, name)) => (namespace.into(), name),
    };
    Some(ConfigKey { kind: Kind::Gateway, namespace, name: name.into() })
}

/// Returns the Gateway objects that a VirtualService is bound to, whether or not they exist.
pub fn bound_gateways(config: &Config) -> BTreeSet<ConfigKey> {
    let names = config.spec.as_virtual_service().map(|spec| spec.gateways.as_slice()).unwrap_or_default();
    names.iter().filter_map(|name| gateway_key(name, &config.key)).collect()
}

/// Returns whether a VirtualService is for sidecars.
pub fn is_for_mesh(config: &Config) -> bool {
    let Some(spec) = config.spec.as_virtual_service() else { return false };
    spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == "mesh")
}

/// Returns the hosts that two patterns have in common, which is the narrower one, or `None` if there are none.
fn common_host(a: &Hostname, b: &Hostname) -> Option<Hostname> {
    if a.covers(b) {
        Some(b.clone())
    } else if b.covers(a) {
        Some(a.clone())
    } else {
        None
    }
}

/// One server of a Gateway object.
#[derive(Debug, Clone)]
pub struct GatewayServer {
    /// The Gateway object.
    pub gateway: Arc<Config>,
    /// The place of the server in the object.
    at: usize,
    /// What the server does with connections.
    pub protocol: ServerProtocol,
}

impl GatewayServer {
    /// Returns whether this is the same server of the same version of the object.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.gateway, &other.gateway) && self.at == other.at && self.protocol == other.protocol
    }

    /// Returns the server as it is written.
    pub fn server(&self) -> &Server {
        // It was taken from the object.
        &self.gateway.spec.as_gateway().map(|gateway| gateway.servers.as_slice()).unwrap_or_default()[self.at]
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.server().port.number.get()
    }

    /// Returns the route table of the server, if requests come by it.
    pub fn table(&self) -> Option<RouteTableName> {
        let port = self.port();
        match self.protocol {
            ServerProtocol::Http => Some(RouteTableName::Gateway { port, server: None }),
            ServerProtocol::Https => {
                let ConfigKey { namespace, name, .. } = &self.gateway.key;
                let server = format!("{}-{}.{name}.{namespace}", self.server().port.name, self.at);
                Some(RouteTableName::Gateway { port, server: Some(server.into()) })
            }
            ServerProtocol::Passthrough
            | ServerProtocol::AutoPassthrough
            | ServerProtocol::Tls
            | ServerProtocol::Tcp => None,
        }
    }

    /// Returns the part of a VirtualService's host that the server takes, if the VirtualService may route it.
    fn common_hosts<'a>(
        &'a self,
        host: &'a Hostname,
        virtual_service: &'a ConfigKey,
    ) -> impl Iterator<Item = Hostname> {
        let hosts = self.server().hosts.iter().filter(|server_host| self.admits(server_host, virtual_service));
        hosts.filter_map(|server_host| common_host(&server_host.host, host))
    }

    /// Returns what of some hosts of a VirtualService the server takes.
    pub fn hosts_in_common(&self, hosts: &[Hostname], virtual_service: &ConfigKey) -> BTreeSet<Hostname> {
        hosts.iter().flat_map(|host| self.common_hosts(host, virtual_service)).collect()
    }

    fn admits(&self, host: &ServerHost, virtual_service: &ConfigKey) -> bool {
        namespace_of(host, &self.gateway).is_none_or(|namespace| *namespace == *virtual_service.namespace)
    }

    /// Returns whether connections may name a service, whatever VirtualServices say. What is outside the mesh cannot be named, as in
    /// Istio.
    pub fn passes_to(&self, service: &Service) -> bool {
        let admits = |host: &ServerHost| {
            let is_in = namespace_of(host, &self.gateway).is_none_or(|namespace| *namespace == **service.namespace());
            is_in && host.host.covers(&service.key.host)
        };
        self.protocol == ServerProtocol::AutoPassthrough && !service.external && self.server().hosts.iter().any(admits)
    }

    /// Returns whether plain requests are answered with a redirect to HTTPS.
    pub fn redirects_to_https(&self) -> bool {
        self.server().tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }
}

/// Returns the namespace that a host of a server is about. `None` means every one.
fn namespace_of<'a>(host: &'a ServerHost, gateway: &'a Config) -> Option<&'a str> {
    match host.namespace.as_deref() {
        Some(".") => Some(&gateway.key.namespace),
        namespace => namespace,
    }
}

/// Returns the hosts to whose services a Gateway object passes connections that name them, each with the namespace of the service.
/// `None` means every one.
pub fn passed_through(gateway: &Config) -> impl Iterator<Item = (Option<&str>, &Hostname)> {
    let servers = gateway.spec.as_gateway().map(|gateway| gateway.servers.as_slice()).unwrap_or_default().iter();
    let passing = servers.filter(|server| server.protocol() == Some(ServerProtocol::AutoPassthrough));
    passing.flat_map(|server| &server.hosts).map(|host| (namespace_of(host, gateway), &host.host))
}

/// Where a listener of a gateway is bound. Absent means every address.
pub type GatewayAddress = (Option<IpAddr>, u16);

/// Returns the servers of some Gateway objects by the address at which they are bound, those of the oldest object first.
/// Of servers at one address that cannot share it, plain requests and encrypted ones, the first has it. `target_ports` are
/// the ports at which a gateway listens for others, because a service in front of it leads there.
pub fn servers_of<'a>(
    gateways: impl Iterator<Item = &'a Arc<Config>>,
    target_ports: &BTreeMap<u16, u16>,
) -> BTreeMap<GatewayAddress, Vec<GatewayServer>> {
    let mut gateways: Vec<&Arc<Config>> = gateways.collect();
    gateways.sort_by_key(|gateway| (gateway.created, &gateway.key));
    let mut servers: BTreeMap<GatewayAddress, Vec<GatewayServer>> = BTreeMap::new();
    for gateway in gateways {
        let Some(spec) = gateway.spec.as_gateway() else { continue };
        for (at, server) in spec.servers.iter().enumerate() {
            let Some(protocol) = server.protocol() else { continue };
            let port = server.port.number.get();
            let port = target_ports.get(&port).copied().unwrap_or(port);
            let at_address = servers.entry((server.bind, port)).or_default();
            if at_address.first().is_none_or(|first| can_share(first.protocol, protocol)) {
                at_address.push(GatewayServer { gateway: gateway.clone(), at, protocol });
            }
        }
    }
    servers
}

fn can_share(first: ServerProtocol, other: ServerProtocol) -> bool {
    let sort = |protocol| match protocol {
        ServerProtocol::Http => 0,
        ServerProtocol::Https | ServerProtocol::Passthrough | ServerProtocol::AutoPassthrough | ServerProtocol::Tls => {
            1
        }
        ServerProtocol::Tcp => 2,
    };
    sort(first) == sort(other)
}

/// Returns the hosts under which the servers of a Gateway object may be asked for what a VirtualService routes. `hosts`
/// are the full hosts of the VirtualService.
pub fn hosts_at_gateway(gateway: &Arc<Config>, hosts: &[Hostname], virtual_service: &ConfigKey) -> BTreeSet<Hostname> {
    let servers: Vec<GatewayServer> =
        servers_of(std::iter::once(gateway), &BTreeMap::new()).into_values().flatten().collect();
    servers.iter().flat_map(|server| server.hosts_in_common(hosts, virtual_service)).collect()
}

/// Returns the hosts of servers that redirect to HTTPS, whether or not a VirtualService routes them.
pub fn redirecting_hosts(servers: &BTreeMap<GatewayAddress, Vec<GatewayServer>>) -> BTreeSet<Hostname> {
    let redirecting = servers.values().flatten().filter(|server| server.redirects_to_https());
    redirecting.flat_map(|server| &server.server().hosts).map(|host| host.host.clone()).collect()
}

/// Returns the servers of a table at which a VirtualService routes exactly this host, by the Gateway objects that it is
/// bound to. `hosts` are its full hosts.
pub fn gateways_routing(
    servers: &[GatewayServer],
    host: &Hostname,
    virtual_service: &Config,
    hosts: &[Hostname],
) -> BTreeSet<ConfigKey> {
    let bound = bound_gateways(virtual_service);
    let routes = |server: &&GatewayServer| {
        bound.contains(&server.gateway.key)
            && hosts
                .iter()
                .any(|routed| server.common_hosts(routed, &virtual_service.key).any(|common| common == *host))
    };
    servers.iter().filter(routes).map(|server| server.gateway.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::configs;

    fn gateway(name: &str, servers: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{servers: [{servers}]}}\n---\n"
        )
    }

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    #[test]
    fn the_narrower_of_two_hosts_is_what_they_have_in_common() {
        let common = |a: &str, b: &str| common_host(&host(a), &host(b)).map(|host| host.to_string());
        assert_eq!(common("*", "a.x").as_deref(), Some("a.x"));
        assert_eq!(common("a.x", "*.x").as_deref(), Some("a.x"));
        assert_eq!(common("*.b.x", "*.x").as_deref(), Some("*.b.x"));
        assert_eq!(common("a.x", "b.x"), None);
    }

    #[test]
    fn servers_that_cannot_share_a_port_are_left_out_but_the_first() {
        let http = "{port: {number: 80, protocol: HTTP}, hosts: ['*']}";
        let tcp =
            "{port: {number: 80, protocol: TCP}, hosts: ['*']}, {port: {number: 81, protocol: TCP}, hosts: ['*']}";
        let configs = configs(&[gateway("a", http), gateway("b", tcp), gateway("c", http)].concat());
        let names: Vec<String> = servers_of(configs.iter(), &BTreeMap::new())
            .into_iter()
            .map(|((_, port), servers)| {
                let names: Vec<&str> = servers.iter().map(|server| &*server.gateway.key.name).collect();
                format!("{port}: {}", names.join(" "))
            })
            .collect();
        assert_eq!(names, ["80: a c", "81: b"]);
    }

    #[test]
    fn hosts_of_a_server_admit_virtual_services_of_their_namespace() {
        let servers = "{port: {number: 80, protocol: HTTP}, hosts: ['shop/*.x', './*.y']}";
        let gateway = configs(&gateway("g", servers)).remove(0);
        let hosts = |namespace: &str| {
            let key = ConfigKey::new(Kind::VirtualService, namespace, "v");
            let hosts = hosts_at_gateway(&gateway, &[host("a.x"), host("a.y"), host("a.z")], &key);
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(hosts("shop"), ["a.x"]);
        assert_eq!(hosts("default"), ["a.y"]);
        assert!(hosts("bank").is_empty());
    }
}
