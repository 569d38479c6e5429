//! The listener and the route table that all hosts of a port share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use rutter_api::{ListenerName, ResourceType, RouteTableName};

use super::super::state::{PlacedPort, Scope};
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
            let of_base = base.and_then(|base| base.merged.get(&port)).and_then(Option::as_ref);
            // A port that was not looked at here is as in the base. If it changed there, that is told for the base.
            let before = self.scope.merged.get(&port).map_or(of_base, Option::as_ref);
            let is_same = before == merged.as_ref();
            let is_placed = self.scope.egress.placed(port).next().is_some() || self.scope.placed.contains_key(&port);
            if !is_same || is_placed {
                // Listeners that are put somewhere come and go with hosts that do not use the port where it usually is.
                self.refreshed.ports.insert(port);
            }
            // A whole table has to be put together again whenever its port is named: some virtual host changed.
            let is_split = self.scope.key.client.route_table_form() == RouteTableForm::Split;
            match base {
                Some(base) if of_base == merged.as_ref() => {
                    self.wanted.extend(resources_as_in(base, port));
                }
                None if is_same && is_split && !is_placed && !self.is_egress_new => {}
                Some(_) | None => {
                    self.encoder.tables += 1;
                    let placed = self.scope.placed_at(port);
                    self.forget_placed_listeners(port, &placed);
                    self.wanted.extend(encode_port(self.scope, port, merged.as_ref(), &placed));
                    self.want_placed_listeners(port, &placed);
                }
            }
            if merged.is_some() || base.is_some() {
                self.scope.merged.insert(port, merged);
            } else {
                self.scope.merged.remove(&port);
            }
        }
    }
}

impl Refresh<'_> {
    /// Takes away the listeners of a port that a Sidecar object had put somewhere and that are there no longer. Others may
    /// have their names now.
    fn forget_placed_listeners(&mut self, port: u16, placed: &[PlacedPort]) {
        let is_captured = self.scope.key.client.is_captured();
        let names = placed.iter().filter(|_| is_captured).map(|placed| placed.listener_name(port));
        let names: BTreeSet<ResourceName> = names.collect();
        let any_address = resource_names(port).map(|(_, name)| name);
        let known = &mut self.scope.placed;
        let before = if names.is_empty() { known.remove(&port) } else { known.insert(port, names.clone()) };
        for name in before.into_iter().flatten().filter(|name| !names.contains(name)) {
            self.wanted.push(Wanted::nothing(ResourceType::Listener, name.clone()));
            if !any_address.contains(&name) {
                self.refreshed.claims.insert(name);
            }
        }
    }

    /// Adds the listeners of a port that a Sidecar object has put somewhere.
    fn want_placed_listeners(&mut self, port: u16, placed: &[PlacedPort]) {
        for PlacedPort { ip, is_bound, uses } in placed.iter().filter(|_| self.scope.key.client.is_captured()) {
            let listener = match is_bound {
                true => encode_bound(*ip, port, &BoundListener::of_port(port, uses)),
                false => encode_outbound_port_at(*ip, port, uses, &self.scope.capture),
            };
            self.wanted.push(Wanted::resource(ResourceType::Listener, listener));
        }
    }
}

fn resource_names(port: u16) -> [(ResourceType, ResourceName); 2] {
    let listener = ListenerName::Address { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port };
    let table = RouteTableName::Port(port);
    [(ResourceType::Listener, listener.to_string().into()), (ResourceType::Route, table.to_string().into())]
}

/// Returns the listener and the route table of a port.
fn encode_port(scope: &Scope, port: u16, merged: Option<&OutboundPort>, placed: &[PlacedPort]) -> [Wanted; 2] {
    let listener = merged.filter(|_| scope.key.client.is_captured());
    let listener = listener.map(|merged| encode_outbound_port(port, merged, &scope.capture));
    let has_table = merged.is_some_and(|merged| merged.http) || placed.iter().any(|placed| placed.uses.http);
    let table = has_table.then(|| encode_port_table(scope, port));
    let [(listener_type, listener_name), (table_type, table_name)] = resource_names(port);
    [
        Wanted { resource_type: listener_type, name: listener_name, resource: listener },
        Wanted { resource_type: table_type, name: table_name, resource: table },
    ]
}

fn encode_port_table(scope: &Scope, port: u16) -> EncodedResource {
    match scope.key.client.route_table_form() {
        RouteTableForm::Split => encode_head(port, &scope.capture.unknown),
        RouteTableForm::Whole | RouteTableForm::PerHost => {
            let virtual_hosts = scope.tables.get(&port).into_iter().flat_map(BTreeMap::values);
            encode_table(port, virtual_hosts, &scope.capture.unknown)
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
