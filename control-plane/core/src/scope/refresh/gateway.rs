//! The listeners, the route tables and the Secrets of a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::config::istio::ServerProtocol;
use rutter_api::{ResourceType, RouteTableName};

use super::super::gateway_table::{GatewayTable, servers_seen, tables_of};
use super::super::host::{HostBuilder, HostChange, HostResources};
use super::super::state::PassingListener;
use super::super::writes::Wanted;
use super::Refresh;
use crate::client::RouteTableForm;
use crate::encode::listener::{ConnectionTargets, ServerOfListener, encode_gateway_listener};
use crate::encode::route::{encode_gateway_head, encode_gateway_table};
use crate::encode::secret::{encode_files, encode_secret};
use crate::model::{Credential, FileCredential, GatewayAddress, GatewayServer, server_credentials, server_files};
use crate::resource::EncodedResource;

impl Refresh<'_> {
    /// Returns the route tables of the clients if they are gateways.
    pub(super) fn gateway_tables(&self) -> Vec<GatewayTable> {
        if !self.scope.key.client.is_gateway() {
            return Vec::new();
        }
        tables_of(&servers_seen(self.scope.viewpoint(), self.surroundings.index))
    }

    /// Adds the listeners and the heads of the tables of a gateway, and takes away those that it had and has no longer.
    /// They are few, and are encoded at each change, but for those to whose services connections go that name them; what did not
    /// change has the same version.
    pub(super) fn want_gateway(&mut self) {
        if !self.scope.key.client.is_gateway() {
            return;
        }
        let servers = servers_seen(self.scope.viewpoint(), self.surroundings.index);
        let tables = tables_of(&servers);
        let mut resources = self.gateway_listeners(&servers, &tables);
        resources.extend(tables.iter().map(|table| (ResourceType::Route, self.gateway_table(&table.name))));
        let of_servers = servers.values().flatten().filter_map(|server| server.server().tls.as_deref());
        let files: BTreeSet<FileCredential> = of_servers.flat_map(server_files).collect();
        let secrets = self.secrets(&servers).into_iter().chain(files.iter().map(encode_files));
        resources.extend(secrets.map(|secret| (ResourceType::Secret, secret)));
        self.encoder.tables += 1;
        let names = resources.iter().map(|(resource_type, resource)| (*resource_type, resource.name.clone())).collect();
        for (resource_type, name) in std::mem::replace(&mut self.scope.gateway_resources, names) {
            if !self.scope.gateway_resources.contains(&(resource_type, name.clone())) {
                self.wanted.push(Wanted::nothing(resource_type, name));
            }
        }
        let resources = resources.into_iter();
        self.wanted.extend(resources.map(|(resource_type, resource)| Wanted::resource(resource_type, resource)));
    }

    /// Counts what connections to a host need of Secrets.
    pub(super) fn count_credentials(&mut self, change: HostChange<'_>) {
        for credential in change.new.into_iter().flat_map(|resources| &resources.credentials) {
            *self.scope.credentials.entry(credential.clone()).or_default() += 1;
        }
        for credential in change.old.into_iter().flat_map(|resources| &resources.credentials) {
            let left = self.scope.credentials.remove(credential).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                self.scope.credentials.insert(credential.clone(), left);
            }
        }
    }

    /// Returns the Secrets that the listeners and the clusters of a gateway name, as far as they exist in the namespace
    /// of its pod, and nothing if the gateway must not have any.
    fn secrets(&self, servers: &BTreeMap<GatewayAddress, Vec<GatewayServer>>) -> Vec<EncodedResource> {
        if !self.scope.key.takes_secrets {
            return Vec::new();
        }
        let of_servers = servers.values().flatten().filter_map(|server| server.server().tls.as_deref());
        let mut needed: BTreeSet<Credential> = of_servers.flat_map(server_credentials).collect();
        needed.extend(self.scope.credentials.keys().cloned());
        let encode = |credential: &Credential| {
            let keys = credential.secrets(&self.scope.key.namespace).into_iter();
            let mut configs = keys.filter_map(|key| self.surroundings.index.config(&key));
            configs.find_map(|config| encode_secret(credential, config.spec.as_secret()?))
        };
        needed.iter().filter_map(encode).collect()
    }

    fn gateway_listeners(
        &mut self,
        servers: &BTreeMap<GatewayAddress, Vec<GatewayServer>>,
        tables: &[GatewayTable],
    ) -> Vec<(ResourceType, EncodedResource)> {
        let mut known = std::mem::take(&mut self.scope.passing);
        let mut listeners = Vec::new();
        for (address, servers) in servers {
            let listener = if servers.iter().any(|server| server.protocol == ServerProtocol::AutoPassthrough) {
                let passing = self.passing_listener(*address, servers, tables, known.remove(address));
                let listener = passing.listener.clone();
                self.scope.passing.insert(*address, passing);
                listener
            } else {
                let builder = self.listener_builder(tables);
                encode_servers(*address, servers, servers.iter().map(|server| builder.connections_of_server(server)))
            };
            listeners.extend(listener.map(|listener| (ResourceType::Listener, listener)));
        }
        listeners
    }

    fn listener_builder<'b>(&'b self, tables: &'b [GatewayTable]) -> HostBuilder<'b> {
        HostBuilder {
            index: self.surroundings.index,
            viewpoint: self.scope.viewpoint(),
            client: self.scope.key.client,
            source_labels: &self.scope.key.objects.source_labels,
            learns_addresses: false,
            locality: &self.scope.key.locality,
            gateway_tables: tables,
            encoder: self.encoder,
        }
    }

    /// Returns a listener to whose services connections go that name them. It is encoded only if a service, its rule or a server is
    /// another, since there may be as many of them as the mesh has.
    fn passing_listener(
        &self,
        address: GatewayAddress,
        servers: &[GatewayServer],
        tables: &[GatewayTable],
        known: Option<PassingListener>,
    ) -> PassingListener {
        let builder = self.listener_builder(tables);
        let passed = servers.iter().flat_map(|server| self.passed_hosts(server));
        let clusters: Vec<_> = passed.filter_map(|host| host.encoded_clusters()).cloned().collect();
        let mut connections: Vec<ConnectionTargets> =
            servers.iter().map(|server| builder.connections_of_server(server)).collect();
        let is_same = |known: &PassingListener| {
            let same_clusters = known.clusters.len() == clusters.len()
                && known.clusters.iter().zip(&clusters).all(|(known, now)| Arc::ptr_eq(known, now));
            let same_servers = known.servers.len() == servers.len()
                && known.servers.iter().zip(servers).all(|(known, now)| known.is_same(now));
            same_clusters && same_servers && known.connections == connections
        };
        if let Some(known) = known.filter(is_same) {
            return known;
        }
        let routed = connections.clone();
        for (server, targets) in servers.iter().zip(&mut connections) {
            let services = self.passed_hosts(server).filter_map(|host| host.service.as_ref());
            services.for_each(|service| builder.add_named_clusters(service, targets));
        }
        let listener = encode_servers(address, servers, connections.into_iter());
        PassingListener { servers: servers.to_vec(), connections: routed, clusters, listener }
    }

    /// Returns the hosts to whose services connections of a server go that name them.
    fn passed_hosts<'s>(&'s self, server: &'s GatewayServer) -> impl Iterator<Item = &'s Arc<HostResources>> {
        let hosts = self.scope.hosts.values().flatten();
        hosts.filter(|host| host.service.as_ref().is_some_and(|service| server.passes_to(service)))
    }

    fn gateway_table(&self, name: &RouteTableName) -> EncodedResource {
        match self.scope.key.client.route_table_form() {
            RouteTableForm::Split => encode_gateway_head(name),
            RouteTableForm::Whole | RouteTableForm::PerHost => {
                let hosts = self.scope.hosts.values().flatten();
                let virtual_hosts = hosts.flat_map(|resources| &resources.gateway_virtual_hosts);
                let in_table = virtual_hosts.filter(|encoded| encoded.inputs.table == *name);
                encode_gateway_table(name, in_table.map(|encoded| &encoded.value))
            }
        }
    }
}

fn encode_servers(
    address: GatewayAddress,
    servers: &[GatewayServer],
    connections: impl Iterator<Item = ConnectionTargets>,
) -> Option<EncodedResource> {
    let servers: Vec<ServerOfListener<'_>> =
        servers.iter().zip(connections).map(|(server, connections)| ServerOfListener { server, connections }).collect();
    encode_gateway_listener(address, &servers)
}
