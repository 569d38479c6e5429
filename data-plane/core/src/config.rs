//! What is in force: immutable, and replaced as a whole. The next config shares with the previous one what did not
//! change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::balance::Turns;
use crate::resources::{Addresses, Chain, Cluster, Listener};
use crate::route_table::{RouteTable, VirtualHost};
use crate::shards::ShardedMap;

/// All config at one moment. A request keeps the one that it began with. A clone costs a few pointers, because all of
/// its maps share their parts.
#[derive(Debug, Clone, Default)]
pub struct ProxyConfig {
    clusters: ShardedMap<Arc<ClusterState>>,
    assignments: ShardedMap<Arc<Vec<SocketAddr>>>,
    listeners: ShardedMap<Arc<Listener>>,
    tables: ShardedMap<TableState>,
    /// The addresses of the listeners that can serve: those whose route table is there (O12).
    ready: ShardedMap<SocketAddr>,
}

/// A cluster, with the place at which the turns of its endpoints stand.
#[derive(Debug)]
pub struct ClusterState {
    /// The cluster as it was sent.
    pub cluster: Cluster,
    /// The turns of its endpoints. They go on when the cluster changes.
    pub turns: Arc<Turns>,
}

/// A route table with its virtual hosts, wherever they come from.
#[derive(Debug, Clone, Default)]
struct TableState {
    /// The table as it was sent. `None` means that only virtual hosts of it were sent.
    sent: Option<Arc<RouteTable>>,
    /// The virtual hosts that came as resources of their own, by their names.
    separate: ShardedMap<Arc<VirtualHost>>,
    /// The table with all its virtual hosts.
    merged: Arc<RouteTable>,
    /// Whether something was heard of the virtual hosts that come as resources of their own, if only that there are none.
    is_heard_of: bool,
}

impl TableState {
    /// Returns whether the table can serve.
    fn is_complete(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| !sent.is_split || self.is_heard_of)
    }

    fn replace_sent(&mut self, table: RouteTable) {
        let merged = Arc::make_mut(&mut self.merged);
        if let Some(old) = self.sent.as_ref().filter(|old| old.is_split && table.is_split) {
            // Only the part that was sent changes, which is small.
            old.hosts().for_each(|(name, _)| merged.remove(name));
        } else {
            *merged = RouteTable::new(table.is_split);
            if table.is_split {
                self.separate.iter().for_each(|(name, host)| merged.insert(name.clone(), host.clone()));
            }
        }
        table.hosts().for_each(|(name, host)| merged.insert(name.clone(), host.clone()));
        self.sent = Some(Arc::new(table));
    }

    /// Takes in what was heard of a virtual host: what it is, or that it does not exist.
    fn hear_of_virtual_host(&mut self, name: &str, host: Option<Arc<VirtualHost>>) {
        self.is_heard_of = true;
        let is_split = self.sent.as_ref().is_none_or(|sent| sent.is_split);
        let merged = Arc::make_mut(&mut self.merged);
        match host {
            Some(host) => {
                let name: Arc<str> = name.into();
                self.separate.insert(name.clone(), host.clone());
                if is_split {
                    merged.insert(name, host);
                }
            }
            None => {
                self.separate.remove(name);
                merged.remove(name);
            }
        }
    }
}

/// What a new config does to the sockets. A listener whose address stays keeps its socket and its connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ListenerPlan {
    /// The listeners to open, by name and address.
    pub open: Vec<(String, SocketAddr)>,
    /// The listeners that take no more connections. Connections in flight end by themselves.
    pub drain: Vec<String>,
}

impl ProxyConfig {
    /// Returns a cluster with its turns, or `None` if there is no such cluster.
    pub fn cluster(&self, name: &str) -> Option<&Arc<ClusterState>> {
        self.clusters.get(name)
    }

