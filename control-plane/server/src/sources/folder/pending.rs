//! What has to be looked at, and when: a file that was closed or renamed at once, and one that is being written when it
//! has been left alone for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// What the file system says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// A file was closed after it was written, renamed to this name, or removed.
    Done(Arc<str>),
    /// A file was made or written, and may be written further.
    Written(Arc<str>),
    /// Something that says nothing of single files: a folder, a link, or more than could be told.
    Anything,
}

/// What has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Pending {
    ready: BTreeSet<Arc<str>>,
    /// Files that are being written, and when each counts as settled.
    settling: BTreeMap<Arc<str>, Instant>,
    look_over: bool,
}

/// What is to be looked at now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) files: BTreeSet<Arc<str>>,
    /// Whether the whole folder is to be looked over.
    pub(super) look_over: bool,
}

impl Pending {
    /// Takes in what happened. A file that is written is settled when nothing happens to it for the given time.
    pub(super) fn happened(&mut self, happened: Happened, now: Instant, settle: Duration) {
        match happened {
            Happened::Done(name) => {
                self.settling.remove(&name);
                self.ready.insert(name);
            }
            Happened::Written(name) => {
                self.settling.insert(name, now + settle);
            }
            Happened::Anything => self.look_over = true,
        }
    }

    /// Returns whether something is to be looked at at once.
    pub(super) fn is_ready(&self) -> bool {
        self.look_over || !self.ready.is_empty()
    }

    /// Returns when the next file is settled. `None` means that none is being written.
    pub(super) fn next_settled(&self) -> Option<Instant> {
        self.settling.values().min().copied()
    }

    /// Takes out what is to be looked at now.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        let mut files = std::mem::take(&mut self.ready);
        self.settling.retain(|name, settled| {
            let is_settled = *settled <= now;
            if is_settled {
                files.insert(name.clone());
            }
            !is_settled
        });
        Due { files, look_over: std::mem::take(&mut self.look_over) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(200);

    fn names(due: &Due) -> Vec<&str> {
        due.files.iter().map(|name| &**name).collect()
    }

    #[tokio::test]
    async fn a_file_is_due_at_once_when_it_was_closed_and_later_while_it_is_written() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        pending.happened(Happened::Written("a.yaml".into()), start, SETTLE);
        pending.happened(Happened::Written("b.yaml".into()), start, SETTLE);
        assert!(!pending.is_ready() && pending.take(start) == Due::default());
        pending.happened(Happened::Done("a.yaml".into()), start, SETTLE);
        assert!(pending.is_ready());
        assert_eq!(names(&pending.take(start)), ["a.yaml"]);
        assert_eq!(pending.next_settled(), Some(start + SETTLE));
        let later = start + SETTLE / 2;
        pending.happened(Happened::Written("b.yaml".into()), later, SETTLE);
        assert_eq!(pending.take(start + SETTLE), Due::default(), "it was written again meanwhile");
        assert_eq!(names(&pending.take(later + SETTLE)), ["b.yaml"]);
        assert_eq!(pending.next_settled(), None);
    }

    #[tokio::test]
    async fn what_says_nothing_of_files_asks_for_everything_once() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.happened(Happened::Anything, now, SETTLE);
        pending.happened(Happened::Anything, now, SETTLE);
        assert_eq!(pending.take(now), Due { files: BTreeSet::new(), look_over: true });
        assert!(!pending.is_ready());
    }
}
