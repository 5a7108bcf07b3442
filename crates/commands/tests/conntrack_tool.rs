//! `conntrack` beside the real one: the same command lines, one after the other, on an empty table each: what is printed, and the
//! exit code, must be the same. Needs root and conntrack-tools; it works in a network namespace of its own.

use hairpin_commands::conntrack::table::{Connections, EngineConnections};
use hairpin_commands::{Call, Failure, Outcome, Program, State, run};
use hairpin_engine::rule::{Ruleset, Table};
use hairpin_engine::{Engine, Now, Setup};
use hairpin_wire::Family;
use hairpin_xt::option::{Names, NoNames};
use std::process::Command;

/// Command lines that fill the table, list it in all forms, search, change and remove, and ones that are wrong.
const LINES: &str = "
-L
-I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED -t 1000 -u ASSURED,SEEN_REPLY -m 5
-I -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1000 --dport 53 -t 3000 -u SEEN_REPLY --src-nat 192.0.2.1
-I -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1001 --dport 53 -t 3000 -u UNSET --dst-nat 192.0.2.5:5353
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 2 -t 5000 -n 10.9.9.9:99 -g 10.8.8.8
-I -p icmp -s 10.0.0.1 -d 10.0.0.3 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 3000
-I -p icmp -s 10.0.0.1 -d 10.0.0.3 --icmp-type 99 --icmp-code 0 -t 3000
-I -p gre -s 10.0.0.1 -d 10.0.0.3 --srckey 0x11 --dstkey 0x22 -t 3000
-I -p sctp -s 10.0.0.1 -d 10.0.0.3 --sport 5 --dport 6 --state ESTABLISHED --orig-vtag 7 --reply-vtag 9 -t 3000
-I -p dccp -s 10.0.0.1 -d 10.0.0.3 --sport 5 --dport 6 --state OPEN --role client -t 3000
-I -p udplite -s 10.0.0.1 -d 10.0.0.3 --sport 5 --dport 6 -t 3000
-I -p 50 -s 10.0.0.1 -d 10.0.0.3 -t 3000
-I -p tcp -s 2001:db8::1 -d 2001:db8::2 --sport 1000 --dport 80 --state SYN_SENT -t 1000 -n 2001:db8::9
-I -p icmpv6 -s 2001:db8::1 -d 2001:db8::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9 -t 5000 -n [2001:db8::9]:5
-I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 81 --state ESTABLISHED -t 1000 -w 7
-I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 82 --state ESTABLISHED -t 1000 --orig-zone 8
-I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 83 --state LISTEN -t 1000 --reply-zone 9
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 3 -t 5000 -r 10.7.7.7 -q 10.1.1.1 --reply-port-src 33 --reply-port-dst 1
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 4 -t 5000 -r 10.7.7.7
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 5 -t 5000 -n
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 6 -t 5000 -u EXPECTED
-I -p udp -s 10.1.1.1 -d 10.1.1.2 --sport 1 --dport 8 -t 5000 -n 10.9.9.9 -w 3
-I -p udp -r 10.1.1.1 -q 10.1.1.2 --reply-port-src 9 --reply-port-dst 10 -t 5000 -u FIXED_TIMEOUT,ASSURED
-I -p udp -s 10.1.1.1 -d 2001:db8::2 --sport 1 --dport 2 -t 50
-I -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1000 --dport 53 -t 3000
-A -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 2000 --dport 53 -t 4000 -m 9
-L
-L -o extended
-L -o save
-L -o xml
-L -o id
-L -o ID,Extended
-L -o ktimestamp
-L -o timestamp
-L -o timestamp,extended
-L -o save,id
-L -o xml,save
-L -o foo
-L conntrack
-L expect
-L expect -o xml
-L expect -p tcp
-L expect -o foo
-L dying
-L unconfirmed
-L nope
-Lexpect
-C
-C expect
-C dying
-C nope
-C -f ipv4
-S expect
-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80
-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 -o id,extended
-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 -o xml
-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 -r 10.0.0.9
-G -p tcp -r 10.0.0.2 -q 10.0.0.1 --reply-port-src 80 --reply-port-dst 1000
-G -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 8099
-G -p tcp -s 10.0.0.1 -d 10.0.0.2
-G -p tcp
-G
-G expect
-L -s 10.0.0.1
-L -s 10.0.0.0/24
-L -s 10.0.0.77/24
-L -s 0/0
-L -s ::/0
-L --mask-src 255.255.255.0 -s 10.0.0.0
-L --mask-src 255.255.255.0
-L --mask-dst 255.0.0.0
-L -s 10.0.0.1 -d 10.0.0.3 -p udp
-L -d 10.0.0.2 -r 10.0.0.2
-L -q 192.0.2.1
-L -r 192.0.2.5
-L -r 10.0.0.0/8
-L -q 10.0.0.0/8
-L -f ipv4
-L -f ipv6
-L -f ipv5
-L -f ipv6 -s 10.0.0.1
-L -p tcp
-L -p TCP
-L -p 17
-L -p 300
-L -p nope
-L -p all
-L -p tcp --dport 80
-L -p tcp --dport 0x50
-L -p tcp --sport foo
-L -p tcp --reply-port-src 80
-L -p icmp --icmp-type 8
-L -p icmp --icmp-id 77
-L -p gre --srckey 0x11
-L -p gre --dstkey 34
-L --dport 80
-L -p tcp --state ESTABLISHED
-L -p tcp --state foo
-L -p sctp --state ESTABLISHED
-L -p sctp --orig-vtag 7
-L -p udp --tuple-port-src 4
-L -m 5
-L -m 4/4
-L -m 0/4
-L -m 0x5/0xf
-L -u ASSURED
-L -u SEEN_REPLY
-L -u SEEN_REPLY,ASSURED
-L -u FIXED_TIMEOUT
-L -u EXPECTED
-L -u UNSET
-L -u assured
-L -u SRC_NAT
-L -u FOO
-L -n
-L -g
-L -j
-L -n -g
-L -n 192.0.2.1
-L -n192.0.2.1
-L --src-nat=192.0.2.1
-L --src-nat 192.0.2.1
-L -n 10.9.9.9:99
-L -n 10.9.9.9:98
-L -g 192.0.2.5
-L -g 192.0.2.5:5353
-L -j 10.8.8.8
-L -j 10.9.9.9
-L -n 10.9.9.9 -g 10.8.8.8
-L -n 2001:db8::9
-L -n foo
-L -w 7
-L -w 0
-L -w 3 -p udp
-L --orig-zone 8
-L --reply-zone 9
-L -w 7 --orig-zone 7
-L -t 5
-L -e NEW
-L -b 100
-L -z
-L -s foo
-L -s 10.0.0.1/33
-L -s 10.0.0.1/24/3
-L -s 10.0.0.1 -d ::1
-L --src
-L -o
-L -u
-L foo bar
--dump
--dum
--foo
-X
-L -D
-L -h
-V
-h

