//! The program `hairpin` as a library, so that its parts can be tested.

pub mod applet;
pub mod capture;
pub mod conntrack;
pub mod host_file;
pub mod names;
pub mod program;
pub mod replay;
pub mod trace;
pub mod verbs;
