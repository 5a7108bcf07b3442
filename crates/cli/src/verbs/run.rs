//! `hairpin run`.

use crate::program::{Failure, Verb, say};
use hairpin_datapath::huge_pages;
use hairpin_gateway::control::Control;
use hairpin_gateway::harden::{Needs, hand_over, harden, make_room, unreadable};
use hairpin_gateway::host_file::{Live, LogTo};
use hairpin_gateway::limits::Warner;
use hairpin_gateway::logs::Logs;
use hairpin_gateway::metrics::Metrics;
use hairpin_gateway::names::{self, User};
use hairpin_gateway::notify::Notify;
use hairpin_gateway::snapshot::{self, Snapshots};
use hairpin_gateway::{Gateway, GatewayError, run};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The verb.
pub const VERB: Verb =
    Verb { name: "run", about: "a router, firewall and NAT on real devices", help: HELP, run: run_verb };

const HELP: &str = "\
usage: hairpin run [--user NAME] GATEWAY.toml
       hairpin run --check GATEWAY.toml

Opens the devices that the file names and forwards between them under its rules, until SIGTERM or Ctrl-C. The file is the host file
of `hairpin replay' with more in it: datapath = \"packet\", \"xdp\", \"tap\", \"tun\", \"pcap\" or \"auto\" for each [[interface]], and the sections
[rules], [control], [state], [metrics], [log], [host], [run]. Prints one line with `ready' when it forwards. SIGHUP reads the files anew.

  --user NAME         who the process becomes once the devices are open, in place of what the file says in [run]. Without either: the
                      user hairpin, if there is one who may write where the socket and the state are
  --check             say what the file would do, and whether it can be done; change nothing
";

fn run_verb(words: Vec<OsString>) -> Result<(), Failure> {
    let usage = |e: lexopt::Error| Failure::usage(format!("run: {e} (`hairpin help run' says more)"));
    let (mut file, mut only_check, mut user) = (None, false, None);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next().map_err(usage)? {
        match word {
            Long("check") => only_check = true,
            Long("user") => {
                let name = parser.value().map_err(usage)?.to_string_lossy().into_owned();
                let known = names::user(&name);
                user = Some(known.ok_or_else(|| Failure::usage(format!("run: there is no user {name:?}")))?);
            }
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(usage(other.unexpected())),
        }
    }
    let Some(file) = file else {
        return Err(Failure::usage("run: which file? (`hairpin help run' says more)"));
    };
    if only_check {
        say(&run::check(&file).map_err(failure)?);
        return Ok(());
    }
    huge_pages::prefer();
    let mut gateway = Gateway::open(&file, Vec::new(), |file| choose_user(&mut file.live, user)).map_err(failure)?;
    attend(&mut gateway, &file).map_err(|why| failure(GatewayError::System(why)))?;
    let ready = || {
        say("hairpin: ready\n");
        hairpin_gateway::notify_ready();
    };
    gateway.run(ready).map_err(failure)
}

/// The user hairpin unless somebody else is named; and the places where he writes are his.
fn choose_user(live: &mut Live, named: Option<User>) -> std::io::Result<()> {
    live.user = named.or(live.user.take());
    let directories = directories(live);
    if live.user.is_some() || names::own_uid() != 0 {
        return make_room(&directories, live.user.as_ref());
    }
    live.user = names::user("hairpin");
    if let Err(why) = make_room(&directories, live.user.as_ref()) {
        eprintln!("hairpin: the process stays root, without its rights: {why}");
        live.user = None;
    }
    Ok(())
}

/// Of the socket, the state and the log.
fn directories(live: &Live) -> Vec<PathBuf> {
    let log = match &live.log {
        LogTo::File(file) => Some(file.clone()),
        LogTo::Stderr | LogTo::Nowhere | LogTo::Journal => None,
    };
    // The usual place of the socket need not be had, the named one must.
    let socket = Control::place(live);
    let is_asked = live.control.is_some() || names::own_uid() == 0 || socket.parent().is_some_and(Path::exists);
    let files = [live.state.clone(), is_asked.then_some(socket), log].into_iter().flatten();
    let files = files.chain(live.nflog.iter().map(|nflog| nflog.file.clone()));
    let captures = live.interfaces.iter().flat_map(|live| [&live.capture, &live.pcap.write]);
    let files = files.chain(captures.flatten().cloned());
    // A file named alone is here.
    let here =
        |directory: &Path| if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() };
    files.filter_map(|file| file.parent().map(here)).collect()
}

/// Everything that serves beside the packets, as the host file asks. What needs rights is opened; then they are given up.
fn attend(gateway: &mut Gateway, path: &Path) -> std::io::Result<()> {
    let live = gateway.file().live.clone();
    let user = live.user.as_ref();
    // First the state of before, then those who may look at it.
    if let Some(file) = &live.state {
        hand_over(file, user)?;
        let interval = live.state_interval.map_or(snapshot::INTERVAL, |secs| Duration::from_secs(secs.into()));
        let has_rule_file = live.rules.clone().map(|file| file.is_some());
        gateway.attend(Box::new(Snapshots::new(file.clone(), interval, has_rule_file)));
    }
    let logs = Logs::open(&live)?;
    if let Some(listen) = live.metrics {
        gateway.attend(Box::new(Metrics::open(listen)?.with_logs(logs.numbers())));
    }
    gateway.attend(Box::new(Warner::default()));
    if let Some(control) = Control::open(&live)? {
        gateway.attend(Box::new(control));
    }
    gateway.attend(Box::new(Notify));
    gateway.attend(Box::new(logs));
    // Opened already; whoever turns them over later is the user.
    let written = match &live.log {
        LogTo::File(file) => Some(file),
        LogTo::Stderr | LogTo::Nowhere | LogTo::Journal => None,
    };
    let captures = live.interfaces.iter().flat_map(|live| [&live.capture, &live.pcap.write]).flatten();
    for file in written.into_iter().chain(live.nflog.iter().map(|nflog| &nflog.file)).chain(captures) {
        hand_over(file, user)?;
    }
    let rules = live.rules.iter().flatten().map(PathBuf::as_path);
    for line in unreadable(rules.chain([path]), user) {
        eprintln!("hairpin: {line}");
    }
    for line in harden(&Needs { directories: directories(&live), user: live.user.clone() })? {
        eprintln!("hairpin: {line}");
    }
    Ok(())
}

fn failure(error: GatewayError) -> Failure {
    let code = match &error {
        GatewayError::Rules(rules) => rules.code,
        _ => 1,
    };
    Failure { code, message: error.to_string() }
}
