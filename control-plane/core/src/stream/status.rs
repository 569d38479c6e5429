//! What is known of a stream, for people who look at it.

use std::collections::BTreeMap;
use std::time::Instant;

use rutter_api::ResourceType;

use crate::resource::{EncodedResource, ResourceName, Version};

/// What is known of one resource at one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceState {
    /// The client has the resource.
    Acked,
    /// The resource was sent, and the client has not answered.
    Sent,
    /// The resource is to be sent.
    Due,
    /// The client refused the resource, for this reason.
    Refused(String),
}

/// A resource at one client, and what is known of it.
#[derive(Debug, Clone)]
pub struct ResourceStatus {
    /// What the client has, or, if it is not known to have anything under the name, what it is to have.
    pub resource: EncodedResource,
    /// What is known of the resource.
    pub state: ResourceState,
}

/// What is known of one type at one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeSync {
    /// The client did not ask for the type.
    NotRequested,
    /// The client has acknowledged everything.
    Synced,
    /// Something is to be sent, or is not answered.
    Stale,
    /// The client has answered everything, and refused these resources.
    Refused(Vec<Refusal>),
}

/// What is known of one type at one client, and since when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// What is known of the type.
    pub sync: TypeSync,
    /// The instant of the latest response or answer. `None` means that there was none.
    pub since: Option<Instant>,
}

/// A resource that a client refuses. The client keeps what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// The name of the resource.
    pub name: ResourceName,
    /// The version that the client refuses. Another one will be sent.
    pub version: Version,
    /// What the client says is wrong.
    pub error: String,
}

/// What a client refused of a resource.
#[derive(Debug)]
pub(super) struct RefusedVersion {
    pub(super) version: Version,
    /// What the client says is wrong.
    pub(super) error: String,
}

/// What a client refuses now of one type, by name.
pub(super) type RefusedVersions = BTreeMap<ResourceName, RefusedVersion>;

/// Returns what a client refuses now of one type.
pub(super) fn refusals(
    resource_type: ResourceType,
    refused: &RefusedVersions,
) -> impl Iterator<Item = Refusal> + use<'_> {
    refused.iter().map(move |(name, refused)| Refusal {
        resource_type,
        name: name.clone(),
        version: refused.version,
        error: refused.error.clone(),
    })
}

/// How far a type has come at a client, as both variants keep it.
#[derive(Debug)]
pub(super) struct TypeProgress<'a> {
    /// The client has asked for the type.
    pub(super) is_requested: bool,
    /// Nothing is to be sent, and the client has answered everything.
    pub(super) is_settled: bool,
    /// What the client refuses now.
    pub(super) refused: &'a RefusedVersions,
    /// The instant of the latest response or answer. `None` means that there was none.
    pub(super) since: Option<Instant>,
}

impl TypeProgress<'_> {
    /// Returns what is known of the type.
    pub(super) fn status(&self, resource_type: ResourceType) -> SyncStatus {
        let sync = match (self.is_requested, self.is_settled) {
            (false, _) => TypeSync::NotRequested,
            (true, false) => TypeSync::Stale,
            (true, true) if self.refused.is_empty() => TypeSync::Synced,
            (true, true) => TypeSync::Refused(refusals(resource_type, self.refused).collect()),
        };
        SyncStatus { sync, since: self.since }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> RefusedVersions {
        let refuse = |name: &&str| {
            let resource = EncodedResource::new(ResourceType::Cluster, (*name).into(), b"x");
            (resource.name, RefusedVersion { version: resource.version, error: format!("{name} is wrong") })
        };
        names.iter().map(refuse).collect()
    }

    fn sync(is_requested: bool, is_settled: bool, refused: &RefusedVersions) -> TypeSync {
        TypeProgress { is_requested, is_settled, refused, since: None }.status(ResourceType::Cluster).sync
    }

    #[test]
    fn a_type_that_was_not_asked_for_has_no_other_state() {
        assert_eq!(sync(false, true, &refused(&[])), TypeSync::NotRequested);
        assert_eq!(sync(false, false, &refused(&["a"])), TypeSync::NotRequested);
    }

    #[test]
    fn a_type_is_refused_only_when_nothing_else_is_open() {
        assert_eq!(sync(true, true, &refused(&[])), TypeSync::Synced);
        assert_eq!(sync(true, false, &refused(&["a"])), TypeSync::Stale);
        let TypeSync::Refused(refusals) = sync(true, true, &refused(&["b", "a"])) else { panic!("want refusals") };
        let texts: Vec<(&str, &str)> = refusals.iter().map(|refusal| (&*refusal.name, &*refusal.error)).collect();
        assert_eq!(texts, [("a", "a is wrong"), ("b", "b is wrong")], "in the order of the names");
        assert!(refusals.iter().all(|refusal| refusal.resource_type == ResourceType::Cluster));
    }

    #[test]
    fn the_instant_is_that_of_the_latest_response_or_answer() {
        let (now, refused) = (Instant::now(), refused(&[]));
        let progress = TypeProgress { is_requested: true, is_settled: true, refused: &refused, since: Some(now) };
        assert_eq!(progress.status(ResourceType::Cluster).since, Some(now));
    }
}
