//! The listeners at Unix sockets, and their route tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use rutter_api::{Hostname, ListenerName, ResourceType, RouteTableName};

use super::super::port_uses::{SocketUses, merge};
use super::super::state::Scope;
use super::super::writes::Wanted;
use super::Refresh;
use crate::encode::listener::{BoundListener, encode_bound_at_socket};
use crate::encode::route::{SocketVirtualHost, encode_socket_table};
use crate::model::UnknownTraffic;
use crate::resource::{EncodedResource, ResourceName};
use crate::visibility::SeenListener;

impl Refresh<'_> {
    /// Adds the listeners that a Sidecar object has put at Unix sockets, and takes away those that it had put there before.
    /// Only scopes that stand alone have some.
    pub(super) fn want_sockets(&mut self) {
        if !self.are_sockets_new {
            return;
        }
        let mut sockets: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut wanted = Vec::new();
        for (path, seen) in self.scope.egress.at_sockets() {
            let Some((listener, table)) = encode_socket(self.scope, path, seen) else { continue };
            self.encoder.tables += u64::from(table.is_some());
            sockets.insert(path.clone());
            wanted.push(Wanted::resource(ResourceType::Listener, listener));
            let name = table_name(path);
            wanted.push(Wanted { resource_type: ResourceType::Route, name, resource: table });
        }
        for path in std::mem::replace(&mut self.scope.sockets, sockets.clone()).difference(&sockets) {
            let listener = ListenerName::Socket(path.as_ref().into());
            self.wanted.push(Wanted::nothing(ResourceType::Listener, listener.to_string().into()));
            self.wanted.push(Wanted::nothing(ResourceType::Route, table_name(path)));
        }
        self.wanted.extend(wanted);
    }
}

fn table_name(path: &str) -> ResourceName {
    RouteTableName::Socket(path.into()).to_string().into()
}

/// Returns the listener at a socket, and its table if it routes requests. `None` means that it would lead nowhere.
fn encode_socket(scope: &Scope, path: &str, seen: &SeenListener) -> Option<(EncodedResource, Option<EncodedResource>)> {
    let admitted = scope.hosts.iter().filter_map(|(host, resources)| {
        let resources = resources.as_ref()?;
        let service = resources.service.as_ref()?;
        let uses = resources.socket_uses.as_deref()?;
        seen.admits(service.namespace(), host).then_some((host, uses))
    });
    let admitted: Vec<(&Hostname, &SocketUses)> = admitted.collect();
    if seen.is_http == Some(true) {
        let virtual_hosts = admitted.iter().flat_map(|(host, uses)| {
            let virtual_hosts = uses.virtual_hosts.iter();
            virtual_hosts.map(|(port, encoded)| SocketVirtualHost { host, port: *port, virtual_host: &encoded.value })
        });
        let virtual_hosts: Vec<SocketVirtualHost<'_>> = virtual_hosts.collect();
        if virtual_hosts.is_empty() {
            return None;
        }
        let unknown = match &scope.capture.unknown {
            // Nobody knows to where else the application would have connected.
            UnknownTraffic::Passes | UnknownTraffic::IsRefused => &UnknownTraffic::IsRefused,
            to @ UnknownTraffic::GoesTo(_) => to,
        };
        let table = encode_socket_table(path, &virtual_hosts, unknown);
        let listener = encode_bound_at_socket(path, &BoundListener::Routes(table.name.to_string()));
        return Some((listener, Some(table)));
    }
    let connections = admitted.iter().filter_map(|(host, uses)| Some((*host, uses.connections.as_ref()?)));
    let connections = merge(0, connections)?.connections;
    Some((encode_bound_at_socket(path, &BoundListener::Connections(connections)), None))
}
