//! Rutter's control plane as a process: settings, sockets, tasks, and everything that waits.
//!
//! ```text
//! settings         what can be set
//! app              puts the process together
//! sources          where config comes from
//! engine           the task that owns the mesh
//! identity         who a client is
//! ads              streams of clients;  streams, the list of those that are open
//! admin            the API for operators;  metrics, what Prometheus sees
//! oracle           --verify
//! scripted_server  an ADS server without config, for tests
//! ```

mod admin;
mod ads;
mod app;
mod certificates;
mod descriptors;
mod engine;
mod identity;
mod lrs;
mod metrics;
mod oracle;
mod otlp;
mod parallel;
mod process_metrics;
pub mod scripted_server;
mod sealing;
mod settings;
mod shutdown;
mod sources;
mod streams;
#[cfg(test)]
mod testing;
mod traces;

use rutter_api::LogWriter;

pub use app::App;
pub use settings::{
    AddressSettings, Command, LimitSettings, LogFormat, LogSettings, Megabytes, MeshOptions, Milliseconds, Restore,
    Seconds, Settings, StoreSettings, TraceSettings,
};
pub use shutdown::shutdown_signal;

/// Sets logging up: to standard error, filtered by `RUST_LOG`, with `info` as the default.
pub fn log(settings: &LogSettings) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter(std::io::stderr()));
    // This fails if a subscriber is set already, as in tests, and that one is as good.
    let _ = match settings.log_format {
        LogFormat::Json => base.json().try_init(),
        LogFormat::Text => base.with_ansi(false).try_init(),
    };
}
