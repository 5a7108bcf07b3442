//! Serves a listener of NFQUEUE: packets go out as they come, verdicts come in on a thread of their own.

use super::Context;
use super::clients::answer;
use crate::queues::Listening;
use crate::seam::Handle;
use hairpin_commands::Outcome;
use hairpin_control::protocol::{Frame, Request};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Verdicts are no longer: a packet and what stands around it.
const MAX_VERDICT: usize = 70_000;

/// What `queue` asks for; None when the request is another.
pub(super) fn wanted(request: &Request) -> Option<Result<Listening, Outcome>> {
    if request.program != "queue" {
        return None;
    }
    Some(listening(&request.words).map_err(|why| Outcome::failed(2, format!("hairpin: queue: {why}\n"))))
}

/// The words of a listener.
///
/// # Errors
/// What is wrong with which word.
pub fn listening(words: &[String]) -> Result<Listening, String> {
    let mut wanted = Listening { number: 0, maxlen: 1024, fail_open: false, copy: 65_535 };
    let mut has_number = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = |most: usize| -> Result<usize, String> {
            let text = words.next().ok_or_else(|| format!("{word} needs a number behind it"))?;
            let number = text.parse().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("{word} {text}: a number of 1 to {most} is expected"))
        };
        match word.as_str() {
            "--maxlen" => wanted.maxlen = number(65_536)?,
            "--copy" => wanted.copy = number(65_535)?,
            "--fail-open" => wanted.fail_open = true,
            text if !has_number => {
                wanted.number = text.parse().map_err(|_| format!("`{text}' is no queue: 0 to 65535 are"))?;
                has_number = true;
            }
            other => return Err(format!("`{other}' makes no sense here")),
        }
    }
    if has_number { Ok(wanted) } else { Err("which queue? its number is missing".to_owned()) }
}

/// Serves until the listener goes.
pub(super) fn serve(context: &Context, mut stream: UnixStream, wanted: Listening) -> io::Result<()> {
    let added = context.handle.ask(move |moment| {
        let frames = moment.queues.listen(wanted)?;
        moment.engine.set_queues(&moment.queues.numbers());
        Ok::<_, String>(frames)
    });
    let frames = match added {
        Ok(Ok(frames)) => frames,
        Ok(Err(why)) => return answer(&mut stream, Outcome::failed(2, format!("hairpin: queue: {why}\n"))),
        Err(gone) => return answer(&mut stream, Outcome::failed(1, format!("hairpin: {gone}\n"))),
    };
    let listener = stream.try_clone()?;
    listener.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    let handle = context.handle.clone();
    let hearing = std::thread::Builder::new().name("verdicts".to_owned()).spawn(move || {
        hear(&handle, &listener, wanted.number);
    })?;
    // The channel ends when the listener left.
    let mut sent = Ok(());
    while let Ok(frame) = frames.recv() {
        sent = frame.send(&mut stream);
        if sent.is_err() {
            // What reads ends as well, and that is what leaves the queue.
            let _ = stream.shutdown(Shutdown::Both);
            break;
        }
    }
    if sent.is_ok() {
        let _ = answer(&mut stream, Outcome::default());
    }
    let _ = stream.shutdown(Shutdown::Both);
    let _ = hearing.join();
    Ok(())
}

fn hear(handle: &Handle, mut stream: &UnixStream, number: u16) {
    // Each waits until the loop took it: who sends nonsense waits for itself.
    while let Ok(Frame::Decided(decided)) = Frame::read(&mut stream, MAX_VERDICT) {
        if handle.ask(move |moment| moment.queues.decide(number, *decided)).is_err() {
            return;
        }
    }
    let _ = handle.ask(move |moment| {
        moment.queues.leave(number);
        moment.engine.set_queues(&moment.queues.numbers());
    });
}
