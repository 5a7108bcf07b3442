//! `hairpin replay`.

use crate::capture::Capture;
use crate::host_file;
use crate::program::{Failure, Verb, say};
use crate::replay::{Directory, Input, Merge, OWN, OWN_INDEX, Replay, Sink, Summary};
use crate::trace::RuleTexts;
use crate::{conntrack, names, trace};
use hairpin_commands::nfacct_listing;
use hairpin_datapath::huge_pages;
use hairpin_engine::net::{IfIndex, IfName, Net};
use hairpin_engine::rule::{Compiled, Ruleset};
use hairpin_engine::set::Sets;
use hairpin_engine::{Engine, Now, Output, Setup};
use hairpin_gateway::rules;
use hairpin_ruleset::ipset::{Form, Printer, read_saved};
use hairpin_ruleset::names::SystemNames;
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::Family;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The verb.
pub const VERB: Verb = Verb {
    name: "replay",
    about: "what Linux would have done with captured packets under these rules",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin replay --host HOST.toml --rules RULES.v4 [--rules6 RULES.v6]
                      [--sets SETS] --input DEV=CAPTURE … --output DIR
       hairpin replay DIR [--output DIR]

Gives the engine a host, rules as iptables-save prints them, and captures of what arrived on its devices, and writes what Linux
would have made of it. No root, no kernel module. The captures' time stamps are the clock.

  --host FILE         devices, addresses, routes, neighbors, sysctls
  --rules FILE        IPv4 rules; with [packets:bytes] the counters begin there
  --rules6 FILE       IPv6 rules
  --sets FILE         the sets that rules name, as ipset save prints them; DIR/sets has them in the end
  --input DEV=FILE    what arrived on DEV: pcap or pcapng, one for each device; @host=FILE: what this host's own processes send,
                      whose they are by the [[socket]]s of the host file
  --output DIR        DIR/DEV.pcap for every device, DIR/rules.v4 (and rules.v6) with counters, DIR/conntrack, DIR/nfacct, DIR/log
                      (LOG's lines), DIR/messages (TRACE's lines and others of the kernel, if any)
                      (without IGMP, MLD and neighbor discovery, which only keep the link in order)
  --trace             print each packet's way through hooks, chains and rules
  --json              print the summary (and the trace) as JSON, one value a line
  -q, --quiet         print nothing

With a directory: DIR/host.toml, DIR/rules.v4, DIR/rules.v6, DIR/sets and DIR/in/DEV.pcap, as far as they are there.
";

#[derive(Debug, Default)]
struct Options {
    host: PathBuf,
    rules: [Option<PathBuf>; 2],
    sets: Option<PathBuf>,
    inputs: Vec<(String, PathBuf)>,
    output: Option<PathBuf>,
    trace: bool,
    json: bool,
    quiet: bool,
}

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let options = parse(words)?;
    huge_pages::prefer();
    let host = host_file::load(&options.host).map_err(Failure::input)?;
    let mut setup = Setup::new(host.net().map_err(Failure::input)?);
    setup.accounts = host.accounts;
    let net = Arc::clone(&setup.net);
    let mut inputs = Vec::new();
    for (name, path) in &options.inputs {
        let dev =
            device(&net, name).map_err(|text| Failure::input(format!("--input {name}={}: {text}", path.display())))?;
        inputs.push(Input { dev, capture: Capture::open(path).map_err(Failure::input)? });
    }
    let mut merge = Merge::new(inputs);
    let start = Now::from_unix_nanos(merge.start());
    if let Some(path) = &options.sets {
        setup.sets = read_sets(path, &start)?;
    }
    let system = names::of_system().with_sets(&setup.sets);
    if let Some(path) = &options.rules[0] {
        setup.rules4 = read_rules(path, Family::V4, &system)?;
    }
    if let Some(path) = &options.rules[1] {
        setup.rules6 = read_rules(path, Family::V6, &system)?;
    }
    let rules = if options.trace { RuleTexts::new([&setup.rules4, &setup.rules6]) } else { RuleTexts::default() };
    let mut engine = Engine::new(setup, &start, SEED);
    engine.set_prefetch(hairpin_datapath::prefetch::line());
    engine.set_tracing(options.trace);
    let mut replay = Replay::new(engine);
    let mut sink = Report {
        directory: options
            .output
            .as_deref()
            .map(|path| Directory::create(path, &net))
            .transpose()
            .map_err(Failure::input)?,
        options: &options,
        net: &net,
        rules,
        out: BufWriter::new(std::io::stdout()),
    };
    // A capture that breaks off has been replayed up to there: what came of it is written before it is complained about.
    let played = play(&mut replay, merge, &mut sink, !options.quiet);
    let _ = sink.out.flush();
    if let Some(directory) = sink.directory.take() {
        write_state(&replay, &directory, &options).map_err(Failure::input)?;
        directory.finish().map_err(Failure::input)?;
    }
    if options.quiet {
        return played;
    }
    let summary = replay.summary();
    say(&if options.json { summary_json(&summary) + "\n" } else { summary_text(&summary, options.output.as_deref()) });
    played
}

