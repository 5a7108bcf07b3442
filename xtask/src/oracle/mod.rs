//! `cargo xtask oracle`: hairpin held against the running Linux kernel.
//!
//! A scenario (a router, its rules, what arrives) is played on the kernel once and its answer is kept beside it; from
//! then on any program with the contract of `hairpin replay` can be compared with that answer, without root and on any
//! machine. `oracle/README.md` is the manual.

/// Prints a line. Whoever reads may leave before the end: the work goes on, since there may be something to put back.
macro_rules! say {
    ($($what:tt)*) => {
        drop(std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($what)*))))
    };
}

mod compare;
mod frame;
pub mod fuzz;
pub(crate) mod kernel;
mod pcap;
mod program;
mod record;
mod scenario;
mod shrink;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};
use program::{Program, Verdict};

const USAGE: &str = "\
Usage: cargo xtask oracle COMMAND

  compare [--program CMD] [--only-differences] [--brief] [--fast] PATH...
      Run the program (default: this workspace's `hairpin replay`) on each scenario at or below PATH and compare it with
      the kernel's recorded answer. --brief tells each difference in one line; --fast leaves out scenarios marked slow.

  record [--fast] PATH...                                                                                         (root)
      Play each scenario on the running kernel, three times, and write what it did to expected/.

  fuzz [--seed S] [--count N] [--first N] [--deep] [--family 4|6|46] [--keep DIR] [--program CMD] [--coverage]    (root)
      Make random hosts, rules and traffic, ask the kernel, and hold the program against its answer. The same seed makes
      the same scenarios; --first N --count 1 makes one of them again. Those in which the program differs are kept in DIR
      (target/oracle-fuzz); --keep-all keeps the others, too. --deep: long conversations, some 60 rules in nested chains.
      --coverage counts the rules made and met. --jobs N plays N at a time. --without NAME,... leaves out the rules with
      these matches and targets. --allow N: so many may differ before the run counts as failed; they are shown and kept.

  shrink [--program CMD] PATH OUT                                                                                 (root)
      Make the scenario at PATH, in which the program differs, as small as possible and write it to OUT.
";

/// Runs the command that `args` names.
pub fn main(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    match args.next()? {
        Some(Value(command)) if command == "compare" => compare(args),
        Some(Value(command)) if command == "record" => record(args),
        Some(Value(command)) if command == "fuzz" => fuzz(args),
        Some(Value(command)) if command == "shrink" => shrink(args),
        Some(Long("help") | Short('h')) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(other.unexpected()),
        None => Err(USAGE.into()),
    }
}

fn compare(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut program, mut only_differences, mut brief, mut fast, mut paths) = (None, false, false, false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("program") => program = Some(args.value()?.string()?),
            Long("only-differences") => only_differences = true,
            Long("brief") => brief = true,
            Long("fast") => fast = true,
            Value(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    if paths.is_empty() {
        return Err("compare needs a scenario or a directory of scenarios".into());
    }
    let mut scenarios = scenario::find(&paths)?;
    if fast {
        scenarios.retain(|path| !scenario::Scenario::load(path).is_ok_and(|s| s.meta.slow));
    }
    let program = match program {
        Some(command) => Program::given(&command)?,
        None => Program::ours(root())?,
    };
    let good = hold_all(&program, &scenarios, |verdict| {
        if verdict.differences.is_empty() {
            if !only_differences {
                say!("pass {}", verdict.name);
            }
        } else if brief {
            for d in &verdict.differences {
                say!("FAIL {}: {}", verdict.name, d.what);
            }
        } else {
            say!("FAIL {}\n{}", verdict.name, verdict.report);
        }
    });
    say!("{good} of {} scenarios agree with the kernel", scenarios.len());
    Ok(ExitCode::from(u8::from(good != scenarios.len())))
}

fn record(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut fast, mut paths) = (false, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("fast") => fast = true,
            Value(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    if paths.is_empty() {
        return Err("record needs a scenario or a directory of scenarios".into());
    }
    if let Some(why) = kernel::obstacle() {
        return Ok(cannot_ask(&why));
    }
    let switch = kernel::Switch::on()?;
    let (mut good, mut total) = (0, 0);
    // One after the other: two that log under the same prefix could not be told apart.
    for path in scenario::find(&paths)? {
        let scenario = scenario::Scenario::load(&path)?;
        if fast && scenario.meta.slow {
            continue;
        }
        total += 1;
        match record::record(&switch, &scenario) {
            Ok(recorded) => {
                good += usize::from(recorded.complaints.is_empty());
                say!("{}", recorded.line(&scenario.name));
            }
            Err(e) => say!("BAD {}: {e}", scenario.name),
        }
    }
    say!("{good} of {total} recorded cleanly");
    Ok(ExitCode::from(u8::from(good != total)))
}

fn fuzz(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    let mut settings = fuzz::Settings {
        seed: 1,
        first: 0,
        count: 20,
        deep: false,
        family: fuzz::Family::V4,
        keep: root().join("target/oracle-fuzz"),
        keep_all: false,
        jobs: 4 * std::thread::available_parallelism().map_or(1, usize::from),
        coverage: false,
        without: Vec::new(),
        allow: 0,
    };
    let mut program = None;
    while let Some(arg) = args.next()? {
        match arg {
            Long("seed") => settings.seed = args.value()?.parse()?,
            Long("count") => settings.count = args.value()?.parse()?,
            Long("first") => settings.first = args.value()?.parse()?,
            Long("jobs") => settings.jobs = args.value()?.parse()?,
            Long("deep") => settings.deep = true,
            Long("keep") => settings.keep = args.value()?.into(),
            Long("keep-all") => settings.keep_all = true,
            Long("allow") => settings.allow = args.value()?.parse()?,
            Long("without") => settings.without.extend(args.value()?.string()?.split(',').map(str::to_string)),
            Long("coverage") => settings.coverage = true,
            Long("program") => program = Some(args.value()?.string()?),
            Long("family") => {
                settings.family = match args.value()?.string()?.as_str() {
                    "4" => fuzz::Family::V4,
                    "6" => fuzz::Family::V6,
                    "46" => fuzz::Family::Both,
                    other => return Err(format!("--family is 4, 6 or 46, not {other}").into()),
                }
            }
            other => return Err(other.unexpected()),
        }
    }
    if let Some(why) = kernel::obstacle() {
        return Ok(cannot_ask(&why));
    }
    let program = match program {
        Some(command) => Program::given(&command)?,
        None => Program::ours(root())?,
    };
    let all_agree = fuzz::run(&settings, &program, &kernel::Switch::on()?)?;
    Ok(ExitCode::from(u8::from(!all_agree)))
}

fn shrink(args: &mut Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut program, mut paths) = (None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("program") => program = Some(args.value()?.string()?),
            Value(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    let [path, out] = &paths[..] else { return Err("shrink needs a scenario and where to write the small one".into()) };
    if let Some(why) = kernel::obstacle() {
        return Ok(cannot_ask(&why));
    }
    let program = match program {
        Some(command) => Program::given(&command)?,
        None => Program::ours(root())?,
    };
    let verdict = shrink::shrink(path, out, &program, &kernel::Switch::on()?)?;
    say!("{}: {}", out.display(), verdict.report);
    Ok(ExitCode::SUCCESS)
}

/// Without the kernel there is nothing to do, which is no failure on a developer's machine but one in CI.
fn cannot_ask(why: &str) -> ExitCode {
    say!("The kernel cannot be asked here: {why}");
    ExitCode::from(u8::from(std::env::var("CI").is_ok_and(|v| v == "true")))
}

/// Holds the program against each scenario, some at a time, and tells each verdict in the order of the list. How many
/// agree.
fn hold_all(program: &Program, scenarios: &[PathBuf], mut tell: impl FnMut(&Verdict)) -> usize {
    let next = AtomicUsize::new(0);
    let (send, receive) = std::sync::mpsc::channel();
    let send = Mutex::new(send);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(scenarios.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let send = send.lock().unwrap_or_else(|e| e.into_inner()).clone();
            let next = &next;
            scope.spawn(move || {
                while let Some((n, path)) = take(next, scenarios) {
                    if send.send((n, program.hold(path))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let mut waiting = std::collections::BTreeMap::new();
        let (mut turn, mut good) = (0, 0);
        for (n, verdict) in receive {
            waiting.insert(n, verdict);
            while let Some(verdict) = waiting.remove(&turn) {
                good += usize::from(verdict.differences.is_empty());
                tell(&verdict);
                turn += 1;
            }
        }
        good
    })
}

/// The next item of a list that several threads work on.
fn take<'a, T>(next: &AtomicUsize, list: &'a [T]) -> Option<(usize, &'a T)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    list.get(n).map(|item| (n, item))
}

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
