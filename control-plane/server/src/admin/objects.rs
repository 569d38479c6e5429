//! What the admin API says of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::join_all;
use rutter_api::config::REVISION_ANNOTATION;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, Hostname, Kind, ResourceType, brief};
use rutter_core::AdsStream;
use rutter_core::analysis::Finding;
use rutter_core::resource::ResourceName;
use rutter_core::stream::Refusal;
use rutter_store::Stored;
use serde_json::{Map, Value, json};

use super::secrets;
use super::sidecars::count;
use crate::engine::{EngineHandle, Findings, GivenAddresses};
use crate::sealing::Sealer;
use crate::streams::{OpenStreams, SidecarRefusal};

/// Returns the key of an object as the API has it.
pub(super) fn key(key: &ConfigKey) -> pb::ObjectKey {
    pb::ObjectKey { kind: key.kind.name().into(), namespace: key.namespace.to_string(), name: key.name.to_string() }
}

/// Returns what became of an object.
pub(super) fn applied(key: &ConfigKey, action: pb::applied::Action) -> pb::Applied {
    pb::Applied { key: Some(self::key(key)), action: action as i32 }
}

/// The number of objects of one change that the log names.
const NAMES_MAX: usize = 20;

/// Returns the objects that a change alters with what became of each, for the log.
pub(super) fn names(applied: &[pb::Applied]) -> String {
    let name = |applied: &&pb::Applied| {
        let pb::ObjectKey { kind, namespace, name } = applied.key.clone().unwrap_or_default();
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        format!("{kind} {place}{name} {}", applied.action().as_str_name().to_lowercase())
    };
    let is_change = |applied: &&pb::Applied| applied.action() != pb::applied::Action::Unchanged;
    let changed: Vec<&pb::Applied> = applied.iter().filter(is_change).collect();
    let mut names: Vec<String> = changed.iter().take(NAMES_MAX).map(name).collect();
    if let Some(more @ 1..) = changed.len().checked_sub(NAMES_MAX) {
        names.push(format!("… and {more} more"));
    }
    names.join(", ")
}

/// What objects are shown from, beside their texts.
#[derive(Clone)]
pub(super) struct Display {
    pub(super) streams: OpenStreams,
    pub(super) sealer: Arc<Sealer>,
    pub(super) engine: EngineHandle,
}

impl Display {
    /// Returns objects as the API shows them.
    pub(super) async fn show(&self, stored: &[Stored]) -> Vec<pb::Object> {
        let Self { streams, sealer, engine } = self;
        let refusals: Vec<_> = stored.iter().map(|stored| streams.refusals_of(&stored.key)).collect();
        let sent = SentResources::ask(&refusals, streams).await;
        let conditions = join_all(stored.iter().map(|stored| secrets::conditions(stored, streams, sealer))).await;
        let (addresses, findings) = of_engine(stored, engine).await;
        let all = stored.iter().zip(&refusals).zip(conditions);
        let shown = all.map(|((stored, refusals), conditions)| {
            let addresses = addresses.get(&stored.key).map(Vec::as_slice).unwrap_or_default();
            let findings = findings.get(&stored.key).map(Vec::as_slice).unwrap_or_default();
            object(stored, Status { conditions, addresses, findings }, refusals, &sent)
        });
        shown.collect()
    }
}

/// Returns the addresses that hosts of ServiceEntries were given, and what is wrong with objects.
async fn of_engine(stored: &[Stored], engine: &EngineHandle) -> (GivenAddresses, Findings) {
    let Some(revision) = stored.iter().map(|stored| stored.revision).max() else { return Default::default() };
    // The engine takes commits in a little later than the store.
    engine.catch_up(revision).await;
    let entries = stored.iter().filter(|stored| stored.key.kind == Kind::ServiceEntry);
    let addresses = engine.addresses(entries.map(|entry| entry.key.clone()).collect()).await;
    let mut findings = Findings::new();
    // The engine may have to check them first, and others wait meanwhile.
    for some in stored.chunks(OBJECTS_AT_ONCE) {
        let of_some = engine.findings(some.iter().map(|stored| stored.key.clone()).collect()).await;
        findings.extend(of_some.unwrap_or_default());
    }
    (addresses, findings)
}

/// The number of objects of which the engine is asked at once what is wrong with them.
const OBJECTS_AT_ONCE: usize = 50;
/// The number of refusals of an object that are named. More are only counted.
const REFUSALS_NAMED: usize = 3;