/// The chance in a replay is always the same, so that two replays of one capture are the same.
pub(super) const SEED: u64 = 0x6861_6972_7069_6e00;

fn parse(words: Vec<OsString>) -> Result<Options, Failure> {
    let usage = |e: lexopt::Error| Failure::usage(format!("replay: {e} (`hairpin help replay' says more)"));
    let mut options = Options::default();
    let mut directory = None;
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next().map_err(usage)? {
        match word {
            Long("host") => options.host = parser.value().map_err(usage)?.into(),
            Long("rules") => options.rules[0] = Some(parser.value().map_err(usage)?.into()),
            Long("rules6") => options.rules[1] = Some(parser.value().map_err(usage)?.into()),
            Long("sets") => options.sets = Some(parser.value().map_err(usage)?.into()),
            Long("output") => options.output = Some(parser.value().map_err(usage)?.into()),
            Long("input") => {
                let value = parser.value().map_err(usage)?.to_string_lossy().into_owned();
                let Some((dev, file)) = value.split_once('=') else {
                    return Err(Failure::usage(format!("replay: --input {value}: write DEVICE=CAPTURE")));
                };
                options.inputs.push((dev.to_owned(), file.into()));
            }
            Long("trace") => options.trace = true,
            Long("json") => options.json = true,
            Short('q') | Long("quiet") => options.quiet = true,
            Value(path) if directory.is_none() => directory = Some(PathBuf::from(path)),
            other => return Err(usage(other.unexpected())),
        }
    }
    if let Some(directory) = directory {
        fill_in(&mut options, &directory)?;
    }
    if options.host.as_os_str().is_empty() {
        return Err(Failure::usage("replay: --host is missing (`hairpin help replay' says more)"));
    }
    Ok(options)
}

/// What a directory holds stands for the options that were not given.
fn fill_in(options: &mut Options, directory: &Path) -> Result<(), Failure> {
    if options.host.as_os_str().is_empty() {
        options.host = directory.join("host.toml");
    }
    for (n, name) in ["rules.v4", "rules.v6"].iter().enumerate() {
        let path = directory.join(name);
        if options.rules[n].is_none() && path.exists() {
            options.rules[n] = Some(path);
        }
    }
    let sets = directory.join("sets");
    if options.sets.is_none() && sets.exists() {
        options.sets = Some(sets);
    }
    if options.inputs.is_empty() {
        let input = directory.join("in");
        let entries = std::fs::read_dir(&input)
            .map_err(|e| Failure::input(format!("{}: cannot be read: {e}", input.display())))?;
        let mut captures: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        captures.sort();
        options.inputs = captures
            .into_iter()
            .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
            .collect();
    }
    Ok(())
}

