//! The watched folder, as operators see it.

use rutter_api::pb::rutter::admin::v1 as pb;
use tokio::time::Instant;

use crate::sources::folder::{CONFIRMATION, Confirmed, FolderStatus};

/// Returns the state of the folder.
pub(super) fn status(status: &FolderStatus) -> pb::FolderStatusResponse {
    let FolderStatus { root, files, broken, unreadable, held, confirmed_until } = status;
    let unreadable = unreadable.iter().map(|(folder, fault)| {
        let path = if folder.is_empty() { root.clone() } else { root.join(folder) };
        pb::folder_status_response::Fault { path: path.display().to_string(), fault: fault.clone() }
    });
    let broken = broken.iter().map(|(file, fault)| {
        let path = root.join(&**file).display().to_string();
        pb::folder_status_response::Fault { path, fault: fault.clone() }
    });
    let held = held.iter().map(|(kind, loss)| pb::folder_status_response::Held {
        kind: kind.name().into(),
        missing: loss.missing as u64,
        all: loss.all as u64,
    });
    let left = confirmed_until.map(|until| until.saturating_duration_since(Instant::now()).as_secs());
    pb::FolderStatusResponse {
        path: root.display().to_string(),
        files: *files as u64,
        faults: unreadable.chain(broken).collect(),
        held: held.collect(),
        confirmed_for_s: left.unwrap_or_default(),
    }
}

/// Returns what a confirmation did.
pub(super) fn confirmed(confirmed: Confirmed) -> pb::FolderConfirmResponse {
    let Confirmed { deleted } = confirmed;
    let counts_for_s = if deleted > 0 { 0 } else { CONFIRMATION.as_secs() };
    pb::FolderConfirmResponse { deleted: deleted as u64, counts_for_s }
}
