//! What every stream needs.

use std::sync::Arc;

use rutter_core::Variant;

use super::body::{Budget, Requests, Sender};
use super::connection::Switch;
use crate::engine::EngineHandle;
use crate::identity::Identify;
use crate::metrics::Metrics;
use crate::settings::LimitSettings;
use crate::streams::OpenStreams;

/// What streams are told when the process ends.
pub(super) const ENDING: &str = "the control plane is ending";

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: EngineHandle,
    pub(crate) streams: OpenStreams,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) limits: LimitSettings,
    pub(crate) identify: Identify,
}

/// A stream that was accepted and is not served yet.
pub(super) struct Accepted {
    pub(super) variant: Variant,
    pub(super) requests: Requests,
    pub(super) out: Sender,
    pub(super) switch: Switch,
}
