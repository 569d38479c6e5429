//! The resources of one type in a snapshot.

use std::sync::Arc;

use super::ResourceName;
use super::encoded::EncodedResource;
use super::resource_list::Chunk;
use super::sums::Sums;

/// The most resources in a chunk: few enough that copying a chunk, or leaving one out, costs little.
const CHUNK_LEN: usize = 64;
/// The most bytes of the resources in a chunk, unless it holds a single one.
const CHUNK_BYTES: usize = 64 << 10;

/// One change to a [`ResourceMap`]: it sets or removes the resource of a name.
#[derive(Debug)]
pub(crate) struct ResourceChange {
    /// The name of the resource.
    pub(crate) name: ResourceName,
    /// The new resource of that name. `None` removes what there is.
    pub(crate) resource: Option<EncodedResource>,
}

/// Resources of one type by name, in chunks. A clone shares every chunk, and a change copies only the chunks in which
/// something changes. So the next snapshot costs what changed, and the chunks that did not change are the same ones
/// that streams have already been sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResourceMap {
    /// The chunks, in the order of the names. None of them is empty.
    chunks: Arc<Vec<Chunk>>,
    len: usize,
    sums: Sums,
}

impl ResourceMap {
    /// Returns the number of resources.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the sums of all resources. They are kept up to date, so this costs nothing.
    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// Returns the chunks, in the order of the names.
    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Returns the resource of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&EncodedResource> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let at = chunk.binary_search_by(|resource| (*resource.name).cmp(name)).ok()?;
        Some(&chunk[at])
    }

    /// Returns the resources with this name and with greater names, in order.
    pub(crate) fn starting_at<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a EncodedResource> {
        let chunks = self.chunks.get(self.chunk_of(name)..).unwrap_or_default();
        chunks.iter().flat_map(|chunk| chunk.iter()).skip_while(move |resource| *resource.name < *name)
    }

    /// Returns the index of the chunk in which a name is, or would be.
    fn chunk_of(&self, name: &str) -> usize {
        self.chunks.partition_point(|chunk| chunk.first().is_some_and(|first| *first.name <= *name)).saturating_sub(1)
    }

    /// Carries out changes, which must be in the order of their names and name each resource at most once.
    pub(crate) fn change(&mut self, changes: impl Iterator<Item = ResourceChange>) {
        let old = std::mem::take(&mut self.chunks);
        let mut changes = changes.peekable();
        let mut chunks: Vec<Chunk> = Vec::with_capacity(old.len() + 1);
        for (number, chunk) in old.iter().enumerate() {
            let next = old.get(number + 1).and_then(|chunk| chunk.first()).map(|first| &first.name);
            let is_in_chunk = |change: &ResourceChange| next.is_none_or(|next| change.name < *next);
            if changes.peek().is_none_or(|change| !is_in_chunk(change)) {
                chunks.push(chunk.clone());
                continue;
            }
            let changes_in_chunk = std::iter::from_fn(|| changes.next_if(is_in_chunk));
            let merged = self.merge(chunk, changes_in_chunk);
            // A chunk that has become small is joined to the one before, so that chunks do not become ever smaller.
            let small = chunks.pop_if(|previous| previous.len() + merged.len() <= CHUNK_LEN / 2);
            let resources = small.iter().flat_map(|previous| previous.iter()).cloned().chain(merged);
            divide_into_chunks(resources, &mut chunks);
        }
        let rest = self.merge(&[], changes);
        divide_into_chunks(rest.into_iter(), &mut chunks);
        self.chunks = Arc::new(chunks);
    }

    fn merge(
        &mut self,
        chunk: &[EncodedResource],
        changes: impl Iterator<Item = ResourceChange>,
    ) -> Vec<EncodedResource> {
        let mut merged = Vec::with_capacity(chunk.len() + 1);
        let mut old = chunk.iter().peekable();
        for change in changes {
            merged.extend(std::iter::from_fn(|| old.next_if(|resource| resource.name < change.name)).cloned());
            if let Some(replaced) = old.next_if(|resource| resource.name == change.name) {
                self.sums = self.sums.minus(replaced.sums());
                self.len -= 1;
            }
            if let Some(resource) = change.resource {
                self.sums = self.sums.plus(resource.sums());
                self.len += 1;
                merged.push(resource);
            }
        }
        merged.extend(old.cloned());
        merged
    }
}

