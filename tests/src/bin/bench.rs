//! `make bench`: one change of weights for 20 real Envoys. It gives the figures of `docs/performance.md` and judges
//! nothing.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rutter_tests::process::{ControlPlane, Sidecar, Workload, binary};
use rutter_tests::root;
use serde_json::Value;

/// The number of sidecars.
const SIDECARS: u8 = 20;
/// The number of changes that are timed. It is odd, so that there is a median.
const ROUNDS: usize = 11;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn pushes(plane: &ControlPlane, since: u64) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&plane.ctl(&["pushes", "--since", &since.to_string(), "-o", "json"]).await?)?)
}

fn sum(pushes: &[Value], field: &str) -> u64 {
    pushes.iter().filter_map(|push| push[field].as_u64()).sum()
}

async fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let examples = root().join("examples/bookinfo");
    let file = |name: &str| examples.join(name).display().to_string();
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    plane.ctl(&["apply", "-f", &file("bookinfo.yaml"), "-f", &file("reviews-v1.yaml")]).await?;
    let alone = plane.rss_kb()?;
    let mut envoys = Vec::new();
    for number in 1..=SIDECARS {
        let workload = Workload::new(&format!("bench-{number}"), "default", IpAddr::from([127, 0, 20, number]));
        envoys.push(Sidecar::spawn(dir.path(), &plane, &workload).await?);
    }
    for envoy in &envoys {
        envoy.wait_ready().await?;
    }
    let whole = sum(&pushes(&plane, 0).await?, "bytes");
    let (mut last_acks, mut bytes, mut sent) = (Vec::new(), 0, 0);
    for round in 0..ROUNDS {
        let name = if round % 2 == 0 { "reviews-v3.yaml" } else { "reviews-v1.yaml" };
        plane.ctl(&["apply", "-f", &file(name), "--wait"]).await?;
        let all = pushes(&plane, 2 + round as u64).await?;
        last_acks.push(all.iter().filter_map(|push| push["ackUs"].as_u64()).max().context("nobody answered")?);
        (bytes, sent) = (sum(&all, "bytes"), sum(&all, "resources"));
    }
    last_acks.sort_unstable();
    let ms = |us: u64| us as f64 / 1000.0;
    println!("{SIDECARS} Envoys, bookinfo, one weight change, {ROUNDS} times");
    println!(
        "change to last ACK: median {:.1} ms, min {:.1}, max {:.1}",
        ms(last_acks[ROUNDS / 2]),
        ms(last_acks[0]),
        ms(last_acks[ROUNDS - 1])
    );
    println!(
        "bytes of the change: {bytes} in {sent} resources; of the whole config at connect: {whole} (1:{:.1})",
        whole as f64 / bytes as f64
    );
    println!(
        "control plane RSS: {alone} kB with bookinfo and nobody connected, {} kB with {SIDECARS} Envoys",
        plane.rss_kb()?
    );
    println!("binary: {} kB", std::fs::metadata(binary("rutter")?)?.len() / 1024);
    Ok(())
}
