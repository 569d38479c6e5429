//! Which of the files that were read has which object, and what is written for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rutter_api::ConfigKey;
use rutter_store::{ConfigStore, ConfigWrite, Expected, Owner, StoreError};

use super::file::{Parsed, Placed, ReadFile};
use super::walk::Identity;

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// `None` means that the file has to be read in any case.
    pub(super) identity: Option<Identity>,
    /// The objects that the file has, and those that its last good version had if it is faulty now.
    pub(super) keys: Vec<ConfigKey>,
}

/// What is to be done for a file.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: Arc<str>,
    pub(super) identity: Identity,
    /// The objects that the file has afterwards.
    pub(super) keys: Vec<ConfigKey>,
    pub(super) writes: Vec<ConfigWrite>,
    /// The objects that another file had before, with the name of that file.
    pub(super) taken: Vec<(Arc<str>, ConfigKey)>,
    /// The objects that another file has.
    pub(super) conflicts: Vec<ConfigKey>,
    /// Everything that is wrong with the file.
    pub(super) faults: Vec<String>,
}

/// The files that are planned together.
struct Plan<'a> {
    known: &'a BTreeMap<Arc<str>, FileState>,
    /// What the files say that were read, by their names.
    said: BTreeMap<Arc<str>, BTreeSet<ConfigKey>>,
    /// The file that has each object which some file has so far.
    claimed: BTreeMap<ConfigKey, Arc<str>>,
}

/// Decides which of some files has each object. An object that several files name stays in the one that has it, or goes to
/// the first by name.
pub(super) async fn plan(
    files: Vec<ReadFile>,
    known: &BTreeMap<Arc<str>, FileState>,
    store: &dyn ConfigStore,
) -> Result<Vec<Planned>, StoreError> {
    let said = files.iter().map(|file| (file.name.clone(), keys_of(file).collect())).collect();
    let mut plan = Plan { known, said, claimed: BTreeMap::new() };
    let mut planned = Vec::new();
    for file in files {
        let keys: Vec<ConfigKey> = keys_of(&file).collect();
        let owners = store.owners_of(&keys).await?;
        planned.push(plan.file(file, owners));
    }
    // What a faulty file had stays in it, unless another file has taken it.
    for file in &mut planned {
        let claimed = &plan.claimed;
        file.keys.retain(|key| claimed.get(key).is_none_or(|claimer| *claimer == file.name));
    }
    Ok(planned)
}

fn keys_of(file: &ReadFile) -> impl Iterator<Item = ConfigKey> + '_ {
    file.parsed.objects.iter().map(|placed| placed.object.config.key.clone())
}

impl Plan<'_> {
    fn file(&mut self, file: ReadFile, owners: Vec<Option<Owner>>) -> Planned {
        let ReadFile { name, identity, parsed: Parsed { objects, faults }, is_blank } = file;
        let had = self.known.get(&name).map(|file| file.keys.clone()).unwrap_or_default();
        let (keys, writes, taken, conflicts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut planned = Planned { name, identity, keys, writes, taken, conflicts, faults };
        if is_blank && !had.is_empty() {
            planned
                .faults
                .push("want at least one object, got an empty file (delete the file if that is meant)".into());
        }
        let keeps_all = !planned.faults.is_empty();
        for (placed, owner) in objects.into_iter().zip(owners) {
            self.object(&mut planned, placed, owner);
        }
        let new: BTreeSet<ConfigKey> = planned.keys.iter().cloned().collect();
        if keeps_all {
            planned.keys.extend(had.into_iter().filter(|key| !new.contains(key)));
        }
        planned
    }

    /// Gives an object to a file, unless somebody else has it.
    fn object(&mut self, planned: &mut Planned, placed: Placed, owner: Option<Owner>) {
        let Placed { line, object } = placed;
        let (key, name) = (object.config.key.clone(), &planned.name);
        if owner == Some(Owner::Api) {
            let fault = format!("line {line}: {key}: want an object of {name}, got one of api (change it there)");
            planned.faults.push(fault);
            planned.conflicts.push(key);
            return;
        }
        let owner: Option<Arc<str>> = match owner {
            Some(Owner::File(file)) if *file != **name => Some(file.into()),
            Some(Owner::File(_) | Owner::Api) | None => None,
        };
        let elsewhere = owner.clone().filter(|file| self.has(file, &key));
        if let Some(other) = self.claimed.get(&key).cloned().or(elsewhere) {
            planned.faults.push(format!("line {line}: {key}: want each object in one file, got it in {other} too"));
            planned.conflicts.push(key);
            return;
        }
        planned.taken.extend(owner.map(|file| (file, key.clone())));
        self.claimed.insert(key.clone(), name.clone());
        planned.writes.push(ConfigWrite {
            key: key.clone(),
            json: Some(object.json),
            created: object.created,
            owner: Owner::File(name.to_string()),
            expected: Expected::Any,
        });
        planned.keys.push(key);
    }

    /// Returns whether a file has an object: by what it says now if it was read, or else by what is known of it.
    fn has(&self, file: &Arc<str>, key: &ConfigKey) -> bool {
        match self.said.get(file) {
            Some(said) => said.contains(key),
            None => self.known.get(file).is_some_and(|file| file.keys.contains(key)),
        }
    }
}
