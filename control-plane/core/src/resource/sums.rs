//! Sums of hashes, which tell whether two sets of resources are equal.

use twox_hash::XxHash3_64;

/// A set, told by its size and by the sum of its members' hashes. Equal sets have equal sums in whatever order they
/// were added; different sets have the same sum with a probability of 1 in 2^64.
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
    fn of_member(hash: u64) -> Self {
        Self { count: 1, hash }
    }

    fn plus(self, added: Self) -> Self {
        Self { count: self.count.wrapping_add(added.count), hash: self.hash.wrapping_add(added.hash) }
    }

    fn minus(self, removed: Self) -> Self {
        Self { count: self.count.wrapping_sub(removed.count), hash: self.hash.wrapping_sub(removed.hash) }
    }
}

/// Two sums of a set of resources: one of their names, and one of their names with their versions.
///
/// A sidecar that comes back lists everything that it holds. If the sums of its list are those of the view, it holds
/// all that there is, and nothing has to be looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// The sum of the names.
    pub names: Sum,
    /// The sum of the names, each with its version.
    pub versions: Sum,
}

impl Sums {
    /// Returns the sums of one resource, given its name and the number of its version.
    pub fn of_resource(name: &str, version: u64) -> Self {
        let name = XxHash3_64::oneshot(name.as_bytes());
        Self { names: Sum::of_member(mix(name)), versions: Sum::of_member(mix(name ^ mix(version))) }
    }

    /// Returns the sums of some resources, each given by its name and the number of its version.
    pub fn of_resources<'a>(resources: impl Iterator<Item = (&'a str, u64)>) -> Self {
        resources.fold(Self::default(), |sums, (name, version)| sums.plus(Self::of_resource(name, version)))
    }

    /// Returns the sums after some resources were added that the set did not have.
    #[must_use]
    pub fn plus(self, added: Self) -> Self {
        Self { names: self.names.plus(added.names), versions: self.versions.plus(added.versions) }
    }

    /// Returns the sums after some resources of the set were removed.
    #[must_use]
    pub fn minus(self, removed: Self) -> Self {
        Self { names: self.names.minus(removed.names), versions: self.versions.minus(removed.versions) }
    }
}

/// The finalizer of splitmix64. Without it, sums of hashes could cancel out where the hashes are alike.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tell_sets_apart_whatever_their_order() {
        let sums = |all: &[(&'static str, u64)]| Sums::of_resources(all.iter().copied());
        assert_eq!(sums(&[("a", 1), ("b", 2)]), sums(&[("b", 2), ("a", 1)]));
        assert_ne!(sums(&[("a", 1), ("b", 2)]).versions, sums(&[("a", 2), ("b", 1)]).versions);
        assert_eq!(sums(&[("a", 1), ("b", 2)]).names, sums(&[("a", 2), ("b", 1)]).names);
        assert_ne!(sums(&[("a", 1)]).names, sums(&[("a", 1), ("a", 1)]).names);
        assert_eq!(sums(&[("a", 1), ("b", 2)]).minus(Sums::of_resource("b", 2)), sums(&[("a", 1)]));
    }
}
