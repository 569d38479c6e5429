//! Objects that no file has any more. They are deleted when the folder has been left alone for a while, so that an object
//! may move from one file to another. If they are many at once, somebody has to confirm it: a folder that was not mounted,
//! or a script that failed half way, must not take the mesh with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rutter_api::{ConfigKey, Kind};
use tokio::time::Instant;

/// The number of objects of a kind that may be deleted at once, whatever their share is.
const OBJECTS_MAX: usize = 10;
/// The percentage of the objects of a kind that may be deleted at once.
const PERCENT_MAX: usize = 30;
/// How long a confirmation in advance counts.
pub(crate) const CONFIRMATION: Duration = Duration::from_secs(10 * 60);

/// How many objects of a kind are missing, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) missing: usize,
    /// The number of objects of the kind that the folder has, those that are missing included.
    pub(crate) all: usize,
}

/// The objects that no file has any more.
#[derive(Debug, Default)]
pub(super) struct Missing {
    keys: BTreeSet<ConfigKey>,
    /// When they may be deleted.
    settled: Option<Instant>,
    /// Until when somebody has confirmed that many may be deleted.
    confirmed_until: Option<Instant>,
    /// Whether the folder is one that may not have been mounted, so that nothing may be deleted unasked.
    pub(super) is_suspicious: bool,
}

/// What is to be done with the objects that are missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are none, or they may turn up yet.
    Wait,
    /// They are to be deleted.
    Delete,
    /// Nothing may be deleted before it is confirmed, for the sake of these kinds.
    Hold(BTreeMap<Kind, Loss>),
}

impl Missing {
    pub(super) fn add(&mut self, key: ConfigKey, settled: Instant) {
        self.keys.insert(key);
        self.settled = Some(settled);
    }

    /// Takes in that a file has an object.
    pub(super) fn remove(&mut self, key: &ConfigKey) {
        self.keys.remove(key);
    }

    pub(super) fn keys(&self) -> &BTreeSet<ConfigKey> {
        &self.keys
    }

    /// Forgets everything that is missing: it was deleted. A confirmation is used up by it.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.confirmed_until = None;
        self.is_suspicious = false;
    }

    /// Returns when the objects may be deleted. `None` means that there is nothing to wait for.
    pub(super) fn settled(&self) -> Option<Instant> {
        self.settled.filter(|_| !self.keys.is_empty())
    }

    /// Puts the deletion off.
    pub(super) fn put_off(&mut self, settled: Instant) {
        self.settled = Some(settled);
    }

    /// Takes in that nothing more is to be waited for.
    pub(super) fn settle(&mut self) {
        self.settled = None;
    }

    /// Lets the next deletion through, whatever it deletes.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.confirmed_until = Some(now + CONFIRMATION);
    }

    /// Returns until when a confirmation counts. `None` means that there is none.
    pub(super) fn confirmed_until(&self) -> Option<Instant> {
        self.confirmed_until
    }

    /// Decides over the objects that are missing. `kept` are the numbers of those that files have.
    pub(super) fn judge(&self, now: Instant, kept: impl FnOnce() -> BTreeMap<Kind, usize>) -> Verdict {
        if self.keys.is_empty() || self.settled.is_some_and(|settled| settled > now) {
            return Verdict::Wait;
        }
        let is_confirmed = self.confirmed_until.is_some_and(|until| until > now);
        if is_confirmed || (self.keys.len() <= OBJECTS_MAX && !self.is_suspicious) {
            return Verdict::Delete;
        }
        let mut losses = losses(&self.keys, &kept());
        losses.retain(|_, loss| self.is_suspicious || loss.is_large());
        if losses.is_empty() { Verdict::Delete } else { Verdict::Hold(losses) }
    }
}

impl Loss {
    fn is_large(self) -> bool {
        self.missing > OBJECTS_MAX && self.missing * 100 > self.all * PERCENT_MAX
    }
}

fn losses(missing: &BTreeSet<ConfigKey>, kept: &BTreeMap<Kind, usize>) -> BTreeMap<Kind, Loss> {
    let mut losses = BTreeMap::new();
    for key in missing {
        let all = kept.get(&key.kind).copied().unwrap_or_default();
        let loss = losses.entry(key.kind).or_insert(Loss { missing: 0, all });
        loss.missing += 1;
        loss.all += 1;
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns so many missing services, which may be deleted now.
    fn missing(count: usize, now: Instant) -> Missing {
        let mut missing = Missing::default();
        for number in 0..count {
            missing.add(ConfigKey::new(Kind::Service, "shop", &number.to_string()), now);
        }
        missing
    }

    fn kept(count: usize) -> impl FnOnce() -> BTreeMap<Kind, usize> {
        move || [(Kind::Service, count)].into()
    }

    #[tokio::test]
    async fn more_than_ten_objects_and_thirty_percent_of_a_kind_are_held() {
        let now = Instant::now();
        let judge = |count, others| missing(count, now).judge(now, kept(others));
        assert_eq!(judge(0, 0), Verdict::Wait);
        assert_eq!(judge(10, 0), Verdict::Delete, "few objects may all go");
        assert_eq!(judge(11, 0), Verdict::Hold([(Kind::Service, Loss { missing: 11, all: 11 })].into()));
        assert_eq!(judge(30, 70), Verdict::Delete, "30 %");
        assert_eq!(judge(31, 69), Verdict::Hold([(Kind::Service, Loss { missing: 31, all: 100 })].into()));
    }

    #[tokio::test]
    async fn objects_that_may_turn_up_yet_are_waited_for() {
        let now = Instant::now();
        let mut missing = missing(1, now + Duration::from_millis(200));
        assert_eq!(missing.judge(now, kept(0)), Verdict::Wait);
        assert_eq!(missing.judge(now + Duration::from_millis(200), kept(0)), Verdict::Delete);
        let key = missing.keys().first().unwrap().clone();
        missing.remove(&key);
        assert_eq!((missing.judge(now + Duration::from_secs(1), kept(0)), missing.settled()), (Verdict::Wait, None));
    }

    #[tokio::test]
    async fn a_confirmation_lets_one_deletion_through_and_does_not_last() {
        let now = Instant::now();
        let mut held = missing(20, now);
        held.confirm(now);
        assert_eq!(held.judge(now + CONFIRMATION / 2, kept(0)), Verdict::Delete);
        assert!(matches!(held.judge(now + CONFIRMATION, kept(0)), Verdict::Hold(_)), "it is too old");
        held.clear();
        assert_eq!((held.keys().len(), held.confirmed_until()), (0, None));
    }

    #[tokio::test]
    async fn nothing_is_deleted_unasked_for_a_folder_that_may_not_have_been_mounted() {
        let now = Instant::now();
        let mut one = missing(1, now);
        one.is_suspicious = true;
        assert_eq!(one.judge(now, kept(0)), Verdict::Hold([(Kind::Service, Loss { missing: 1, all: 1 })].into()));
        one.confirm(now);
        assert_eq!(one.judge(now, kept(0)), Verdict::Delete);
    }
}
