//! Everything that is generated for the golden meshes and for the examples is taken by `envoy --mode validate`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rutter_api::node::{Interception, Role};
use rutter_api::{ResourceType, SidecarNode};
use rutter_tests::meshes::{mesh_of, nodes_in, resources};
use rutter_tests::process::{Release, envoy_binary};
use rutter_tests::root;
use rutter_tests::tls::Authority;
use serde_json::{Value, json};

/// The files of a folder below the root that end in `.yaml`.
fn texts_in(folder: &str) -> Result<Vec<String>> {
    let mut paths: Vec<_> = std::fs::read_dir(root().join(folder))?.collect::<Result<Vec<_>, _>>()?;
    paths.sort_by_key(std::fs::DirEntry::path);
    let files =
        paths.iter().map(std::fs::DirEntry::path).filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.map(|path| Ok(std::fs::read_to_string(path)?)).collect()
}

/// Every resource that is generated, by its type and name, in each form in which it occurs.
#[derive(Default)]
struct Generated(BTreeMap<(&'static str, String), BTreeSet<String>>);

impl Generated {
    fn add(&mut self, text: &str, nodes: &[SidecarNode]) -> Result<()> {
        let mut mesh = mesh_of(text)?;
        for node in nodes {
            for (resource_type, word) in [
                (ResourceType::Cluster, "cluster"),
                (ResourceType::Listener, "listener"),
                (ResourceType::Route, "route"),
            ] {
                for resource in resources(&mut mesh, node, resource_type)? {
                    let name = resource["name"].as_str().context("a name")?.to_owned();
                    self.0.entry((word, name)).or_default().insert(resource.to_string());
                }
            }
        }
        Ok(())
    }

    /// Returns bootstraps in which no name is twice, and all of which together have everything.
    fn bootstraps(&self, authority: &Authority) -> Result<Vec<Value>> {
        let count = self.0.values().map(BTreeSet::len).max().unwrap_or_default();
        let mut bootstraps = vec![(Vec::new(), Vec::new()); count];
        for ((word, name), forms) in &self.0 {
            for (form, (clusters, listeners)) in forms.iter().zip(&mut bootstraps) {
                let mut resource: Value = serde_json::from_str(form)?;
                use_files_of(&mut resource, authority);
                match *word {
                    "cluster" => clusters.push(resource),
                    "listener" => listeners.push(resource),
                    _ => listeners.push(listener_of_table(name, resource)),
                }
            }
        }
        Ok(bootstraps.into_iter().map(|(clusters, listeners)| bootstrap(clusters, listeners)).collect())
    }
}

/// Puts files that there are in the place of those that are named, since Envoy reads them.
fn use_files_of(value: &mut Value, authority: &Authority) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields.iter_mut() {
                let file = match field.as_str() {
                    "certificate_chain" => "server.pem",
                    "private_key" => "server.key",
                    "trusted_ca" => "ca.pem",
                    _ => {
                        use_files_of(inner, authority);
                        continue;
                    }
                };
                *inner = json!({"filename": authority.path(file)});
            }
            fields.remove("crl");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| use_files_of(item, authority)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns a listener that has a route table in it.
fn listener_of_table(name: &str, table: Value) -> Value {
    let router = json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "table", "route_config": table, "http_filters": [router]});
    json!({
        "name": format!("table {name}"),
        "address": {"pipe": {"path": format!("@table {name}")}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    })
}

fn bootstrap(clusters: Vec<Value>, listeners: Vec<Value>) -> Value {
    let control_plane = json!({
        "name": "rutter", "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": "rutter", "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15010}}}}]}]}});
    let mut all = vec![control_plane];
    all.extend(clusters);
    json!({
        "node": {"id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "cluster": "a"},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]},
        "dynamic_resources": {"ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "rutter"}}]}},
        "static_resources": {"clusters": all, "listeners": listeners},
    })
}

fn validate(release: Release, bootstrap: &Path) -> Result<()> {
    let output = Command::new(envoy_binary(release)?)
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(bootstrap)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{release:?} {}: {}", bootstrap.display(), said.chars().take(3000).collect::<String>());
    }
    Ok(())
}

/// Returns the nodes of the examples: a client whose listeners are bound, the same one captured, and two gateways.
fn nodes_of_examples() -> Result<Vec<SidecarNode>> {
    let lines = "# node: curl-1 default 127.0.50.1 app=curl locality=eu/z1\n\
        # node: httpbin-1 default 127.0.51.1 app=httpbin\n\
        # node: ingress-1 istio-system 127.0.50.8 istio=ingressgateway\n\
        # node: egress-1 istio-system 127.0.50.9 istio=egressgateway\n";
    let mut nodes = nodes_in(lines)?;
    for node in &mut nodes {
        if node.pod.ends_with("gress-1") {
            node.role = Role::Gateway;
        }
    }
    nodes.push(SidecarNode { interception: Interception::None, ..nodes[0].clone() });
    Ok(nodes)
}

#[test]
fn everything_that_is_generated_is_valid_to_each_envoy() -> Result<()> {
    let mut generated = Generated::default();
    for text in texts_in("tests/golden")? {
        let nodes = nodes_in(&text)?;
        ensure!(!nodes.is_empty());
        generated.add(&text, &nodes)?;
    }
    let read = |path: &str| std::fs::read_to_string(root().join("examples").join(path));
    let services = ["bookinfo/bookinfo.yaml", "bookinfo/networking/destination-rule-all.yaml", "tasks/services.yaml"];
    let services = services.map(read).into_iter().collect::<Result<Vec<_>, _>>()?.join("\n---\n");
    for folder in ["examples/bookinfo", "examples/bookinfo/networking", "examples/tasks"] {
        for text in texts_in(folder)? {
            generated.add(&format!("{services}\n---\n{text}"), &nodes_of_examples()?)?;
        }
    }
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(dir.path())?;
    authority.issue("server", &["a.example.com"])?;
    for (number, bootstrap) in generated.bootstraps(&authority)?.iter().enumerate() {
        let path = dir.path().join(format!("bootstrap-{number}.json"));
        std::fs::write(&path, serde_json::to_string(bootstrap)?)?;
        for release in Release::ALL {
            validate(release, &path)?;
        }
    }
    // What is wrong is noticed.
    let wrong = bootstrap(vec![json!({"name": "a", "type": "EDS"})], Vec::new());
    let path = dir.path().join("wrong.json");
    std::fs::write(&path, wrong.to_string())?;
    ensure!(validate(Release::V1_40, &path).is_err());
    Ok(())
}
