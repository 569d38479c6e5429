//! The xDS resource types that Rutter serves.

use std::fmt;
use std::ops::{Index, IndexMut};

use strum::{EnumCount, VariantArray};

/// A type of xDS resource. The variants stand in the order in which they are pushed, which is Istio's `PushOrder`:
/// what is referred to goes before what refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumCount, VariantArray)]
pub enum ResourceType {
    /// CDS: where requests can go.
    Cluster,
    /// EDS: the endpoints of a cluster, as a ClusterLoadAssignment.
    Endpoint,
    /// LDS: where connections arrive.
    Listener,
    /// RDS: a route table.
    Route,
    /// SDS: a certificate with its key, or the certificates that a peer is checked with.
    Secret,
    /// VHDS: one virtual host of a route table.
    VirtualHost,
}

/// The form of a state-of-the-world response for a type. Delta responses have one form for all types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOfTheWorldForm {
    /// Every response holds all resources that the client wants, so that a missing one is gone.
    Whole,
    /// A response holds what changed; a missing resource stays as it was.
    Changed,
    /// The type exists in delta streams only.
    NotServed,
}

/// Sorts the types by their rank in removals, when the program is compiled.
const fn removal_order() -> [ResourceType; ResourceType::COUNT] {
    let mut order = ResourceType::ALL;
    let mut sorted = 1;
    while sorted < order.len() {
        let mut at = sorted;
        while at > 0 && order[at].row().removal_rank < order[at - 1].row().removal_rank {
            (order[at - 1], order[at]) = (order[at], order[at - 1]);
            at -= 1;
        }
        sorted += 1;
    }
    order
}

/// What is fixed for a type: one exhaustive row each, so that a new type does not compile until every column of it is
/// answered. The public methods of the type are views of the columns.
struct Row {
    type_url: &'static str,
    word: &'static str,
    /// Lower goes first when resources are removed: what refers to others goes before these.
    removal_rank: u8,
    state_of_the_world_form: StateOfTheWorldForm,
    refers_to_clusters: bool,
}

impl ResourceType {
    /// Every type, in push order.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Cluster; Self::COUNT];
        let mut at = 0;
        while at < Self::COUNT {
            all[at] = Self::VARIANTS[at];
            at += 1;
        }
        all
    };

    /// The number of types.
    pub const COUNT: usize = <Self as EnumCount>::COUNT;

    const fn row(self) -> Row {
        use StateOfTheWorldForm::{Changed, NotServed, Whole};
        let (type_url, word, removal_rank, state_of_the_world_form, refers_to_clusters) = match self {
            Self::Cluster => ("type.googleapis.com/envoy.config.cluster.v3.Cluster", "cluster", 3, Whole, false),
            Self::Endpoint => {
                ("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "endpoint", 4, Changed, false)
            }
            Self::Listener => ("type.googleapis.com/envoy.config.listener.v3.Listener", "listener", 0, Whole, true),
            Self::Route => ("type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "route", 1, Changed, true),
            Self::Secret => {
                ("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "secret", 5, Changed, false)
            }
            Self::VirtualHost => {
                ("type.googleapis.com/envoy.config.route.v3.VirtualHost", "virtualhost", 2, NotServed, true)
            }
        };
        Row { type_url, word, removal_rank, state_of_the_world_form, refers_to_clusters }
    }

    /// Returns the type URL of the protobuf message, as requests and responses name it.
    pub fn type_url(self) -> &'static str {
        self.row().type_url
    }

    /// Returns the type with a type URL, or `None` if Rutter does not serve that type.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource_type| resource_type.type_url() == url)
    }

    /// Returns the word for the type in commands, tables and metrics. It is that of `istioctl proxy-config`.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// Returns the type with a word in any case, singular or plural.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let word = word.strip_suffix('s').unwrap_or(&word);
        Self::ALL.into_iter().find(|resource_type| resource_type.word() == word)
    }

    /// Returns every type in the order in which resources are removed: what refers to others goes first, so that
    /// nothing is left that refers to a missing resource (rule O1 of `docs/xds.md`). Additions go in the opposite
    /// direction, in push order.
    pub fn in_removal_order() -> [Self; Self::COUNT] {
        const ORDER: [ResourceType; ResourceType::COUNT] = removal_order();
        ORDER
    }

    /// Returns the form of state-of-the-world responses for this type.
    pub fn state_of_the_world_form(self) -> StateOfTheWorldForm {
        self.row().state_of_the_world_form
    }

    /// Returns whether resources of this type refer to clusters. Such a resource follows the clusters that it may
    /// need, and a cluster is removed only after such resources stopped using it (rules O1 and O2).
    pub fn refers_to_clusters(self) -> bool {
        self.row().refers_to_clusters
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One value for each resource type, found by the type without a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerType<T>([T; ResourceType::COUNT]);

impl<T> PerType<T> {
    /// Makes the value of each type with a function of the type.
    pub fn from_fn(mut make: impl FnMut(ResourceType) -> T) -> Self {
        Self(std::array::from_fn(|at| make(ResourceType::ALL[at])))
    }

    /// Returns each type with its value, in push order.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceType, &T)> {
        ResourceType::ALL.into_iter().zip(&self.0)
    }

    /// Returns the values, in push order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Takes the container apart: each type with its value, in push order.
    pub fn into_pairs(self) -> impl Iterator<Item = (ResourceType, T)> {
        ResourceType::ALL.into_iter().zip(self.0)
    }
}

