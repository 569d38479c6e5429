//! `make bench-analyze`: what the analysis of 10,000 objects with 1,000 findings takes, and what a change of one of them. It gives
//! figures of `docs/performance.md` and judges nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rutter_api::Config;
use rutter_api::config::{Content, read_manifests};
use rutter_core::analysis::Analyzer;
use rutter_core::{ConfigBatch, ConfigChange, MeshSettings};

/// The number of services, each with a WorkloadEntry, a VirtualService and a DestinationRule.
const SERVICES: usize = 2500;
/// The number of namespaces.
const NAMESPACES: usize = 100;
/// Of how many VirtualServices one leads to nothing, so that there are 1,000 findings with those of the rules.
const BROKEN: usize = 5;
/// The number of changes of each sort, of which the median is told. It is odd.
const CHANGES: usize = 101;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("analyze: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn objects(at: usize, port: u16) -> String {
    let namespace = format!("n{}", at % NAMESPACES);
    let metadata = format!("metadata: {{name: s{at}, namespace: {namespace}}}");
    let istio = "apiVersion: networking.istio.io/v1";
    let (to, version) = if at.is_multiple_of(BROKEN) { ("gone".to_owned(), "v2") } else { (format!("s{at}"), "v1") };
    format!(
        "apiVersion: v1\nkind: Service\n{metadata}\nspec: {{selector: {{app: s{at}}}, ports: [{{name: http, port: {port}}}]}}\n---\n\
         {istio}\nkind: WorkloadEntry\n{metadata}\nspec: {{address: 10.0.{}.{}, labels: {{app: s{at}, version: v1}}}}\n---\n\
         {istio}\nkind: DestinationRule\n{metadata}\nspec: {{host: s{at}, subsets: [{{name: a, labels: {{version: {version}}}}}]}}\n---\n\
         {istio}\nkind: VirtualService\n{metadata}\nspec: {{hosts: [s{at}], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}\n---\n",
        at / 250,
        at % 250 + 1,
    )
}

fn batch(text: &str) -> Result<ConfigBatch> {
    let mut batch = ConfigBatch::default();
    for manifest in read_manifests(text, "default")? {
        if let Content::Taken(object) = manifest.content {
            let config: Arc<Config> = object.config;
            batch.changes.insert(config.key.clone(), ConfigChange::Put(config));
        }
    }
    Ok(batch)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn run() -> Result<()> {
    let all: String = (0..SERVICES).map(|at| objects(at, 80)).collect();
    let all = batch(&all)?;
    let mut whole = Vec::new();
    let mut analyzer = Analyzer::new(MeshSettings::default());
    for _ in 0..5 {
        analyzer = Analyzer::new(MeshSettings::default());
        let start = Instant::now();
        analyzer.apply(&all);
        whole.push(start.elapsed());
    }
    println!("{} objects, {} findings: {:?}", all.changes.len(), analyzer.findings().count(), median(whole));
    for (number, sort) in
        ["a Service", "a WorkloadEntry", "a DestinationRule", "a VirtualService"].into_iter().enumerate()
    {
        let (mut times, before) = (Vec::new(), analyzer.checks());
        for round in 0..CHANGES {
            let text = objects(round * 7, 81);
            let one = text.split("---\n").nth(number).context("four objects")?;
            let one = one.replace("version: v1}", "version: v3}").replace("hosts: [", "exportTo: ['*'], hosts: [");
            let batch = batch(&one)?;
            let start = Instant::now();
            analyzer.apply(&batch);
            times.push(start.elapsed());
        }
        let checks = (analyzer.checks() - before) as f64 / CHANGES as f64;
        println!("{sort}: {:?}, {checks:.1} objects checked", median(times));
    }
    Ok(())
}
