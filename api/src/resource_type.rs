//! The xDS resource types that Rutter serves, in the order in which they are pushed.

use std::fmt;

/// A type of xDS resource. The order is Istio's `PushOrder`: what is referred to goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// SDS: certificates and what they are checked with.
    Secret,
    /// VHDS: one virtual host of a route table.
    VirtualHost,
}

impl ResourceType {
    /// Every type, in push order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret, Self::VirtualHost];

    /// How many there are.
    pub const COUNT: usize = 6;

    /// The type URL of the protobuf message.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        }
    }

    /// The type of a type URL; None: one that Rutter does not serve.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The word that people use, as `istioctl proxy-config` has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Secret => "secret",
            Self::VirtualHost => "virtualhost",
        }
    }

    /// The type of a word, singular or plural.
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let word = word.strip_suffix('s').unwrap_or(&word);
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_words_read_back() {
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
            assert_eq!(ResourceType::from_word(kind.word()), Some(kind));
            assert_eq!(ResourceType::ALL[kind.index()], kind);
        }
        assert_eq!(ResourceType::from_word("Clusters"), Some(ResourceType::Cluster));
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/x"), None);
    }
}
