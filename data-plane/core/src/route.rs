//! What becomes of a request.

use std::sync::Arc;
use std::time::Duration;

/// A route table.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteTable {
    /// In the order in which they were sent.
    pub hosts: Vec<Arc<VirtualHost>>,
    /// More virtual hosts come one by one.
    pub is_split: bool,
}

/// Some domains and their routes.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualHost {
    /// Names, `*.suffix`, or `*`; lower case.
    pub domains: Vec<String>,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What the path must be.
    pub path: PathMatch,
    /// All must match.
    pub headers: Vec<HeaderMatch>,
    /// What is done.
    pub action: Action,
    /// Until the response's head. None: no limit.
    pub timeout: Option<Duration>,
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Begin with this.
    Prefix(String),
    /// Be this.
    Exact(String),
}

/// What a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// Anything.
    Present,
    /// This.
    Exact(String),
    /// Something that begins with this.
    Prefix(String),
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It goes to one of these clusters, by weight.
    Clusters(Vec<(String, u32)>),
    /// It is answered here.
    Direct {
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
}

/// A request, as far as routes look at it.
pub struct Head<'a> {
    /// The Host header, perhaps with a port.
    pub host: &'a str,
    /// The path, without query.
    pub path: &'a str,
    /// The value of a header.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl RouteTable {
    /// The route of a request: the host's most specific domain, there the first route that matches.
    pub fn find(&self, head: &Head<'_>) -> Option<&Route> {
        let host = without_port(head.host).to_ascii_lowercase();
        let rank = |domain: &String| match domain.strip_prefix('*') {
            None if *domain == host => Some(usize::MAX),
            Some(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => Some(suffix.len() + 1),
            None | Some(_) => None,
        };
        let ranked = self.hosts.iter().filter_map(|one| Some((one.domains.iter().filter_map(rank).max()?, one)));
        let (_, host) = ranked.rev().max_by_key(|(rank, _)| *rank)?;
        host.routes.iter().find(|route| route.matches(head))
    }
}

impl Route {
    fn matches(&self, head: &Head<'_>) -> bool {
        let path_ok = match &self.path {
            PathMatch::Prefix(prefix) => head.path.starts_with(prefix),
            PathMatch::Exact(path) => head.path == path,
        };
        path_ok
            && self.headers.iter().all(|wanted| {
                (head.header)(&wanted.name).is_some_and(|value| match &wanted.value {
                    ValueMatch::Present => true,
                    ValueMatch::Exact(text) => value == text,
                    ValueMatch::Prefix(text) => value.starts_with(text),
                })
            })
    }
}

/// The cluster for a random number: weights are shares of their sum. None: all weights are zero.
pub fn pick_cluster(clusters: &[(String, u32)], random: u64) -> Option<&str> {
    let sum: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut rest = random.checked_rem(sum)?;
    for (name, weight) in clusters {
        match rest.checked_sub(u64::from(*weight)) {
            Some(left) => rest = left,
            None => return Some(name),
        }
    }
    None
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: PathMatch, cluster: &str) -> Route {
        Route { path, headers: Vec::new(), action: Action::Clusters(vec![(cluster.into(), 1)]), timeout: None }
    }

    fn find(table: &RouteTable, host: &str, path: &str, user: Option<&'static str>) -> Option<String> {
        let header = move |name: &str| if name == "user" { user } else { None };
        let found = table.find(&Head { host, path, header: &header })?;
        let Action::Clusters(clusters) = &found.action else { return None };
        Some(clusters[0].0.clone())
    }

    #[test]
    fn the_most_specific_domain_and_then_the_first_route_is_taken() {
        let any = || PathMatch::Prefix("/".into());
        let mut by_user = route(any(), "jason");
        by_user.headers.push(HeaderMatch { name: "user".into(), value: ValueMatch::Exact("jason".into()) });
        let host = |domain: &str, routes| Arc::new(VirtualHost { domains: vec![domain.into()], routes });
        let table = RouteTable {
            hosts: vec![
                host("*", vec![route(any(), "rest")]),
                host("*.shop", vec![route(any(), "wild")]),
                host(
                    "a.shop",
                    vec![
                        by_user,
                        route(PathMatch::Exact("/x".into()), "exact"),
                        route(PathMatch::Prefix("/p".into()), "prefix"),
                    ],
                ),
            ],
            is_split: false,
        };
        let check = |host: &str, path: &str, user, want: Option<&str>| {
            assert_eq!(find(&table, host, path, user).as_deref(), want, "{host}{path}")
        };
        check("A.shop:9080", "/x", None, Some("exact"));
        check("a.shop", "/pages", None, Some("prefix"));
        check("a.shop", "/pages", Some("jason"), Some("jason"));
        check("a.shop", "/other", None, None);
        check("b.shop", "/", None, Some("wild"));
        check("shop", "/", None, Some("rest"));
    }

    #[test]
    fn weights_are_shares_of_their_sum() {
        let clusters = [("a".to_owned(), 90), ("b".to_owned(), 0), ("c".to_owned(), 10)];
        let count = |name: &str| (0..100).filter(|random| pick_cluster(&clusters, *random) == Some(name)).count();
        assert_eq!((count("a"), count("b"), count("c")), (90, 0, 10));
        assert_eq!(pick_cluster(&[("a".to_owned(), 0)], 7), None);
    }
}
