//! One config object: read, checked, and stripped of what servers add.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::decode::decode_metadata;
use super::kind::{ConfigKey, Kind};
use super::kubernetes::SealedValues;
use super::kubernetes::pod::keep_what_counts;
use super::kubernetes::secret::with_sealed;
use super::spec::Spec;
use super::type_meta::{Class, TypeMeta};
use crate::creation_timestamp::CreationTimestamp;
use crate::dns_name::{LABEL_MAX, NAME_MAX, check_dns_name, check_label_value, shown};
use crate::invalid::Invalid;
use crate::labels::Labels;

/// The largest object that is taken, as JSON, in bytes: what one store record and one message can bear.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;

/// The most that one apply, or one file of a watched folder, may hold, in bytes.
pub const APPLY_BYTES_MAX: usize = 16 << 20;

/// The fields of `metadata` that servers add. They are not a part of what the writer says.
const SERVER_FIELDS: [&str; 6] =
    ["resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "selfLink"];

/// The annotation by which Rutter shows the version of an object. An object that is applied with it must have that version
/// still, so that nobody overwrites what somebody else wrote meanwhile.
pub const REVISION_ANNOTATION: &str = "rutter/revision";

/// The annotations that servers and kubectl add.
const SERVER_ANNOTATIONS: [&str; 2] = [REVISION_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"];

/// One valid config object, in the form that the engine computes with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Names the object.
    pub key: ConfigKey,
    /// The labels, `metadata.labels`.
    pub labels: Labels,
    /// The annotations, `metadata.annotations`.
    pub annotations: Labels,
    /// What the object says.
    pub spec: Spec,
    /// The age of the object. Where two objects claim the same thing, the older has it; of two objects of the same
    /// age, the one with the lower key. Until a store has set it, it is the beginning of 1970.
    pub created: CreationTimestamp,
}

/// An object as somebody wrote it: checked, with the JSON that is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The typed form of the object.
    pub config: Arc<Config>,
    /// The JSON that is to be kept: the object without what servers add, with sorted keys, so that equal objects are
    /// written alike. Two objects that say the same have the same text, so that a store sees by the text alone that nothing
    /// changed.
    pub json: Arc<str>,
    /// The version that the write is for, which the annotation [`REVISION_ANNOTATION`] says. `None` means any version.
    /// `metadata.resourceVersion` does not count: in what was exported from Kubernetes it is a version of that store.
    pub revision: Option<u64>,
    /// The age that the writer gives to the object, `metadata.creationTimestamp`. `None` leaves it to the store.
    pub created: Option<CreationTimestamp>,
}

impl Object {
    /// Reads and checks one document. An object that names no namespace is in `default_namespace`. The document is one
    /// value of a YAML text, as `yaml::parse` returns it.
    ///
    /// # Errors
    /// Returns everything that is wrong with the object, each with the path of the field.
    pub fn from_value(value: Value, default_namespace: &str) -> Result<Self, Vec<Invalid>> {
        let kind = kind_of(&value).map_err(|invalid| vec![invalid])?;
        Self::of_kind(kind, value, default_namespace)
    }

    /// Reads and checks a document of a kind.
    pub(super) fn of_kind(kind: Kind, mut value: Value, default_namespace: &str) -> Result<Self, Vec<Invalid>> {
        let mut metadata = metadata_of(&value).map_err(|invalid| {
            let key = key_of_document(kind, &value, default_namespace);
            vec![invalid.of(key.map_or(kind.name().to_owned(), |key| key.to_string()))]
        })?;
        let key = key_of(kind, &metadata, default_namespace).map_err(|invalid| vec![invalid.of(kind.name())])?;
        check_labels(&metadata).map_err(|faults| with_key(faults, &key))?;
        let revision = revision_of(&metadata).map_err(|invalid| with_key(vec![invalid], &key))?;
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0.into());
        strip(&mut value, &key);
        if kind == Kind::Pod {
            keep_what_counts(&mut value);
        }
        if let Some(annotations) = &mut metadata.annotations {
            let is_kept = |name: &str| !matches!(kind, Kind::Secret | Kind::Pod) && !SERVER_ANNOTATIONS.contains(&name);
            annotations.retain(|name, _| is_kept(name));
        }
        let json = value.to_string();
        if json.len() > OBJECT_BYTES_MAX {
            let invalid = Invalid::new("", format!("at most {OBJECT_BYTES_MAX} bytes"), json.len());
            return Err(with_key(vec![invalid], &key));
        }
        let spec = Spec::from_document(kind, value).map_err(|faults| with_key(faults, &key))?;
        let config = Config { created: created.unwrap_or_default(), ..Config::new(key, metadata, spec) };
        Ok(Self { config: Arc::new(config), json: json.into(), revision, created })
    }
}

