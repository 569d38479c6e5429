//! What the tests of several modules share.

use rutter_api::node::{Interception, Locality, Role};
use rutter_api::{Labels, SidecarNode};

/// Returns a captured sidecar.
pub(crate) fn node(pod: &str, namespace: &str) -> SidecarNode {
    SidecarNode {
        role: Role::Sidecar,
        pod: pod.into(),
        namespace: namespace.into(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        labels: Labels::default(),
        locality: Locality::default(),
        node_name: "".into(),
        cluster_id: String::new(),
        interception: Interception::Redirect,
        version: String::new(),
        proxyless: false,
        takes_virtual_hosts: true,
        captures_dns: false,
        bounds_regexes: false,
        may_be_sent_secrets: false,
    }
}
