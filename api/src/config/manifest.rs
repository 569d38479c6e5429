//! The objects of a text, as tools write them: documents of YAML or JSON, and lists of objects.

use serde_json::{Map, Value};

use super::kind::{ConfigKey, Kind};
use super::kubernetes::mesh_config::is_mesh_config;
use super::kubernetes::pod::has_status;
use super::kubernetes::secret::is_for_tls;
use super::object::{Object, key_of_document};
use super::type_meta::{Class, TypeMeta};
use crate::invalid::Invalid;
use crate::yaml::{self, Document, YamlError};

/// One object of a text.
#[derive(Debug)]
pub struct Manifest {
    /// The line on which the object starts, counted from 1. Of an item of a list in JSON it is that of the list.
    pub line: usize,
    /// What stands there.
    pub content: Content,
}

/// What an object of a text is.
#[derive(Debug)]
pub enum Content {
    /// An object that Rutter takes.
    Taken(Box<Object>),
    /// An object that is no config of a mesh.
    Foreign(Box<Foreign>),
    /// An object that Rutter does not take.
    Refused(Refused),
}

/// An object that is no config of a mesh.
#[derive(Debug)]
pub struct Foreign {
    /// Its type.
    pub type_meta: TypeMeta,
    /// Its name, with its namespace if it has one.
    pub name: String,
    /// The whole object.
    pub document: Value,
}

/// Why an object is not taken.
#[derive(Debug)]
pub struct Refused {
    /// The name of the object as far as it is known: `virtualService shop/a`, `Gateway a`.
    pub name: String,
    /// Names the object if its kind is one that Rutter takes and its name is valid.
    pub key: Option<ConfigKey>,
    /// Everything that is wrong.
    pub faults: Vec<Invalid>,
}

impl Refused {
    /// Returns whether nothing is wrong except that Rutter does not act on everything in the object yet.
    pub fn is_unsupported(&self) -> bool {
        self.faults.iter().all(|fault| fault.is_unsupported)
    }
}

/// Returns the objects of a text. An object that names no namespace is in `default_namespace`.
///
/// # Errors
/// Fails if the text is neither YAML nor JSON.
pub fn read_manifests(text: &str, default_namespace: &str) -> Result<Vec<Manifest>, YamlError> {
    let mut manifests = Vec::new();
    for Document { value, line, item_lines } in yaml::parse(text)? {
        let items = items_of(value).into_iter().enumerate();
        manifests.extend(items.map(|(index, item)| {
            let line = item_lines.get(index).copied().unwrap_or(line);
            Manifest { line, content: Content::of(item, default_namespace) }
        }));
    }
    Ok(manifests)
}

/// Returns the objects of a document: the items of an array, those of a `List` or of a list of one kind, or the document.
fn items_of(document: Value) -> Vec<Value> {
    let mut document = document;
    if let Value::Object(fields) = &mut document
        && is_list(fields)
    {
        let Some(Value::Array(mut items)) = fields.remove("items") else { return Vec::new() };
        for item in &mut items {
            set_type(item, fields);
        }
        return items;
    }
    if let Value::Array(items) = document { items } else { vec![document] }
}

fn is_list(fields: &Map<String, Value>) -> bool {
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.ends_with("List") && fields.get("items").is_some_and(|items| items.is_array() || items.is_null())
}

/// Gives an item of a list of one kind the type that the list has for it.
fn set_type(item: &mut Value, list: &Map<String, Value>) {
    let (Some(fields), Some(Value::String(kind))) = (item.as_object_mut(), list.get("kind")) else { return };
    let kind = kind.strip_suffix("List").unwrap_or_default();
    if kind.is_empty() || fields.contains_key("kind") {
        return;
    }
    fields.insert("kind".into(), kind.into());
    if let Some(api_version) = list.get("apiVersion") {
        fields.entry("apiVersion").or_insert(api_version.clone());
    }
}

