//! What is in force: immutable, replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::route::{RouteTable, VirtualHost};
use crate::validate::{Chain, Cluster, Listener};

/// All config at one moment. A request keeps the one that it began with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyConfig {
    /// By name.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// Load assignments by name.
    pub assignments: BTreeMap<String, Arc<Vec<SocketAddr>>>,
    /// By name.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// Route tables by name, as they were sent.
    pub tables: BTreeMap<String, Arc<RouteTable>>,
    /// By `TABLE/NAME`.
    pub virtual_hosts: BTreeMap<String, Arc<VirtualHost>>,
    /// Tables with the virtual hosts that came one by one in them. What is here can serve.
    complete: BTreeMap<String, Arc<RouteTable>>,
}

/// What a new config does to the sockets. A listener whose address stays keeps its socket and its connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListenerPlan {
    /// To be opened: name and address.
    pub open: Vec<(String, SocketAddr)>,
    /// To take no more connections; those in flight end by themselves.
    pub drain: Vec<String>,
}

impl ProxyConfig {
    /// The addresses of a cluster. None: there is no such cluster.
    pub fn addresses(&self, cluster: &str) -> Option<Arc<Vec<SocketAddr>>> {
        match &**self.clusters.get(cluster)? {
            Cluster::Static(addresses) => Some(addresses.clone()),
            Cluster::Eds(name) => Some(self.assignments.get(name).cloned().unwrap_or_default()),
        }
    }

    /// The route table of a listener. None: it has none, or not yet.
    pub fn table(&self, listener: &Listener) -> Option<Arc<RouteTable>> {
        match &listener.chain {
            Chain::Rds(name) => self.complete.get(name).cloned(),
            Chain::Http(table) => Some(table.clone()),
            Chain::Tcp(_) => None,
        }
    }

    /// Puts a table together again. One whose virtual hosts come by themselves can serve when something was
    /// `heard` of them, be it that there are none.
    pub(crate) fn complete(&mut self, name: &str, heard: bool) {
        let Some(table) = self.tables.get(name) else { return };
        if table.is_split && !heard && !self.complete.contains_key(name) {
            return;
        }
        let mut whole = (**table).clone();
        if table.is_split {
            let start = format!("{name}/");
            let from = self.virtual_hosts.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
            whole.hosts.extend(from.map(|(_, host)| host.clone()));
        }
        self.complete.insert(name.to_owned(), Arc::new(whole));
    }

    /// Drops a table that no listener needs, and what belongs to it.
    pub(crate) fn forget_table(&mut self, name: &str) {
        self.tables.remove(name);
        self.complete.remove(name);
        let start = format!("{name}/");
        self.virtual_hosts.retain(|name, _| !name.starts_with(&start));
    }

    /// The listeners that can serve: those whose route table is there (O12).
    fn ready(&self) -> BTreeMap<&String, SocketAddr> {
        let is_ready = |one: &Listener| match &one.chain {
            Chain::Rds(name) => self.complete.contains_key(name),
            Chain::Http(_) | Chain::Tcp(_) => true,
        };
        self.listeners.iter().filter(|(_, one)| is_ready(one)).map(|(name, one)| (name, one.addr)).collect()
    }

    /// What has to be done to the sockets to come from `old` to this.
    pub fn plan(&self, old: &Self) -> ListenerPlan {
        let (before, after) = (old.ready(), self.ready());
        let moved =
            |name: &String, addr: &SocketAddr, other: &BTreeMap<&String, SocketAddr>| other.get(name) != Some(addr);
        let open = after.iter().filter(|(name, addr)| moved(name, addr, &before));
        let drain = before.iter().filter(|(name, addr)| moved(name, addr, &after));
        ListenerPlan {
            open: open.map(|(name, addr)| ((*name).clone(), *addr)).collect(),
            drain: drain.map(|(name, _)| (*name).clone()).collect(),
        }
    }

    /// The load assignments that the clusters need.
    pub fn assignment_names(&self) -> BTreeSet<String> {
        let name = |cluster: &Arc<Cluster>| match &**cluster {
            Cluster::Eds(name) => Some(name.clone()),
            Cluster::Static(_) => None,
        };
        self.clusters.values().filter_map(name).collect()
    }

    /// The route tables that the listeners need.
    pub fn table_names(&self) -> BTreeSet<String> {
        let name = |listener: &Arc<Listener>| match &listener.chain {
            Chain::Rds(name) => Some(name.clone()),
            Chain::Http(_) | Chain::Tcp(_) => None,
        };
        self.listeners.values().filter_map(name).collect()
    }
}
