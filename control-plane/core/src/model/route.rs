//! The rules of a VirtualService for one host and port, with their destinations looked up.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rutter_api::config::istio::{
    ConsistentHash, Destination, Headers, HttpDirectResponse, HttpMatch, HttpRedirect, HttpRoute, Percent,
    RouteDestination, StringMatch, TcpMatch, TlsMatch, Tunnel, VirtualService,
};
use rutter_api::{ClusterName, Config, ConfigKey, Hostname, Labels};

use super::gateway::Place;
use super::policy::Policy;
use super::service::Service;

/// What requests are for, a host and a port, as the client names them, and what matters of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// The full name of the host.
    pub host: &'a Hostname,
    /// The port of the service that clients use.
    pub port: u16,
    /// The suffix of Kubernetes' service names, by which short names are completed.
    pub domain: &'a str,
    /// What is known of the client.
    pub source: &'a RequestSource,
    /// Where the routes are used.
    pub place: Place<'a>,
}

/// What routes may depend on of the workload that sends requests. Only what some condition asks for is given, so that
/// all clients for which the conditions come out alike share their routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RequestSource {
    /// The namespace of the client, if some condition names it.
    pub namespace: Option<Box<str>>,
    /// The label sets of conditions, `sourceLabels`, that the client's workload has.
    pub labels: Box<[Labels]>,
}

impl RequestSource {
    /// Returns what the routes of a VirtualService depend on for clients of a namespace that have some label sets.
    pub fn for_routes<'a>(
        virtual_service: &Config,
        namespace: &str,
        has_labels: impl Fn(&Labels) -> bool + 'a,
    ) -> Self {
        let mut source = Self::default();
        let mut labels = BTreeSet::new();
        for (wanted_labels, wanted_namespace) in sources_of(virtual_service) {
            if wanted_namespace == Some(namespace) {
                source.namespace = Some(namespace.into());
            }
            if !wanted_labels.is_empty() && has_labels(wanted_labels) {
                labels.insert(wanted_labels.clone());
            }
        }
        source.labels = labels.into_iter().collect();
        source
    }

    fn satisfies(&self, labels: &Labels, namespace: Option<&str>) -> bool {
        let has_labels = labels.is_empty() || self.labels.contains(labels);
        has_labels && (namespace.is_none() || namespace == self.namespace.as_deref())
    }
}

/// Returns what every condition of a VirtualService asks of clients: labels, and perhaps a namespace. Other kinds ask
/// nothing.
pub fn sources_of(config: &Config) -> impl Iterator<Item = (&Labels, Option<&str>)> {
    config.spec.as_virtual_service().into_iter().flat_map(VirtualService::sources)
}

/// A destination of a rule, looked up in what the client sees.
#[derive(Debug, Clone, PartialEq)]
pub struct LookedUpDestination {
    /// The full name of the host.
    pub host: Hostname,
    /// The service. `None` means that the client sees no service of that host.
    pub service: Option<Arc<Service>>,
    /// The DestinationRule of the service, if routes depend on it, see [`shapes_routes`](super::shapes_routes).
    pub rule: Option<Arc<Config>>,
}

impl LookedUpDestination {
    /// Returns the policy for connections to a port or to a subset of the destination.
    fn policy(&self, cluster: &ClusterName) -> Policy<'_> {
        let rule = self.rule.as_ref().and_then(|config| config.spec.as_destination_rule());
        match &self.service {
            Some(service) => Policy::new(service, rule, cluster.port, cluster.subset.as_deref()),
            None => Policy::of_rule(rule, cluster.port, cluster.subset.as_deref()),
        }
    }
}

/// One rule for connections: those that it takes, and where they go.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionRoute<'a> {
    /// The hosts one of which the client must name in TLS. Empty means any, or none.
    pub server_names: Vec<&'a Hostname>,
    /// The addresses that the connection must be for. Empty means any.
    pub subnets: &'a [IpNet],
    /// The clusters among which connections are divided by weight, at least one.
    pub clusters: Vec<RouteCluster<'a>>,
}