-F expect
-E -z
-E -e FOO
-E -e NEW,FOO
-R /nonexistent/file
-I
-I -p tcp
-I -p tcp -t 5
-I -p tcp -s 10.0.0.1 -d 10.0.0.2
-I -p tcp -t 5 -r 1.1.1.1 -q 2.2.2.2
-I -p tcp -t 5 -s 1.1.1.1 -d 2.2.2.2 --state SYN_SENT
-I -p udp -t 5 -s 1.1.1.1 -d 2.2.2.2
-I -p udp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1
-I -p icmp -t 5 -s 1.1.1.1 -d 2.2.2.2
-I -p gre -t 5 -s 1.1.1.1 -d 2.2.2.2
-I -p sctp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2
-I -p sctp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 --state CLOSED
-I -p udp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 -z
-I -p udp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 -f ipv4
-I -p udp -t 5 -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2 -j
-U expect
-A expect
-D dying
-D -p tcp -s 10.9.0.1
-D -j
-D -z
-D -p udp -n 192.0.2.1
-D -p tcp --dport 81 -o save
-D -p tcp --dport 82 -o xml
-D -p icmp -o id,extended
-D -m 5
-D -f ipv6
-L -o save
-D
-D
-L
-F
-F -f ipv4
-C
";

/// Those that older versions of the tool do wrong.
const SINCE_1_4_8: &str = "
-I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED -t 1000 -u SEEN_REPLY -m 5
-I -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1000 --dport 53 -t 3000 -u FIXED_TIMEOUT
-A -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1000 --dport 53 -t 4000 -m 9
-U -s 10.0.0.1 -m 9
-U -s 10.0.0.1 -m 9
-U -p tcp -m 0x30/0xff00
-U -p tcp -m 0x1/0x0f
-U -p tcp -u ASSURED
-U -p tcp -u UNSET
-U -p tcp --state CLOSE
-U -p tcp -t 500
-U -p udp -t 500
-U -p tcp --dport 9 -m 4
-U -p tcp -u EXPECTED
-U -w 7
-U -t 5 -z
-U -p tcp -o id -m 77
-L
-D
";