    /// Returns the addresses of a cluster. A cluster whose load assignment has not come has none.
    pub fn addresses(&self, cluster: &Cluster) -> Arc<Vec<SocketAddr>> {
        match &cluster.addresses {
            Addresses::Static(addresses) => addresses.clone(),
            Addresses::Assignment(name) => self.assignments.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Returns a listener, or `None` if there is no such listener.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.get(name)
    }

    /// Returns the route table of a listener. `None` means that it has none, or not yet.
    pub fn table(&self, listener: &Listener) -> Option<Arc<RouteTable>> {
        match &listener.chain {
            Chain::Rds(name) => {
                self.tables.get(name).filter(|table| table.is_complete()).map(|table| table.merged.clone())
            }
            Chain::Http(table) => Some(table.clone()),
            Chain::Tcp(_) => None,
        }
    }

    /// Returns what has to be done to the sockets to come from an older config to this one. The cost follows what
    /// changed in between. A listener whose content changed at the same address is in neither list: it keeps its
    /// socket.
    pub fn plan(&self, old: &Self) -> ListenerPlan {
        let [after, before] = self.ready.unshared(&old.ready);
        let moved =
            |(name, address): &(&Arc<str>, &SocketAddr), config: &Self| config.ready.get(name) != Some(*address);
        let open: BTreeMap<_, _> = after.into_iter().filter(|entry| moved(entry, old)).collect();
        let drain: BTreeMap<_, _> = before.into_iter().filter(|entry| moved(entry, self)).collect();
        ListenerPlan {
            open: open.into_iter().map(|(name, address)| (name.to_string(), *address)).collect(),
            drain: drain.into_keys().map(|name| name.to_string()).collect(),
        }
    }
}

#[cfg(test)]
impl ProxyConfig {
    /// Returns the number of clusters that this config does not share with an older one.
    pub(crate) fn copied_since(&self, old: &Self) -> usize {
        self.clusters.unshared(&old.clusters)[0].len()
    }
}

/// Changes. They are made by the protocol alone.
impl ProxyConfig {
    /// Puts a cluster, and returns the one that it replaces. The turns of a cluster that is there go on.
    pub(crate) fn put_cluster(&mut self, name: &str, cluster: Cluster, seed: u64) -> Option<Arc<ClusterState>> {
        let turns = self.clusters.get(name).map(|old| old.turns.clone());
        let turns = turns.unwrap_or_else(|| Arc::new(Turns::new(seed, name)));
        self.clusters.insert(name.into(), Arc::new(ClusterState { cluster, turns }))
    }

    pub(crate) fn remove_cluster(&mut self, name: &str) -> Option<Arc<ClusterState>> {
        self.clusters.remove(name)
    }

    pub(crate) fn put_assignment(&mut self, name: &str, addresses: Vec<SocketAddr>) {
        self.assignments.insert(name.into(), Arc::new(addresses));
    }

    pub(crate) fn put_listener(&mut self, name: &str, listener: Listener) -> Option<Arc<Listener>> {
        self.listeners.insert(name.into(), Arc::new(listener))
    }

    pub(crate) fn remove_listener(&mut self, name: &str) -> Option<Arc<Listener>> {
        self.ready.remove(name);
        self.listeners.remove(name)
    }

    pub(crate) fn put_table(&mut self, name: &str, table: RouteTable) {
        self.change_table(name, |state| state.replace_sent(table));
    }

    /// Takes in what was heard of a virtual host of a table: what it is, or that it does not exist.
    pub(crate) fn put_virtual_host(&mut self, table: &str, name: &str, host: Option<VirtualHost>) {
        self.change_table(table, |state| state.hear_of_virtual_host(name, host.map(Arc::new)));
    }

    fn change_table(&mut self, name: &str, change: impl FnOnce(&mut TableState)) {
        // The state is taken out, so that what it alone holds is changed in place.
        let mut state = self.tables.remove(name).unwrap_or_default();
        change(&mut state);
        self.tables.insert(name.into(), state);
    }

    /// Drops a table that no listener needs, with its virtual hosts.
    pub(crate) fn forget_table(&mut self, name: &str) {
        self.tables.remove(name);
    }

    /// Returns whether a table was sent whose virtual hosts come as resources of their own.
    pub(crate) fn is_split(&self, table: &str) -> bool {
        let sent = self.tables.get(table).and_then(|state| state.sent.as_ref());
        sent.is_some_and(|sent| sent.is_split)
    }

