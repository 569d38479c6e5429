//! `VirtualService`: how requests to a host are routed.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

use crate::config::checks::{Faults, check_export_to, check_full_host, check_not_empty};
use crate::duration;
use crate::invalid::Invalid;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "spec.tls",
    "spec.tcp",
    "spec.http[].redirect",
    "spec.http[].directResponse",
    "spec.http[].delegate",
    "spec.http[].rewrite",
    "spec.http[].retries",
    "spec.http[].fault",
    "spec.http[].mirror",
    "spec.http[].mirrors",
    "spec.http[].mirrorPercent",
    "spec.http[].mirrorPercentage",
    "spec.http[].corsPolicy",
    "spec.http[].headers",
    "spec.http[].route[].headers",
    "spec.http[].match[].scheme",
    "spec.http[].match[].method",
    "spec.http[].match[].authority",
    "spec.http[].match[].port",
    "spec.http[].match[].sourceLabels",
    "spec.http[].match[].sourceNamespace",
    "spec.http[].match[].gateways",
    "spec.http[].match[].queryParams",
    "spec.http[].match[].ignoreUriCase",
    "spec.http[].match[].withoutHeaders",
    "spec.http[].match[].statPrefix",
    "spec.http[].match[].uri.regex",
    "spec.http[].match[].headers.*.regex",
];

/// How requests to some hosts are routed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// The hosts whose requests are routed. A short name is that of a service in the object's own namespace.
    pub hosts: Vec<Hostname>,
    /// Where the routes apply. Only `mesh`, which means all sidecars and is the default, is supported. The name of a
    /// gateway is refused, because its routes would silently apply nowhere.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The routes, in order: the first that matches a request is taken.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// The namespaces whose clients see the object: `.` for its own, `*`, or names. Empty means every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// One route of a [`VirtualService`]: the requests that it takes, and where they go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// A name for logs and statistics; it has no effect on routing.
    #[serde(default)]
    pub name: String,
    /// The conditions, any one of which must hold. Empty means that every request is taken.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// The destinations, among which requests are divided by weight.
    pub route: Vec<HttpRouteDestination>,
    /// The time limit for the whole exchange, retries included. Absent or zero means that there is no limit.
    #[serde(default, deserialize_with = "duration::optional")]
    pub timeout: Option<Duration>,
}

/// One condition of a route. Everything that is given in it must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// A name for logs and statistics; it has no effect on routing.
    #[serde(default)]
    pub name: String,
    /// What the path must be. Absent means any path.
    #[serde(default)]
    pub uri: Option<StringMatch>,
    /// What headers must be, by their lower-case name.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderMatch>,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// The text is exactly this.
    Exact(String),
    /// The text begins with this.
    Prefix(String),
}

/// What a header must be: its value exactly `exact`, or beginning with `prefix`. With neither, the header must be
/// present with any value. Names are compared without regard to case, values as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// The whole value.
    #[serde(default)]
    pub exact: Option<String>,
    /// The beginning of the value.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// One destination of a route, and its share of the requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// The service that the requests go to.
    pub destination: Destination,
    /// The share in per cent. Zero means no requests, unless the destination is the only one of its route. The shares
    /// of a route sum to 100, which is checked when the object is applied.
    #[serde(default)]
    pub weight: u32,
}

/// A service, perhaps with one of its ports and one of its subsets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The host of the service. A short name is that of a service in the VirtualService's namespace.
    pub host: Hostname,
    /// The subset of a DestinationRule for that host. Absent means every endpoint.
    #[serde(default)]
    pub subset: Option<String>,
    /// The port. Absent means the only port of the service or, if it has several, the port of the request.
    #[serde(default)]
    pub port: Option<PortSelector>,
}

/// A port, chosen by its number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PortSelector {
    /// The number, from 1 to 65535.
    pub number: NonZeroU16,
}

/// Returns what is wrong in a VirtualService that has the right types.
pub(crate) fn check(spec: &VirtualService) -> Faults {
    let mut faults = Vec::new();
    check_not_empty("spec.hosts", spec.hosts.len(), &mut faults);
    check_not_empty("spec.http", spec.http.len(), &mut faults);
    for (index, gateway) in spec.gateways.iter().enumerate() {
        if gateway != "mesh" {
            let invalid = Invalid::not_supported(format!("spec.gateways[{index}]"));
            faults.push(invalid.hint(format!("{gateway:?}; only mesh")));
        }
    }
    for (index, http) in spec.http.iter().enumerate() {
        check_http_route(&format!("spec.http[{index}]"), http, &mut faults);
    }
    check_export_to(&spec.export_to, &mut faults);
    faults
}

