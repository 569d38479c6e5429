//! The control plane as one process without a process: the admin API, streams of sidecars, client status and load
//! reports, over loopback.
#![allow(clippy::unwrap_used, reason = "tests")]

mod admin;
mod process;
mod sidecars;
mod streams;
