//! Asking a running gateway and printing what comes as it comes: `conntrack -E` goes on until Ctrl-C.

use crate::program::Failure;
use hairpin_commands::Outcome;
use hairpin_control::protocol::{Frame, Request, ask_live};
use hairpin_datapath::sys::{Signals, Waiter};
use std::cell::OnceCell;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Asks, prints what comes, and on the first Ctrl-C asks for the end. The outcome has the exit code; everything else is printed.
///
/// # Errors
/// The gateway cannot be asked.
pub(crate) fn ask_printing(socket: &Path, request: Request) -> Result<Outcome, String> {
    ask_giving(socket, request, &mut |bytes| {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        if written.is_err() {
            // A reader that went away is no error, but there is nothing more to do for it.
            std::process::exit(0);
        }
        true
    })
}

/// The same, with what comes for standard output given to `sink`, which says whether it wants more.
pub(crate) fn ask_giving(
    socket: &Path,
    request: Request,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Outcome, String> {
    let signals = Signals::catch().ok();
    let stop = OnceCell::new();
    let begun = |stream: &std::os::unix::net::UnixStream| {
        let _ = stop.set(stream.try_clone());
        let (Some(signals), Ok(mut stream)) = (signals, stream.try_clone()) else { return };
        // It ends with the process.
        std::thread::spawn(move || {
            let mut waiter = Waiter::default();
            waiter.watch([signals.fd()].into_iter());
            loop {
                let _ = waiter.wait(Duration::from_secs(3600));
                if signals.next().is_some() {
                    let _ = Frame::Stop.send(&mut stream);
                }
            }
        });
    };
    let mut wants_more = true;
    ask_live(socket, request, begun, &mut |is_error, bytes| {
        if is_error {
            let _ = std::io::stderr().lock().write_all(bytes);
        } else if wants_more {
            wants_more = sink(bytes);
            if !wants_more && let Some(Ok(stream)) = stop.get() {
                let _ = Frame::Stop.send(&mut &*stream);
            }
        }
    })
}

/// What the end of a verb means for the program's: what went wrong was printed as it came.
pub(crate) fn ended(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.code {
        0 => Ok(()),
        code => std::process::exit(i32::from(code)),
    }
}
