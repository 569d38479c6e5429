//! The side of delta ADS that the sidecar has, as a value.

mod needed_names;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use prost::Message;
use rutter_api::names::table_of_virtual_host;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use rutter_api::pb::google::rpc::Status;
use rutter_api::{Invalid, PerType, ResourceType};

use crate::config::ProxyConfig;
use crate::resources::{self, Addresses, Chain, Listener};
use needed_names::NeededNames;

/// The code `INVALID_ARGUMENT` of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;

/// The subscription of one sidecar, over any number of streams. The cost of a response follows what is in it. It has no
/// socket and no clock: its driver sends the requests that it returns, in their order.
#[derive(Debug, Default)]
pub struct AdsClient {
    node: Node,
    /// What the turns of clusters begin with.
    seed: u64,
    config: ProxyConfig,
    /// The versions of what the sidecar has, by name.
    held: PerType<BTreeMap<Arc<str>, String>>,
    /// The load assignments that clusters need.
    assignments: NeededNames,
    /// The route tables that listeners need.
    tables: NeededNames,
    /// The listeners that need a route table.
    listeners_of_table: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Whether virtual hosts were asked for on this stream, which is done once for all tables.
    asked_virtual_hosts: bool,
    /// Whether some table was sent whose virtual hosts come as resources of their own.
    needs_virtual_hosts: bool,
}

impl AdsClient {
    /// Returns a sidecar that has nothing. The seed should differ between processes.
    pub fn new(node: Node, seed: u64) -> Self {
        Self { node, seed, ..Self::default() }
    }

    /// Returns what is in force.
    pub fn config(&self) -> Arc<ProxyConfig> {
        Arc::new(self.config.clone())
    }

