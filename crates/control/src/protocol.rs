//! A command sent to a running gateway over its control socket, and what came of it.
//!
//! The gateway runs the same [`hairpin_commands::run`] on its live engine and sends the [`Outcome`] back.

use hairpin_commands::{Call, Outcome};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where the gateway listens when `HAIRPIN_SOCKET` says nothing else.
pub const DEFAULT_SOCKET: &str = "/run/hairpin/control.sock";

/// Asks the gateway at this socket.
///
/// # Errors
/// Nobody listens there, or what listens does not speak this protocol; the text says which and what to do.
pub fn ask(socket: &Path, call: &Call<'_>) -> Result<Outcome, String> {
    let name = call.program.name();
    match UnixStream::connect(socket) {
        Ok(_) => Err(format!("{name}: {} speaks no protocol that this version knows", socket.display())),
        Err(why) => Err(format!(
            "{name}: no gateway at {}: {why}. Set HAIRPIN_STATE=FILE to keep the rules in a file, or start `hairpin run'",
            socket.display()
        )),
    }
}
