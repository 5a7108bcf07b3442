//! `hairpin sysctl`: settings by Linux's names, read and written as sysctl(8) of procps 4.0.2 does it.

use crate::Outcome;
use hairpin_engine::sysctl::{Sysctl, SysctlError};
use std::fmt::Write as _;

/// What sysctl is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    all: bool,
    values_only: bool,
    names_only: bool,
    no_newline: bool,
    ignore_unknown: bool,
    quiet: bool,
    write: bool,
    dry: bool,
    /// The file to load; empty for standard input.
    pub file: Option<String>,
    names: Vec<String>,
}

/// The program's help.
pub const USAGE: &str = "
Usage:
 sysctl [options] [variable[=value] ...]

Options:
  -a, -A, -X, --all    all settings that have an effect here, and those that were set
      --dry-run        print keys and values, write nothing
  -b, --binary         values without a new line
  -e, --ignore         no errors about unknown settings
  -N, --names          names without values
  -n, --values         values without names
  -p, -f, --load[=FILE]
                       settings from FILE, - for standard input (/etc/sysctl.conf)
  -q, --quiet          do not print what was set
  -w, --write          every word must set something
  -o, -x               nothing
  -h, -d, --help       this
  -V, --version        the version

";

/// Reads the words.
///
/// # Errors
/// What to print instead of doing anything.
pub fn parse(words: &[String]) -> Result<Asked, Outcome> {
    let mut asked = Asked::default();
    let mut words = words.iter();
    let mut only_names = false;
    while let Some(word) = words.next() {
        let options = match word.strip_prefix("--") {
            Some("") if !only_names => {
                only_names = true;
                continue;
            }
            _ if only_names => {
                asked.names.push(word.clone());
                continue;
            }
            Some(long) => {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                match name {
                    "all" | "deprecated" => "a",
                    "binary" => "b",
                    "ignore" => "e",
                    "names" => "N",
                    "values" => "n",
                    "quiet" => "q",
                    "write" => "w",
                    "help" => "h",
                    "version" => "V",
                    "dry-run" => {
                        asked.dry = true;
                        continue;
                    }
                    "load" => {
                        asked.file = Some(file_of(value));
                        continue;
                    }
                    "system" | "pattern" => return Err(not_here(word)),
                    _ => return Err(unknown(&format!("unrecognized option '{word}'"))),
                }
            }
            None => match word.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => letters,
                _ => {
                    asked.names.push(word.clone());
                    continue;
                }
            },
        };
        for (at, letter) in options.char_indices() {
            match letter {
                'a' | 'A' | 'X' => asked.all = true,
                'b' => {
                    asked.values_only = true;
                    asked.no_newline = true;
                }
                'e' => asked.ignore_unknown = true,
                'N' => asked.names_only = true,
                'n' => asked.values_only = true,
                'q' => asked.quiet = true,
                'w' => asked.write = true,
                'o' | 'x' => {}
                'p' | 'f' => {
                    // The file may stand behind the letter or be the next word.
                    let rest = &options[at + 1..];
                    let next = || words.clone().next().filter(|next| !next.starts_with('-') || *next == "-").cloned();
                    asked.file = Some(match rest {
                        "" => match next() {
                            Some(file) => {
                                words.next();
                                file_of(Some(&file))
                            }
                            None => file_of(None),
                        },
                        file => file_of(Some(file)),
                    });
                    break;
                }
                'h' | 'd' => return Err(Outcome::done(USAGE)),
                'V' => return Err(Outcome::done("sysctl from procps-ng 4.0.2\n")),
                'r' => return Err(not_here("-r")),
                other => return Err(unknown(&format!("invalid option -- '{other}'"))),
            }
        }
    }
    if asked.names.is_empty() && !asked.all && asked.file.is_none() {
        let text = "sysctl: no variables specified\nTry `sysctl --help' for more information.\n";
        return Err(Outcome::failed(1, text));
    }
    Ok(asked)
}

