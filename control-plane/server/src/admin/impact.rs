//! What a change would send to whom.

use std::collections::HashMap;

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, brief};
use rutter_core::client::ClientClass;
use rutter_core::impact::{Asked, Group, Impact, ResourceImpact, RouteImpact, impact};
use rutter_core::{ConfigChange, NodeId};

use super::sidecars::count;
use super::warnings::batch_of;
use crate::engine::Branch;
use crate::streams::OpenStreams;

/// The number of groups that are told.
const GROUPS_MAX: usize = 200;
/// The number of resources, and of routes, of a group that are told.
const RESOURCES_MAX: usize = 500;

/// An impact as views have it, and what has to be asked of the streams of clients that are sent only what they ask for.
pub(super) struct Foreseen {
    impact: Impact,
    to_ask: HashMap<NodeId, Asked>,
}

/// Makes a change on a branch, and returns what it comes to.
pub(super) fn foresee(branch: &Branch, changes: &[(ConfigKey, ConfigChange)]) -> Foreseen {
    let mesh = branch.up_to_date();
    let impact = impact(&mesh, &batch_of(changes, mesh.index()));
    let mut to_ask = HashMap::new();
    for group in &impact.groups {
        for (id, node) in &group.clients {
            if ClientClass::new(node, mesh.index().settings()) == ClientClass::Grpc {
                to_ask.insert(*id, group.names());
            }
        }
    }
    Foreseen { impact, to_ask }
}

impl Foreseen {
    /// Takes in what clients have asked for, and returns what is told.
    pub(super) async fn told(mut self, streams: &OpenStreams) -> pb::Impact {
        let mut asked: HashMap<NodeId, Asked> = HashMap::new();
        for handle in streams.all() {
            let Some(names) = self.to_ask.remove(&handle.id) else { continue };
            let answer = handle.ask(move |stream| {
                let is_asked = |(resource_type, name): &(_, std::sync::Arc<str>)| stream.asks_for(*resource_type, name);
                names.into_iter().filter(is_asked).collect::<Asked>()
            });
            // One that does not answer has gone, and is sent nothing.
            asked.insert(handle.id, answer.await.unwrap_or_default());
        }
        // Those that have gone meanwhile are sent nothing.
        asked.extend(self.to_ask.into_keys().map(|id| (id, Asked::new())));
        self.impact.narrow(&asked);
        told(&self.impact)
    }
}

fn told(impact: &Impact) -> pb::Impact {
    let broken =
        |group: &Group| (group.routes.iter().filter(|route| route.breaks).count() * group.clients.len()) as u64;
    pb::Impact {
        revision: impact.revision,
        clients: count(impact.clients),
        affected: count(impact.affected()),
        bytes: impact.groups.iter().map(|group| (group.bytes() * group.clients.len()) as u64).sum(),
        groups: impact.groups.iter().take(GROUPS_MAX).map(group_told).collect(),
        groups_left_out: count(impact.groups.len().saturating_sub(GROUPS_MAX)),
        broken_routes: impact.groups.iter().map(broken).sum(),
    }
}

fn group_told(group: &Group) -> pb::ImpactGroup {
    let resource = |ResourceImpact { resource_type, name, before, after }: &ResourceImpact| pb::ImpactResource {
        r#type: resource_type.to_string(),
        name: name.to_string(),
        bytes_before: before.unwrap_or_default() as u64,
        bytes_after: after.as_ref().map_or(0, |after| after.len() as u64),
    };
    // What would break is told first.
    let mut routes: Vec<&RouteImpact> = group.routes.iter().collect();
    routes.sort_by_key(|route| !route.breaks);
    let route = |RouteImpact { resource_type: _, resource: _, place, before, after, breaks }: &RouteImpact| {
        pb::ImpactRoute { place: brief(place), before: brief(before), after: brief(after), breaks: *breaks }
    };
    pb::ImpactGroup {
        clients: group.clients.iter().map(|(_, node)| node.id()).collect(),
        resources: group.resources.iter().take(RESOURCES_MAX).map(resource).collect(),
        resources_left_out: count(group.resources.len().saturating_sub(RESOURCES_MAX)),
        routes: routes.iter().take(RESOURCES_MAX).map(|one| route(one)).collect(),
        routes_left_out: count(routes.len().saturating_sub(RESOURCES_MAX)),
        bytes: group.bytes() as u64,
        lost: count(group.resources.iter().filter(|resource| resource.after.is_none()).count()),
    }
}
