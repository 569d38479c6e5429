//! What is wrong in a VirtualService that has the right types.

use std::collections::BTreeMap;

use super::actions::{CorsPolicy, HeaderOperations, Headers, HttpFault, HttpRedirect, HttpRetry, HttpRewrite};
use super::regexes::Regex;
use super::{
    Destination, HttpDirectResponse, HttpMatch, HttpRoute, Percent, RouteDestination, StringMatch, VirtualService,
};
use crate::config::checks::{Faults, check_export_to, check_not_empty};
use crate::dns_name::{LABEL_MAX, NAME_MAX, check_dns_name};
use crate::invalid::Invalid;
use crate::names::Hostname;
use crate::re2;

/// When Envoy's router can try a request again, HTTP and gRPC.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// The names of the gRPC statuses, by their numbers.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Returns what is wrong in a VirtualService that has the right types.
pub(crate) fn check(spec: &VirtualService) -> Faults {
    let mut faults = Vec::new();
    let is_delegate = spec.hosts.is_empty();
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        faults.push(Invalid::new("spec", "http, tls or tcp", "none"));
    }
    check_connections(spec, &mut faults);
    for (index, gateway) in spec.gateways.iter().enumerate() {
        if is_delegate {
            let want = "no gateways in a VirtualService without hosts, whose routes others refer to";
            faults.push(Invalid::new(format!("spec.gateways[{index}]"), want, format!("{gateway:?}")));
        } else {
            check_gateway(format!("spec.gateways[{index}]"), gateway, &mut faults);
        }
    }
    for (index, http) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        if is_delegate && http.delegate.is_some() {
            let want = "no delegate in a VirtualService that is one itself (it has no hosts)";
            faults.push(Invalid::new(format!("{path}.delegate"), want, "one"));
        }
        check_http_route(&path, http, &mut faults);
    }
    check_regexes(spec, &mut faults);
    check_export_to(&spec.export_to, &mut faults);
    faults
}

fn check_connections(spec: &VirtualService, faults: &mut Faults) {
    if spec.hosts.is_empty() && !(spec.tls.is_empty() && spec.tcp.is_empty()) {
        let want = "http alone in a VirtualService without hosts, whose routes others refer to";
        faults.push(Invalid::new("spec", want, "tls or tcp"));
    }
    for (index, tls) in spec.tls.iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        check_connection_route(&path, &tls.route, faults);
        check_not_empty(&format!("{path}.match"), tls.matches.len(), faults);
        for (index, condition) in tls.matches.iter().enumerate() {
            let path = format!("{path}.match[{index}]");
            check_not_empty(&format!("{path}.sniHosts"), condition.sni_hosts.len(), faults);
            for (index, host) in condition.sni_hosts.iter().enumerate() {
                if !spec.hosts.iter().any(|routed| routed.covers(host)) {
                    let want = "a host that spec.hosts covers";
                    faults.push(Invalid::new(format!("{path}.sniHosts[{index}]"), want, host));
                }
            }
            check_gateways(&path, &condition.gateways, faults);
        }
    }
    for (index, tcp) in spec.tcp.iter().enumerate() {
        let path = format!("spec.tcp[{index}]");
        check_connection_route(&path, &tcp.route, faults);
        for (index, condition) in tcp.matches.iter().enumerate() {
            check_gateways(&format!("{path}.match[{index}]"), &condition.gateways, faults);
        }
    }
}

fn check_connection_route(path: &str, route: &[RouteDestination], faults: &mut Faults) {
    check_not_empty(&format!("{path}.route"), route.len(), faults);
    for (index, route) in route.iter().enumerate() {
        check_destination_host(&format!("{path}.route[{index}].destination.host"), &route.destination.host, faults);
    }
    check_weights(path, route.iter().map(|route| route.weight), faults);
}

fn check_gateways(path: &str, gateways: &[String], faults: &mut Faults) {
    for (index, gateway) in gateways.iter().enumerate() {
        check_gateway(format!("{path}.gateways[{index}]"), gateway, faults);
    }
}

fn check_gateway(path: String, gateway: &str, faults: &mut Faults) {
    let (namespace, name) = gateway.split_once('/').unwrap_or(("default", gateway));
    let is_reference = check_dns_name("", name, NAME_MAX).is_ok() && check_dns_name("", namespace, LABEL_MAX).is_ok();
    if !is_reference {
        faults.push(Invalid::new(path, "mesh, NAME or NAMESPACE/NAME", format!("{gateway:?}")));
    }
}

