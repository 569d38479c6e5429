//! What becomes of the requests that a route takes.

use pb::route_action::HostRewriteSpecifier;
use prost_types::Duration;
use rutter_api::config::istio::{ConsistentHash, HttpRoute, Percent, RedirectPort};
use rutter_api::config::istio::{HeaderOperations, Headers, HttpDirectResponse, HttpRedirect, HttpRetry, HttpRewrite};
use rutter_api::duration::to_pb;
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::route::v3 as pb;
use rutter_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use rutter_api::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use rutter_api::pb::envoy::r#type::matcher::v3 as matcher;
use rutter_api::pb::envoy::r#type::v3 as percent;

use super::matches::regex;
use crate::encode::wire::any;
use crate::model::{RouteCluster, RouteMirror};

/// The conditions under which a request is tried again, because it surely did nothing yet: Istio's default.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// The condition under which the statuses that a policy lists are tried again.
const RETRIABLE_STATUS_CODES: &str = "retriable-status-codes";
/// The number of times that a request is tried again: Istio's default.
const RETRIES: u32 = 2;
/// The number of times that another endpoint is looked for when one was tried already.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// Returns the action that forwards to one cluster, with Istio's defaults: no time limit, and retries of requests that
/// surely did nothing, each at another endpoint. A VirtualService replaces the time limit, and the cluster by several
/// with weights.
pub(super) fn forward_to(cluster: String) -> pb::RouteAction {
    pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster(cluster)),
        timeout: Some(Duration::default()),
        retry_policy: Some(default_retries()),
        max_stream_duration: Some(grpc_timeout_max(None)),
        ..Default::default()
    }
}

/// Returns the action that forwards to clusters by their weights, as a route says.
pub(super) fn forward(http: &HttpRoute, clusters: &[RouteCluster<'_>], mirrors: &[RouteMirror]) -> pb::RouteAction {
    let mut action = forward_to(String::new());
    action.cluster_specifier = Some(match clusters {
        [only] => pb::route_action::ClusterSpecifier::Cluster(only.name.to_string()),
        several => pb::route_action::ClusterSpecifier::WeightedClusters(weighted(several)),
    });
    if let Some(timeout) = http.timeout {
        limit_time(&mut action, timeout);
    }
    if let Some(retries) = &http.retries {
        action.retry_policy = retry_policy(retries);
    }
    if let Some(rewrite) = &http.rewrite {
        rewrite_request(&mut action, rewrite);
    }
    let keeps_previous = http.retries.as_ref().and_then(|retries| retries.retry_ignore_previous_hosts);
    for hash in clusters.iter().filter_map(|cluster| cluster.hash.as_ref()) {
        let retries = action.retry_policy.clone();
        hash_requests(&mut action, Some(hash));
        if keeps_previous == Some(true) {
            action.retry_policy = retries;
        }
    }
    action.request_mirror_policies = mirrors.iter().map(mirror_policy).collect();
    action
}

/// Adds what is hashed of a request to choose an endpoint. A request that is tried again goes to the same endpoint then,
/// as far as it is there.
pub(super) fn hash_requests(action: &mut pb::RouteAction, hash: Option<&ConsistentHash>) {
    use pb::route_action::hash_policy::{
        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
    };
    let Some(hash) = hash else { return };
    let specifier = if let Some(name) = &hash.http_header_name {
        PolicySpecifier::Header(Header { header_name: name.clone(), regex_rewrite: None })
    } else if let Some(cookie) = &hash.http_cookie {
        PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(to_pb),
            path: cookie.path.clone().unwrap_or_default(),
            attributes: cookie
                .attributes
                .iter()
                .map(|attribute| CookieAttribute { name: attribute.name.clone(), value: attribute.value.clone() })
                .collect(),
        })
    } else if let Some(name) = &hash.http_query_parameter_name {
        PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
    } else {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
    };
    action.hash_policy.push(pb::route_action::HashPolicy { policy_specifier: Some(specifier), ..Default::default() });
    if let Some(retries) = &mut action.retry_policy {
        retries.retry_host_predicate.clear();
    }
}

/// Bounds the time of the whole exchange, and with it what a gRPC client may ask for by its `grpc-timeout` header. Envoy
/// takes no notice of `timeout` beside `max_stream_duration`, so the bound of gRPC stands in the deprecated field then.
#[expect(deprecated, reason = "with its successor Envoy takes no notice of the time limit")]
fn limit_time(action: &mut pb::RouteAction, timeout: std::time::Duration) {
    action.timeout = Some(to_pb(timeout));
    if !timeout.is_zero() {
        action.max_stream_duration = None;
        action.max_grpc_timeout = Some(to_pb(timeout));
    }
}

