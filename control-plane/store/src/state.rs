//! What both stores do alike: deciding what a commit comes to.

use std::collections::BTreeMap;

use rutter_api::ConfigKey;
use twox_hash::XxHash3_128;

use crate::{Commit, CommitError, ConfigEvent, Expected, Owner, Stored, Write};

/// What is kept in memory of an object. Its text is not: most of it is read only when somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    hash: u128,
    revision: u64,
    created: u64,
    pub(crate) owner: Owner,
}

impl Held {
    pub(crate) fn of(stored: &Stored) -> Self {
        let Stored { json, revision, created, owner, .. } = stored;
        Self { hash: hash(json), revision: *revision, created: *created, owner: owner.clone() }
    }
}

fn hash(json: &str) -> u128 {
    XxHash3_128::oneshot(json.as_bytes())
}

/// The objects, by key.
pub(crate) type Objects = BTreeMap<ConfigKey, Held>;

/// What the writes come to as the next commit. None: they change nothing.
pub(crate) fn decide(objects: &Objects, revision: u64, writes: Vec<Write>) -> Result<Option<Commit>, CommitError> {
    let revision = revision + 1;
    let mut events: BTreeMap<ConfigKey, ConfigEvent> = BTreeMap::new();
    for write in writes {
        let old = objects.get(&write.key);
        check(old, &write)?;
        let event = match write.json {
            None if old.is_none() => return Err(CommitError::NotFound(write.key)),
            None => ConfigEvent::Delete(write.key.clone()),
            Some(json) if old.is_some_and(|old| old.hash == hash(&json) && old.owner == write.owner) => {
                events.remove(&write.key);
                continue;
            }
            Some(json) => {
                let created = old.map_or(revision, |old| old.created);
                ConfigEvent::Put(Stored { key: write.key.clone(), json, revision, created, owner: write.owner })
            }
        };
        events.insert(write.key, event);
    }
    let events: Vec<ConfigEvent> = events.into_values().collect();
    Ok((!events.is_empty()).then_some(Commit { revision, events }))
}

fn check(old: Option<&Held>, write: &Write) -> Result<(), CommitError> {
    if let Some(old) = old.filter(|old| !may_write(&old.owner, &write.owner)) {
        let (key, owner) = (write.key.clone(), old.owner.to_string());
        return Err(CommitError::Owned { key, owner, writer: write.owner.to_string() });
    }
    let got = old.map_or(0, |old| old.revision);
    match write.expected {
        Expected::Revision(want) if want != got => Err(CommitError::Conflict { key: write.key.clone(), want, got }),
        Expected::Any | Expected::Revision(_) => Ok(()),
    }
}

/// The folder is one source: an object may move from one of its files to another.
fn may_write(owner: &Owner, writer: &Owner) -> bool {
    matches!((owner, writer), (Owner::Api, Owner::Api) | (Owner::File(_), Owner::File(_)))
}

pub(crate) fn apply(objects: &mut Objects, commit: &Commit) {
    for event in &commit.events {
        match event {
            ConfigEvent::Put(stored) => objects.insert(stored.key.clone(), Held::of(stored)),
            ConfigEvent::Delete(key) => objects.remove(key),
        };
    }
}
