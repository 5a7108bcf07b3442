//! What is large must not keep packets waiting: a hundred thousand rules, a million addresses.

use super::faults::{Stream, restore};
use super::stage::{RULES4, Stage};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The loop may be away from packets for so long, and for as long as this machine itself makes a sleeper wait meanwhile. On a quiet machine
/// 50 ms are promised; here other routers work beside this one.
const PAUSE: Duration = Duration::from_millis(100);

const RULES: u32 = 100_000;
const ADDRESSES: u32 = 1_000_000;

/// Swaps rules for as many others while datagrams pass.
pub(crate) fn rules(stage: &mut Stage) -> Result<String, String> {
    measured(stage, |stage| {
        let few = stage.localize(RULES4);
        for net in [10, 11, 12] {
            let mut many = String::new();
            for n in 0..RULES {
                let [_, a, b, c] = n.to_be_bytes();
                let port = n % 60_000 + 1;
                let _ = writeln!(many, "-A FORWARD -s {net}.{a}.{b}.{c}/32 -p udp -m udp --dport {port} -j DROP");
            }
            // Behind the rule for what is established: each datagram looks at few of them.
            restore(stage, &few.replacen("-A FORWARD -i", &format!("{many}-A FORWARD -i"), 1))?;
        }
        restore(stage, &few)?;
        Ok("four swaps, ".to_owned())
    })
}

/// Fills a set, and asks it, changes it and lists it while a rule looks into it for each datagram.
pub(crate) fn set(stage: &mut Stage) -> Result<String, String> {
    measured(stage, |stage| {
        let mut text = format!("create big hash:ip maxelem {}\n", 2 * ADDRESSES);
        for n in 0..ADDRESSES {
            let [_, a, b, c] = n.to_be_bytes();
            let _ = writeln!(text, "add big 10.{a}.{b}.{c}");
        }
        stage.write("big.set", &text)?;
        let mut said = String::new();
        let mut timed = |what: &str, command: &str| -> Result<String, String> {
            let begun = Instant::now();
            let out = stage.command(command)?;
            let _ = write!(said, "{what} {} ms, ", begun.elapsed().as_millis());
            Ok(out)
        };
        timed("restore", &format!("ipset restore < {}/big.set", stage.dir.display()))?;
        stage.command("iptables -I FORWARD -m set --match-set big src -j DROP")?;
        timed("add", "ipset add big 10.200.0.1")?;
        timed("test", "ipset test big 10.200.0.1 2>&1")?;
        let count = timed("list", "ipset list big | wc -l")?;
        stage.command("iptables -D FORWARD -m set --match-set big src -j DROP")?;
        timed("destroy", "ipset destroy big")?;
        let count: u32 = count.trim().parse().map_err(|_| format!("a list of {count} lines"))?;
        if count <= ADDRESSES { Err(format!("a list of {count} lines; {said}")) } else { Ok(said) }
    })
}

/// On a gateway that has just started, under datagrams, none of which may be lost: what the work says, and the longest pause.
fn measured(stage: &mut Stage, work: impl FnOnce(&Stage) -> Result<String, String>) -> Result<String, String> {
    stage.kill_and_start()?;
    stage.at("lan", "ping -c 1 -W 2 203.0.113.9")?;
    let stream = Stream::start(stage)?;
    let (done, own) = beside_a_sleeper(|| work(stage));
    let pause = pause(stage)?;
    let (sent, received) = stream.end()?;
    let text = format!(
        "{}{received} of {sent} datagrams arrived, longest pause {:.1} ms (this machine's own {:.1} ms)",
        done?,
        pause.as_secs_f64() * 1e3,
        own.as_secs_f64() * 1e3
    );
    if sent == received && pause <= PAUSE + own { Ok(text) } else { Err(text) }
}

/// How much longer than it wanted a thread slept at most while the work was done: what the machine does to everybody.
fn beside_a_sleeper<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    const NAP: Duration = Duration::from_millis(1);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let mut most = Duration::ZERO;
            while !is_done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                most = most.max(begun.elapsed().saturating_sub(NAP));
            }
            most
        });
        let done = work();
        is_done.store(true, Ordering::Relaxed);
        (done, sleeper.join().unwrap_or_default())
    })
}

fn pause(stage: &Stage) -> Result<Duration, String> {
    let text = stage.command("status --json")?;
    let nanos = text.split("\"longest_pause_nanos\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    let nanos = nanos.and_then(|nanos| nanos.trim().parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| format!("no pause in {text}"))
}
