//! What the HTTP filters before the router do with a request.

use prost::Message;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use rutter_api::pb::envoy::extensions::filters::http::fault::v3::{HttpFault, fault_abort};
use rutter_api::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use super::{HttpRequest, Outcome, Step, StepKind, text};
use crate::encode::listener::{CORS_FILTER, FAULT_FILTER};

/// What the filters do.
#[derive(Default)]
pub(super) struct Filtered {
    /// What they do, in words.
    pub(super) steps: Vec<Step>,
    /// Answers in place of the application's, in the order of the filters, each with its share of the requests that are left.
    pub(super) answers: Vec<(f64, Outcome)>,
}

/// Returns what the filters of a connection manager do for a route, in the order in which they stand there.
pub(super) fn filtered(names: &[String], route: &pb::Route, request: &HttpRequest, at: &Step) -> Filtered {
    let mut filtered = Filtered::default();
    for name in names {
        let Some(config) = route.typed_per_filter_config.get(name) else { continue };
        match name.as_str() {
            FAULT_FILTER => {
                if let Ok(fault) = HttpFault::decode(config.value.as_slice()) {
                    faults(&fault, request, at, &mut filtered);
                }
            }
            CORS_FILTER => {
                if let Ok(policy) = CorsPolicy::decode(config.value.as_slice()) {
                    origins(&policy, request, at, &mut filtered);
                }
            }
            _ => {}
        }
    }
    filtered
}

fn step(name: &str, text: String, at: &Step) -> Step {
    Step { kind: StepKind::Filter, name: name.to_owned(), text, origin: at.origin.clone() }
}

fn faults(fault: &HttpFault, request: &HttpRequest, at: &Step, filtered: &mut Filtered) {
    use rutter_api::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
    if let Some(delay) = &fault.delay {
        let share = share(delay.percentage.as_ref());
        if let Some(FaultDelaySecifier::FixedDelay(fixed)) = &delay.fault_delay_secifier
            && share > 0.0
        {
            let text = format!("delays {} of requests by {}", percent(share), seconds(fixed));
            filtered.steps.push(step("fault", text, at));
        }
    }
    let Some(abort) = &fault.abort else { return };
    let share = share(abort.percentage.as_ref());
    if share <= 0.0 {
        return;
    }
    let outcome = match &abort.error_type {
        Some(fault_abort::ErrorType::HttpStatus(status)) => answer(*status, request, "FI", "a fault is injected"),
        Some(fault_abort::ErrorType::GrpcStatus(status)) => Outcome::Answered {
            status: 200,
            grpc_status: request.is_grpc().then_some(*status),
            flag: "FI",
            reason: "a fault is injected".to_owned(),
        },
        Some(fault_abort::ErrorType::HeaderAbort(_)) | None => return,
    };
    filtered.steps.push(step("fault", format!("answers {} of requests itself", percent(share)), at));
    filtered.answers.push((share, outcome));
}

fn origins(policy: &CorsPolicy, request: &HttpRequest, at: &Step, filtered: &mut Filtered) {
    let Some(origin) = request.header("origin") else { return };
    let mut origins = policy.allow_origin_string_match.iter();
    let is_allowed = origins.any(|wanted| text::takes(wanted, "*") || text::takes(wanted, &origin));
    let is_preflight =
        request.method == "OPTIONS" && request.header("access-control-request-method").is_some_and(|m| !m.is_empty());
    let text = match (is_allowed, is_preflight) {
        (true, false) => format!("pages of {origin} may read the answer"),
        (false, false) => format!("pages of {origin} may not read the answer"),
        (true, true) => format!("answers the preflight request of {origin}"),
        (false, true) => format!("takes no preflight request of {origin}"),
    };
    filtered.steps.push(step("cors", text, at));
    let is_forwarded = policy.forward_not_matching_preflights.unwrap_or(true);
    if is_preflight && (is_allowed || !is_forwarded) {
        let reason = "the rules for other origins answer".to_owned();
        filtered.answers.push((1.0, Outcome::Answered { status: 200, grpc_status: None, flag: "", reason }));
    }
}

/// Returns an answer of the proxy itself. Calls of gRPC are answered in gRPC's way.
pub(super) fn answer(status: u32, request: &HttpRequest, flag: &'static str, reason: impl Into<String>) -> Outcome {
    let grpc_status = request.is_grpc().then(|| grpc_status(status));
    Outcome::Answered { status, grpc_status, flag, reason: reason.into() }
}

/// Returns the status of gRPC that Envoy gives for a status of HTTP.
fn grpc_status(status: u32) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Returns a share of requests, from 0 to 1. Absent means none, as for faults.
pub(super) fn share(percent: Option<&FractionalPercent>) -> f64 {
    let Some(percent) = percent else { return 0.0 };
    let all = match percent.denominator() {
        DenominatorType::Hundred => 100.0,
        DenominatorType::TenThousand => 10_000.0,
        DenominatorType::Million => 1_000_000.0,
    };
    (f64::from(percent.numerator) / all).min(1.0)
}

/// Returns a share as people write it.
pub(super) fn percent(share: f64) -> String {
    let percent = (share * 1_000_000.0).round() / 10_000.0;
    format!("{percent} %")
}

/// Returns a duration as people write it.
pub(super) fn seconds(duration: &prost_types::Duration) -> String {
    let nanos = f64::from(duration.nanos) / 1e9;
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let seconds = duration.seconds as f64 + nanos;
    if seconds < 1.0 { format!("{} ms", (seconds * 1e6).round() / 1e3) } else { format!("{seconds} s") }
}
