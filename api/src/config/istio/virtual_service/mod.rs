//! `VirtualService`: how requests to a host are routed.

mod actions;
mod check;
mod layer4;
mod matches;
mod regexes;

use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

pub use actions::{
    CorsPolicy, Delegate, HeaderOperations, Headers, HttpAbort, HttpBody, HttpDelay, HttpDirectResponse, HttpFault,
    HttpMirror, HttpRedirect, HttpRetry, HttpRewrite, Percent, RedirectPort, RegexRewrite, UnmatchedPreflights,
};
pub use check::grpc_status;
pub(crate) use check::{check, check_retries};
pub(crate) use layer4::subnets;
pub use layer4::{RouteDestination, TcpMatch, TcpRoute, TlsMatch, TlsRoute};
pub use matches::{HttpMatch, StringMatch};
pub use regexes::Regex;

use crate::duration;
use crate::labels::Labels;
use crate::names::Hostname;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "spec.tls[].match[].sourceSubnet",
    "spec.tcp[].match[].sourceSubnet",
    "spec.http[].fault.delay.exponentialDelay",
    "spec.http[].fault.abort.http2Error",
];

/// How requests to some hosts are routed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// The hosts whose requests are routed. A short name is that of a service in the object's own namespace. Empty means
    /// that the object routes nothing by itself and other VirtualServices refer to it by `delegate`.
    #[serde(default)]
    pub hosts: Vec<Hostname>,
    /// Where the routes apply: `mesh`, which means all sidecars and is the default, and Gateways, each as `NAME` in the
    /// own namespace or as `NAMESPACE/NAME`.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The routes, in order: the first that matches a request is taken.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// The routes of TLS connections that pass through as they are, in order.
    #[serde(default)]
    pub tls: Vec<TlsRoute>,
    /// The routes of connections to ports that are neither HTTP nor TLS, in order.
    #[serde(default)]
    pub tcp: Vec<TcpRoute>,
    /// The namespaces whose clients see the object: `.` for its own, `*`, or names. Empty means every namespace.
    #[serde(default)]
    pub export_to: Vec<String>,
}

impl VirtualService {
    /// Returns every destination of every route.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let connections = self.tls.iter().map(|tls| &tls.route).chain(self.tcp.iter().map(|tcp| &tcp.route));
        let http = self.http.iter().flat_map(HttpRoute::destinations);
        http.chain(connections.flatten().map(|route| &route.destination))
    }

    /// Returns what every condition of every route asks of clients: labels, and perhaps a namespace.
    pub fn sources(&self) -> impl Iterator<Item = (&Labels, Option<&str>)> {
        let http = self.http.iter().flat_map(|http| &http.matches);
        let http = http.map(|condition| (&condition.source_labels, condition.source_namespace.as_deref()));
        let tls = self.tls.iter().flat_map(|tls| &tls.matches);
        let tls = tls.map(|condition| (&condition.source_labels, condition.source_namespace.as_deref()));
        let tcp = self.tcp.iter().flat_map(|tcp| &tcp.matches);
        let tcp = tcp.map(|condition| (&condition.source_labels, condition.source_namespace.as_deref()));
        http.chain(tls).chain(tcp)
    }
}

/// One route of a [`VirtualService`]: the requests that it takes, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// A name for logs and statistics; it has no effect on routing.
    #[serde(default)]
    pub name: String,
    /// The conditions, any one of which must hold. Empty means that every request is taken.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// The destinations, among which requests are divided by weight. A route has one of these, a redirect, a direct
    /// response and a delegate.
    #[serde(default)]
    pub route: Vec<HttpRouteDestination>,
    /// An answer that sends the client elsewhere.
    #[serde(default)]
    pub redirect: Option<Box<HttpRedirect>>,
    /// An answer that the proxy gives itself.
    #[serde(default)]
    pub direct_response: Option<Box<HttpDirectResponse>>,
    /// Another VirtualService, whose routes take the place of this one.
    #[serde(default)]
    pub delegate: Option<Box<Delegate>>,
    /// What is changed of the path and the host.
    #[serde(default)]
    pub rewrite: Option<Box<HttpRewrite>>,
    /// The time limit for the whole exchange, retries included. Absent or zero means that there is no limit.
    #[serde(default, deserialize_with = "duration::optional")]
    pub timeout: Option<Duration>,
    /// How often and when a request is tried again. Absent means Istio's default.
    #[serde(default)]
    pub retries: Option<Box<HttpRetry>>,
    /// Faults that are made to try what depends on the service.
    #[serde(default)]
    pub fault: Option<Box<HttpFault>>,
    /// Where copies of requests go.
    #[serde(default)]
    pub mirrors: Vec<HttpMirror>,
    /// Where copies of requests go, the former name of `mirrors` for one destination. Not beside it.
    #[serde(default)]
    pub mirror: Option<Box<Destination>>,
    /// The share of requests that `mirror` copies. Absent means all.
    #[serde(default)]
    pub mirror_percentage: Option<Percent>,
    /// The former name of `mirror_percentage`, in whole per cent, which counts if there is no other.
    #[serde(default)]
    pub mirror_percent: Option<u32>,
    /// What pages of other origins may ask for.
    #[serde(default)]
    pub cors_policy: Option<Box<CorsPolicy>>,
    /// Changes of headers.
    #[serde(default)]
    pub headers: Option<Box<Headers>>,
}

impl HttpRoute {
    /// Returns every destination: those of requests and those of copies.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let mirrors = self.mirrors.iter().map(|mirror| &mirror.destination);
        let mirrors = mirrors.chain(self.mirror.as_deref());
        self.route.iter().map(|route| &route.destination).chain(mirrors)
    }

    /// Returns the copies that are made of requests, each with its share, in either of the two forms.
    pub fn mirrored(&self) -> impl Iterator<Item = (&Destination, Percent)> {
        const ALL: Percent = Percent { value: 100.0 };
        let former = self.mirror_percent.map(|percent| Percent { value: f64::from(percent) });
        let share = self.mirror_percentage.or(former).unwrap_or(ALL);
        let mirrors = self.mirrors.iter().map(|mirror| (&mirror.destination, mirror.percentage.unwrap_or(ALL)));
        mirrors.chain(self.mirror.as_deref().map(|destination| (destination, share)))
    }
}

/// One destination of a route, and its share of the requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// The service that the requests go to.
    pub destination: Destination,
    /// The share, relative to the sum of the weights of the route. Zero means no requests, unless the destination is the
    /// only one of its route.
    #[serde(default)]
    pub weight: u32,
    /// Changes of headers, beside those of the route.
    #[serde(default)]
    pub headers: Option<Box<Headers>>,
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
    /// The name of the port, which the backend of an Ingress may give instead of its number. No VirtualService has it.
    #[serde(skip)]
    pub port_name: Option<Box<str>>,
}

/// A port, chosen by its number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PortSelector {
    /// The number, from 1 to 65535.
    pub number: NonZeroU16,
}
