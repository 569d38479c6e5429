//! Why a request goes where it goes: the objects behind the steps of a [`walk`](crate::walk), and where what an application asks for
//! arrives.
//!
//! - `fields`: the fields of objects that say something.
//! - `sources`: the objects behind what one client is sent.
//! - `arrive`: where a request arrives at a proxy.

mod arrive;
mod fields;
mod sources;

pub use arrive::{Asked, arrival};
pub use sources::{ObjectField, Sources};

#[cfg(test)]
mod tests;
