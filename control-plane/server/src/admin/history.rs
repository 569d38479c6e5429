//! What was committed, and what objects were before.

use std::sync::Arc;

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::pb::rutter::admin::v1::applied::Action;
use rutter_api::{Config, ConfigKey};
use rutter_core::ConfigChange;
use rutter_store::{Commit, ConfigEvent, ConfigWrite, Difference, Expected, Owner, Stored};
use serde_json::Value;
use tonic::Status;

use super::objects::{applied, key};
use super::wanted::Wanted;

/// Returns the latest commits that changed an object which is wanted, the newest first, at most so many (0: all).
pub(super) fn revisions(commits: &[Commit], wanted: &Wanted, limit: usize) -> pb::HistoryResponse {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let revisions = commits.iter().rev().filter(|commit| commit.keys().any(|key| wanted.has_key(key))).take(limit);
    pb::HistoryResponse { revisions: revisions.map(revision).collect() }
}

fn revision(commit: &Commit) -> pb::Revision {
    let changes = commit.events.iter().map(|event| match event {
        ConfigEvent::Put(stored) if stored.first_revision == commit.revision => applied(&stored.key, Action::Created),
        ConfigEvent::Put(stored) => applied(&stored.key, Action::Configured),
        ConfigEvent::Delete(key) => applied(key, Action::Deleted),
    });
    let written = commit.written.as_ref();
    pb::Revision {
        revision: commit.revision,
        at_us: written.map_or(0, |written| written.at),
        by: written.map(|written| written.by.to_string()).unwrap_or_default(),
        changes: changes.collect(),
    }
}

/// Returns a difference as the API has it.
pub(super) fn difference(difference: &Difference) -> pb::Difference {
    let json = |stored: &Option<Stored>| stored.as_ref().map(with_age).unwrap_or_default();
    let Difference { key, before, after } = difference;
    pb::Difference { key: Some(self::key(key)), before: json(before).into(), after: json(after).into() }
}

/// Returns an object as it was applied, with its age, which is a part of what it says.
fn with_age(stored: &Stored) -> String {
    let mut json: Value = serde_json::from_str(&stored.json).unwrap_or_default();
    if let Some(Value::Object(metadata)) = json.get_mut("metadata") {
        metadata.insert("creationTimestamp".into(), stored.created.to_string().into());
    }
    json.to_string()
}

/// What a rollback does.
#[derive(Debug, Default)]
pub(super) struct Rollback {
    pub(super) applied: Vec<pb::Applied>,
    pub(super) writes: Vec<ConfigWrite>,
    /// What becomes of the objects, for the checks.
    pub(super) changes: Vec<(ConfigKey, ConfigChange)>,
    /// The objects that stay as they are, with the reason.
    pub(super) warnings: Vec<String>,
}

