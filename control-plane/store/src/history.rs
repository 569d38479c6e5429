//! What objects were at earlier revisions.

use std::collections::BTreeMap;

use rutter_api::ConfigKey;

use crate::{Commit, ConfigEvent, ConfigStore, HISTORY_MAX, StoreError, Stored};

/// Returns the commits after a revision that are still kept, the oldest first.
///
/// # Errors
/// Fails if the store cannot be read.
pub async fn history(store: &dyn ConfigStore, after: u64) -> Result<Vec<Commit>, StoreError> {
    let latest = *store.latest().borrow();
    let mut seen = after.max(latest.saturating_sub(HISTORY_MAX));
    let mut history: Vec<Commit> = Vec::new();
    while seen < latest {
        match store.commits_after(seen).await {
            Ok(commits) => {
                let Some(last) = commits.last() else { break };
                seen = last.revision;
                history.extend(commits);
            }
            // What is missing is older than everything that is kept: a commit is forgotten only after those before it.
            Err(StoreError::Compacted(revision)) => {
                history.clear();
                seen = revision.max(seen + 1);
            }
            Err(error) => return Err(error),
        }
    }
    history.retain(|commit| commit.revision <= latest);
    Ok(history)
}

/// How an object was at one revision, and how it is at a later one. `None` means that there was no such object.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Names the object.
    pub key: ConfigKey,
    /// The object at the earlier revision.
    pub before: Option<Stored>,
    /// The object at the later revision.
    pub after: Option<Stored>,
}

/// Returns the objects that are not the same at two revisions, in the order of their keys. An object that was changed and
/// changed back is not among them.
///
/// # Errors
/// Fails if the store cannot be read, and with [`StoreError::Compacted`] if what an object was at the earlier revision is
/// no longer kept.
pub async fn differences(store: &dyn ConfigStore, from: u64, to: u64) -> Result<Vec<Difference>, StoreError> {
    let history = history(store, 0).await?;
    let oldest = history.first().map_or(*store.latest().borrow(), |commit| commit.revision - 1);
    let mut changed: BTreeMap<&ConfigKey, Option<&Stored>> = BTreeMap::new();
    for commit in history.iter().filter(|commit| commit.revision > from && commit.revision <= to) {
        for event in &commit.events {
            match event {
                ConfigEvent::Put(stored) => changed.insert(&stored.key, Some(stored)),
                ConfigEvent::Delete(key) => changed.insert(key, None),
            };
        }
    }
    let mut differences = Vec::new();
    for (key, after) in changed {
        let before = object_at(&history, key, from).ok_or(StoreError::Compacted(oldest))?;
        let is_same = match (before, after) {
            (Some(before), Some(after)) => before.json == after.json && before.created == after.created,
            (before, after) => before.is_none() && after.is_none(),
        };
        if !is_same {
            differences.push(Difference { key: key.clone(), before: before.cloned(), after: after.cloned() });
        }
    }
    Ok(differences)
}

/// Returns what an object was at a revision that is before its last change, of which the inner `None` means that there was no
/// such object. The outer `None` means that what it was is older than everything that is kept.
fn object_at<'a>(history: &'a [Commit], key: &ConfigKey, revision: u64) -> Option<Option<&'a Stored>> {
    let event_of = |commit: &'a Commit| {
        commit.events.iter().find(|event| match event {
            ConfigEvent::Put(stored) => stored.key == *key,
            ConfigEvent::Delete(deleted) => deleted == key,
        })
    };
    let until = history.partition_point(|commit| commit.revision <= revision);
    if let Some(event) = history[..until].iter().rev().find_map(event_of) {
        return Some(match event {
            ConfigEvent::Put(stored) => Some(stored),
            ConfigEvent::Delete(_) => None,
        });
    }
    // Nothing of it is kept from before: it did not exist if it was created later, or if everything is kept.
    let is_all_kept = history.first().is_none_or(|commit| commit.revision == 1);
    let was_created = matches!(
        history[until..].iter().find_map(event_of),
        Some(ConfigEvent::Put(stored)) if stored.first_revision > revision
    );
    (is_all_kept || was_created).then_some(None)
}

#[cfg(test)]
mod tests {
    use rutter_api::Kind;

    use super::*;
    use crate::testing::write;
    use crate::{ConfigWrite, MemoryStore};

    /// Returns a line for each difference.
    async fn shown(store: &MemoryStore, from: u64, to: u64) -> Vec<String> {
        let text =
            |stored: &Option<Stored>| stored.as_ref().map_or("nothing".to_owned(), |stored| stored.json.to_string());
        let differences = differences(store, from, to).await.unwrap();
        differences.iter().map(|d| format!("{}: {} to {}", d.key.name, text(&d.before), text(&d.after))).collect()
    }

    #[tokio::test]
    async fn differences_are_those_of_the_objects_at_both_revisions() {
        let store = MemoryStore::default();
        for writes in [
            vec![write("a", Some("1")), write("b", Some("1"))],
            vec![write("a", Some("2")), write("c", Some("1"))],
            vec![write("a", Some("1")), write("b", None)],
        ] {
            store.commit_by("me", writes).await.unwrap();
        }
        assert_eq!(shown(&store, 1, 3).await, ["b: 1 to nothing", "c: nothing to 1"], "a is what it was");
        assert_eq!(shown(&store, 1, 2).await, ["a: 1 to 2", "c: nothing to 1"]);
        assert_eq!(shown(&store, 0, 1).await, ["a: nothing to 1", "b: nothing to 1"]);
        assert!(shown(&store, 3, 3).await.is_empty());
        let history = history(&store, 1).await.unwrap();
        assert_eq!(history.iter().map(|commit| commit.revision).collect::<Vec<_>>(), [2, 3]);
        assert!(history.iter().all(|commit| &*commit.written.as_ref().unwrap().by == "me"));
    }

    #[tokio::test]
    async fn what_is_no_longer_kept_is_an_error_and_what_was_created_later_was_not_there() {
        let store = MemoryStore::default();
        store.commit(vec![write("old", Some("1"))]).await.unwrap();
        for number in 0..HISTORY_MAX {
            store.commit(vec![write("churn", Some(&number.to_string()))]).await.unwrap();
        }
        store.commit(vec![write("new", Some("1"))]).await.unwrap();
        let latest = *store.latest().borrow();
        assert_eq!(shown(&store, latest - 1, latest).await, ["new: nothing to 1"]);
        let write: ConfigWrite = write("old", Some("2"));
        assert_eq!(write.key.kind, Kind::Service);
        store.commit(vec![write]).await.unwrap();
        let error = differences(&store, latest, latest + 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Compacted(_)), "{error}");
    }
}
