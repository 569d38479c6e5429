//! What a gateway has for a host.

use std::sync::Arc;

use rutter_api::config::istio::{ClientTls, ServerProtocol};
use rutter_api::{ClusterName, Config, Hostname};

use super::gateway_table::GatewayTable;
use super::host::{HostBuilder, HostResources};
use crate::encode::all_and_each_subset;
use crate::encode::inputs::Shared;
use crate::encode::listener::{ConnectionMatch, ConnectionTargets, target_of_service, targets_of_routes};
use crate::encode::route::{GatewayRoutes, GatewayVirtualHostInputs, encode_gateway_virtual_host};
use crate::model::{
    GatewayServer, Place, Policy, RequestTarget, Service, gateways_routing, tcp_routes_of, tls_routes_of,
};

impl HostBuilder<'_> {
    /// Builds what a gateway has for a host: what leads to its service, if some route does, and its virtual hosts.
    pub(super) fn build_for_gateway(&self, host: &Hostname) -> Option<HostResources> {
        let service = self.viewpoint.service(self.index, host);
        let mut resources = service.map(|service| self.build_clusters(service)).unwrap_or_default();
        for table in self.gateway_tables {
            let inputs = self.gateway_virtual_host_inputs(table, host);
            if !inputs.virtual_services.is_empty() || table.redirects_without_routes(host) {
                let encoded = self.encoder.gateway_virtual_hosts.get_or_encode(inputs, encode_gateway_virtual_host);
                resources.gateway_virtual_hosts.push(encoded);
            }
        }
        let is_empty = resources.service.is_none() && resources.gateway_virtual_hosts.is_empty();
        (!is_empty).then_some(resources)
    }

    fn gateway_virtual_host_inputs(&self, table: &GatewayTable, host: &Hostname) -> GatewayVirtualHostInputs {
        let mut routing: Vec<&Arc<Config>> = self.index.virtual_services_at_gateways(host).collect();
        routing.sort_by_key(|config| (config.created, &config.key));
        routing.dedup_by_key(|config| &config.key);
        let virtual_services = routing.into_iter().filter_map(|config| {
            let hosts = self.index.routed_hosts_of(config);
            let gateways = gateways_routing(&table.servers, host, config, &hosts);
            let is_seen = !gateways.is_empty() && self.viewpoint.sees_virtual_service(self.index, config);
            let has_routes = config.spec.as_virtual_service().is_some_and(|spec| !spec.http.is_empty());
            (is_seen && has_routes).then(|| GatewayRoutes {
                virtual_service: config.into(),
                destinations: self.looked_up_services(config),
                source: self.source_for(config),
                gateways,
            })
        });
        let redirects = |server: &GatewayServer| {
            server.redirects_to_https() && server.server().hosts.iter().any(|server_host| server_host.host.covers(host))
        };
        GatewayVirtualHostInputs {
            host: host.clone(),
            table: table.name.clone(),
            port: table.servers.first().map_or(0, GatewayServer::port),
            redirects_to_https: table.servers.iter().any(redirects),
            virtual_services: virtual_services.collect(),
            domain: self.index.settings().domain.clone(),
            form: self.client.route_table_form(),
            retries: self.index.mesh_defaults().retries.as_ref().map(Shared::from),
        }
    }

    /// Adds the names by which connections of a server go to the ports and subsets of a service as they are. Services to which
    /// connections are encrypted here have none: they would be encrypted twice.
    pub(super) fn add_named_clusters(&self, service: &Service, targets: &mut ConnectionTargets) {
        if service.key.host.is_wildcard() {
            return;
        }
        let rule = self.viewpoint.destination_rule(self.index, service);
        let rule = rule.and_then(|config| config.spec.as_destination_rule());
        for port in &service.ports {
            for subset in all_and_each_subset(rule) {
                let subset = subset.map(|subset| &*subset.name);
                let policy = Policy::new(service, rule, port.number, subset);
                if policy.tls.is_some_and(ClientTls::encrypts) {
                    continue;
                }
                let cluster = ClusterName::outbound(port.number, &service.key.host).with_subset(subset);
                let target = target_of_service(service, &cluster, &policy);
                targets.insert(ConnectionMatch::server_name(cluster.server_name()), target);
            }
        }
    }

    /// Returns where the connections of a server go that has no route table: where the VirtualServices say that are bound
    /// to its Gateway object, the oldest first. Of two for the same connections the first counts.
    pub(super) fn connections_of_server(&self, server: &GatewayServer) -> ConnectionTargets {
        let mut targets = ConnectionTargets::new();
        let is_passthrough = match server.protocol {
            ServerProtocol::Http | ServerProtocol::Https | ServerProtocol::AutoPassthrough => return targets,
            ServerProtocol::Passthrough => true,
            ServerProtocol::Tls | ServerProtocol::Tcp => false,
        };
        let mut bound: Vec<&Arc<Config>> = self.index.virtual_services_bound_to(&server.gateway.key).collect();
        bound.retain(|config| self.viewpoint.sees_virtual_service(self.index, config));
        bound.sort_by_key(|config| (config.created, &config.key));
        let gateways = [server.gateway.key.clone()].into();
        for config in bound {
            let hosts = self.index.routed_hosts_of(config);
            let common = server.hosts_in_common(&hosts, &config.key);
            let Some(host) = common.first() else { continue };
            let destinations = self.looked_up_destinations(config);
            let source = self.source_for(config);
            let domain = &self.index.settings().domain;
            let place = Place::Gateways(&gateways);
            let target = RequestTarget { host, port: server.port(), domain, source: &source, place };
            let routes = if is_passthrough { tls_routes_of } else { tcp_routes_of }(config, target, &destinations);
            for (mut connection_match, target) in targets_of_routes(&routes, config) {
                // A host of every name is no condition.
                connection_match.server_name = connection_match.server_name.filter(|name| name != "*");
                let name = connection_match.server_name.as_ref().and_then(|name| name.parse::<Hostname>().ok());
                let takes_name = |name: &Hostname| common.iter().any(|common| common.covers(name));
                if name.is_none_or(|name| takes_name(&name)) {
                    targets.entry(connection_match).or_insert(target);
                }
            }
        }
        targets
    }
}
