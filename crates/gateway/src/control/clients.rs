//! Clients of the control socket: who may, how long, and what is done for them.

use super::events::What;
use super::live::LiveState;
use super::{Context, MAX_CLIENTS, queueing, status, top, watching};
use crate::names::Group;
use hairpin_commands::conntrack::Watch;
use hairpin_commands::{Call, Outcome, run};
use hairpin_control::protocol::{Frame, FrameError, MAX_FRAME, PIECE, Request};
use hairpin_datapath::sys::{peer_of, process_of_peer};
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A request must be there after so long, however slowly it comes.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// A client that takes nothing for so long is let go.
const SEND_TIME: Duration = Duration::from_secs(10);
/// Requests longer than this are taken one at a time.
const LONG: usize = 1 << 20;
/// Refusals of people who may not, told at most so often.
const LET_IN_AGAIN: Duration = Duration::from_millis(100);

/// All of them.
pub(super) struct Clients {
    context: Arc<Context>,
    group: Option<Group>,
    count: Arc<AtomicUsize>,
}

impl Clients {
    pub(super) fn new(context: Arc<Context>, group: Option<Group>) -> Clients {
        Clients { context, group, count: Arc::new(AtomicUsize::new(0)) }
    }

    /// Accepts for as long as the gateway lives.
    pub(super) fn accept(&self, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                // Out of descriptors, most likely: they come back.
                Err(_) => std::thread::sleep(LET_IN_AGAIN),
            }
        }
    }

    fn admit(&self, mut stream: UnixStream) {
        let _ = stream.set_write_timeout(Some(SEND_TIME));
        let refuse = |stream: &mut UnixStream, why: &str| {
            // The answer fits into the socket's buffer: this does not wait.
            let _ = stream.set_write_timeout(Some(Duration::from_millis(10)));
            let _ = Frame::Refused(why.to_owned()).send(stream);
        };
        if !self.may(&stream) {
            refuse(&mut stream, "permission denied: be root, or a member of the socket's group");
            return;
        }
        if self.count.load(Ordering::Relaxed) >= MAX_CLIENTS {
            refuse(&mut stream, "too many clients at a time; try again");
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let (context, count) = (Arc::clone(&self.context), Arc::clone(&self.count));
        let serving = std::thread::Builder::new().name("client".to_owned()).spawn(move || {
            // Whatever happens, the place is free again.
            let _leave = Leave(count);
            let _ = serve(&context, stream);
        });
        if serving.is_err() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The file's mode keeps strangers out already; this also holds when the socket was moved or its mode changed.
    fn may(&self, stream: &UnixStream) -> bool {
        let Ok((uid, gid)) = peer_of(stream) else { return false };
        let is_member = |group: &Group| group.id == gid || group.members.contains(&uid);
        uid == 0 || uid == crate::names::own_uid() || self.group.as_ref().is_some_and(is_member)
    }
}

struct Leave(Arc<AtomicUsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads what the client asks for, does it and answers.
fn serve(context: &Context, mut stream: UnixStream) -> io::Result<()> {
    let mut reader = Hurried { stream: &stream, until: Instant::now() + REQUEST_TIME };
    let long = |length| (length > LONG).then(|| context.long_request.lock().unwrap_or_else(PoisonError::into_inner));
    let request = match Frame::read_when(&mut reader, MAX_FRAME, long) {
        Ok(Frame::Request(request)) => request,
        Ok(_) => return Frame::Refused("a request was expected".to_owned()).send(&mut stream),
        Err(FrameError::Io(why)) => return Err(why),
        Err(why) => return Frame::Refused(why.to_string()).send(&mut stream),
    };
    if request.program == "conntrack" {
        match Watch::of(&request.words, &context.names) {
            Ok(Some((watch, said))) => return watch_events(context, stream, watch, said),
            Ok(None) => {}
            Err(outcome) => return answer(&mut stream, outcome),
        }
    }
    match watching::wanted(&request) {
        Some(Ok(options)) => return watching::watch(context, stream, options),
        Some(Err(outcome)) => return answer(&mut stream, outcome),
        None => {}
    }
    match top::wanted(&request) {
        Some(Ok(count)) => return top::serve(context, stream, count),
        Some(Err(outcome)) => return answer(&mut stream, outcome),
        None => {}
    }
    match queueing::wanted(&request) {
        Some(Ok(listening)) => return queueing::serve(context, stream, listening),
        Some(Err(outcome)) => return answer(&mut stream, outcome),
        None => {}
    }
    let outcome = execute(context, &request, process_of_peer(&stream));
    answer(&mut stream, outcome)
}

fn execute(context: &Context, request: &Request, client: Option<u32>) -> Outcome {
    let Some(program) = hairpin_commands::find(&request.program) else {
        return status::verb(context, request)
            .unwrap_or_else(|| Outcome::failed(2, format!("hairpin: this gateway knows no `{}'\n", request.program)));
    };
    let call = Call {
        program,
        name: &request.name,
        words: &request.words,
        input: &request.input,
        date: &request.date,
        hints: request.hints,
    };
    run(&call, &mut LiveState::new(context, client))
}

pub(super) fn answer(stream: &mut UnixStream, outcome: Outcome) -> io::Result<()> {
    for piece in outcome.stdout.chunks(PIECE) {
        Frame::Stdout(piece.to_vec()).send(stream)?;
    }
    for piece in outcome.stderr.chunks(PIECE) {
        Frame::Stderr(piece.to_vec()).send(stream)?;
    }
    Frame::End { code: outcome.code, file: outcome.file }.send(stream)
}

/// From now on the client may take as long as it likes. Its next word, or its end, comes on a thread of its own, which calls this.
pub(super) fn on_stop(
    stream: &UnixStream,
    stop: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    let listener = stream.try_clone()?;
    listener.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    std::thread::Builder::new().name("client's stop".to_owned()).spawn(move || {
        let _ = Frame::read(&mut &listener, 64);
        stop();
    })
}

/// `conntrack -E`: events as they come, until the client says stop or goes away. A client that takes them too slowly loses some, and
/// is told.
fn watch_events(context: &Context, mut stream: UnixStream, mut watch: Watch, said: String) -> io::Result<()> {
    const LOST: &str = "WARNING: We have hit ENOBUFS! We are losing events.\n";
    if !said.is_empty() {
        Frame::Stderr(said.into_bytes()).send(&mut stream)?;
    }
    let events = context.hub.watch();
    let _ = context.handle.ask(|moment| moment.engine.set_watched(true, &moment.now));
    let stop = events.stopper();
    let listening = on_stop(&stream, move || stop.stop())?;
    let mut lost = 0;
    while let Some(batch) = events.next() {
        let mut text = String::new();
        for item in &batch.items {
            text.extend(match &item.what {
                What::Connection(record) => watch.text(item.happening, record, item.wall, item.by, &context.names),
                What::Expectation(record) => watch.expectation_text(item.happening, record, item.wall),
            });
        }
        if batch.lost > lost {
            lost = batch.lost;
            Frame::Stderr(LOST.as_bytes().to_vec()).send(&mut stream)?;
        }
        for piece in text.as_bytes().chunks(PIECE) {
            Frame::Stdout(piece.to_vec()).send(&mut stream)?;
        }
    }
    let (out, err) = watch.end();
    answer(&mut stream, Outcome { stdout: out.into_bytes(), stderr: err.into_bytes(), ..Outcome::default() })?;
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = listening.join();
    Ok(())
}

/// Reads until a moment, and no longer.
struct Hurried<'s> {
    stream: &'s UnixStream,
    until: Instant,
}

impl Read for Hurried<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut stream = self.stream;
        stream.read(buf)
    }
}