    /// Returns the first requests of a stream, with what the sidecar has already. Clusters come first, because the
    /// server may then answer endpoints by the difference. The node is in the first request only, as the server
    /// expects.
    pub fn on_connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asked_virtual_hosts = false;
        self.assignments.start_again();
        self.tables.start_again();
        let first_types = [ResourceType::Cluster, ResourceType::Listener];
        let mut requests: Vec<DeltaDiscoveryRequest> =
            first_types.into_iter().map(|resource_type| self.first_request(resource_type)).collect();
        requests[0].node = Some(self.node.clone());
        requests.extend(self.follow_needed_names());
        requests
    }

    fn first_request(&self, resource_type: ResourceType) -> DeltaDiscoveryRequest {
        let held = self.held[resource_type].iter().map(|(name, version)| (name.to_string(), version.clone()));
        DeltaDiscoveryRequest {
            type_url: resource_type.type_url().into(),
            initial_resource_versions: held.collect(),
            ..Default::default()
        }
    }

    /// Takes in a response, and returns the answer to it and what is asked for because of it. What is valid is in force
    /// afterwards; what is not keeps its last good form, and the answer names it. The first request is always the
    /// answer (ACK or NACK) to this response.
    pub fn on_response(&mut self, response: &DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        let Some(resource_type) = ResourceType::from_type_url(&response.type_url) else { return vec![answer] };
        let mut faults = Vec::new();
        for resource in &response.resources {
            match self.put(resource_type, resource) {
                Ok(()) => {
                    let name = resource.name.as_str().into();
                    self.held[resource_type].insert(name, resource.version.clone());
                }
                Err(invalid) => faults.push(invalid.of(format!("{resource_type} {}", resource.name)).to_string()),
            }
        }
        for name in &response.removed_resources {
            self.held[resource_type].remove(name.as_str());
            self.remove(resource_type, name);
        }
        if !faults.is_empty() {
            let message = faults.join("; ");
            answer.error_detail = Some(Status { code: INVALID_ARGUMENT, message, ..Default::default() });
        }
        let mut requests = vec![answer];
        requests.extend(self.follow_needed_names());
        requests
    }

    fn put(&mut self, resource_type: ResourceType, resource: &Resource) -> Result<(), Invalid> {
        let (name, body) = (resource.name.as_str(), resource.resource.clone().unwrap_or_default().value);
        match resource_type {
            ResourceType::Cluster => {
                let cluster = resources::cluster(&decode(&body)?)?;
                let needed = assignment_of(&cluster.addresses).cloned();
                let old = self.config.put_cluster(name, cluster, self.seed);
                needed.iter().for_each(|name| self.assignments.add(name));
                let old = old.as_ref().and_then(|old| assignment_of(&old.cluster.addresses));
                old.into_iter().for_each(|name| self.assignments.remove(name));
            }
            ResourceType::Endpoint => {
                self.config.put_assignment(name, resources::load_assignment(&decode(&body)?)?);
            }
            ResourceType::Listener => {
                let listener = resources::listener(&decode(&body)?)?;
                self.put_listener(name, listener);
            }
            ResourceType::Route => {
                self.config.put_table(name, resources::route_configuration(&decode(&body)?, "")?);
                self.needs_virtual_hosts |= self.config.is_split(name);
                self.update_listeners_of(name);
            }
            ResourceType::VirtualHost => {
                // A virtual host without content is the answer that there is none (D2).
                let host = match &resource.resource {
                    Some(_) => Some(resources::virtual_host(&decode(&body)?)?),
                    None => None,
                };
                let table = table_of_virtual_host(name);
                self.config.put_virtual_host(table, name, host);
                self.update_listeners_of(table);
            }
            // The proxy never asks for secrets.
            ResourceType::Secret => return Err(Invalid::not_supported("secret")),
        }
        Ok(())
    }

    fn put_listener(&mut self, name: &str, listener: Listener) {
        let name: Arc<str> = name.into();
        let needed = table_of(&listener).cloned();
        let old = self.config.put_listener(&name, listener);
        if let Some(table) = &needed {
            self.tables.add(table);
            self.listeners_of_table.entry(table.clone()).or_default().insert(name.clone());
        }
        if let Some(table) = old.as_ref().and_then(|old| table_of(old)) {
            self.leave_table(table, &name, needed.as_ref());
        }
        self.config.update_readiness(&name);
    }

    /// Takes in that a listener no longer needs a table, unless it needs the same one now.
    fn leave_table(&mut self, table: &Arc<str>, listener: &str, needed: Option<&Arc<str>>) {
        self.tables.remove(table);
        if needed == Some(table) {
            return;
        }
        if let Some(listeners) = self.listeners_of_table.get_mut(table) {
            listeners.remove(listener);
            if listeners.is_empty() {
                self.listeners_of_table.remove(table);
            }
        }
    }

    fn update_listeners_of(&mut self, table: &str) {
        for listener in self.listeners_of_table.get(table).into_iter().flatten() {
            self.config.update_readiness(listener);
        }
    }

    /// A load assignment or a table that is removed while its parent lives is kept in force, as Envoy does (O9).
    fn remove(&mut self, resource_type: ResourceType, name: &str) {
        match resource_type {
            ResourceType::Cluster => {
                let old = self.config.remove_cluster(name);
                let old = old.as_ref().and_then(|old| assignment_of(&old.cluster.addresses));
                old.into_iter().for_each(|name| self.assignments.remove(name));
            }
            ResourceType::Listener => {
                let old = self.config.remove_listener(name);
                if let Some(table) = old.as_ref().and_then(|old| table_of(old)) {
                    self.leave_table(table, name, None);
                }
            }
            ResourceType::VirtualHost => {
                let table = table_of_virtual_host(name);
                self.config.put_virtual_host(table, name, None);
                self.update_listeners_of(table);
            }
            ResourceType::Endpoint | ResourceType::Route | ResourceType::Secret => {}
        }
    }

    /// Asks for the load assignments of clusters and the tables of listeners, and leaves those that are no longer
    /// needed.
    fn follow_needed_names(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let changes = [
            (ResourceType::Endpoint, self.assignments.take_changes()),
            (ResourceType::Route, self.tables.take_changes()),
        ];
        let mut requests = Vec::new();
        for (resource_type, changes) in changes {
            if changes.subscribe.is_empty() && changes.unsubscribe.is_empty() {
                continue;
            }
            let mut request = DeltaDiscoveryRequest {
                type_url: resource_type.type_url().into(),
                resource_names_subscribe: changes.subscribe.iter().map(ToString::to_string).collect(),
                resource_names_unsubscribe: changes.unsubscribe.iter().map(ToString::to_string).collect(),
                ..Default::default()
            };
            if changes.is_first {
                let held = &self.held[resource_type];
                let versions =
                    changes.subscribe.iter().filter_map(|name| Some((name.to_string(), held.get(name)?.clone())));
                request.initial_resource_versions = versions.collect();
            }
            for name in &changes.unsubscribe {
                self.held[resource_type].remove(name);
                if resource_type == ResourceType::Route {
                    self.forget_table(name);
                }
            }
            requests.push(request);
        }
        if self.needs_virtual_hosts && !self.asked_virtual_hosts {
            self.asked_virtual_hosts = true;
            requests.push(self.first_request(ResourceType::VirtualHost));
        }
        requests
    }

    /// Drops a table that no listener needs. If it is needed again, it comes again with everything that belongs to it.
    fn forget_table(&mut self, table: &str) {
        let prefix = format!("{table}/");
        let held = &mut self.held[ResourceType::VirtualHost];
        let from_prefix = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let names = held.range::<str, _>(from_prefix).map(|(name, _)| name);
        let names: Vec<Arc<str>> = names.take_while(|name| name.starts_with(&prefix)).cloned().collect();
        names.iter().for_each(|name| drop(held.remove(name)));
        self.config.forget_table(table);
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Invalid> {
    M::decode(body).map_err(|error| Invalid::new("", "a message of its type", error))
}

/// Returns the load assignment that a cluster needs.
fn assignment_of(addresses: &Addresses) -> Option<&Arc<str>> {
    match addresses {
        Addresses::Assignment(name) => Some(name),
        Addresses::Static(_) => None,
    }
}

/// Returns the route table that a listener needs.
fn table_of(listener: &Listener) -> Option<&Arc<str>> {
    match &listener.chain {
        Chain::Rds(name) => Some(name),
        Chain::Http(_) | Chain::Tcp(_) => None,
    }
}

#[cfg(test)]
mod tests;