/// Returns what makes objects again what they were before some differences. Nothing may have changed them meanwhile.
///
/// # Errors
/// Fails if this version does not take an object as it was. What belonged or belongs to the watched folder stays.
pub(super) fn rollback(differences: Vec<Difference>) -> Result<Rollback, Status> {
    let mut rollback = Rollback::default();
    let mut faults = Vec::new();
    for Difference { key, before, after } in differences {
        let owner = before.iter().chain(&after).map(|stored| &stored.owner).find(|owner| **owner != Owner::Api);
        if let Some(owner) = owner {
            rollback.warnings.push(format!("{key}: it stays as it is, because the file {owner} of the folder has it"));
            continue;
        }
        let action = match (&before, &after) {
            (None, _) => Action::Deleted,
            (Some(_), None) => Action::Created,
            (Some(_), Some(_)) => Action::Configured,
        };
        match before.as_ref().map(|before| (before.created, Config::from_json(key.clone(), &before.json))) {
            None => rollback.changes.push((key.clone(), ConfigChange::Delete)),
            Some((created, Ok(config))) => {
                let config = Arc::new(Config { created, ..config });
                rollback.changes.push((key.clone(), ConfigChange::Put(config)));
            }
            Some((_, Err(invalid))) => faults.extend(invalid.iter().map(|invalid| format!("{key}: {invalid}"))),
        }
        rollback.applied.push(applied(&key, action));
        let (json, created) = before.map(|stored| (stored.json, stored.created)).unzip();
        let expected = Expected::Revision(after.map_or(0, |stored| stored.revision));
        rollback.writes.push(ConfigWrite { key, json, created, owner: Owner::Api, expected });
    }
    if faults.is_empty() { Ok(rollback) } else { Err(Status::failed_precondition(faults.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use rutter_api::{ConfigKey, CreationTimestamp, Kind};

    use super::*;

    fn stored(name: &str, port: u16, owner: Owner) -> Stored {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}","namespace":"shop"}},"spec":{{"ports":[{{"port":{port}}}]}}}}"#
        );
        let created = CreationTimestamp::from_microseconds(5);
        let key = ConfigKey::new(Kind::Service, "shop", name);
        Stored { key, json: json.into(), revision: 7, first_revision: 7, created, owner }
    }

    fn difference(before: Option<Stored>, after: Option<Stored>) -> Difference {
        let key = before.as_ref().or(after.as_ref()).map(|stored| stored.key.clone()).unwrap();
        Difference { key, before, after }
    }

    #[test]
    fn a_rollback_undoes_each_difference_unless_it_changed_meanwhile() {
        let some = |name: &str, port: u16| Some(stored(name, port, Owner::Api));
        let rollback = rollback(vec![
            difference(some("changed", 80), some("changed", 81)),
            difference(some("deleted", 80), None),
            difference(None, some("made", 80)),
            difference(None, Some(stored("of-a-file", 80, Owner::File("a.yaml".into())))),
        ])
        .unwrap();
        let shown: Vec<String> = rollback
            .writes
            .iter()
            .map(|write| format!("{} {:?} {:?}", write.key.name, write.expected, write.json.is_some()))
            .collect();
        assert_eq!(shown, ["changed Revision(7) true", "deleted Revision(0) true", "made Revision(7) false"]);
        let puts = rollback.changes.iter().filter(|(_, change)| *change != ConfigChange::Delete);
        assert_eq!((rollback.changes.len(), puts.count()), (3, 2));
        assert_eq!(
            rollback.warnings,
            ["service shop/of-a-file: it stays as it is, because the file a.yaml of the folder has it"]
        );
    }

    #[test]
    fn what_this_version_does_not_take_is_not_rolled_back_to() {
        let error = rollback(vec![difference(Some(stored("a", 0, Owner::Api)), None)]).unwrap_err();
        assert!(error.message().starts_with("service shop/a: spec.ports[0].port: want 1..=65535"), "{error}");
    }

    #[test]
    fn revisions_are_shown_newest_first_with_what_each_object_became() {
        let commit = |revision: u64, events: Vec<ConfigEvent>| Commit { revision, events, written: None };
        let made = Stored { revision: 1, first_revision: 1, ..stored("a", 80, Owner::Api) };
        let changed = Stored { revision: 2, ..made.clone() };
        let commits = [
            commit(1, vec![ConfigEvent::Put(made.clone())]),
            commit(2, vec![ConfigEvent::Put(changed)]),
            commit(3, vec![ConfigEvent::Delete(made.key)]),
        ];
        let shown = |wanted: &Wanted, limit: usize| {
            let response = revisions(&commits, wanted, limit);
            let revisions = response.revisions.iter();
            revisions.map(|r| format!("{} {}", r.revision, r.changes[0].action().as_str_name())).collect::<Vec<_>>()
        };
        let all = Wanted::of_pattern(None).unwrap();
        assert_eq!(shown(&all, 0), ["3 DELETED", "2 CONFIGURED", "1 CREATED"]);
        assert_eq!(shown(&all, 1), ["3 DELETED"]);
        let other = pb::ObjectKey { kind: "vs".into(), ..Default::default() };
        assert!(shown(&Wanted::of_pattern(Some(&other)).unwrap(), 0).is_empty());
    }
}
