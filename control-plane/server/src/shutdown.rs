//! The end of the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Waits until the process is told to stop.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for SIGTERM, SIGINT or SIGHUP. A process that was started to ignore SIGHUP, as by `nohup`, goes on ignoring it.
pub async fn shutdown_signal() {
    let hangup = async {
        if ignores_hangup() {
            std::future::pending::<()>().await;
        }
        arrived(SignalKind::hangup()).await;
    };
    tokio::select! {
        () = arrived(SignalKind::terminate()) => {}
        () = arrived(SignalKind::interrupt()) => {}
        () = hangup => {}
    }
}

/// Waits for a signal. One that cannot be waited for does what it does by default.
async fn arrived(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Returns whether the process ignores SIGHUP, as Linux says it: each signal is a bit of a hexadecimal number, of which
/// SIGHUP is the lowest.
fn ignores_hangup() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}
