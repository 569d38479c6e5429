//! A commit as a line of the journal.

use rutter_api::CreationTimestamp;
use serde::Deserialize;

use super::lines::line_of_json;
use crate::Commit;
use crate::record::{EventRecord, EventText};
use crate::state::{Decision, Sum};

/// A commit as a line of the journal.
#[derive(Deserialize)]
pub(super) struct CommitLine {
    revision: u64,
    /// The latest instant that was given to new objects, in microseconds since 1970.
    instant: i64,
    /// The sum of all objects after the commit.
    pub(super) sum: Sum,
    events: Vec<EventRecord>,
}

/// Returns the line of a commit after which all objects have this sum. `texts` are those of its events.
pub(crate) fn commit_line(decision: &Decision, sum: Sum, texts: &[EventText]) -> Vec<u8> {
    let texts: Vec<&str> = texts.iter().map(|text| text.event.as_str()).collect();
    let (revision, instant) = (decision.commit.revision, decision.instant.microseconds());
    let events = texts.join(",");
    line_of_json(&format!(r#"{{"revision":{revision},"instant":{instant},"sum":"{sum}","events":[{events}]}}"#))
}

impl CommitLine {
    /// Returns the commit, or `None` if the kind of one of its objects is not known.
    pub(super) fn decision(self) -> Option<Decision> {
        let events = self.events.into_iter().map(EventRecord::event).collect::<Option<_>>()?;
        let commit = Commit { revision: self.revision, events, written: None };
        Some(Decision { commit, instant: CreationTimestamp::from_microseconds(self.instant) })
    }
}
