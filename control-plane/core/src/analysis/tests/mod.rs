//! For each code what is told and what is not: the exact findings, as (code, object), of small meshes.

mod destination_rules;
mod documentation;
mod gateways;
mod services;
mod sidecars;
mod virtual_services;

use super::*;
use crate::settings::MeshSettings;
use crate::testing::{batch, configs, node};

fn istio(kind: &str, name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// Returns a Kubernetes service that selects workloads by its name.
fn service(name: &str, ports: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{clusterIP: 10.9.0.1, selector: {{app: {name}}}, ports: [{ports}]}}\n---\n"
    )
}

fn workload(name: &str, address: &str, labels: &str) -> String {
    istio("WorkloadEntry", name, &format!("address: {address}, labels: {{{labels}}}"))
}

fn pod(name: &str, address: &str, labels: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         status: {{podIP: {address}, conditions: [{{type: Ready, status: 'True'}}]}}\n---\n"
    )
}

const WEB: &str = "{name: http, port: 80}";

fn found(text: &str) -> Vec<Finding> {
    let mut analyzer = Analyzer::new(MeshSettings::default());
    analyzer.apply(&batch(configs(text)));
    analyzer.findings().cloned().collect()
}

/// Compares the codes and the objects of everything that is found.
#[track_caller]
fn check(parts: &[&str], want: &[&str]) {
    let said: Vec<String> =
        found(&parts.concat()).iter().map(|finding| format!("{} {}", finding.code, finding.object)).collect();
    assert_eq!(said, want, "{}", parts.concat());
}

#[test]
fn an_annotation_silences_codes_of_its_object() {
    let rule = |annotations: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: r, namespace: shop, annotations: {{{annotations}}}}}\nspec: {{host: nobody}}\n---\n"
        )
    };
    check(&[&rule("")], &["IST0174 destinationRule shop/r"]);
    check(&[&rule("galley.io/analyze-suppress: 'IST0101, IST0174'")], &[]);
    check(&[&rule("galley.io/analyze-suppress: '*'")], &[]);
    check(&[&rule("galley.io/analyze-suppress: IST0101")], &["IST0174 destinationRule shop/r"]);
}

#[test]
fn workloads_of_connected_clients_are_known() {
    let mut analyzer = Analyzer::new(MeshSettings::default());
    analyzer.apply(&batch(configs(&istio(
        "Sidecar",
        "s",
        "workloadSelector: {labels: {app: a}}, egress: [{hosts: ['./*']}]",
    ))));
    assert_eq!(analyzer.findings().count(), 0, "nothing is known of workloads");
    // The label `app` is the name of the pod.
    let [a, b] = ["a", "b"].map(|name| node(name, "shop", "10.0.0.1"));
    analyzer.connect(&b.namespace, &b.labels);
    assert_eq!(analyzer.findings().count(), 1);
    analyzer.connect(&a.namespace, &a.labels);
    assert_eq!(analyzer.findings().count(), 0);
    analyzer.disconnect(&a.namespace, &a.labels);
    assert_eq!(analyzer.findings().count(), 1);
}
