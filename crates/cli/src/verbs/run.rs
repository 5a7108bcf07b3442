//! `hairpin run`.

use crate::program::{Failure, Verb, say};
use hairpin_datapath::huge_pages;
use hairpin_gateway::control::Control;
use hairpin_gateway::harden::{Needs, harden};
use hairpin_gateway::host_file::LogTo;
use hairpin_gateway::limits::Warner;
use hairpin_gateway::logs::Logs;
use hairpin_gateway::metrics::Metrics;
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
usage: hairpin run GATEWAY.toml
       hairpin run --check GATEWAY.toml

Opens the devices that the file names and forwards between them under its rules, until SIGTERM or Ctrl-C. The file is the host file
of `hairpin replay' with more in it: datapath = \"packet\", \"xdp\", \"tap\", \"tun\" or \"auto\" for each [[interface]], and the sections
[rules], [control], [state], [metrics], [log]. Prints one line with `ready' when it forwards. SIGHUP reads the files anew.

  --check             say what the file would do, and whether it can be done; change nothing
";

fn run_verb(words: Vec<OsString>) -> Result<(), Failure> {
    let usage = |e: lexopt::Error| Failure::usage(format!("run: {e} (`hairpin help run' says more)"));
    let (mut file, mut only_check) = (None, false);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next().map_err(usage)? {
        match word {
            Long("check") => only_check = true,
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
    let mut gateway = Gateway::open(&file, Vec::new()).map_err(failure)?;
    attend(&mut gateway).map_err(|why| failure(GatewayError::System(why)))?;
    let ready = || {
        say("hairpin: ready\n");
        hairpin_gateway::notify_ready();
    };
    gateway.run(ready).map_err(failure)
}

/// Everything that serves beside the packets, as the host file asks. What needs rights is opened; then they are given up.
fn attend(gateway: &mut Gateway) -> std::io::Result<()> {
    let live = gateway.file().live.clone();
    let mut directories = Vec::new();
    // First the state of before, then those who may look at it.
    if let Some(file) = &live.state {
        let interval = live.state_interval.map_or(snapshot::INTERVAL, |secs| Duration::from_secs(secs.into()));
        let has_rule_file = live.rules.clone().map(|file| file.is_some());
        gateway.attend(Box::new(Snapshots::new(file.clone(), interval, has_rule_file)));
        directories.extend(file.parent().map(Path::to_owned));
    }
    let logs = Logs::open(&live)?;
    if let Some(listen) = live.metrics {
        gateway.attend(Box::new(Metrics::open(listen)?.with_logs(logs.numbers())));
    }
    gateway.attend(Box::new(Warner::default()));
    if let Some(control) = Control::open(&live)? {
        directories.extend(control.directory().map(Path::to_owned));
        gateway.attend(Box::new(control));
    }
    gateway.attend(Box::new(Notify));
    gateway.attend(Box::new(logs));
    if let LogTo::File(file) = &live.log {
        directories.extend(file.parent().map(Path::to_owned));
    }
    directories.extend(live.nflog.iter().filter_map(|nflog| nflog.file.parent()).map(Path::to_owned));
    // A file named alone is here.
    for directory in directories.iter_mut().filter(|directory| directory.as_os_str().is_empty()) {
        directory.push(".");
    }
    for line in harden(&Needs { directories, owners: live.host_device.is_some() }) {
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
