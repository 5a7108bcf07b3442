//! What goes wrong under load, and what must come of it.

use super::board::Teller;
use super::large;
use super::stage::{RULES4, Router, Stage, sh, wait_for};
use hairpin_control::protocol::{Request, ask_live};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Outcome = Result<String, String>;
type Fault = (&'static str, fn(&mut Stage) -> Outcome);

const FAULTS: &[Fault] = &[
    ("killed under 8 downloads, started again", killed),
    ("1,000 rule swaps under load", rules_swapped),
    ("100,000 rules swapped under load", large::rules),
    ("a set of 1,000,000 under load", large::set),
    ("link down and up", link_down),
    ("asleep while frames come", asleep),
    ("a flood of connections to a forwarded port", |stage| flooded(stage, "wan", "syn")),
    ("a flood of UDP flows from inside", |stage| flooded(stage, "lan", "udp")),
    ("a flood of fragments", |stage| flooded(stage, "lan", "fragments")),
    ("a flood of malformed packets", |stage| flooded(stage, "wan", "malformed")),
    ("a flood of ARP", |stage| flooded(stage, "wan", "arp")),
    ("a flood of neighbor solicitations", |stage| flooded(stage, "wan", "neighbors")),
    ("a flood of control clients", control_flooded),
    ("a full connection table", table_full),
    ("memory under mixed load", |stage| soak(stage, Duration::from_secs(10))),
    ("another address, by SIGHUP", address_changed),
];

/// Every fault, on a stage where all is well; `only` names those that are wanted.
pub(crate) fn run(stage: &mut Stage, only: Option<&str>, tell: Teller<'_>) {
    for (name, work) in FAULTS.iter().filter(|(name, _)| super::is_wanted(only, name)) {
        if stage.router == Router::Tun && (name.contains("ARP") || name.contains("neighbor")) {
            continue;
        }
        // What is large is large whatever brings the packets.
        if stage.router != Router::Packet && name.contains("00,000") {
            continue;
        }
        let outcome = work(stage).and_then(|text| {
            let who = stage.at("lan", "curl -sf -m 10 --retry 2 http://203.0.113.9/who");
            who.map(|_| text).map_err(|why| format!("afterwards nothing passes: {why}: {}", stage.log()))
        });
        tell.fault(name, outcome);
    }
}

/// Downloads of the big file that take some seconds, each compared byte by byte.
pub(crate) fn downloads(stage: &Stage, count: usize) -> Vec<Child> {
    let url = "http://203.0.113.9/file";
    let command = format!("curl -sf -m 60 --limit-rate 1500k {url} | cmp - {}/www/file", stage.dir.display());
    (0..count).filter_map(|_| start(stage, "lan", &["sh", "-c", &command])).collect()
}

fn start(stage: &Stage, side: &str, words: &[&str]) -> Option<Child> {
    Command::new("ip")
        .args(["netns", "exec", &stage.namespace(side)])
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()
}

pub(crate) fn all_complete(downloads: Vec<Child>) -> Outcome {
    let count = downloads.len();
    let complete = downloads.into_iter().filter_map(|mut d| d.wait().ok()).filter(|status| status.success()).count();
    let text = format!("{complete} of {count} downloads complete");
    if complete == count { Ok(text) } else { Err(text) }
}

fn killed(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 8);
    // Long enough for a snapshot of the connections.
    std::thread::sleep(Duration::from_millis(2500));
    stage.kill_and_start()?;
    all_complete(downloads)
}

const RECEIVER: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
s.bind(('203.0.113.9', 9000))
print('up', flush=True)
seen = set()
while True:
    d = s.recv(100)
    if d == b'end': break
    seen.add(d)
print(len(seen), flush=True)
";

const SENDER: &str = "
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
while not os.path.exists(sys.argv[1]):
    for _ in range(4): s.sendto(b'%d' % n, ('203.0.113.9', 9000)); n += 1
    time.sleep(0.002)
time.sleep(0.5)
for _ in range(3): s.sendto(b'end', ('203.0.113.9', 9000))
print(n)
";

/// Datagrams from inside to outside, for as long as somebody wants them to come; each has a number.
pub(crate) struct Stream {
    stop: PathBuf,
    receiver: Child,
    sender: Child,
}