/// What is said of an object beside its text and its refusals.
#[derive(Default)]
struct Status<'a> {
    conditions: Vec<Value>,
    /// The hosts that were given an address because they have none, each with it.
    addresses: &'a [(Hostname, IpAddr)],
    findings: &'a [Finding],
}

/// Returns what is wrong with an object, as Istio's analysis writes it into the status, with the text of it.
fn message(Finding { object: _, code, path, cause, fix: _ }: &Finding) -> Value {
    let message = if path.is_empty() { cause.clone() } else { format!("{path}: {cause}") };
    let kind = json!({"code": code.id(), "name": code.name()});
    json!({"type": kind, "level": code.level().word().to_uppercase(), "message": message})
}

/// Returns an object as it was applied, with its version and its age, with the addresses that its hosts were given and what is wrong
/// with it, as Istio has them, and with a condition if a sidecar refuses something that is made from it. The text can be applied again as it is: the
/// version makes sure that nobody changed the object meanwhile.
fn object(
    stored: &Stored,
    Status { mut conditions, addresses, findings }: Status<'_>,
    refusals: &[SidecarRefusal],
    sent: &SentResources,
) -> pb::Object {
    // The store keeps nothing but JSON.
    let mut json: Value = serde_json::from_str(&stored.json).unwrap_or_default();
    if let Some(Value::Object(meta)) = json.get_mut("metadata") {
        let version: Value = stored.revision.to_string().into();
        meta.insert("resourceVersion".into(), version.clone());
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(REVISION_ANNOTATION.into(), version);
        }
        meta.insert("creationTimestamp".into(), stored.created.to_string().into());
    }
    let spread = Spread::of(refusals, sent);
    conditions.extend(condition(refusals, spread));
    let mut status = Map::new();
    if !conditions.is_empty() {
        status.insert("conditions".into(), conditions.into());
    }
    if !addresses.is_empty() {
        let addresses = addresses.iter().map(|(host, address)| json!({"host": host.as_str(), "value": address}));
        status.insert("addresses".into(), addresses.collect());
    }
    if !findings.is_empty() {
        status.insert("validationMessages".into(), findings.iter().map(message).collect());
    }
    if let Some(object) = json.as_object_mut().filter(|_| !status.is_empty()) {
        object.insert("status".into(), status.into());
    }
    let (key, owner) = (Some(key(&stored.key)), stored.owner.to_string());
    let Spread { refused_by, sent_to } = spread;
    pb::Object { key, json: json.to_string().into(), owner, refused_by: count(refused_by), sent_to: count(sent_to) }
}

/// The resources that some sidecars refuse, each with the sidecars that were sent it.
#[derive(Debug, Default)]
struct SentResources(BTreeMap<(ResourceType, ResourceName), BTreeSet<String>>);

impl SentResources {
    /// Asks every sidecar which of the refused resources it was sent.
    async fn ask(refusals: &[Vec<SidecarRefusal>], streams: &OpenStreams) -> Self {
        let refused = refusals.iter().flatten().map(|refusal| &refusal.refusal);
        let names: BTreeSet<_> = refused.map(|refusal| (refusal.resource_type, refusal.name.clone())).collect();
        let mut sent = Self::default();
        if names.is_empty() {
            return sent;
        }
        let names = Arc::new(names);
        let handles = streams.all();
        let asked = handles.iter().map(|handle| {
            let names = names.clone();
            handle.ask(move |stream| held(stream, &names))
        });
        for (handle, held) in handles.iter().zip(join_all(asked).await) {
            for resource in held.unwrap_or_default() {
                sent.0.entry(resource).or_default().insert(handle.node.id());
            }
        }
        sent
    }
}

/// Returns those of some resources that the client of a stream was sent or is to be sent.
fn held(stream: &AdsStream, names: &BTreeSet<(ResourceType, ResourceName)>) -> Vec<(ResourceType, ResourceName)> {
    let types: BTreeSet<ResourceType> = names.iter().map(|(resource_type, _)| *resource_type).collect();
    let resources = types.into_iter().flat_map(|resource_type| {
        let resources = stream.resources(resource_type).into_iter();
        resources.map(move |status| (resource_type, status.resource.name.clone()))
    });
    resources.filter(|resource| names.contains(resource)).collect()
}