/// Writes the time limit of a route into the field that the gRPC library reads.
#[expect(deprecated, reason = "the field is taken out again")]
pub(super) fn limit_time_for_grpc(action: &mut pb::RouteAction) {
    if let Some(timeout) = action.max_grpc_timeout.take() {
        action.max_stream_duration = Some(grpc_timeout_max(Some(timeout)));
    }
}

/// Returns the bound on what a gRPC client may ask for by its `grpc-timeout` header. `None` means that there is none.
fn grpc_timeout_max(timeout: Option<Duration>) -> pb::route_action::MaxStreamDuration {
    let timeout = timeout.unwrap_or_default();
    pb::route_action::MaxStreamDuration { grpc_timeout_header_max: Some(timeout), ..Default::default() }
}

fn weighted(clusters: &[RouteCluster<'_>]) -> pb::WeightedCluster {
    let clusters = clusters.iter().map(|cluster| {
        let HeaderChanges { request_add, request_remove, response_add, response_remove, host } =
            header_changes(cluster.headers);
        pb::weighted_cluster::ClusterWeight {
            name: cluster.name.to_string(),
            weight: Some(cluster.weight),
            request_headers_to_add: request_add,
            request_headers_to_remove: request_remove,
            response_headers_to_add: response_add,
            response_headers_to_remove: response_remove,
            host_rewrite_specifier: host
                .map(pb::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..Default::default()
        }
    });
    pb::WeightedCluster { clusters: clusters.collect(), ..Default::default() }
}

fn rewrite_request(action: &mut pb::RouteAction, rewrite: &HttpRewrite) {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = rewrite;
    if let Some(regex_rewrite) = uri_regex_rewrite {
        action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
            pattern: Some(regex(&regex_rewrite.pattern)),
            substitution: regex_rewrite.rewrite.clone(),
        });
    } else if let Some(uri) = uri {
        action.prefix_rewrite = uri.clone();
    }
    if let Some(authority) = authority {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority.clone()));
    }
}

fn mirror_policy(mirror: &RouteMirror) -> pb::route_action::RequestMirrorPolicy {
    pb::route_action::RequestMirrorPolicy {
        cluster: mirror.name.to_string(),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: Some(fractional_percent(Some(mirror.share))),
            ..Default::default()
        }),
        trace_sampled: Some(false),
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
}

/// Returns a share in millionths. Absent means everything.
pub(super) fn fractional_percent(share: Option<Percent>) -> percent::FractionalPercent {
    use percent::fractional_percent::DenominatorType;
    let Some(Percent { value }) = share else {
        return percent::FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred as i32 };
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1,000,000")]
    let numerator = (value * 10_000.0).round() as u32;
    percent::FractionalPercent { numerator, denominator: DenominatorType::Million as i32 }
}

/// Changes of headers in Envoy's form.
#[derive(Default)]
pub(super) struct HeaderChanges {
    pub(super) request_add: Vec<core::HeaderValueOption>,
    pub(super) request_remove: Vec<String>,
    pub(super) response_add: Vec<core::HeaderValueOption>,
    pub(super) response_remove: Vec<String>,
    /// The host that requests ask for afterwards. Envoy changes it by the action and not by its header.
    pub(super) host: Option<String>,
}

/// Returns changes of headers in Envoy's form. What is set comes before what is added.
pub(super) fn header_changes(headers: Option<&Headers>) -> HeaderChanges {
    use core::header_value_option::HeaderAppendAction::{AppendIfExistsOrAdd, OverwriteIfExistsOrAdd};
    let Some(Headers { request, response }) = headers else { return HeaderChanges::default() };
    let is_host = |name: &str| name == ":authority" || name.eq_ignore_ascii_case("host");
    let changed = |operations: &HeaderOperations| {
        let set = operations.set.iter().filter(|(name, _)| !is_host(name));
        let set = set.map(|(name, value)| header_option(name, value, OverwriteIfExistsOrAdd));
        let add = operations.add.iter().map(|(name, value)| header_option(name, value, AppendIfExistsOrAdd));
        set.chain(add).collect()
    };
    HeaderChanges {
        request_add: changed(request),
        request_remove: request.remove.clone(),
        response_add: changed(response),
        response_remove: response.remove.clone(),
        host: request.set.iter().find(|(name, _)| is_host(name)).map(|(_, value)| value.clone()),
    }
}

fn header_option(
    name: &str,
    value: &str,
    action: core::header_value_option::HeaderAppendAction,
) -> core::HeaderValueOption {
    let header = core::HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), append_action: action as i32, ..Default::default() }
}

