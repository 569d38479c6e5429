//! The binary `rutter-proxy`: a sidecar that takes delta ADS and needs no restart for anything it is sent.

mod accept;
mod admin;
mod ads;
mod bootstrap;
mod connect;
mod current;
mod http;
mod listeners;
mod seed;
mod tcp;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use current::Current;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info};

/// The number of configs on their way to the sockets. A newer one waits until the previous one is carried out.
const UPDATES: usize = 1;

#[derive(Parser)]
#[command(name = "rutter-proxy", version, about = "Rutter's sidecar")]
struct Args {
    /// File with the output of `rutterctl bootstrap --proxy rutter`
    #[arg(short = 'c', long, env = "RUTTER_PROXY_BOOTSTRAP", value_name = "FILE")]
    config: std::path::PathBuf,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(error = format!("{failure:#}"), "rutter-proxy stopped");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let path = args.config.display().to_string();
    let text = std::fs::read_to_string(&args.config).with_context(|| path.clone())?;
    let bootstrap = bootstrap::Bootstrap::read(&text).with_context(|| path)?;
    let admin = TcpListener::bind(bootstrap.admin).await.with_context(|| format!("admin at {}", bootstrap.admin))?;
    let current = Current::default();
    let (updates, receiver) = mpsc::channel(UPDATES);
    let listeners = listeners::Listeners::new(current.clone());
    let ready = listeners.ready();
    info!(sidecar = bootstrap.node.id, xds = bootstrap.xds, "rutter-proxy starts");
    let mut tasks: JoinSet<(&str, Result<()>)> = JoinSet::new();
    tasks.spawn(async move { ("listeners", listeners.run(receiver).await) });
    tasks.spawn(async move { ("ads", ads::run(bootstrap, updates).await) });
    tasks.spawn(async move { ("admin", admin::serve(admin, ready).await) });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        Some(ended) = tasks.join_next() => {
            let (name, result) = ended.context("a task failed")?;
            result.with_context(|| format!("the task {name} failed"))?;
            anyhow::bail!("the task {name} ended unasked")
        }
    }
}