/// One rule: the requests that it takes, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route<'a> {
    /// The names of the rule and of its condition, joined by a dot. It is empty if neither has a name.
    pub name: String,
    /// The condition. `None` means that the rule takes every request.
    pub condition: Option<&'a HttpMatch>,
    /// What becomes of the requests.
    pub action: RouteAction<'a>,
    /// The rule as it is written, which says how requests are treated.
    pub http: &'a HttpRoute,
    /// The full host of the first destination, by which Istio names the operation in traces.
    pub first_host: Option<Hostname>,
}

/// What becomes of the requests that a rule takes.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteAction<'a> {
    /// The requests are divided among clusters by weight.
    Forward {
        /// The clusters, at least one. A cluster may be missing, if the client sees the host of another destination.
        clusters: Vec<RouteCluster<'a>>,
        /// The clusters that copies go to. Those that the client does not see are left out.
        mirrors: Vec<RouteMirror>,
    },
    /// The client sees none of the hosts that the rule sends to.
    NoDestination {
        /// The hosts that are missing.
        missing: BTreeSet<Hostname>,
    },
    /// The client is sent elsewhere.
    Redirect(&'a HttpRedirect),
    /// The proxy answers.
    DirectResponse(&'a HttpDirectResponse),
}

/// A cluster that requests go to, and its share of them.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteCluster<'a> {
    /// The name of the cluster.
    pub name: ClusterName,
    /// The share, relative to the other clusters of the rule.
    pub weight: u32,
    /// Changes of headers that are made for this cluster alone.
    pub headers: Option<&'a Headers>,
    /// What is hashed of a request or a connection to choose an endpoint of the cluster.
    pub hash: Option<ConsistentHash>,
    /// How long a connection that is not HTTP may be silent. `None` means Envoy's default.
    pub idle_timeout: Option<Duration>,
    /// How connections go through the cluster to somewhere else.
    pub tunnel: Option<Tunnel>,
    /// The port at which connections go to the host that the client names, of which DNS is asked. `None` means that they go to
    /// endpoints that the cluster knows.
    pub port_of_named_host: Option<u16>,
}

/// A cluster that copies of requests go to.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMirror {
    /// The name of the cluster.
    pub name: ClusterName,
    /// The share of requests that are copied, more than 0 %.
    pub share: Percent,
}

/// Returns the rules of a VirtualService for requests to a target, in order: one for each condition of each of its
/// HTTP routes that can hold for the port and the client. What comes after a rule that takes every request is left out.
/// The destinations must contain every host that the VirtualService sends to.
pub fn routes_of<'a>(
    virtual_service: &'a Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpDestination],
) -> Vec<Route<'a>> {
    let Some(spec) = virtual_service.spec.as_virtual_service() else { return Vec::new() };
    let lookup = Lookup { virtual_service: &virtual_service.key, target, destinations };
    let mut routes = Vec::new();
    for http in &spec.http {
        // Routes that delegate were replaced by those of the delegate; what is left has no delegate that exists.
        let Some(action) = lookup.action_of(http) else { continue };
        let first_host = http.route.first().map(|route| lookup.full_host(&route.destination));
        for condition in lookup.conditions(http) {
            routes.push(Route {
                name: joined_name(&http.name, condition),
                condition,
                action: action.clone(),
                http,
                first_host: first_host.clone(),
            });
            if condition.is_none_or(takes_everything) {
                return routes;
            }
        }
    }
    routes
}

