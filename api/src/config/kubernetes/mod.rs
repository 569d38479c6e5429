//! Kubernetes' kinds, as far as Rutter needs them. Their full form is a kilobyte of empty fields, so each object is
//! read and checked in that form and kept in a small one.

pub mod endpoint_slice;
pub mod ingress;
pub mod mesh_config;
pub mod pod;
pub mod secret;
pub mod service;

pub use endpoint_slice::{EndpointSlice, SliceEndpoint, SlicePort};
pub use ingress::{
    DEFAULT_INGRESS_CLASS, INGRESS_CLASS_ANNOTATION, Ingress, IngressBackend, IngressPath, IngressPathMatch,
    IngressPort, IngressRule, IngressTls,
};
pub use mesh_config::{IngressControllerMode, MeshConfig, MeshOutboundTrafficPolicy, ProxyDefaults, read_mesh_config};
pub use pod::Pod;
pub use secret::{SealedValues, Secret, SecretBytes, SecretContent};
pub use service::{EndpointUse, KubernetesService, KubernetesServicePort, TrafficDistribution};
