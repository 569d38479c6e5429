//! Config objects: the kinds that people already write, checked at the door.

mod decode;
pub mod istio;
mod kind;
pub mod kubernetes;
mod unsupported;
mod validate;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::invalid::Invalid;
use crate::labels::Labels;
use istio::{DestinationRule, ServiceEntry, Sidecar, VirtualService, WorkloadEntry};
pub use kind::{ConfigKey, Kind};
pub use validate::ingress_port;

/// The largest object that is taken, as JSON, in bytes: what one store record and one message can bear.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;

/// The most that one apply, or one file of a watched folder, may hold, in bytes.
pub const APPLY_BYTES_MAX: usize = 16 << 20;

/// One valid config object.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which one.
    pub key: ConfigKey,
    /// `metadata.labels`
    pub labels: Labels,
    /// `metadata.annotations`
    pub annotations: Labels,
    /// What it says.
    pub spec: Spec,
    /// The store's revision that created it: where two objects collide, the older wins. 0: not stored.
    pub created: u64,
}

/// What a config object says.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A Kubernetes namespace.
    Namespace,
    /// A Kubernetes service.
    Service(kubernetes::Service),
    /// Some of its endpoints.
    EndpointSlice(kubernetes::EndpointSlice),
    /// A service that Kubernetes does not know.
    ServiceEntry(ServiceEntry),
    /// A workload outside Kubernetes.
    WorkloadEntry(WorkloadEntry),
    /// Routing.
    VirtualService(VirtualService),
    /// Subsets and policies.
    DestinationRule(DestinationRule),
    /// Scope.
    Sidecar(Sidecar),
}

/// An object as somebody wrote it: checked, with the JSON that is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its typed form.
    pub config: Arc<Config>,
    /// What is kept: the object without what servers add (resourceVersion, uid, status, …).
    /// As text, with sorted keys: what is equal is written alike.
    pub json: Arc<str>,
    /// `metadata.resourceVersion`, where given: the write is for this version only.
    pub resource_version: Option<u64>,
}

#[derive(Deserialize)]
struct Istio<T> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    spec: T,
}

impl Object {
    /// Checks one document.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the field's path.
    pub fn from_value(mut value: Value, default_namespace: &str) -> Result<Self, Vec<Invalid>> {
        let kind = kind_of(&value).map_err(|invalid| vec![invalid])?;
        let meta = metadata(&value).map_err(|invalid| vec![invalid.of(kind.name())])?;
        let key = key_of(kind, &meta, default_namespace).map_err(|invalid| vec![invalid.of(kind.name())])?;
        let named =
            |faults: Vec<Invalid>| faults.into_iter().map(|fault| fault.of(key.to_string())).collect::<Vec<_>>();
        let resource_version = resource_version(&meta).map_err(|invalid| named(vec![invalid]))?;
        strip(&mut value, &key);
        let json = value.to_string();
        if json.len() > OBJECT_BYTES_MAX {
            return Err(named(vec![Invalid::new("", format!("at most {OBJECT_BYTES_MAX} bytes"), json.len())]));
        }
        let spec = checked_spec(kind, value).map_err(named)?;
        let config = Arc::new(Config::new(key, meta, spec));
        Ok(Self { config, json: json.into(), resource_version })
    }
}

impl Config {
    fn new(key: ConfigKey, meta: ObjectMeta, spec: Spec) -> Self {
        let (labels, annotations) = (meta.labels.unwrap_or_default(), meta.annotations.unwrap_or_default());
        Self { key, labels: labels.into(), annotations: annotations.into(), spec, created: 0 }
    }

    /// Reads what [`Object::json`] was.
    ///
    /// # Errors
    /// Everything because of which this version does not take it.
    pub fn from_json(key: ConfigKey, json: &str) -> Result<Self, Vec<Invalid>> {
        let refuse = |error: serde_json::Error| vec![Invalid::new("", "JSON", error)];
        let value: Value = serde_json::from_str(json).map_err(refuse)?;
        let kind = kind_of(&value).map_err(|invalid| vec![invalid])?;
        let meta = metadata(&value).map_err(|invalid| vec![invalid])?;
        let spec = checked_spec(kind, value)?;
        Ok(Self::new(key, meta, spec))
    }
}

fn checked_spec(kind: Kind, value: Value) -> Result<Spec, Vec<Invalid>> {
    match spec(kind, value)? {
        (spec, faults) if faults.is_empty() => Ok(spec),
        (_, faults) => Err(faults),
    }
}