impl Stream {
    pub(crate) fn start(stage: &Stage) -> Result<Stream, String> {
        let stop = stage.dir.join("stop");
        let _ = std::fs::remove_file(&stop);
        let receiver = start(stage, "wan", &["python3", "-c", RECEIVER]).ok_or("no python3")?;
        let wan = stage.namespace("wan");
        wait_for(Duration::from_secs(10), || {
            sh(&format!("ip netns exec {wan} ss -lunH 'sport = :9000' | grep -q .")).is_ok()
        })?;
        let sender =
            start(stage, "lan", &["python3", "-c", SENDER, &stop.display().to_string()]).ok_or("no python3")?;
        Ok(Stream { stop, receiver, sender })
    }

    /// How many were sent, and how many came.
    pub(crate) fn end(self) -> Result<(u64, u64), String> {
        std::fs::write(&self.stop, "").map_err(|e| e.to_string())?;
        Ok((number_of(self.sender)?, number_of(self.receiver)?))
    }
}

fn rules_swapped(stage: &mut Stage) -> Outcome {
    let stream = Stream::start(stage)?;
    let downloads = downloads(stage, 4);
    // As the commands do it, without a process for each.
    let rules = stage.localize(RULES4);
    let begun = Instant::now();
    let result = (0..1000).try_for_each(|n| {
        let one = format!("-A FORWARD -s 10.0.{}.{} -j DROP\n-A FORWARD -i", n / 250, n % 250);
        restore(stage, &rules.replacen("-A FORWARD -i", &one, 1))
    });
    let took = begun.elapsed();
    let (sent, received) = stream.end()?;
    result?;
    let text = format!("{received} of {sent} datagrams arrived, swaps took {:.1} s", took.as_secs_f64());
    let complete = all_complete(downloads).map_err(|why| format!("{why}; {text}"))?;
    if sent == received { Ok(format!("{text}, {complete}")) } else { Err(format!("{text}, {complete}")) }
}

/// The last word that a child says.
fn number_of(child: Child) -> Result<u64, String> {
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().next_back().and_then(|n| n.parse().ok()).ok_or_else(|| format!("no number: {text:?}"))
}

pub(crate) fn restore(stage: &Stage, rules: &str) -> Result<(), String> {
    let request = Request {
        program: "iptables-restore".to_owned(),
        name: "iptables-restore".to_owned(),
        input: rules.as_bytes().to_vec(),
        ..Request::default()
    };
    let mut said = Vec::new();
    let outcome = ask_live(&stage.socket(), request, |_| {}, &mut |_, bytes| said.extend_from_slice(bytes))?;
    if outcome.code == 0 { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

fn link_down(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 2);
    std::thread::sleep(Duration::from_millis(500));
    stage.at("wan", "ip link set wan1 down")?;
    // The other end of a device that hairpin makes is no link of its own.
    let is_seen = !stage.router.makes_devices();
    let said = |stage: &Stage, what: &str| {
        wait_for(Duration::from_secs(10), || !is_seen || stage.log().contains(what))
            .map_err(|why| format!("no word of `{what}' {why}"))
    };
    said(stage, "wan0 is down")?;
    stage.ends()?;
    said(stage, "wan0 is up")?;
    // What was masqueraded is forgotten with the link, as on Linux; what is new goes on.
    for mut download in downloads {
        let _ = download.kill();
        let _ = download.wait();
    }
    let who = stage.at("lan", "curl -sf -m 10 --retry 3 --retry-connrefused http://203.0.113.9/who")?;
    let again = stage.at("lan", "curl -sf -m 10 --retry 3 --retry-connrefused http://[2001:db8:9::9]/who")?;
    Ok(format!("{}, {}", who.trim(), again.trim()))
}

fn reload(stage: &Stage) -> Result<(), String> {
    let before = stage.log().matches("in force anew").count();
    stage.write_host()?;
    sh(&format!("kill -HUP {}", stage.pid()))?;
    wait_for(Duration::from_secs(10), || stage.log().matches("in force anew").count() > before)
        .map_err(|why| format!("the file is not in force {why}: {}", stage.log()))
}

fn address_changed(stage: &mut Stage) -> Outcome {
    stage.command("conntrack -F")?;
    stage.at("lan", "curl -sf -m 5 http://203.0.113.9/who")?;
    stage.host.public = "203.0.113.2";
    reload(stage)?;
    let who = stage.at("lan", "curl -sf -m 5 http://203.0.113.9/who")?;
    let kept = stage.command("conntrack -L 2>/dev/null").unwrap_or_default();
    match who.trim() {
        "203.0.113.9 sees 203.0.113.2" if !kept.contains("dst=203.0.113.1 ") => Ok(who.trim().to_owned()),
        "203.0.113.9 sees 203.0.113.2" => Err("connections of the old address were kept".to_owned()),
        other => Err(other.to_owned()),
    }
}

/// How many connections there may be in the faults with more than that.
const FEW: u32 = 4096;

fn count(stage: &Stage) -> Result<u32, String> {
    stage.command("conntrack -C")?.trim().parse().map_err(|_| "no count of connections".to_owned())
}

/// Memory in use, in kB.
fn resident(stage: &Stage) -> Result<u64, String> {
    let text = sh(&format!("grep VmRSS /proc/{}/status | tr -dc 0-9", stage.pid()))?;
    text.trim().parse().map_err(|_| "no memory figure".to_owned())
}

/// Packets dropped by reason, and what neighbors and connections count.
fn counters(stage: &Stage) -> Vec<(String, u64)> {
    let text = stage.at("rt", "curl -sf -m 5 http://127.0.0.1:9464/metrics").unwrap_or_default();
    let wanted = ["hairpin_dropped_total", "hairpin_conntrack_total", "hairpin_neighbor"];
    text.lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.split('"').nth(1)?.to_owned(), value.parse().ok()?)))
        .collect()
}

