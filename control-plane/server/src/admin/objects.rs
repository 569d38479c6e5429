//! What the admin API says of objects.

use std::collections::BTreeSet;

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, brief};
use rutter_core::stream::Refusal;
use rutter_store::Stored;
use serde_json::{Value, json};

use crate::streams::SidecarRefusal;

/// Returns the key of an object as the API has it.
pub(super) fn key(key: &ConfigKey) -> pb::ObjectKey {
    pb::ObjectKey { kind: key.kind.name().into(), namespace: key.namespace.to_string(), name: key.name.to_string() }
}

/// The number of refusals of an object that are named. More are only counted.
const REFUSALS_NAMED: usize = 3;

/// Returns an object as it was applied, with its version and its age, and with a condition if a sidecar refuses something
/// that is made from it.
pub(super) fn object(stored: &Stored, refusals: &[SidecarRefusal]) -> pb::Object {
    // The store keeps nothing but JSON.
    let mut json: Value = serde_json::from_str(&stored.json).unwrap_or_default();
    if let Some(Value::Object(meta)) = json.get_mut("metadata") {
        meta.insert("resourceVersion".into(), stored.revision.to_string().into());
        meta.insert("creationTimestamp".into(), stored.created.to_string().into());
    }
    if let (Some(object), Some(condition)) = (json.as_object_mut(), condition(refusals)) {
        object.insert("status".into(), json!({"conditions": [condition]}));
    }
    pb::Object { key: Some(key(&stored.key)), json: json.to_string().into(), owner: stored.owner.to_string() }
}

/// Returns Istio's condition `Reconciled`, which is false while some sidecar does not have what the object says. `None`
/// means that nobody refuses it.
fn condition(refusals: &[SidecarRefusal]) -> Option<Value> {
    let sidecars: BTreeSet<&String> = refusals.iter().map(|refusal| &refusal.sidecar).collect();
    if sidecars.is_empty() {
        return None;
    }
    let mut named: Vec<String> = refusals.iter().take(REFUSALS_NAMED).map(describe).collect();
    if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS_NAMED) {
        named.push(format!("… and {more} more"));
    }
    let named = named.join("; ");
    let message = match sidecars.len() {
        1 => format!("1 sidecar keeps what it had: {named}"),
        count => format!("{count} sidecars keep what they had: {named}"),
    };
    Some(json!({"type": "Reconciled", "status": "False", "reason": "RefusedBySidecar", "message": message}))
}

fn describe(SidecarRefusal { sidecar, refusal }: &SidecarRefusal) -> String {
    let Refusal { resource_type, name, version: _, error } = refusal;
    format!("{sidecar} refuses {resource_type} {name}: {}", brief(error))
}