impl Content {
    fn of(document: Value, default_namespace: &str) -> Self {
        let type_meta = match TypeMeta::of(&document) {
            Ok(type_meta) => type_meta,
            Err(invalid) => return Self::Refused(Refused { name: String::new(), key: None, faults: vec![invalid] }),
        };
        match type_meta.class() {
            Class::Foreign => {
                let name = name_of(&document);
                Self::Foreign(Box::new(Foreign { type_meta, name, document }))
            }
            Class::Refused(invalid) => {
                let name = format!("{} {}", type_meta.kind, name_of(&document));
                Self::Refused(Refused { faults: vec![invalid.of(name.clone())], key: None, name })
            }
            Class::Taken(kind) if !is_for_mesh(kind, &document) => {
                let name = name_of(&document);
                Self::Foreign(Box::new(Foreign { type_meta, name, document }))
            }
            Class::Taken(kind) => {
                let key = key_of_document(kind, &document, default_namespace).ok();
                match Object::of_kind(kind, document, default_namespace) {
                    Ok(object) => Self::Taken(Box::new(object)),
                    Err(faults) => {
                        let name = faults.first().map(|fault| fault.object.clone()).unwrap_or_default();
                        Self::Refused(Refused { name, key, faults })
                    }
                }
            }
        }
    }
}

/// Returns whether an object of a kind that Rutter takes is config of a mesh. Of some kinds only some objects are.
fn is_for_mesh(kind: Kind, document: &Value) -> bool {
    match kind {
        Kind::Secret => is_for_tls(document),
        Kind::ConfigMap => is_mesh_config(document),
        Kind::Pod => has_status(document),
        Kind::Namespace
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::ServiceEntry
        | Kind::WorkloadGroup
        | Kind::WorkloadEntry
        | Kind::Ingress
        | Kind::Gateway
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::Sidecar => true,
    }
}

/// Returns the name of an object with its namespace, if it has one.
fn name_of(document: &Value) -> String {
    let field = |name: &str| document["metadata"][name].as_str().filter(|text| !text.is_empty());
    let name = field("name").unwrap_or("without a name");
    field("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}";

    /// Returns a line for each object of a text.
    fn shown(text: &str) -> Vec<String> {
        let manifests = read_manifests(text, "shop").unwrap();
        let lines = manifests.iter().map(|Manifest { line, content }| match content {
            Content::Taken(object) => format!("{line}: {}", object.config.key),
            Content::Foreign(foreign) => format!("{line}: foreign {}", foreign.type_meta),
            Content::Refused(refused) => {
                let faults: Vec<_> = refused.faults.iter().map(ToString::to_string).collect();
                let word = if refused.is_unsupported() { "unsupported" } else { "wrong" };
                format!("{line}: {word} {:?}: {}", refused.name, faults.join("; "))
            }
        });
        lines.collect()
    }

    #[test]
    fn lists_and_arrays_are_taken_apart() {
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {SERVICE}\n-\n  {SERVICE}\nmetadata: {{}}\n");
        assert_eq!(shown(&list), ["4: service shop/a", "6: service shop/a"]);
        assert_eq!(shown(&format!("---\n- {SERVICE}\n")), ["2: service shop/a"]);
        assert!(shown("{apiVersion: v1, kind: List, items: []}").is_empty());
        assert!(shown("{apiVersion: v1, kind: ServiceList, items: }").is_empty());
        let raw = "{apiVersion: networking.istio.io/v1, kind: DestinationRuleList, items: [{metadata: {name: d}, spec: {host: a}}]}";
        assert_eq!(shown(raw), ["1: destinationRule shop/d"]);
        let nested =
            format!("{{apiVersion: v1, kind: List, items: [{{apiVersion: v1, kind: List, items: [{SERVICE}]}}]}}");
        assert_eq!(shown(&nested), ["1: foreign v1 List"], "no tool writes lists of lists");
    }

    #[test]
    fn json_values_follow_each_other() {
        let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}"#;
        assert_eq!(shown(&format!("{json}\n{json}")), ["1: namespace n", "2: namespace n"]);
        assert_eq!(shown(&format!("[{json},\n{json}]")), ["1: namespace n", "2: namespace n"]);
    }

    #[test]
    fn each_object_is_taken_refused_or_foreign() {
        let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n---\n\
                    {apiVersion: networking.istio.io/v1, kind: EnvoyFilter, metadata: {name: g, namespace: bank}}\n---\n\
                    {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d}, spec: {host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}}\n---\n\
                    {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d}, spec: {host: a, hots: b}}\n---\n\
                    7\n";
        assert_eq!(
            shown(text),
            [
                "1: foreign apps/v1 Deployment",
                "3: unsupported \"EnvoyFilter bank/g\": EnvoyFilter bank/g: kind: not supported yet",
                "5: unsupported \"destinationRule shop/d\": destinationRule shop/d: spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported yet",
                "7: wrong \"destinationRule shop/d\": destinationRule shop/d: spec.hots: want a field of DestinationRule, got unknown field \"hots\"",
                "9: wrong \"\": want an object with apiVersion, kind and metadata, got a number",
            ]
        );
    }
}
