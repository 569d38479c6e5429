//! Aggregated discovery over gRPC. The framing is our own, so that the bytes which all streams share go to the socket
//! without a copy.
//!
//! - `service`: takes streams in, and owns their tasks.
//! - `stream_task`: carries between the socket, the engine and the state of one stream.
//! - `patience`: notices a client that takes nothing.
//! - `body`: the framing in both directions, and the budget of all streams.
//! - `connection`: connections that are accepted, watched and closed.
//! - `gate`: how many connections there may be.
//! - `pace`: how many streams may begin in a second.

mod body;
mod connection;
mod gate;
mod pace;
mod patience;
mod service;
mod shared;
mod stream_task;

pub(crate) use body::Budget;
pub(crate) use connection::{Switch, incoming, listen};
pub(crate) use gate::Gate;
pub(crate) use service::{AdsService, StreamTasks, ads};
pub(crate) use shared::Shared;
