//! A clock that goes back while a control plane runs, and while it is stopped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rutter_api::CreationTimestamp;
use rutter_tests::process::{ControlPlane, Sidecar, Workload, eventually};
use rutter_tests::root;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

/// Returns libfaketime, which `make venv` unpacks.
fn library() -> Result<PathBuf> {
    let folder = root().join(".venv/faketime/usr/lib");
    let machines = std::fs::read_dir(&folder).with_context(|| format!("{}: run `make venv`", folder.display()))?;
    let found = machines.flatten().map(|machine| machine.path().join("faketime/libfaketime.so.1"));
    found.into_iter().find(|path| path.is_file()).context("no libfaketime.so.1: run `make venv`")
}

/// Starts a control plane whose clock is as far from that of the machine as a file says.
async fn start(dir: &Path, clock: &Path) -> Result<ControlPlane> {
    let (library, clock) = (library()?.display().to_string(), clock.display().to_string());
    let environment = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        // Time that passes is measured by a clock that nobody sets.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    ControlPlane::start_in(dir, &environment).await
}

/// Returns the age of an object, of which that of an older one is less.
async fn created(plane: &ControlPlane, name: &str) -> Result<CreationTimestamp> {
    let template = "jsonpath={.metadata.creationTimestamp}";
    let text = plane.ctl(&["-n", "shop", "get", "svc", name, "-o", template]).await?;
    text.parse().map_err(|error| anyhow::anyhow!("{text}: {error}"))
}

#[tokio::test]
async fn a_clock_that_goes_back_by_an_hour_changes_no_order_and_stops_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clock = dir.path().join("clock");
    std::fs::write(&clock, "+2h")?;
    let plane = start(dir.path(), &clock).await?;
    plane.apply(&service("first"), &[]).await?;
    let _sidecar = Sidecar::start(dir.path(), &plane, &Workload::new("web-1", "shop", "127.0.35.1".parse()?)).await?;
    std::fs::write(&clock, "+1h")?;
    plane.apply(&service("second"), &["--wait"]).await?;
    let (first, second) = (created(&plane, "first").await?, created(&plane, "second").await?);
    assert!(first < second, "{first} {second}: what came later is younger");
    let shown = plane.ctl(&["proxy-config", "web-1", "cluster", "--fqdn", "second.shop"]).await?;
    assert!(shown.contains(" ACKED "), "{shown}");
    let history = plane.ctl(&["history", "-o", "json"]).await?;
    let times: Vec<&str> = history.lines().filter(|line| line.contains("\"time\"")).collect();
    assert!(times.len() == 2 && times[0] >= times[1], "{history}");
    drop(plane);
    // While it is stopped the clock goes back once more.
    std::fs::write(&clock, "-1h")?;
    let plane = start(dir.path(), &clock).await?;
    plane.apply(&service("third"), &[]).await?;
    assert!(second < created(&plane, "third").await?);
    assert_eq!(created(&plane, "first").await?, first);
    let table = plane.ctl(&["get", "svc", "--no-headers"]).await?;
    assert!(table.lines().count() == 3 && table.contains(" 0s "), "{table}");
    let answers = async || plane.ctl(&["pushes"]).await.is_ok();
    eventually("it answers", answers).await?;
    Ok(())
}
