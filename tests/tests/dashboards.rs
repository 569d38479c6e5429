//! The dashboard and the alerts of `docs/monitoring`, tried with a real Prometheus that scrapes a control plane.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rutter_tests::process::{ControlPlane, Sidecar, Workload, eventually, free_port};
use rutter_tests::{http, root};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Returns a program of Prometheus, which `make venv` unpacks.
fn program(name: &str) -> Result<PathBuf> {
    let path = root().join(".venv/prometheus/usr/bin").join(name);
    ensure!(path.is_file(), "no {}: run `make venv`", path.display());
    Ok(path)
}

/// Asks the API of Prometheus.
async fn ask(port: u16, path: &str) -> Result<Value> {
    let answer = http::get(([127, 0, 0, 1], port).into(), path, &[]).await?;
    serde_json::from_str(&answer.body).with_context(|| format!("{path}: {} {}", answer.status, answer.body))
}

/// Returns a query as a part of a URL.
fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns the names of metrics in a query.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("rutter_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// Returns every query of the dashboard, for all jobs.
fn queries_of_dashboard() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/monitoring/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().unwrap_or_default().replace("$job", ".*"));
    let queries: Vec<String> = queries.collect();
    ensure!(queries.len() > 20, "{queries:?}");
    Ok(queries)
}

#[tokio::test]
async fn a_prometheus_takes_every_query_and_knows_every_metric() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    // An Envoy that is sent something and refuses something, so that every metric has a value.
    plane
        .apply(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
             spec: {hosts: [e.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n\
             spec: {host: e.test, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /nowhere/ca.pem}}}",
            &[],
        )
        .await?;
    let workload = Workload::new("client-1", "default", IpAddr::from([127, 0, 78, 3]));
    let _envoy = Sidecar::spawn(dir.path(), &plane, &workload).await?;
    let port = free_port()?;
    let rules = root().join("docs/monitoring/alerts.yaml");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs: [{{job_name: rutter, static_configs: [{{targets: ['{}']}}]}}]\n",
        rules.display(),
        plane.monitoring
    );
    let config_file = dir.path().join("prometheus.yaml");
    std::fs::write(&config_file, config)?;
    let _prometheus = Command::new(program("prometheus")?)
        .arg(format!("--config.file={}", config_file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let alerts = std::fs::read_to_string(&rules)?;
    let queries = queries_of_dashboard()?;
    let wanted: BTreeSet<String> = queries.iter().chain([&alerts]).flat_map(|text| metrics_of(text)).collect();
    let missing = async || -> Result<BTreeSet<String>> {
        let known = ask(port, "/api/v1/label/__name__/values").await?;
        let known: BTreeSet<&str> = known["data"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Ok(wanted.iter().filter(|name| !known.contains(name.as_str())).cloned().collect())
    };
    let all_known = async || missing().await.is_ok_and(|missing| missing.is_empty());
    if eventually("Prometheus has every metric that is asked for", all_known).await.is_err() {
        bail!("not known: {:?}", missing().await);
    }
    for query in &queries {
        let answer = ask(port, &format!("/api/v1/query?query={}", encoded(query))).await?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
    }
    eventually("every rule was evaluated", async || {
        let Ok(answer) = ask(port, "/api/v1/rules").await else { return false };
        let rules = answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        rules.len() == 12 && rules.iter().all(|rule| rule["health"] == "ok")
    })
    .await?;
    let refused = ask(port, &format!("/api/v1/query?query={}", encoded("rutter_config_refused > 0"))).await?;
    let labels = &refused["data"]["result"][0]["metric"];
    ensure!(labels["namespace"] == "default", "{refused}");
    Ok(())
}

/// Those that ask for no format are answered in the former one of Prometheus.
#[tokio::test]
async fn metrics_are_read_in_the_former_format_as_well() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let answer = http::get(plane.monitoring, "/metrics", &[]).await?;
    ensure!(answer.header("content-type").is_some_and(|text| text.starts_with("text/plain; version=0.0.4")));
    let mut promtool = Command::new(program("promtool")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    promtool.stdin.take().context("standard input")?.write_all(answer.body.as_bytes()).await?;
    let output = promtool.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    // It is 3 if only the names could be better.
    ensure!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    ensure!(!said.contains("error"), "{said}");
    Ok(())
}

#[tokio::test]
async fn alerts_fire_when_they_should_and_not_otherwise() -> Result<()> {
    let output = Command::new(program("promtool")?)
        .args(["test", "rules", "alerts.yaml"])
        .current_dir(root().join("tests/cases/monitoring"))
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    Ok(())
}
