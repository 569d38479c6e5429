//! What becomes of a request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::shards::ShardedMap;

/// A route table. A change of one virtual host costs its own domains, however many hosts the table has. A request finds
/// its virtual host by one lookup, or, where only a wildcard fits, by at most one for each character of its host.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// Whether further virtual hosts come as resources of their own.
    pub is_split: bool,
    /// The virtual hosts by name.
    hosts: ShardedMap<Arc<VirtualHost>>,
    /// The virtual hosts by their domains that are no wildcards.
    by_domain: ShardedMap<Arc<VirtualHost>>,
    /// The virtual hosts by the suffixes of their wildcards: `.shop` for `*.shop`, and nothing for `*`.
    by_suffix: Arc<BTreeMap<String, Arc<VirtualHost>>>,
}

impl PartialEq for RouteTable {
    fn eq(&self, other: &Self) -> bool {
        self.is_split == other.is_split
            && self.hosts.len() == other.hosts.len()
            && self.hosts.iter().all(|(name, host)| other.hosts.get(name) == Some(host))
    }
}

/// Some domains and their routes.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualHost {
    /// The domains in lower case: a name, `*.suffix`, or `*`.
    pub domains: Vec<String>,
    /// The routes. The first that matches is taken.
    pub routes: Vec<Route>,
}

/// A route: which requests it takes, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What the path must be.
    pub path: PathMatch,
    /// What the headers must be, all of them.
    pub headers: Vec<HeaderMatch>,
    /// What becomes of the request.
    pub action: Action,
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The path must begin with this.
    Prefix(String),
    /// The path must be this.
    Exact(String),
}

/// What a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The name of the header in lower case.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// What the value of a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// The value may be anything.
    Present,
    /// The value must be this.
    Exact(String),
    /// The value must begin with this.
    Prefix(String),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The request goes to one of some clusters.
    Forward {
        /// The clusters, of which one is chosen by weight.
        clusters: Vec<WeightedCluster>,
        /// The time until the head of the response must have come. `None` means that there is no limit.
        timeout: Option<Duration>,
    },
    /// The request is answered by the proxy.
    Direct {
        /// The status code, from 100 to 599.
        status: u16,
        /// The body of the answer, as text.
        body: String,
    },
}

/// A cluster, and its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedCluster {
    /// The name of the cluster.
    pub name: String,
    /// The share, relative to the other clusters.
    pub weight: u32,
}

