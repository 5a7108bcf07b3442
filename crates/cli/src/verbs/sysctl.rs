//! `hairpin sysctl`.

use crate::applet::socket;
use crate::live;
use crate::program::{Failure, Verb, say};
use hairpin_commands::sysctl::parse;
use hairpin_control::protocol::Request;
use std::ffi::OsString;
use std::io::{Read, Write};

/// The verb.
pub const VERB: Verb = Verb {
    name: "sysctl",
    about: "the running gateway's settings by Linux's names, read and written",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin sysctl [-nNebq] NAME …
       hairpin sysctl [-nq] [-w] NAME=VALUE …
       hairpin sysctl -a
       hairpin sysctl -p [FILE]

Settings of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock), in the words, texts and exit codes of sysctl(8):

    hairpin sysctl net.ipv4.ip_forward net.netfilter.nf_conntrack_max
    hairpin sysctl -w net/ipv4/conf/eth0.10/rp_filter=2

What is set holds until the gateway ends or reads its host file anew; [sysctl] in the host file keeps it. A name may be a directory or have
*. -a lists what has an effect in hairpin; other settings that Linux knows are taken, kept and said to have none. --pattern and --system
are not there.
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let asked = match parse(&words) {
        Ok(asked) => asked,
        Err(outcome) => {
            say(&String::from_utf8_lossy(&outcome.stdout));
            let _ = std::io::stderr().lock().write_all(&outcome.stderr);
            return live::ended(&outcome);
        }
    };
    let mut request = Request::verb("sysctl", &words);
    if let Some(file) = &asked.file {
        let read = match file.as_str() {
            "" => std::io::stdin().lock().read_to_end(&mut request.input).map(|_| ()),
            path => std::fs::read(path).map(|bytes| request.input = bytes),
        };
        if let Err(why) = read {
            let text = why.to_string();
            let reason = text.split(" (os error").next().unwrap_or_default();
            eprintln!("sysctl: cannot open \"{file}\": {reason}");
            std::process::exit(1);
        }
    }
    live::ended(&live::ask_printing(&socket(), request).map_err(Failure::input)?)
}
