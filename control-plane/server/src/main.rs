//! The binary `rutter`.

use std::process::ExitCode;

use rutter_server::{App, Command, shutdown_signal};
use tracing::error;

fn main() -> ExitCode {
    rutter_malloc::set_up();
    let Command::Serve(settings) = match Command::read() {
        Ok(command) => command,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "logging is not set up before the settings are read")]
            {
                eprintln!("rutter: {error:#}");
            }
            return ExitCode::FAILURE;
        }
    };
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