impl Object {
    /// Returns a Secret with its values sealed, in its text and in its typed form.
    ///
    /// # Errors
    /// Fails if the sealed values are none.
    pub fn with_sealed_values(&self, sealed: &SealedValues) -> Result<Self, Vec<Invalid>> {
        let document: Value =
            serde_json::from_str(&self.json).map_err(|_| vec![Invalid::new("", "JSON", "something else")])?;
        let json = with_sealed(document, sealed).to_string();
        let config = Config { created: self.config.created, ..Config::from_json(self.config.key.clone(), &json)? };
        Ok(Self { config: Arc::new(config), json: json.into(), ..self.clone() })
    }
}

impl Config {
    fn new(key: ConfigKey, metadata: ObjectMeta, spec: Spec) -> Self {
        let labels = metadata.labels.unwrap_or_default().into();
        let annotations = metadata.annotations.unwrap_or_default().into();
        Self { key, labels, annotations, spec, created: CreationTimestamp::default() }
    }

    /// Reads an object from the JSON that was kept of it, [`Object::json`]. The age is not in that JSON: the store
    /// keeps it beside it and adds it.
    ///
    /// # Errors
    /// Returns everything because of which this version of Rutter does not take the object.
    pub fn from_json(key: ConfigKey, json: &str) -> Result<Self, Vec<Invalid>> {
        let value: Value = serde_json::from_str(json).map_err(|error| vec![Invalid::new("", "JSON", error)])?;
        let kind = kind_of(&value).map_err(|invalid| vec![invalid])?;
        let metadata = metadata_of(&value).map_err(|invalid| vec![invalid])?;
        let spec = Spec::from_document(kind, value)?;
        Ok(Self::new(key, metadata, spec))
    }
}

fn with_key(faults: Vec<Invalid>, key: &ConfigKey) -> Vec<Invalid> {
    faults.into_iter().map(|fault| fault.of(key.to_string())).collect()
}

/// Returns the kind of a document that has to be one of those that Rutter takes.
fn kind_of(document: &Value) -> Result<Kind, Invalid> {
    let type_meta = TypeMeta::of(document)?;
    match type_meta.class() {
        Class::Taken(kind) => Ok(kind),
        Class::Foreign => Err(Invalid::new("kind", "config of a mesh", type_meta)),
        Class::Refused(invalid) => Err(invalid),
    }
}

fn metadata_of(value: &Value) -> Result<ObjectMeta, Invalid> {
    let metadata = value.get("metadata").cloned().ok_or_else(|| Invalid::new("metadata", "a name", "nothing"))?;
    decode_metadata(metadata)
}

/// Returns the key of a document whose other metadata may be anything.
pub(super) fn key_of_document(kind: Kind, document: &Value, default_namespace: &str) -> Result<ConfigKey, Invalid> {
    let field = |name: &str| document["metadata"][name].as_str().map(str::to_owned);
    let metadata = ObjectMeta { name: field("name"), namespace: field("namespace"), ..ObjectMeta::default() };
    key_of(kind, &metadata, default_namespace)
}

fn key_of(kind: Kind, metadata: &ObjectMeta, default_namespace: &str) -> Result<ConfigKey, Invalid> {
    let name = metadata.name.as_deref().unwrap_or_default();
    check_dns_name("metadata.name", name, NAME_MAX)?;
    let namespace = metadata.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or(default_namespace);
    if kind.is_namespaced() {
        check_dns_name("metadata.namespace", namespace, LABEL_MAX)?;
    }
    Ok(ConfigKey::new(kind, namespace, name))
}

/// Fails with every label whose value Kubernetes would not take.
fn check_labels(metadata: &ObjectMeta) -> Result<(), Vec<Invalid>> {
    let labels = metadata.labels.iter().flatten();
    let faults: Vec<Invalid> = labels
        .filter_map(|(name, value)| check_label_value(&format!("metadata.labels[{}]", shown(name)), value).err())
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn revision_of(metadata: &ObjectMeta) -> Result<Option<u64>, Invalid> {
    let Some(text) = metadata.annotations.iter().flatten().find(|(name, _)| *name == REVISION_ANNOTATION) else {
        return Ok(None);
    };
    let path = format!("metadata.annotations[{REVISION_ANNOTATION}]");
    let revision = text.1.parse();
    revision.map(Some).map_err(|_| Invalid::new(path, "a version that this store gave", format!("{:?}", text.1)))
}

/// Leaves what the writer says: what servers add is dropped, and the namespace is written out.
fn strip(value: &mut Value, key: &ConfigKey) {
    let Some(object) = value.as_object_mut() else { return };
    if key.kind != Kind::Pod {
        object.remove("status");
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            let had_any = !annotations.is_empty();
            for name in SERVER_ANNOTATIONS {
                annotations.remove(name);
            }
            if had_any && annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
        if key.kind == Kind::Secret {
            // Tools write copies of the whole object there.
            metadata.remove("annotations");
        }
        if key.kind.is_namespaced() {
            metadata.insert("namespace".into(), Value::String(key.namespace.to_string()));
        }
    }
}