fn spec(kind: Kind, value: Value) -> Result<(Spec, Vec<Invalid>), Vec<Invalid>> {
    fn istio<T: DeserializeOwned>(kind: Kind, value: Value) -> Result<T, Vec<Invalid>> {
        Ok(decode::decode::<Istio<T>>(kind, value)?.spec)
    }
    Ok(match kind {
        Kind::Namespace => {
            decode::decode::<Namespace>(kind, value)?;
            (Spec::Namespace, Vec::new())
        }
        Kind::Service => {
            let service: Service = decode::decode(kind, value)?;
            let faults = validate::service(&service);
            (Spec::Service(service.into()), faults)
        }
        Kind::EndpointSlice => {
            let slice: EndpointSlice = decode::decode(kind, value)?;
            let faults = validate::endpoint_slice(&slice);
            (Spec::EndpointSlice(slice.into()), faults)
        }
        Kind::ServiceEntry => {
            let mut entry: ServiceEntry = istio(kind, value)?;
            let mut known = Vec::new();
            entry.endpoints.iter_mut().for_each(|endpoint| endpoint.labels.share(&mut known));
            let faults = validate::service_entry(&entry);
            (Spec::ServiceEntry(entry), faults)
        }
        Kind::WorkloadEntry => {
            let entry: WorkloadEntry = istio(kind, value)?;
            let faults = validate::workload_entry(&entry);
            (Spec::WorkloadEntry(entry), faults)
        }
        Kind::VirtualService => {
            let service: VirtualService = istio(kind, value)?;
            let faults = validate::virtual_service(&service);
            (Spec::VirtualService(service), faults)
        }
        Kind::DestinationRule => {
            let rule: DestinationRule = istio(kind, value)?;
            let faults = validate::destination_rule(&rule);
            (Spec::DestinationRule(rule), faults)
        }
        Kind::Sidecar => {
            let sidecar: Sidecar = istio(kind, value)?;
            let faults = validate::sidecar(&sidecar);
            (Spec::Sidecar(sidecar), faults)
        }
    })
}

fn kind_of(value: &Value) -> Result<Kind, Invalid> {
    let text = |field: &str| match value.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        other => Err(Invalid::new(field, "a string", other.map_or("nothing".to_owned(), Value::to_string))),
    };
    if !value.is_object() {
        return Err(Invalid::new("", "an object with apiVersion, kind and metadata", value));
    }
    let (version, name) = (text("apiVersion")?, text("kind")?);
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = known.ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        Invalid::new("kind", format!("one of {}", names.join(", ")), format!("not supported yet: {name}"))
    })?;
    if !kind.api_versions().contains(&version) {
        return Err(Invalid::new("apiVersion", kind.api_versions().join(" or "), version).of(name));
    }
    Ok(kind)
}

fn metadata(value: &Value) -> Result<ObjectMeta, Invalid> {
    let meta = value.get("metadata").cloned().ok_or_else(|| Invalid::new("metadata", "a name", "nothing"))?;
    decode::decode_metadata(meta)
}

fn key_of(kind: Kind, meta: &ObjectMeta, default_namespace: &str) -> Result<ConfigKey, Invalid> {
    let name = meta.name.as_deref().unwrap_or_default();
    dns_name("metadata.name", name, 253)?;
    let namespace = meta.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or(default_namespace);
    if kind.is_namespaced() {
        dns_name("metadata.namespace", namespace, 63)?;
    }
    Ok(ConfigKey::new(kind, namespace, name))
}

fn dns_name(path: &str, text: &str, max: usize) -> Result<(), Invalid> {
    let chars_ok = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let ends_ok = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !chars_ok || text.len() > max || !ends_ok(text.chars().next()) || !ends_ok(text.chars().last()) {
        let want = format!("1 to {max} lower-case letters, digits, \"-\" and \".\"");
        return Err(Invalid::new(path, want, format!("{text:?}")));
    }
    Ok(())
}

fn resource_version(meta: &ObjectMeta) -> Result<Option<u64>, Invalid> {
    let Some(text) = meta.resource_version.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let refuse = || Invalid::new("metadata.resourceVersion", "a version that this store gave", format!("{text:?}"));
    text.parse().map(Some).map_err(|_| refuse())
}

/// Leaves what the writer says; what servers add is dropped, and the namespace is written out.
fn strip(value: &mut Value, key: &ConfigKey) {
    let Some(object) = value.as_object_mut() else { return };
    object.remove("status");
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        for field in ["resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "selfLink"] {
            meta.remove(field);
        }
        if key.kind.is_namespaced() {
            meta.insert("namespace".into(), Value::String(key.namespace.to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
