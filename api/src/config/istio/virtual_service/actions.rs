//! What becomes of the requests that a route of a VirtualService takes, beside where they go.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

use super::Destination;
use super::matches::StringMatch;
use crate::duration;

/// What is changed of a request before it is forwarded.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRewrite {
    /// What replaces the part of the path that the condition's prefix took, or the whole path if the condition is no
    /// prefix.
    #[serde(default)]
    pub uri: Option<String>,
    /// What replaces the host that the request asks for.
    #[serde(default)]
    pub authority: Option<String>,
    /// A replacement within the path. Not beside `uri`.
    #[serde(default)]
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A replacement of every part of a path that matches a regular expression.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RegexRewrite {
    /// The regular expression, in RE2's syntax.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What replaces the part; `\1` is what the first group took.
    pub rewrite: String,
}

/// An answer that sends the client elsewhere. What is absent stays as in the request.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRedirect {
    /// The whole path.
    #[serde(default)]
    pub uri: Option<String>,
    /// The host.
    #[serde(default)]
    pub authority: Option<String>,
    /// The port. Not beside `derive_port`.
    #[serde(default)]
    pub port: Option<NonZeroU16>,
    /// How the port is found.
    #[serde(default)]
    pub derive_port: Option<RedirectPort>,
    /// The scheme, `http` or `https`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// The status: 301, 302, 303, 307 or 308. Absent means 301.
    #[serde(default)]
    pub redirect_code: Option<u32>,
}

/// How the port of a redirect is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPort {
    /// The usual port of the scheme: 80 or 443.
    FromProtocolDefault,
    /// The port that the request came to.
    FromRequestPort,
}

/// An answer that the proxy gives itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HttpDirectResponse {
    /// The status, from 200 to 599.
    pub status: u32,
    /// The content. Absent means none.
    #[serde(default)]
    pub body: Option<HttpBody>,
}

/// The content of an answer: one of the two.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct HttpBody {
    /// A text.
    #[serde(default)]
    pub string: Option<String>,
    /// Bytes, in base64.
    #[serde(default)]
    pub bytes: Option<String>,
}

/// How often and when a request is tried again. A route without it is treated as Istio's default says: two times, if
/// the request surely did nothing yet.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRetry {
    /// How often a request is tried again. Zero turns retries off.
    pub attempts: u32,
    /// The time limit of each try. Absent means that of the route.
    #[serde(default, deserialize_with = "duration::optional")]
    pub per_try_timeout: Option<Duration>,
    /// When a request is tried again: Envoy's words and statuses, separated by commas. Absent means the default.
    #[serde(default)]
    pub retry_on: Option<String>,
    /// Whether other localities are tried. Absent means no.
    #[serde(default)]
    pub retry_remote_localities: Option<bool>,
    /// Whether endpoints that were tried already are passed over. Absent means yes.
    #[serde(default)]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The time before the first retry, which doubles for each further one. Absent means 25 ms.
    #[serde(default, deserialize_with = "duration::optional")]
    pub backoff: Option<Duration>,
}

/// Faults that are made to try what depends on a service.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct HttpFault {
    /// Some requests are held up.
    #[serde(default)]
    pub delay: Option<HttpDelay>,
    /// Some requests are answered with an error.
    #[serde(default)]
    pub abort: Option<HttpAbort>,
}

/// A delay of requests.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpDelay {
    /// How long a request is held up; at least 1 ms.
    #[serde(default, deserialize_with = "duration::optional")]
    pub fixed_delay: Option<Duration>,
    /// The share of requests. Absent means all.
    #[serde(default)]
    pub percentage: Option<Percent>,
    /// The share of requests in whole per cent, the former name of `percentage`, which counts if both are given.
    #[serde(default)]
    pub percent: Option<u32>,
}

/// An error instead of an answer.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAbort {
    /// The HTTP status, from 200 to 599. One of the two statuses is given.
    #[serde(default)]
    pub http_status: Option<u32>,
    /// The gRPC status by its name, such as `UNAVAILABLE`, or by its number.
    #[serde(default)]
    pub grpc_status: Option<String>,
    /// The share of requests. Absent means all.
    #[serde(default)]
    pub percentage: Option<Percent>,
}

/// A share in per cent, from 0 to 100, fractions included.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
pub struct Percent {
    /// The number.
    #[serde(default)]
    pub value: f64,
}

/// A copy of requests, whose answers nobody waits for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HttpMirror {
    /// Where the copies go.
    pub destination: Destination,
    /// The share of requests that are copied. Absent means all.
    #[serde(default)]
    pub percentage: Option<Percent>,
}

/// What pages of other origins may ask for (cross-origin resource sharing).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// The origins.
    #[serde(default)]
    pub allow_origins: Vec<StringMatch>,
    /// The origins, each exactly or `*`: the former form of `allow_origins`.
    #[serde(default)]
    pub allow_origin: Vec<String>,
    /// The methods.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// The headers that a request may have.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// The headers of an answer that the page may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer to a preflight request.
    #[serde(default, deserialize_with = "duration::optional")]
    pub max_age: Option<Duration>,
    /// Whether requests may carry credentials. Absent means that nothing is said of it.
    #[serde(default)]
    pub allow_credentials: Option<bool>,
    /// What becomes of preflight requests of origins that are not allowed.
    #[serde(default)]
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What becomes of preflight requests of origins that are not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As forward.
    #[default]
    Unspecified,
    /// They go to the destination.
    Forward,
    /// The proxy answers them, without permission.
    Ignore,
}

/// Changes of the headers of requests and of answers.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Headers {
    /// Those of requests.
    #[serde(default)]
    pub request: HeaderOperations,
    /// Those of answers.
    #[serde(default)]
    pub response: HeaderOperations,
}

/// Changes of headers: first headers are removed, then set, then added.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct HeaderOperations {
    /// Headers that have this value afterwards, whatever they had before.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Headers that get this value beside those that they have.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Headers that are removed.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Another VirtualService, whose routes take the place of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Delegate {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace. Absent means that of the VirtualService that refers to it.
    #[serde(default)]
    pub namespace: Option<String>,
}
