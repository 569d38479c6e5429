//! What the admin API says of sidecars, their resources and their pushes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rutter_api::ResourceType;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_core::AdsStream;
use rutter_core::stream::{Push, ResourceState, SyncStatus, TypeSync};
use tonic::Status;

use super::secrets::shown_body;
use crate::engine::EngineHandle;
use crate::streams::{LeftSidecar, OpenStreams, StreamHandle};

/// Returns the types that a word means. Without a word all types are meant.
pub(super) fn types_of_word(word: &str) -> Result<Vec<ResourceType>, Status> {
    if word.is_empty() || word == "all" {
        return Ok(ResourceType::ALL.to_vec());
    }
    let resource_type = ResourceType::from_word(word);
    resource_type.map(|resource_type| vec![resource_type]).ok_or_else(|| {
        let words: Vec<&str> = ResourceType::ALL.iter().map(|resource_type| resource_type.word()).collect();
        Status::invalid_argument(format!("{word:?}: want all or one of {}", words.join(", ")))
    })
}

/// Returns the name of a sidecar as messages have it: with its address if several claim to be it.
pub(super) fn display_name(handle: &StreamHandle, streams: &OpenStreams) -> String {
    match handle.peer {
        Some(peer) if streams.is_contested(&handle.node) => format!("{} at {peer}", handle.node.id()),
        Some(_) | None => handle.node.id(),
    }
}

/// Returns what is known of a sidecar.
pub(super) async fn sidecar(handle: &StreamHandle, engine: &EngineHandle, is_contested: bool) -> pb::Sidecar {
    let mut types = handle.ask(type_statuses).await.unwrap_or_default();
    for (status, resource_type) in types.iter_mut().zip(ResourceType::ALL) {
        for refused in &mut status.refused {
            let sources = engine.sources(handle.id, resource_type, refused.name.clone()).await;
            refused.sources = sources.iter().map(ToString::to_string).collect();
        }
    }
    pb::Sidecar {
        id: handle.node.id(),
        ip: handle.node.ip().to_string(),
        cluster_id: handle.node.cluster_id.clone(),
        version: handle.node.version.clone(),
        types,
        connected_ms: milliseconds(handle.since.elapsed()),
        peer: handle.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        contested: is_contested,
    }
}

fn type_statuses(stream: &AdsStream) -> Vec<pb::TypeStatus> {
    use pb::type_status::State;
    let statuses = ResourceType::ALL.into_iter().map(|resource_type| {
        let SyncStatus { sync, since } = stream.sync(resource_type);
        let (state, refused) = match sync {
            TypeSync::NotRequested => (State::NotRequested, Vec::new()),
            TypeSync::Synced => (State::Synced, Vec::new()),
            TypeSync::Stale => (State::Stale, Vec::new()),
            TypeSync::Refused(refused) => (State::Nack, refused),
        };
        let refused = refused.into_iter().map(|refusal| pb::Refused {
            name: refusal.name.to_string(),
            version: refusal.version.to_string(),
            error: refusal.error,
            sources: Vec::new(),
        });
        pb::TypeStatus {
            r#type: resource_type.word().into(),
            state: state as i32,
            age_ms: since.map_or(0, |since| milliseconds(since.elapsed())),
            resources: u32::try_from(stream.resources(resource_type).len()).unwrap_or(u32::MAX),
            refused: refused.collect(),
        }
    });
    statuses.collect()
}

/// Returns the resources of some types that a client was sent or is to be sent.
pub(super) fn resources(stream: &AdsStream, types: &[ResourceType]) -> Vec<pb::SentResource> {
    use pb::sent_resource::State;
    let mut resources = Vec::new();
    for resource_type in types {
        for status in stream.resources(*resource_type) {
            let (state, error) = match status.state {
                ResourceState::Acked => (State::Acked, String::new()),
                ResourceState::Sent => (State::Sent, String::new()),
                ResourceState::Due => (State::Due, String::new()),
                ResourceState::Refused(error) => (State::Refused, error),
            };
            resources.push(pb::SentResource {
                type_url: resource_type.type_url().into(),
                name: status.resource.name.to_string(),
                version: status.resource.version.to_string(),
                state: state as i32,
                body: shown_body(*resource_type, &status.resource),
                error,
                sources: Vec::new(),
            });
        }
    }
    resources
}

/// Returns the latest pushes of a stream, of those that a revision or a later one caused.
pub(super) fn pushes(stream: &AdsStream, sidecar: &str, since_revision: u64) -> Vec<pb::Push> {
    let recent = stream.pushes().filter(|push| push.revision >= since_revision);
    recent.map(|push| push_of(push, sidecar)).collect()
}

fn push_of(push: &Push, sidecar: &str) -> pb::Push {
    pb::Push {
        sidecar: sidecar.to_owned(),
        r#type: push.resource_type.word().into(),
        revision: push.revision,
        resources: count(push.resources),
        removed: count(push.removed),
        bytes: push.bytes as u64,
        ack_us: push.answered.map(|answered| microseconds(push.since, answered)),
        error: push.error.clone().unwrap_or_default(),
        names: push.names.iter().map(ToString::to_string).collect(),
        sent_us: wall_clock_us(push.since.elapsed()),
    }
}

/// Returns the time of the clock that was so long ago, in microseconds since 1970.
pub(super) fn wall_clock_us(ago: Duration) -> i64 {
    let at = SystemTime::now().checked_sub(ago).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    at.map_or(0, |at| i64::try_from(at.as_micros()).unwrap_or(i64::MAX))
}

/// Returns a sidecar that has left.
pub(super) fn left(left: &LeftSidecar) -> pb::Left {
    let LeftSidecar { id, ip, at, reason } = left;
    pb::Left { id: id.clone(), ip: ip.to_string(), ms: milliseconds(at.elapsed()), reason: reason.clone() }
}

fn microseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX)
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something is to be sent, or is not answered.
    Waiting,
    /// The client has answered everything, and refuses nothing.
    Settled,
    /// The client has answered everything, and refuses something.
    SettledWithRefusals,
}

/// Returns how far the client of a stream has come.
pub(super) fn progress(stream: &AdsStream) -> Progress {
    match (stream.is_settled(), stream.refusals().is_empty()) {
        (false, _) => Progress::Waiting,
        (true, true) => Progress::Settled,
        (true, false) => Progress::SettledWithRefusals,
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a number as the API has it.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
