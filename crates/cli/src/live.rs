//! Asking a running gateway and printing what comes as it comes: `conntrack -E` goes on until Ctrl-C.

use hairpin_commands::Outcome;
use hairpin_control::protocol::{Frame, Request, ask_live};
use hairpin_datapath::sys::{Signals, wait};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Asks, prints what comes, and on the first Ctrl-C asks for the end. The outcome has the exit code; everything else is printed.
///
/// # Errors
/// The gateway cannot be asked.
pub(crate) fn ask_printing(socket: &Path, request: Request) -> Result<Outcome, String> {
    let signals = Signals::catch().ok();
    let begun = |stream: &std::os::unix::net::UnixStream| {
        let (Some(signals), Ok(mut stream)) = (signals, stream.try_clone()) else { return };
        // It ends with the process.
        std::thread::spawn(move || {
            let mut ready = Vec::new();
            loop {
                let _ = wait(&[signals.fd()], &mut ready, Some(Duration::from_secs(3600)));
                if signals.next().is_some() {
                    let _ = Frame::Stop.send(&mut stream);
                }
            }
        });
    };
    ask_live(socket, request, begun, &mut |is_error, bytes| {
        // A reader that went away is no error, but there is nothing more to do for it.
        let written = match is_error {
            true => std::io::stderr().lock().write_all(bytes),
            false => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
        };
        if written.is_err() {
            std::process::exit(0);
        }
    })
}
