//! Scopes: what some sidecars may see, kept up to date host by host.

mod table;
mod unit;
mod visible;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::config::istio::OutboundMode;
use rutter_api::node::Interception;
use rutter_api::{Config, ConfigKey, Hostname, ResourceType};

use crate::encode::listener::{self, BoundListener, OutboundPort};
use crate::encode::route::{self, VirtualHost};
use crate::encode::{EncodedResource, cluster};
use crate::index::{MeshIndex, ServiceKey, sidecar};
use crate::snapshot::{ResourceName, ScopeSnapshot, Write};
pub use table::{ScopeId, ScopeTable};
pub use unit::Encoder;
use unit::HostUnit;
use visible::Egress;

/// What makes two sidecars see the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeKey {
    /// Their namespace.
    pub namespace: Arc<str>,
    /// The Sidecar object that is about them. None: they see everything that is exported.
    pub sidecar: Option<ConfigKey>,
    /// How traffic reaches them.
    pub interception: Interception,
}

/// The state of one scope.
#[derive(Debug)]
pub struct Scope {
    key: ScopeKey,
    egress: Egress,
    allow_any: bool,
    /// VirtualServices that widen a restricted scope by their destinations.
    widening: BTreeMap<ConfigKey, Arc<Config>>,
    /// How many of them send to a host.
    inferred: BTreeMap<Hostname, usize>,
    hosts: BTreeMap<Hostname, HostUnit>,
    /// The virtual hosts of each port's route table.
    tables: BTreeMap<u16, BTreeMap<Hostname, Arc<VirtualHost>>>,
    /// What each port at all addresses takes beside HTTP.
    ports: BTreeMap<u16, BTreeMap<Hostname, PortUse>>,
    /// Listeners at one address and port, by the host that claims them: the first has it.
    addressed: BTreeMap<ResourceName, BTreeMap<Hostname, EncodedResource>>,
    /// Whether what says what happens to unknown traffic has to be made again.
    is_fallback_stale: bool,
    snapshot: Arc<ScopeSnapshot>,
}

/// How a host without an address of its own uses a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PortUse {
    Http,
    Tls(String),
    Tcp(String),
}

impl Scope {
    fn new(key: ScopeKey, index: &MeshIndex, lineage: u64) -> Self {
        let mut scope = Self {
            egress: Egress::everything(),
            key,
            allow_any: true,
            widening: BTreeMap::new(),
            inferred: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tables: BTreeMap::new(),
            ports: BTreeMap::new(),
            addressed: BTreeMap::new(),
            is_fallback_stale: true,
            snapshot: Arc::new(ScopeSnapshot::new(lineage)),
        };
        scope.read_sidecar(index);
        scope
    }

    /// What its sidecars share.
    pub fn snapshot(&self) -> &Arc<ScopeSnapshot> {
        &self.snapshot
    }

    /// The listeners that a sidecar without capture has to bind, by port.
    pub fn bound_listeners(&self) -> impl Iterator<Item = (u16, BoundListener)> {
        self.ports.iter().filter_map(|(port, uses)| {
            let listener = match merge(uses) {
                OutboundPort { http: true, .. } => BoundListener::Routes(port.to_string()),
                OutboundPort { tcp: Some(cluster), .. } => BoundListener::Tcp(cluster),
                OutboundPort { tls, .. } => BoundListener::Tcp(tls.into_values().next()?),
            };
            Some((*port, listener))
        })
    }

    /// Reads its Sidecar object again.
    fn read_sidecar(&mut self, index: &MeshIndex) {
        let spec = self.key.sidecar.as_ref().and_then(|key| index.config(key)).and_then(|config| sidecar(config));
        self.egress = spec.map_or_else(Egress::everything, |spec| Egress::new(spec, &self.key.namespace));
        let mode = spec.and_then(|spec| spec.outbound_traffic_policy.as_ref()).map(|policy| policy.mode);
        let asked = mode.unwrap_or(OutboundMode::AllowAny) == OutboundMode::AllowAny;
        // Without capture the original destination is not known, so nothing can pass to it.
        self.allow_any = asked && self.key.interception == Interception::Redirect;
    }

    /// Brings the given hosts up to date; true: some byte changed.
    fn refresh(&mut self, index: &MeshIndex, hosts: &BTreeSet<Hostname>, encoder: &mut Encoder) -> Refreshed {
        let mut writes = Vec::new();
        let mut ports = BTreeSet::new();
        let mut refreshed = Refreshed::default();
        if std::mem::take(&mut self.is_fallback_stale) {
            ports.extend(self.ports.keys().copied());
            writes.extend(self.constant());
        }
        for host in hosts {
            encoder.visits += 1;
            let old = self.hosts.remove(host);
            let new = unit::build(self, index, host, encoder);
            let service = |unit: &Option<HostUnit>| unit.as_ref().and_then(HostUnit::service_key).cloned();
            let (before, after) = (service(&old), service(&new));
            if before != after {
                refreshed.reselected.push((before, after));
            }
            unit::diff(old.as_ref(), new.as_ref(), &mut writes);
            ports.extend(self.place(host, old.as_ref(), new.as_ref()));
            self.place_addressed(host, (old.as_ref(), new.as_ref()), &mut writes);
            if let Some(unit) = new {
                self.hosts.insert(host.clone(), unit);
            }
        }
        for port in ports {
            refreshed.listeners_moved = true;
            encoder.tables += 1;
            writes.extend(self.port_resources(port));
        }
        if let Some(next) = self.snapshot.apply(writes) {
            self.snapshot = Arc::new(next);
            refreshed.changed = true;
        }
        refreshed
    }

