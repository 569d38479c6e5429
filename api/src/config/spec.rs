//! What config objects say, in their typed form.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::checks::Faults;
use super::decode::decode;
use super::istio::{DestinationRule, ServiceEntry, Sidecar, VirtualService, WorkloadEntry};
use super::istio::{destination_rule, service_entry, sidecar, virtual_service, workload_entry};
use super::kind::Kind;
use super::kubernetes::{EndpointSlice, KubernetesService, endpoint_slice, service};

/// What a config object says. There is one variant for each [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A Kubernetes namespace, of which only the metadata counts.
    Namespace,
    /// A Kubernetes service: its ports, addresses and selector.
    Service(KubernetesService),
    /// Some endpoints of a Kubernetes service.
    EndpointSlice(EndpointSlice),
    /// A service that Kubernetes does not know.
    ServiceEntry(ServiceEntry),
    /// A workload outside Kubernetes.
    WorkloadEntry(WorkloadEntry),
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
        let (spec, faults) = decode_and_check(kind, document)?;
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }

    /// Returns the routing rules, if the object is a VirtualService.
    pub fn as_virtual_service(&self) -> Option<&VirtualService> {
        if let Self::VirtualService(spec) = self { Some(spec) } else { None }
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

    /// Returns the endpoints, if the object is an EndpointSlice.
    pub fn as_endpoint_slice(&self) -> Option<&EndpointSlice> {
        if let Self::EndpointSlice(spec) = self { Some(spec) } else { None }
    }
}

fn decode_and_check(kind: Kind, document: Value) -> Result<(Spec, Faults), Faults> {
    Ok(match kind {
        Kind::Namespace => {
            decode::<core::Namespace>(kind, &[], document)?;
            (Spec::Namespace, Vec::new())
        }
        Kind::Service => {
            let full: core::Service = decode(kind, &[], document)?;
            let faults = service::check(&full);
            (Spec::Service(full.into()), faults)
        }
        Kind::EndpointSlice => {
            let full: discovery::EndpointSlice = decode(kind, &[], document)?;
            let faults = endpoint_slice::check(&full);
            (Spec::EndpointSlice(full.into()), faults)
        }
        Kind::ServiceEntry => {
            let mut entry: ServiceEntry = decode_istio(kind, service_entry::UNSUPPORTED, document)?;
            let mut known_labels = Vec::new();
            entry.endpoints.iter_mut().for_each(|endpoint| endpoint.labels.share(&mut known_labels));
            let faults = service_entry::check(&entry);
            (Spec::ServiceEntry(entry), faults)
        }
        Kind::WorkloadEntry => {
            let entry: WorkloadEntry = decode_istio(kind, workload_entry::UNSUPPORTED, document)?;
            let faults = workload_entry::check(&entry);
            (Spec::WorkloadEntry(entry), faults)
        }
        Kind::VirtualService => {
            let spec: VirtualService = decode_istio(kind, virtual_service::UNSUPPORTED, document)?;
            let faults = virtual_service::check(&spec);
            (Spec::VirtualService(spec), faults)
        }
        Kind::DestinationRule => {
            let spec: DestinationRule = decode_istio(kind, destination_rule::UNSUPPORTED, document)?;
            let faults = destination_rule::check(&spec);
            (Spec::DestinationRule(spec), faults)
        }
        Kind::Sidecar => {
            let spec: Sidecar = decode_istio(kind, sidecar::UNSUPPORTED, document)?;
            let faults = sidecar::check(&spec);
            (Spec::Sidecar(spec), faults)
        }
    })
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

fn decode_istio<T: DeserializeOwned>(kind: Kind, unsupported: &[&str], document: Value) -> Result<T, Faults> {
    Ok(decode::<IstioDocument<T>>(kind, unsupported, document)?.spec)
}
