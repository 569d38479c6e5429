//! The sidecar's side of delta ADS, as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use prost_types::Any;
use rutter_api::pb::envoy::config::core::v3::Node;
use rutter_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use rutter_api::pb::google::rpc::Status;
use rutter_api::{Invalid, ResourceType};

use crate::proxy_config::ProxyConfig;
use crate::validate;

/// gRPC's INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;

/// One sidecar's subscription, over any number of streams.
#[derive(Debug, Default)]
pub struct AdsClient {
    node: Node,
    config: Arc<ProxyConfig>,
    /// Versions of what is held, by type and name.
    held: [BTreeMap<String, String>; ResourceType::COUNT],
    /// Names asked for on this stream.
    asked: [BTreeSet<String>; ResourceType::COUNT],
    /// Whether virtual hosts were asked for on this stream: once, for all tables.
    asked_virtual_hosts: bool,
}

impl AdsClient {
    /// A sidecar that holds nothing.
    pub fn new(node: Node) -> Self {
        Self { node, ..Self::default() }
    }

    /// What is in force.
    pub fn config(&self) -> &Arc<ProxyConfig> {
        &self.config
    }

    /// The first requests of a stream, with what is held already. Clusters first: the server may then
    /// answer endpoints by difference.
    pub fn on_connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asked = Default::default();
        self.asked_virtual_hosts = false;
        let mut requests: Vec<DeltaDiscoveryRequest> = [ResourceType::Cluster, ResourceType::Listener]
            .into_iter()
            .map(|kind| DeltaDiscoveryRequest {
                type_url: kind.type_url().into(),
                initial_resource_versions: self.held_versions(kind),
                ..Default::default()
            })
            .collect();
        requests[0].node = Some(self.node.clone());
        requests.extend(self.follow_names());
        requests
    }

    fn held_versions(&self, kind: ResourceType) -> BTreeMap<String, String> {
        self.held[kind.index()].clone()
    }

    /// Takes a response in: the answer to it, and what is asked for because of it. What is valid is in
    /// force afterwards; what is not keeps its last good form, and the answer names it.
    pub fn on_response(&mut self, response: &DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryRequest> {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return vec![answer] };
        let mut config = (*self.config).clone();
        let mut faults = Vec::new();
        for resource in &response.resources {
            let body = resource.resource.clone().unwrap_or_default();
            match put(&mut config, kind, (&resource.name, &body)) {
                Ok(()) => drop(self.held[kind.index()].insert(resource.name.clone(), resource.version.clone())),
                Err(invalid) => faults.push(invalid.of(format!("{kind} {}", resource.name)).to_string()),
            }
        }
        for name in &response.removed_resources {
            self.held[kind.index()].remove(name);
            remove(&mut config, kind, name);
        }
        let named = response.resources.iter().map(|resource| &resource.name).chain(&response.removed_resources);
        let tables: BTreeSet<&str> = match kind {
            ResourceType::Route => named.map(String::as_str).collect(),
            ResourceType::VirtualHost => named.filter_map(|name| Some(name.rsplit_once('/')?.0)).collect(),
            ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Listener | ResourceType::Secret => {
                BTreeSet::new()
            }
        };
        tables.iter().for_each(|table| config.complete(table, kind == ResourceType::VirtualHost));
        self.config = Arc::new(config);
        if !faults.is_empty() {
            answer.error_detail =
                Some(Status { code: INVALID_ARGUMENT, message: faults.join("; "), ..Default::default() });
        }
        let mut requests = vec![answer];
        requests.extend(self.follow_names());
        requests
    }

    /// Asks for the endpoints of clusters and the tables of listeners, and leaves those no longer needed.
    fn follow_names(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let needed = [
            (ResourceType::Endpoint, self.config.assignment_names()),
            (ResourceType::Route, self.config.table_names()),
        ];
        let mut requests = Vec::new();
        for (kind, names) in needed {
            let asked = std::mem::replace(&mut self.asked[kind.index()], names.clone());
            let new: Vec<String> = names.difference(&asked).cloned().collect();
            let old: Vec<String> = asked.difference(&names).cloned().collect();
            if new.is_empty() && old.is_empty() {
                continue;
            }
            let mut held = BTreeMap::new();
            if asked.is_empty() {
                held = self.held_versions(kind);
                held.retain(|name, _| names.contains(name));
            }
            for name in &old {
                self.held[kind.index()].remove(name);
                if kind == ResourceType::Route {
                    self.forget_table(name);
                }
            }
            requests.push(DeltaDiscoveryRequest {
                type_url: kind.type_url().into(),
                resource_names_subscribe: new,
                resource_names_unsubscribe: old,
                initial_resource_versions: held,
                ..Default::default()
            });
        }
        if !self.asked_virtual_hosts && self.config.tables.values().any(|table| table.is_split) {
            self.asked_virtual_hosts = true;
            requests.push(DeltaDiscoveryRequest {
                type_url: ResourceType::VirtualHost.type_url().into(),
                initial_resource_versions: self.held_versions(ResourceType::VirtualHost),
                ..Default::default()
            });
        }
        requests
    }

    /// A table that is needed again comes again with all that belongs to it.
    fn forget_table(&mut self, name: &str) {
        let start = format!("{name}/");
        self.held[ResourceType::VirtualHost.index()].retain(|name, _| !name.starts_with(&start));
        Arc::make_mut(&mut self.config).forget_table(name);
    }
}

fn put(config: &mut ProxyConfig, kind: ResourceType, (name, body): (&str, &Any)) -> Result<(), Invalid> {
    fn decode<M: Message + Default>(body: &Any) -> Result<M, Invalid> {
        M::decode(&body.value[..]).map_err(|error| Invalid::new("", "a message of its type", error))
    }
    let name = name.to_owned();
    match kind {
        ResourceType::Cluster => drop(config.clusters.insert(name, Arc::new(validate::cluster(&decode(body)?)?))),
        ResourceType::Endpoint => {
            drop(config.assignments.insert(name, Arc::new(validate::load_assignment(&decode(body)?)?)))
        }
        ResourceType::Listener => drop(config.listeners.insert(name, Arc::new(validate::listener(&decode(body)?)?))),
        ResourceType::Route => drop(config.tables.insert(name, Arc::new(validate::route_table(&decode(body)?)?))),
        ResourceType::VirtualHost => {
            drop(config.virtual_hosts.insert(name, Arc::new(validate::virtual_host(&decode(body)?)?)))
        }
        // It never asks for one.
        ResourceType::Secret => return Err(Invalid::not_supported("secret")),
    }
    Ok(())
}

/// A removed assignment or table of a parent that lives is kept in force, as Envoy does (O9).
fn remove(config: &mut ProxyConfig, kind: ResourceType, name: &str) {
    match kind {
        ResourceType::Cluster => drop(config.clusters.remove(name)),
        ResourceType::Listener => drop(config.listeners.remove(name)),
        ResourceType::VirtualHost => drop(config.virtual_hosts.remove(name)),
        ResourceType::Endpoint | ResourceType::Route | ResourceType::Secret => {}
    }
}

#[cfg(test)]
mod tests;