/// What a flood sends.
const FLOOD: u64 = 40_000;

fn flooded(stage: &mut Stage, side: &str, kind: &str) -> Outcome {
    stage.write("flood.py", include_str!("flood.py"))?;
    if stage.host.connections != FEW {
        stage.host.connections = FEW;
        reload(stage)?;
    }
    stage.command("conntrack -F")?;
    // Known neighbors.
    stage.at("wan", "ping -c 1 -W 2 203.0.113.1")?;
    stage.at("lan", "ping -c 1 -W 2 192.168.1.1")?;
    let downloads = downloads(stage, 2);
    std::thread::sleep(Duration::from_millis(300));
    let (memory, before) = (resident(stage)?, counters(stage));
    let script = stage.dir.join("flood.py").display().to_string();
    let device = if side == "lan" && stage.router != Router::Tun { "br0" } else { &format!("{side}1") };
    let flood = start(stage, side, &["python3", &script, kind, device, &FLOOD.to_string()]).ok_or("no python3")?;
    let sent = number_of(flood)?;
    let connections = count(stage)?;
    let (more, after) = (resident(stage)?.saturating_sub(memory), counters(stage));
    let mut counted = Vec::new();
    for (name, value) in &after {
        let was = before.iter().find(|(other, _)| other == name).map_or(0, |(_, value)| *value);
        // Found ones are no harm.
        if *value > was + 10 && name != "found" {
            counted.push(format!("{name} {}", value - was));
        }
    }
    let text = format!("{sent} sent; {} kB more, {connections} connections; {}", more, counted.join(", "));
    let complete = all_complete(downloads).map_err(|why| format!("{why}; {text}"))?;
    if connections > FEW {
        return Err(format!("{connections} connections where {FEW} are allowed; {text}"));
    }
    if more > 48 * 1024 {
        return Err(format!("memory grew; {text}"));
    }
    if counted.is_empty() {
        return Err(format!("nothing was counted; {text}"));
    }
    Ok(format!("{complete}; {text}"))
}

