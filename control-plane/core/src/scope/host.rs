//! What a scope has for one host.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use rutter_api::config::istio::{DestinationRule, LocalityLbSetting};
use rutter_api::{ClusterName, Config, HostPort, Hostname, Labels, ResourceType, RouteTableName};

use super::encoder::{EncodedClusters, EncodedEndpoints, EncodedGatewayVirtualHost, EncodedVirtualHost, Encoder};
use super::gateway_table::GatewayTable;
use super::port_uses::{PerPort, PortUse, SocketUses, protocol_at};
use super::writes::Wanted;
use crate::client::{ClientClass, ClusterForm, RouteTableForm};
use crate::encode::cluster::{ClusterInputs, encode_clusters};
use crate::encode::endpoint::{EndpointInputs, encode_load_assignments};
use crate::encode::inputs::Shared;
use crate::encode::listener::{
    ConnectionMatch, ConnectionTargets, encode_grpc_client, encode_outbound_address, target_of_service,
    targets_of_routes,
};
use crate::encode::route::{
    DomainInputs, LookedUpService, ShortNames, VirtualHostInputs, domains, encode_own_table, encode_virtual_host,
};
use crate::index::MeshIndex;
use crate::model::{
    ClientLocality, Credential, Discovery, Endpoint, LocalityNeeds, Protocol, Service, ServiceKey, ServicePort,
    detection_timeout, rule_locality_needs,
};
use crate::model::{
    LookedUpDestination, Place, Policy, RequestSource, RequestTarget, rule_credentials, shapes_routes, tcp_routes_of,
    tls_routes_of,
};
use crate::resource::EncodedResource;
use crate::visibility::{ListenerPlace, SeenListener, Viewpoint};

/// The number of hosts below which a second thread costs more than it saves.
const SPREAD_MIN: usize = 256;
/// The port in whose table Istio keeps what VirtualServices say of hosts that no service has.
const UNKNOWN_HOST_PORT: u16 = 80;

/// The resources of a host in a scope. Most of them are shared with all scopes that see the same. They are dropped
/// together when the host goes or changes.
#[derive(Debug, Default)]
pub(super) struct HostResources {
    /// The service that the host means here. `None` means that only a VirtualService speaks of the host.
    pub(super) service: Option<Arc<Service>>,
    clusters: Option<Arc<EncodedClusters>>,
    endpoints: Option<Arc<EncodedEndpoints>>,
    /// The virtual hosts for the tables of ports.
    pub(super) virtual_hosts: PerPort<Arc<EncodedVirtualHost>>,
    /// How the host uses the listeners of ports.
    pub(super) port_uses: PerPort<PortUse>,
    /// How the host uses listeners of ports that a Sidecar object has put somewhere.
    pub(super) placed_uses: PerPort<PortUse>,
    /// How the host uses listeners at Unix sockets. Few sidecars have one.
    pub(super) socket_uses: Option<Box<SocketUses>>,
    /// Listeners that are the host's alone, unless another host claims one of the same name.
    pub(super) claimed_listeners: Vec<EncodedResource>,
    /// The route tables of those listeners.
    own_tables: Vec<Arc<EncodedVirtualHost>>,
    /// The route tables of the host's ports, if the client takes a table for each.
    grpc_tables: Vec<Arc<EncodedVirtualHost>>,
    /// The virtual hosts of the host in the tables of a gateway.
    pub(super) gateway_virtual_hosts: Vec<Arc<EncodedGatewayVirtualHost>>,
    /// What a gateway needs of Secrets for connections to the service.
    pub(super) credentials: BTreeSet<Credential>,
}

impl HostResources {
    pub(super) fn service_key(&self) -> Option<&ServiceKey> {
        self.service.as_ref().map(|service| &service.key)
    }

    /// Returns the clusters of the service, one allocation for as long as nothing of the service or its rule changes.
    pub(super) fn encoded_clusters(&self) -> Option<&Arc<EncodedClusters>> {
        self.clusters.as_ref()
    }

