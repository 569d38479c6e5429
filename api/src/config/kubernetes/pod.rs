//! `v1 Pod`: what is known of a workload in Kubernetes.
//!
//! Of a Pod nothing is kept but its metadata, its node and service account, and what its status says of its addresses and
//! of whether it is ready. The rest is large, changes often, and may hold what nobody else should read, such as variables.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::checks::Faults;
use crate::invalid::Invalid;

/// The fields of a Pod's `spec` and `status` that are kept.
const KEPT: [(&str, &[&str]); 2] =
    [("spec", &["nodeName", "serviceAccountName"]), ("status", &["phase", "podIP", "podIPs"])];

/// A workload in Kubernetes. Its labels are those of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The IP addresses, all of which lead to the pod. A pod that has not begun, or has ended, has none.
    pub addresses: Vec<Arc<str>>,
    /// Whether the pod takes traffic.
    pub ready: bool,
    /// The name of the node. Empty means that it is not known.
    pub node: Arc<str>,
}

/// A whole document, as far as it is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodDocument {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: String,
    #[serde(rename = "serviceAccountName", default)]
    _service_account_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIP", default)]
    ip: String,
    #[serde(rename = "podIPs", default)]
    ips: Vec<PodIp>,
    #[serde(default)]
    conditions: Vec<PodCondition>,
}

#[derive(Deserialize)]
struct PodIp {
    ip: String,
}

#[derive(Deserialize)]
struct PodCondition {
    #[serde(rename = "type")]
    condition_type: String,
    status: String,
}

/// Returns whether a document of a Pod is of one that a cluster knows. Without a status it is something to be started, which
/// is no config of a mesh.
pub(crate) fn has_status(document: &Value) -> bool {
    document["status"].as_object().is_some_and(|status| !status.is_empty())
}

/// Leaves of a document of a Pod what is kept.
pub(crate) fn keep_what_counts(document: &mut Value) {
    let Some(object) = document.as_object_mut() else { return };
    object.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "spec" | "status"));
    let is_deleted = object.get("metadata").is_some_and(|metadata| metadata.get("deletionTimestamp").is_some());
    let conditions =
        object.get("status").and_then(|status| Vec::<PodCondition>::deserialize(&status["conditions"]).ok());
    let ready = !is_deleted && is_ready(&conditions.unwrap_or_default());
    for (part, fields) in KEPT {
        if let Some(Value::Object(part)) = object.get_mut(part) {
            part.retain(|field, _| fields.contains(&field.as_str()));
        }
    }
    if let Some(Value::Object(status)) = object.get_mut("status") {
        let status_text = if ready { "True" } else { "False" };
        status.insert("conditions".into(), json!([{"type": "Ready", "status": status_text}]));
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        // The annotations are those of its controllers, and the owners are kinds that are not known here.
        for field in [
            "annotations",
            "ownerReferences",
            "generateName",
            "finalizers",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(field);
        }
    }
    if object.get("spec").and_then(Value::as_object).is_some_and(Map::is_empty) {
        object.remove("spec");
    }
}

fn is_ready(conditions: &[PodCondition]) -> bool {
    conditions.iter().any(|condition| condition.condition_type == "Ready" && condition.status == "True")
}

/// Returns what is wrong in a Pod that has the right types.
pub(crate) fn check(pod: &PodDocument) -> Faults {
    let mut faults = Vec::new();
    let all = pod.status.ips.iter().enumerate().map(|(index, ip)| (format!("status.podIPs[{index}].ip"), &ip.ip));
    for (path, ip) in [("status.podIP".to_owned(), &pod.status.ip)].into_iter().chain(all) {
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            faults.push(Invalid::new(path, "an IP address", format!("{ip:?}")));
        }
    }
    faults
}

impl From<PodDocument> for Pod {
    fn from(full: PodDocument) -> Self {
        let PodDocument { spec, status, .. } = full;
        let has_ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        let mut addresses: Vec<Arc<str>> = Vec::with_capacity(status.ips.len().max(1));
        for ip in [status.ip].into_iter().chain(status.ips.into_iter().map(|ip| ip.ip)) {
            if !has_ended && !ip.is_empty() && !addresses.iter().any(|known| **known == *ip) {
                addresses.push(ip.into());
            }
        }
        Self { addresses, ready: !has_ended && is_ready(&status.conditions), node: spec.node_name.into() }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{assert_refused, read};
    use crate::config::{Content, Spec, read_manifests};

    /// A Pod as Kubernetes exports it, cut short.
    const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  annotations: {cni: x}
  labels: {app: web, version: v1}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u}]
spec:
  nodeName: n1
  serviceAccountName: web
  containers: [{name: web, env: [{name: PASSWORD, value: secret}]}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Initialized, status: 'True'}, {type: Ready, status: 'True', lastProbeTime: null}]
"#;

    fn pod(text: &str) -> super::Pod {
        let object = read(text).unwrap();
        let Spec::Pod(pod) = &object.config.spec else { panic!() };
        pod.clone()
    }

    #[test]
    fn only_what_counts_is_kept() {
        let object = read(POD).unwrap();
        let want = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web","version":"v1"},"name":"web-1","namespace":"default"},"spec":{"nodeName":"n1","serviceAccountName":"web"},"status":{"conditions":[{"status":"True","type":"Ready"}],"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}"#;
        assert_eq!(&*object.json, want);
        assert_eq!(read(want).unwrap().json, object.json, "what is kept is taken as it is");
        let pod = pod(POD);
        let addresses: Vec<&str> = pod.addresses.iter().map(|address| &**address).collect();
        assert_eq!((addresses, pod.ready, &*pod.node), (vec!["10.0.0.1", "fd00::1"], true, "n1"));
    }

    #[test]
    fn a_pod_that_has_ended_or_is_not_ready_takes_no_traffic() {
        let ended = pod(&POD.replace("Running", "Succeeded"));
        assert!(ended.addresses.is_empty() && !ended.ready);
        assert!(!pod(&POD.replace("Ready, status: 'True'", "Ready, status: 'False'")).ready);
        assert!(!pod(&POD.replace("type: Ready", "type: Other")).ready);
        let deleted = POD.replace("  name: web-1\n", "  name: web-1\n  deletionTimestamp: 2026-01-01T00:00:00Z\n");
        assert!(!pod(&deleted).ready && !read(&deleted).unwrap().json.contains("deletion"));
    }

    #[test]
    fn a_pod_without_a_status_is_no_config_of_a_mesh() {
        let is_taken =
            |text: &str| matches!(read_manifests(text, "default").unwrap().remove(0).content, Content::Taken(_));
        assert!(is_taken(POD));
        assert!(!is_taken(POD.split("status:").next().unwrap()));
        let pending = POD.split("status:").next().unwrap().to_owned() + "status: {phase: Pending}\n";
        assert!(is_taken(&pending) && pod(&pending).addresses.is_empty(), "it takes the place of what it was");
        assert_eq!(pod(&POD.replace("podIP: 10.0.0.1", "hostIP: 10.0.0.9")).addresses.len(), 2, "podIPs are enough");
        let wrong = POD.replace("podIP: 10.0.0.1", "podIP: here");
        assert_refused(&wrong, "pod default/web-1: status.podIP: want an IP address, got \"here\"");
    }
}
