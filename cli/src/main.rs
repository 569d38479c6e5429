//! The binary `rutterctl`.

mod args;
mod backup;
mod bootstrap;
mod client;
mod files;
mod folder;
mod objects;
mod output;
mod pushes;
mod sidecars;

use std::process::ExitCode;

use anyhow::Result;
use args::{Cli, Command};
use clap::Parser;
use output::Out;
use rutter_api::{PrintableWriter, printable};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // What others have named goes to a terminal.
    let mut out = PrintableWriter(std::io::stdout());
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli, &mut out))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !is_broken_pipe(&error) {
                eprintln!("{}", printable(&message(&error)));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, out: Out<'_>) -> Result<()> {
    let Cli { server, token_file, namespace, command } = cli;
    if let Command::Bootstrap(wanted) = &command {
        writeln!(out, "{}", bootstrap::print(wanted, if namespace.is_empty() { "default" } else { &namespace })?)?;
        return Ok(());
    }
    let mut admin = client::connect(&client::Wanted { server, token_file }).await?;
    match command {
        Command::Apply(apply) => objects::apply(&mut admin, apply, &namespace, out).await,
        Command::Get(get) => objects::get(&mut admin, get, &namespace, out).await,
        Command::Delete(delete) => objects::delete(&mut admin, delete, &namespace, out).await,
        Command::ProxyStatus(status) => sidecars::status(&mut admin, status, out).await,
        Command::ProxyConfig(wanted) => sidecars::config(&mut admin, wanted, out).await,
        Command::Pushes(wanted) => pushes::pushes(&mut admin, wanted, out).await,
        Command::Folder(wanted) => folder::folder(&mut admin, &wanted, out).await,
        Command::Backup(wanted) => backup::backup(&mut admin, &wanted, out).await,
        Command::Bootstrap(_) => Ok(()),
    }
}

/// Returns whether a command failed only because nobody reads its output any more, as in `rutterctl get all | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Returns a refusal in the words of the server, and any other failure with its causes.
fn message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) if status.code() == tonic::Code::Unimplemented => {
            "want an admin address, got one without this call (an xDS address, or a control plane of another version: \
             see --server)"
                .to_owned()
        }
        Some(status) => status.message().to_owned(),
        None => format!("{error:#}"),
    }
}