fn device(net: &Net, name: &str) -> Result<IfIndex, String> {
    if name == OWN {
        return Ok(OWN_INDEX);
    }
    IfName::new(name)
        .and_then(|name| net.interface_by_name(name))
        .map(|device| device.index)
        .ok_or_else(|| format!("the host file has no device `{name}'"))
}

pub(super) fn read_sets(path: &Path, start: &Now) -> Result<Sets, Failure> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Failure::input(format!("{file}: cannot be read: {e}")))?;
    let mut sets = Sets::new(SEED);
    let wrong = |(line, problem)| Failure::input(format!("{file}:{line}: {problem}"));
    read_saved(&text, &mut sets, &names::of_system(), start.mono).map_err(wrong)?;
    Ok(sets)
}

pub(super) fn read_rules(path: &Path, family: Family, names: &SystemNames) -> Result<Arc<Compiled>, Failure> {
    let loaded = rules::read_with(path, family, names).map_err(|e| Failure { code: e.code, message: e.message })?;
    loaded.notices.iter().for_each(|notice| eprintln!("{notice}"));
    Ok(loaded.rules)
}

fn play(replay: &mut Replay, mut merge: Merge, sink: &mut Report<'_>, show: bool) -> Result<(), Failure> {
    let total = merge.size();
    let mut progress = Progress::new(show && total > PROGRESS_FROM && std::io::stderr().is_terminal(), total);
    let mut failed = None;
    while failed.is_none() {
        let more = merge.next(|arrived| {
            progress.add(arrived.frame.len() as u64 + 16);
            failed = replay.frame(&arrived, sink).err();
        });
        if !more.map_err(Failure::input)? {
            break;
        }
    }
    progress.finish();
    failed.map_or(Ok(()), |e| Err(Failure::input(e)))
}

/// Captures below this size are done before a bar could be read.
const PROGRESS_FROM: u64 = 64 << 20;

/// A bar on standard error.
struct Progress {
    on: bool,
    total: u64,
    done: u64,
    shown: u64,
}

impl Progress {
    const fn new(on: bool, total: u64) -> Progress {
        Progress { on, total, done: 0, shown: u64::MAX }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let percent = (self.done * 100).checked_div(self.total).unwrap_or(0).min(100);
        if self.on && percent != self.shown {
            self.shown = percent;
            let full = "#".repeat(percent as usize / 2);
            let _ = write!(std::io::stderr(), "\r[{full:<50}] {percent:3} %");
        }
    }

    fn finish(&self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

/// Where the frames, the log and the trace go.
struct Report<'a> {
    directory: Option<Directory>,
    options: &'a Options,
    net: &'a Net,
    rules: RuleTexts,
    /// For the trace. A reader that went away (`| head`) does not keep the files from being written.
    out: BufWriter<Stdout>,
}

impl Sink for Report<'_> {
    type Error = crate::capture::CaptureError;

    fn frame(&mut self, dev: IfIndex, nanos: u64, frame: &[u8]) -> Result<(), Self::Error> {
        self.directory.as_mut().map_or(Ok(()), |d| d.frame(dev, nanos, frame))
    }

    fn log(&mut self, line: &str) -> Result<(), Self::Error> {
        self.directory.as_mut().map_or(Ok(()), |d| d.log(line))
    }

    fn message(&mut self, line: &str) -> Result<(), Self::Error> {
        self.directory.as_mut().map_or(Ok(()), |d| d.message(line))
    }

    fn steps(&mut self, arrived: u64, dev: IfIndex, nanos: u64, out: &Output) -> Result<(), Self::Error> {
        if self.options.trace && !self.options.quiet {
            let text = if self.options.json {
                trace::json(self.net, &self.rules, arrived, dev, nanos, &out.trace)
            } else {
                trace::text(self.net, &self.rules, arrived, dev, nanos, &out.trace)
            };
            let _ = self.out.write_all(text.as_bytes());
        }
        Ok(())
    }
}

