//! Rutter's control plane as a process: settings, wiring, and everything that waits.

mod admin;
mod ads;
mod app;
mod engine;
pub mod fixed;
mod folder;
mod lrs;
mod metrics;
mod oracle;
mod parallel;
mod registry;
mod settings;

pub use app::{App, shutdown_signal};
pub use settings::{Bounds, Command, LogFormat, Settings};

/// Sets logging up: to standard error, by `RUST_LOG`, `info` by default.
pub fn log(settings: &Settings) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails where a subscriber is set already, as in tests, and that one is as good.
    let _ = match settings.log_format {
        LogFormat::Json => base.json().try_init(),
        LogFormat::Text => base.with_ansi(false).try_init(),
    };
}
