//! Random `ipset` commands given to hairpin and to the real ipset on the running kernel: the same exit codes, words, sets and
//! headers.

use super::generate::Dice;
use super::reference::{Reference, in_own_namespaces};
use hairpin_commands::{Call, Program, run as run_command};
use hairpin_control::state_file::StateFile;
use hairpin_ruleset::names::SystemNames;
use std::path::PathBuf;

/// What to try.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) count: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { seed: 1, count: 2000 }
    }
}

/// Commands between two comparisons of all sets.
const SESSION: usize = 40;
/// How many differences are printed in full.
const SHOWN: usize = 40;
const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// True when there is no difference.
pub(super) fn run(tree: PathBuf, options: &Options) -> Result<bool, String> {
    if !tree.join("usr/sbin/ipset").exists() {
        return Err(format!("{} has no ipset (apt-get install ipset in it)", tree.display()));
    }
    if let Some(done) = in_own_namespaces(&tree) {
        return done;
    }
    let reference = Reference::new(tree);
    let names = SystemNames::new()
        .with_services(&reference.read("etc/services"))
        .with_protocols(&reference.read("etc/protocols"));
    let state = super::diff::state_path("sets");
    let mut pair = Pair { reference, names, state, differences: Vec::new(), log: Vec::new() };
    let kinds = pair.kinds()?;
    println!("this kernel has {} of {} types", kinds.len(), KINDS.len());
    let mut dice = Dice::new(options.seed);
    let (mut tried, mut done) = (0, 0);
    while tried < options.count {
        pair.fresh()?;
        let mut made: Vec<(String, &Kind)> = Vec::new();
        for _ in 0..SESSION.min(options.count - tried) {
            tried += 1;
            let line = command(&mut dice, &kinds, &mut made);
            done += usize::from(pair.both(&line)?);
        }
        pair.compare_all()?;
    }
    let _ = std::fs::remove_file(&pair.state);
    let count = pair.differences.len();
    println!("seed {}: {tried} commands tried, {done} accepted by both, {count} differences", options.seed);
    for text in pair.differences.iter().take(SHOWN) {
        println!("{text}");
    }
    Ok(pair.differences.is_empty())
}

/// The real program and ours.
struct Pair {
    reference: Reference,
    names: SystemNames,
    state: PathBuf,
    differences: Vec<String>,
    /// The commands of this session.
    log: Vec<String>,
}

/// What a command said.
#[derive(PartialEq, Eq)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Pair {
    fn real(&self, line: &str) -> Result<Said, String> {
        let words = hairpin_ruleset::ipset::split_line(line);
        let output = self.reference.run("ipset", &words, "")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    fn ours(&self, line: &str) -> Said {
        let words = hairpin_ruleset::ipset::split_line(line);
        let call = Call { program: Program::Ipset, name: "ipset", words: &words, input: b"", date: "", hints: false };
        let outcome = run_command(&call, &mut StateFile::new(&self.state, &self.names));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: i32::from(outcome.code), stdout: text(&outcome.stdout), stderr: text(&outcome.stderr) }
    }

    /// The types that this kernel has.
    fn kinds(&mut self) -> Result<Vec<&'static Kind>, String> {
        self.fresh()?;
        let mut kinds = Vec::new();
        for kind in KINDS {
            let said = self.real(&format!("create probe {} {}", kind.name, kind.needs))?;
            if said.code == 0 {
                kinds.push(kind);
            }
            self.fresh()?;
        }
        Ok(kinds)
    }

    fn fresh(&mut self) -> Result<(), String> {
        self.log.clear();
        let _ = std::fs::remove_file(&self.state);
        // Lists let go of their sets only when they are emptied.
        self.real("flush")?;
        match self.real("destroy")? {
            Said { code: 0, .. } => Ok(()),
            Said { stderr, .. } => Err(format!("ipset destroy: {stderr}")),
        }
    }

    /// Gives a command to both; whether both accept it.
    fn both(&mut self, line: &str) -> Result<bool, String> {
        let (real, ours) = (self.real(line)?, self.ours(line));
        self.log.push(line.to_owned());
        if real != ours {
            self.differ(&format!(
                "real: {} {:?} {:?}\n  ours: {} {:?} {:?}",
                real.code, real.stdout, real.stderr, ours.code, ours.stdout, ours.stderr
            ));
        }
        Ok(real.code == 0 && ours.code == 0)
    }

    fn compare_all(&mut self) -> Result<(), String> {
        for line in
            ["save -sorted", "list -terse", "list -name", "list -sorted -output xml", "list -terse -output json"]
        {
            let (real, ours) = (without_chance(&self.real(line)?.stdout), without_chance(&self.ours(line).stdout));
            if real != ours {
                let only = |a: &str, b: &str| -> String {
                    let lines = a.lines().filter(|l| !b.lines().any(|m| m == *l)).take(6);
                    lines.map(|l| format!("\n      {l}")).collect()
                };
                let (a, b) = (only(&real, &ours), only(&ours, &real));
                // Of networks like 2001:db8::/32 the real order is another each time: its comparison is no order.
                if a.is_empty() && b.is_empty() && real.contains("::/") {
                    continue;
                }
                let order =
                    if a.is_empty() && b.is_empty() { first_in_other_place(&real, &ours) } else { String::new() };
                self.differ(&format!("{line}: real only:{a}\n    ours only:{b}{order}"));
            }
        }
        Ok(())
    }

    fn differ(&mut self, what: &str) {
        // What led to it: the commands on the set of the last one.
        let set = self.log.last().and_then(|l| l.split(' ').nth(1)).unwrap_or_default().to_owned();
        let before = self.log.iter().filter(|l| l.split(' ').any(|w| w == set)).map(|l| format!("\n    {l}"));
        let text = format!("difference after{}\n  {what}", before.collect::<String>());
        self.differences.push(text);
    }
}

