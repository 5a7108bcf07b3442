//! One file for each verb of the program; each only parses its words, calls, and prints.

pub mod capture;
pub mod demo;
pub mod gateway;
pub mod install_links;
pub mod manual;
pub mod queue;
pub mod replay;
pub mod run;
pub mod sysctl;
pub mod top;
pub mod trace;