fn check_http_route(path: &str, http: &HttpRoute, faults: &mut Faults) {
    check_one_action(path, http, faults);
    check_destinations(path, http, faults);
    for (index, http_match) in http.matches.iter().enumerate() {
        check_match(&format!("{path}.match[{index}]"), http_match, faults);
    }
    check_headers(&format!("{path}.headers"), http.headers.as_deref(), faults);
    for (index, destination) in http.route.iter().enumerate() {
        check_headers(&format!("{path}.route[{index}].headers"), destination.headers.as_deref(), faults);
    }
    if let Some(rewrite) = &http.rewrite {
        check_rewrite(&format!("{path}.rewrite"), rewrite, faults);
    }
    if let Some(redirect) = &http.redirect {
        check_redirect(&format!("{path}.redirect"), redirect, faults);
    }
    if let Some(response) = &http.direct_response {
        check_direct_response(&format!("{path}.directResponse"), response, faults);
    }
    if let Some(retries) = &http.retries {
        check_retries(&format!("{path}.retries"), retries, faults);
    }
    if let Some(fault) = &http.fault {
        check_fault(&format!("{path}.fault"), fault, faults);
    }
    if let Some(cors) = &http.cors_policy {
        check_cors(&format!("{path}.corsPolicy"), cors, faults);
    }
}

fn check_one_action(path: &str, http: &HttpRoute, faults: &mut Faults) {
    let given: Vec<&str> = [
        ("route", !http.route.is_empty()),
        ("redirect", http.redirect.is_some()),
        ("directResponse", http.direct_response.is_some()),
        ("delegate", http.delegate.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_given)| is_given.then_some(name))
    .collect();
    match given[..] {
        [] => faults.push(Invalid::new(path, "one of route, redirect, directResponse and delegate", "none")),
        [_] => {}
        [_, _, ..] => {
            let want = "one of route, redirect, directResponse and delegate";
            faults.push(Invalid::new(path, want, given.join(" and ")));
        }
    }
    let answers_itself = http.redirect.is_some() || http.direct_response.is_some();
    for (name, is_given) in [
        ("rewrite", http.rewrite.is_some()),
        ("timeout", http.timeout.is_some()),
        ("retries", http.retries.is_some()),
        ("mirror", http.mirror.is_some()),
        ("mirrors", !http.mirrors.is_empty()),
    ] {
        if answers_itself && is_given {
            faults.push(Invalid::new(format!("{path}.{name}"), "nothing in a route that forwards nothing", "a value"));
        }
    }
    if http.delegate.as_ref().is_some_and(|delegate| delegate.name.is_empty()) {
        faults.push(Invalid::new(format!("{path}.delegate.name"), "the name of a VirtualService", "none"));
    }
}

fn check_destination_host(path: &str, host: &Hostname, faults: &mut Faults) {
    if host.as_str() == "*" {
        faults.push(Invalid::new(path, "the host of a service", host));
    }
}

fn check_destinations(path: &str, http: &HttpRoute, faults: &mut Faults) {
    let check = |path: String, destination: &Destination, faults: &mut Faults| {
        check_destination_host(&format!("{path}.host"), &destination.host, faults);
    };
    for (index, route) in http.route.iter().enumerate() {
        check(format!("{path}.route[{index}].destination"), &route.destination, faults);
    }
    for (index, mirror) in http.mirrors.iter().enumerate() {
        check(format!("{path}.mirrors[{index}].destination"), &mirror.destination, faults);
        check_percent(&format!("{path}.mirrors[{index}].percentage"), mirror.percentage, faults);
    }
    if let Some(mirror) = &http.mirror {
        check(format!("{path}.mirror"), mirror, faults);
    }
    if http.mirror.is_some() && !http.mirrors.is_empty() {
        faults.push(Invalid::new(format!("{path}.mirror"), "one of mirror and mirrors", "both"));
    }
    check_percent(&format!("{path}.mirrorPercentage"), http.mirror_percentage, faults);
    let former = http.mirror_percent.map(|percent| Percent { value: f64::from(percent) });
    check_percent(&format!("{path}.mirrorPercent"), former, faults);
    check_weights(path, http.route.iter().map(|destination| destination.weight), faults);
}

