//! Where the routes of a resource lead.

use std::fmt;

use prost::Message;
use route::route::Action;
use route::route_action::ClusterSpecifier;
use rutter_api::ResourceType;
use rutter_api::pb::envoy::config::listener::v3 as listener;
use rutter_api::pb::envoy::config::route::v3 as route;
use rutter_api::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use tcp_proxy::tcp_proxy::ClusterSpecifier as ConnectionSpecifier;

use super::reach::Reach;
use crate::resource::EncodedResource;
use crate::walk::condition;

/// Where a route is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A route of a virtual host.
    Route {
        /// The virtual host.
        host: String,
        /// What the route takes.
        condition: String,
        /// The number of routes of the virtual host before it that take the same.
        number: usize,
    },
    /// All routes of a virtual host, of which the first that takes a request counts.
    Order {
        /// The virtual host.
        host: String,
    },
    /// A filter chain of a listener.
    Chain {
        /// The listener.
        listener: String,
        /// The filter chain.
        chain: String,
    },
}

impl Place {
    /// Returns whether two routes are in one virtual host, or two filter chains in one listener.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Route { host, .. }, Self::Route { host: other, .. }) => host == other,
            (Self::Chain { listener, .. }, Self::Chain { listener: other, .. }) => listener == other,
            (Self::Route { .. } | Self::Order { .. }, Self::Order { .. } | Self::Chain { .. })
            | (Self::Order { .. } | Self::Chain { .. }, Self::Route { .. })
            | (Self::Chain { .. }, Self::Order { .. }) => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route { host, condition, .. } => write!(f, "{host} {condition}"),
            Self::Order { host } => write!(f, "{host} order of the routes"),
            Self::Chain { listener, chain } => write!(f, "{listener} {chain}"),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// To clusters, each with its weight.
    Clusters(Vec<(String, u32)>),
    /// The proxy itself answers with a status and a text.
    Answer(u32, String),
    /// The proxy answers with another place.
    Redirect(String),
    /// To what the first of some routes says that takes a request. They are given by what they take.
    First(Vec<String>),
}

impl Outcome {
    /// Returns whether a request fails, at least with some probability.
    pub(super) fn fails(&self, reach: &Reach<'_>) -> bool {
        match self {
            Self::Clusters(clusters) => clusters.iter().any(|(name, weight)| *weight > 0 && !reach.has(name)),
            Self::Answer(status, _) => matches!(status, 502 | 503),
            Self::Redirect(_) | Self::First(_) => false,
        }
    }

    /// Returns an order without the routes that are not in another one.
    pub(super) fn as_in(&self, other: Option<&Self>) -> Self {
        match (self, other) {
            (Self::First(routes), Some(Self::First(others))) => {
                Self::First(routes.iter().filter(|route| others.contains(route)).cloned().collect())
            }
            (Self::First(_), _) => Self::First(Vec::new()),
            (outcome, _) => outcome.clone(),
        }
    }

    pub(super) fn leads_to(&self, cluster: &str) -> bool {
        match self {
            Self::Clusters(clusters) => clusters.iter().any(|(name, _)| name == cluster),
            Self::Answer(..) | Self::Redirect(_) | Self::First(_) => false,
        }
    }

