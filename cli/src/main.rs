//! The binary `rutterctl`.

mod args;
mod bootstrap;
mod config;
mod proxies;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use args::{Cli, Command};
use clap::Parser;
use rutter_api::pb::rutter::admin::v1::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

/// How long a control plane may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is taken: every resource of one sidecar in a large mesh.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API.
type Admin = AdminClient<Channel>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", message(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    if let Command::Bootstrap(wanted) = &cli.command {
        println!("{}", bootstrap::print(wanted, if cli.namespace.is_empty() { "default" } else { &cli.namespace })?);
        return Ok(());
    }
    let mut admin = connect(&cli.server).await?;
    match cli.command {
        Command::Apply(apply) => config::apply(&mut admin, apply, &cli.namespace).await,
        Command::Get(get) => config::get(&mut admin, get, &cli.namespace).await,
        Command::Delete(delete) => config::delete(&mut admin, delete, &cli.namespace).await,
        Command::ProxyStatus(status) => proxies::status(&mut admin, status).await,
        Command::ProxyConfig(wanted) => proxies::config(&mut admin, wanted).await,
        Command::Pushes(wanted) => proxies::pushes(&mut admin, wanted).await,
        Command::Bootstrap(_) => Ok(()),
    }
}

async fn connect(server: &str) -> Result<Admin> {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).with_context(|| format!("--server {server}"))?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
    let channel = channel.with_context(|| {
        format!("no control plane answers at {server} (is `rutter serve` running? another address: --server)")
    })?;
    Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// A refusal in the server's words; any other failure with its causes.
fn message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => format!("{error:#}"),
    }
}
