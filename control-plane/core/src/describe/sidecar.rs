//! What is said of a Sidecar object.

use std::sync::Arc;

use rutter_api::Config;

use super::description::{Description, joined, namespace_of};
use crate::mesh::Mesh;

pub(super) fn describe(mesh: &Mesh, config: &Arc<Config>) -> Description {
    let mut description = Description::new(&config.key);
    let Some(spec) = config.spec.as_sidecar() else { return description };
    let labels = spec
        .workload_selector
        .as_ref()
        .map(|selector| joined(selector.labels.iter().map(|(key, value)| format!("{key}={value}"))));
    let root = &mesh.index().settings().root_namespace;
    let everybody = if config.key.namespace == *root {
        "every workload of the mesh without one of its own"
    } else {
        "every workload of the namespace without one of its own"
    };
    description.fact("selects", labels.unwrap_or_else(|| everybody.to_owned()));
    for egress in &spec.egress {
        let port = egress.port.as_ref().map(|port| format!("{}: ", port.number)).unwrap_or_default();
        description.fact("egress", format!("{port}{}", joined(&egress.hosts)));
    }
    for ingress in &spec.ingress {
        let endpoint = ingress.default_endpoint.as_deref().unwrap_or("127.0.0.1");
        description.fact("ingress", format!("{} to {endpoint}", ingress.port.number));
    }
    for (scope, ids) in mesh.groups().filter(|(scope, _)| !scope.is_gateway()) {
        let objects = scope.objects();
        let is_used = [&objects.sidecar, &objects.egress_from].into_iter().any(|own| own.as_ref() == Some(&config.key));
        if is_used {
            description.seen_by.extend(ids);
            // What is their own differs, but for that they have the same.
            ids.iter().next().into_iter().for_each(|id| description.cost.add_all(mesh, *id, ids.len()));
            continue;
        }
        let is_near = config.key.namespace == *root || scope.viewpoint().namespace == namespace_of(config);
        if !is_near {
            continue;
        }
        let why = match &objects.sidecar {
            Some(other) => format!("{other} is theirs"),
            None => "it does not select them".to_owned(),
        };
        description.not_for(why, ids.len());
    }
    description
}
