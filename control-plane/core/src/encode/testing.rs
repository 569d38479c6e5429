//! What the tests of encoders share.

use std::collections::{BTreeMap, BTreeSet};

use rutter_api::{Config, ConfigKey, Hostname, Labels, ResourceType, json};
use serde_json::Value;

use super::inputs::Shared;
use crate::index::MeshIndex;
use crate::model::{Endpoint, Service};
use crate::resource::EncodedResource;
use crate::settings::MeshSettings;
use crate::testing::{batch, configs};
use crate::visibility::{Egress, Viewpoint};

/// Some config, looked at from a namespace without objects that no Sidecar object restricts.
pub(crate) struct Mesh {
    index: MeshIndex,
    egress: Egress,
    inferred_hosts: BTreeMap<Hostname, usize>,
    gateways: BTreeSet<ConfigKey>,
    labels: BTreeSet<Labels>,
    target_ports: BTreeMap<u16, u16>,
}

impl Mesh {
    pub(crate) fn new(text: &str) -> Self {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(text)));
        let (inferred_hosts, gateways, labels, target_ports) = Default::default();
        Self { index, egress: Egress::everything(), inferred_hosts, gateways, labels, target_ports }
    }

    fn viewpoint(&self) -> Viewpoint<'_> {
        Viewpoint {
            namespace: "client",
            egress: &self.egress,
            inferred_hosts: &self.inferred_hosts,
            gateways: &self.gateways,
            labels: &self.labels,
            target_ports: &self.target_ports,
        }
    }

    pub(crate) fn service(&self, host: &str) -> Shared<Service> {
        self.viewpoint().service(&self.index, &host.parse().unwrap()).unwrap().into()
    }

    pub(crate) fn destination_rule(&self, host: &str) -> Option<Shared<Config>> {
        self.viewpoint().destination_rule(&self.index, &self.service(host)).map(Shared::from)
    }

    pub(crate) fn virtual_service(&self, host: &str) -> Option<Shared<Config>> {
        self.viewpoint().virtual_service(&self.index, &host.parse().unwrap()).map(Shared::from)
    }

    pub(crate) fn endpoints(&self, host: &str) -> Shared<Vec<Endpoint>> {
        self.index.endpoints(&self.service(host).key).into()
    }
}

/// Returns a line for each resource: its name and what `summary` makes of its JSON.
pub(crate) fn summaries(
    resource_type: ResourceType,
    resources: &[EncodedResource],
    summary: impl Fn(&Value) -> String,
) -> Vec<String> {
    let line = |resource: &EncodedResource| format!("{}{}", resource.name, summary(&json_of(resource_type, resource)));
    resources.iter().map(line).collect()
}

/// Returns a resource as JSON.
pub(crate) fn json_of(resource_type: ResourceType, resource: &EncodedResource) -> Value {
    json::from_bytes(resource_type.type_url(), &resource.body()).unwrap()
}

/// Returns a resource as indented JSON, to compare with expected output.
pub(crate) fn pretty(resource_type: ResourceType, resource: &EncodedResource) -> String {
    serde_json::to_string_pretty(&json_of(resource_type, resource)).unwrap()
}
