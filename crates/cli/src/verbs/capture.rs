//! `hairpin capture`.

use crate::applet::socket;
use crate::live;
use crate::program::{Failure, Verb};
use hairpin_control::protocol::Request;
use hairpin_gateway::watch::options::Options;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;

/// The verb.
pub const VERB: Verb = Verb {
    name: "capture",
    about: "packets of the running gateway as pcapng, each with its way as a comment",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin capture [-w FILE] [--count N] [--seconds N] [--bytes N] [--snap N] [--rate N] [EXPRESSION]

Captures packets of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock) as pcapng: each as it arrived, with its way through
hooks, chains and rules as its comment, and then what left because of it. Wireshark and tshark show comments (frame.comment). It ends
after so many packets, seconds or bytes, or on Ctrl-C; nothing in the gateway waits for it.

  -w FILE             write to FILE; without it, or with -, to standard output
  --count N, -c N     end after N packets that arrived (10,000)
  --seconds N         end after N seconds (60)
  --bytes N           end after N bytes (100 MiB)
  --snap N, -s N      keep the first N bytes of each frame (all)
  --rate N            at most N packets a second (5,000)

An EXPRESSION is in tcpdump's words: see `hairpin help trace'. For example: hairpin capture -w dns.pcapng udp port 53
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let mut words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let usage = |why: String| Failure::usage(format!("capture: {why} (`hairpin help capture' says more)"));
    let mut file = None;
    if let Some(at) = words.iter().position(|word| word == "-w") {
        if at + 1 >= words.len() {
            return Err(usage("-w needs a file behind it".to_owned()));
        }
        file = Some(PathBuf::from(words.remove(at + 1)));
        words.remove(at);
    }
    Options::of_capture(&words).map_err(usage)?;
    let mut out: BufWriter<Box<dyn Write>> =
        BufWriter::new(match file.as_ref().filter(|path| path.as_os_str() != "-") {
            Some(path) => {
                let created = File::create(path);
                Box::new(created.map_err(|why| Failure::input(format!("capture: {}: {why}", path.display())))?)
            }
            None if std::io::stdout().is_terminal() => {
                return Err(usage(
                    "a capture is nothing for a terminal: name a file with -w, or send it on".to_owned(),
                ));
            }
            None => Box::new(std::io::stdout()),
        });
    let mut failed = None;
    let outcome = live::ask_giving(&socket(), Request::verb("capture", &words), &mut |bytes| {
        let written = out.write_all(bytes).and_then(|()| out.flush());
        failed = failed.take().or(written.err());
        failed.is_none()
    });
    if let Some(why) = failed.filter(|why| why.kind() != std::io::ErrorKind::BrokenPipe) {
        return Err(Failure::input(format!("capture: it could not be written: {why}")));
    }
    live::ended(&outcome.map_err(Failure::input)?)
}