fn write_state(replay: &Replay, directory: &Directory, options: &Options) -> Result<(), crate::capture::CaptureError> {
    let names = names::of_system();
    let state = replay.engine().state();
    for (family, name, path) in
        [(Family::V4, "rules.v4", &options.rules[0]), (Family::V6, "rules.v6", &options.rules[1])]
    {
        if path.is_some() || family == Family::V4 {
            let rules = state.rules(family);
            let ruleset = Ruleset { family, tables: rules.tables().cloned().collect() };
            let how = SaveOptions { counters: true, names: Some(&names), ..SaveOptions::default() };
            directory.write(name, &save(&ruleset, &how, |table| Some(state.counters(family, table))))?;
        }
    }
    if state.accounts().iter().next().is_some() {
        directory.write("nfacct", &nfacct_listing(state.accounts().iter()))?;
    }
    if options.sets.is_some() {
        let sets = state.sets();
        let printer = Printer {
            form: Form::Save,
            sorted: true,
            names_only: false,
            headers_only: false,
            resolve: false,
            names: &names,
            now: replay.now().mono,
        };
        directory.write("sets", &printer.print(&sets, sets.iter()))?;
    }
    directory.write("conntrack", &conntrack::listing(state, replay.now().mono))
}

fn summary_text(summary: &Summary, output: Option<&Path>) -> String {
    let mut text = String::new();
    let sum = |counts: &std::collections::BTreeMap<String, u64>| -> u64 { counts.values().sum() };
    let by_device = |counts: &std::collections::BTreeMap<String, u64>| -> String {
        counts.iter().map(|(dev, n)| format!("{dev} {n}")).collect::<Vec<_>>().join(", ")
    };
    let seconds = summary.time.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
    text += &format!("{} packets arrived in {seconds:.3} s ({})\n", sum(&summary.arrived), by_device(&summary.arrived));
    if summary.cut > 0 {
        text += &format!("{} of them were captured only in part (`tcpdump -s 0' captures them whole)\n", summary.cut);
    }
    text += &format!("{} left ({})\n", sum(&summary.left), by_device(&summary.left));
    if summary.delivered > 0 {
        text += &format!("{} reached a socket of the host\n", summary.delivered);
    }
    for (reason, n) in &summary.dropped {
        text += &format!("{n} ended here: {}\n", reason.text());
    }
    if !summary.reached.is_empty() {
        let reached: Vec<String> = summary.reached.iter().map(|(limit, n)| format!("{limit} {n}")).collect();
        text += &format!("limits reached, and how often: {}\n", reached.join(", "));
    }
    text += &format!("{} connections in the table, {} lines in the log\n", summary.connections, summary.log_lines);
    if let Some(output) = output {
        text += &format!("written to {}: a capture for each device, rules, conntrack, log\n", output.display());
    }
    text
}

fn summary_json(summary: &Summary) -> String {
    let counts = |counts: &std::collections::BTreeMap<String, u64>| -> String {
        let items: Vec<String> = counts.iter().map(|(dev, n)| format!("{}:{n}", trace::json_string(dev))).collect();
        format!("{{{}}}", items.join(","))
    };
    let dropped: Vec<String> =
        summary.dropped.iter().map(|(reason, n)| format!("{}:{n}", trace::json_string(reason.text()))).collect();
    let reached: Vec<String> =
        summary.reached.iter().map(|(limit, n)| format!("{}:{n}", trace::json_string(limit))).collect();
    format!(
        "{{\"arrived\":{},\"cut\":{},\"left\":{},\"delivered\":{},\"dropped\":{{{}}},\"limits_reached\":{{{}}},\"connections\":{},\"log_lines\":{}}}",
        counts(&summary.arrived),
        summary.cut,
        counts(&summary.left),
        summary.delivered,
        dropped.join(","),
        reached.join(","),
        summary.connections,
        summary.log_lines
    )
}
