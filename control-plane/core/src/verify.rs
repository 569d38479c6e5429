//! Compares what clients see with the same found from nothing in the simplest way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rutter_api::{Config, ResourceType, SidecarNode};

use crate::debounce::{ConfigBatch, ConfigChange};
use crate::mesh::Mesh;
use crate::resource::ResourceName;
use crate::settings::MeshSettings;
use crate::snapshot::View;

/// The number of scopes that are kept at the same time. Each stands alone, and may hold the whole mesh. More would make
/// `--verify` cost more memory than what it verifies.
const SCOPES_MAX: usize = 4;

/// A resource of which a client sees something else than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The sidecar, as `pod.namespace`.
    pub sidecar: String,
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// The name of the resource.
    pub name: ResourceName,
    /// What is wrong with the resource.
    pub problem: Problem,
}

/// What is wrong with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The client should see the resource, and does not.
    Missing,
    /// The client sees the resource, and should not.
    Unexpected,
    /// The client sees the resource with other bytes than it should.
    OtherBytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Missing => "is missing",
            Problem::Unexpected => "should not be there",
            Problem::OtherBytes => "has other bytes",
        };
        write!(f, "{} {} of {} {problem}", self.resource_type, self.name, self.sidecar)
    }
}

/// Compares what clients see of some config with what they should see of it, and returns every difference.
pub fn differences(
    settings: &MeshSettings,
    configs: impl IntoIterator<Item = Arc<Config>>,
    mut views: Vec<(Arc<SidecarNode>, View)>,
) -> Vec<Difference> {
    let mut mesh = Mesh::without_sharing(settings.clone());
    let changes = configs.into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
    mesh.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
    // Clients of one scope come one after the other, so that few scopes have to be kept.
    views.sort_by(|(a, _), (b, _)| (&a.namespace, &a.labels).cmp(&(&b.namespace, &b.labels)));
    let mut differences = Vec::new();
    for (node, view) in views {
        let id = mesh.connect(node.clone());
        if let Some(want) = mesh.view(id) {
            compare(&node.id(), want, &view, &mut differences);
        }
        mesh.disconnect(id);
        if mesh.scopes() > SCOPES_MAX {
            mesh.sweep();
        }
    }
    differences
}

fn compare(sidecar: &str, want: &View, got: &View, differences: &mut Vec<Difference>) {
    for resource_type in ResourceType::ALL {
        let resources = want.iter(resource_type).chain(got.iter(resource_type));
        let names: BTreeSet<&ResourceName> = resources.map(|resource| &resource.name).collect();
        for name in names {
            let problem = match (want.get(resource_type, name), got.get(resource_type, name)) {
                (Some(want), Some(got)) if want.entry == got.entry => continue,
                (Some(_), Some(_)) => Problem::OtherBytes,
                (Some(_), None) => Problem::Missing,
                (None, Some(_)) => Problem::Unexpected,
                (None, None) => continue,
            };
            let (sidecar, name) = (sidecar.to_owned(), name.clone());
            differences.push(Difference { sidecar, resource_type, name, problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::EncodedResource;
    use crate::snapshot::{ResourceWrite, Snapshot};
    use crate::testing::{batch, configs, node};

    #[test]
    fn every_kind_of_difference_is_found() {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n0}\nspec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}";
        let mut mesh = Mesh::new(MeshSettings::default());
        mesh.apply(&batch(configs(service)));
        let sidecar = Arc::new(node("s0", "n0", "10.0.0.1"));
        let id = mesh.connect(sidecar.clone());
        let right = mesh.view(id).unwrap().clone();
        let check = |view| differences(&MeshSettings::default(), configs(service), vec![(sidecar.clone(), view)]);
        assert!(check(right.clone()).is_empty());

        let cluster = "outbound|80||a.n0.svc.cluster.local";
        let put = |name: &str| {
            ResourceWrite::Put(ResourceType::Cluster, EncodedResource::new(ResourceType::Cluster, name.into(), b"x"))
        };
        let hide = ResourceWrite::Hide(ResourceType::Endpoint, cluster.into());
        let wrong = Snapshot::new(99).apply(vec![put(cluster), put("extra"), hide]).unwrap();
        let found: Vec<String> =
            check(View { sidecar: Arc::new(wrong), ..right }).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "cluster extra of s0.n0 should not be there",
                &format!("cluster {cluster} of s0.n0 has other bytes"),
                &format!("endpoint {cluster} of s0.n0 is missing"),
                "listener virtualInbound of s0.n0 is missing",
            ]
        );
    }
}