/// Returns the rules of a VirtualService for TLS connections to a target, in order, as [`routes_of`] does for requests.
pub fn tls_routes_of<'a>(
    virtual_service: &'a Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpDestination],
) -> Vec<ConnectionRoute<'a>> {
    let Some(spec) = virtual_service.spec.as_virtual_service() else { return Vec::new() };
    let lookup = Lookup { virtual_service: &virtual_service.key, target, destinations };
    let mut routes = Vec::new();
    for tls in &spec.tls {
        for condition in &tls.matches {
            let TlsMatch { sni_hosts, destination_subnets, port, source_labels, source_namespace, gateways } =
                condition;
            let asked = Asked { port: *port, gateways, labels: source_labels, namespace: source_namespace.as_deref() };
            if lookup.can_hold(asked) {
                let (server_names, subnets) = (sni_hosts.iter().collect(), &destination_subnets[..]);
                routes.push(ConnectionRoute {
                    server_names,
                    subnets,
                    clusters: lookup.connection_clusters(&tls.route),
                });
            }
        }
    }
    routes
}

/// Returns the rules of a VirtualService for other connections to a target, in order, as [`routes_of`] does for
/// requests. What comes after a rule that takes every connection is left out.
pub fn tcp_routes_of<'a>(
    virtual_service: &'a Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpDestination],
) -> Vec<ConnectionRoute<'a>> {
    let Some(spec) = virtual_service.spec.as_virtual_service() else { return Vec::new() };
    let lookup = Lookup { virtual_service: &virtual_service.key, target, destinations };
    let mut routes = Vec::new();
    for tcp in &spec.tcp {
        let any: &[IpNet] = &[];
        let all = tcp.matches.is_empty().then_some(any);
        let conditions = tcp.matches.iter().filter_map(|condition| {
            let TcpMatch { destination_subnets, port, source_labels, source_namespace, gateways } = condition;
            let asked = Asked { port: *port, gateways, labels: source_labels, namespace: source_namespace.as_deref() };
            lookup.can_hold(asked).then_some(&destination_subnets[..])
        });
        for subnets in all.into_iter().chain(conditions) {
            let clusters = lookup.connection_clusters(&tcp.route);
            routes.push(ConnectionRoute { server_names: Vec::new(), subnets, clusters });
            if subnets.is_empty() {
                return routes;
            }
        }
    }
    routes
}

fn joined_name(route_name: &str, condition: Option<&HttpMatch>) -> String {
    let condition_name = condition.map_or("", |condition| condition.name.as_str());
    let names: Vec<&str> = [route_name, condition_name].into_iter().filter(|name| !name.is_empty()).collect();
    names.join(".")
}

/// Returns whether a condition that holds for the port and the client takes every request.
fn takes_everything(condition: &HttpMatch) -> bool {
    let HttpMatch {
        name: _,
        uri,
        ignore_uri_case: _,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port: _,
        source_labels: _,
        source_namespace: _,
        gateways: _,
        stat_prefix: _,
    } = condition;
    let is_any_path = match uri {
        None => true,
        Some(StringMatch::Prefix(prefix)) => prefix == "/",
        Some(StringMatch::Regex(pattern)) => matches!(pattern.as_str(), ".*" | "/.*"),
        Some(StringMatch::Exact(_) | StringMatch::Present) => false,
    };
    is_any_path
        && [scheme, method, authority].into_iter().all(Option::is_none)
        && [headers, without_headers, query_params].into_iter().all(|texts| texts.is_empty())
}

/// What a condition asks of the place and of the client, which the control plane decides.
struct Asked<'a> {
    port: Option<NonZeroU16>,
    gateways: &'a [String],
    labels: &'a Labels,
    namespace: Option<&'a str>,
}

/// What is needed to find the cluster of a destination.
struct Lookup<'a> {
    /// The VirtualService, in whose namespace short names are meant.
    virtual_service: &'a ConfigKey,
    target: RequestTarget<'a>,
    destinations: &'a [LookedUpDestination],
}

