//! The rules of a VirtualService for one host and port, with their destinations looked up.

use std::collections::BTreeSet;
use std::time::Duration;

use rutter_api::config::istio::{Destination, HttpMatch, HttpRoute};
use rutter_api::{ClusterName, Config, Hostname};

/// What requests are for: a host and a port, as the client names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// The full name of the host.
    pub host: &'a Hostname,
    /// The port of the service that clients use.
    pub port: u16,
    /// The suffix of Kubernetes' service names, by which short names are completed.
    pub domain: &'a str,
}

/// A destination of a rule, looked up in what the client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedUpDestination {
    /// The full name of the host.
    pub host: Hostname,
    /// The port numbers of the service. `None` means that the client sees no service of that host.
    pub ports: Option<Vec<u16>>,
}

/// One rule: the requests that it takes, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route<'a> {
    /// The names of the rule and of its condition, joined by a dot. It is empty if neither has a name.
    pub name: String,
    /// The condition. `None` means that the rule takes every request.
    pub condition: Option<&'a HttpMatch>,
    /// What becomes of the requests.
    pub action: RouteAction,
    /// The full host of the first destination, by which Istio names the operation in traces.
    pub first_host: Option<Hostname>,
}

/// What becomes of the requests that a rule takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// The requests are divided among clusters by weight.
    Forward {
        /// The clusters, at least one. A cluster may be missing, if the client sees the host of another destination.
        clusters: Vec<RouteCluster>,
        /// The time limit for the whole exchange. `None` means Istio's default, which is no limit.
        timeout: Option<Duration>,
    },
    /// The client sees none of the hosts that the rule sends to.
    NoDestination {
        /// The hosts that are missing.
        missing: BTreeSet<Hostname>,
    },
}

/// A cluster that requests go to, and its share of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCluster {
    /// The name of the cluster.
    pub name: ClusterName,
    /// The share, relative to the other clusters of the rule.
    pub weight: u32,
}

/// Returns the rules of a VirtualService for requests to a target, in order: one for each condition of each of its
/// HTTP routes. The destinations must contain every host that the VirtualService sends to.
pub fn routes_of<'a>(
    virtual_service: &'a Config,
    target: RequestTarget<'_>,
    destinations: &[LookedUpDestination],
) -> Vec<Route<'a>> {
    let Some(spec) = virtual_service.spec.as_virtual_service() else { return Vec::new() };
    let lookup = Lookup { namespace: &virtual_service.key.namespace, target, destinations };
    let mut routes = Vec::new();
    for http in &spec.http {
        // A new field of a route does not compile until it is decided what becomes of it.
        let HttpRoute { name, matches, route, timeout: _ } = http;
        let action = lookup.action_of(http);
        let first_host = route.first().map(|route| lookup.full_host(&route.destination));
        let conditions: Vec<Option<&HttpMatch>> =
            if matches.is_empty() { vec![None] } else { matches.iter().map(Some).collect() };
        routes.extend(conditions.into_iter().map(|condition| Route {
            name: joined_name(name, condition),
            condition,
            action: action.clone(),
            first_host: first_host.clone(),
        }));
    }
    routes
}

fn joined_name(route_name: &str, condition: Option<&HttpMatch>) -> String {
    let condition_name = condition.map_or("", |condition| condition.name.as_str());
    let names: Vec<&str> = [route_name, condition_name].into_iter().filter(|name| !name.is_empty()).collect();
    names.join(".")
}

/// What is needed to find the cluster of a destination.
struct Lookup<'a> {
    /// The namespace of the VirtualService, in which short names are meant.
    namespace: &'a str,
    target: RequestTarget<'a>,
    destinations: &'a [LookedUpDestination],
}

