//! `WorkloadEntry`: a workload outside Kubernetes, and the selectors that find workloads by label.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;

use super::resolution::Resolution;
use crate::config::checks::Faults;
use crate::invalid::Invalid;
use crate::labels::Labels;
use crate::names::Hostname;
use crate::socket_path::socket_path;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &["spec.network", "spec.serviceAccount"];

/// A workload outside Kubernetes, or an endpoint that a ServiceEntry lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEntry {
    /// The IP address, or that of a Unix socket, `unix:///PATH`. In a ServiceEntry whose resolution is DNS it may be a DNS
    /// name.
    #[serde(default)]
    pub address: Arc<str>,
    /// The port of the workload for each port of the service, by the latter's name. A port that is not listed is the
    /// service's target port. Only workloads that serve at other ports than the rest need it.
    #[serde(default)]
    pub ports: BTreeMap<String, NonZeroU16>,
    /// The labels by which subsets and selectors find the workload.
    #[serde(default)]
    pub labels: Labels,
    /// Where the workload is: `region/zone/sub-zone`, the later parts of which may be missing.
    #[serde(default)]
    pub locality: String,
    /// The share of the requests, relative to the other endpoints of the locality. Absent means 1.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// Chooses workloads by their labels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkloadSelector {
    /// The labels, all of which a workload must have. Empty means every workload.
    #[serde(default)]
    pub labels: Labels,
}

/// Returns what is wrong in a WorkloadEntry that has the right types.
pub(crate) fn check(spec: &WorkloadEntry) -> Faults {
    let mut faults = Vec::new();
    check_endpoint("spec", spec, Resolution::Static, &mut faults);
    faults
}

/// Adds what is wrong in a workload at `path`. A name instead of an address is right only where DNS is asked.
pub(crate) fn check_endpoint(path: &str, entry: &WorkloadEntry, resolution: Resolution, faults: &mut Faults) {
    let is_ip = entry.address.parse::<std::net::IpAddr>().is_ok();
    let is_socket = !resolution.asks_dns() && socket_path(&entry.address).is_some();
    if is_socket && !entry.ports.is_empty() {
        faults.push(Invalid::new(format!("{path}.ports"), "no ports beside a Unix socket", entry.ports.len()));
    }
    let is_name = resolution.asks_dns() && entry.address.parse::<Hostname>().is_ok();
    if !is_ip && !is_name && !is_socket {
        let want = if resolution.asks_dns() { "an IP address or a DNS name" } else { "an IP address or unix:///PATH" };
        faults.push(Invalid::new(format!("{path}.address"), want, format!("{:?}", entry.address)));
    }
    if entry.weight == Some(0) {
        faults.push(Invalid::new(format!("{path}.weight"), "at least 1", 0));
    }
    if entry.locality.split('/').count() > 3 {
        faults.push(Invalid::new(format!("{path}.locality"), "region/zone/sub-zone", format!("{:?}", entry.locality)));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};

    fn refused(spec: &str, want: &str) {
        assert_refused(&istio("WorkloadEntry", spec), &format!("workloadEntry default/x: {want}"));
    }

    #[test]
    fn addresses_weights_and_localities_are_checked() {
        read(&istio("WorkloadEntry", "{address: 10.0.0.1, weight: 1, locality: r/z/s, ports: {http: 80}}")).unwrap();
        read(&istio("WorkloadEntry", "{address: 'fd00::1'}")).unwrap();
        read(&istio("WorkloadEntry", "{address: 'unix:///run/a.sock'}")).unwrap();
        let want = "spec.ports: want no ports beside a Unix socket, got 1";
        refused("{address: 'unix:///run/a.sock', ports: {http: 80}}", want);
        let want = "spec.address: want an IP address or unix:///PATH, got";
        refused("{address: db.example.com}", &format!("{want} \"db.example.com\""));
        refused("{}", &format!("{want} \"\""));
        refused("{address: 10.0.0.1, weight: 0}", "spec.weight: want at least 1, got 0");
        refused("{address: 10.0.0.1, locality: a/b/c/d}", "spec.locality: want region/zone/sub-zone, got \"a/b/c/d\"");
    }

    #[test]
    fn what_is_not_acted_on_is_refused_by_name() {
        let want = "spec.network: not supported yet";
        refused("{address: 10.0.0.1, network: n}", want);
    }
}
