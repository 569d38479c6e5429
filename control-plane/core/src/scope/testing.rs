//! What the tests of scopes share: scopes over an index, driven by YAML as the mesh drives them.

use std::collections::BTreeSet;
use std::fmt::Write;

use rutter_api::node::Interception;
use rutter_api::{Kind, ResourceType, SidecarNode};
use serde_json::Value;

use super::{ScopeDelta, ScopeId, ScopeKey, ScopeTable};
use crate::debounce::ConfigBatch;
use crate::encode::testing::json_of;
use crate::index::MeshIndex;
use crate::resource::EncodedResource;
use crate::settings::MeshSettings;
use crate::snapshot::Snapshot;
use crate::testing::{batch, configs, delete, node};

/// Some config and the scopes that clients entered.
pub(super) struct Scopes {
    pub(super) index: MeshIndex,
    pub(super) table: ScopeTable,
}

impl Scopes {
    /// Returns scopes that share bases, over the objects of a YAML text.
    pub(super) fn new(text: &str) -> Self {
        Self::with_table(text, ScopeTable::default())
    }

    /// Returns scopes of which each stands alone.
    pub(super) fn without_sharing(text: &str) -> Self {
        Self::with_table(text, ScopeTable::without_sharing())
    }

    fn with_table(text: &str, table: ScopeTable) -> Self {
        let mut index = MeshIndex::new(MeshSettings::default());
        index.apply(&batch(configs(text)));
        Self { index, table }
    }

    pub(super) fn enter(&mut self, node: &SidecarNode) -> ScopeId {
        let key = ScopeKey::of_node(node, &self.index);
        self.table.enter(&key, &self.index)
    }

    /// Puts the objects of a YAML text, and tells what it came to.
    pub(super) fn put(&mut self, text: &str) -> String {
        self.apply(&batch(configs(text)))
    }

    /// Deletes an object of the namespace `shop`, and tells what it came to.
    pub(super) fn delete(&mut self, kind: Kind, name: &str) -> String {
        self.delete_in("shop", kind, name)
    }

    pub(super) fn delete_in(&mut self, namespace: &str, kind: Kind, name: &str) -> String {
        self.apply(&delete(kind, namespace, name))
    }

    fn apply(&mut self, batch: &ConfigBatch) -> String {
        let before = self.work();
        let delta = self.index.apply(batch);
        let ScopeDelta { changed, listeners_moved } = self.table.apply(&delta, &self.index);
        let after = self.work();
        let [visits, encodes, tables] = [0, 1, 2].map(|at| after[at] - before[at]);
        let (changed, moved) = (numbers(&changed), numbers(&listeners_moved));
        format!("changed {changed}; listeners moved {moved}; {visits} visits, {encodes} encodes, {tables} tables")
    }

    fn work(&self) -> [u64; 3] {
        let encoder = self.table.encoder();
        [encoder.visits, encoder.encodes(), encoder.tables]
    }

    /// Returns a line for each resource that the layers of a scope have: the layer, the type, the name and, of what is
    /// made of several hosts, its content in short.
    pub(super) fn shown(&self, id: ScopeId) -> String {
        let [base, own] = self.table.layers(id).unwrap();
        let mut text = String::new();
        for resource_type in ResourceType::ALL {
            add_layer("base", &base, resource_type, &mut text);
            add_layer("own", &own, resource_type, &mut text);
            for (_, name) in
                own.hidden_in_vain(&Snapshot::default()).iter().filter(|(hidden, _)| *hidden == resource_type)
            {
                writeln!(text, "own  {resource_type} {name} is hidden").unwrap();
            }
        }
        text
    }

    /// Returns the lines of [`Self::shown`] that are about a type.
    pub(super) fn shown_of(&self, id: ScopeId, resource_type: ResourceType) -> String {
        let word = format!(" {resource_type} ");
        let shown = self.shown(id);
        shown.lines().filter(|line| line.contains(&word)).map(|line| format!("{line}\n")).collect()
    }
}

fn numbers(ids: &BTreeSet<ScopeId>) -> String {
    let numbers: Vec<String> = ids.iter().map(|ScopeId(number)| number.to_string()).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(" ") }
}

