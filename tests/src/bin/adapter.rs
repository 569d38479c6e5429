//! `adapter`: the ADS server of Rutter over resources that a test suite sets, as the xds-test-harness does.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use rutter_server::Settings;
use rutter_server::scripted_server::{ScriptedResources, ScriptedServer};
use rutter_tests::adapter::{Adapter, serve};

/// Serves xDS from the resources that a test suite sets over gRPC
#[derive(Parser)]
struct Args {
    /// The address at which xDS clients connect
    #[arg(long, default_value = "127.0.0.1:18000")]
    xds: SocketAddr,
    /// The address at which the suite sets resources
    #[arg(long, default_value = "127.0.0.1:17000")]
    adapter: SocketAddr,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adapter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let resources = ScriptedResources::default();
    let mut settings = Settings::for_tests(Path::new(""));
    settings.addresses.xds = args.xds;
    let server = ScriptedServer::bind(settings, resources.clone())?;
    println!("xDS at {}, the adapter at {}", args.xds, args.adapter);
    let stop = || async { drop(tokio::signal::ctrl_c().await) };
    tokio::try_join!(server.run(stop()), serve(args.adapter, Adapter(resources), stop()))?;
    Ok(())
}