#[test]
fn says_what_the_real_one_says() {
    let Some(version) = real_version() else { return };
    let mut differences = Vec::new();
    compare(LINES, &mut differences);
    if version.as_str() >= "v1.4.8" {
        compare(SINCE_1_4_8, &mut differences);
    } else {
        println!("skipped: conntrack {version} cannot update connections; -U is compared with 1.4.8 and later");
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// The version of the real tool, when there is one that can be asked.
fn real_version() -> Option<String> {
    let mut unshare = Command::new("unshare");
    let output = unshare.args(["-n", "sh", "-c", "conntrack -V && conntrack -C"]).output();
    let text = output.as_ref().ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let mut lines = text.lines();
    if let (Some(version), Some("0")) = (lines.next(), lines.next()) {
        return version.split_whitespace().nth(1).map(str::to_owned);
    }
    let reason = "no root, no network namespaces or no conntrack";
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "cannot compare with the real tool: {reason}");
    println!("skipped: {reason}");
    None
}

fn compare(lines: &str, differences: &mut Vec<String>) {
    let lines: Vec<&str> = lines.trim_start_matches('\n').lines().collect();
    let real = real_answers(&lines);
    assert_eq!(real.len(), lines.len(), "the real tool did not answer everything");
    let mut ours = Ours::new();
    for (line, real) in lines.iter().zip(&real) {
        let outcome = ours.run(line);
        let ours = answer(
            &String::from_utf8_lossy(&outcome.stdout),
            &String::from_utf8_lossy(&outcome.stderr),
            &outcome.code.to_string(),
        );
        if ours != *real {
            let only = |a: &str, b: &str| -> String {
                a.lines()
                    .filter(|line| !b.lines().any(|other| other == *line))
                    .map(|line| format!("{line}\n"))
                    .collect()
            };
            let (theirs, mine) = (only(real, &ours), only(&ours, real));
            differences.push(format!("conntrack {line}\n  the real one's:\n{theirs}  ours:\n{mine}"));
        }
    }
}

/// What the real tool says to these, in a fresh namespace.
fn real_answers(lines: &[&str]) -> Vec<String> {
    // Tracking begins when a rule needs it.
    let mut script = "iptables-legacy -A INPUT -m conntrack --ctstate NEW 2>/dev/null\n".to_owned();
    for line in lines {
        script += &format!("out=$(timeout 5 conntrack {line} 2>/tmp/conntrack.$$)\nrc=$?\n");
        script += "printf '%s\\n\\001%s\\n\\001%s\\n\\002' \"$out\" \"$(cat /tmp/conntrack.$$)\" \"$rc\"\n";
    }
    script += "rm /tmp/conntrack.$$\n";
    let output = Command::new("unshare").args(["-n", "bash", "-c", &script]).output().expect("unshare ran before");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = text.split('\u{2}').filter(|part| !part.trim().is_empty());
    answers
        .map(|part| {
            let mut parts = part.trim_start_matches('\n').split('\u{1}');
            let mut next = || parts.next().unwrap_or_default().to_owned();
            let (out, err, code) = (next(), next(), next());
            answer(&out, &err, code.trim())
        })
        .collect()
}

struct Ours {
    engine: Engine,
    now: Now,
}

impl Ours {
    fn new() -> Ours {
        let now = Now::from_unix_nanos(1_700_000_000_000_000_000);
        let net = hairpin_engine::setup::Setup::default().build().expect("an empty host");
        Ours { engine: Engine::new(Setup::new(net), &now, 1), now }
    }

    fn run(&mut self, line: &str) -> Outcome {
        // A jiffy passes between two commands.
        self.now.mono.0 += 8_000_000;
        self.now.wall.0 += 8_000_000;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let call =
            Call { program: Program::Conntrack, name: "conntrack", words: &words, input: b"", date: "", hints: false };
        if line.starts_with("-R") {
            // Whoever calls opens the file.
            return hairpin_commands::conntrack::no_file("/nonexistent/file");
        }
        let mut state = Acting { conns: EngineConnections { engine: &mut self.engine, now: self.now } };
        run(&call, &mut state)
    }
}

struct Acting<'e> {
    conns: EngineConnections<'e>,
}