    /// Returns the virtual addresses of the service.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        self.service.as_ref().map(|service| service.addresses.as_slice()).unwrap_or_default()
    }

    /// Returns whether the service has no address of its own, so that DNS answers with those of its endpoints.
    pub(super) fn is_headless(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.discovery == Discovery::OfHeadless)
    }

    /// Returns what the virtual host of a port is made from, whichever table it is in.
    pub(super) fn virtual_host_at(&self, port: u16) -> Option<&Arc<EncodedVirtualHost>> {
        let of_sockets = self.socket_uses.iter().flat_map(|uses| &uses.virtual_hosts).map(|(_, encoded)| encoded);
        let others = self.own_tables.iter().chain(&self.grpc_tables).chain(of_sockets);
        self.virtual_hosts.get(port).or_else(|| others.into_iter().find(|encoded| encoded.inputs.port == port))
    }

    /// Returns the ports at which requests to the host are routed.
    fn routed_ports(&self) -> Vec<u16> {
        self.virtual_hosts.ports().collect()
    }

    /// Returns all resources but the virtual hosts and the listeners, in which other hosts may have a say.
    fn unshared(&self) -> impl Iterator<Item = (ResourceType, &EncodedResource)> {
        let clusters = self.clusters.iter().flat_map(|encoded| &encoded.value);
        let endpoints = self.endpoints.iter().flat_map(|encoded| &encoded.value);
        let tables = self.own_tables.iter().chain(&self.grpc_tables).map(|encoded| &encoded.value);
        // A whole table has its virtual hosts in it.
        let pushed = |encoded: &&Arc<EncodedGatewayVirtualHost>| encoded.inputs.form == RouteTableForm::Split;
        let virtual_hosts = self.gateway_virtual_hosts.iter().filter(pushed);
        let virtual_hosts = virtual_hosts.map(|encoded| (ResourceType::VirtualHost, &encoded.value));
        let clusters = clusters.map(|resource| (ResourceType::Cluster, resource));
        let endpoints = endpoints.map(|resource| (ResourceType::Endpoint, resource));
        clusters.chain(endpoints).chain(virtual_hosts).chain(tables.map(|resource| (ResourceType::Route, resource)))
    }
}

/// What becomes of a port of a service for a class of clients.
enum PortRole {
    /// Requests are routed by the table of the port.
    Routed,
    /// The port is a part of the listener that all hosts share.
    Shared,
    /// There are listeners at the addresses of the service.
    Addressed,
    /// There are listeners that are no more than names, and a table for the port of this host.
    ByName,
    /// The client could not ask for the port.
    Unreachable,
}

fn port_role(client: ClientClass, service: &Service, protocol: Protocol) -> PortRole {
    let has_own_address = client.is_captured() && !service.addresses.is_empty();
    match (client.route_table_form(), protocol) {
        (RouteTableForm::PerHost, Protocol::Tls | Protocol::Tcp) => PortRole::Unreachable,
        (RouteTableForm::PerHost, Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Unknown) => {
            PortRole::ByName
        }
        (RouteTableForm::Split | RouteTableForm::Whole, protocol) => match protocol {
            Protocol::Http | Protocol::Http2 | Protocol::Grpc => PortRole::Routed,
            Protocol::Unknown | Protocol::Tls | Protocol::Tcp if has_own_address => PortRole::Addressed,
            Protocol::Unknown => PortRole::Routed,
            Protocol::Tls | Protocol::Tcp => PortRole::Shared,
        },
    }
}

/// Builds what a scope has for hosts.
#[derive(Clone, Copy)]
pub(super) struct HostBuilder<'a> {
    pub(super) index: &'a MeshIndex,
    pub(super) viewpoint: Viewpoint<'a>,
    pub(super) client: ClientClass,
    /// The label sets of conditions that the clients have.
    pub(super) source_labels: &'a BTreeSet<Labels>,
    /// What matters of where the clients are.
    pub(super) locality: &'a Arc<ClientLocality>,
    /// Whether the clients can learn the addresses that services were given which have none.
    pub(super) learns_addresses: bool,
    /// The route tables of a gateway. A sidecar has none.
    pub(super) gateway_tables: &'a [GatewayTable],
    pub(super) encoder: &'a Encoder,
}