fn file_of(value: Option<&str>) -> String {
    match value {
        Some("-") => String::new(),
        value => value.unwrap_or("/etc/sysctl.conf").to_owned(),
    }
}

fn unknown(what: &str) -> Outcome {
    let mut outcome = Outcome::done(USAGE);
    outcome.stderr = format!("sysctl: {what}\n").into_bytes();
    outcome
}

fn not_here(option: &str) -> Outcome {
    Outcome::failed(1, format!("sysctl: {option} is not there: name the settings, or a file with -p\n"))
}

/// What came of it.
#[derive(Debug)]
pub struct Did {
    /// What to print.
    pub outcome: Outcome,
    /// The settings after it.
    pub sysctl: Sysctl,
    /// Names and values that were set, in order.
    pub set: Vec<(String, String)>,
}

/// Does what is asked to a copy of these settings. `loaded` is the content of the file that [`Asked::file`] names; `connections` is what
/// `nf_conntrack_count` says.
pub fn run(asked: &Asked, loaded: &str, sysctl: &Sysctl, connections: usize) -> Did {
    let mut work =
        Work { asked, connections, did: Did { outcome: Outcome::default(), sysctl: sysctl.clone(), set: Vec::new() } };
    if asked.all {
        for name in work.did.sysctl.names() {
            work.show(&name);
        }
        return work.did;
    }
    if let Some(file) = &asked.file {
        work.load(if file.is_empty() { "-" } else { file }, loaded);
    }
    for word in &asked.names {
        match word.split_once('=') {
            Some((name, value)) => work.set(name.trim(), value.trim(), false),
            None if asked.write => {
                work.complain("command line(0): invalid syntax, continuing...");
                work.did.outcome.code = 1;
            }
            None => work.read(word),
        }
    }
    work.did
}

struct Work<'a> {
    asked: &'a Asked,
    connections: usize,
    did: Did,
}

impl Work<'_> {
    fn complain(&mut self, text: &str) {
        self.did.outcome.stderr.extend(format!("sysctl: {text}\n").into_bytes());
    }

    fn print(&mut self, name: &str, value: &str) {
        let end = if self.asked.no_newline { "" } else { "\n" };
        let mut text = String::new();
        let _ = if self.asked.names_only {
            write!(text, "{name}{end}")
        } else if self.asked.values_only {
            write!(text, "{value}{end}")
        } else {
            write!(text, "{name} = {value}{end}")
        };
        self.did.outcome.stdout.extend(text.into_bytes());
    }

    fn read(&mut self, name: &str) {
        let below: Vec<String> = self.did.sysctl.names().into_iter().filter(|known| is_below(known, name)).collect();
        if below.is_empty() {
            self.show(name);
        }
        for name in below {
            self.show(&name);
        }
    }

    fn show(&mut self, name: &str) {
        let shown = self.did.sysctl.shown(name);
        let value = if shown == COUNT { Ok(Some(self.connections.to_string())) } else { self.did.sysctl.text(name) };
        match value {
            Ok(Some(value)) => self.print(&shown, &value),
            Ok(None) => {
                self.complain(&format!("reading key \"{shown}\": it has no effect here and was not set"));
                self.did.outcome.code = 1;
            }
            Err(_) => self.no_such(name),
        }
    }

    fn no_such(&mut self, name: &str) {
        if !self.asked.ignore_unknown {
            self.complain(&format!("cannot stat {}: No such file or directory", path_of(name)));
            self.did.outcome.code = 1;
        }
    }

    fn set(&mut self, name: &str, value: &str, may_fail: bool) {
        let code = self.did.outcome.code;
        let shown = self.did.sysctl.shown(name);
        let number = value.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let decimal = number.map_or_else(|| value.to_owned(), |number| number.to_string());
        let mut changed = self.did.sysctl.clone();
        match changed.set_text(name, &decimal) {
            Ok(()) => {
                if !self.asked.dry {
                    self.did.sysctl = changed;
                    self.did.set.push((name.to_owned(), decimal));
                }
                if !self.asked.quiet {
                    self.print(&shown, value);
                }
            }
            Err(SysctlError::UnknownName { .. } | SysctlError::UnknownDevice { .. }) => self.no_such(name),
            // As the original has it: a complaint, and success.
            Err(SysctlError::ReadOnly { .. }) => self.complain(&format!("setting key \"{shown}\": Invalid argument")),
            Err(SysctlError::BadValue { .. }) => {
                self.complain(&format!("setting key \"{shown}\": Invalid argument"));
                self.did.outcome.code = 1;
            }
        }
        if may_fail {
            self.did.outcome.code = code;
        }
    }

    fn load(&mut self, file: &str, text: &str) {
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            // A dash in front: it may fail.
            let (line, may_fail) = line.strip_prefix('-').map_or((line, false), |rest| (rest, true));
            match line.split_once('=') {
                Some((name, value)) => self.set(name.trim(), value.trim(), may_fail),
                None => {
                    self.complain(&format!("{file}({}): invalid syntax, continuing...", n + 1));
                    self.did.outcome.code = 1;
                }
            }
        }
    }
}

