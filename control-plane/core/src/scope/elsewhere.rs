//! How a host uses listeners that a Sidecar object has put somewhere else than at the addresses of services.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Config, HostPort};

use super::host::{HostBuilder, HostResources};
use super::port_uses::{PortUse, protocol_at};
use crate::client::RouteTableForm;
use crate::encode::listener::ConnectionTargets;
use crate::encode::route::{VirtualHostInputs, encode_virtual_host};
use crate::model::{Protocol, Service, ServicePort};
use crate::visibility::SeenListener;

impl HostBuilder<'_> {
    /// Adds how a port is used by listeners that are elsewhere.
    pub(super) fn add_elsewhere(
        &self,
        resources: &mut HostResources,
        listeners: &[&SeenListener],
        (service, port): (&Arc<Service>, &ServicePort),
        virtual_service: Option<&Arc<Config>>,
    ) {
        if let Some(listener) = listeners.iter().find(|listener| listener.ip().is_some()) {
            let port = ServicePort { protocol: protocol_at(port, listener.is_http), ..port.clone() };
            self.add_placed(resources, (service, &port), virtual_service);
        }
        let at_sockets = listeners.iter().filter(|listener| listener.socket().is_some());
        for is_http in at_sockets.filter_map(|listener| listener.is_http).collect::<BTreeSet<bool>>() {
            self.add_socket_use(resources, (service, port), is_http, virtual_service);
        }
    }

    /// Adds how a port is used by listeners that a Sidecar object has put somewhere. The port has the protocol that they
    /// say.
    fn add_placed(
        &self,
        resources: &mut HostResources,
        (service, port): (&Arc<Service>, &ServicePort),
        virtual_service: Option<&Arc<Config>>,
    ) {
        let port_use = match (self.client.route_table_form(), port.protocol) {
            (RouteTableForm::PerHost, _) => return,
            (RouteTableForm::Split | RouteTableForm::Whole, protocol) => match protocol {
                Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Unknown => {
                    let target = HostPort::new(&service.key.host, port.number);
                    let virtual_host = self.virtual_host(target, Some(service), virtual_service);
                    resources.virtual_hosts.insert(port.number, virtual_host);
                    PortUse::Http
                }
                Protocol::Tls | Protocol::Tcp => {
                    PortUse::Connections(self.connections_from(service, port, virtual_service))
                }
            },
        };
        resources.placed_uses.insert(port.number, port_use);
    }

    /// Returns where connections to a port go that come by a listener somewhere else than at the addresses of the service.
    fn connections_from(
        &self,
        service: &Arc<Service>,
        port: &ServicePort,
        virtual_service: Option<&Arc<Config>>,
    ) -> ConnectionTargets {
        // Nobody asks for an address of the service there.
        let service = Arc::new(Service { addresses: Vec::new(), ..(**service).clone() });
        self.connections(&service, port, virtual_service)
    }

    /// Adds how a port is used by listeners at Unix sockets that route requests, or by those that pass connections on.
    fn add_socket_use(
        &self,
        resources: &mut HostResources,
        (service, port): (&Arc<Service>, &ServicePort),
        is_http: bool,
        virtual_service: Option<&Arc<Config>>,
    ) {
        if self.client.route_table_form() == RouteTableForm::PerHost {
            return;
        }
        let routes_requests = port.protocol.is_http() || port.protocol == Protocol::Unknown;
        let uses = resources.socket_uses.get_or_insert_default();
        if is_http {
            if routes_requests {
                let target = HostPort::new(&service.key.host, port.number);
                let inputs = self.virtual_host_inputs(target, Some(service), virtual_service);
                // Other clients have the same, so that it is shared with them.
                let inputs = VirtualHostInputs { form: RouteTableForm::Whole, ..inputs };
                let virtual_host = self.encoder.virtual_hosts.get_or_encode(inputs, encode_virtual_host);
                uses.virtual_hosts.push((port.number, virtual_host));
            }
            return;
        }
        // Connections say nothing of a port. They are for ports of HTTP only if there are no others.
        if port.protocol.is_http() && !service.ports.iter().all(|port| port.protocol.is_http()) {
            return;
        }
        let port = ServicePort { protocol: protocol_at(port, Some(false)), ..port.clone() };
        let mut targets = match uses.connections.take() {
            Some(PortUse::Connections(targets)) => targets,
            Some(PortUse::Http) | None => ConnectionTargets::new(),
        };
        for (connection_match, target) in self.connections_from(service, &port, virtual_service) {
            targets.entry(connection_match).or_insert(target);
        }
        uses.connections = Some(PortUse::Connections(targets));
    }
}
