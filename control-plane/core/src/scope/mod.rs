//! Scopes: what some sidecars may see, kept up to date host by host.
//!
//! A scope that restricts nothing lies over a base, which is the world as a client of no namespace sees
//! it; the scope itself then has only the hosts at which its namespace differs.

mod layers;
mod port;
mod table;
mod unit;
mod visible;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rutter_api::config::istio::OutboundMode;
use rutter_api::node::Interception;
use rutter_api::{Config, ConfigKey, Hostname, ResourceType};

use crate::encode::listener::{self, BoundListener, OutboundPort};
use crate::encode::route::{self, RouteTables};
use crate::encode::{EncodedResource, cluster};
use crate::index::{MeshIndex, ServiceKey, sidecar};
use crate::snapshot::{ResourceName, ScopeSnapshot, Write};
use port::{PortUse, PortUses};
pub use table::{ScopeId, ScopeTable};
use unit::HostUnit;
pub use unit::{Encoder, Spread};
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
    /// How virtual hosts travel to them.
    pub tables: RouteTables,
}

/// What makes two scopes that restrict nothing lie over the same base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct BaseKey {
    interception: Interception,
    allow_any: bool,
}

/// The state of one scope.
#[derive(Debug)]
pub struct Scope {
    key: ScopeKey,
    egress: Egress,
    allow_any: bool,
    /// The base that it lies over.
    base: Option<BaseKey>,
    /// VirtualServices that widen a restricted scope by their destinations.
    widening: BTreeMap<ConfigKey, Arc<Config>>,
    /// How many of them send to a host.
    inferred: BTreeMap<Hostname, usize>,
    /// None: the base has something for the host, and this scope has nothing.
    hosts: BTreeMap<Hostname, Option<Arc<HostUnit>>>,
    /// Hosts of the base whose virtual hosts have other domains here, because another host has or has not
    /// taken them, and at which ports.
    contested: BTreeMap<Hostname, BTreeSet<u16>>,
    /// What each port at all addresses takes.
    ports: BTreeMap<u16, PortUses>,
    /// The same put together, as it was last time.
    merged: BTreeMap<u16, OutboundPort>,
    /// The virtual hosts of each port, where they travel in the table.
    tables: BTreeMap<u16, BTreeMap<Hostname, EncodedResource>>,
    /// Listeners at one address and port, by the host that claims them: the first has it.
    addressed: BTreeMap<ResourceName, BTreeMap<Hostname, EncodedResource>>,
    /// Whether what says what happens to unknown traffic has to be made again.
    is_fallback_stale: bool,
    snapshot: Arc<ScopeSnapshot>,
}

/// What a resource is to be in a scope, whatever its base has. None: nothing.
type Wanted = Vec<(ResourceType, ResourceName, Option<EncodedResource>)>;

/// What a scope is refreshed from.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    index: &'a MeshIndex,
    base: Option<&'a Scope>,
}

/// What bringing a scope up to date came to.
#[derive(Debug, Default)]
struct Refreshed {
    /// Some resource has other bytes.
    changed: bool,
    /// Ports whose listener or table is another.
    ports: BTreeSet<u16>,
    /// Ports that some host uses otherwise.
    uses: BTreeSet<u16>,
    /// Listeners at an address of their own that changed.
    addressed: BTreeSet<ResourceName>,
    /// Hosts that came, went, or have other addresses or ports, with the addresses of before and after.
    renamed: BTreeMap<Hostname, BTreeSet<IpAddr>>,
    /// Every host that was looked at.
    looked: BTreeSet<Hostname>,
    /// Hosts that are another service now: before and after.
    reselected: Vec<(Option<ServiceKey>, Option<ServiceKey>)>,
}

impl Scope {
    fn new(key: ScopeKey, index: &MeshIndex, lineage: u64) -> Self {
        let mut scope = Self {
            egress: Egress::everything(),
            key,
            allow_any: true,
            base: None,
            widening: BTreeMap::new(),
            inferred: BTreeMap::new(),
            hosts: BTreeMap::new(),
            contested: BTreeMap::new(),
            ports: BTreeMap::new(),
            merged: BTreeMap::new(),
            tables: BTreeMap::new(),
            addressed: BTreeMap::new(),
            is_fallback_stale: true,
            snapshot: Arc::new(ScopeSnapshot::new(lineage)),
        };
        scope.read_sidecar(index);
        scope
    }

