//! `make bench-impact`: what it takes to find the impact of a change, beside what the change itself takes. It gives figures of
//! `docs/performance.md` and judges nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rutter_api::SidecarNode;
use rutter_api::config::{Content, read_manifests};
use rutter_core::explain::{Asked, Sources, arrival};
use rutter_core::impact::impact;
use rutter_core::walk::{HttpRequest, walk};
use rutter_core::{ConfigBatch, ConfigChange, Mesh, MeshSettings};
use rutter_tests::meshes::nodes_in;

/// The number of namespaces, each with its Sidecar object, which lets its workloads see their own namespace and the next.
const NAMESPACES: usize = 100;
/// The number of services of each namespace, each with an EndpointSlice, a VirtualService and a DestinationRule.
const SERVICES: usize = 10;
/// The number of services of each namespace that the client sees whose requests are explained.
const SERVICES_SEEN: usize = 100;
/// The number of sidecars of each namespace.
const SIDECARS: usize = 10;
/// The number of rounds, of which the median is told. It is odd.
const ROUNDS: usize = 21;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("impact: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const ISTIO: &str = "apiVersion: networking.istio.io/v1\nkind:";

fn routes(namespace: usize, service: usize, timeout: usize) -> String {
    format!(
        "{ISTIO} VirtualService\nmetadata: {{name: s{service}, namespace: n{namespace}}}\nspec: {{hosts: [s{service}], http: \
         [{{timeout: {timeout}s, route: [{{destination: {{host: s{service}, subset: v1}}}}]}}]}}\n---\n"
    )
}

fn objects(namespace: usize, service: usize) -> String {
    let metadata = format!("metadata: {{name: s{service}, namespace: n{namespace}");
    let endpoint = |at: usize| format!("{{addresses: [10.{namespace}.{service}.{at}]}}");
    let endpoints: Vec<String> = (1..=10).map(endpoint).collect();
    format!(
        "apiVersion: v1\nkind: Service\n{metadata}}}\nspec: {{clusterIP: 10.200.{namespace}.{service}, ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{metadata}, labels: {{kubernetes.io/service-name: s{service}, version: v1}}}}\n\
         addressType: IPv4\nendpoints: [{}]\nports: [{{name: http, port: 80}}]\n---\n\
         {ISTIO} DestinationRule\n{metadata}}}\nspec: {{host: s{service}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n---\n{}",
        endpoints.join(", "),
        routes(namespace, service, 1),
    )
}

fn batch(text: &str) -> Result<ConfigBatch> {
    let mut batch = ConfigBatch::default();
    for manifest in read_manifests(text, "default")? {
        if let Content::Taken(object) = manifest.content {
            batch.changes.insert(object.config.key.clone(), ConfigChange::Put(object.config.clone()));
        }
    }
    Ok(batch)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn run() -> Result<()> {
    let mut mesh = Mesh::new(MeshSettings::default()).with_analysis();
    let mut text = String::new();
    for namespace in 0..NAMESPACES {
        (0..SERVICES).for_each(|service| text.push_str(&objects(namespace, service)));
        text.push_str(&format!(
            "{ISTIO} Sidecar\nmetadata: {{name: s, namespace: n{namespace}}}\nspec: {{egress: [{{hosts: [./*, n{}/*]}}]}}\n---\n",
            (namespace + 1) % NAMESPACES
        ));
    }
    let all = batch(&text)?;
    mesh.apply(&all);
    for namespace in 0..NAMESPACES {
        for at in 0..SIDECARS {
            let line = format!("# node: p{at} n{namespace} 10.{namespace}.0.{} app=p{at}", at + 100);
            for node in nodes_in(&line)? {
                mesh.connect(Arc::new(SidecarNode { takes_virtual_hosts: true, ..node }));
            }
        }
    }
    mesh.settle_analysis(usize::MAX);
    println!("{} objects, {} sidecars, {} scopes", all.changes.len(), NAMESPACES * SIDECARS, mesh.scopes());
    let everywhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'connectTimeout: ROUNDs'}\n";
    let changes: [(&str, &dyn Fn(usize) -> String); 2] = [
        ("a VirtualService that 20 sidecars see", &|round| routes(5, 5, round + 2)),
        ("the connectTimeout of the mesh, which all see", &|round| {
            everywhere.replace("ROUND", &(round + 2).to_string())
        }),
    ];
    for (name, change) in changes {
        let (mut foreseen, mut applied, mut affected) = (Vec::new(), Vec::new(), 0);
        for round in 0..ROUNDS {
            let batch = batch(&change(round))?;
            let start = Instant::now();
            affected = impact(&mesh, &batch).affected();
            foreseen.push(start.elapsed());
            let start = Instant::now();
            mesh.apply(&batch);
            applied.push(start.elapsed());
        }
        println!(
            "{name}: impact {:?} for {affected} sidecars, the change itself {:?}",
            median(foreseen),
            median(applied)
        );
    }
    mesh.settle_analysis(usize::MAX);
    let mut outlooks = Vec::new();
    for round in 0..ROUNDS {
        let batch = batch(&routes(5, 5, round + 50))?;
        let start = Instant::now();
        let outlook = mesh.branch().analyzer().outlook(&batch, &[]);
        outlooks.push(start.elapsed());
        drop(outlook);
    }
    println!("what the analysis says of a VirtualService before it is written: {:?}", median(outlooks));
    explained()
}

/// Tells what it takes to explain a request of a client that sees 10,000 services, each with its routes.
fn explained() -> Result<()> {
    let mut mesh = Mesh::new(MeshSettings::default());
    let mut text = String::new();
    for namespace in 0..NAMESPACES {
        (0..SERVICES_SEEN).for_each(|service| text.push_str(&objects(namespace, service)));
    }
    mesh.apply(&batch(&text)?);
    let node = nodes_in("# node: client free 10.255.0.1 app=client")?.remove(0);
    let id = mesh.connect(Arc::new(SidecarNode { takes_virtual_hosts: true, ..node }));
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let host = format!("s{round}.n{round}.svc.cluster.local");
        let request = HttpRequest {
            method: "GET".to_owned(),
            scheme: "http".to_owned(),
            authority: host.clone(),
            path: "/".to_owned(),
            headers: Vec::new(),
        };
        let asked = Asked { host, port: 80, tls: None, request: Some(request) };
        let start = Instant::now();
        let branch = mesh.branch();
        let sources = Sources::of(&branch, id).context("a client")?;
        let arrival = arrival(&sources, &asked).map_err(anyhow::Error::msg)?;
        let walk = walk(branch.view(id).context("a view")?, &arrival);
        let of_ends = walk.ends.iter().flat_map(|end| &end.steps);
        let fields = walk.steps.iter().chain(of_ends).map(|step| sources.of_step(&step.origin).len()).sum::<usize>();
        times.push(start.elapsed());
        anyhow::ensure!(fields > 0 && walk.ends.len() == 1, "{walk:?}");
    }
    let services = NAMESPACES * SERVICES_SEEN;
    println!("a request of a client that sees {services} services, explained: {:?}", median(times));
    Ok(())
}