fn check_http_route(path: &str, http: &HttpRoute, faults: &mut Faults) {
    check_not_empty(&format!("{path}.route"), http.route.len(), faults);
    for (index, destination) in http.route.iter().enumerate() {
        check_full_host(&format!("{path}.route[{index}].destination.host"), &destination.destination.host, faults);
    }
    let sum: u64 = http.route.iter().map(|destination| u64::from(destination.weight)).sum();
    let is_single = http.route.len() == 1;
    if sum != 100 && !http.route.is_empty() && !(is_single && sum == 0) {
        let hint = "weights are per cent; write them so that they sum to 100";
        faults.push(Invalid::new(format!("{path}.route"), "weights that sum to 100", sum).hint(hint));
    }
    for (index, http_match) in http.matches.iter().enumerate() {
        for (name, header) in &http_match.headers {
            check_header(&format!("{path}.match[{index}].headers.{name}"), name, header, faults);
        }
    }
}

fn check_header(path: &str, name: &str, header: &HeaderMatch, faults: &mut Faults) {
    if header.exact.is_some() && header.prefix.is_some() {
        faults.push(Invalid::new(path, "one of exact and prefix", "both"));
    }
    if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace()) {
        faults.push(Invalid::new(path, "a header name in lower case", format!("{name:?}")));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("VirtualService", spec), &format!("virtualService default/x: {want}"));
    }

    #[test]
    fn what_is_not_acted_on_is_refused_by_name() {
        let route = "route: [{destination: {host: a}}]";
        let not_supported = |path: &str| format!("{path}: not supported yet");
        for field in ["fault", "rewrite", "redirect", "mirror", "corsPolicy", "headers", "retries", "delegate"] {
            let want = not_supported(&format!("spec.http[0].{field}"));
            refused(&format!("{{hosts: [a], http: [{{{field}: {{}}, {route}}}]}}"), &want);
        }
        let want = not_supported("spec.http[0].match[0].method");
        refused(&format!("{{hosts: [a], http: [{{match: [{{method: {{exact: GET}}}}], {route}}}]}}"), &want);
        let want = format!("{} (\"edge\"; only mesh)", not_supported("spec.gateways[0]"));
        refused(&format!("{{hosts: [a], gateways: [edge], http: [{{{route}}}]}}"), &want);
    }

    #[test]
    fn weights_sum_to_100_or_there_is_one_destination() {
        let spec = |weights: &[u32]| {
            let routes: Vec<String> =
                weights.iter().map(|weight| format!("{{destination: {{host: a}}, weight: {weight}}}")).collect();
            format!("{{hosts: [a], http: [{{route: [{}]}}]}}", routes.join(", "))
        };
        for weights in [&[0][..], &[100], &[90, 10], &[100, 0]] {
            read(&istio("VirtualService", &spec(weights))).unwrap();
        }
        for (weights, sum) in [(&[50, 60][..], 110), (&[0, 0], 0), (&[7], 7)] {
            let want = format!(
                "spec.http[0].route: want weights that sum to 100, got {sum} \
                 (weights are per cent; write them so that they sum to 100)"
            );
            refused(&spec(weights), &want);
        }
    }

    #[test]
    fn headers_have_lower_case_names_and_one_pattern() {
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
        refused(&spec("{a: {exact: x, prefix: z}}"), &format!("{path}.a: want one of exact and prefix, got both"));
    }

    #[test]
    fn empty_lists_and_wildcard_destinations_are_refused() {
        refused("{hosts: [], http: [{route: [{destination: {host: a}}]}]}", "spec.hosts: want at least one, got none");
        refused("{hosts: [a]}", "spec.http: want at least one, got none");
        refused("{hosts: [a], http: [{route: []}]}", "spec.http[0].route: want at least one, got none");
        let want = "spec.http[0].route[0].destination.host: not supported yet (the wildcard *.b)";
        refused("{hosts: [a], http: [{route: [{destination: {host: '*.b'}}]}]}", want);
    }
}