/// Returns the action that sends the client elsewhere. `request_port` is the port that the request came to.
pub(super) fn redirect(redirect: &HttpRedirect, request_port: u16) -> pb::route::Action {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let HttpRedirect { uri, authority, port, derive_port, scheme, redirect_code } = redirect;
    let port = match (port, derive_port) {
        (Some(port), _) => port.get(),
        (None, Some(RedirectPort::FromRequestPort)) => request_port,
        // Without a port Envoy names none if the scheme changes, and leaves it as it is otherwise.
        (None, Some(RedirectPort::FromProtocolDefault) | None) => 0,
    };
    let code = match redirect_code {
        Some(302) => RedirectResponseCode::Found,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        Some(_) | None => RedirectResponseCode::MovedPermanently,
    };
    pb::route::Action::Redirect(pb::RedirectAction {
        host_redirect: authority.clone().unwrap_or_default(),
        port_redirect: u32::from(port),
        response_code: code as i32,
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: uri.clone().map(PathRewriteSpecifier::PathRedirect),
        ..Default::default()
    })
}

/// Returns the action that answers as a VirtualService says.
pub(super) fn answer(response: &HttpDirectResponse) -> pb::route::Action {
    use core::data_source::Specifier;
    let text = response.body.as_ref().and_then(|body| body.string.clone());
    let specifier = match text {
        Some(text) => Some(Specifier::InlineString(text)),
        None if response.body.is_some() => Some(Specifier::InlineBytes(response.body_bytes())),
        None => None,
    };
    let body = specifier.map(|specifier| core::DataSource { specifier: Some(specifier), ..Default::default() });
    pb::route::Action::DirectResponse(pb::DirectResponseAction { status: response.status, body, ..Default::default() })
}

/// Returns the action that answers with a status and one line of text, which says that Rutter decided so. Whoever reads
/// the answer knows at once that no application gave it.
pub(super) fn direct_response(status: u32, reason: &str) -> pb::route::Action {
    let specifier = core::data_source::Specifier::InlineString(format!("rutter: {reason}\n"));
    let body = core::DataSource { specifier: Some(specifier), ..Default::default() };
    pb::route::Action::DirectResponse(pb::DirectResponseAction { status, body: Some(body), ..Default::default() })
}

fn default_retries() -> pb::RetryPolicy {
    pb::RetryPolicy {
        retry_on: RETRY_ON.into(),
        num_retries: Some(RETRIES),
        retry_host_predicate: vec![not_previous_hosts()],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..Default::default()
    }
}

/// Returns the predicate by which endpoints that were tried already are passed over.
fn not_previous_hosts() -> pb::retry_policy::RetryHostPredicate {
    const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    pb::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(any(
            PREVIOUS_HOSTS,
            &PreviousHostsPredicate {},
        ))),
    }
}

/// Returns the retries that a route asks for. `None` means that it turns them off.
pub(super) fn retry_policy(retries: &HttpRetry) -> Option<pb::RetryPolicy> {
    let HttpRetry {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = retries;
    if *attempts == 0 {
        return None;
    }
    let mut policy = pb::RetryPolicy {
        num_retries: Some(*attempts),
        per_try_timeout: per_try_timeout.map(to_pb),
        retry_back_off: backoff
            .map(|base| pb::retry_policy::RetryBackOff { base_interval: Some(to_pb(base)), max_interval: None }),
        ..default_retries()
    };
    if let Some(words) = retry_on {
        let (codes, mut words): (Vec<&str>, Vec<&str>) =
            words.split(',').map(str::trim).partition(|word| word.parse::<u32>().is_ok());
        if !codes.is_empty() && !words.contains(&RETRIABLE_STATUS_CODES) {
            words.push(RETRIABLE_STATUS_CODES);
        }
        policy.retry_on = words.join(",");
        policy.retriable_status_codes = codes.into_iter().filter_map(|code| code.parse().ok()).collect();
    }
    if *retry_ignore_previous_hosts == Some(false) {
        policy.retry_host_predicate.clear();
    }
    if *retry_remote_localities == Some(true) {
        policy.retry_priority = Some(other_priorities());
    }
    Some(policy)
}

/// Returns the setting by which each second retry goes to endpoints of another priority, and so of another locality.
fn other_priorities() -> pb::retry_policy::RetryPriority {
    const PREVIOUS_PRIORITIES: &str = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
    let config = PreviousPrioritiesConfig { update_frequency: 2 };
    pb::retry_policy::RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".into(),
        config_type: Some(pb::retry_policy::retry_priority::ConfigType::TypedConfig(any(PREVIOUS_PRIORITIES, &config))),
    }
}
