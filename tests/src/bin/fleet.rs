//! `fleet`: many simulated sidecars against Rutter, or against any other xDS server that reads the kinds of Istio.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rutter_tests::fleet::mesh::{MeshSpec, Rules, Scopes};
use rutter_tests::fleet::report::{Figures, plot};
use rutter_tests::fleet::scenario::{ALL, Bench};
use rutter_tests::fleet::server::{Server, Via};
use rutter_tests::fleet::sidecar::Fleet;
use serde_json::json;

/// Runs simulated delta xDS sidecars in one process, each with a TCP connection of its own
#[derive(Parser)]
struct Args {
    /// The address of an xDS server that runs already. Without it a `rutter` is started for the bench
    #[arg(long, value_name = "ADDR")]
    target: Option<SocketAddr>,
    /// The monitoring address of that server, if it is a Rutter
    #[arg(long, value_name = "ADDR")]
    monitoring: Option<SocketAddr>,
    /// The admin socket of that server, if it is a Rutter
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// The id of the process of that server, whose CPU time and memory are read
    #[arg(long)]
    pid: Option<u32>,
    /// A folder that the server watches, into which the mesh is written
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// The way in which changes reach the server
    #[arg(long, value_enum, default_value = "apply")]
    via: Via,
    /// The number of sidecars
    #[arg(long, default_value_t = 1000)]
    sidecars: usize,
    /// The size of the mesh, as NAMESPACESxSERVICESxENDPOINTS
    #[arg(long, default_value = "100x10x10")]
    mesh: MeshSpec,
    /// What each sidecar sees
    #[arg(long, value_enum, default_value = "next")]
    scopes: Scopes,
    /// Which services have rules. With `gateway`, one gateway is the only client, and S12 is its scenario
    #[arg(long, value_enum, default_value = "first")]
    rules: Rules,
    /// The scenarios to run, with commas between them, or `all` or `none`
    #[arg(long, default_value = "all", value_delimiter = ',')]
    scenario: Vec<String>,
    /// The number of times that each scenario runs
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The minor version of Envoy 1 that the sidecars say they are
    #[arg(long, default_value_t = 40)]
    envoy: u32,
    /// Further arguments for the `rutter` that is started
    #[arg(long, value_delimiter = ' ', allow_hyphen_values = true)]
    rutter_args: Vec<String>,
    /// The number of pods that S6 replaces, and the time that it takes, in seconds
    #[arg(long, default_value = "500x10")]
    rollout: String,
    /// The file into which the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Writes the mesh into --config-dir and ends
    #[arg(long)]
    write_only: bool,
    /// Draws the curves of results that --out wrote, and ends
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    /// The results to draw
    #[arg(value_name = "JSON", requires = "plot")]
    results: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn server(args: &Args, dir: &std::path::Path) -> Result<Server> {
    let Some(target) = args.target else {
        return Server::start(dir, dir.join("config"), args.via, args.rutter_args.clone()).await;
    };
    let mut server = Server::new(target, args.monitoring, args.via);
    (server.pid, server.config_dir, server.admin_socket) =
        (args.pid, args.config_dir.clone(), args.admin_socket.clone());
    Ok(server)
}

async fn run(args: Args) -> Result<()> {
    if let Some(picture) = &args.plot {
        let read = |path: &PathBuf| anyhow::Ok(serde_json::from_slice(&std::fs::read(path)?)?);
        let results = args.results.iter().map(read).collect::<Result<Vec<serde_json::Value>>>()?;
        return plot(&results, picture);
    }
    let spec = MeshSpec { scopes: args.scopes, rules: args.rules, ..args.mesh };
    let dir = tempfile::tempdir()?;
    if args.write_only {
        return spec.write(args.config_dir.as_deref().context("want --config-dir")?);
    }
    let folder = args.config_dir.clone().unwrap_or_else(|| dir.path().join("config"));
    spec.write(&folder)?;
    let mut server = server(&args, dir.path()).await?;
    if args.via == Via::Apply && args.target.is_none() {
        for files in spec.files().chunks(2000) {
            server.change(files).await?;
        }
        // What loading cost in memory is not what the mesh costs.
        server.restart().await?;
    }
    let mut all: Vec<Figures> = Vec::new();
    let loaded = server.rss_kb().ok();
    println!("{} sidecars, mesh {spec:?}, changes by {:?}", args.sidecars, args.via);
    println!("RSS with the mesh loaded and nobody connected: {:.1} MB", loaded.unwrap_or_default() as f64 / 1024.0);
    println!("{}", Figures::head());
    let fleet = Fleet::new(server.target, args.envoy);
    let mut bench = Bench::new(spec, server, fleet, args.sidecars);
    let (pods, seconds) = args.rollout.split_once('x').context("--rollout: want PODSxSECONDS")?;
    bench.rollout = (pods.parse()?, seconds.parse()?);
    let mut show = |figures: Figures| {
        println!("{}", figures.line());
        all.push(figures);
    };
    let mut connected = bench.connect().await?;
    if let (Some(before), Some(after)) = (loaded, connected.rss_kb) {
        let each = after.saturating_sub(before) as f64 / connected.reached.max(1) as f64;
        connected.note = format!("{each:.1} kB of RSS per sidecar");
    }
    show(connected);
    let names: Vec<&str> = match &args.scenario[..] {
        [all] if all == "all" => ALL.to_vec(),
        [none] if none == "none" => Vec::new(),
        names => names.iter().map(String::as_str).collect(),
    };
    for name in names {
        for _ in 0..args.rounds {
            show(bench.run(name).await?);
        }
    }
    if let Some(path) = &args.out {
        let figures: Vec<_> = all.iter().map(Figures::json).collect();
        let result = json!({
            "sidecars": args.sidecars, "namespaces": spec.namespaces, "services": spec.namespaces * spec.services,
            "endpointsEach": spec.endpoints, "scopes": format!("{:?}", spec.scopes), "via": format!("{:?}", args.via),
            "loadedRssKb": loaded, "figures": figures,
        });
        std::fs::write(path, serde_json::to_string_pretty(&result)?)?;
    }
    Ok(())
}