impl HostBuilder<'_> {
    /// Builds many hosts, on several threads if there are enough of them. The result has the order of `hosts`, whatever
    /// the order in which they are built.
    pub(super) fn build_all(&self, hosts: &[&Hostname]) -> Vec<Option<Arc<HostResources>>> {
        let Some(spread) = self.encoder.spread.filter(|_| hosts.len() >= SPREAD_MIN) else {
            return hosts.iter().map(|host| self.build(host).map(Arc::new)).collect();
        };
        let built: Vec<OnceLock<Option<Arc<HostResources>>>> = hosts.iter().map(|_| OnceLock::new()).collect();
        spread(hosts.len(), &|at| drop(built[at].set(self.build(hosts[at]).map(Arc::new))));
        built.into_iter().map(|resources| resources.into_inner().flatten()).collect()
    }

    /// Builds a host. `None` means that the scope has nothing for it.
    fn build(&self, host: &Hostname) -> Option<HostResources> {
        if self.client.is_gateway() {
            return self.build_for_gateway(host);
        }
        let virtual_service = self.viewpoint.virtual_service(self.index, host);
        match self.viewpoint.service(self.index, host) {
            Some(service) => Some(self.build_service(service, virtual_service)),
            None => self.build_routes_alone(host, virtual_service?),
        }
    }

    /// A VirtualService may speak of a host that no service has, if it names the host itself.
    fn build_routes_alone(&self, host: &Hostname, virtual_service: &Arc<Config>) -> Option<HostResources> {
        let has_tables = match self.client.route_table_form() {
            RouteTableForm::Split | RouteTableForm::Whole => true,
            RouteTableForm::PerHost => false,
        };
        if host.is_wildcard() || !has_tables || !self.index.routed_hosts_of(virtual_service).contains(host) {
            return None;
        }
        let mut resources = HostResources::default();
        let virtual_host = self.virtual_host(HostPort::new(host, UNKNOWN_HOST_PORT), None, Some(virtual_service));
        resources.virtual_hosts.insert(UNKNOWN_HOST_PORT, virtual_host);
        Some(resources)
    }

    fn build_service(&self, service: &Arc<Service>, virtual_service: Option<&Arc<Config>>) -> HostResources {
        // Clusters are the same for all, whatever address clients know.
        let mut resources = self.build_clusters(service);
        let given = self.learns_addresses.then(|| self.index.addressed(service));
        let given = given.filter(|addressed| !Arc::ptr_eq(addressed, service));
        let known_as = given.unwrap_or(service);
        resources.service = Some(known_as.clone());
        let seen = self.viewpoint.ports(service);
        let is_seen = |port: &&ServicePort| seen.as_ref().is_none_or(|seen| seen.contains(&port.number));
        for port in service.ports.iter().filter(is_seen) {
            let target = HostPort::new(&service.key.host, port.number);
            let listeners = self.viewpoint.egress.listeners_of(service.namespace(), &service.key.host, port.number);
            let (usual, elsewhere): (Vec<&SeenListener>, Vec<&SeenListener>) =
                listeners.into_iter().partition(|listener| listener.place == ListenerPlace::Services);
            self.add_elsewhere(&mut resources, &elsewhere, (service, port), virtual_service);
            if usual.is_empty() && !elsewhere.is_empty() {
                continue;
            }
            let protocol = protocol_at(port, usual.first().and_then(|listener| listener.is_http));
            match port_role(self.client, service, protocol) {
                PortRole::Routed => {
                    let virtual_host = self.virtual_host(target, Some(known_as), virtual_service);
                    resources.virtual_hosts.insert(port.number, virtual_host);
                    resources.port_uses.insert(port.number, PortUse::Http);
                }
                PortRole::Shared => {
                    let connections = self.connections(service, port, virtual_service);
                    resources.port_uses.insert(port.number, PortUse::Connections(connections));
                }
                PortRole::Addressed => self.add_addressed(&mut resources, service, port, virtual_service),
                PortRole::ByName => {
                    resources.grpc_tables.push(self.virtual_host(target, Some(service), virtual_service));
                    self.add_grpc_listeners(&mut resources, service, port.number);
                }
                PortRole::Unreachable => {}
            }
            // Whoever asks another DNS comes as before, so that this is beside the rest.
            if let Some(given) = given
                && let PortRole::Addressed = port_role(self.client, given, protocol)
            {
                self.add_addressed(&mut resources, given, port, virtual_service);
            }
        }
        resources
    }

    /// Builds what leads to a service, without the ways by which clients ask for it.
    pub(super) fn build_clusters(&self, service: &Arc<Service>) -> HostResources {
        let destination_rule = self.viewpoint.destination_rule(self.index, service).map(Shared::from);
        let follows_client = self.client.is_captured() && service.discovery.follows_client();
        let endpoints: Shared<_> = self.index.endpoints(&service.key).into();
        let rule = destination_rule.as_ref().and_then(|config| config.spec.as_destination_rule());
        let credentials = rule.filter(|_| self.client.is_gateway()).map(rule_credentials).unwrap_or_default();
        let locality = self.locality_for(service, rule, &endpoints);
        let ports = if self.client.is_gateway() { None } else { self.viewpoint.ports(service) };
        let defaults = self.index.mesh_defaults();
        // Without a rule only shares count: nobody knows which endpoints are healthy.
        let matters = |setting: &&Arc<LocalityLbSetting>| rule.is_some() || !setting.distribute.is_empty();
        let locality_default = defaults.localities.as_ref().filter(matters).map(Shared::from);
        let clusters = ClusterInputs {
            connection_defaults: (&defaults.connections).into(),
            locality_default: locality_default.clone(),
            dns_refresh_rate: defaults.dns_refresh_rate.filter(|_| service.discovery.asks_dns() && !follows_client),
            locality: locality.clone().filter(|_| !service.discovery.is_told()),
            ports: ports.clone(),
            takes_secrets: !credentials.is_empty(),
            service: service.into(),
            destination_rule: destination_rule.clone(),
            dns_endpoints: (!service.discovery.is_told()).then(|| endpoints.clone()),
            form: self.client.cluster_form(),
            follows_client,
        };
        let takes_sockets = match self.client.cluster_form() {
            ClusterForm::Sidecar => true,
            ClusterForm::Grpc => false,
        };
        let assignments = EndpointInputs {
            without_sockets: !takes_sockets && endpoints.iter().any(Endpoint::is_socket),
            service: service.into(),
            destination_rule,
            endpoints,
            follows_client,
            locality_default,
            ports,
            locality,
        };
        HostResources {
            service: Some(service.clone()),
            clusters: Some(self.encoder.clusters.get_or_encode(clusters, encode_clusters)),
            endpoints: Some(self.encoder.endpoints.get_or_encode(assignments, encode_load_assignments)),
            credentials,
            ..HostResources::default()
        }
    }

    /// Returns where the clients are if that matters for some endpoints: a rule divides requests among localities, or goes
    /// by labels, and there are several of them.
    fn locality_for(
        &self,
        service: &Service,
        rule: Option<&DestinationRule>,
        endpoints: &[Endpoint],
    ) -> Option<Arc<ClientLocality>> {
        let mut needs = rule.map(rule_locality_needs).unwrap_or_default();
        needs.add_service(service);
        let of_mesh = self.index.mesh_defaults().localities.as_deref();
        of_mesh.into_iter().for_each(|setting| needs.add_default(setting));
        let LocalityNeeds { is_locality_needed, label_keys, has_shares } = needs;
        let first = endpoints.first()?;
        let are_apart = || endpoints.iter().any(|endpoint| endpoint.locality != first.locality);
        (is_locality_needed && (has_shares || !label_keys.is_empty() || are_apart())).then(|| self.locality.clone())
    }

    pub(super) fn virtual_host(
        &self,
        HostPort { host, port }: HostPort,
        service: Option<&Arc<Service>>,
        virtual_service: Option<&Arc<Config>>,
    ) -> Arc<EncodedVirtualHost> {
        let inputs = self.virtual_host_inputs(HostPort { host, port }, service, virtual_service);
        self.encoder.virtual_hosts.get_or_encode(inputs, encode_virtual_host)
    }

    pub(super) fn virtual_host_inputs(
        &self,
        HostPort { host, port }: HostPort,
        service: Option<&Arc<Service>>,
        virtual_service: Option<&Arc<Config>>,
    ) -> VirtualHostInputs {
        let domain = &self.index.settings().domain;
        // A VirtualService that says nothing of requests leaves them their default.
        let virtual_service =
            virtual_service.filter(|config| config.spec.as_virtual_service().is_some_and(|spec| !spec.http.is_empty()));
        let destinations = virtual_service.map(|config| self.looked_up_services(config)).unwrap_or_default();
        let own_rule = service.filter(|_| virtual_service.is_none());
        VirtualHostInputs {
            source: virtual_service.map(|config| self.source_for(config)).unwrap_or_default(),
            short_names: ShortNames::for_client(self.viewpoint.namespace, &host, domain),
            host,
            port,
            service: service.map(Shared::from),
            rule: own_rule.and_then(|service| self.route_shaping_rule(service)).map(Shared::from),
            virtual_service: virtual_service.map(Shared::from),
            destinations,
            domain: domain.clone(),
            form: self.client.route_table_form(),
            retries: self.index.mesh_defaults().retries.as_ref().map(Shared::from),
        }
    }

    /// Returns the hosts that a VirtualService sends to, each with what the clients see of it.
    pub(super) fn looked_up_services(&self, virtual_service: &Config) -> Vec<LookedUpService> {
        let hosts = self.index.destinations_of(virtual_service).into_iter();
        let looked_up = hosts.map(|host| {
            let service = self.viewpoint.service(self.index, &host);
            let rule = service.and_then(|service| self.route_shaping_rule(service)).map(Shared::from);
            LookedUpService { service: service.map(Shared::from), rule, host }
        });
        looked_up.collect()
    }

    /// Returns what the conditions of a VirtualService ask for and the clients have.
    pub(super) fn source_for(&self, virtual_service: &Config) -> RequestSource {
        let has_labels = |labels: &Labels| self.source_labels.contains(labels);
        RequestSource::for_routes(virtual_service, self.viewpoint.namespace, has_labels)
    }

    /// Returns where the connections to a port go that are not HTTP: where a VirtualService says, and otherwise to the
    /// service. TLS connections at a port without an address of its own are told by the host that they name.
    pub(super) fn connections(
        &self,
        service: &Service,
        port: &ServicePort,
        virtual_service: Option<&Arc<Config>>,
    ) -> ConnectionTargets {
        let (host, number) = (&service.key.host, port.number);
        let cluster = ClusterName::outbound(number, host);
        let is_tls = port.protocol == Protocol::Tls;
        let mut targets = ConnectionTargets::new();
        if let Some(config) = virtual_service {
            let destinations = self.looked_up_destinations(config);
            let source = self.source_for(config);
            let domain = &self.index.settings().domain;
            let target = RequestTarget { host, port: number, domain, source: &source, place: Place::Mesh };
            let routes = if is_tls { tls_routes_of } else { tcp_routes_of }(config, target, &destinations);
            targets = targets_of_routes(&routes, config);
        }
        if is_tls && !targets.is_empty() {
            return targets;
        }
        let has_own_address = self.client.is_captured() && !service.addresses.is_empty();
        let rest = if !has_own_address && !service.subnets.is_empty() {
            vec![ConnectionMatch { server_name: None, subnets: service.subnets.clone() }]
        } else if is_tls && !has_own_address {
            vec![ConnectionMatch::server_name(host.as_str())]
        } else if self.client.is_captured() && service.discovery == Discovery::OfHeadless {
            self.addresses_of_endpoints(service)
        } else {
            vec![ConnectionMatch::default()]
        };
        let rule = self.viewpoint.destination_rule(self.index, service);
        let rule = rule.and_then(|config| config.spec.as_destination_rule());
        let policy = Policy::new(service, rule, number, None);
        for connection_match in rest {
            targets.entry(connection_match).or_insert_with(|| target_of_service(service, &cluster, &policy));
        }
        targets
    }

    /// Returns what tells connections to a headless service from those to others at the same port: the address of each
    /// endpoint alone, so that an endpoint that comes or goes leaves the connections to the others as they are.
    fn addresses_of_endpoints(&self, service: &Service) -> Vec<ConnectionMatch> {
        let addresses: BTreeSet<IpAddr> = self.index.endpoints(&service.key).iter().filter_map(Endpoint::ip).collect();
        let alone = |ip: IpAddr| ConnectionMatch { server_name: None, subnets: vec![ip.into()] };
        addresses.into_iter().map(alone).collect()
    }

    /// Returns the hosts that a VirtualService sends to, looked up in what the clients see.
    pub(super) fn looked_up_destinations(&self, virtual_service: &Config) -> Vec<LookedUpDestination> {
        self.index.destinations_of(virtual_service).into_iter().map(|host| self.looked_up(host)).collect()
    }

    fn looked_up(&self, host: Hostname) -> LookedUpDestination {
        let service = self.viewpoint.service(self.index, &host);
        let rule = service.and_then(|service| self.route_shaping_rule(service)).cloned();
        LookedUpDestination { service: service.cloned(), rule, host }
    }

    /// Returns the DestinationRule of a service if routes to it depend on it.
    fn route_shaping_rule(&self, service: &Service) -> Option<&Arc<Config>> {
        if !self.index.has_route_shaping_rule(&service.key.host) {
            return None;
        }
        let rule = self.viewpoint.destination_rule(self.index, service)?;
        rule.spec.as_destination_rule().filter(|rule| shapes_routes(rule)).map(|_| rule)
    }

    /// Adds listeners at each address of a service. If the protocol is not known, what turns out to be HTTP is routed by
    /// a table of the service's. The port of the listener is that of the service, at which clients address it.
    fn add_addressed(
        &self,
        resources: &mut HostResources,
        service: &Arc<Service>,
        port: &ServicePort,
        virtual_service: Option<&Arc<Config>>,
    ) {
        let target = HostPort::new(&service.key.host, port.number);
        let connections = self.connections(service, port, virtual_service);
        let table = (port.protocol == Protocol::Unknown).then(|| RouteTableName::Service(target.clone()));
        for ip in &service.addresses {
            let mesh = self.index.mesh();
            let address = SocketAddr::new(*ip, port.number);
            let listener = encode_outbound_address(address, &connections, table.as_ref(), detection_timeout(mesh));
            resources.claimed_listeners.push(listener);
        }
        if table.is_some() {
            let inputs = self.virtual_host_inputs(target, Some(service), virtual_service);
            resources.own_tables.push(self.encoder.own_tables.get_or_encode(inputs, encode_own_table));
        }
    }

    /// Adds a listener for each name by which a gRPC client may call a port of a service. Virtual addresses are not
    /// among the names: the library resolves names and nothing else by xDS.
    fn add_grpc_listeners(&self, resources: &mut HostResources, service: &Service, port: u16) {
        let (host, domain) = (&service.key.host, &*self.index.settings().domain);
        let short_names = ShortNames::for_client(self.viewpoint.namespace, host, domain);
        let is_headless = false;
        let names = domains(DomainInputs { host, addresses: &[], is_headless, short_names, domain });
        let table = RouteTableName::Grpc(ClusterName::outbound(port, host));
        for name in names.iter().filter(|name| !name.ends_with('.')) {
            resources.claimed_listeners.push(encode_grpc_client(name, port, &table));
        }
    }
}