/// A request, as far as routes look at it.
pub struct RequestHead<'a> {
    /// The Host header, perhaps with a port.
    pub host: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// Returns the value of a header.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl RouteTable {
    /// Returns a table without virtual hosts.
    pub fn new(is_split: bool) -> Self {
        Self { is_split, ..Self::default() }
    }

    /// Returns the number of virtual hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Returns whether there is no virtual host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns every virtual host with its name, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<VirtualHost>)> {
        self.hosts.iter()
    }

    /// Puts a virtual host under a name.
    pub fn insert(&mut self, name: Arc<str>, host: Arc<VirtualHost>) {
        self.remove(&name);
        for domain in &host.domains {
            match domain.strip_prefix('*') {
                Some(suffix) => drop(Arc::make_mut(&mut self.by_suffix).insert(suffix.to_owned(), host.clone())),
                None => drop(self.by_domain.insert(domain.as_str().into(), host.clone())),
            }
        }
        self.hosts.insert(name, host);
    }

    /// Removes the virtual host of a name.
    pub fn remove(&mut self, name: &str) {
        let Some(host) = self.hosts.remove(name) else { return };
        for domain in &host.domains {
            // Another host may have taken the domain over.
            match domain.strip_prefix('*') {
                Some(suffix) if self.by_suffix.get(suffix).is_some_and(|found| Arc::ptr_eq(found, &host)) => {
                    Arc::make_mut(&mut self.by_suffix).remove(suffix);
                }
                None if self.by_domain.get(domain).is_some_and(|found| Arc::ptr_eq(found, &host)) => {
                    self.by_domain.remove(domain);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Returns the route of a request: in the virtual host with the most specific domain, the first route that matches.
    /// A request that no virtual host or no route takes has none, and is answered 404 by the proxy.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<&Route> {
        let host = without_port(head.host).to_ascii_lowercase();
        let virtual_host = self.by_domain.get(&host).or_else(|| self.by_longest_suffix(&host))?;
        virtual_host.routes.iter().find(|route| route.matches(head))
    }

    /// A wildcard stands for at least one character.
    fn by_longest_suffix(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        let starts = (1..=host.len()).filter(|start| host.is_char_boundary(*start));
        starts.into_iter().find_map(|start| self.by_suffix.get(&host[start..]))
    }
}

impl Route {
    fn matches(&self, head: &RequestHead<'_>) -> bool {
        let is_path = match &self.path {
            PathMatch::Prefix(prefix) => head.path.starts_with(prefix),
            PathMatch::Exact(path) => head.path == path,
        };
        is_path && self.headers.iter().all(|header| header.matches(head))
    }
}

impl HeaderMatch {
    fn matches(&self, head: &RequestHead<'_>) -> bool {
        let Some(value) = (head.header)(&self.name) else { return false };
        match &self.value {
            ValueMatch::Present => true,
            ValueMatch::Exact(text) => value == text,
            ValueMatch::Prefix(text) => value.starts_with(text),
        }
    }
}

/// Chooses a cluster by a random number. `None` means that every weight is zero. The number should be evenly
/// distributed over all of its range; the weights need not sum to 100.
pub fn pick_cluster(clusters: &[WeightedCluster], random: u64) -> Option<&str> {
    let sum: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let mut rest = random.checked_rem(sum)?;
    for cluster in clusters {
        match rest.checked_sub(u64::from(cluster.weight)) {
            Some(left) => rest = left,
            None => return Some(&cluster.name),
        }
    }
    None
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: PathMatch, cluster: &str) -> Route {
        let clusters = vec![WeightedCluster { name: cluster.into(), weight: 1 }];
        Route { path, headers: Vec::new(), action: Action::Forward { clusters, timeout: None } }
    }

    fn find(table: &RouteTable, host: &str, path: &str, user: Option<&'static str>) -> Option<String> {
        let header = move |name: &str| if name == "user" { user } else { None };
        let found = table.find(&RequestHead { host, path, header: &header })?;
        let Action::Forward { clusters, .. } = &found.action else { return None };
        Some(clusters[0].name.clone())
    }

    fn put(table: &mut RouteTable, domain: &str, routes: Vec<Route>) {
        let host = VirtualHost { domains: vec![domain.into()], routes };
        table.insert(domain.into(), host.into());
    }

    fn any() -> PathMatch {
        PathMatch::Prefix("/".into())
    }

    #[test]
    fn the_most_specific_domain_and_then_the_first_route_is_taken() {
        let mut by_user = route(any(), "jason");
        by_user.headers.push(HeaderMatch { name: "user".into(), value: ValueMatch::Exact("jason".into()) });
        let mut table = RouteTable::default();
        put(&mut table, "*", vec![route(any(), "rest")]);
        put(&mut table, "*.shop", vec![route(any(), "wild")]);
        let exact = route(PathMatch::Exact("/x".into()), "exact");
        put(&mut table, "a.shop", vec![by_user, exact, route(PathMatch::Prefix("/p".into()), "prefix")]);
        let check = |host: &str, path: &str, user, want: Option<&str>| {
            assert_eq!(find(&table, host, path, user).as_deref(), want, "{host}{path}")
        };
        check("A.shop:9080", "/x", None, Some("exact"));
        check("a.shop", "/pages", None, Some("prefix"));
        check("a.shop", "/pages", Some("jason"), Some("jason"));
        check("a.shop", "/other", None, None);
        check("b.shop", "/", None, Some("wild"));
        check("x.b.shop", "/", None, Some("wild"));
        check("shop", "/", None, Some("rest"));
        check(".shop", "/", None, Some("rest"));
    }

    #[test]
    fn a_virtual_host_that_changes_or_goes_takes_its_domains_along() {
        let mut table = RouteTable::default();
        table.insert(
            "h".into(),
            VirtualHost { domains: vec!["a".into(), "*.a".into()], routes: vec![route(any(), "1")] }.into(),
        );
        table.insert("h".into(), VirtualHost { domains: vec!["b".into()], routes: vec![route(any(), "2")] }.into());
        assert_eq!((find(&table, "a", "/", None), find(&table, "x.a", "/", None)), (None, None));
        assert_eq!(find(&table, "b", "/", None).as_deref(), Some("2"));
        put(&mut table, "b", vec![route(any(), "3")]);
        table.remove("h");
        assert_eq!(find(&table, "b", "/", None).as_deref(), Some("3"), "the domain has been taken over");
    }

    #[test]
    fn weights_are_shares_of_their_sum() {
        let cluster = |name: &str, weight| WeightedCluster { name: name.into(), weight };
        let clusters = [cluster("a", 90), cluster("b", 0), cluster("c", 10)];
        let count = |name: &str| (0..100).filter(|random| pick_cluster(&clusters, *random) == Some(name)).count();
        assert_eq!((count("a"), count("b"), count("c")), (90, 0, 10));
        assert_eq!(pick_cluster(&[cluster("a", 0)], 7), None);
    }
}