    /// Finds out whether a listener can serve. A listener that could goes on with the table that it has.
    pub(crate) fn update_readiness(&mut self, listener: &str) {
        let Some(found) = self.listeners.get(listener) else { return };
        let is_ready = match &found.chain {
            Chain::Rds(name) => self.tables.get(name).is_some_and(TableState::is_complete),
            Chain::Http(_) | Chain::Tcp(_) => true,
        };
        let address = found.address;
        if !is_ready {
            self.ready.remove(listener);
        } else if self.ready.get(listener) != Some(&address) {
            self.ready.insert(listener.into(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::route_table::{Action, PathMatch, RequestHead, Route};

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn cluster(addresses: Addresses) -> Cluster {
        Cluster { addresses, connect_timeout: Duration::from_secs(1) }
    }

    fn listener(port: u16, chain: Chain) -> Listener {
        Listener { address: address(port), chain }
    }

    fn of_table(port: u16, table: &str) -> Listener {
        listener(port, Chain::Rds(table.into()))
    }

    /// Returns a virtual host of one domain, which answers every request with a text.
    fn host(domain: &str, body: &str) -> VirtualHost {
        let path = PathMatch::Prefix("/".into());
        let action = Action::Direct { status: 200, body: body.into() };
        VirtualHost { domains: vec![domain.into()], routes: vec![Route { path, headers: Vec::new(), action }] }
    }

    fn table(is_split: bool, hosts: &[VirtualHost]) -> RouteTable {
        let mut table = RouteTable::new(is_split);
        hosts.iter().for_each(|host| table.insert(host.domains[0].as_str().into(), Arc::new(host.clone())));
        table
    }

    /// Returns what a listener answers to a request for a host. `None` means that nobody answers.
    fn answer(config: &ProxyConfig, name: &str, host: &str) -> Option<String> {
        let table = config.table(config.listener(name)?)?;
        match &table.find(&RequestHead { host, path: "/", header: &|_| None })?.action {
            Action::Direct { body, .. } => Some(body.clone()),
            Action::Forward { .. } => None,
        }
    }

    /// Puts a listener as the protocol does.
    fn put(config: &mut ProxyConfig, name: &str, listener: Listener) {
        config.put_listener(name, listener);
        config.update_readiness(name);
    }

    fn plan(new: &ProxyConfig, old: &ProxyConfig) -> String {
        let plan = new.plan(old);
        let open: Vec<String> = plan.open.iter().map(|(name, address)| format!("{name} {}", address.port())).collect();
        format!("open {open:?}, drain {:?}", plan.drain)
    }

    const NO_CHANGE: &str = "open [], drain []";

    #[test]
    fn a_cluster_has_the_addresses_that_it_names_or_those_of_its_assignment() {
        let mut config = ProxyConfig::default();
        let fixed = cluster(Addresses::Static(Arc::new(vec![address(1)])));
        let assigned = cluster(Addresses::Assignment("a".into()));
        assert_eq!(*config.addresses(&fixed), [address(1)]);
        assert_eq!(*config.addresses(&assigned), [], "the load assignment has not come");
        config.put_assignment("a", vec![address(2), address(3)]);
        assert_eq!(*config.addresses(&assigned), [address(2), address(3)]);
    }

    #[test]
    fn a_replaced_cluster_is_returned_and_its_turns_go_on() {
        let mut config = ProxyConfig::default();
        let assigned = cluster(Addresses::Assignment("a".into()));
        assert!(config.put_cluster("a", assigned.clone(), 7).is_none());
        let turns = config.cluster("a").unwrap().turns.clone();
        let old = config.put_cluster("a", assigned.clone(), 7).unwrap();
        assert!(Arc::ptr_eq(&old.turns, &turns) && Arc::ptr_eq(&config.cluster("a").unwrap().turns, &turns));
        assert!(config.remove_cluster("a").is_some() && config.cluster("a").is_none());
        config.put_cluster("a", assigned, 7);
        assert!(!Arc::ptr_eq(&config.cluster("a").unwrap().turns, &turns), "a cluster that was gone begins anew");
    }

    #[test]
    fn a_config_that_is_in_use_does_not_change() {
        let mut config = ProxyConfig::default();
        config.put_table("t", table(true, &[host("a", "old")]));
        put(&mut config, "l", of_table(80, "t"));
        config.put_virtual_host("t", "b", Some(host("b", "old")));
        let in_use = config.clone();
        config.put_table("t", table(true, &[host("a", "new")]));
        config.put_virtual_host("t", "b", Some(host("b", "new")));
        assert_eq!((answer(&in_use, "l", "a"), answer(&in_use, "l", "b")), (Some("old".into()), Some("old".into())));
        assert_eq!((answer(&config, "l", "a"), answer(&config, "l", "b")), (Some("new".into()), Some("new".into())));
    }

    #[test]
    fn a_listener_is_opened_when_its_route_table_has_come() {
        let mut config = ProxyConfig::default();
        put(&mut config, "l", of_table(80, "t"));
        assert_eq!(plan(&config, &ProxyConfig::default()), NO_CHANGE);
        assert_eq!(answer(&config, "l", "a"), None);
        config.put_table("t", table(false, &[host("a", "here")]));
        config.update_readiness("l");
        assert_eq!(plan(&config, &ProxyConfig::default()), r#"open ["l 80"], drain []"#);
        assert_eq!(answer(&config, "l", "a").as_deref(), Some("here"));
    }

    #[test]
    fn a_table_in_parts_is_complete_when_something_was_heard_of_its_virtual_hosts() {
        for heard in [Some(host("a", "here")), None] {
            let mut config = ProxyConfig::default();
            config.put_table("t", table(true, &[host("*", "rest")]));
            put(&mut config, "l", of_table(80, "t"));
            assert!(config.is_split("t") && !config.is_split("other"));
            assert_eq!(plan(&config, &ProxyConfig::default()), NO_CHANGE);
            config.put_virtual_host("t", "a", heard.clone());
            config.update_readiness("l");
            assert_eq!(plan(&config, &ProxyConfig::default()), r#"open ["l 80"], drain []"#);
            assert_eq!(answer(&config, "l", "a").as_deref(), Some(if heard.is_some() { "here" } else { "rest" }));
        }
    }

    #[test]
    fn virtual_hosts_may_come_before_their_table() {
        let mut config = ProxyConfig::default();
        put(&mut config, "l", of_table(80, "t"));
        config.put_virtual_host("t", "a", Some(host("a", "here")));
        config.update_readiness("l");
        assert_eq!(plan(&config, &ProxyConfig::default()), NO_CHANGE, "the table may say something more");
        config.put_table("t", table(true, &[host("*", "rest")]));
        config.update_readiness("l");
        assert_eq!(answer(&config, "l", "a").as_deref(), Some("here"));
        assert_eq!(answer(&config, "l", "b").as_deref(), Some("rest"));
    }

    #[test]
    fn a_virtual_host_that_goes_leaves_the_others_in_force() {
        let mut config = ProxyConfig::default();
        config.put_table("t", table(true, &[host("*", "rest")]));
        put(&mut config, "l", of_table(80, "t"));
        config.put_virtual_host("t", "a", Some(host("a", "a")));
        config.put_virtual_host("t", "b", Some(host("b", "b")));
        config.put_virtual_host("t", "a", None);
        assert_eq!(answer(&config, "l", "a").as_deref(), Some("rest"));
        assert_eq!(answer(&config, "l", "b").as_deref(), Some("b"));
        // What came separately stays when the part that is sent as a whole changes.
        config.put_table("t", table(true, &[]));
        assert_eq!((answer(&config, "l", "a"), answer(&config, "l", "b").as_deref()), (None, Some("b")));
    }

    #[test]
    fn a_table_that_is_no_longer_in_parts_has_only_what_is_in_it() {
        let mut config = ProxyConfig::default();
        config.put_table("t", table(true, &[]));
        put(&mut config, "l", of_table(80, "t"));
        config.put_virtual_host("t", "a", Some(host("a", "apart")));
        config.put_table("t", table(false, &[host("b", "whole")]));
        assert_eq!((answer(&config, "l", "a"), answer(&config, "l", "b").as_deref()), (None, Some("whole")));
        config.put_table("t", table(true, &[]));
        assert_eq!(answer(&config, "l", "a").as_deref(), Some("apart"), "it was not taken back");
    }

    #[test]
    fn a_listener_keeps_its_socket_unless_its_address_changes() {
        let mut before = ProxyConfig::default();
        put(&mut before, "stays", listener(1, Chain::Http(Arc::new(table(false, &[host("a", "old")])))));
        put(&mut before, "moves", listener(2, Chain::Tcp("c".into())));
        put(&mut before, "goes", listener(3, Chain::Tcp("c".into())));
        let mut after = before.clone();
        put(&mut after, "stays", listener(1, Chain::Http(Arc::new(table(false, &[host("a", "new")])))));
        put(&mut after, "moves", listener(4, Chain::Tcp("c".into())));
        assert!(after.remove_listener("goes").is_some());
        put(&mut after, "comes", listener(5, Chain::Tcp("c".into())));
        assert_eq!(plan(&after, &before), r#"open ["comes 5", "moves 4"], drain ["goes", "moves"]"#);
        assert_eq!(answer(&after, "stays", "a").as_deref(), Some("new"));
        assert_eq!(plan(&after, &after.clone()), NO_CHANGE);
    }

    #[test]
    fn a_listener_whose_new_table_has_not_come_is_drained() {
        let mut before = ProxyConfig::default();
        before.put_table("t", table(false, &[]));
        put(&mut before, "l", of_table(80, "t"));
        let mut after = before.clone();
        put(&mut after, "l", of_table(80, "later"));
        assert_eq!(plan(&after, &before), r#"open [], drain ["l"]"#);
        after.forget_table("t");
        after.update_readiness("unknown");
        assert_eq!(plan(&after, &ProxyConfig::default()), NO_CHANGE);
    }
}
