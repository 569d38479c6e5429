//! What a change would send to whom, before it is made.
//!
//! The change is made on a branch of the mesh, so that what is told is what the engine would do, and the cost follows the change.
//!
//! - `outcomes`: where the routes of a resource lead.
//! - `reach`: which clusters have endpoints.

mod outcomes;
mod reach;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rutter_api::{ResourceType, SidecarNode};

use crate::debounce::ConfigBatch;
use crate::mesh::{Mesh, NodeId};
use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::{Snapshot, View};
use outcomes::{Outcome, Place, outcomes};
use reach::Reach;

/// What a change would come to.
#[derive(Debug, Default)]
pub struct Impact {
    /// The revision of the config that the change is made to.
    pub revision: u64,
    /// The number of connected clients.
    pub clients: usize,
    /// The clients that would be sent something, those together that would be sent the same.
    pub groups: Vec<Group>,
}

/// Clients that a change would send the same.
#[derive(Debug)]
pub struct Group {
    /// The clients, in the order of their names.
    pub clients: Vec<(NodeId, Arc<SidecarNode>)>,
    /// What they would be sent, and what would be taken from them.
    pub resources: Vec<ResourceImpact>,
    /// The routes that would lead elsewhere.
    pub routes: Vec<RouteImpact>,
}

/// A resource that would be another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceImpact {
    /// The type.
    pub resource_type: ResourceType,
    /// The name.
    pub name: ResourceName,
    /// The size of what is there now, in bytes as they are sent. `None` means that there is nothing.
    pub before: Option<usize>,
    /// What would be sent. `None` means that the resource would be taken away.
    pub after: Option<Bytes>,
}

/// The resources that a client has asked for by their names.
pub type Asked = BTreeSet<(ResourceType, ResourceName)>;

/// A route that would lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteImpact {
    /// The type of the resource that the route is in.
    pub resource_type: ResourceType,
    /// The name of that resource.
    pub resource: ResourceName,
    /// Where the route is: the virtual host and the condition, or the listener and the filter chain.
    pub place: String,
    /// Where it leads now. Empty: there is no such route.
    pub before: String,
    /// Where it would lead. Empty: there would be no such route.
    pub after: String,
    /// Whether requests that are answered now would be answered 502 or 503, or connections be closed, or whether the proxy would no longer
    /// know the host.
    pub breaks: bool,
}

impl Impact {
    /// Returns the number of clients that would be sent something.
    pub fn affected(&self) -> usize {
        self.groups.iter().map(|group| group.clients.len()).sum()
    }

    /// Takes in what clients have asked for that are sent only what they ask for.
    pub fn narrow(&mut self, asked: &HashMap<NodeId, Asked>) {
        if asked.is_empty() {
            return;
        }
        let mut groups = Groups::new();
        for group in std::mem::take(&mut self.groups) {
            for client in &group.clients {
                let told = match asked.get(&client.0) {
                    Some(asked) => group.narrowed(asked),
                    None => (group.resources.clone(), group.routes.clone()),
                };
                if !told.0.is_empty() || !told.1.is_empty() {
                    groups.entry(told).or_default().push(client.clone());
                }
            }
        }
        self.groups = sorted(groups);
    }
}

/// Clients by what they would be sent.
type Groups = BTreeMap<(Vec<ResourceImpact>, Vec<RouteImpact>), Vec<(NodeId, Arc<SidecarNode>)>>;

fn sorted(groups: Groups) -> Vec<Group> {
    let group = |((resources, routes), mut clients): ((_, _), Vec<(NodeId, Arc<SidecarNode>)>)| {
        clients.sort_by_cached_key(|(id, node)| (node.id(), *id));
        Group { clients, resources, routes }
    };
    let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.clients.len()));
    groups
}

impl Group {
    /// Returns the bytes that one client of the group would be sent.
    pub fn bytes(&self) -> usize {
        self.resources.iter().filter_map(|resource| resource.after.as_ref()).map(Bytes::len).sum()
    }

    /// Returns the names of everything that the group is told of.
    pub fn names(&self) -> Asked {
        let resources = self.resources.iter().map(|resource| (resource.resource_type, resource.name.clone()));
        let routes = self.routes.iter().map(|route| (route.resource_type, route.resource.clone()));
        resources.chain(routes).collect()
    }