impl Lookup<'_> {
    fn full_host(&self, destination: &Destination) -> Hostname {
        destination.host.resolve(&self.virtual_service.namespace, self.target.domain)
    }

    /// Returns the conditions of a route that can hold for the port and the client. A route without conditions takes
    /// every request, which is `None`.
    fn conditions<'h>(&self, http: &'h HttpRoute) -> Vec<Option<&'h HttpMatch>> {
        if http.matches.is_empty() {
            return vec![None];
        }
        let can_hold = |condition: &&HttpMatch| {
            let HttpMatch { port, gateways, source_labels, source_namespace, .. } = condition;
            let namespace = source_namespace.as_deref();
            self.can_hold(Asked { port: *port, gateways, labels: source_labels, namespace })
        };
        http.matches.iter().filter(can_hold).map(Some).collect()
    }

    /// Returns whether a condition can hold for the port and the client. The rest of it is for the proxy to find out.
    fn can_hold(&self, asked: Asked<'_>) -> bool {
        asked.port.is_none_or(|port| port.get() == self.target.port)
            && (asked.gateways.is_empty() || self.target.place.is_one_of(asked.gateways, self.virtual_service))
            && self.target.source.satisfies(asked.labels, asked.namespace)
    }

    /// Returns the clusters that connections are divided among. A cluster whose host the client does not see is named
    /// all the same: connections to it are refused.
    fn connection_clusters<'h>(&self, route: &'h [RouteDestination]) -> Vec<RouteCluster<'h>> {
        let used = route.iter().filter(|destination| destination.weight > 0 || route.len() == 1);
        used.map(|route| self.route_cluster(&route.destination, route.weight)).collect()
    }

    /// Returns the cluster of a destination, seen or not, and what its policy says of routes to it.
    fn route_cluster<'h>(&self, destination: &Destination, weight: u32) -> RouteCluster<'h> {
        let host = self.full_host(destination);
        let name = self.cluster(destination).unwrap_or_else(|| ClusterName::outbound(self.target.port, &host));
        let looked_up = self.destinations.iter().find(|looked_up| looked_up.host == host);
        let policy = looked_up.map(|looked_up| looked_up.policy(&name)).unwrap_or_default();
        RouteCluster {
            weight,
            headers: None,
            hash: policy.consistent_hash().cloned(),
            idle_timeout: policy.connection_pool.and_then(|pool| pool.tcp.idle_timeout),
            tunnel: policy.tunnel.cloned(),
            port_of_named_host: looked_up.and_then(|it| it.service.as_ref()?.port_of_named_host(name.port)),
            name,
        }
    }

    /// Returns what becomes of the requests of a route. `None` means that the route refers to a VirtualService which
    /// does not exist, so that there is no route.
    fn action_of<'h>(&self, http: &'h HttpRoute) -> Option<RouteAction<'h>> {
        // A new field of a route does not compile until it is decided what becomes of it: here, or in the encoder.
        let HttpRoute {
            name: _,
            matches: _,
            route,
            redirect,
            direct_response,
            delegate: _,
            rewrite: _,
            timeout: _,
            retries: _,
            fault: _,
            mirrors: _,
            mirror: _,
            mirror_percentage: _,
            mirror_percent: _,
            cors_policy: _,
            headers: _,
        } = http;
        if let Some(redirect) = redirect {
            return Some(RouteAction::Redirect(redirect));
        }
        if let Some(response) = direct_response {
            return Some(RouteAction::DirectResponse(response));
        }
        if route.is_empty() {
            return None;
        }
        let mut clusters = Vec::new();
        let mut missing = BTreeSet::new();
        for route in route.iter().filter(|destination| destination.weight > 0 || route.len() == 1) {
            let host = self.full_host(&route.destination);
            if self.cluster(&route.destination).is_none() {
                missing.insert(host.clone());
            }
            let cluster = self.route_cluster(&route.destination, route.weight);
            clusters.push((RouteCluster { headers: route.headers.as_deref(), ..cluster }, host));
        }
        if !missing.is_empty() && clusters.iter().all(|(_, host)| missing.contains(host)) {
            return Some(RouteAction::NoDestination { missing });
        }
        let clusters = clusters.into_iter().map(|(cluster, _)| cluster).collect();
        let mirrors = http.mirrored().filter(|(_, share)| share.value > 0.0);
        let mirrors =
            mirrors.filter_map(|(destination, share)| Some(RouteMirror { name: self.cluster(destination)?, share }));
        Some(RouteAction::Forward { clusters, mirrors: mirrors.collect() })
    }

    /// Returns the cluster of a destination, or `None` if the client sees no service of that host. A destination
    /// without a port means the only port of its service or, if it has several, that of the request.
    fn cluster(&self, destination: &Destination) -> Option<ClusterName> {
        let host = self.full_host(destination);
        let looked_up = self.destinations.iter().find(|looked_up| looked_up.host == host)?;
        let ports = &looked_up.service.as_ref()?.ports;
        if let Some(name) = &destination.port_name {
            let port = ports.iter().find(|port| *port.name == **name)?;
            return Some(ClusterName::outbound(port.number, &host));
        }
        let port = match (&destination.port, &ports[..]) {
            (Some(port), _) => port.number.get(),
            (None, [only]) => only.number,
            (None, _) => self.target.port,
        };
        Some(ClusterName::outbound(port, &host).with_subset(destination.subset.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    const HOST: &str = "a.default.svc.cluster.local";

    fn destination(host: &str, ports: Option<&[u16]>) -> LookedUpDestination {
        let service = ports.map(|ports| {
            let ports: Vec<String> =
                ports.iter().map(|port| format!("{{number: {port}, name: http-{port}}}")).collect();
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\n\
                 spec: {{hosts: [{host}], resolution: STATIC, ports: [{}]}}",
                ports.join(", ")
            );
            Arc::new(crate::model::services_of(&config(&text), "cluster.local").remove(0))
        });
        LookedUpDestination { host: host.parse().unwrap(), service, rule: None }
    }

    /// The rules as text: condition's path, clusters with weights or the missing hosts.
    fn routes(http: &str, destinations: &[LookedUpDestination]) -> Vec<String> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
             spec: {{hosts: [a], http: [{http}]}}"
        );
        let host: Hostname = HOST.parse().unwrap();
        let source = RequestSource { namespace: Some("shop".into()), labels: Box::default() };
        let target =
            RequestTarget { host: &host, port: 80, domain: "cluster.local", source: &source, place: Place::Mesh };
        let config = config(&text);
        let describe = |route: &Route<'_>| {
            let uri = route.condition.and_then(|condition| condition.uri.as_ref());
            let condition = uri.map_or("any".to_owned(), |uri| format!("{uri:?}"));
            match &route.action {
                RouteAction::Forward { clusters, mirrors } => {
                    let clusters: Vec<String> =
                        clusters.iter().map(|cluster| format!("{} {}", cluster.name, cluster.weight)).collect();
                    let mirrors: Vec<String> =
                        mirrors.iter().map(|mirror| format!(" + {} {}", mirror.name, mirror.share.value)).collect();
                    format!("{}: {condition} -> {}{}", route.name, clusters.join(", "), mirrors.concat())
                }
                RouteAction::Redirect(_) => format!("{}: {condition} -> redirect", route.name),
                RouteAction::DirectResponse(_) => format!("{}: {condition} -> direct response", route.name),
                RouteAction::NoDestination { missing } => format!("{}: {condition} -> no {missing:?}", route.name),
            }
        };
        routes_of(&config, target, destinations).iter().map(describe).collect()
    }

    #[test]
    fn each_condition_is_a_rule_and_names_are_joined() {
        let http = "{name: r, match: [{name: m, uri: {prefix: /p}}, {uri: {exact: /x}}], \
                    route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}";
        let a = destination(HOST, Some(&[80]));
        assert_eq!(
            routes(http, &[a]),
            [
                "r.m: Prefix(\"/p\") -> outbound|80||a.default.svc.cluster.local 0",
                "r: Exact(\"/x\") -> outbound|80||a.default.svc.cluster.local 0",
                ": any -> outbound|80||a.default.svc.cluster.local 0",
            ]
        );
    }

    #[test]
    fn the_port_is_the_written_one_or_the_only_one_or_that_of_the_request() {
        let ports = |http: &str, ports: &[u16]| {
            let routes = routes(http, &[destination(HOST, Some(ports))]);
            routes[0].split('|').nth(1).unwrap().to_owned()
        };
        assert_eq!(ports("{route: [{destination: {host: a, port: {number: 9}}}]}", &[1]), "9");
        assert_eq!(ports("{route: [{destination: {host: a}}]}", &[8080]), "8080");
        assert_eq!(ports("{route: [{destination: {host: a}}]}", &[8080, 80]), "80");
    }

    #[test]
    fn a_missing_destination_is_a_value_and_only_if_all_are_missing_there_is_none() {
        let http =
            "{route: [{destination: {host: a, subset: v1}, weight: 90}, {destination: {host: gone.x}, weight: 10}]}";
        let (a, gone) = (destination(HOST, Some(&[80])), destination("gone.x", None));
        assert_eq!(
            routes(http, &[a, gone.clone()]),
            [": any -> outbound|80|v1|a.default.svc.cluster.local 90, outbound|80||gone.x 10"]
        );
        let missing = destination(HOST, None);
        assert_eq!(routes(http, &[missing, gone]), [": any -> no {a.default.svc.cluster.local, gone.x}"]);
    }

    #[test]
    fn destinations_of_weight_zero_are_left_out_unless_they_are_alone() {
        let http = "{route: [{destination: {host: a}, weight: 100}, {destination: {host: gone.x}, weight: 0}]}";
        let (a, gone) = (destination(HOST, Some(&[80])), destination("gone.x", None));
        assert_eq!(routes(http, &[a.clone(), gone.clone()]), [": any -> outbound|80||a.default.svc.cluster.local 100"]);
        assert_eq!(routes("{route: [{destination: {host: gone.x}}]}", &[gone]), [": any -> no {gone.x}"]);
    }

    #[test]
    fn conditions_that_cannot_hold_for_the_port_or_the_client_are_left_out_with_their_routes() {
        let rule = |condition: &str| format!("{{match: [{{{condition}}}], directResponse: {{status: 200}}}}");
        for condition in ["port: 80", "sourceNamespace: shop", "gateways: [mesh]"] {
            assert_eq!(routes(&rule(condition), &[]), [": any -> direct response"], "{condition}");
        }
        for condition in ["port: 81", "sourceNamespace: bank", "sourceLabels: {app: web}"] {
            assert!(routes(&rule(condition), &[]).is_empty(), "{condition}");
        }
    }

    #[test]
    fn what_comes_after_a_rule_that_takes_everything_is_left_out() {
        let all = "{match: [{uri: {exact: /a}}], redirect: {uri: /}}, {match: [{uri: {prefix: /}}], redirect: {uri: /}}, \
                   {redirect: {uri: /}}";
        assert_eq!(routes(all, &[]).len(), 2);
        assert_eq!(routes("{match: [{method: {exact: GET}}], redirect: {uri: /}}, {redirect: {uri: /}}", &[]).len(), 2);
    }

    #[test]
    fn mirrors_that_are_not_seen_or_copy_nothing_are_left_out() {
        let http = "{route: [{destination: {host: a}}], mirrors: [{destination: {host: a}, percentage: {value: 0.5}}, \
                    {destination: {host: gone.x}}, {destination: {host: a}, percentage: {value: 0}}]}";
        let a = destination(HOST, Some(&[80]));
        let cluster = "outbound|80||a.default.svc.cluster.local";
        assert_eq!(routes(http, std::slice::from_ref(&a)), [format!(": any -> {cluster} 0 + {cluster} 0.5")]);
        let former = "{route: [{destination: {host: a}}], mirror: {host: a}, mirrorPercent: 7}";
        assert_eq!(routes(former, &[a]), [format!(": any -> {cluster} 0 + {cluster} 7")]);
    }
}
