//! What Istio acts on beside the kinds of its API, for those who come from it.

use rutter_api::config::{Config, Foreign};
use serde_json::Value;

/// The labels of namespaces by which Istio injects sidecars.
const INJECTION_LABELS: [&str; 3] = ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode"];
/// The beginnings of the annotations and labels of pods that Istio acts on.
const POD_PREFIXES: [&str; 5] =
    ["sidecar.istio.io/", "traffic.sidecar.istio.io/", "proxy.istio.io/", "inject.istio.io/", "istio.io/"];
/// The beginnings of the annotations of services that Istio acts on.
const SERVICE_PREFIXES: [&str; 4] = ["networking.istio.io/", "traffic.istio.io/", "auth.istio.io/", "istio.io/"];
/// The annotations of services that Rutter acts on.
const ACTED_ON: [&str; 2] = ["networking.istio.io/exportTo", "networking.istio.io/traffic-distribution"];

/// Returns what Istio does with an object that Rutter takes, and Rutter does not.
pub(crate) fn of_taken(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    for label in INJECTION_LABELS.iter().filter(|label| config.labels.get(label).is_some()) {
        notes.push(format!(
            "the label {label} makes it inject sidecars; Rutter injects none: give each pod its own (rutterctl bootstrap)"
        ));
    }
    for (name, _) in config.annotations.iter() {
        if !ACTED_ON.contains(&name) && SERVICE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            notes.push(format!("it acts on the annotation {name}; Rutter does not yet"));
        }
    }
    let mesh_config = config.spec.as_mesh_config();
    notes.extend(mesh_config.into_iter().flat_map(|mesh| &mesh.ignored).map(|field| mesh_config_field(field)));
    notes
}

/// Returns what Istio does with an object that is no config of a mesh to Rutter.
pub(crate) fn of_foreign(foreign: &Foreign) -> Vec<String> {
    let (kind, document) = (foreign.type_meta.kind.as_str(), &foreign.document);
    match kind {
        "IstioOperator" if document["spec"].get("meshConfig").is_some() => {
            vec![
                "it takes meshConfig from it; for Rutter that stands in the ConfigMap istio of the root namespace"
                    .to_owned(),
            ]
        }
        _ => {
            let mut notes = of_pod(&document["metadata"]);
            notes.extend(of_pod(&document["spec"]["template"]["metadata"]));
            notes
        }
    }
}

/// Returns a note for a field of the mesh config that Rutter does not act on.
fn mesh_config_field(name: &str) -> String {
    match name {
        "rootNamespace" => "it acts on rootNamespace; for Rutter it is rutter serve --root-namespace".to_owned(),
        name => format!("it acts on {name}; Rutter does not yet"),
    }
}

/// Returns a note for each annotation or label of a pod that Istio acts on.
fn of_pod(metadata: &Value) -> Vec<String> {
    let names = ["annotations", "labels"].iter().flat_map(|field| {
        let names = metadata[field].as_object().into_iter().flatten();
        names.map(move |(name, _)| (field.trim_end_matches('s'), name))
    });
    let acted_on = names.filter(|(_, name)| POD_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    acted_on
        .map(|(field, name)| format!("it acts on the {field} {name} of pods; Rutter injects nothing into pods"))
        .collect()
}

#[cfg(test)]
mod tests {
    use rutter_api::config::{Content, read_manifests};

    use super::*;

    fn notes(text: &str) -> Vec<String> {
        match read_manifests(text, "default").unwrap().remove(0).content {
            Content::Taken(object) => of_taken(&object.config),
            Content::Foreign(foreign) => of_foreign(&foreign),
            Content::Refused(refused) => panic!("{refused:?}"),
        }
    }

    #[test]
    fn namespaces_services_and_pods_are_looked_at() {
        let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {istio-injection: enabled}}}";
        assert!(notes(namespace)[0].starts_with("the label istio-injection makes it inject sidecars"));
        let service = "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {networking.istio.io/exportTo: '*', \
                       networking.istio.io/service-scope: any}}, spec: {ports: [{port: 80}]}}";
        assert_eq!(
            notes(service),
            ["it acts on the annotation networking.istio.io/service-scope; Rutter does not yet"]
        );
        let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {metadata: \
                          {annotations: {proxy.istio.io/config: x}, labels: {sidecar.istio.io/inject: 'false', app: a}}}}}";
        assert_eq!(
            notes(deployment),
            [
                "it acts on the annotation proxy.istio.io/config of pods; Rutter injects nothing into pods",
                "it acts on the label sidecar.istio.io/inject of pods; Rutter injects nothing into pods",
            ]
        );
    }

    #[test]
    fn the_mesh_config_is_told_setting_by_setting() {
        let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    \
                          rootNamespace: mesh\n    accessLogFile: /dev/stdout\n    outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n";
        assert_eq!(
            notes(config_map),
            [
                "it acts on accessLogFile; Rutter does not yet",
                "it acts on rootNamespace; for Rutter it is rutter serve --root-namespace",
            ]
        );
        let operator = "{apiVersion: install.istio.io/v1alpha1, kind: IstioOperator, metadata: {name: a}, \
                        spec: {meshConfig: {accessLogFile: x}}}";
        assert!(notes(operator)[0].contains("ConfigMap istio of the root namespace"));
    }
}
