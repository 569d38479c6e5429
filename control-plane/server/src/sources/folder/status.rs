//! What others are told of the folder, and what they may tell it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rutter_api::Kind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::missing::Loss;

/// How the folder is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FolderStatus {
    pub(crate) root: PathBuf,
    /// The number of files that have objects or faults.
    pub(crate) files: usize,
    /// The files that have a fault, and which.
    pub(crate) broken: BTreeMap<Arc<str>, String>,
    /// The folders that cannot be read, and why. The root has an empty name.
    pub(crate) unreadable: BTreeMap<String, String>,
    /// The objects that are no longer in any file and stay until that is confirmed.
    pub(crate) held: BTreeMap<Kind, Loss>,
    /// Until when a confirmation in advance counts. `None` means that there is none.
    pub(crate) confirmed_until: Option<Instant>,
}

/// What a confirmation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// The number of objects that were deleted. If there were none, the confirmation counts for the next deletion.
    pub(crate) deleted: usize,
}

/// The folder as others see it.
#[derive(Debug, Clone)]
pub(crate) struct FolderHandle {
    status: watch::Receiver<FolderStatus>,
    confirmations: mpsc::Sender<oneshot::Sender<Confirmed>>,
}

/// The folder's ends of its channels, and the handle of everybody else.
pub(super) type Channels = (watch::Sender<FolderStatus>, mpsc::Receiver<oneshot::Sender<Confirmed>>, FolderHandle);

pub(super) fn channels(root: &Path) -> Channels {
    let (status_sender, status) = watch::channel(FolderStatus { root: root.to_owned(), ..FolderStatus::default() });
    let (confirmations, confirmed) = mpsc::channel(1);
    (status_sender, confirmed, FolderHandle { status, confirmations })
}

impl FolderHandle {
    pub(crate) fn status(&self) -> FolderStatus {
        self.status.borrow().clone()
    }

    /// Lets the objects go that are held, or else those that will be missing next. `None` means that the folder is no
    /// longer watched.
    pub(crate) async fn confirm(&self) -> Option<Confirmed> {
        let (answer, confirmed) = oneshot::channel();
        self.confirmations.send(answer).await.ok()?;
        confirmed.await.ok()
    }
}

impl FolderStatus {
    /// Returns the state in one line.
    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(problem) = self.unreadable.get("") {
            parts.push(format!("{}: {problem}; its config stays as it was", self.root.display()));
        }
        let folders = self.unreadable.keys().filter(|folder| !folder.is_empty()).count();
        if folders > 0 {
            parts.push(format!("{folders} unreadable folders"));
        }
        if !self.broken.is_empty() {
            parts.push(format!("{} faulty files", self.broken.len()));
        }
        if !self.held.is_empty() {
            parts.push(format!("held until `rutterctl folder confirm`: {}", describe(&self.held)));
        }
        if parts.is_empty() { "ok".to_owned() } else { parts.join("; ") }
    }
}

/// Returns in words how many objects of each kind are missing.
pub(super) fn describe(losses: &BTreeMap<Kind, Loss>) -> String {
    let parts: Vec<String> =
        losses.iter().map(|(kind, loss)| format!("{} of {} {}", loss.missing, loss.all, kind.name())).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_wrong() {
        let mut status = FolderStatus { root: "/config".into(), ..FolderStatus::default() };
        assert_eq!(status.summary(), "ok");
        status.broken.insert("a.yaml".into(), "line 1: …".into());
        status.unreadable.insert("private".into(), "Permission denied (os error 13)".into());
        status.held.insert(Kind::Service, Loss { missing: 20, all: 50 });
        status.held.insert(Kind::Sidecar, Loss { missing: 11, all: 11 });
        let want = "1 unreadable folders; 1 faulty files; held until `rutterctl folder confirm`: 20 of 50 Service, 11 of 11 Sidecar";
        assert_eq!(status.summary(), want);
        status.unreadable = [(String::new(), "No such file or directory (os error 2)".into())].into();
        assert!(
            status
                .summary()
                .starts_with("/config: No such file or directory (os error 2); its config stays as it was; ")
        );
    }
}