fn check_weights(path: &str, weights: impl ExactSizeIterator<Item = u32>, faults: &mut Faults) {
    let is_single = weights.len() <= 1;
    let sum: u64 = weights.map(u64::from).sum();
    if !is_single && (sum == 0 || sum > u64::from(u32::MAX)) {
        let hint = "a destination without a weight is given no requests if there are several";
        faults.push(Invalid::new(format!("{path}.route"), "weights of a sum from 1 to 4294967295", sum).hint(hint));
    }
}

fn check_percent(path: &str, percent: Option<Percent>, faults: &mut Faults) {
    if let Some(Percent { value }) = percent.filter(|percent| !(0.0..=100.0).contains(&percent.value)) {
        faults.push(Invalid::new(format!("{path}.value"), "0..=100", value));
    }
}

fn check_match(path: &str, http_match: &HttpMatch, faults: &mut Faults) {
    let HttpMatch { uri, scheme, method, authority, headers, without_headers, gateways, .. } = http_match;
    for (name, text) in [("uri", uri), ("scheme", scheme), ("method", method), ("authority", authority)] {
        if *text == Some(StringMatch::Present) {
            faults.push(Invalid::new(format!("{path}.{name}"), "one of exact, prefix and regex", "none"));
        }
    }
    check_header_matches(&format!("{path}.headers"), headers, faults);
    check_header_matches(&format!("{path}.withoutHeaders"), without_headers, faults);
    check_gateways(path, gateways, faults);
}

fn check_header_matches(path: &str, headers: &BTreeMap<String, StringMatch>, faults: &mut Faults) {
    for name in headers.keys() {
        if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace()) {
            let path = format!("{path}.{name}");
            faults.push(Invalid::new(path, "a header name in lower case", format!("{name:?}")));
        }
    }
}

fn check_regexes(spec: &VirtualService, faults: &mut Faults) {
    for Regex { path, pattern } in spec.regexes() {
        if let Err(reason) = re2::check(pattern) {
            let want = "a regular expression of RE2, which Envoy uses";
            faults.push(Invalid::new(path, want, format!("{pattern:?}")).hint(reason));
        }
    }
}

/// Headers that the proxy needs as they are. The host can be set, but not added to or removed.
fn check_headers(path: &str, headers: Option<&Headers>, faults: &mut Faults) {
    let Some(Headers { request, response }) = headers else { return };
    for (side, HeaderOperations { set, add, remove }) in [("request", request), ("response", response)] {
        let sets_host =
            |name: &str| side == "request" && matches!(name.to_ascii_lowercase().as_str(), ":authority" | "host");
        let names = set.keys().filter(|name| !sets_host(name)).map(|name| ("set", name));
        let names = names.chain(add.keys().map(|name| ("add", name))).chain(remove.iter().map(|name| ("remove", name)));
        for (operation, name) in names {
            let path = format!("{path}.{side}.{operation}");
            if name.is_empty() || name.bytes().any(|b| !b.is_ascii_graphic()) {
                faults.push(Invalid::new(path, "the name of a header", format!("{name:?}")));
            } else if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
                let hint = "use rewrite.authority or headers.request.set to change the host";
                faults.push(Invalid::new(path, "a header that may be changed", format!("{name:?}")).hint(hint));
            }
        }
    }
}

fn check_rewrite(path: &str, rewrite: &HttpRewrite, faults: &mut Faults) {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = rewrite;
    match (uri, uri_regex_rewrite) {
        (Some(_), Some(_)) => faults.push(Invalid::new(path, "one of uri and uriRegexRewrite", "both")),
        (None, None) if authority.is_none() => {
            faults.push(Invalid::new(path, "uri, authority or uriRegexRewrite", "none"));
        }
        (Some(_), None) | (None, Some(_) | None) => {}
    }
}

fn check_redirect(path: &str, redirect: &HttpRedirect, faults: &mut Faults) {
    let HttpRedirect { uri, authority, port, derive_port, scheme, redirect_code } = redirect;
    if uri.is_none() && authority.is_none() && port.is_none() && derive_port.is_none() && scheme.is_none() {
        faults.push(Invalid::new(path, "uri, authority, port, derivePort or scheme", "none"));
    }
    if port.is_some() && derive_port.is_some() {
        faults.push(Invalid::new(path, "one of port and derivePort", "both"));
    }
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        faults.push(Invalid::new(format!("{path}.scheme"), "http or https", format!("{scheme:?}")));
    }
    if let Some(code) = redirect_code.filter(|code| !matches!(code, 301 | 302 | 303 | 307 | 308)) {
        faults.push(Invalid::new(format!("{path}.redirectCode"), "301, 302, 303, 307 or 308", code));
    }
}

