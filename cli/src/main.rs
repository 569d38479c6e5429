//! The binary `rutterctl`.

mod analyze;
mod apply;
mod args;
mod backup;
mod bootstrap;
mod check;
mod client;
mod columns;
mod config_dump;
mod describe;
mod edit;
mod explain;
mod files;
mod folder;
mod get;
mod history;
mod impact;
mod istio_notes;
mod jsonpath;
mod output;
mod proxy_config;
mod pushes;
mod secrets;
mod sidecars;
mod targets;
mod top;
mod trace;
mod usage;
mod version;
mod waiting;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use apply::Context;
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use output::{ColouredWriter, Out, has_colours};
use rutter_api::{PrintableWriter, printable};
use usage::{UsageError, usage};

/// The exit code of a command line that cannot be meant.
const USAGE: u8 = 2;
/// How much longer than `--wait` a command may take.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // As that of kubectl, 1 says that there is a difference.
    let failure = if matches!(cli.command, Command::Diff(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE };
    let coloured = ColouredWriter::new(std::io::stdout(), cli.is_for_people() && has_colours());
    // What others have named goes to a terminal.
    let mut out = PrintableWriter(coloured);
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli, &mut out)));
    let flushed = std::io::Write::flush(&mut out);
    match result.and_then(|code| Ok(flushed.map(|()| code)?)) {
        Ok(code) => code,
        Err(error) => {
            if !is_broken_pipe(&error) {
                eprintln!("{}", printable(&message(&error)));
            }
            if error.is::<UsageError>() { ExitCode::from(USAGE) } else { failure }
        }
    }
}

/// Runs a command, which ends when the control plane takes too long.
async fn run(cli: Cli, out: Out<'_>) -> Result<ExitCode> {
    let timeout = cli.timeout;
    let limit = match &cli.command {
        _ if timeout.is_zero() => None,
        Command::Get(get) if get.watch => None,
        // Somebody edits, or goes on looking.
        Command::Top(top) if !top.once => None,
        Command::Edit(_) => None,
        Command::Apply(_) | Command::Delete(_) | Command::Rollback(_) => Some(timeout + GRACE),
        Command::Get(_)
        | Command::Check(_)
        | Command::Analyze(_)
        | Command::Diff(_)
        | Command::History(_)
        | Command::ProxyStatus(_)
        | Command::ProxyConfig(_)
        | Command::Pushes(_)
        | Command::Trace(_)
        | Command::Explain(_)
        | Command::Top(_)
        | Command::Describe(_)
        | Command::Bootstrap(_)
        | Command::Folder(_)
        | Command::Backup(_)
        | Command::Version(_)
        | Command::Completion(_) => Some(timeout),
    };
    match limit {
        None => command(cli, out).await,
        Some(limit) => match tokio::time::timeout(limit, command(cli, out)).await {
            Ok(result) => result,
            Err(_) => bail!("the control plane has not answered within {} s (--timeout)", timeout.as_secs_f64()),
        },
    }
}

async fn command(cli: Cli, out: Out<'_>) -> Result<ExitCode> {
    let Cli { server, token_file, namespace, timeout, command } = cli;
    let context = Context { namespace: &namespace, timeout };
    let server = client::Wanted { server, token_file };
    let connect = async || {
        let mut admin = client::connect(&server).await?;
        version::tell_difference(&mut admin).await;
        Ok::<_, anyhow::Error>(admin)
    };
    let success = |()| ExitCode::SUCCESS;
    match command {
        Command::Bootstrap(wanted) => print_bootstrap(wanted, &namespace, out).map(success),
        Command::Completion(wanted) => {
            no_namespace(&namespace)?;
            print_completion(&wanted, out).map(success)
        }
        Command::Check(wanted) => check::check(&wanted, &namespace, out),
        Command::Analyze(wanted) if wanted.is_offline() => analyze::offline(&wanted, &namespace, out),
        Command::Analyze(wanted) => analyze::live(&mut connect().await?, &wanted, &namespace, out).await,
        Command::Version(wanted) => {
            no_namespace(&namespace)?;
            version::version(&server, &wanted, out).await.map(success)
        }
        Command::Apply(apply) => apply::apply(&mut connect().await?, apply, &context, out).await,
        Command::Get(get) => get::get(&mut connect().await?, get, &namespace, out).await.map(success),
        Command::Delete(delete) => apply::delete(&mut connect().await?, delete, &context, out).await,
        Command::Edit(edit) => edit::edit(&mut connect().await?, &edit.targets, &context, out).await.map(success),
        Command::Diff(diff) => history::diff(&mut connect().await?, diff, &namespace, out).await,
        Command::History(wanted) => history::history(&mut connect().await?, wanted, &namespace, out).await.map(success),
        Command::ProxyStatus(wanted) => {
            sidecars::status(&mut connect().await?, wanted, &namespace, out).await.map(success)
        }
        Command::ProxyConfig(wanted) => {
            proxy_config::config(&mut connect().await?, wanted, &namespace, out).await.map(success)
        }
        Command::Pushes(wanted) => pushes::pushes(&mut connect().await?, wanted, &namespace, out).await.map(success),
        Command::Explain(wanted) => {
            explain::explain(&mut connect().await?, &wanted, &namespace, out).await.map(success)
        }
        Command::Describe(wanted) => {
            describe::describe(&mut connect().await?, &wanted, &namespace, out).await.map(success)
        }
        Command::Top(wanted) => {
            no_namespace(&namespace)?;
            top::top(&mut connect().await?, &wanted, out).await.map(success)
        }
        Command::Trace(wanted) => {
            no_namespace(&namespace)?;
            trace::trace(&mut connect().await?, &wanted, out).await.map(success)
        }
        Command::Rollback(wanted) => {
            no_namespace(&namespace)?;
            apply::rollback(&mut connect().await?, wanted, &context, out).await.map(success)
        }
        Command::Folder(wanted) => {
            no_namespace(&namespace)?;
            folder::folder(&mut connect().await?, &wanted, out).await.map(success)
        }
        Command::Backup(wanted) => {
            no_namespace(&namespace)?;
            backup::backup(&mut connect().await?, &wanted, out).await.map(success)
        }
    }
}

fn print_bootstrap(wanted: args::Bootstrap, namespace: &str, out: Out<'_>) -> Result<()> {
    let printed = bootstrap::print(wanted, namespace)?;
    writeln!(out, "{}", printed.text)?;
    printed.notes.iter().for_each(|note| eprintln!("rutterctl: {}", printable(note)));
    Ok(())
}

fn print_completion(wanted: &args::Completion, out: Out<'_>) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut Cli::command(), "rutterctl", &mut script);
    Ok(out.write_all(&script)?)
}

/// Refuses a namespace for a command that is about the whole mesh.
fn no_namespace(namespace: &str) -> Result<()> {
    if namespace.is_empty() {
        return Ok(());
    }
    Err(usage(format!("--namespace {namespace}: want none: this command is about the whole mesh")))
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
        // What is no gRPC answers in another form, such as the address of metrics.
        Some(status) if status.message().starts_with("protocol error") => {
            format!("want an admin address, got one that speaks something else (see --server): {}", status.message())
        }
        Some(status) => status.message().to_owned(),
        None => format!("{error:#}"),
    }
}