impl State for Acting<'_> {
    fn names(&self) -> &dyn Names {
        &NoNames
    }

    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        Ok(Ruleset::new(family))
    }

    fn replace(&mut self, _family: Family, _tables: Vec<Table>) -> Result<(), Failure> {
        Ok(())
    }

    fn connections(&mut self) -> Result<(&dyn Names, &mut dyn Connections), Failure> {
        Ok((&NoNames, &mut self.conns))
    }
}

/// An answer as text, without what may differ: the order of the table, versions, times left and numbers of connections.
fn answer(out: &str, err: &str, code: &str) -> String {
    let mut lines: Vec<String> = out.lines().map(masked).filter(|line| !line.is_empty()).collect();
    // A line for each processor.
    lines.retain(|line| !line.starts_with("cpu=") || line.starts_with("cpu=0 "));
    lines.sort();
    let mut text: String = lines.iter().map(|line| format!("    out: {line}\n")).collect();
    for line in err.lines().filter(|line| !line.is_empty()) {
        text += &format!("    err: {}\n", version_masked(line));
    }
    text + &format!("    code: {code}\n")
}

fn version_masked(line: &str) -> String {
    let line = line.replace("conntrack v1.4.7", "conntrack vX").replace("conntrack v1.4.8", "conntrack vX");
    line.replace("Version 1.4.7", "Version X")
        .replace("Version 1.4.8", "Version X")
        .replace("Source addres ", "Source address ")
}

fn masked(line: &str) -> String {
    let mut line = version_masked(line);
    for tag in ["timeout", "id"] {
        if let Some((head, rest)) = line.split_once(&format!("<{tag}>")) {
            let tail = rest.split_once(&format!("</{tag}>")).map_or("", |(_, tail)| tail);
            line = format!("{head}<{tag}/>{tail}");
        }
    }
    let words: Vec<&str> = line.split(' ').collect();
    let mut out: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    // `tcp      6 999 ESTABLISHED`, perhaps behind `ipv4     2`.
    if let Some(at) = words.iter().position(|word| word.starts_with("src=")) {
        if let Some(time) = (0..at).rev().find(|n| is_number(words[*n])) {
            out[time] = "TIME".to_owned();
        }
        if let Some(last) = words
            .iter()
            .rposition(|word| word.starts_with("id="))
            .filter(|n| *n > at && words[n - 1].starts_with("use="))
        {
            out[last] = "id=N".to_owned();
        }
    }
    if let Some(at) = words.iter().position(|word| *word == "-t") {
        out[at + 1] = "TIME".to_owned();
    }
    // In a listing of one namespace a connection is held by one or two.
    out.join(" ")
}
