//! What streams of both variants have.

use std::time::Instant;

use rutter_api::ResourceType;

use super::limits::Limits;
use super::push_log::{Push, PushLog};
use super::unserved_types::UnservedTypes;
use super::wire::Response;
use crate::snapshot::View;

/// What does not depend on the variant of a stream.
#[derive(Debug)]
pub(super) struct StreamFrame {
    /// The latest view of the client.
    pub(super) view: View,
    pub(super) limits: Limits,
    pub(super) unserved: UnservedTypes,
    pub(super) pushes: PushLog,
    last_nonce: u64,
}

impl StreamFrame {
    pub(super) fn new(view: View, limits: Limits) -> Self {
        Self { view, limits, unserved: UnservedTypes::default(), pushes: PushLog::default(), last_nonce: 0 }
    }

    /// Returns a nonce that no response of the stream has.
    pub(super) fn next_nonce(&mut self) -> u64 {
        self.last_nonce += 1;
        self.last_nonce
    }

    /// Records a response in the log of the stream.
    pub(super) fn record(&mut self, now: Instant, resource_type: ResourceType, response: &Response, cause: Cause) {
        let push = Push::new(now, resource_type, response, self.view_behind(cause));
        self.pushes.record(push);
    }

    /// Returns the view whose change is the cause of a response.
    pub(super) fn view_behind(&self, cause: Cause) -> Option<&View> {
        match cause {
            Cause::Request => None,
            Cause::View => Some(&self.view),
        }
    }
}

/// What caused a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The client asked.
    Request,
    /// The view changed.
    View,
}