    /// Moves a host's virtual hosts and port uses to what they are now; the ports that this concerns.
    fn place(&mut self, host: &Hostname, old: Option<&HostUnit>, new: Option<&HostUnit>) -> BTreeSet<u16> {
        let none = HostUnit::default();
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        let mut dirty = move_ports(&mut self.tables, host, (&old.virtual_hosts, &new.virtual_hosts));
        dirty.extend(move_ports(&mut self.ports, host, (&old.port_uses, &new.port_uses)));
        dirty
    }

    fn place_addressed(
        &mut self,
        host: &Hostname,
        (old, new): (Option<&HostUnit>, Option<&HostUnit>),
        writes: &mut Vec<Write>,
    ) {
        let of = |unit: Option<&HostUnit>| unit.map(|unit| unit.addressed.clone()).unwrap_or_default();
        let (old, new) = (of(old), of(new));
        for listener in &old {
            if let Some(claims) = self.addressed.get_mut(&listener.name) {
                claims.remove(host);
            }
        }
        for listener in &new {
            self.addressed.entry(listener.name.clone()).or_default().insert(host.clone(), listener.clone());
        }
        for name in old.iter().chain(&new).map(|listener| &listener.name) {
            writes.push(match self.addressed.get(name).and_then(|claims| claims.values().next()) {
                Some(listener) => Write::Put(ResourceType::Listener, listener.clone()),
                None => Write::Remove(ResourceType::Listener, name.clone()),
            });
            if self.addressed.get(name).is_some_and(BTreeMap::is_empty) {
                self.addressed.remove(name);
            }
        }
    }

    /// The listener and the route table of a port at all addresses.
    fn port_resources(&self, port: u16) -> Vec<Write> {
        let mut writes = Vec::new();
        let what = self.ports.get(&port).map(merge);
        let captured = self.key.interception == Interception::Redirect;
        match &what {
            Some(what) if captured => {
                let listener = listener::encode_outbound_port(port, what, self.allow_any);
                writes.push(Write::Put(ResourceType::Listener, listener));
            }
            Some(_) | None => writes.push(Write::Remove(ResourceType::Listener, format!("0.0.0.0_{port}").into())),
        }
        let name = port.to_string();
        let hosts = self.tables.get(&port).filter(|_| what.is_some_and(|what| what.http));
        writes.push(match hosts {
            Some(hosts) => {
                let fallback = VirtualHost::fallback(self.allow_any);
                let hosts = hosts.values().map(|host| &**host).chain([&fallback]);
                Write::Put(ResourceType::Route, route::encode_table(&name, hosts))
            }
            None => Write::Remove(ResourceType::Route, name.into()),
        });
        writes
    }

    fn constant(&self) -> Vec<Write> {
        if self.key.interception == Interception::None {
            return Vec::new();
        }
        let clusters = cluster::encode_capture_clusters().into_iter().map(|c| Write::Put(ResourceType::Cluster, c));
        let listener: EncodedResource = listener::encode_virtual_outbound(self.allow_any);
        clusters.chain([Write::Put(ResourceType::Listener, listener)]).collect()
    }
}

/// Brings what a host has at each port from one state to the other; the ports at which it differs.
fn move_ports<T: Clone + PartialEq>(
    ports: &mut BTreeMap<u16, BTreeMap<Hostname, T>>,
    host: &Hostname,
    (before, after): (&BTreeMap<u16, T>, &BTreeMap<u16, T>),
) -> BTreeSet<u16> {
    let all = before.keys().chain(after.keys()).copied();
    let dirty: BTreeSet<u16> = all.filter(|port| before.get(port) != after.get(port)).collect();
    for port in &dirty {
        let hosts = ports.entry(*port).or_default();
        match after.get(port) {
            Some(value) => hosts.insert(host.clone(), value.clone()),
            None => hosts.remove(host),
        };
        if hosts.is_empty() {
            ports.remove(port);
        }
    }
    dirty
}

/// The first TCP service of a port gets what is neither HTTP nor TLS of a known name.
fn merge(uses: &BTreeMap<Hostname, PortUse>) -> OutboundPort {
    let mut port = OutboundPort::default();
    for (host, port_use) in uses {
        match port_use {
            PortUse::Http => port.http = true,
            PortUse::Tls(cluster) => {
                port.tls.insert(host.to_string(), cluster.clone());
            }
            PortUse::Tcp(cluster) => {
                port.tcp.get_or_insert_with(|| cluster.clone());
            }
        }
    }
    port
}

/// What bringing a scope up to date came to.
#[derive(Debug, Default)]
struct Refreshed {
    /// Some resource has other bytes.
    changed: bool,
    /// Some port or route table was made again.
    listeners_moved: bool,
    /// Hosts that are another service now: before and after.
    reselected: Vec<(Option<ServiceKey>, Option<ServiceKey>)>,
}
