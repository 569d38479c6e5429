//! What a response holds.

use std::sync::Arc;

use super::encoded::EncodedResource;

/// Some resources with neighbouring names, in order. Everybody who is sent them shares the chunk.
pub type Chunk = Arc<[EncodedResource]>;

/// Resources for a response, as chunks that are shared with the snapshots they come from.
#[derive(Debug, Clone, Default)]
pub struct ResourceList {
    /// The chunks. None of them is empty; the names are in order within a chunk only.
    chunks: Vec<Chunk>,
}

impl ResourceList {
    /// Adds a chunk at the end. An empty chunk is left out.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.chunks.push(chunk);
        }
    }

    /// Removes chunks from the front until they have so many bytes together, but at least one chunk, and returns them.
    pub fn take_front(&mut self, bytes: usize) -> Self {
        let mut taken = 0;
        let mut taken_bytes = 0;
        while taken < self.chunks.len() && (taken == 0 || taken_bytes < bytes) {
            taken_bytes += chunk_bytes(&self.chunks[taken]);
            taken += 1;
        }
        let rest = self.chunks.split_off(taken);
        Self { chunks: std::mem::replace(&mut self.chunks, rest) }
    }

    /// Returns all resources, chunk by chunk.
    pub fn iter(&self) -> impl Iterator<Item = &EncodedResource> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Returns the number of resources.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Returns whether the list has no resource.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns whether the list has a resource of that name. The cost is a binary search in each chunk.
    pub fn contains(&self, name: &str) -> bool {
        self.chunks.iter().any(|chunk| chunk.binary_search_by(|resource| (*resource.name).cmp(name)).is_ok())
    }

    /// Takes the list apart into its chunks.
    pub fn into_chunks(self) -> std::vec::IntoIter<Chunk> {
        self.chunks.into_iter()
    }
}

fn chunk_bytes(chunk: &Chunk) -> usize {
    chunk.iter().map(|resource| resource.entry.len()).sum()
}

impl From<Vec<EncodedResource>> for ResourceList {
    /// Makes a list of one chunk. The resources must be in the order of their names.
    fn from(resources: Vec<EncodedResource>) -> Self {
        let mut list = Self::default();
        list.push(resources.into());
        list
    }
}

#[cfg(test)]
mod tests {
    use rutter_api::ResourceType;

    use super::*;

    fn resource(name: &str) -> EncodedResource {
        EncodedResource::new(ResourceType::Cluster, name.into(), b"x")
    }

    #[test]
    fn a_list_is_divided_between_chunks() {
        let mut list = ResourceList::from(vec![resource("a"), resource("b")]);
        list.push(Arc::new([]));
        list.push(Arc::new([resource("c")]));
        assert_eq!((list.len(), list.contains("c"), list.contains("d")), (3, true, false));
        let front = list.take_front(1);
        assert_eq!((front.len(), list.len(), front.contains("b")), (2, 1, true));
        assert_eq!(list.take_front(1).len(), 1);
        assert!(list.is_empty() && list.take_front(1).is_empty());
    }

    #[test]
    fn chunks_are_taken_until_there_are_enough_bytes() {
        let mut list = ResourceList::default();
        for name in ["a", "b", "c", "d"] {
            list.push(Arc::new([resource(name)]));
        }
        let bytes = resource("a").entry.len();
        assert_eq!(list.take_front(2 * bytes).len(), 2);
        assert_eq!(list.take_front(usize::MAX).len(), 2);
    }
}