/// How many sidecars refuse something of an object, of how many.
#[derive(Debug, Clone, Copy)]
struct Spread {
    refused_by: usize,
    sent_to: usize,
}

impl Spread {
    fn of(refusals: &[SidecarRefusal], sent: &SentResources) -> Self {
        let mut refused_by = BTreeSet::new();
        let mut sent_to = BTreeSet::new();
        for SidecarRefusal { sidecar, refusal } in refusals {
            refused_by.insert(sidecar);
            sent_to.extend(sent.0.get(&(refusal.resource_type, refusal.name.clone())).into_iter().flatten());
        }
        // A sidecar may have gone before it was asked.
        sent_to.extend(&refused_by);
        Self { refused_by: refused_by.len(), sent_to: sent_to.len() }
    }
}

/// Returns Istio's condition `Reconciled`, which is false while some sidecar does not have what the object says. `None`
/// means that nobody refuses it.
fn condition(refusals: &[SidecarRefusal], Spread { refused_by, sent_to }: Spread) -> Option<Value> {
    if refused_by == 0 {
        return None;
    }
    let mut named: Vec<String> = refusals.iter().take(REFUSALS_NAMED).map(refusal_text).collect();
    if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS_NAMED) {
        named.push(format!("… and {more} more"));
    }
    let named = named.join("; ");
    let keep = if refused_by == 1 { "keeps what it had" } else { "keep what they had" };
    let message = format!("refused by {refused_by} of {sent_to} sidecars, which {keep}: {named}");
    Some(json!({"type": "Reconciled", "status": "False", "reason": "RefusedBySidecar", "message": message}))
}

/// Returns a refusal in words, with the start of what the client said.
pub(super) fn refusal_text(SidecarRefusal { sidecar, refusal }: &SidecarRefusal) -> String {
    let Refusal { resource_type, name, version: _, error } = refusal;
    format!("{sidecar} refuses {resource_type} {name}: {}", brief(error))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use rutter_api::{CreationTimestamp, Kind};
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
        let object = object(&stored(), Status::default(), refusals, &SentResources::default());
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
                "annotations": {
                  "rutter/revision": "7"
                },
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
                "annotations": {
                  "rutter/revision": "7"
                },
                "creationTimestamp": "1970-01-01T00:00:01Z",
                "name": "a",
                "namespace": "shop",
                "resourceVersion": "7"
              },
              "status": {
                "conditions": [
                  {
                    "message": "refused by 1 of 1 sidecars, which keeps what it had: web-1.shop refuses cluster outbound|80||a.shop: the reason",
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
        let mut sent = SentResources::default();
        let sidecars = (0..36).map(|number| format!("quiet-{number}")).collect();
        sent.0.insert((ResourceType::Cluster, "x".into()), sidecars);
        let condition = condition(&refusals, Spread::of(&refusals, &sent)).unwrap();
        expect!["refused by 4 of 40 sidecars, which keep what they had: a refuses cluster x: the reason; b refuses cluster x: the reason; c refuses cluster x: the reason; … and 2 more"].assert_eq(condition["message"].as_str().unwrap());
    }

    #[test]
    fn what_is_stored_and_no_json_is_shown_as_nothing() {
        let object =
            object(&Stored { json: "{".into(), ..stored() }, Status::default(), &[], &SentResources::default());
        assert_eq!(&object.json[..], b"null");
    }

    #[test]
    fn the_log_names_what_is_altered_and_counts_the_rest() {
        use pb::applied::Action::{Configured, Created, Unchanged};
        let some = |name: &str, action| applied(&ConfigKey::new(Kind::Service, "shop", name), action);
        let all =
            [some("a", Created), some("b", Unchanged), applied(&ConfigKey::new(Kind::Namespace, "", "n"), Configured)];
        assert_eq!(names(&all), "Service shop/a created, Namespace n configured");
        let many: Vec<pb::Applied> = (0..25).map(|number| some(&format!("s{number}"), Created)).collect();
        assert!(names(&many).ends_with("Service shop/s19 created, … and 5 more"));
    }

    #[test]
    fn keys_are_those_of_the_api() {
        let key = key(&ConfigKey::new(Kind::Namespace, "ignored", "shop"));
        assert_eq!((key.kind.as_str(), key.namespace.as_str(), key.name.as_str()), ("Namespace", "", "shop"));
    }
}
