//! The listener and the route table that all hosts of a port share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use rutter_api::{ListenerName, ResourceType, RouteTableName};

use super::super::state::Scope;
use super::super::writes::Wanted;
use super::Refresh;
use crate::client::RouteTableForm;
use crate::encode::listener::{
    BoundListener, OutboundPort, encode_bound, encode_outbound_port, encode_outbound_port_at,
};
use crate::encode::route::{encode_head, encode_table};
use crate::resource::{EncodedResource, ResourceName};

impl Refresh<'_> {
    pub(super) fn want_ports(&mut self) {
        let base = self.surroundings.base;
        for port in std::mem::take(&mut self.ports) {
            let merged = self.scope.merge_port(base, port);
            let is_same = self.scope.merged.get(&port) == merged.as_ref();
            if !is_same {
                self.refreshed.ports.insert(port);
            }
            // A whole table has to be put together again whenever its port is named: some virtual host changed.
            let is_split = self.scope.key.client.route_table_form() == RouteTableForm::Split;
            match base {
                Some(base) if base.merged.get(&port) == merged.as_ref() => {
                    self.wanted.extend(resources_as_in(base, port));
                }
                None if is_same && is_split && !self.is_mode_new => {}
                Some(_) | None => {
                    self.encoder.tables += 1;
                    self.wanted.extend(encode_port(self.scope, port, merged.as_ref()));
                    self.want_placed_listeners(port, merged.as_ref());
                }
            }
            match merged {
                Some(merged) => self.scope.merged.insert(port, merged),
                None => self.scope.merged.remove(&port),
            };
        }
    }
}

impl Refresh<'_> {
    /// Adds the listeners of a port that a Sidecar object has put somewhere, and takes away those that are there no longer.
    fn want_placed_listeners(&mut self, port: u16, merged: Option<&OutboundPort>) {
        let Scope { egress, key, mode, placed, .. } = &mut *self.scope;
        let mut listeners = BTreeMap::new();
        for listener in egress.listeners(port).filter(|_| key.client.is_captured()) {
            let (Some(ip), Some(merged)) = (listener.ip, merged) else { continue };
            let encoded = match listener.is_bound {
                true => encode_bound(ip, port, &BoundListener::of_port(port, merged)),
                false => encode_outbound_port_at(ip, port, merged, *mode),
            };
            listeners.insert(encoded.name.clone(), encoded);
        }
        let names: BTreeSet<ResourceName> = listeners.keys().cloned().collect();
        let before = if names.is_empty() { placed.remove(&port) } else { placed.insert(port, names) };
        for name in before.into_iter().flatten().filter(|name| !listeners.contains_key(name)) {
            self.wanted.push(Wanted::nothing(ResourceType::Listener, name));
        }
        let listeners = listeners.into_values().map(|listener| Wanted::resource(ResourceType::Listener, listener));
        self.wanted.extend(listeners);
    }
}

fn resource_names(port: u16) -> [(ResourceType, ResourceName); 2] {
    let listener = ListenerName::Address { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port };
    let table = RouteTableName::Port(port);
    [(ResourceType::Listener, listener.to_string().into()), (ResourceType::Route, table.to_string().into())]
}

/// Returns the listener and the route table of a port.
fn encode_port(scope: &Scope, port: u16, merged: Option<&OutboundPort>) -> [Wanted; 2] {
    let is_elsewhere = scope.egress.listeners(port).any(|listener| listener.ip.is_some());
    let listener = merged.filter(|_| scope.key.client.is_captured() && !is_elsewhere);
    let listener = listener.map(|merged| encode_outbound_port(port, merged, scope.mode));
    let table = merged.filter(|merged| merged.http).map(|_| encode_port_table(scope, port));
    let [(listener_type, listener_name), (table_type, table_name)] = resource_names(port);
    [
        Wanted { resource_type: listener_type, name: listener_name, resource: listener },
        Wanted { resource_type: table_type, name: table_name, resource: table },
    ]
}

fn encode_port_table(scope: &Scope, port: u16) -> EncodedResource {
    match scope.key.client.route_table_form() {
        RouteTableForm::Split => encode_head(port, scope.mode),
        RouteTableForm::Whole | RouteTableForm::PerHost => {
            let virtual_hosts = scope.tables.get(&port).into_iter().flat_map(BTreeMap::values);
            encode_table(port, virtual_hosts, scope.mode)
        }
    }
}

/// Returns the listener and the route table of a port as a base has them.
fn resources_as_in(base: &Scope, port: u16) -> [Wanted; 2] {
    resource_names(port).map(|(resource_type, name)| {
        let resource = base.snapshot.get(resource_type, &name).cloned();
        Wanted { resource_type, name, resource }
    })
}
