//! What touches an object or a sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, ResourceType};
use rutter_core::describe::{Description, describe_client};
use rutter_core::resource::ResourceName;
use rutter_core::{AdsStream, NodeId};
use tonic::Status;

use super::objects::refusal_text;
use super::sidecars::{count, wall_clock_us};
use crate::engine::{Branch, EngineHandle};
use crate::streams::{OpenStreams, StreamHandle};

/// The number of names of clients, and of refusals, that are told.
const NAMED_MAX: usize = 20;
/// The number of objects of each sort that are told.
const OBJECTS_MAX: usize = 200;

/// What is described.
#[derive(Debug)]
pub(super) enum Subject {
    Object(ConfigKey),
    Client(NodeId),
}

/// What is known of it without the streams.
pub(super) struct Described {
    descriptions: Vec<Description>,
    names: Vec<Vec<String>>,
    key: Option<ConfigKey>,
    client: Option<NodeId>,
    clients: usize,
    revision: u64,
}

/// Describes something as it is on a branch.
pub(super) fn describe(branch: &Branch, subject: &Subject) -> Result<Described, Status> {
    let mesh = branch.up_to_date();
    let (descriptions, key, client) = match subject {
        Subject::Object(key) => {
            let described = rutter_core::describe::describe(&mesh, key).map_err(Status::invalid_argument)?;
            (described.ok_or_else(|| Status::not_found(format!("{key}: not found")))?, Some(key.clone()), None)
        }
        Subject::Client(id) => {
            let described = describe_client(&mesh, *id);
            let described = described.ok_or_else(|| Status::not_found("the sidecar has gone meanwhile"))?;
            (vec![described], None, Some(*id))
        }
    };
    let name = |id: &NodeId| mesh.node(*id).map(|node| node.id());
    let names_of = |description: &Description| {
        let mut names: Vec<String> = description.seen_by.iter().filter_map(name).collect();
        names.sort();
        names.truncate(NAMED_MAX);
        names
    };
    let names = descriptions.iter().map(names_of).collect();
    let (clients, revision) = (mesh.sidecars().count(), mesh.revision());
    Ok(Described { descriptions, names, key, client, clients, revision })
}

impl Described {
    /// Adds what the streams and the analysis know, and returns what is told.
    pub(super) async fn told(self, streams: &OpenStreams, engine: &EngineHandle) -> pb::DescribeResponse {
        let Self { descriptions, names, key, client, clients, revision } = self;
        let refusals = key.as_ref().map(|key| streams.refusals_of(key)).unwrap_or_default();
        let findings = match &key {
            Some(key) => engine.findings(vec![key.clone()]).await.unwrap_or_default().remove(key).unwrap_or_default(),
            None => Vec::new(),
        };
        let mut told = Vec::new();
        for (description, names) in descriptions.iter().zip(names) {
            let of_client = client.into_iter().collect();
            let seen_by = if client.is_some() { &of_client } else { &description.seen_by };
            let held = held(description, seen_by, streams).await;
            let findings =
                findings.iter().map(|finding| format!("{} {}: {}", finding.code, finding.path, finding.cause));
            let is_client = client.is_some();
            let told_of_it = description_told(description, &held);
            let mut described = pb::Description { findings: findings.collect(), is_client, ..told_of_it };
            described.seen_by_names = names;
            let refusing: BTreeSet<&String> = refusals.iter().map(|refusal| &refusal.sidecar).collect();
            described.refused_by = count(refusing.len());
            described.refusals = refusals.iter().take(NAMED_MAX).map(refusal_text).collect();
            told.push(described);
        }
        pb::DescribeResponse { descriptions: told, revision, clients: count(clients) }
    }
}

/// The number of clients that have a resource of a type in some state.
#[derive(Debug, Default, Clone)]
struct Counts {
    acked: usize,
    sent: usize,
    due: usize,
    refused: usize,
}

/// What clients have of some resources.
#[derive(Debug, Default)]
struct Held {
    counts: BTreeMap<ResourceType, Counts>,
    /// When something of it was last sent, in microseconds since 1970.
    last_sent_us: i64,
    /// How long the answer took then, for each to whom it was sent. `None` means that one has not answered.
    last_ack_us: Option<u64>,
}

