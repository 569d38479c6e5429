//! The fleet bench, small, against a server that verifies itself: counts, never times.

use anyhow::Result;
use rutter_tests::fleet::mesh::{MeshSpec, Rules, Scopes};
use rutter_tests::fleet::report::Figures;
use rutter_tests::fleet::scenario::Bench;
use rutter_tests::fleet::server::{Server, Via};
use rutter_tests::fleet::sidecar::Fleet;

const SIDECARS: usize = 30;
const SPEC: MeshSpec =
    MeshSpec { namespaces: 10, services: 3, endpoints: 2, scopes: Scopes::Next, rules: Rules::First };

async fn bench(dir: &std::path::Path, scopes: Scopes, via: Via, envoy: u32) -> Result<Bench> {
    bench_of(MeshSpec { scopes, ..SPEC }, dir, via, envoy).await
}

/// Returns a bench of a mesh to which every client is connected.
async fn bench_of(spec: MeshSpec, dir: &std::path::Path, via: Via, envoy: u32) -> Result<Bench> {
    let folder = dir.join("config");
    spec.write(&folder)?;
    let mut server = Server::start(dir, folder, via, vec!["--verify".to_owned()]).await?;
    if via == Via::Apply {
        server.change(&spec.files()).await?;
    }
    let fleet = Fleet::new(server.target, envoy);
    let mut bench = Bench::new(spec, server, fleet, SIDECARS);
    bench.rollout = (20, 1);
    let connected = bench.connect().await?;
    let clients = if spec.rules == Rules::Gateway { 1 } else { SIDECARS };
    assert_eq!((connected.reached, connected.wrong, connected.missing), (clients, 0, 0));
    Ok(bench)
}

async fn run(bench: &mut Bench, name: &str) -> Result<Figures> {
    let figures = bench.run(name).await?;
    assert_eq!((figures.wrong, figures.missing), (0, 0), "{name}: {}", figures.line());
    Ok(figures)
}

/// Each scenario, with the sidecars that it reaches and the resources that it sends.
async fn check(bench: &mut Bench, all: &[(&str, usize, u64)]) -> Result<()> {
    for (name, reached, resources) in all {
        let figures = run(bench, name).await?;
        assert_eq!((figures.reached, figures.resources), (*reached, *resources), "{name}: {}", figures.line());
    }
    let differences = bench.server.metric("rutter_verify_differences_total").await;
    assert_eq!(differences, Some(0));
    Ok(())
}

#[tokio::test]
async fn work_and_bytes_follow_the_change_by_apply() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = bench(dir.path(), Scopes::Next, Via::Apply, 40).await?;
    // Six sidecars see a namespace: three of its own, three of the one before.
    let all = [
        ("S2", 0, 0),
        ("S3", SIDECARS, SIDECARS as u64),
        ("S5w", 6, 6),
        // The cluster of the subset, its endpoints.
        ("S5", 6, 12),
        ("S8", 0, 0),
        ("S9", 0, 0),
    ];
    check(&mut bench, &all).await?;
    for name in ["S1", "S4", "S6", "S10", "S11", "S7", "S3"] {
        run(&mut bench, name).await?;
    }
    let storm = run(&mut bench, "S9").await?;
    assert_eq!((storm.bytes, storm.encodes), (0, Some(0)));
    Ok(())
}

#[tokio::test]
async fn work_and_bytes_follow_the_change_by_files_where_all_see_everything() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = bench(dir.path(), Scopes::All, Via::File, 40).await?;
    let seen = SIDECARS as u64;
    let all = [("S2", 0, 0), ("S3", SIDECARS, seen), ("S5w", SIDECARS, seen), ("S8", 0, 0)];
    check(&mut bench, &all).await?;
    let read = bench.server.metric("rutter_folder_files_read_total").await;
    let one = run(&mut bench, "S3").await?;
    assert_eq!(one.encodes, Some(1), "seen by all, encoded once");
    let more = bench.server.metric("rutter_folder_files_read_total").await;
    assert_eq!(more, read.map(|read| read + 1), "one file changed, one is read");
    for name in ["S1", "S4", "S7"] {
        run(&mut bench, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_older_envoy_gets_whole_tables() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bench = bench(dir.path(), Scopes::Next, Via::Apply, 36).await?;
    check(&mut bench, &[("S3", SIDECARS, SIDECARS as u64), ("S8", 0, 0)]).await
}

#[tokio::test]
async fn a_changed_virtual_service_costs_a_gateway_one_virtual_host_among_many() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let spec = MeshSpec { rules: Rules::Gateway, ..SPEC };
    let mut bench = bench_of(spec, dir.path(), Via::Apply, 40).await?;
    let figures = run(&mut bench, "S12").await?;
    assert_eq!((figures.reached, figures.resources, figures.encodes), (1, 1, Some(1)), "{}", figures.line());
    assert!(figures.bytes < 10_000, "{}", figures.line());
    check(&mut bench, &[("S2", 0, 0), ("S8", 0, 0)]).await
}
