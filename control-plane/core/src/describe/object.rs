//! Objects of every kind that can be described.

use rutter_api::{ConfigKey, Kind};

use super::description::Description;
use super::{destination_rule, gateway, service, sidecar, virtual_service};
use crate::mesh::Mesh;

/// Describes an object. A ServiceEntry of several hosts is described once for each of them. `None` means that there is no such object.
///
/// # Errors
/// Says which kinds can be described.
pub fn describe(mesh: &Mesh, key: &ConfigKey) -> Result<Option<Vec<Description>>, String> {
    let Some(config) = mesh.index().written(key) else { return Ok(None) };
    Ok(Some(match key.kind {
        Kind::Service | Kind::ServiceEntry => service::describe(mesh, config),
        Kind::VirtualService => vec![virtual_service::describe(mesh, config)],
        Kind::DestinationRule => vec![destination_rule::describe(mesh, config)],
        Kind::Gateway => vec![gateway::describe(mesh, config)],
        Kind::Sidecar => vec![sidecar::describe(mesh, config)],
        Kind::Namespace
        | Kind::Pod
        | Kind::EndpointSlice
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Secret
        | Kind::Ingress
        | Kind::ConfigMap => {
            return Err(format!(
                "want a sidecar, or a Service, ServiceEntry, VirtualService, DestinationRule, Gateway or Sidecar, got the kind {}",
                key.kind
            ));
        }
    }))
}