fn check_direct_response(path: &str, response: &HttpDirectResponse, faults: &mut Faults) {
    check_status(&format!("{path}.status"), response.status, faults);
    let Some(body) = &response.body else { return };
    if body.string.is_some() == body.bytes.is_some() {
        let got = if body.string.is_some() { "both" } else { "none" };
        faults.push(Invalid::new(format!("{path}.body"), "one of string and bytes", got));
    }
    if body.bytes.as_ref().is_some_and(|bytes| body_bytes(bytes).is_none()) {
        faults.push(Invalid::new(format!("{path}.body.bytes"), "bytes in base64", "something else"));
    }
    let length = body.string.as_ref().or(body.bytes.as_ref()).map_or(0, String::len);
    if length > HttpDirectResponse::BODY_BYTES_MAX {
        faults.push(Invalid::new(format!("{path}.body"), "at most 1 MiB", format!("{length} bytes")));
    }
}

fn body_bytes(text: &str) -> Option<Vec<u8>> {
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text).ok()
}

impl HttpDirectResponse {
    /// The largest body, in bytes: as much as route tables admit.
    pub const BODY_BYTES_MAX: usize = 1 << 20;

    /// Returns the bytes of the body.
    pub fn body_bytes(&self) -> Vec<u8> {
        let Some(body) = &self.body else { return Vec::new() };
        let bytes = body.bytes.as_deref().and_then(body_bytes);
        bytes.or_else(|| Some(body.string.clone()?.into_bytes())).unwrap_or_default()
    }
}

fn check_status(path: &str, status: u32, faults: &mut Faults) {
    if !(200..=599).contains(&status) {
        faults.push(Invalid::new(path, "200..=599", status));
    }
}

pub(crate) fn check_retries(path: &str, retries: &HttpRetry, faults: &mut Faults) {
    let HttpRetry {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = retries;
    if *attempts == 0 {
        let is_given = per_try_timeout.is_some()
            || retry_on.is_some()
            || retry_remote_localities.is_some()
            || retry_ignore_previous_hosts.is_some()
            || backoff.is_some();
        if is_given {
            faults.push(Invalid::new(path, "nothing beside attempts: 0, which turns retries off", "other fields"));
        }
    }
    for (name, duration) in [("perTryTimeout", per_try_timeout), ("backoff", backoff)] {
        if duration.is_some_and(|duration| duration.as_millis() == 0) {
            faults.push(Invalid::new(format!("{path}.{name}"), "at least 1ms", "less"));
        }
    }
    for word in retry_on.iter().flat_map(|words| words.split(',')).map(str::trim) {
        let is_status = word.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status));
        if !is_status && !RETRY_ON.contains(&word) {
            let path = format!("{path}.retryOn");
            let hint = RETRY_ON.join(", ");
            faults.push(Invalid::new(path, "conditions of Envoy or statuses", format!("{word:?}")).hint(hint));
        }
    }
}

fn check_fault(path: &str, fault: &HttpFault, faults: &mut Faults) {
    let HttpFault { delay, abort } = fault;
    if delay.is_none() && abort.is_none() {
        faults.push(Invalid::new(path, "delay or abort", "none"));
    }
    if let Some(delay) = delay {
        let path = format!("{path}.delay");
        if delay.fixed_delay.is_none_or(|fixed| fixed.as_millis() == 0) {
            faults.push(Invalid::new(format!("{path}.fixedDelay"), "at least 1ms", "less or none"));
        }
        check_percent(&format!("{path}.percentage"), delay.percentage, faults);
        let former = delay.percent.map(|percent| Percent { value: f64::from(percent) });
        check_percent(&format!("{path}.percent"), former, faults);
    }
    if let Some(abort) = abort {
        let path = format!("{path}.abort");
        check_percent(&format!("{path}.percentage"), abort.percentage, faults);
        match (abort.http_status, &abort.grpc_status) {
            (Some(status), None) => check_status(&format!("{path}.httpStatus"), status, faults),
            (None, Some(status)) if grpc_status(status).is_some() => {}
            (None, Some(status)) => {
                let want = "the name of a gRPC status, such as UNAVAILABLE";
                faults.push(Invalid::new(format!("{path}.grpcStatus"), want, format!("{status:?}")));
            }
            (Some(_), Some(_)) => faults.push(Invalid::new(path, "one of httpStatus and grpcStatus", "both")),
            (None, None) => faults.push(Invalid::new(path, "httpStatus or grpcStatus", "none")),
        }
    }
}

