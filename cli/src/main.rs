//! The binary `rutterctl`.

mod args;
mod bootstrap;
mod client;
mod files;
mod objects;
mod output;
mod pushes;
mod sidecars;

use std::process::ExitCode;

use anyhow::Result;
use args::{Cli, Command};
use clap::Parser;

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
    let mut admin = client::connect(&cli.server).await?;
    match cli.command {
        Command::Apply(apply) => objects::apply(&mut admin, apply, &cli.namespace).await,
        Command::Get(get) => objects::get(&mut admin, get, &cli.namespace).await,
        Command::Delete(delete) => objects::delete(&mut admin, delete, &cli.namespace).await,
        Command::ProxyStatus(status) => sidecars::status(&mut admin, status).await,
        Command::ProxyConfig(wanted) => sidecars::config(&mut admin, wanted).await,
        Command::Pushes(wanted) => pushes::pushes(&mut admin, wanted).await,
        Command::Bootstrap(_) => Ok(()),
    }
}

/// Returns a refusal in the words of the server, and any other failure with its causes.
fn message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => format!("{error:#}"),
    }
}
