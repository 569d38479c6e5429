//! The latest responses of a stream, for people who look at them afterwards.

use std::collections::VecDeque;
use std::time::Instant;

use rutter_api::ResourceType;

use super::wire::Response;
use crate::resource::ResourceName;
use crate::snapshot::View;

/// The number of responses that are remembered.
const PUSHES_MAX: usize = 16;
/// The number of names of a response that are remembered. More are only counted.
const NAMES_MAX: usize = 8;
/// The length up to which the text of a refusal is kept, in bytes.
const ERROR_BYTES_MAX: usize = 2048;

/// One response, and what became of it.
#[derive(Debug, Clone)]
pub struct Push {
    /// The nonce of the response.
    pub nonce: u64,
    /// The type of the resources.
    pub resource_type: ResourceType,
    /// The revision of the store that caused the response. It is 0 if a request did.
    pub revision: u64,
    /// The first names of resources that were sent or removed.
    pub names: Box<[ResourceName]>,
    /// The number of resources that were sent.
    pub resources: usize,
    /// The number of resources that were removed.
    pub removed: usize,
    /// The length of the response on the wire, in bytes.
    pub bytes: usize,
    /// The instant of the change that caused the response, or, if a request did, that at which it was sent.
    pub since: Instant,
    /// The instant at which the client answered. `None` means that it has not.
    pub answered: Option<Instant>,
    /// What the client says is wrong with the response. `None` means that it has not refused it.
    pub error: Option<String>,
}

impl Push {
    /// Returns the record of a response. `cause` is the view whose change caused it, or `None` if a request did.
    pub(super) fn new(now: Instant, resource_type: ResourceType, response: &Response, cause: Option<&View>) -> Self {
        let names = response.resources.iter().map(|resource| &resource.name).chain(&response.removed);
        Self {
            nonce: response.nonce,
            resource_type,
            revision: cause.map_or(0, |view| view.revision),
            names: names.take(NAMES_MAX).cloned().collect(),
            resources: response.resources.len(),
            removed: response.removed.len(),
            bytes: response.wire_len(),
            since: cause.and_then(|view| view.since).unwrap_or(now),
            answered: None,
            error: None,
        }
    }
}

/// The latest responses, the oldest first.
#[derive(Debug, Default)]
pub(super) struct PushLog(VecDeque<Push>);

impl PushLog {
    pub(super) fn record(&mut self, push: Push) {
        if self.0.len() == PUSHES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(push);
    }

    pub(super) fn answered(&mut self, now: Instant, nonce: u64, error: Option<&str>) {
        if let Some(push) = self.0.iter_mut().find(|push| push.nonce == nonce) {
            push.answered = Some(now);
            push.error = error.map(str::to_owned);
        }
    }

    pub(super) fn iter(&self) -> std::collections::vec_deque::Iter<'_, Push> {
        self.0.iter()
    }
}

/// Returns the part of a refusal's text that is kept.
pub(super) fn truncated(text: &str) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("short"), "short");
        let long = format!("{}ä", "a".repeat(ERROR_BYTES_MAX - 1));
        assert_eq!(truncated(&long).len(), ERROR_BYTES_MAX - 1);
    }
}
