//! The program `hairpin`.

use hairpin_datapath::huge_pages;
use std::process::ExitCode;

/// Connection tables on huge pages, for the verbs that ask for it.
#[global_allocator]
static ALLOCATOR: huge_pages::Allocator = huge_pages::Allocator;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    hairpin::program::run(&name, words)
}