impl<T> Index<ResourceType> for PerType<T> {
    type Output = T;

    fn index(&self, resource_type: ResourceType) -> &T {
        &self.0[resource_type as usize]
    }
}

impl<T> IndexMut<ResourceType> for PerType<T> {
    fn index_mut(&mut self, resource_type: ResourceType) -> &mut T {
        &mut self.0[resource_type as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_words_read_back() {
        for resource_type in ResourceType::ALL.into_iter() {
            assert_eq!(ResourceType::from_type_url(resource_type.type_url()), Some(resource_type));
            assert_eq!(ResourceType::from_word(resource_type.word()), Some(resource_type));
        }
        assert_eq!(ResourceType::from_word("Clusters"), Some(ResourceType::Cluster));
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/x"), None);
    }

    #[test]
    fn push_order_and_removal_order_name_every_type_once() {
        use ResourceType::{Cluster, Endpoint, Listener, Route, Secret, VirtualHost};
        assert_eq!(ResourceType::ALL, [Cluster, Endpoint, Listener, Route, Secret, VirtualHost]);
        assert_eq!(ResourceType::in_removal_order(), [Listener, Route, VirtualHost, Cluster, Endpoint, Secret]);
        let ranks: std::collections::BTreeSet<u8> =
            ResourceType::ALL.iter().map(|resource_type| resource_type.row().removal_rank).collect();
        assert_eq!(ranks.len(), ResourceType::COUNT, "no two types are removed at the same place");
    }

    #[test]
    fn what_refers_to_clusters_is_removed_before_them() {
        let order = ResourceType::in_removal_order();
        let clusters = order.iter().position(|resource_type| *resource_type == ResourceType::Cluster);
        let referring = order.iter().rposition(|resource_type| resource_type.refers_to_clusters());
        assert!(referring < clusters);
    }

    #[test]
    fn a_value_per_type_is_found_by_its_type() {
        let mut lengths = PerType::from_fn(|resource_type| resource_type.word().len());
        lengths[ResourceType::Route] = 99;
        assert_eq!((lengths[ResourceType::Cluster], lengths[ResourceType::Route]), (7, 99));
        let types: Vec<ResourceType> = lengths.iter().map(|(resource_type, _)| resource_type).collect();
        assert_eq!(types, ResourceType::ALL);
        assert_eq!(lengths.into_pairs().last(), Some((ResourceType::VirtualHost, 11)));
    }
}
