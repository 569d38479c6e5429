//! What the admin API says of objects and streams.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, ResourceType, brief};
use rutter_core::AdsStream;
use rutter_core::ads_stream::Refusal;
use rutter_core::delta_stream::{ResourceState, TypeSync};
use rutter_store::Stored;
use serde_json::{Value, json};
use tonic::Status;

use crate::engine::EngineHandle;
use crate::registry::StreamHandle;

pub(super) fn key(key: &ConfigKey) -> pb::ObjectKey {
    pb::ObjectKey { kind: key.kind.name().into(), namespace: key.namespace.to_string(), name: key.name.to_string() }
}

/// Refusals of an object that are told; of more only how many.
const REFUSALS_TOLD: usize = 3;

/// An object as it was applied, with its version, and the word of those who refuse what is made from it.
pub(super) fn object(stored: &Stored, refusals: &[(String, Refusal)]) -> pb::Object {
    // What is kept is JSON.
    let mut json: Value = serde_json::from_str(&stored.json).unwrap_or_default();
    if let Some(Value::Object(meta)) = json.get_mut("metadata") {
        meta.insert("resourceVersion".into(), stored.revision.to_string().into());
    }
    if let (Some(object), Some(condition)) = (json.as_object_mut(), condition(refusals)) {
        object.insert("status".into(), json!({"conditions": [condition]}));
    }
    pb::Object { key: Some(key(&stored.key)), json: json.to_string().into(), owner: stored.owner.to_string() }
}

/// As Istio's: False while some sidecar does not have what the object says. None: nobody refuses it.
fn condition(refusals: &[(String, Refusal)]) -> Option<Value> {
    let sidecars: BTreeSet<&String> = refusals.iter().map(|(sidecar, _)| sidecar).collect();
    if sidecars.is_empty() {
        return None;
    }
    let told = refusals.iter().take(REFUSALS_TOLD);
    let told = told.map(|(sidecar, one)| format!("{sidecar} refuses {} {}: {}", one.kind, one.name, brief(&one.error)));
    let more = refusals.len().saturating_sub(REFUSALS_TOLD);
    let more = (more > 0).then(|| format!("… and {more} more"));
    let message = told.chain(more).collect::<Vec<_>>().join("; ");
    let reason = "RefusedBySidecar";
    let text = match sidecars.len() {
        1 => format!("1 sidecar keeps what it had: {message}"),
        many => format!("{many} sidecars keep what they had: {message}"),
    };
    Some(json!({"type": "Reconciled", "status": "False", "reason": reason, "message": text}))
}

/// The types of a word; all of them where there is none.
pub(super) fn kinds(word: &str) -> Result<Vec<ResourceType>, Status> {
    if word.is_empty() || word == "all" {
        return Ok(ResourceType::ALL.to_vec());
    }
    let kind = ResourceType::from_word(word);
    kind.map(|kind| vec![kind]).ok_or_else(|| {
        Status::invalid_argument(format!("{word:?}: want cluster, endpoint, listener, route, secret or virtualhost"))
    })
}

pub(super) async fn sidecar(handle: &StreamHandle, engine: &EngineHandle) -> pb::Sidecar {
    let mut types = handle.ask(types).await.unwrap_or_default();
    for (status, kind) in types.iter_mut().zip(ResourceType::ALL) {
        for refused in &mut status.refused {
            let sources = engine.sources(handle.id, kind, refused.name.clone()).await;
            refused.sources = sources.iter().map(ToString::to_string).collect();
        }
    }
    pb::Sidecar {
        id: handle.node.id(),
        ip: handle.node.ip().to_string(),
        cluster_id: handle.node.cluster_id.clone(),
        version: handle.node.version.clone(),
        types,
        connected_ms: millis(handle.since.elapsed()),
    }
}

fn types(stream: &AdsStream) -> Vec<pb::TypeStatus> {
    use pb::type_status::State;
    let of = |kind: ResourceType| {
        let (sync, since) = stream.sync(kind);
        let (state, refused) = match sync {
            TypeSync::NotRequested => (State::NotRequested, Vec::new()),
            TypeSync::Synced => (State::Synced, Vec::new()),
            TypeSync::Stale => (State::Stale, Vec::new()),
            TypeSync::Refused(refused) => (State::Nack, refused),
        };
        let refused = refused.into_iter().map(|(name, version, error)| pb::Refused {
            name: name.to_string(),
            version: version.to_string(),
            error,
            sources: Vec::new(),
        });
        pb::TypeStatus {
            r#type: kind.word().into(),
            state: state as i32,
            age_ms: since.map_or(0, |since| millis(since.elapsed())),
            resources: u32::try_from(stream.resources(kind).len()).unwrap_or(u32::MAX),
            refused: refused.collect(),
        }
    };
    ResourceType::ALL.into_iter().map(of).collect()
}

pub(super) fn resources(stream: &AdsStream, kinds: &[ResourceType]) -> Vec<pb::SentResource> {
    use pb::sent_resource::State;
    let of = |kind: ResourceType| {
        stream.resources(kind).into_iter().map(move |(resource, state)| {
            let (state, error) = match state {
                ResourceState::Acked => (State::Acked, String::new()),
                ResourceState::Sent => (State::Sent, String::new()),
                ResourceState::Due => (State::Due, String::new()),
                ResourceState::Refused(error) => (State::Refused, error),
            };
            pb::SentResource {
                type_url: kind.type_url().into(),
                name: resource.name.to_string(),
                version: resource.version.to_string(),
                state: state as i32,
                body: resource.body(),
                error,
            }
        })
    };
    kinds.iter().copied().flat_map(of).collect()
}

pub(super) fn pushes(stream: &AdsStream, sidecar: &str, since: u64) -> Vec<pb::Push> {
    let micros = |from: Instant, to: Instant| u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let recent = stream.pushes().filter(|push| push.revision >= since);
    let one = |push: &rutter_core::delta_stream::Push| pb::Push {
        sidecar: sidecar.to_owned(),
        r#type: push.kind.word().into(),
        revision: push.revision,
        resources: count(push.resources),
        removed: count(push.removed),
        bytes: push.bytes as u64,
        ack_us: push.answered.map(|answered| micros(push.since, answered)),
        error: push.error.clone().unwrap_or_default(),
        names: push.names.iter().map(ToString::to_string).collect(),
    };
    recent.map(one).collect()
}

/// Whether a stream owes nothing, and whether its sidecar refuses something.
pub(super) struct Settled {
    pub(super) settled: bool,
    pub(super) refused: bool,
}

pub(super) fn settled(stream: &AdsStream) -> Settled {
    let refuses = |kind| matches!(stream.sync(kind).0, TypeSync::Refused(_));
    Settled { settled: stream.is_settled(), refused: ResourceType::ALL.into_iter().any(refuses) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
