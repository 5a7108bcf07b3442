//! The program `hairpin` as a library, so that its parts can be tested.

pub mod capture;
pub mod replay;
