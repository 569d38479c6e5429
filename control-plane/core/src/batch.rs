//! Resources in bulk: lists that many streams share, and sums that tell whether two sets are the same.

use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::encode::EncodedResource;

/// Some resources with names in order, shared by all who are sent them.
pub type Piece = Arc<[EncodedResource]>;

/// Resources in pieces.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// None of them is empty.
    pieces: Vec<Piece>,
}

impl Batch {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Moves pieces to another batch, one at least, until that has so many bytes.
    pub fn split_off(&mut self, bytes: usize) -> Self {
        let mut sum = 0;
        let begins = |piece: &Piece| {
            let begins = sum < bytes;
            sum += size(piece);
            begins
        };
        let taken = self.pieces.iter().map(begins).take_while(|begins| *begins).count();
        let rest = self.pieces.split_off(taken);
        Self { pieces: std::mem::replace(&mut self.pieces, rest) }
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &EncodedResource> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// How many resources.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether one of them is called so.
    pub fn contains(&self, name: &str) -> bool {
        self.pieces.iter().any(|piece| piece.binary_search_by(|one| (*one.name).cmp(name)).is_ok())
    }

    /// The pieces.
    pub fn into_pieces(self) -> std::vec::IntoIter<Piece> {
        self.pieces.into_iter()
    }
}

fn size(piece: &Piece) -> usize {
    piece.iter().map(|resource| resource.entry.len()).sum()
}

impl From<Vec<EncodedResource>> for Batch {
    fn from(resources: Vec<EncodedResource>) -> Self {
        let mut batch = Self::default();
        batch.push(resources.into());
        batch
    }
}

/// A set, told by how many there are and by the sum of their hashes: whatever the order, equal for equal
/// sets, and for others with a chance of 1 in 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    count: usize,
    hash: u64,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.hash)
    }
}

impl Sum {
    fn of(hash: u64) -> Self {
        Self { count: 1, hash }
    }

    fn plus(self, other: Self) -> Self {
        Self { count: self.count.wrapping_add(other.count), hash: self.hash.wrapping_add(other.hash) }
    }

    fn minus(self, other: Self) -> Self {
        Self { count: self.count.wrapping_sub(other.count), hash: self.hash.wrapping_sub(other.hash) }
    }
}

/// The names of some resources, and the names with the versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// The names.
    pub names: Sum,
    /// The names, each with its version.
    pub versions: Sum,
}

impl Sums {
    /// Of one resource.
    pub fn of(name: &str, version: u64) -> Self {
        let name = XxHash3_64::oneshot(name.as_bytes());
        Self { names: Sum::of(mix(name)), versions: Sum::of(mix(name ^ mix(version))) }
    }

    /// Of some.
    pub fn all<'a>(resources: impl Iterator<Item = (&'a str, u64)>) -> Self {
        resources.fold(Self::default(), |sums, (name, version)| sums.plus(Self::of(name, version)))
    }

    /// With others that it has not.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { names: self.names.plus(other.names), versions: self.versions.plus(other.versions) }
    }

    /// Without some that it has.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { names: self.names.minus(other.names), versions: self.versions.minus(other.versions) }
    }
}

/// splitmix64's finalizer: sums of hashes must not cancel out where the hashes are alike.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use rutter_api::ResourceType;

    use super::*;

    #[test]
    fn sums_tell_sets_apart_whatever_their_order() {
        let sums = |all: &[(&'static str, u64)]| Sums::all(all.iter().copied());
        assert_eq!(sums(&[("a", 1), ("b", 2)]), sums(&[("b", 2), ("a", 1)]));
        assert_ne!(sums(&[("a", 1), ("b", 2)]).versions, sums(&[("a", 2), ("b", 1)]).versions);
        assert_eq!(sums(&[("a", 1), ("b", 2)]).names, sums(&[("a", 2), ("b", 1)]).names);
        assert_ne!(sums(&[("a", 1)]).names, sums(&[("a", 1), ("a", 1)]).names);
        assert_eq!(sums(&[("a", 1), ("b", 2)]).minus(Sums::of("b", 2)), sums(&[("a", 1)]));
    }

    #[test]
    fn a_batch_is_split_between_pieces() {
        let one = |name: &str| EncodedResource::new(ResourceType::Cluster, name.into(), b"x");
        let mut batch = Batch::from(vec![one("a"), one("b")]);
        batch.push(Arc::new([]));
        batch.push(Arc::new([one("c")]));
        assert_eq!((batch.len(), batch.contains("c"), batch.contains("d")), (3, true, false));
        let first = batch.split_off(1);
        assert_eq!((first.len(), batch.len(), first.contains("b")), (2, 1, true));
        assert_eq!(batch.split_off(1).len(), 1);
        assert!(batch.is_empty() && batch.split_off(1).is_empty());
    }
}
