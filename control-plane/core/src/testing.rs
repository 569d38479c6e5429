//! What the tests of several modules share.

use std::sync::Arc;

use rutter_api::config::Object;
use rutter_api::node::{Interception, Locality, Role};
use rutter_api::{Config, ConfigKey, CreationTimestamp, Kind, SidecarNode, yaml};

use crate::debounce::{ConfigBatch, ConfigChange};

/// Returns the configs of a YAML text, in namespace `default`. They were created one after the other, in the order of
/// the text, unless they say their age themselves.
pub(crate) fn configs(text: &str) -> Vec<Arc<Config>> {
    let documents = yaml::parse(text).unwrap();
    let mut configs = Vec::new();
    for (document, number) in documents.into_iter().zip(1..) {
        let object = Object::from_value(document.value, "default").unwrap();
        let created = object.created.unwrap_or(CreationTimestamp::from_microseconds(number));
        configs.push(Arc::new(Config { created, ..(*object.config).clone() }));
    }
    configs
}

/// Returns the first config of a YAML text.
pub(crate) fn config(text: &str) -> Arc<Config> {
    configs(text).remove(0)
}

/// Returns a batch that puts configs, at revision 1.
pub(crate) fn batch(configs: Vec<Arc<Config>>) -> ConfigBatch {
    let changes = configs.into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
    ConfigBatch { changes, revision: 1, since: None }
}

/// Returns a batch that deletes one object, at revision 1.
pub(crate) fn delete(kind: Kind, namespace: &str, name: &str) -> ConfigBatch {
    let changes = [(ConfigKey::new(kind, namespace, name), ConfigChange::Delete)].into();
    ConfigBatch { changes, revision: 1, since: None }
}

/// Returns a captured sidecar whose label `app` is the name of its pod.
pub(crate) fn node(pod: &str, namespace: &str, ip: &str) -> SidecarNode {
    SidecarNode {
        role: Role::Sidecar,
        pod: pod.into(),
        namespace: namespace.into(),
        addresses: vec![ip.parse().unwrap()],
        labels: [("app".to_owned(), pod.to_owned())].into_iter().collect(),
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
