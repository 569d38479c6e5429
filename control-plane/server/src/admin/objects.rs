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

/// Returns an object as it was applied, with its version and its age, and with a condition if a sidecar refuses
/// something that is made from it. The text can be applied again as it is: the version makes sure that nobody changed
/// the object meanwhile.
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

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use rutter_api::{CreationTimestamp, Kind, ResourceType};
    use rutter_core::resource::Version;
    use rutter_store::Owner;

    use super::*;

    fn stored() -> Stored {
        Stored {
            key: ConfigKey::new(Kind::Service, "shop", "a"),
            json: r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"shop"}}"#.into(),
            revision: 7,
            first_revision: 3,
            created: CreationTimestamp::from_microseconds(1_000_000),
            owner: Owner::File("shop/a.yaml".into()),
        }
    }

    fn refusal(sidecar: &str, name: &str) -> SidecarRefusal {
        let refusal = Refusal {
            resource_type: ResourceType::Cluster,
            name: name.into(),
            version: Version::parse("0000000000000001").unwrap(),
            error: "the reason\n".into(),
        };
        SidecarRefusal { sidecar: sidecar.into(), refusal }
    }

    fn shown(refusals: &[SidecarRefusal]) -> String {
        let object = object(&stored(), refusals);
        let json: Value = serde_json::from_slice(&object.json).unwrap();
        format!("{}: {}", object.owner, serde_json::to_string_pretty(&json).unwrap())
    }

    #[test]
    fn an_object_has_its_version_its_age_and_its_owner() {
        expect![[r#"
            shop/a.yaml: {
              "apiVersion": "v1",
              "kind": "Service",
              "metadata": {
                "creationTimestamp": "1970-01-01T00:00:01Z",
                "name": "a",
                "namespace": "shop",
                "resourceVersion": "7"
              }
            }"#]]
        .assert_eq(&shown(&[]));
    }

    #[test]
    fn a_refusal_is_a_condition() {
        expect![[r#"
            shop/a.yaml: {
              "apiVersion": "v1",
              "kind": "Service",
              "metadata": {
                "creationTimestamp": "1970-01-01T00:00:01Z",
                "name": "a",
                "namespace": "shop",
                "resourceVersion": "7"
              },
              "status": {
                "conditions": [
                  {
                    "message": "1 sidecar keeps what it had: web-1.shop refuses cluster outbound|80||a.shop: the reason",
                    "reason": "RefusedBySidecar",
                    "status": "False",
                    "type": "Reconciled"
                  }
                ]
              }
            }"#]].assert_eq(&shown(&[refusal("web-1.shop", "outbound|80||a.shop")]));
    }

    #[test]
    fn of_many_refusals_three_are_named_and_the_sidecars_are_counted() {
        let refusals = ["a", "b", "c", "d", "d"].map(|sidecar| refusal(sidecar, "x"));
        let condition = condition(&refusals).unwrap();
        expect!["4 sidecars keep what they had: a refuses cluster x: the reason; b refuses cluster x: the reason; c refuses cluster x: the reason; … and 2 more"].assert_eq(condition["message"].as_str().unwrap());
    }

    #[test]
    fn what_is_stored_and_no_json_is_shown_as_nothing() {
        let object = object(&Stored { json: "{".into(), ..stored() }, &[]);
        assert_eq!(&object.json[..], b"null");
    }

    #[test]
    fn keys_are_those_of_the_api() {
        let key = key(&ConfigKey::new(Kind::Namespace, "ignored", "shop"));
        assert_eq!((key.kind.as_str(), key.namespace.as_str(), key.name.as_str()), ("Namespace", "", "shop"));
    }
}