fn first_in_other_place(real: &str, ours: &str) -> String {
    let other = real.lines().zip(ours.lines()).find(|(a, b)| a != b);
    other.map_or_else(String::new, |(a, b)| format!("\n    order: real {a:?}, ours {b:?}"))
}

/// Without secrets, memory and the exact seconds left.
fn without_chance(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // The real one prints a prefix length behind a bitmask that an entry listed before left there.
        let mended = line.split_once("255.255.0.255/").map(|(before, after)| {
            format!("{before}255.255.0.255{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        });
        let line = mended.as_deref().unwrap_or(line);
        if line.starts_with("Size in memory") || line.contains("memsize") {
            continue;
        }
        let mut last = String::new();
        let words = line.split_inclusive([' ', '<', '>', ',']).map(|word| {
            let bare = word.trim_end_matches([' ', '<', '>', ',']);
            let before = std::mem::replace(&mut last, bare.to_owned());
            let is_number = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
            if before == "initval" || bare.starts_with("\"0x") {
                "SECRET ".to_owned()
            } else if is_number && bare != "0" && before.contains("timeout") && !line.contains("hashsize") {
                "SOME ".to_owned()
            } else {
                word.to_owned()
            }
        });
        let line: String = words.collect();
        // JSON has the option and its value apart.
        let line = match line.split_once("\"timeout\" : ") {
            Some((before, _)) => format!("{before}\"timeout\""),
            None => line,
        };
        out += &line;
        out.push('\n');
    }
    out
}

/// A type, what it needs to be made, and how its elements look.
struct Kind {
    name: &'static str,
    needs: &'static str,
    /// Options of `create`, some of which are wrong.
    create: &'static [&'static str],
    parts: &'static [Part],
}

#[derive(Clone, Copy)]
enum Part {
    Ip,
    Ip6,
    Net,
    Net6,
    Port,
    BarePort,
    Mac,
    Mark,
    Iface,
    Set,
}

const HASH: &[&str] = &[
    "hashsize 100",
    "hashsize 5000",
    "maxelem 6",
    "maxelem 3",
    "bucketsize 4",
    "bucketsize 99",
    "family inet",
    "family inet6",
    "-6",
    "netmask 24",
    "netmask 30",
    "netmask 0",
    "bitmask 255.255.0.255",
    "markmask 0xff",
    "size 4",
    "initval 0x12",
    "range 1-2",
];
const BITMAP: &[&str] =
    &["netmask 28", "netmask 30", "netmask 24", "family inet", "hashsize 5", "range 10.0.0.0/28", "netmask 33"];
const LIST: &[&str] = &["size 2", "size 20", "maxelem 4"];
const ANY: &[&str] =
    &["timeout 600", "timeout 0", "counters", "comment", "skbinfo", "timeout x", "timeout 9999999", "nomatch"];

const KINDS: &[Kind] = &[
    Kind { name: "bitmap:ip", needs: "range 10.0.0.0/26", create: BITMAP, parts: &[Part::Ip] },
    Kind { name: "bitmap:ip,mac", needs: "range 10.0.0.0-10.0.0.20", create: BITMAP, parts: &[Part::Ip, Part::Mac] },
    Kind { name: "bitmap:port", needs: "range 20-90", create: BITMAP, parts: &[Part::BarePort] },
    Kind { name: "hash:ip", needs: "", create: HASH, parts: &[Part::Ip] },
    Kind { name: "hash:ip", needs: "family inet6", create: HASH, parts: &[Part::Ip6] },
    Kind { name: "hash:mac", needs: "", create: HASH, parts: &[Part::Mac] },
    Kind { name: "hash:ip,mac", needs: "", create: HASH, parts: &[Part::Ip, Part::Mac] },
    Kind { name: "hash:ip,mark", needs: "", create: HASH, parts: &[Part::Ip, Part::Mark] },
    Kind { name: "hash:ip,port", needs: "", create: HASH, parts: &[Part::Ip, Part::Port] },
    Kind { name: "hash:ip,port", needs: "family inet6", create: HASH, parts: &[Part::Ip6, Part::Port] },
    Kind { name: "hash:ip,port,ip", needs: "", create: HASH, parts: &[Part::Ip, Part::Port, Part::Ip] },
    Kind { name: "hash:ip,port,net", needs: "", create: HASH, parts: &[Part::Ip, Part::Port, Part::Net] },
    Kind { name: "hash:ip,port,net", needs: "family inet6", create: HASH, parts: &[Part::Ip6, Part::Port, Part::Net6] },
    Kind { name: "hash:net", needs: "", create: HASH, parts: &[Part::Net] },
    Kind { name: "hash:net", needs: "family inet6", create: HASH, parts: &[Part::Net6] },
    Kind { name: "hash:net,net", needs: "", create: HASH, parts: &[Part::Net, Part::Net] },
    Kind { name: "hash:net,port", needs: "", create: HASH, parts: &[Part::Net, Part::Port] },
    Kind { name: "hash:net,port", needs: "family inet6", create: HASH, parts: &[Part::Net6, Part::Port] },
    Kind { name: "hash:net,port,net", needs: "", create: HASH, parts: &[Part::Net, Part::Port, Part::Net] },
    Kind { name: "hash:net,iface", needs: "", create: HASH, parts: &[Part::Net, Part::Iface] },
    Kind { name: "list:set", needs: "", create: LIST, parts: &[Part::Set] },
];

/// One command; `made` are the sets that probably exist.
fn command(dice: &mut Dice, kinds: &[&'static Kind], made: &mut Vec<(String, &'static Kind)>) -> String {
    if made.is_empty() || (made.len() < NAMES.len() && dice.percent(20)) {
        let kind = kinds[dice.roll(kinds.len())];
        let name = dice.pick(NAMES).to_owned();
        let mut line = format!("create {name} {} {}", kind.name, kind.needs);
        for _ in 0..dice.roll(4) {
            let list = if dice.percent(70) {
                &ANY[..5]
            } else if dice.percent(70) {
                kind.create
            } else {
                ANY
            };
            line += &format!(" {}", dice.pick(list));
        }
        if dice.percent(10) {
            line += " -exist";
        }
        if !made.iter().any(|(n, _)| *n == name) {
            made.push((name, kind));
        }
        return line;
    }
    let (name, kind) = made[dice.roll(made.len())].clone();
    let kind = if dice.percent(3) { kinds[dice.roll(kinds.len())] } else { kind };
    let mut line = match dice.roll(100) {
        0..50 => format!("add {name} {}{}", element(dice, kind), carried(dice, kind)),
        50..68 => format!("del {name} {}{}", element(dice, kind), neighbour(dice, kind)),
        68..86 => {
            let nomatch = if dice.percent(10) { " nomatch" } else { "" };
            format!("test {name} {}{nomatch}{}", element(dice, kind), neighbour(dice, kind))
        }
        86..88 => format!("flush {name}"),
        88..90 => {
            made.retain(|(n, _)| *n != name);
            format!("destroy {name}")
        }
        90..94 => format!("swap {name} {}", dice.pick(NAMES)),
        94..96 => format!("rename {name} {}", dice.pick(NAMES)),
        96..98 => format!("list -name {}", dice.pick(NAMES)),
        _ => format!("test {} {}", dice.pick(NAMES), element(dice, kind)),
    };
    if dice.percent(12) {
        line += " -exist";
    }
    if dice.percent(3) {
        line += " -quiet";
    }
    line
}

fn element(dice: &mut Dice, kind: &Kind) -> String {
    let mut parts: Vec<String> = kind.parts.iter().map(|part| part_text(dice, *part)).collect();
    if dice.percent(2) {
        parts.push("9".to_owned());
    }
    if dice.percent(2) {
        parts.pop();
    }
    parts.join(",")
}

fn part_text(dice: &mut Dice, part: Part) -> String {
    const PROTOS: &[&str] = &["tcp:", "udp:", "", "sctp:", "udplite:", "17:", "TCP:"];
    const ODD_PORTS: &[&str] = &[
        "icmp:echo-request",
        "icmp:8/0",
        "icmp:9",
        "gre:0",
        "gre:5",
        "200:0",
        "0:0",
        "foo:1",
        "icmpv6:128/0",
        "icmpv6:ping",
        "esp:0",
        "x",
        "70000",
        "http",
        "tcp:domain",
        "udp:ntp",
    ];
    let ip = |dice: &mut Dice| format!("10.0.{}.{}", [0, 0, 0, 1][dice.roll(4)], dice.roll(24));
    let ip6 = |dice: &mut Dice| format!("2001:db8:{:x}::{:x}", dice.roll(2), dice.roll(20));
    match part {
        Part::Ip => match dice.roll(20) {
            0 => format!("{}-{}", ip(dice), ip(dice)),
            1 | 2 => format!("{}/{}", ip(dice), dice.pick(&["30", "29", "32", "28", "31"])),
            3 => dice
                .pick(&["0.0.0.0", "10", "10.0.0", "10.0.0.1/0", "10.0.0.1/33", "fe80::1", "10.0.0.1-", "zz z"])
                .to_owned(),
            _ => ip(dice),
        },
        Part::Net => match dice.roll(20) {
            0 | 1 => format!("{}-{}", ip(dice), ip(dice)),
            2 => dice.pick(&["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/33", "10.0.0.0-10.0.0.255", "::/0"]).to_owned(),
            3..14 => format!("{}/{}", ip(dice), [8, 16, 24, 28, 29, 30, 31, 32][dice.roll(8)]),
            _ => ip(dice),
        },
        Part::Ip6 => match dice.roll(20) {
            0 => dice.pick(&["::", "2001:db8::1-2001:db8::3", "2001:db8::/64", "10.0.0.1"]).to_owned(),
            1 => format!("{}/128", ip6(dice)),
            _ => ip6(dice),
        },
        Part::Net6 => match dice.roll(20) {
            0 => dice.pick(&["::/0", "2001:db8::1-2001:db8::3", "2001:db8::/129", "10.0.0.0/8"]).to_owned(),
            1..12 => format!("{}/{}", ip6(dice), [16, 32, 48, 64, 124, 127, 128][dice.roll(7)]),
            _ => ip6(dice),
        },
        Part::Port | Part::BarePort => match dice.roll(20) {
            0 | 1 if matches!(part, Part::Port) => dice.pick(ODD_PORTS).to_owned(),
            2 | 3 => {
                let from = 20 + dice.roll(70);
                format!("{}{from}-{}", dice.pick(&PROTOS[..3]), from + dice.roll(6))
            }
            4 => format!("{}{}-{}", dice.pick(&PROTOS[..2]), 30, 25),
            5 if matches!(part, Part::BarePort) => dice.pick(&["5", "100", "http", "ssh-http"]).to_owned(),
            _ if matches!(part, Part::BarePort) => (20 + dice.roll(70)).to_string(),
            _ => format!("{}{}", dice.pick(PROTOS), 20 + dice.roll(10)),
        },
        Part::Mac => match dice.roll(12) {
            0 => dice.pick(&["0:0:0:0:0:0", "1:2:3", "zz:1:2:3:4:5", "00:11:22:33:44:555"]).to_owned(),
            _ => format!("2:0:0:0:0:{:x}", dice.roll(6)),
        },
        Part::Mark => format!("0x{:x}", dice.roll(300)),
        Part::Iface => {
            let prefix = if dice.percent(15) { "physdev:" } else { "" };
            format!("{prefix}{}", dice.pick(&["eth0", "eth1", "eth10", "lo", "e", "averyveryverylongname"]))
        }
        Part::Set => dice.pick(&["a", "b", "c", "d", "e", "nosuch"]).to_owned(),
    }
}

fn carried(dice: &mut Dice, kind: &Kind) -> String {
    const EXT: &[&str] = &[
        "timeout 500",
        "timeout 0",
        "packets 5",
        "bytes 70",
        "comment hello",
        "comment \"two words\"",
        "skbmark 0x1/0xff",
        "skbmark 0x10",
        "skbprio 1:a",
        "skbqueue 3",
        "skbmark 5",
        "skbprio 1",
        "skbqueue 70000",
        "timeout -1",
        "foo",
    ];
    let mut text = neighbour(dice, kind);
    for _ in 0..[0, 0, 0, 1, 1, 2][dice.roll(6)] {
        let known = if dice.percent(80) { 10 } else { EXT.len() };
        text += &format!(" {}", dice.pick(&EXT[..known]));
    }
    if dice.percent(15) {
        text += " nomatch";
    }
    if matches!(kind.parts.last(), Some(Part::Iface)) && dice.percent(10) {
        text += " wildcard";
    }
    text
}

fn neighbour(dice: &mut Dice, kind: &Kind) -> String {
    if matches!(kind.parts, [Part::Set]) && dice.percent(25) {
        return format!(" {} {}", dice.pick(&["before", "after"]), dice.pick(NAMES));
    }
    String::new()
}
