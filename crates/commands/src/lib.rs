//! The commands people know, as pure functions: words and a state go in, text and an exit code come out.
//!
//! ```text
//! Call { program, words, input } ──┐
//!                                  ├── run ──> Outcome { stdout, stderr, code }
//! &mut dyn State ──────────────────┘
//! ```
//!
//! Nothing here opens a file, reads a clock or prints. What a command acts on is a [`State`]: the rules in a file, or those of
//! a running gateway. Whoever calls reads the command's input ([`input_of`]) and puts the outcome where it belongs.

mod call;
pub mod conntrack;
mod getopt;
pub mod help;
mod hints;
mod ipset;
mod ipset_help;
mod iptables;
mod iptables_restore;
mod iptables_save;
mod json;
mod nfacct;
mod program;
mod sets;
mod state;
pub mod sysctl;

pub use call::{Call, Input, Outcome, input_of};
use hairpin_xt::option::Names;
pub use nfacct::listing as nfacct_listing;
pub use program::{NAMES, Program, find};
pub use sets::{Done, SetsAccess, SetsAtHand, SetsHost};
use state::Nowhere;
pub use state::{Access, Failure, RestoreRequest, State, Told, Wait};

/// The iptables whose words these commands speak.
pub const IPTABLES_VERSION: &str = "1.8.11";

/// What came of a command that acts on no state (`--version`, `--help`); None when it must be run on one.
pub fn run_alone(call: &Call<'_>, names: &dyn Names) -> Option<Outcome> {
    let mut nowhere = Nowhere { names, was_asked: false };
    let outcome = run(call, &mut nowhere);
    (outcome.code == 0 && !nowhere.was_asked).then_some(outcome)
}

/// Runs a command. What it changes, it changes wholly or not at all.
pub fn run(call: &Call<'_>, state: &mut dyn State) -> Outcome {
    match call.program {
        Program::Iptables(family) => iptables::run(call, family, state),
        Program::Save(family) => iptables_save::run(call, family, state),
        Program::Restore(family) => iptables_restore::run(call, family, state),
        Program::Conntrack => conntrack::run(call, state),
        Program::Ipset => ipset::run(call, state),
        Program::Nfacct => nfacct::run(call, state),
    }
}
