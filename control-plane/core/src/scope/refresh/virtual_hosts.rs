//! Virtual hosts: Envoy refuses a table in which two have a domain in common.

use std::collections::BTreeSet;

use rutter_api::{Hostname, ResourceType, RouteTableName, VirtualHostName};

use super::super::domains::rivals;
use super::super::host::HostResources;
use super::super::writes::Wanted;
use super::Refresh;
use crate::client::RouteTableForm;
use crate::encode::route::{DomainInputs, ShortNames, domains, ip_domain, without_domains};

impl Refresh<'_> {
    /// Adds the virtual hosts of the hosts that were looked at, and of those that may share a domain with them. Of two
    /// hosts that want one domain, the one whose full name it is has it.
    pub(super) fn want_virtual_hosts(&mut self, hosts: &BTreeSet<Hostname>) {
        let index = self.surroundings.index;
        let renamed = self.refreshed.renamed.iter();
        let rivals = renamed.flat_map(|(host, addresses)| rivals(index, host, addresses));
        let looked_at: BTreeSet<Hostname> = hosts.iter().cloned().chain(rivals).collect();
        for host in &looked_at {
            for port in self.scope.contested.remove(host).unwrap_or_default() {
                // What is wanted below comes after this and counts.
                let name = VirtualHostName::new(host, port).to_string().into();
                self.wanted.push(Wanted::nothing(ResourceType::VirtualHost, name));
            }
            let Some(resources) = self.scope.host(self.surroundings.base, host).cloned() else { continue };
            self.want_virtual_hosts_of(host, &resources);
        }
        self.refreshed.looked_at = looked_at;
        match self.scope.key.client.route_table_form() {
            RouteTableForm::Whole => self.move_into_tables(),
            RouteTableForm::Split | RouteTableForm::PerHost => {}
        }
    }

    fn want_virtual_hosts_of(&mut self, host: &Hostname, resources: &HostResources) {
        for (port, encoded) in resources.virtual_hosts.iter() {
            let taken = self.taken_domains(host, port, resources);
            let resource =
                if taken.is_empty() { encoded.value.clone() } else { without_domains(&encoded.value, &taken) };
            let base = self.surroundings.base;
            let in_base = base.and_then(|base| base.snapshot.get(ResourceType::VirtualHost, &resource.name));
            if in_base.is_some_and(|in_base| in_base.version != resource.version)
                && !self.scope.hosts.contains_key(host)
            {
                self.scope.contested.entry(host.clone()).or_default().insert(port);
            }
            self.wanted.push(Wanted::resource(ResourceType::VirtualHost, resource));
        }
    }

    /// Returns the domains of a host at a port that another host has: by its full name, or, of an address, by coming
    /// first in the order of the names.
    fn taken_domains(&self, host: &Hostname, port: u16, resources: &HostResources) -> Vec<String> {
        let index = self.surroundings.index;
        let host_of = |rival: &Hostname| self.scope.host(self.surroundings.base, rival);
        let has_port = |rival: &Hostname| {
            rival != host && host_of(rival).is_some_and(|resources| resources.virtual_hosts.get(port).is_some())
        };
        let domain = &*index.settings().domain;
        let short_names = ShortNames::for_client(&self.scope.key.namespace, host, domain);
        let addresses = resources.addresses();
        let is_headless = resources.is_headless();
        let mut taken = domains(DomainInputs { host, addresses, is_headless, short_names, domain });
        taken.retain(|domain| domain.parse().is_ok_and(|rival| has_port(&rival)));
        for ip in addresses {
            let has_address = |rival: &Hostname| {
                rival < host && host_of(rival).is_some_and(|host| host.addresses().contains(ip)) && has_port(rival)
            };
            if index.hosts_at(ip).any(has_address) {
                taken.push(ip_domain(*ip));
            }
        }
        taken
    }

    /// Moves the wanted virtual hosts into the tables of their ports, which are put together afterwards.
    fn move_into_tables(&mut self) {
        for wanted in std::mem::take(&mut self.wanted) {
            let name = match wanted.resource_type {
                // The tables of gateways are put together from their hosts.
                ResourceType::VirtualHost => {
                    let name = wanted.name.parse::<VirtualHostName>().ok();
                    name.filter(|name| *name.table() == RouteTableName::Port(name.port()))
                }
                ResourceType::Cluster
                | ResourceType::Endpoint
                | ResourceType::Listener
                | ResourceType::Route
                | ResourceType::Secret => None,
            };
            match name {
                Some(name) => self.move_into_table(&name, wanted),
                None => self.wanted.push(wanted),
            }
        }
    }

    fn move_into_table(&mut self, name: &VirtualHostName, wanted: Wanted) {
        let (port, host) = (name.port(), name.host());
        let table = self.scope.tables.entry(port).or_default();
        let new_version = wanted.resource.as_ref().map(|resource| resource.version);
        let old = match wanted.resource {
            Some(resource) => table.insert(host.clone(), resource),
            None => table.remove(host),
        };
        if old.map(|old| old.version) != new_version {
            self.ports.insert(port);
        }
        if table.is_empty() {
            self.scope.tables.remove(&port);
        }
    }
}