const COUNT: &str = "net.netfilter.nf_conntrack_count";

/// Whether a setting is one of those that a directory, or a pattern with `*`, stands for.
fn is_below(known: &str, asked: &str) -> bool {
    let (known, asked) = (path_of(known), path_of(asked));
    let mut known = known.split('/');
    for part in asked.trim_end_matches('/').split('/') {
        if !known.next().is_some_and(|known| fits(known, part)) {
            return false;
        }
    }
    asked.contains('*') || known.next().is_some()
}

fn fits(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(&rest[at..], tail))
        }),
    }
}

/// The file that a name stands for: the first of `.` and `/` in it parts its words, and the other one stands for the dot in a device.
fn path_of(name: &str) -> String {
    let swapped: String = match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    format!("/proc/sys/{swapped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What procps 4.0.2 printed in a network namespace, and its exit code, with `none` for a device that is there.
    #[test]
    fn words_texts_and_codes_of_the_original() {
        let mut sysctl = Sysctl::default();
        sysctl.add_device("lo");
        sysctl.add_device("eth0.10");
        let said = |words: &str| {
            let words: Vec<String> = words.split(' ').filter(|w| !w.is_empty()).map(|w| w.replace('~', " ")).collect();
            let outcome = match parse(&words) {
                Ok(asked) => run(&asked, "", &sysctl, 7).outcome,
                Err(outcome) => outcome,
            };
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (outcome.code, text(outcome.stdout), text(outcome.stderr))
        };
        let nope = "sysctl: cannot stat /proc/sys/net/ipv4/nope: No such file or directory\n";
        for (words, code, out, err) in [
            ("net.ipv4.ip_forward", 0, "net.ipv4.ip_forward = 0\n", ""),
            ("net/ipv4/ip_forward", 0, "net.ipv4.ip_forward = 0\n", ""),
            ("-n net.ipv4.ip_forward", 0, "0\n", ""),
            ("-N net.ipv4.ip_forward", 0, "net.ipv4.ip_forward\n", ""),
            ("-b net.ipv4.ip_forward net.ipv4.ip_forward", 0, "00", ""),
            ("net.ipv4.nope", 1, "", nope),
            ("-e net.ipv4.nope net.ipv4.ip_forward", 0, "net.ipv4.ip_forward = 0\n", ""),
            ("-w net.ipv4.ip_forward=1", 0, "net.ipv4.ip_forward = 1\n", ""),
            ("net.ipv4.ip_forward~=~1", 0, "net.ipv4.ip_forward = 1\n", ""),
            ("-w net.ipv4.ip_forward=0x1", 0, "net.ipv4.ip_forward = 0x1\n", ""),
            ("-n -w net.ipv4.ip_forward=1", 0, "1\n", ""),
            ("-q -w net.ipv4.ip_forward=1", 0, "", ""),
            ("-w net.ipv4.nope=1", 1, "", nope),
            ("-e -w net.ipv4.nope=1", 0, "", ""),
            ("-w net.ipv4.ip_forward=x", 1, "", "sysctl: setting key \"net.ipv4.ip_forward\": Invalid argument\n"),
            ("-w net.ipv4.ip_forward=", 1, "", "sysctl: setting key \"net.ipv4.ip_forward\": Invalid argument\n"),
            ("-w net.ipv4.ip_forward", 1, "", "sysctl: command line(0): invalid syntax, continuing...\n"),
            (
                "-w net.netfilter.nf_conntrack_count=5",
                0,
                "",
                "sysctl: setting key \"net.netfilter.nf_conntrack_count\": Invalid argument\n",
            ),
            ("net.netfilter.nf_conntrack_count", 0, "net.netfilter.nf_conntrack_count = 7\n", ""),
            ("net.ipv4.conf.eth0/10.rp_filter", 0, "net.ipv4.conf.eth0/10.rp_filter = 0\n", ""),
            ("net/ipv4/conf/eth0.10/rp_filter", 0, "net.ipv4.conf.eth0/10.rp_filter = 0\n", ""),
            (
                "net.ipv4.conf.none.rp_filter",
                1,
                "",
                "sysctl: cannot stat /proc/sys/net/ipv4/conf/none/rp_filter: No such file or directory\n",
            ),
            ("net.ipv4.conf.l*.rp_filter", 0, "net.ipv4.conf.lo.rp_filter = 0\n", ""),
            ("-w net.ipv6.icmp.ratemask=0-1,3-127", 0, "net.ipv6.icmp.ratemask = 0-1,3-127\n", ""),
            ("net.ipv6.icmp.ratemask", 0, "net.ipv6.icmp.ratemask = 0-1,3-127\n", ""),
            ("-V", 0, "sysctl from procps-ng 4.0.2\n", ""),
            ("", 1, "", "sysctl: no variables specified\nTry `sysctl --help' for more information.\n"),
            ("-n", 1, "", "sysctl: no variables specified\nTry `sysctl --help' for more information.\n"),
            ("--frob", 0, USAGE, "sysctl: unrecognized option '--frob'\n"),
            ("-Z", 0, USAGE, "sysctl: invalid option -- 'Z'\n"),
        ] {
            assert_eq!(said(words), (code, out.to_owned(), err.to_owned()), "{words}");
        }
        let (code, all, _) = said("-a");
        assert_eq!(code, 0);
        assert!(all.lines().is_sorted(), "{all}");
        assert!(all.lines().any(|line| line == "net.ipv4.conf.eth0/10.rp_filter = 0") && all.lines().count() > 250);
        assert_eq!(said("net.ipv4.conf.lo").1.lines().count(), 33);
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = "# c\n; d\nnet.ipv4.ip_forward = 1\n-net.ipv4.nope=2\n net/ipv4/conf/all/rp_filter=1\nbad line\nnet.ipv4.nope=3\n";
        let asked = parse(&["-p".to_owned(), "/tmp/s".to_owned()]).unwrap();
        assert_eq!(asked.file.as_deref(), Some("/tmp/s"));
        let did = run(&asked, text, &Sysctl::default(), 0);
        assert_eq!(
            String::from_utf8(did.outcome.stdout).unwrap(),
            "net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.rp_filter = 1\n"
        );
        let nope = "sysctl: cannot stat /proc/sys/net/ipv4/nope: No such file or directory\n";
        let err = format!("{nope}sysctl: /tmp/s(6): invalid syntax, continuing...\n{nope}");
        assert_eq!(String::from_utf8(did.outcome.stderr).unwrap(), err);
        assert_eq!((did.outcome.code, did.set.len()), (1, 2));
        assert_eq!(did.sysctl.get("net.ipv4.ip_forward"), Ok(1));
    }
}