    /// Returns where the route leads, in words.
    pub(super) fn text(&self, reach: &Reach<'_>) -> String {
        match self {
            Self::Answer(status, text) if text.is_empty() => status.to_string(),
            Self::Answer(status, text) => format!("{status}: {}", text.trim()),
            Self::Redirect(to) => format!("redirect to {to}"),
            Self::First(routes) => routes.join(", "),
            Self::Clusters(clusters) => {
                let all: u32 = clusters.iter().map(|(_, weight)| weight).sum();
                let text = |(name, weight): &(String, u32)| {
                    let share = if clusters.len() > 1 { format!(" {weight}/{all}") } else { String::new() };
                    let dead = if reach.has(name) { "" } else { " (503: no endpoints)" };
                    format!("{name}{share}{dead}")
                };
                clusters.iter().map(text).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Returns where the routes of a resource lead. Resources of types without routes have none.
pub(super) fn outcomes(resource_type: ResourceType, resource: &EncodedResource) -> Vec<(Place, Outcome)> {
    let body = resource.body();
    match resource_type {
        ResourceType::VirtualHost => route::VirtualHost::decode(body).map(|host| of_host(&host)).unwrap_or_default(),
        ResourceType::Route => {
            let table = route::RouteConfiguration::decode(body).unwrap_or_default();
            table.virtual_hosts.iter().flat_map(of_host).collect()
        }
        ResourceType::Listener => {
            listener::Listener::decode(body).map(|listener| of_listener(&listener)).unwrap_or_default()
        }
        ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => Vec::new(),
    }
}

fn of_host(host: &route::VirtualHost) -> Vec<(Place, Outcome)> {
    let mut found: Vec<(Place, Outcome)> = Vec::new();
    for route in &host.routes {
        let Some(outcome) = route.action.as_ref().and_then(of_action) else { continue };
        let condition = condition(route.r#match.as_ref());
        let is_same = |place: &Place| matches!(place, Place::Route { condition: other, .. } if *other == condition);
        let number = found.iter().filter(|(place, _)| is_same(place)).count();
        found.push((Place::Route { host: host.name.clone(), condition, number }, outcome));
    }
    let order = found.iter().filter_map(|(place, _)| match place {
        Place::Route { condition, number: 0, .. } => Some(condition.clone()),
        Place::Route { .. } | Place::Order { .. } | Place::Chain { .. } => None,
    });
    let order: Vec<String> = order.collect();
    if order.len() > 1 {
        found.push((Place::Order { host: host.name.clone() }, Outcome::First(order)));
    }
    found
}

fn of_action(action: &Action) -> Option<Outcome> {
    match action {
        Action::Route(action) => match action.cluster_specifier.as_ref()? {
            ClusterSpecifier::Cluster(name) => Some(Outcome::Clusters(vec![(name.clone(), 1)])),
            ClusterSpecifier::WeightedClusters(weighted) => {
                let clusters = weighted.clusters.iter();
                Some(Outcome::Clusters(
                    clusters.map(|cluster| (cluster.name.clone(), cluster.weight.unwrap_or_default())).collect(),
                ))
            }
            ClusterSpecifier::ClusterHeader(_)
            | ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(_) => None,
        },
        Action::DirectResponse(answer) => {
            let text = answer.body.as_ref().and_then(|body| body.specifier.clone());
            let text = match text {
                Some(rutter_api::pb::envoy::config::core::v3::data_source::Specifier::InlineString(text)) => text,
                _ => String::new(),
            };
            Some(Outcome::Answer(answer.status, text))
        }
        Action::Redirect(redirect) => {
            Some(Outcome::Redirect(format!("{}{:?}", redirect.host_redirect, redirect.path_rewrite_specifier)))
        }
        Action::FilterAction(_) | Action::NonForwardingAction(_) => None,
    }
}

fn of_listener(listener: &listener::Listener) -> Vec<(Place, Outcome)> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let found = chains.enumerate().filter_map(|(number, chain)| {
        let config = chain.filters.last()?.config_type.as_ref()?;
        let listener::filter::ConfigType::TypedConfig(config) = config else { return None };
        if !config.type_url.ends_with(".TcpProxy") {
            return None;
        }
        let proxy = tcp_proxy::TcpProxy::decode(config.value.as_slice()).ok()?;
        let clusters = match proxy.cluster_specifier? {
            ConnectionSpecifier::Cluster(name) => vec![(name, 1)],
            ConnectionSpecifier::WeightedClusters(weighted) => {
                weighted.clusters.into_iter().map(|cluster| (cluster.name, cluster.weight)).collect()
            }
        };
        let chain = if chain.name.is_empty() { format!("filter chain {number}") } else { chain.name.clone() };
        Some((Place::Chain { listener: listener.name.clone(), chain }, Outcome::Clusters(clusters)))
    });
    found.collect()
}
