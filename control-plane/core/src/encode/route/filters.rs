//! What the HTTP filters of listeners do for one route: faults, and the rules for other origins.

use std::collections::BTreeMap;

use rutter_api::config::istio::{CorsPolicy, HttpFault, HttpRoute, Percent, UnmatchedPreflights, grpc_status};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::extensions::filters::common::fault::v3 as common_fault;
use rutter_api::pb::envoy::extensions::filters::http::cors::v3 as cors;
use rutter_api::pb::envoy::extensions::filters::http::fault::v3 as fault;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;

use super::action::fractional_percent;
use super::matches::string_matcher;
use crate::encode::listener::{CORS_FILTER, FAULT_FILTER};
use crate::encode::wire::any;

/// Returns what filters do for a route, by the names of the filters in the listeners.
pub(super) fn per_filter_config(http: &HttpRoute) -> BTreeMap<String, prost_types::Any> {
    let mut configs = BTreeMap::new();
    if let Some(policy) = &http.cors_policy {
        let policy = any("envoy.extensions.filters.http.cors.v3.CorsPolicy", &cors_policy(policy));
        configs.insert(CORS_FILTER.to_owned(), policy);
    }
    if let Some(faults) = &http.fault {
        let faults = any("envoy.extensions.filters.http.fault.v3.HTTPFault", &encode_fault(faults));
        configs.insert(FAULT_FILTER.to_owned(), faults);
    }
    configs
}

fn cors_policy(policy: &CorsPolicy) -> cors::CorsPolicy {
    let CorsPolicy {
        allow_origins,
        allow_origin,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    } = policy;
    let former_origins = allow_origin.iter().map(|origin| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(origin.clone())),
        ..Default::default()
    });
    let everything = percent_of_requests(100);
    cors::CorsPolicy {
        allow_origin_string_match: allow_origins.iter().filter_map(string_matcher).chain(former_origins).collect(),
        allow_methods: allow_methods.join(","),
        allow_headers: allow_headers.join(","),
        expose_headers: expose_headers.join(","),
        max_age: max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: *allow_credentials,
        filter_enabled: Some(everything),
        forward_not_matching_preflights: Some(match unmatched_preflights {
            UnmatchedPreflights::Unspecified | UnmatchedPreflights::Forward => true,
            UnmatchedPreflights::Ignore => false,
        }),
        ..Default::default()
    }
}

fn percent_of_requests(numerator: u32) -> core::RuntimeFractionalPercent {
    let share = rutter_api::pb::envoy::r#type::v3::FractionalPercent { numerator, ..Default::default() };
    core::RuntimeFractionalPercent { default_value: Some(share), ..Default::default() }
}

fn encode_fault(faults: &HttpFault) -> fault::HttpFault {
    let HttpFault { delay, abort } = faults;
    let delay = delay.as_ref().map(|delay| {
        let former = delay.percent.map(|percent| Percent { value: f64::from(percent) });
        common_fault::FaultDelay {
            percentage: Some(fractional_percent(delay.percentage.or(former))),
            fault_delay_secifier: delay
                .fixed_delay
                .map(|fixed| common_fault::fault_delay::FaultDelaySecifier::FixedDelay(to_pb(fixed))),
        }
    });
    let abort = abort.as_ref().map(|abort| {
        let http = abort.http_status.map(fault::fault_abort::ErrorType::HttpStatus);
        let grpc = abort.grpc_status.as_deref().and_then(grpc_status).map(fault::fault_abort::ErrorType::GrpcStatus);
        fault::FaultAbort {
            error_type: http.or(grpc),
            percentage: Some(fractional_percent(abort.percentage)),
            ..Default::default()
        }
    });
    fault::HttpFault { delay, abort, ..Default::default() }
}
