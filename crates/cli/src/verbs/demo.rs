//! `hairpin demo`.

use crate::program::{Failure, Verb, say};
use hairpin_gateway::demo;
use std::ffi::OsString;

/// The verb.
pub const VERB: Verb =
    Verb { name: "demo", about: "a first minute with real packets and without root", help: HELP, run };

const HELP: &str = "\
usage: hairpin demo
       hairpin demo -- COMMAND …

Makes a home network, a router and a stranger's network in namespaces of its own (no root needed), runs the gateway in the router with a
home router's rules, lets real sockets talk through it, and prints what each side saw and which rules did it. With COMMAND, that is run
inside the home network instead: curl, iperf3, a shell. The router is 192.168.1.1, the stranger's web server http://203.0.113.9/.
Nothing is left behind.
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let command = match words.split_first() {
        None => Vec::new(),
        Some((first, rest)) if first == "--" && !rest.is_empty() => rest.to_vec(),
        Some(_) => return Err(Failure::usage("demo: write `hairpin demo', or `hairpin demo -- COMMAND'")),
    };
    match demo::run(command, say) {
        Ok(0) => Ok(()),
        Ok(code) => std::process::exit(i32::from(code)),
        Err(error) => Err(Failure::input(format!("demo: {error}"))),
    }
}
