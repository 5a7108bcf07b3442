//! Command lines and rule files, and the rules they mean.
//!
//! ```text
//! words ── command::parse ──> Command ── apply::apply ──> Ruleset ── save::save ──> text
//! text ─────────────── restore::restore ──────────────────┘
//! ```
//!
//! Everything here works on text and values: no file is opened and no server asked. What names stand for comes from a
//! [`Names`](hairpin_xt::option::Names) that the caller gives; [`names`] has one.

pub mod apply;
pub mod chains;
pub mod command;
pub mod error;
pub mod getopt;
pub mod ipset;
pub mod json;
pub mod list;
pub mod names;
pub mod restore;
mod rope;
pub mod save;
pub mod show;
mod suggest;
pub mod wait;
pub mod words;