    /// Returns the group as it is for clients that are sent only what they ask for, which is what they have asked for and what
    /// that names.
    fn narrowed(&self, asked: &Asked) -> (Vec<ResourceImpact>, Vec<RouteImpact>) {
        let is_asked = |resource: &&ResourceImpact| asked.contains(&(resource.resource_type, resource.name.clone()));
        let (mut sent, mut rest): (Vec<&ResourceImpact>, Vec<&ResourceImpact>) =
            self.resources.iter().partition(is_asked);
        loop {
            let is_named = |resource: &&ResourceImpact| {
                let mut bodies = sent.iter().filter_map(|sent| sent.after.as_ref());
                resource.after.is_some() && bodies.any(|body| contains(body, resource.name.as_bytes()))
            };
            let (named, others): (Vec<&ResourceImpact>, Vec<&ResourceImpact>) = rest.into_iter().partition(is_named);
            if named.is_empty() {
                break;
            }
            sent.extend(named);
            rest = others;
        }
        let resources: BTreeSet<ResourceImpact> = sent.into_iter().cloned().collect();
        let is_sent = |route: &&RouteImpact| {
            asked.contains(&(route.resource_type, route.resource.clone()))
                || resources.iter().any(|sent| sent.resource_type == route.resource_type && sent.name == route.resource)
        };
        let routes = self.routes.iter().filter(is_sent).cloned().collect();
        (resources.into_iter().collect(), routes)
    }
}

/// Returns what a batch would come to. The mesh itself stays as it is.
pub fn impact(mesh: &Mesh, batch: &ConfigBatch) -> Impact {
    let mut after = mesh.branch().without_analysis();
    let changed = after.apply(batch);
    let mut pairs: HashMap<Pair, Vec<NodeId>> = HashMap::new();
    for id in changed {
        let (Some(old), Some(new)) = (mesh.view(id), after.view(id)) else { continue };
        pairs.entry(Pair::of(old, new)).or_default().push(id);
    }
    let mut differ = Differ::default();
    let mut groups = Groups::new();
    for ids in pairs.into_values() {
        let Some((old, new)) = ids.first().and_then(|id| Some((mesh.view(*id)?, after.view(*id)?))) else { continue };
        let clients = ids.iter().filter_map(|id| Some((*id, mesh.node(*id)?.clone())));
        groups.entry(differ.compare(old, new)).or_default().extend(clients);
    }
    Impact { revision: mesh.revision(), clients: mesh.sidecars().count(), groups: sorted(groups) }
}

/// The layers of a view before and after a change. Clients that share all of them see the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pair([*const Snapshot; 6]);

impl Pair {
    fn of(old: &View, new: &View) -> Self {
        let layers = [&old.base, &old.scope, &old.sidecar, &new.base, &new.scope, &new.sidecar];
        Self(layers.map(Arc::as_ptr))
    }
}

/// Where the routes of a resource lead, before any look at endpoints.
type Outcomes = BTreeMap<Place, Outcome>;

/// A route, and the resource that it is in.
type RoutePlace = (ResourceType, ResourceName, Place);

/// Compares views. What a resource comes to is found once, whoever sees it.
#[derive(Default)]
struct Differ {
    outcomes: HashMap<(ResourceType, *const u8), (EncodedResource, Outcomes)>,
}

