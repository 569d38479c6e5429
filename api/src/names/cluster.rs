//! Istio's cluster names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Hostname;

/// The direction of traffic, seen from the application beside the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Traffic goes to the application.
    Inbound,
    /// Traffic comes from the application.
    Outbound,
}

/// The name of a cluster, and of its load assignment, as Istio writes it: `direction|port|subset|host`, for example
/// `outbound|80|v1|reviews.default.svc.cluster.local` or `inbound|8080||`. Statistics, access logs and `istioctl
/// proxy-config` show these names, so they are exactly those of Istio.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// Whether the cluster leads to the own application or away from it.
    pub direction: Direction,
    /// Outbound: the port of the service. Inbound: the port on which the application serves.
    pub port: u16,
    /// The subset of a DestinationRule. `None` means every endpoint of the service.
    pub subset: Option<Arc<str>>,
    /// The host of the service. `None` for inbound clusters, which all lead to the same application.
    pub host: Option<Hostname>,
}

impl ClusterName {
    /// Returns the name of the cluster of all endpoints of a service port.
    pub fn outbound(port: u16, host: &Hostname) -> Self {
        Self { direction: Direction::Outbound, port, subset: None, host: Some(host.clone()) }
    }

    /// Returns the name of the cluster that leads to a port of the own application.
    pub fn inbound(port: u16) -> Self {
        Self { direction: Direction::Inbound, port, subset: None, host: None }
    }

    /// Returns the name of the same port's cluster with only the endpoints of one subset.
    #[must_use]
    pub fn with_subset(mut self, subset: Option<&str>) -> Self {
        self.subset = subset.map(Arc::from);
        self
    }

    /// Returns Istio's form of the name for TLS, by which a client asks a gateway for the cluster: `outbound_.80_.v1_.a.shop`.
    pub fn server_name(&self) -> String {
        self.to_string().replace('|', "_.")
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        };
        let subset = self.subset.as_deref().unwrap_or_default();
        let host = self.host.as_ref().map_or("", Hostname::as_str);
        write!(f, "{direction}|{}|{subset}|{host}", self.port)
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(4, '|').collect();
        let [direction, port, subset, host] = parts[..] else { return Err(refusal(text)) };
        let direction = match direction {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            _ => return Err(refusal(text)),
        };
        let port = port.parse().map_err(|_| refusal(text))?;
        let subset = Some(subset).filter(|subset| !subset.is_empty()).map(Arc::from);
        let host = Some(host).filter(|host| !host.is_empty()).map(str::parse).transpose()?;
        Ok(Self { direction, port, subset, host })
    }
}

fn refusal(text: &str) -> String {
    format!("want direction|port|subset|host, got {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_print_and_parse() {
        for text in ["outbound|80|v1|reviews.default.svc.cluster.local", "outbound|80||a.b", "inbound|8080||"] {
            assert_eq!(text.parse::<ClusterName>().unwrap().to_string(), text);
        }
        for text in ["outbound|80|v1", "sideways|80||a", "outbound|x||a", "outbound|99999||a"] {
            assert!(text.parse::<ClusterName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subset_changes_only_the_third_part() {
        let host: Hostname = "a.b".parse().unwrap();
        let name = ClusterName::outbound(80, &host);
        assert_eq!(name.clone().with_subset(Some("v1")).to_string(), "outbound|80|v1|a.b");
        assert_eq!(name.with_subset(Some("v1")).with_subset(None).to_string(), "outbound|80||a.b");
        assert_eq!(ClusterName::inbound(8080).to_string(), "inbound|8080||");
    }
}
