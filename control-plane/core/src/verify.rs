//! The oracle: what every sidecar sees, against the same found from nothing in the simplest way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rutter_api::{Config, ResourceType, SidecarNode};

use crate::debounce::{ConfigBatch, ConfigChange};
use crate::index::MeshSettings;
use crate::mesh::Mesh;
use crate::snapshot::{ResourceName, View};

/// Scopes that are kept at the same time; each stands alone, and may hold the whole mesh.
const SCOPES_MAX: usize = 4;

/// A resource that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The sidecar that sees it.
    pub sidecar: String,
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: ResourceName,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The sidecar should see it.
    Missing,
    /// It should not.
    Extra,
    /// It has other bytes.
    Other,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Missing => "is missing",
            Problem::Extra => "should not be there",
            Problem::Other => "has other bytes",
        };
        write!(f, "{} {} of {} {problem}", self.kind, self.name, self.sidecar)
    }
}

/// Compares what sidecars see with what they should.
pub fn differences(
    settings: &MeshSettings,
    configs: impl IntoIterator<Item = Arc<Config>>,
    mut sidecars: Vec<(Arc<SidecarNode>, View)>,
) -> Vec<Difference> {
    let mut mesh = Mesh::flat(settings.clone());
    let changes = configs.into_iter().map(|config| (config.key.clone(), ConfigChange::Put(config))).collect();
    mesh.apply(&ConfigBatch { changes, ..ConfigBatch::default() });
    // Those of one scope come one after the other.
    sidecars.sort_by(|(a, _), (b, _)| (&a.namespace, &a.labels).cmp(&(&b.namespace, &b.labels)));
    let mut all = Vec::new();
    for (node, view) in sidecars {
        let id = mesh.connect(node.clone());
        if let Some(want) = mesh.view(id) {
            compare(&node.id(), want, &view, &mut all);
        }
        mesh.disconnect(id);
        if mesh.scopes() > SCOPES_MAX {
            mesh.sweep();
        }
    }
    all
}

fn compare(sidecar: &str, want: &View, got: &View, all: &mut Vec<Difference>) {
    for kind in ResourceType::ALL {
        let names: BTreeSet<&ResourceName> = want.iter(kind).chain(got.iter(kind)).map(|one| &one.name).collect();
        for name in names {
            let problem = match (want.get(kind, name), got.get(kind, name)) {
                (Some(want), Some(got)) if want.entry == got.entry => continue,
                (Some(_), Some(_)) => Problem::Other,
                (Some(_), None) => Problem::Missing,
                (None, Some(_)) => Problem::Extra,
                (None, None) => continue,
            };
            all.push(Difference { sidecar: sidecar.to_owned(), kind, name: name.clone(), problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::EncodedResource;
    use crate::index::tests::{batch, configs};
    use crate::mesh::tests::node;
    use crate::snapshot::{ScopeSnapshot, Write};

    #[test]
    fn every_kind_of_difference_is_told() {
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
            Write::Put(ResourceType::Cluster, EncodedResource::new(ResourceType::Cluster, name.into(), b"x"))
        };
        let hide = Write::Hide(ResourceType::Endpoint, cluster.into());
        let wrong = ScopeSnapshot::new(99).apply(vec![put(cluster), put("extra"), hide]).unwrap();
        let told: Vec<String> = check(View { own: Arc::new(wrong), ..right }).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "cluster extra of s0.n0 should not be there",
                &format!("cluster {cluster} of s0.n0 has other bytes"),
                &format!("endpoint {cluster} of s0.n0 is missing"),
                "listener virtualInbound of s0.n0 is missing",
            ]
        );
    }
}
