//! Running the program under test on scenarios, and telling where it disagrees with the recorded kernel.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::compare::{self, Area, Difference, Volatile};
use super::frame::{Frame, hex};
use super::scenario::{Outcome, Scenario};

/// A scenario is some seconds of traffic at most; a program that needs longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Rows of hexadecimal shown of a frame.
const HEX_ROWS: usize = 12;
/// Lines of the program's trace shown for one difference.
const TRACE_LINES: usize = 60;

/// The command that replays a scenario: program and its first arguments.
#[derive(Debug, Clone)]
pub struct Program(Vec<String>);

/// The verdict on one scenario.
#[derive(Debug)]
pub struct Verdict {
    pub name: String,
    pub differences: Vec<Difference>,
    /// The differences at length: rules, frames, trace. Empty when there is none.
    pub report: String,
}

impl Program {
    /// A command line, split at white space.
    pub fn given(command: &str) -> Result<Self, String> {
        let words: Vec<String> = command.split_whitespace().map(str::to_string).collect();
        if words.is_empty() { Err("--program needs a command".into()) } else { Ok(Self(words)) }
    }

    /// `hairpin replay` of this workspace, built first if it is not up to date.
    pub fn ours(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--quiet", "--package", "hairpin"])
            .current_dir(root)
            .status()
            .map_err(|e| format!("cannot run cargo: {e}"))?;
        if !status.success() {
            return Err("hairpin does not build".into());
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
        Ok(Self(vec![target.join("release/hairpin").to_string_lossy().into_owned(), "replay".into()]))
    }

    /// Holds the program against the recorded outcome of the scenario at `path`.
    pub fn hold(&self, path: &Path) -> Verdict {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match self.try_hold(path) {
            Ok((differences, report)) => Verdict { name, differences, report },
            Err(what) => {
                let report = format!("  {what}\n");
                Verdict { name, differences: vec![Difference { area: Area::Program, what }], report }
            }
        }
    }

    fn try_hold(&self, path: &Path) -> Result<(Vec<Difference>, String), String> {
        let scenario = Scenario::load(path)?;
        let expected = path.join("expected");
        if !expected.is_dir() {
            return Err("it has no expected/: record it first".into());
        }
        let want = Outcome::load(&expected, &scenario, "the kernel")?;
        let volatile = load_volatile(&expected.join("volatile.json"))?;
        let out = Scratch::new()?;
        self.replay(&scenario, &out.0, &[])?;
        let got = Outcome::load(&out.0, &scenario, "the program")?;
        let differences = compare::judge(&scenario, &want, &got, &volatile)?;
        let report =
            if differences.is_empty() { String::new() } else { self.report(&scenario, &differences, &want, &got) };
        Ok((differences, report))
    }

    /// Runs the program; what it printed (both streams).
    fn replay(&self, scenario: &Scenario, out: &Path, more: &[&str]) -> Result<String, String> {
        let printed = Scratch::new()?;
        let file = printed.0.join("printed");
        let open = fs::File::create(&file).and_then(|f| Ok((f.try_clone()?, f))).map_err(|e| e.to_string())?;
        let mut child = Command::new(&self.0[0])
            .args(&self.0[1..])
            .args(scenario.arguments(out))
            .args(more)
            .stdin(Stdio::null())
            .stdout(open.0)
            .stderr(open.1)
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", self.0[0]))?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                break status;
            }
            if started.elapsed() > TIME_LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the program ran longer than {} s", TIME_LIMIT.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(if started.elapsed().as_millis() < 50 { 1 } else { 10 }));
        };
        let mut raw = Vec::new();
        fs::File::open(&file).and_then(|mut f| f.read_to_end(&mut raw)).map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&raw).into_owned();
        if status.success() {
            return Ok(text);
        }
        let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        Err(format!("{status}: {last}"))
    }

    fn report(&self, scenario: &Scenario, differences: &[Difference], want: &Outcome, got: &Outcome) -> String {
        let mut out = format!("  {}\n", scenario.meta.about);
        for d in differences {
            let _ = writeln!(out, "  {}", d.what);
        }
        for (file, rules) in [("rules.v4", Some(&scenario.rules4)), ("rules.v6", scenario.rules6.as_ref())] {
            if let Some(rules) = rules {
                let _ = writeln!(out, "  {file} of {}\n{}", scenario.path.display(), indented(rules, usize::MAX));
            }
        }
        let traces = Scratch::new().and_then(|dir| self.replay(scenario, &dir.0, &["--trace"]));
        let arrivals = scenario.arrivals().unwrap_or_default();
        let none = Vec::new();
        let mut shown = 0;
        for d in differences {
            let Area::Frame { iface, number } = &d.area else { continue };
            let mut micros = None;
            for (who, outcome) in [("kernel", want), ("program", got)] {
                let frame = outcome.frames.get(iface).unwrap_or(&none).get(*number);
                let _ =
                    writeln!(out, "  {iface} frame {}, {who}: {}", number + 1, shown_frame(frame.map(|f| &f.data[..])));
                // Both stamp a frame with the time of the input that caused it; the earlier one is at fault.
                micros = micros.into_iter().chain(frame.map(|f| f.micros)).min();
            }
            let cause = micros.and_then(|m| arrivals.iter().position(|a| a.micros == m).map(|n| (n, &arrivals[n])));
            if let Some((n, cause)) = cause {
                let _ =
                    writeln!(out, "  caused by input {} on {}: {}", n + 1, cause.iface, shown_frame(Some(&cause.data)));
                if let Ok(trace) = &traces {
                    let part = part_for(trace, n);
                    let _ = writeln!(out, "  trace of that input\n{}", indented(&part, TRACE_LINES));
                    shown += 1;
                }
            }
        }
        match &traces {
            Ok(trace) if shown == 0 => {
                let _ = writeln!(out, "  trace\n{}", indented(trace, TRACE_LINES));
            }
            Err(e) => {
                let _ = writeln!(out, "  no trace: {e}");
            }
            Ok(_) => {}
        }
        out
    }
}