    /// What its sidecars share, over the base.
    pub fn snapshot(&self) -> &Arc<ScopeSnapshot> {
        &self.snapshot
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

    /// The base that it should lie over. None: it restricts something, or its tables travel whole.
    fn base_key(&self) -> Option<BaseKey> {
        let layered = self.egress.is_everything() && self.key.tables == RouteTables::Split;
        layered.then_some(BaseKey { interception: self.key.interception, allow_any: self.allow_any })
    }

    fn unit<'a>(&'a self, base: Option<&'a Scope>, host: &Hostname) -> Option<&'a Arc<HostUnit>> {
        match self.hosts.get(host) {
            Some(unit) => unit.as_ref(),
            None => base?.hosts.get(host)?.as_ref(),
        }
    }

    /// Whether it has something for a host that its base has not.
    fn is_over(&self, host: &Hostname) -> bool {
        self.hosts.contains_key(host) || self.contested.contains_key(host)
    }

    /// Brings the given hosts up to date, and what the base moved.
    fn refresh(
        &mut self,
        from: Inputs<'_>,
        hosts: &BTreeSet<Hostname>,
        moved: &Refreshed,
        encoder: &mut Encoder,
    ) -> Refreshed {
        let mut wanted = Wanted::new();
        let mut refreshed = Refreshed { addressed: moved.addressed.clone(), ..Refreshed::default() };
        let mut ports = moved.uses.clone();
        let is_fallback_stale = std::mem::take(&mut self.is_fallback_stale);
        if is_fallback_stale && from.base.is_none() {
            ports.extend(self.ports.keys().copied());
            wanted.extend(self.constant());
        }
        let is_special =
            |host: &Hostname| from.base.is_none() || from.index.special_namespaces(host).contains(&self.key.namespace);
        let special: Vec<&Hostname> = hosts.iter().filter(|host| is_special(host)).collect();
        let mut built = special.iter().copied().zip(unit::build_all(self, from.index, &special, encoder)).peekable();
        for host in hosts {
            encoder.visits += 1;
            let under = from.base.and_then(|base| base.hosts.get(host)).and_then(Option::as_ref);
            let special = built.next_if(|(other, _)| *other == host);
            let is_special = special.is_some();
            let own = special.and_then(|(_, unit)| unit);
            let old = if own.is_some() || is_special && under.is_some() {
                self.hosts.insert(host.clone(), own.clone())
            } else {
                self.hosts.remove(host)
            };
            let before = old.as_ref().map_or(under, Option::as_ref);
            let after = self.hosts.get(host).map_or(under, Option::as_ref);
            let service = |unit: Option<&Arc<HostUnit>>| unit.and_then(|unit| unit.service_key()).cloned();
            if service(before) != service(after) {
                refreshed.reselected.push((service(before), service(after)));
            }
            unit::want((before, after), from.base.is_none(), &mut wanted);
            if under.is_some() {
                // What the base has and has just changed may be hidden here, or no longer.
                unit::want((under, after), false, &mut wanted);
            }
            if let Some(addresses) = unit::renamed(before, after) {
                refreshed.renamed.insert(host.clone(), addresses);
            }
            let listeners = [before, after, under].into_iter().flatten().flat_map(|unit| &unit.addressed);
            refreshed.addressed.extend(listeners.map(|listener| listener.name.clone()));
            let old = old.flatten();
            ports.extend(self.place_uses(host, (old.as_deref(), own.as_deref()), under.map(|unit| &**unit)));
            self.claim(host, (old.as_deref(), own.as_deref()));
        }
        refreshed.uses.clone_from(&ports);
        self.want_virtual_hosts(from, hosts, &mut refreshed, (&mut wanted, &mut ports));
        self.want_ports(from, &ports, is_fallback_stale, (&mut wanted, &mut refreshed, encoder));
        for name in &refreshed.addressed {
            wanted.push((ResourceType::Listener, name.clone(), self.addressed_listener(from.base, name)));
        }
        if let Some(base) = from.base {
            // What was hidden and is no longer there must not stay hidden when it comes back.
            wanted.extend(self.snapshot.hidden_without(&base.snapshot).map(|(kind, name)| (kind, name.clone(), None)));
        }
        if let Some(next) = self.snapshot.apply(over(wanted, from.base)) {
            self.snapshot = Arc::new(next);
            refreshed.changed = true;
        }
        refreshed
    }

    /// The clusters and the listener that every capturing sidecar has.
    fn constant(&self) -> Wanted {
        if self.key.interception == Interception::None {
            return Wanted::new();
        }
        let clusters = cluster::encode_capture_clusters().into_iter();
        let listener = listener::encode_virtual_outbound(self.allow_any);
        let all = clusters.map(|one| (ResourceType::Cluster, one)).chain([(ResourceType::Listener, listener)]);
        all.map(|(kind, one)| (kind, one.name.clone(), Some(one))).collect()
    }
}

/// The writes that make a scope over a base show what is wanted.
fn over(wanted: Wanted, base: Option<&Scope>) -> Vec<Write> {
    let write = |(kind, name, value): (ResourceType, ResourceName, Option<EncodedResource>)| {
        let under = base.and_then(|base| base.snapshot.get(kind, &name));
        match (value, under) {
            (Some(value), Some(under)) if value.version == under.version => Write::Remove(kind, name),
            (Some(value), _) => Write::Put(kind, value),
            (None, Some(_)) => Write::Hide(kind, name),
            (None, None) => Write::Remove(kind, name),
        }
    };
    wanted.into_iter().map(write).collect()
}

/// Virtual hosts, and no two of a port with a domain in common.
impl Scope {
    fn want_virtual_hosts(
        &mut self,
        from: Inputs<'_>,
        hosts: &BTreeSet<Hostname>,
        refreshed: &mut Refreshed,
        (wanted, ports): (&mut Wanted, &mut BTreeSet<u16>),
    ) {
        let renamed = refreshed.renamed.iter();
        let rivals = renamed.flat_map(|(host, addresses)| rivals(from.index, host, addresses));
        refreshed.looked = hosts.iter().cloned().chain(rivals).collect();
        for host in &refreshed.looked {
            for port in self.contested.remove(host).unwrap_or_default() {
                // Unless it is wanted below.
                wanted.push((ResourceType::VirtualHost, route::resource_name(host, port).into(), None));
            }
            let Some(unit) = self.unit(from.base, host).cloned() else { continue };
            for (port, piece) in unit.virtual_hosts.iter() {
                let taken = self.taken_domains(from, host, port, &unit);
                let resource = match &taken[..] {
                    [] => piece.host.resource().clone(),
                    _ => piece.host.without(&taken).resource().clone(),
                };
                let under = from.base.and_then(|base| base.snapshot.get(ResourceType::VirtualHost, &resource.name));
                if under.is_some_and(|under| under.version != resource.version) && !self.hosts.contains_key(host) {
                    self.contested.entry(host.clone()).or_default().insert(port);
                }
                wanted.push((ResourceType::VirtualHost, resource.name.clone(), Some(resource)));
            }
        }
        if self.key.tables == RouteTables::Whole {
            ports.extend(self.put_in_tables(wanted));
        }
    }

