//! The resources that come of something.

use std::collections::BTreeSet;

use rutter_api::{ClusterName, Hostname, ResourceType, VirtualHostName};

use super::description::Cost;
use crate::index::MeshIndex;
use crate::mesh::{Mesh, NodeId};
use crate::model::Service;
use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::View;
use crate::visibility::Viewpoint;

impl Cost {
    fn add(&mut self, resource_type: ResourceType, resource: &EncodedResource, clients: usize) {
        let key = (resource_type, resource.name.clone(), resource.entry.len());
        *self.resources.entry(key).or_default() += clients;
    }

    fn add_named(&mut self, view: &View, resource_type: ResourceType, name: &str, clients: usize) {
        if let Some(resource) = view.get(resource_type, name) {
            self.add(resource_type, resource, clients);
        }
    }

    /// Adds everything that a client has, for as many clients as have the same.
    pub(super) fn add_all(&mut self, mesh: &Mesh, client: NodeId, clients: usize) {
        let Some(view) = mesh.view(client) else { return };
        for resource_type in ResourceType::ALL {
            view.iter(resource_type).for_each(|resource| self.add(resource_type, resource, clients));
        }
    }

    /// Adds the resources of some types that a name begins or ends with.
    pub(super) fn add_with(
        &mut self,
        view: &View,
        resource_type: ResourceType,
        clients: usize,
        is_meant: impl Fn(&ResourceName) -> bool,
    ) {
        let meant = view.iter(resource_type).filter(|resource| is_meant(&resource.name));
        meant.for_each(|resource| self.add(resource_type, resource, clients));
    }

    /// Adds the clusters and the load assignments of a service.
    pub(super) fn add_clusters(
        &mut self,
        view: &View,
        (index, viewpoint): (&MeshIndex, Viewpoint<'_>),
        service: &Service,
        clients: usize,
    ) {
        let rule = viewpoint.destination_rule(index, service);
        let rule = rule.and_then(|rule| rule.spec.as_destination_rule());
        let subsets = rule.into_iter().flat_map(|rule| &rule.subsets).map(|subset| Some(&*subset.name));
        let subsets: BTreeSet<Option<&str>> = subsets.chain([None]).collect();
        for port in &service.ports {
            for subset in &subsets {
                let name = ClusterName::outbound(port.number, &service.key.host).with_subset(*subset).to_string();
                for resource_type in [ResourceType::Cluster, ResourceType::Endpoint] {
                    self.add_named(view, resource_type, &name, clients);
                }
            }
        }
    }

    /// Adds the virtual hosts of a host at some ports, and the listeners and tables that are its own.
    pub(super) fn add_routes(&mut self, view: &View, host: &Hostname, service: Option<&Service>, clients: usize) {
        let ports = service.into_iter().flat_map(|service| &service.ports).map(|port| port.number);
        for port in ports.chain([80]).collect::<BTreeSet<u16>>() {
            let name = VirtualHostName::new(host, port).to_string();
            self.add_named(view, ResourceType::VirtualHost, &name, clients);
            self.add_named(view, ResourceType::Route, &format!("{host}:{port}"), clients);
            self.add_named(view, ResourceType::Route, &ClusterName::outbound(port, host).to_string(), clients);
            for address in service.into_iter().flat_map(|service| &service.addresses) {
                self.add_named(view, ResourceType::Listener, &format!("{address}_{port}"), clients);
            }
        }
    }
}