/// Returns the number of a gRPC status that is given by its name or its number.
pub fn grpc_status(text: &str) -> Option<u32> {
    let upper = text.to_ascii_uppercase();
    let by_name = GRPC_STATUSES.iter().position(|name| *name == upper);
    let number = by_name.or_else(|| text.parse().ok().filter(|number| *number < GRPC_STATUSES.len()))?;
    u32::try_from(number).ok()
}

fn check_cors(path: &str, cors: &CorsPolicy, faults: &mut Faults) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        if *origin == StringMatch::Present {
            let path = format!("{path}.allowOrigins[{index}]");
            faults.push(Invalid::new(path, "one of exact, prefix and regex", "none"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    const ROUTE: &str = "route: [{destination: {host: a}}]";

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("VirtualService", spec), &format!("virtualService default/x: {want}"));
    }

    #[test]
    fn what_is_not_acted_on_is_refused_by_name() {
        let fault = |fault: &str| format!("{{hosts: [a], http: [{{fault: {{{fault}}}, {ROUTE}}}]}}");
        let path = "spec.http[0].fault";
        refused(
            &fault("delay: {fixedDelay: 1s, exponentialDelay: 1s}"),
            &format!("{path}.delay.exponentialDelay: not supported yet"),
        );
        refused(
            &fault("abort: {httpStatus: 500, http2Error: x}"),
            &format!("{path}.abort.http2Error: not supported yet"),
        );
    }

    #[test]
    fn several_weights_have_a_sum_that_is_not_zero() {
        let spec = |weights: &[u32]| {
            let routes: Vec<String> =
                weights.iter().map(|weight| format!("{{destination: {{host: a}}, weight: {weight}}}")).collect();
            format!("{{hosts: [a], http: [{{route: [{}]}}]}}", routes.join(", "))
        };
        for weights in [&[0][..], &[7], &[90, 10], &[100, 0], &[1, 2]] {
            read(&istio("VirtualService", &spec(weights))).unwrap();
        }
        for (weights, sum) in [(&[0, 0][..], 0), (&[u32::MAX, 1], 1_u64 << 32)] {
            let want = format!(
                "spec.http[0].route: want weights of a sum from 1 to 4294967295, got {sum} \
                 (a destination without a weight is given no requests if there are several)"
            );
            refused(&spec(weights), &want);
        }
    }

    /// Checks what is refused of a route, by the fields beside its path.
    fn refused_route(route: &str, want: &str) {
        refused(&format!("{{hosts: [a], http: [{{{route}}}]}}"), &format!("spec.http[0]{want}"));
    }

    #[test]
    fn a_route_has_one_action_and_nothing_that_the_action_has_no_use_for() {
        let one = "want one of route, redirect, directResponse and delegate, got";
        refused_route("timeout: 1s", &format!(": {one} none"));
        refused_route(&format!("redirect: {{uri: /}}, {ROUTE}"), &format!(": {one} route and redirect"));
        let nothing = "want nothing in a route that forwards nothing, got a value";
        refused_route("redirect: {uri: /}, rewrite: {uri: /}", &format!(".rewrite: {nothing}"));
        refused_route("directResponse: {status: 200}, retries: {attempts: 0}", &format!(".retries: {nothing}"));
        refused_route("delegate: {}", ".delegate.name: want the name of a VirtualService, got none");
    }

    #[test]
    fn actions_are_complete_and_in_their_ranges() {
        refused_route("redirect: {}", ".redirect: want uri, authority, port, derivePort or scheme, got none");
        refused_route(
            "redirect: {port: 1, derivePort: FROM_REQUEST_PORT}",
            ".redirect: want one of port and derivePort",
        );
        refused_route(
            "redirect: {redirectCode: 300, uri: /}",
            ".redirect.redirectCode: want 301, 302, 303, 307 or 308",
        );
        refused_route("redirect: {scheme: ftp}", ".redirect.scheme: want http or https, got \"ftp\"");
        refused_route("directResponse: {status: 100}", ".directResponse.status: want 200..=599, got 100");
        refused_route("directResponse: {status: 200, body: {}}", ".directResponse.body: want one of string and bytes");
        refused_route(
            "directResponse: {status: 200, body: {bytes: '!'}}",
            ".directResponse.body.bytes: want bytes in base64",
        );
        let refused = |field: &str, want: &str| refused_route(&format!("{field}, {ROUTE}"), want);
        refused("rewrite: {}", ".rewrite: want uri, authority or uriRegexRewrite, got none");
        refused(
            "rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}",
            ".rewrite: want one of uri and uriRegexRewrite",
        );
        refused(
            "rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}",
            ".rewrite.uriRegexRewrite.match: want a regular expression",
        );
        refused("retries: {attempts: 0, retryOn: 5xx}", ".retries: want nothing beside attempts: 0");
        refused(
            "retries: {attempts: 1, retryOn: 'reset,6xx'}",
            ".retries.retryOn: want conditions of Envoy or statuses, got \"6xx\"",
        );
        refused("retries: {attempts: 1, perTryTimeout: 0s}", ".retries.perTryTimeout: want at least 1ms");
        refused("fault: {}", ".fault: want delay or abort, got none");
        refused("fault: {delay: {}}", ".fault.delay.fixedDelay: want at least 1ms");
        refused(
            "fault: {abort: {httpStatus: 500, percentage: {value: 101}}}",
            ".fault.abort.percentage.value: want 0..=100, got 101",
        );
        refused("fault: {abort: {grpcStatus: NONE}}", ".fault.abort.grpcStatus: want the name of a gRPC status");
        refused("mirror: {host: a}, mirrors: [{destination: {host: a}}]", ".mirror: want one of mirror and mirrors");
        refused(
            "headers: {request: {remove: [':path']}}",
            ".headers.request.remove: want a header that may be changed",
        );
        refused("headers: {response: {set: {host: a}}}", ".headers.response.set: want a header that may be changed");
        refused("corsPolicy: {allowOrigins: [{}]}", ".corsPolicy.allowOrigins[0]: want one of exact, prefix and regex");
    }

    #[test]
    fn regular_expressions_are_those_of_re2() {
        let condition = |condition: &str| format!("match: [{{{condition}}}], {ROUTE}");
        refused_route(
            &condition("uri: {regex: '(?=a)'}"),
            ".match[0].uri.regex: want a regular expression of RE2, which Envoy uses, got \"(?=a)\" (look-around",
        );
        refused_route(&condition("headers: {a: {regex: '['}}"), ".match[0].headers.a.regex: want a regular");
        refused_route(&condition("queryParams: {a: {regex: '['}}"), ".match[0].queryParams.a.regex: want a regular");
        refused_route(&condition("uri: {}"), ".match[0].uri: want one of exact, prefix and regex, got none");
        refused_route(
            &condition("uri: {exact: a, prefix: b}"),
            ".match[0].uri: want one of exact, prefix and regex, got several",
        );
    }

    #[test]
    fn a_virtual_service_without_hosts_is_there_for_others_and_delegates_no_further() {
        read(&istio("VirtualService", &format!("{{http: [{{{ROUTE}}}]}}"))).unwrap();
        refused("{http: [{delegate: {name: a}}]}", "spec.http[0].delegate: want no delegate");
        refused(&format!("{{gateways: [mesh], http: [{{{ROUTE}}}]}}"), "spec.gateways[0]: want no gateways");
        read(&istio("VirtualService", "{hosts: [a], http: [{delegate: {name: b, namespace: c}}]}")).unwrap();
    }

    #[test]
    fn conditions_name_headers_in_lower_case() {
        let spec = |headers: &str| {
            format!(
                "{{hosts: [a], http: [{{match: [{{headers: {headers}}}], route: [{{destination: {{host: a}}}}]}}]}}"
            )
        };
        read(&istio("VirtualService", &spec("{end-user: {exact: jason}, x: {prefix: a}, z: {}}"))).unwrap();
        let path = "spec.http[0].match[0].headers";
        refused(
            &spec("{End-User: {}}"),
            &format!("{path}.End-User: want a header name in lower case, got \"End-User\""),
        );
    }

    #[test]
    fn empty_lists_and_destinations_that_are_everything_are_refused() {
        refused("{hosts: [a]}", "spec: want http, tls or tcp, got none");
        let to = |host: &str| format!("{{hosts: [a], http: [{{route: [{{destination: {{host: '{host}'}}}}]}}]}}");
        refused(&to("*"), "spec.http[0].route[0].destination.host: want the host of a service, got *");
        read(&istio("VirtualService", &to("*.b"))).unwrap();
    }
}