    /// The domains of a host at a port that another host has: by its full name, or first by an address.
    fn taken_domains(&self, from: Inputs<'_>, host: &Hostname, port: u16, unit: &HostUnit) -> Vec<String> {
        let has_port = |other: &Hostname| {
            other != host && self.unit(from.base, other).is_some_and(|unit| unit.virtual_hosts.get(port).is_some())
        };
        let by_name = |domain: &String| domain.parse().is_ok_and(|other| has_port(&other));
        let domain = &from.index.settings().domain;
        let target =
            route::Target { host, service: unit.service.as_deref(), port, client: &self.key.namespace, domain };
        let mut taken: Vec<String> = route::domains(target).into_iter().filter(by_name).collect();
        for ip in unit.service.iter().flat_map(|service| &service.addresses) {
            let has_ip = |other: &Hostname| {
                let service = self.unit(from.base, other).and_then(|unit| unit.service.as_ref());
                other < host && service.is_some_and(|service| service.addresses.contains(ip)) && has_port(other)
            };
            if from.index.hosts_at(ip).any(has_ip) {
                taken.push(route::ip_domain(*ip));
            }
        }
        taken
    }

    /// Whole tables: moves wanted virtual hosts into the tables; the ports that this concerns.
    fn put_in_tables(&mut self, wanted: &mut Wanted) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        wanted.retain(|(kind, name, value)| {
            if *kind != ResourceType::VirtualHost {
                return true;
            }
            let place = route::table_of(name).parse().ok().zip(route::host_of(name));
            if let Some((port, host)) = place {
                let table = self.tables.entry(port).or_default();
                let old = match value {
                    Some(value) => table.insert(host, value.clone()),
                    None => table.remove(&host),
                };
                if old.map(|old| old.version) != value.as_ref().map(|value| value.version) {
                    ports.insert(port);
                }
                if table.is_empty() {
                    self.tables.remove(&port);
                }
            }
            false
        });
        ports
    }
}

/// The hosts that may share a domain with a host that came, went or got another address.
fn rivals(index: &MeshIndex, host: &Hostname, addresses: &BTreeSet<IpAddr>) -> BTreeSet<Hostname> {
    let (text, domain) = (host.as_str(), &index.settings().domain);
    // Names without a dot are short names only: nothing else is called so.
    let names = [format!("{text}.svc.{domain}"), format!("{text}.{domain}")];
    let short = text.strip_suffix(&format!(".{domain}")).map(str::to_owned);
    let shorter = short.as_ref().and_then(|text| text.strip_suffix(".svc")).map(str::to_owned);
    let names = names.into_iter().chain(short).chain(shorter);
    let mut all: BTreeSet<Hostname> = names.filter_map(|text| text.parse().ok()).collect();
    for ip in addresses.iter().copied().chain(text.parse()) {
        all.extend(index.hosts_at(&ip).cloned());
    }
    all.remove(host);
    all
}
