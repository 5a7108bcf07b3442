//! The program `hairpin` as a library, so that its parts can be tested.

pub mod applet;
pub mod conntrack;
mod live;
pub mod packet_words;
pub mod program;
pub mod replay;
pub mod verbs;

pub use hairpin_datapath::capture;
pub use hairpin_gateway::{host_file, names, trace};