async fn held(description: &Description, seen_by: &BTreeSet<NodeId>, streams: &OpenStreams) -> Held {
    let names = Arc::new(description.cost.names());
    let handles: Vec<StreamHandle> = streams.all().into_iter().filter(|handle| seen_by.contains(&handle.id)).collect();
    let asked = handles.iter().map(|handle| {
        let names = names.clone();
        handle.ask(move |stream| of_stream(stream, &names))
    });
    let mut held = Held::default();
    for of_stream in join_all(asked).await.into_iter().flatten() {
        for (resource_type, counts) in of_stream.counts {
            let sum = held.counts.entry(resource_type).or_default();
            sum.acked += counts.acked;
            sum.sent += counts.sent;
            sum.due += counts.due;
            sum.refused += counts.refused;
        }
        if of_stream.last_sent_us > held.last_sent_us {
            (held.last_sent_us, held.last_ack_us) = (of_stream.last_sent_us, of_stream.last_ack_us);
        }
    }
    held
}

fn of_stream(stream: &AdsStream, names: &BTreeSet<(ResourceType, ResourceName)>) -> Held {
    use rutter_core::stream::ResourceState;
    let mut held = Held::default();
    let types: BTreeSet<ResourceType> = names.iter().map(|(resource_type, _)| *resource_type).collect();
    for resource_type in types {
        let counts = held.counts.entry(resource_type).or_default();
        for status in stream.resources(resource_type) {
            if !names.contains(&(resource_type, status.resource.name.clone())) {
                continue;
            }
            match status.state {
                ResourceState::Acked => counts.acked += 1,
                ResourceState::Sent => counts.sent += 1,
                ResourceState::Due => counts.due += 1,
                ResourceState::Refused(_) => counts.refused += 1,
            }
        }
    }
    let is_about = |push: &&rutter_core::stream::Push| {
        push.names.iter().any(|name| names.contains(&(push.resource_type, name.clone())))
    };
    if let Some(push) = stream.pushes().rev().find(is_about) {
        held.last_sent_us = wall_clock_us(push.since.elapsed().saturating_sub(push.sent_after()));
        let sent = push.since + push.sent_after();
        let took = push.answered.map(|answered| answered.saturating_duration_since(sent));
        held.last_ack_us = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    held
}

fn description_told(description: &Description, held: &Held) -> pb::Description {
    let Description { title, facts, seen_by, unseen, shaped_by, without_effect, cost } = description;
    let fact = |(name, value): &(String, String)| pb::DescribedFact { name: name.clone(), value: value.clone() };
    let object = |((object, text), clients): (&(ConfigKey, String), &usize)| pb::DescribedObject {
        object: object.to_string(),
        text: text.clone(),
        clients: count(*clients),
    };
    let mut types: BTreeMap<ResourceType, (BTreeSet<&ResourceName>, usize)> = BTreeMap::new();
    for ((resource_type, name, bytes), clients) in &cost.resources {
        let (names, sum) = types.entry(*resource_type).or_default();
        names.insert(name);
        *sum += bytes * clients;
    }
    let of_type = |(resource_type, (names, bytes)): (ResourceType, (BTreeSet<&ResourceName>, usize))| {
        let Counts { acked, sent, due, refused } = held.counts.get(&resource_type).cloned().unwrap_or_default();
        pb::DescribedType {
            r#type: resource_type.to_string(),
            resources: count(names.len()),
            bytes: bytes as u64,
            acked: count(acked),
            sent: count(sent),
            due: count(due),
            refused: count(refused),
        }
    };
    let mut reasons: Vec<(&String, &usize)> = unseen.iter().collect();
    reasons.sort_by_key(|(reason, clients)| (std::cmp::Reverse(**clients), reason.as_str()));
    let reason =
        |(reason, clients): (&String, &usize)| pb::DescribedReason { reason: reason.clone(), clients: count(*clients) };
    pb::Description {
        title: title.clone(),
        facts: facts.iter().map(fact).collect(),
        seen_by: count(seen_by.len()),
        unseen: reasons.into_iter().map(reason).collect(),
        objects_left_out: count(
            shaped_by.len().saturating_sub(OBJECTS_MAX) + without_effect.len().saturating_sub(OBJECTS_MAX),
        ),
        shaped_by: shaped_by.iter().take(OBJECTS_MAX).map(object).collect(),
        without_effect: without_effect.iter().take(OBJECTS_MAX).map(object).collect(),
        types: types.into_iter().map(of_type).collect(),
        bytes: cost.bytes() as u64,
        last_sent_us: held.last_sent_us,
        last_ack_us: held.last_ack_us,
        ..Default::default()
    }
}
