//! `WorkloadGroup`: what the workloads of a group outside Kubernetes have in common.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;

use super::resolution::Resolution;
use super::workload_entry::{WorkloadEntry, check_endpoint};
use crate::config::checks::Faults;
use crate::labels::Labels;

/// Fields that the API has and Rutter does not act on yet. They are refused by name, never ignored.
pub(crate) const UNSUPPORTED: &[&str] = &["spec.probe", "spec.template.address", "spec.template.network"];

/// What the workloads of a group outside Kubernetes have in common. It counts where a workload is set up: `rutterctl bootstrap
/// --workload-group` makes from it the bootstrap of a proxy, and the WorkloadEntry by which the workload is an endpoint.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct WorkloadGroup {
    /// What is said of each workload.
    #[serde(default)]
    pub metadata: WorkloadGroupMetadata,
    /// What the WorkloadEntry of each workload has beside its address.
    #[serde(default)]
    pub template: WorkloadTemplate,
}

/// What is said of each workload of a group.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct WorkloadGroupMetadata {
    /// The labels.
    #[serde(default)]
    pub labels: Labels,
    /// The annotations of each WorkloadEntry.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What the WorkloadEntry of each workload of a group has beside its address.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadTemplate {
    /// The port of the workload for each port of the service, by the latter's name.
    #[serde(default)]
    pub ports: BTreeMap<String, NonZeroU16>,
    /// More labels.
    #[serde(default)]
    pub labels: Labels,
    /// Where the workloads are: `region/zone/sub-zone`, the later parts of which may be missing.
    #[serde(default)]
    pub locality: String,
    /// The share of the requests, relative to the other endpoints of the locality. Absent means 1.
    #[serde(default)]
    pub weight: Option<u32>,
    /// The service account of the workloads, which their proxies say of themselves.
    #[serde(default)]
    pub service_account: String,
}

impl WorkloadGroup {
    /// Returns the labels of each workload.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.template.labels.iter().chain(self.metadata.labels.iter());
        labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Returns the workload of the group at an address.
    pub fn workload(&self, address: Arc<str>) -> WorkloadEntry {
        let WorkloadTemplate { ports, labels: _, locality, weight, service_account: _ } = &self.template;
        let labels = self.labels().into_iter().collect();
        WorkloadEntry { address, ports: ports.clone(), labels, locality: locality.clone(), weight: *weight }
    }
}

/// Returns what is wrong in a WorkloadGroup that has the right types.
pub(crate) fn check(spec: &WorkloadGroup) -> Faults {
    let mut faults = Vec::new();
    check_endpoint("spec.template", &spec.workload("127.0.0.1".into()), Resolution::Static, &mut faults);
    faults
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, istio, read};
    use crate::config::{Spec, read_manifests};

    #[test]
    fn workloads_have_what_their_group_says() {
        let text = istio(
            "WorkloadGroup",
            "{metadata: {labels: {app: a}}, template: {ports: {http: 8080}, labels: {app: x, version: v1}, \
             locality: r/z, weight: 3, serviceAccount: a}}",
        );
        let object = read(&text).unwrap();
        let Spec::WorkloadGroup(group) = &object.config.spec else { panic!() };
        let workload = group.workload("10.0.0.1".into());
        assert_eq!((&*workload.address, workload.weight, &*workload.locality), ("10.0.0.1", Some(3), "r/z"));
        assert_eq!((workload.labels.get("app"), workload.labels.get("version")), (Some("a"), Some("v1")));
        assert!(read_manifests(&text, "default").unwrap().len() == 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |spec: &str, want: &str| {
            assert_refused(&istio("WorkloadGroup", spec), &format!("workloadGroup default/x: {want}"));
        };
        refused("{template: {weight: 0}}", "spec.template.weight: want at least 1, got 0");
        refused("{template: {locality: a/b/c/d}}", "spec.template.locality: want region/zone/sub-zone");
        refused("{template: {network: n}}", "spec.template.network: not supported yet");
        refused("{probe: {periodSeconds: 5}}", "spec.probe: not supported yet");
    }
}