/// The gateway does not run for a while, and more comes than the kernel keeps for it: that is counted, and goes on.
fn asleep(stage: &mut Stage) -> Outcome {
    let missed = |stage: &Stage| -> u64 {
        let text = stage.at("rt", "curl -sf -m 5 http://127.0.0.1:9464/metrics").unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("what=\"missed\"") && line.contains("lan"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    stage.write("flood.py", include_str!("flood.py"))?;
    // A known neighbor.
    stage.at("lan", "ping -c 1 -W 2 192.168.1.1")?;
    let before = missed(stage);
    let script = stage.dir.join("flood.py").display().to_string();
    let device = if stage.router == Router::Tun { "lan1" } else { "br0" };
    sh(&format!("kill -STOP {}", stage.pid()))?;
    let flood = start(stage, "lan", &["python3", &script, "udp", device, "20000"]).ok_or("no python3".to_owned());
    let sent = flood.and_then(number_of);
    sh(&format!("kill -CONT {}", stage.pid()))?;
    let sent = sent?;
    wait_for(Duration::from_secs(5), || missed(stage) > before)
        .map_err(|why| format!("no frame was missed of {sent} {why}"))?;
    // Counted once a second.
    std::thread::sleep(Duration::from_millis(1200));
    Ok(format!("{} of {sent} frames missed", missed(stage) - before))
}

fn control_flooded(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 2);
    let (memory, mut clients, mut connected) = (resident(stage)?, Vec::new(), 0);
    let end = Instant::now() + Duration::from_secs(2);
    let mut n = 0u32;
    while Instant::now() < end {
        if let Ok(mut stream) = UnixStream::connect(stage.socket()) {
            connected += 1;
            let _ = stream.set_write_timeout(Some(Duration::from_millis(10)));
            let _ = match n % 4 {
                0 => Ok(()),
                1 => stream.write_all(&[0, 0, 1]),
                2 => stream.write_all(&[0xff; 4096]),
                _ => stream.write_all(&[0, 0, 1, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff]),
            };
            clients.push(stream);
        }
        // A hundred hold their place, the others go.
        if clients.len() > 100 {
            clients.remove(0);
        }
        n += 1;
        std::thread::sleep(Duration::from_micros(500));
    }
    drop(clients);
    std::thread::sleep(Duration::from_millis(500));
    let rules = stage.command("iptables -S FORWARD")?;
    let more = resident(stage)?.saturating_sub(memory);
    let text = format!("{connected} clients, {more} kB more");
    if !rules.contains("-P FORWARD DROP") || more > 32 * 1024 {
        return Err(format!("{text}: {rules}"));
    }
    all_complete(downloads).map(|complete| format!("{complete}; {text}"))
}

fn table_full(stage: &mut Stage) -> Outcome {
    stage.host.connections = 64;
    reload(stage)?;
    stage.command("conntrack -F")?;
    let downloads = downloads(stage, 2);
    std::thread::sleep(Duration::from_millis(700));
    // More questions than there is room for.
    stage.at("lan", "sh -c 'i=0; while [ $i -lt 200 ]; do dig +short +time=1 +tries=1 -b 192.168.1.10#$((20000+i)) @203.0.113.9 name.test & i=$((i+1)); done >/dev/null 2>&1; wait'")?;
    let count = count(stage)?;
    let complete = all_complete(downloads);
    let dropped: Vec<String> = counters(stage)
        .into_iter()
        .filter(|(name, value)| ["early_drop", "drop", "TableFull"].contains(&name.as_str()) && *value > 0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    stage.host.connections = 65_536;
    reload(stage)?;
    let complete = complete?;
    if count > 64 {
        return Err(format!("{count} connections where 64 are allowed"));
    }
    Ok(format!("{complete}, {count} connections in a table of 64; {}", dropped.join(", ")))
}

/// So long it takes until as many connections are forgotten as are made: TCP's are remembered for two minutes after their end.
const SETTLED: Duration = Duration::from_secs(150);

/// Mixed load for so long; memory once connections come and go evenly (after the first rounds, where that is not so long), and the most
/// of it afterwards. The system gives it in pieces of 2 MiB.
pub(crate) fn soak(stage: &mut Stage, time: Duration) -> Outcome {
    let load = "for i in 1 2 3; do curl -sf -m 20 http://203.0.113.9/file >/dev/null; curl -sf -m 20 http://[2001:db8:9::9]/file >/dev/null
        dig +short +time=2 @203.0.113.9 name.test >/dev/null; ping -c 5 -i 0.01 -s 3000 203.0.113.9 >/dev/null
        curl -sf -m 20 ftp://203.0.113.9/file >/dev/null; curl -sf -m 5 http://203.0.113.1:8080/who; done";
    stage.write("load.sh", load)?;
    let script = stage.dir.join("load.sh").display().to_string();
    let round = |stage: &Stage| stage.at("lan", &format!("sh -c '. {script}; timeout 60 iperf3 -c 203.0.113.9 -t 1'"));
    let settling = if time > 2 * SETTLED { SETTLED } else { time / 10 };
    let (begun, mut rounds, mut first, mut most) = (Instant::now(), 0u32, 0, 0);
    let mut minutes = Vec::new();
    while rounds < 2 || begun.elapsed() < time {
        round(stage)?;
        rounds += 1;
        let now = resident(stage)?;
        if begun.elapsed() < settling || rounds == 1 {
            first = first.max(now);
        }
        most = most.max(now);
        if begun.elapsed().as_secs() / 60 > minutes.len() as u64 {
            minutes.push(now.to_string());
        }
    }
    let text = format!(
        "{rounds} rounds in {} s, {first} kB in the first {} s, {most} kB at most; by minutes: {}",
        begun.elapsed().as_secs(),
        settling.as_secs(),
        minutes.join(" ")
    );
    if most > first + first / 10 + 2048 { Err(text) } else { Ok(text) }
}
