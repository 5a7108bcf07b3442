//! How a command reaches what it acts on: a file of its own ([`state_file`]), or a running gateway ([`protocol`]).

pub mod protocol;
pub mod queue;
pub mod state_file;