impl Differ {
    fn compare(&mut self, old: &View, new: &View) -> (Vec<ResourceImpact>, Vec<RouteImpact>) {
        let mut resources = Vec::new();
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        let mut moved: BTreeSet<ResourceName> = BTreeSet::new();
        for resource_type in ResourceType::ALL {
            for name in new.changed_since(old, resource_type) {
                let [was, is] = [old, new].map(|view| view.get(resource_type, &name));
                for (resource, outcomes) in [(was, &mut before), (is, &mut after)] {
                    outcomes.extend(resource.into_iter().flat_map(|resource| self.of(resource_type, resource)));
                }
                if matches!(resource_type, ResourceType::Cluster | ResourceType::Endpoint) {
                    moved.insert(name.clone());
                }
                let before = was.map(|resource| resource.entry.len());
                let after = is.map(|resource| resource.entry.clone());
                resources.push(ResourceImpact { resource_type, name, before, after });
            }
        }
        resources.extend(sent_again(&moved, old, new));
        resources.sort();
        resources.dedup_by(|a, b| (a.resource_type, &a.name) == (b.resource_type, &b.name));
        let (reach, reaches) = (Reach::of(old), Reach::of(new));
        let dead: Vec<ResourceName> =
            moved.into_iter().filter(|cluster| reach.has(cluster) && !reaches.has(cluster)).collect();
        // Routes to what no longer has endpoints are as they were, and lead nowhere.
        for (place, outcome) in self.leading_to(&dead, new) {
            after.entry(place.clone()).or_insert_with(|| outcome.clone());
            before.entry(place).or_insert(outcome);
        }
        let places: BTreeSet<&RoutePlace> = before.keys().chain(after.keys()).collect();
        let routes = places.into_iter().filter_map(|place| {
            let (was, is) = (before.get(place), after.get(place));
            let text = |outcome: Option<&Outcome>, reach: &Reach<'_>| {
                outcome.map(|outcome| outcome.text(reach)).unwrap_or_default()
            };
            let (common_was, common_is) = (was.map(|was| was.as_in(is)), is.map(|is| is.as_in(was)));
            let (now, then) = (text(common_was.as_ref(), &reach), text(common_is.as_ref(), &reaches));
            let fails =
                |outcome: Option<&Outcome>, reach: &Reach<'_>| outcome.is_some_and(|outcome| outcome.fails(reach));
            let is_beside = |other: &RoutePlace| other.1 == place.1 && other.2.is_beside(&place.2);
            (now != then).then(|| RouteImpact {
                resource_type: place.0,
                resource: place.1.clone(),
                place: place.2.to_string(),
                before: now,
                after: then,
                breaks: !fails(was, &reach)
                    && match is {
                        // What is new is asked for by nobody yet.
                        Some(is) => is.fails(&reaches) && before.keys().any(is_beside),
                        // Others may take what a route took, unless all of them go.
                        None => !after.keys().any(is_beside),
                    },
            })
        });
        let routes = routes.collect();
        (resources, routes)
    }

    /// Returns where the routes of a resource lead.
    fn of(&mut self, resource_type: ResourceType, resource: &EncodedResource) -> Vec<(RoutePlace, Outcome)> {
        let key = (resource_type, resource.entry.as_ptr());
        let found = self.outcomes.entry(key).or_insert_with(|| {
            // The resource is held, so that its address stays its own.
            (resource.clone(), outcomes(resource_type, resource).into_iter().collect())
        });
        let place = |place: &Place| (resource_type, resource.name.clone(), place.clone());
        found.1.iter().map(|(at, outcome)| (place(at), outcome.clone())).collect()
    }

    /// Returns the routes of a view that lead to one of some clusters.
    fn leading_to(&mut self, clusters: &[ResourceName], view: &View) -> Vec<(RoutePlace, Outcome)> {
        let mut leading = Vec::new();
        if clusters.is_empty() {
            return leading;
        }
        for resource_type in [ResourceType::VirtualHost, ResourceType::Route, ResourceType::Listener] {
            for resource in view.iter(resource_type) {
                let body = resource.body();
                if clusters.iter().any(|cluster| contains(&body, cluster.as_bytes())) {
                    let routes = self.of(resource_type, resource).into_iter();
                    leading.extend(routes.filter(|(_, outcome)| clusters.iter().any(|name| outcome.leads_to(name))));
                }
            }
        }
        leading
    }
}

/// Returns the endpoints of clusters that are there before and after, which clients want again when the cluster changes (rules O3 and
/// O4 of `docs/xds.md`).
fn sent_again(moved: &BTreeSet<ResourceName>, old: &View, new: &View) -> Vec<ResourceImpact> {
    let again = moved.iter().filter_map(|name| {
        let version = |view: &View| Some(view.get(ResourceType::Cluster, name)?.version);
        let (was, is) = (version(old)?, version(new)?);
        let [before, after] = [old, new].map(|view| view.get(ResourceType::Endpoint, name));
        let after = after.filter(|_| was != is)?.entry.clone();
        let before = before.map(|before| before.entry.len());
        Some(ResourceImpact { resource_type: ResourceType::Endpoint, name: name.clone(), before, after: Some(after) })
    });
    again.collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