impl Lookup<'_> {
    fn full_host(&self, destination: &Destination) -> Hostname {
        destination.host.resolve(self.namespace, self.target.domain)
    }

    fn action_of(&self, http: &HttpRoute) -> RouteAction {
        let mut clusters = Vec::new();
        let mut missing = BTreeSet::new();
        for route in http.route.iter().filter(|route| route.weight > 0 || http.route.len() == 1) {
            let host = self.full_host(&route.destination);
            let ports = self.destinations.iter().find(|looked_up| looked_up.host == host);
            let name = match ports.and_then(|looked_up| looked_up.ports.as_deref()) {
                Some(ports) => self.cluster_name(&host, &route.destination, ports),
                None => {
                    missing.insert(host.clone());
                    ClusterName::outbound(self.target.port, &host)
                }
            };
            clusters.push((RouteCluster { name, weight: route.weight }, host));
        }
        if !missing.is_empty() && clusters.iter().all(|(_, host)| missing.contains(host)) {
            return RouteAction::NoDestination { missing };
        }
        let clusters = clusters.into_iter().map(|(cluster, _)| cluster).collect();
        RouteAction::Forward { clusters, timeout: http.timeout }
    }

    /// A destination without a port means the only port of its service or, if it has several, that of the request.
    fn cluster_name(&self, host: &Hostname, destination: &Destination, ports: &[u16]) -> ClusterName {
        let port = match (&destination.port, ports) {
            (Some(port), _) => port.number.get(),
            (None, [only]) => *only,
            (None, _) => self.target.port,
        };
        ClusterName::outbound(port, host).with_subset(destination.subset.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;

    const HOST: &str = "a.default.svc.cluster.local";

    fn destination(host: &str, ports: Option<&[u16]>) -> LookedUpDestination {
        LookedUpDestination { host: host.parse().unwrap(), ports: ports.map(<[u16]>::to_vec) }
    }

    /// The rules as text: condition's path, clusters with weights or the missing hosts.
    fn routes(http: &str, destinations: &[LookedUpDestination]) -> Vec<String> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
             spec: {{hosts: [a], http: [{http}]}}"
        );
        let host: Hostname = HOST.parse().unwrap();
        let target = RequestTarget { host: &host, port: 80, domain: "cluster.local" };
        let config = config(&text);
        let describe = |route: &Route<'_>| {
            let condition = route.condition.map_or("any".to_owned(), |condition| format!("{:?}", condition.uri));
            match &route.action {
                RouteAction::Forward { clusters, timeout } => {
                    let clusters: Vec<String> =
                        clusters.iter().map(|cluster| format!("{} {}", cluster.name, cluster.weight)).collect();
                    format!("{}: {condition} -> {} {timeout:?}", route.name, clusters.join(", "))
                }
                RouteAction::NoDestination { missing } => format!("{}: {condition} -> no {missing:?}", route.name),
            }
        };
        routes_of(&config, target, destinations).iter().map(describe).collect()
    }

    #[test]
    fn each_condition_is_a_rule_and_names_are_joined() {
        let http = "{name: r, timeout: 3s, match: [{name: m, uri: {prefix: /p}}, {uri: {exact: /x}}], \
                    route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}";
        let a = destination(HOST, Some(&[80]));
        assert_eq!(
            routes(http, &[a]),
            [
                "r.m: Some(Prefix(\"/p\")) -> outbound|80||a.default.svc.cluster.local 0 Some(3s)",
                "r: Some(Exact(\"/x\")) -> outbound|80||a.default.svc.cluster.local 0 Some(3s)",
                ": any -> outbound|80||a.default.svc.cluster.local 0 None",
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
            [": any -> outbound|80|v1|a.default.svc.cluster.local 90, outbound|80||gone.x 10 None"]
        );
        let missing = destination(HOST, None);
        assert_eq!(routes(http, &[missing, gone]), [": any -> no {a.default.svc.cluster.local, gone.x}"]);
    }

    #[test]
    fn destinations_of_weight_zero_are_left_out_unless_they_are_alone() {
        let http = "{route: [{destination: {host: a}, weight: 100}, {destination: {host: gone.x}, weight: 0}]}";
        let (a, gone) = (destination(HOST, Some(&[80])), destination("gone.x", None));
        assert_eq!(
            routes(http, &[a.clone(), gone.clone()]),
            [": any -> outbound|80||a.default.svc.cluster.local 100 None"]
        );
        assert_eq!(routes("{route: [{destination: {host: gone.x}}]}", &[gone]), [": any -> no {gone.x}"]);
    }
}
