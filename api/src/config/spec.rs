//! What config objects say, in their typed form.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::checks::Faults;
use super::decode::{Decoded, decode};
use super::istio::{DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup};
use super::istio::{
    destination_rule, gateway, service_entry, sidecar, virtual_service, workload_entry, workload_group,
};
use super::kind::Kind;
use super::kubernetes::{
    EndpointSlice, Ingress, KubernetesService, MeshConfig, Pod, Secret, endpoint_slice, ingress, mesh_config, pod,
    secret, service,
};

/// What a config object says. There is one variant for each [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A Kubernetes namespace, of which only the metadata counts.
    Namespace,
    /// What is the same for the whole mesh.
    MeshConfig(Box<MeshConfig>),
    /// A Kubernetes service: its ports, addresses and selector.
    Service(KubernetesService),
    /// A workload in Kubernetes.
    Pod(Pod),
    /// Some endpoints of a Kubernetes service.
    EndpointSlice(EndpointSlice),
    /// A service that Kubernetes does not know.
    ServiceEntry(ServiceEntry),
    /// What workloads outside Kubernetes have in common.
    WorkloadGroup(WorkloadGroup),
    /// A workload outside Kubernetes.
    WorkloadEntry(WorkloadEntry),
    /// Certificates with their keys.
    Secret(Secret),
    /// What gateways listen for.
    Gateway(Gateway),
    /// What gateways serve of an Ingress.
    Ingress(Ingress),
    /// How requests to some hosts are routed.
    VirtualService(VirtualService),
    /// How the endpoints of a host are used.
    DestinationRule(DestinationRule),
    /// What the sidecars of some workloads may see.
    Sidecar(Sidecar),
}

impl Spec {
    /// Returns the typed form of a whole document of a kind, or everything that is wrong with it.
    pub(crate) fn from_document(kind: Kind, document: Value) -> Result<Self, Faults> {
        let Decoded { typed, faults } = decode_and_check(kind, document);
        typed.filter(|_| faults.is_empty()).ok_or(faults)
    }

    /// Returns the routing rules, if the object is a VirtualService.
    pub fn as_virtual_service(&self) -> Option<&VirtualService> {
        if let Self::VirtualService(spec) = self { Some(spec) } else { None }
    }

    /// Returns the hosts and their ports, if the object is a ServiceEntry.
    pub fn as_service_entry(&self) -> Option<&ServiceEntry> {
        if let Self::ServiceEntry(spec) = self { Some(spec) } else { None }
    }

    /// Returns the certificates, if the object is a Secret.
    pub fn as_secret(&self) -> Option<&Secret> {
        if let Self::Secret(spec) = self { Some(spec) } else { None }
    }

    /// Returns the rules, if the object is an Ingress.
    pub fn as_ingress(&self) -> Option<&Ingress> {
        if let Self::Ingress(spec) = self { Some(spec) } else { None }
    }

    /// Returns the mesh config, if the object is one.
    pub fn as_mesh_config(&self) -> Option<&MeshConfig> {
        if let Self::MeshConfig(spec) = self { Some(spec) } else { None }
    }

    /// Returns the servers, if the object is a Gateway.
    pub fn as_gateway(&self) -> Option<&Gateway> {
        if let Self::Gateway(spec) = self { Some(spec) } else { None }
    }

    /// Returns the policies, if the object is a DestinationRule.
    pub fn as_destination_rule(&self) -> Option<&DestinationRule> {
        if let Self::DestinationRule(spec) = self { Some(spec) } else { None }
    }

    /// Returns the restrictions, if the object is a Sidecar.
    pub fn as_sidecar(&self) -> Option<&Sidecar> {
        if let Self::Sidecar(spec) = self { Some(spec) } else { None }
    }

    /// Returns the workload, if the object is a WorkloadEntry.
    pub fn as_workload_entry(&self) -> Option<&WorkloadEntry> {
        if let Self::WorkloadEntry(spec) = self { Some(spec) } else { None }
    }

    /// Returns what workloads have in common, if the object is a WorkloadGroup.
    pub fn as_workload_group(&self) -> Option<&WorkloadGroup> {
        if let Self::WorkloadGroup(spec) = self { Some(spec) } else { None }
    }