/// A host of a scope before and after it was looked at. `None` means that the scope had or has nothing for it.
#[derive(Clone, Copy)]
pub(super) struct HostChange<'a> {
    pub(super) old: Option<&'a Arc<HostResources>>,
    pub(super) new: Option<&'a Arc<HostResources>>,
}

impl HostChange<'_> {
    /// Adds what the resources of the host are to be, including those that it no longer has. Virtual hosts are added
    /// only where they go. `unchanged` are types of which nothing changed.
    pub(super) fn want(&self, unchanged: &[ResourceType], wanted: &mut Vec<Wanted>) {
        let is_kept = |resource_type: ResourceType, name: &str| {
            let mut kept = self.new.into_iter().flat_map(|resources| resources.unshared());
            kept.any(|(kept_type, resource)| kept_type == resource_type && *resource.name == *name)
        };
        for (resource_type, resource) in self.old.into_iter().flat_map(|resources| resources.unshared()) {
            if !unchanged.contains(&resource_type) && !is_kept(resource_type, &resource.name) {
                wanted.push(Wanted::nothing(resource_type, resource.name.clone()));
            }
        }
        for (resource_type, resource) in self.new.into_iter().flat_map(|resources| resources.unshared()) {
            if !unchanged.contains(&resource_type) {
                wanted.push(Wanted::resource(resource_type, resource.clone()));
            }
        }
        for (port, encoded) in self.old.into_iter().flat_map(|resources| resources.virtual_hosts.iter()) {
            if self.new.is_none_or(|resources| resources.virtual_hosts.get(port).is_none()) {
                wanted.push(Wanted::nothing(ResourceType::VirtualHost, encoded.value.name.clone()));
            }
        }
    }

    /// Returns the types of which the host has the same allocations before and after, so that nothing is to be done.
    /// The cache gives the same allocation for the same inputs, so comparing addresses is enough.
    pub(super) fn unchanged_types(&self) -> Vec<ResourceType> {
        let (Some(old), Some(new)) = (self.old, self.new) else { return Vec::new() };
        let mut unchanged = Vec::new();
        if is_same(old.clusters.as_ref(), new.clusters.as_ref()) {
            unchanged.push(ResourceType::Cluster);
        }
        if is_same(old.endpoints.as_ref(), new.endpoints.as_ref()) {
            unchanged.push(ResourceType::Endpoint);
        }
        unchanged
    }

    /// Returns whether the host uses listeners at Unix sockets otherwise than before.
    pub(super) fn uses_sockets_otherwise(&self) -> bool {
        let [old, new] = [self.old, self.new].map(|host| host.filter(|host| host.socket_uses.is_some()));
        match (old, new) {
            (None, None) => false,
            (Some(old), Some(new)) => {
                let is_same =
                    old.socket_uses.as_ref().zip(new.socket_uses.as_ref()).is_some_and(|(old, new)| old.is_same(new));
                !is_same || old.service_key() != new.service_key()
            }
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Returns the addresses before and after of a host that came, went, or is asked for by other names, addresses or
    /// ports. `None` means that it is asked for as before.
    pub(super) fn renamed(&self) -> Option<BTreeSet<IpAddr>> {
        let addresses =
            |host: Option<&Arc<HostResources>>| host.map(|host| host.addresses().to_vec()).unwrap_or_default();
        let (old, new) = (addresses(self.old), addresses(self.new));
        let is_same =
            old == new && self.old.map(|host| host.routed_ports()) == self.new.map(|host| host.routed_ports());
        (!is_same).then(|| old.into_iter().chain(new).collect())
    }
}

fn is_same<T>(old: Option<&Arc<T>>, new: Option<&Arc<T>>) -> bool {
    old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new))
}
