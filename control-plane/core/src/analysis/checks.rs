//! All checks of a mesh.

use rutter_api::{Config, SidecarNode, Spec};

use super::finding::{Finding, Found};
use super::surroundings::Surroundings;
use super::{destination_rule, gateway, service, sidecar, virtual_service};
use crate::index::MeshIndex;

/// Returns what is wrong with the objects of a mesh, in the order of the objects. `clients` are the connected ones, whose workloads
/// are known by that.
pub fn analyze<'a>(index: &MeshIndex, clients: impl Iterator<Item = &'a SidecarNode>) -> Vec<Finding> {
    let workloads = clients.map(|node| (&node.namespace, &node.labels));
    let surroundings = Surroundings::new(index, workloads);
    let mut findings: Vec<Finding> = index.configs().flat_map(|config| of_object(config, &surroundings)).collect();
    findings.sort();
    findings.dedup();
    findings
}

/// Returns what is wrong with one object that nobody has silenced.
fn of_object(config: &Config, surroundings: &Surroundings<'_>) -> Vec<Finding> {
    let mut found = Found::of(config);
    match &config.spec {
        Spec::VirtualService(spec) => virtual_service::check(config, spec, surroundings, &mut found),
        Spec::DestinationRule(spec) => destination_rule::check(config, spec, surroundings, &mut found),
        Spec::Sidecar(spec) => sidecar::check(config, spec, surroundings, &mut found),
        Spec::Service(spec) => service::check(config, spec, surroundings, &mut found),
        Spec::ServiceEntry(spec) => service::check_entry(config, spec, surroundings, &mut found),
        Spec::Gateway(spec) => gateway::check(config, spec, surroundings, &mut found),
        Spec::MeshConfig(spec) => service::check_mesh_config(config, spec, surroundings, &mut found),
        Spec::Ingress(spec) => service::check_ingress(config, spec, surroundings, &mut found),
        Spec::Namespace
        | Spec::Pod(_)
        | Spec::EndpointSlice(_)
        | Spec::WorkloadGroup(_)
        | Spec::WorkloadEntry(_)
        | Spec::Secret(_) => {}
    }
    found.findings
}
