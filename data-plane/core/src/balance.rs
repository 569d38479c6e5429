//! Which endpoint of a cluster is next.

use std::sync::atomic::{AtomicU64, Ordering};

/// The turns of one cluster: each request takes the next endpoint. Every cluster has turns of its own, so that clusters
/// which are used alternately do not divide their endpoints among themselves.
#[derive(Debug, Default)]
pub struct Turns(AtomicU64);

impl Turns {
    /// Returns turns that begin at a place which follows from the seed of the process and from the name of the cluster,
    /// so that proxies do not all begin with the same endpoint. The seed should differ from process to process, and may
    /// be any number.
    pub fn new(seed: u64, cluster: &str) -> Self {
        let hash = cluster.bytes().fold(seed, |hash, byte| mix(hash ^ u64::from(byte)));
        Self(AtomicU64::new(hash))
    }

    /// Returns the positions to try, beginning with the next in turn, at most `tries` of them.
    pub fn next(&self, endpoints: usize, tries: usize) -> impl Iterator<Item = usize> + use<> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let first =
            turn.checked_rem(endpoints as u64).and_then(|first| usize::try_from(first).ok()).unwrap_or_default();
        (0..tries.min(endpoints)).map(move |step| (first + step) % endpoints)
    }
}

/// Scrambles a number: SplitMix64.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn first(turns: &Turns, endpoints: usize) -> usize {
        turns.next(endpoints, 1).next().unwrap()
    }

    #[test]
    fn clusters_that_are_used_alternately_use_all_of_their_endpoints() {
        let (a, b) = (Turns::new(7, "a"), Turns::new(7, "b"));
        let mut used: [BTreeSet<usize>; 2] = Default::default();
        for _ in 0..4 {
            used[0].insert(first(&a, 2));
            used[1].insert(first(&b, 2));
        }
        assert_eq!(used, [[0, 1].into(), [0, 1].into()]);
    }

    #[test]
    fn processes_begin_at_different_endpoints() {
        let firsts: BTreeSet<usize> = (0..100).map(|seed| first(&Turns::new(seed, "a"), 3)).collect();
        assert_eq!(firsts, [0, 1, 2].into());
    }

    #[test]
    fn a_cluster_without_endpoints_has_nothing_to_try() {
        let turns = Turns::new(1, "a");
        assert_eq!(turns.next(0, 3).count(), 0);
        assert_eq!(turns.next(2, 3).collect::<BTreeSet<_>>(), [0, 1].into());
    }
}
