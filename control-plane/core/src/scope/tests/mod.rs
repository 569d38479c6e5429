//! Scopes from the outside: what they have, and what a change makes of them.

mod bases;
mod refresh;
mod table;