fn add_layer(layer: &str, snapshot: &Snapshot, resource_type: ResourceType, text: &mut String) {
    for resource in snapshot.iter(resource_type) {
        let content = content_of(resource_type, resource);
        writeln!(text, "{layer:<4} {resource_type} {}{content}", resource.name).unwrap();
    }
}

fn content_of(resource_type: ResourceType, resource: &EncodedResource) -> String {
    let json = json_of(resource_type, resource);
    match resource_type {
        ResourceType::VirtualHost => format!(" for {}", words(&json["domains"])),
        ResourceType::Route => {
            let hosts = json["virtual_hosts"].as_array().map_or(&[][..], Vec::as_slice);
            let hosts: Vec<String> = hosts
                .iter()
                .map(|host| format!("{} for {}", text_of(&host["name"]), words(&host["domains"])))
                .collect();
            if hosts.is_empty() { String::new() } else { format!(" with {}", hosts.join("; ")) }
        }
        ResourceType::Listener => {
            let chains = json["filter_chains"].as_array().map_or(&[][..], Vec::as_slice);
            let chains: Vec<String> = chains.iter().map(chain_in_short).collect();
            if chains.is_empty() { String::new() } else { format!(" with {}", chains.join("; ")) }
        }
        ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => String::new(),
    }
}

/// Returns the server names that a filter chain is for, and where it leads to.
fn chain_in_short(chain: &Value) -> String {
    let filters = chain["filters"].as_array().map_or(&[][..], Vec::as_slice);
    let config = filters.last().map_or(&Value::Null, |filter| &filter["typed_config"]);
    let routes = text_of(&config["rds"]["route_config_name"]);
    let target = if routes.is_empty() { text_of(&config["cluster"]) } else { routes };
    let server_names = words(&chain["filter_chain_match"]["server_names"]);
    if server_names.is_empty() { format!("all to {target}") } else { format!("{server_names} to {target}") }
}

fn text_of(json: &Value) -> &str {
    json.as_str().unwrap_or_default()
}

fn words(json: &Value) -> String {
    let words = json.as_array().map_or(&[][..], Vec::as_slice);
    words.iter().map(text_of).collect::<Vec<_>>().join(" ")
}

/// Returns a captured sidecar of a namespace, which takes virtual hosts one by one.
pub(super) fn captured(namespace: &str) -> SidecarNode {
    node("app", namespace, "10.200.0.1")
}

/// Returns a captured sidecar of a namespace, which takes whole route tables only.
pub(super) fn with_whole_tables(namespace: &str) -> SidecarNode {
    SidecarNode { takes_virtual_hosts: false, ..captured(namespace) }
}

/// Returns a sidecar of a namespace to which nothing is redirected.
pub(super) fn bound(namespace: &str) -> SidecarNode {
    SidecarNode { interception: Interception::None, ..captured(namespace) }
}

/// Returns the gRPC library in an application of a namespace.
pub(super) fn grpc(namespace: &str) -> SidecarNode {
    SidecarNode { proxyless: true, takes_virtual_hosts: false, ..bound(namespace) }
}

/// Returns a Kubernetes service of the namespace `shop`. `ports` is a YAML list without its brackets.
pub(super) fn service(name: &str, ip: &str, ports: &str) -> String {
    service_in("shop", name, ip, ports)
}

pub(super) fn service_in(namespace: &str, name: &str, ip: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{clusterIP: {ip}, ports: [{ports}]}}\n---\n"
    )
}

/// Returns a Kubernetes service of the namespace `shop` that only the namespaces of `export_to` see.
pub(super) fn exported(name: &str, ip: &str, export_to: &str) -> String {
    service(name, ip, HTTP).replace(
        "namespace: shop}",
        &format!("namespace: shop, annotations: {{networking.istio.io/exportTo: '{export_to}'}}}}"),
    )
}

/// Returns an object of one of Istio's kinds in the namespace `shop`.
pub(super) fn istio(kind: &str, name: &str, spec: &str) -> String {
    istio_in("shop", kind, name, spec)
}

pub(super) fn istio_in(namespace: &str, kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n---\n"
    )
}

pub(super) const HTTP: &str = "{name: http, port: 80}";
pub(super) const TCP: &str = "{name: tcp, port: 3306}";
pub(super) const TLS: &str = "{name: tls, port: 443}";
/// A port of which nobody says what is spoken.
pub(super) const UNKNOWN: &str = "{name: x, port: 9000}";
