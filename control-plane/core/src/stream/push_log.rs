//! The latest responses of a stream, for people who look at them afterwards.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

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
    /// How long after that it was sent, in microseconds.
    pub(super) sent_after_us: u32,
    /// The instant at which the client answered. `None` means that it has not.
    pub answered: Option<Instant>,
    /// What the client says is wrong with the response. `None` means that it has not refused it.
    pub error: Option<String>,
}

impl Push {
    /// Returns the record of a response. `cause` is the view whose change caused it, or `None` if a request did.
    pub(super) fn new(now: Instant, resource_type: ResourceType, response: &Response, cause: Option<&View>) -> Self {
        let names = response.resources.iter().map(|resource| &resource.name).chain(&response.removed);
        let since = cause.and_then(|view| view.since).unwrap_or(now);
        Self {
            nonce: response.nonce,
            resource_type,
            revision: cause.map_or(0, |view| view.revision),
            names: names.take(NAMES_MAX).cloned().collect(),
            resources: response.resources.len(),
            removed: response.removed.len(),
            bytes: response.wire_len(),
            since,
            sent_after_us: u32::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u32::MAX),
            answered: None,
            error: None,
        }
    }

    /// Returns how long after the change the response was sent, at most 71 minutes.
    pub fn sent_after(&self) -> Duration {
        Duration::from_micros(self.sent_after_us.into())
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
#[expect(clippy::disallowed_methods, reason = "a start to count from; no time passes in the tests")]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::resource::{EncodedResource, ResourceList};

    fn response(nonce: u64, names: &[&str], removed: &[&str]) -> Response {
        let resource = |name: &&str| EncodedResource::new(ResourceType::Cluster, (*name).into(), b"x");
        let resources: ResourceList = names.iter().map(resource).collect::<Vec<_>>().into();
        let removed = removed.iter().map(|name| (*name).into()).collect();
        Response::delta(Cow::Borrowed(ResourceType::Cluster.type_url()), nonce, resources, removed)
    }

    fn push(nonce: u64) -> Push {
        Push::new(Instant::now(), ResourceType::Cluster, &response(nonce, &["a"], &[]), None)
    }

    fn nonces(log: &PushLog) -> Vec<u64> {
        log.iter().map(|push| push.nonce).collect()
    }

    #[test]
    fn a_response_to_a_request_has_no_revision_and_begins_when_it_is_sent() {
        let now = Instant::now();
        let response = response(7, &["a", "b"], &["c"]);
        let push = Push::new(now, ResourceType::Cluster, &response, None);
        assert_eq!((push.nonce, push.revision, push.since, push.answered), (7, 0, now, None));
        assert_eq!((push.resources, push.removed, push.bytes), (2, 1, response.wire_len()));
        assert_eq!(push.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_response_to_a_change_has_its_revision_and_begins_with_it() {
        let (changed, sent) = (Instant::now(), Instant::now() + Duration::from_millis(5));
        let view = View { revision: 12, since: Some(changed), ..View::default() };
        let push = Push::new(sent, ResourceType::Cluster, &response(1, &["a"], &[]), Some(&view));
        assert_eq!((push.revision, push.since), (12, changed));
        let view = View { revision: 12, since: None, ..View::default() };
        let push = Push::new(sent, ResourceType::Cluster, &response(1, &["a"], &[]), Some(&view));
        assert_eq!((push.revision, push.since), (12, sent), "the view was like this before the client came");
    }

    #[test]
    fn only_the_first_names_of_a_large_response_are_kept_and_all_are_counted() {
        let names: Vec<String> = (0..20).map(|number| format!("r{number:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let push = Push::new(Instant::now(), ResourceType::Cluster, &response(1, &names, &["gone"]), None);
        assert_eq!((push.names.len(), push.resources, push.removed), (NAMES_MAX, 20, 1));
        assert_eq!((&*push.names[0], &*push.names[7]), ("r00", "r07"));
    }

    #[test]
    fn the_oldest_response_makes_room_for_the_latest() {
        let mut log = PushLog::default();
        (1..=20).for_each(|nonce| log.record(push(nonce)));
        assert_eq!(nonces(&log), (5..=20).collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_is_noted_at_the_response_that_it_answers() {
        let mut log = PushLog::default();
        (1..=3).for_each(|nonce| log.record(push(nonce)));
        let now = Instant::now();
        log.answered(now, 1, None);
        log.answered(now, 2, Some("bad field"));
        log.answered(now, 99, Some("an answer to a response that is no longer remembered"));
        let answers: Vec<(bool, Option<&str>)> =
            log.iter().map(|push| (push.answered == Some(now), push.error.as_deref())).collect();
        assert_eq!(answers, [(true, None), (true, Some("bad field")), (false, None)]);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("short"), "short");
        let long = format!("{}ä", "a".repeat(ERROR_BYTES_MAX - 1));
        assert_eq!(truncated(&long).len(), ERROR_BYTES_MAX - 1);
    }
}
