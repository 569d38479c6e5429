//! The binary `rutter`.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use rutter_server::{App, Command, Restore, Settings, shutdown_signal};
use rutter_store::{RestoreReport, RestoreRequest, restore};
use tracing::error;

fn main() -> ExitCode {
    rutter_malloc::set_up();
    match Command::read() {
        Ok(Command::Serve(settings)) => serve(*settings),
        Ok(Command::Restore(Restore { data_dir, from, dry_run })) => {
            match restore(RestoreRequest { data_dir: &data_dir, from: from.as_deref(), dry_run }) {
                Ok(report) => tell(&report),
                Err(error) => fail(&error),
            }
        }
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "this is told to the user of a terminal; there is no log yet, or none at all")]
fn fail(error: &dyn Display) -> ExitCode {
    eprintln!("rutter: {error}");
    ExitCode::FAILURE
}

fn tell(report: &RestoreReport) -> ExitCode {
    match write!(std::io::stdout(), "{report}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn serve(settings: Settings) -> ExitCode {
    rutter_server::log(&settings.log);
    let run = async {
        let app = App::bind(settings).await?;
        app.run(shutdown_signal()).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(error = format!("{failure:#}"), "rutter stopped");
            ExitCode::FAILURE
        }
    }
}