fn divide_into_chunks(resources: impl Iterator<Item = EncodedResource>, chunks: &mut Vec<Chunk>) {
    let mut resources = resources.peekable();
    while let Some(first) = resources.next() {
        let mut bytes = first.entry.len();
        let mut chunk = vec![first];
        while let Some(next) =
            resources.next_if(|next| chunk.len() < CHUNK_LEN && bytes + next.entry.len() <= CHUNK_BYTES)
        {
            bytes += next.entry.len();
            chunk.push(next);
        }
        chunks.push(chunk.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rutter_api::ResourceType;

    use super::*;

    fn resource(name: &str, body: &[u8]) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), body)
    }

    fn put(name: &ResourceName, body: &[u8]) -> ResourceChange {
        ResourceChange { name: name.clone(), resource: Some(resource(name, body)) }
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            rounds in prop::collection::vec(prop::collection::vec((0..600u32, any::<Option<u8>>()), 0..200), 1..20)
        ) {
            let mut model = BTreeMap::new();
            let mut map = ResourceMap::default();
            for round in rounds {
                let mut changes = BTreeMap::new();
                for (number, body) in round {
                    let name: ResourceName = format!("n{number}").into();
                    let value = body.map(|body| resource(&name, &[body]));
                    changes.insert(name.clone(), value.clone());
                    match value {
                        Some(value) => model.insert(name, value),
                        None => model.remove(&name),
                    };
                }
                let before = map.clone();
                map.change(changes.into_iter().map(|(name, resource)| ResourceChange { name, resource }));
                prop_assert_eq!(map.len(), model.len());
                let got: Vec<_> = map.starting_at("").map(|resource| (&resource.name, resource.version)).collect();
                let want: Vec<_> = model.values().map(|resource| (&resource.name, resource.version)).collect();
                prop_assert_eq!(got, want);
                let versions = model.values().map(|resource| (&*resource.name, resource.version.number()));
                prop_assert_eq!(map.sums(), Sums::of_resources(versions));
                prop_assert!(map.chunks().iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_LEN));
                prop_assert!(map.chunks().len() <= 2 + model.len() / (CHUNK_LEN / 8));
                for name in ["n0", "n3", "n599", "zzz"] {
                    let version = |resource: &EncodedResource| resource.version;
                    prop_assert_eq!(map.get(name).map(version), model.get(name).map(version));
                    let next = model.range(ResourceName::from(name)..).next().map(|(name, _)| name);
                    prop_assert_eq!(map.starting_at(name).next().map(|resource| &resource.name), next);
                }
                drop(before);
            }
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let name = |number: usize| ResourceName::from(format!("n{number:05}"));
        let mut map = ResourceMap::default();
        map.change((0..1000).map(|number| put(&name(number), b"x")));
        let before = map.clone();
        map.change([put(&name(500), b"y")].into_iter());
        let is_kept = |chunk: &&Chunk| before.chunks().iter().any(|old| Arc::ptr_eq(old, chunk));
        assert_eq!((map.chunks().iter().filter(is_kept).count(), map.chunks().len()), (15, 16));
    }

    #[test]
    fn large_resources_have_chunks_of_their_own() {
        let mut map = ResourceMap::default();
        let large = vec![0; CHUNK_BYTES];
        map.change(["a", "b", "c"].map(|name| put(&name.into(), &large)).into_iter());
        assert_eq!((map.chunks().len(), map.len()), (3, 3));
    }
}
