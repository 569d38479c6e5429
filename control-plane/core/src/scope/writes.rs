//! What the resources of a scope are to be, and the writes that make them so.

use rutter_api::ResourceType;

use crate::resource::{EncodedResource, ResourceName};
use crate::snapshot::{ResourceWrite, Snapshot};

/// What the clients of a scope are to see under a name, whatever the base has.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) resource_type: ResourceType,
    pub(super) name: ResourceName,
    /// The resource. `None` means that there is to be none.
    pub(super) resource: Option<EncodedResource>,
}

impl Wanted {
    pub(super) fn resource(resource_type: ResourceType, resource: EncodedResource) -> Self {
        Self { resource_type, name: resource.name.clone(), resource: Some(resource) }
    }

    pub(super) fn nothing(resource_type: ResourceType, name: ResourceName) -> Self {
        Self { resource_type, name, resource: None }
    }
}

/// Returns the writes by which a layer over a base shows what is wanted. What the base has in the same version is not
/// written, and what it has although nothing is wanted is hidden.
pub(super) fn writes_over(wanted: Vec<Wanted>, base: Option<&Snapshot>) -> Vec<ResourceWrite> {
    let mut writes = Vec::with_capacity(wanted.len());
    for Wanted { resource_type, name, resource } in wanted {
        let below = base.and_then(|base| base.get(resource_type, &name));
        writes.push(match (resource, below) {
            (Some(resource), Some(below)) if resource.version == below.version => {
                ResourceWrite::Remove(resource_type, name)
            }
            (Some(resource), _) => ResourceWrite::Put(resource_type, resource),
            (None, Some(_)) => ResourceWrite::Hide(resource_type, name),
            (None, None) => ResourceWrite::Remove(resource_type, name),
        });
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, body: &[u8]) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), body)
    }

    #[test]
    fn only_what_differs_from_the_base_is_written() {
        let put = |name: &str| ResourceWrite::Put(ResourceType::Cluster, resource(name, b"1"));
        let base = Snapshot::new(1).apply(["same", "other", "unwanted"].map(put).into()).unwrap();
        let wanted = vec![
            Wanted::resource(ResourceType::Cluster, resource("same", b"1")),
            Wanted::resource(ResourceType::Cluster, resource("other", b"2")),
            Wanted::resource(ResourceType::Cluster, resource("new", b"1")),
            Wanted::nothing(ResourceType::Cluster, "unwanted".into()),
            Wanted::nothing(ResourceType::Cluster, "unknown".into()),
        ];
        let describe = |write: ResourceWrite| match write {
            ResourceWrite::Put(_, resource) => format!("put {}", resource.name),
            ResourceWrite::Hide(_, name) => format!("hide {name}"),
            ResourceWrite::Remove(_, name) => format!("remove {name}"),
        };
        let written: Vec<String> = writes_over(wanted, Some(&base)).into_iter().map(describe).collect();
        assert_eq!(written, ["remove same", "put other", "put new", "hide unwanted", "remove unknown"]);
    }
}