    /// Returns the workload, if the object is a Pod.
    pub fn as_pod(&self) -> Option<&Pod> {
        if let Self::Pod(spec) = self { Some(spec) } else { None }
    }

    /// Returns the endpoints, if the object is an EndpointSlice.
    pub fn as_endpoint_slice(&self) -> Option<&EndpointSlice> {
        if let Self::EndpointSlice(spec) = self { Some(spec) } else { None }
    }
}

fn decode_and_check(kind: Kind, document: Value) -> Decoded<Spec> {
    match kind {
        Kind::Namespace => checked(decode::<core::Namespace>(kind, &[], document), |_| Vec::new(), |_| Spec::Namespace),
        Kind::ConfigMap => {
            checked(decode::<mesh_config::MeshConfigDocument>(kind, &[], document), mesh_config::check, |full| {
                Spec::MeshConfig(Box::new(full.into()))
            })
        }
        Kind::Service => {
            checked(decode::<core::Service>(kind, &[], document), service::check, |full| Spec::Service(full.into()))
        }
        Kind::Pod => {
            checked(decode::<pod::PodDocument>(kind, &[], document), pod::check, |full| Spec::Pod(full.into()))
        }
        Kind::EndpointSlice => {
            checked(decode::<discovery::EndpointSlice>(kind, &[], document), endpoint_slice::check, |full| {
                Spec::EndpointSlice(full.into())
            })
        }
        Kind::ServiceEntry => {
            checked(decode_istio(kind, service_entry::UNSUPPORTED, document), service_entry::check, service_entry_of)
        }
        Kind::WorkloadGroup => checked(
            decode_istio(kind, workload_group::UNSUPPORTED, document),
            workload_group::check,
            Spec::WorkloadGroup,
        ),
        Kind::WorkloadEntry => checked(
            decode_istio(kind, workload_entry::UNSUPPORTED, document),
            workload_entry::check,
            Spec::WorkloadEntry,
        ),
        Kind::Secret => checked(decode::<secret::SecretDocument>(kind, &[], document), secret::check, |full| {
            Spec::Secret(full.into())
        }),
        Kind::Gateway => checked(decode_istio(kind, gateway::UNSUPPORTED, document), gateway::check, Spec::Gateway),
        Kind::Ingress => checked(decode::<networking::Ingress>(kind, &[], document), ingress::check, |full| {
            Spec::Ingress(full.into())
        }),
        Kind::VirtualService => checked(
            decode_istio(kind, virtual_service::UNSUPPORTED, document),
            virtual_service::check,
            Spec::VirtualService,
        ),
        Kind::DestinationRule => checked(
            decode_istio(kind, destination_rule::UNSUPPORTED, document),
            destination_rule::check,
            Spec::DestinationRule,
        ),
        Kind::Sidecar => checked(decode_istio(kind, sidecar::UNSUPPORTED, document), sidecar::check, Spec::Sidecar),
    }
}

/// Adds what is wrong with the values to what is wrong with the fields, so that a writer sees everything at once.
fn checked<T>(decoded: Decoded<T>, check: impl FnOnce(&T) -> Faults, spec: impl FnOnce(T) -> Spec) -> Decoded<Spec> {
    let Decoded { typed, mut faults } = decoded;
    if let Some(typed) = &typed {
        faults.extend(check(typed));
    }
    Decoded { typed: typed.map(spec), faults }
}

fn service_entry_of(mut entry: ServiceEntry) -> Spec {
    let mut known_labels = Vec::new();
    entry.endpoints.iter_mut().for_each(|endpoint| endpoint.labels.share(&mut known_labels));
    Spec::ServiceEntry(entry)
}

/// A document of Istio's, of which only `spec` differs between the kinds.
#[derive(Deserialize)]
struct IstioDocument<T> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    spec: T,
}

fn decode_istio<T: DeserializeOwned>(kind: Kind, unsupported: &[&str], document: Value) -> Decoded<T> {
    let Decoded { typed, faults } = decode::<IstioDocument<T>>(kind, unsupported, document);
    Decoded { typed: typed.map(|document| document.spec), faults }
}