/// A directory that is gone when dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Result<Self, String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hairpin-oracle-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load_volatile(path: &Path) -> Result<Volatile, String> {
    if !path.exists() {
        return Ok(Volatile::default());
    }
    let raw = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&raw).map_err(|e| format!("{}: {e}", path.display()))
}

fn shown_frame(data: Option<&[u8]>) -> String {
    match data {
        None => "nothing".into(),
        Some(data) => format!("{}\n{}", Frame::new(data).text(), indented(&hex(data, HEX_ROWS), usize::MAX).trim_end()),
    }
}

fn indented(text: &str, limit: usize) -> String {
    let mut out: Vec<String> = text.lines().take(limit).map(|l| format!("    {l}")).collect();
    let left = text.lines().count().saturating_sub(limit);
    if left > 0 {
        out.push(format!("    ... ({left} more lines)"));
    }
    out.join("\n")
}

/// The part of a trace that belongs to input number `n` (from 0): the heading `#NUMBER ...`, which counts from 1, and the
/// indented lines below it. All of the trace when there is no such heading.
fn part_for(trace: &str, n: usize) -> String {
    let heading = format!("#{} ", n + 1);
    let mut rest = trace.lines().skip_while(|l| !l.starts_with(&heading));
    let Some(first) = rest.next() else { return trace.to_string() };
    let below = rest.take_while(|l| l.starts_with(char::is_whitespace));
    std::iter::once(first).chain(below).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_one_input() {
        let trace = "#1 at 5.0 on eth0\n  a\n  b\n#2 at 6.0 on eth0\n  c\n#10 at 7\n3 frames\n";
        assert_eq!(part_for(trace, 0), "#1 at 5.0 on eth0\n  a\n  b");
        assert_eq!(part_for(trace, 1), "#2 at 6.0 on eth0\n  c");
        assert_eq!(part_for(trace, 9), "#10 at 7");
        assert_eq!(part_for(trace, 2), trace);
    }

    #[test]
    fn a_program_that_cannot_run_or_fails_is_a_difference() {
        let dir = Scratch::new().unwrap();
        let verdict = Program::given("/nowhere/at/all replay").unwrap().hold(&dir.0);
        assert_eq!(verdict.differences[0].area, Area::Program, "no scenario there");
        fs::write(dir.0.join("host.toml"), "[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:00:01\"\n").unwrap();
        fs::write(dir.0.join("rules.v4"), "").unwrap();
        let said = |program: &str| Program::given(program).unwrap().hold(&dir.0).differences[0].what.clone();
        assert!(said("true").contains("record it first"));
        let outcome = Outcome { frames: [("eth0".to_string(), vec![])].into(), ..Outcome::default() };
        outcome.save(&dir.0.join("expected")).unwrap();
        assert!(said("/nowhere/at/all").contains("cannot run"));
        assert!(said("false").contains("exit status"));
        assert!(said("true").contains("wrote no eth0.pcap"));
    }
}
