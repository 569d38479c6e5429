//! Meshes in this process, without a server: what a text of objects comes to for some nodes.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rutter_api::config::{Content, read_manifests};
use rutter_api::node::{Interception, Role, locality_of_text};
use rutter_api::{Config, CreationTimestamp, ResourceType, SidecarNode, json};
use rutter_core::{ConfigBatch, ConfigChange, Mesh, MeshSettings};
use serde_json::Value;

/// Returns the mesh of a text, whose objects are as old as their order says.
///
/// # Errors
/// Fails if an object is refused.
pub fn mesh_of(text: &str) -> Result<Mesh> {
    let mut mesh = Mesh::new(MeshSettings::default());
    let mut batch = ConfigBatch { revision: 1, ..ConfigBatch::default() };
    let ages = (1..).map(CreationTimestamp::from_microseconds);
    for (manifest, created) in read_manifests(text, "default")?.into_iter().zip(ages) {
        match manifest.content {
            Content::Taken(object) => {
                let config = Arc::new(Config { created, ..(*object.config).clone() });
                batch.changes.insert(config.key.clone(), ConfigChange::Put(config));
            }
            Content::Foreign(_) => {}
            Content::Refused(refused) => return Err(anyhow!("{}: {:?}", refused.name, refused.faults)),
        }
    }
    mesh.apply(&batch);
    Ok(mesh)
}

/// Returns the nodes that the comments of a text name: `# node: POD NAMESPACE IP LABELS LOCALITY`, the last of which may be
/// missing. They are captured, and take whole route tables.
///
/// # Errors
/// Fails if a comment is not written so.
pub fn nodes_in(text: &str) -> Result<Vec<SidecarNode>> {
    text.lines().filter_map(|line| line.strip_prefix("# node: ")).map(node_of_words).collect()
}

fn node_of_words(line: &str) -> Result<SidecarNode> {
    let words: Vec<&str> = line.split(' ').collect();
    let [pod, namespace, ip, labels, rest @ ..] = &words[..] else { return Err(anyhow!("{line}")) };
    let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
    Ok(SidecarNode {
        role: Role::Sidecar,
        pod: (*pod).into(),
        namespace: (*namespace).into(),
        addresses: vec![ip.parse().context(line.to_owned())?],
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        locality: rest.first().map(|word| locality_of_text(word.trim_start_matches("locality="))).unwrap_or_default(),
        node_name: "".into(),
        cluster_id: String::new(),
        interception: Interception::Redirect,
        version: String::new(),
        proxyless: false,
        takes_virtual_hosts: false,
        captures_dns: false,
        bounds_regexes: false,
        may_be_sent_secrets: false,
    })
}

/// Returns the resources of a type that a node is sent, as JSON with the names of the fields in protobuf.
///
/// # Errors
/// Fails if a resource cannot be written so.
pub fn resources(mesh: &mut Mesh, node: &SidecarNode, resource_type: ResourceType) -> Result<Vec<Value>> {
    let id = mesh.connect(node.clone());
    let view = mesh.view(id).context("a view")?;
    view.iter(resource_type).map(|one| Ok(json::from_bytes(resource_type.type_url(), &one.body())?)).collect()
}
