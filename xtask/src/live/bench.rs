//! `cargo xtask bench-live`: hairpin beside the kernel's NAT, in one run.

use super::keeper::{self, Keeper};
use super::load;
use super::stage::{self, Router, Stage, sh};
use std::fmt::Write as _;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: cargo xtask bench-live [--rounds N] [--only LOAD,LOAD] [--routers NAME,NAME] [--seconds S]

The same traffic through the kernel's NAT (iptables-legacy, MASQUERADE), through the kernel again (the noise to read the rest against),
and through hairpin by xdp, packet and tap, in turn, the order reversed each round; medians, ranges and ratios to the kernel.

  flows       small UDP datagrams of 10,000 flows, as fast as they go
  rules       the same with 100 rules in FORWARD whose address does not fit
  new         every datagram of a flow of its own
  tcp         bulk TCP, one stream (iperf3, 2 s after 1 s of warming up)

For packet rates the kernel makes the datagrams (XDP live frames), many times as many as any router forwards: the router is the slowest.
The source has the first processor for itself; the router, its device's NAPI thread and the sink's entrance have the second. `ns' is what
they cost for each packet that arrived; for tap the kernel's half of the client's device is the source's, and not in it. New connections
are counted before the usual table of 262,144 is full, for the kernel and for us, and a run in which it was is refused; the kernel forgets
them all before the next run begins. Needs what `cargo xtask live` needs, Linux 5.18, and two processors.

  --rounds N    7 if not given
  --only L,L    of flows, rules, new, tcp
  --routers R,R of kernel, again, xdp, packet, tap
  --seconds S   of packets, 1.5 if not given
";

/// Seconds for which new flows are counted, at most.
const NEW_SECONDS: f64 = 0.3;
/// Connections at which counting ends sooner: the kernel's usual table has room for 262,144.
const NEW_ENOUGH: u64 = 190_000;
/// Connections that a table may have at the end. A fuller one sends every router looking for what it may forget.
const NEW_FLOWS: u64 = 255_000;
/// How long to count between two looks, where the count decides.
const LOOK_EVERY: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Flows,
    Rules,
    New,
    Tcp,
}

const LOADS: [(&str, Load, &str); 4] = [
    ("flows", Load::Flows, "UDP, 10,000 flows"),
    ("rules", Load::Rules, "UDP, 10,000 flows, 100 rules in FORWARD"),
    ("new", Load::New, "UDP, every datagram a new connection"),
    ("tcp", Load::Tcp, "bulk TCP, one stream"),
];

const ROUTERS: [(&str, Router); 5] = [
    ("kernel", Router::Kernel),
    ("again", Router::Kernel),
    ("xdp", Router::Xdp),
    ("packet", Router::Packet),
    ("tap", Router::Tap),
];

/// What one run gave.
#[derive(Clone, Copy, Debug)]
struct Figure {
    /// Packets, or gigabits, in a second.
    rate: f64,
    /// Nanoseconds of the router for each packet; 0 where that is not asked.
    nanos: f64,
}

/// Runs the command.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut rounds, mut seconds) = (7usize, 1.5f64);
    let (mut only, mut routers): (Option<String>, Option<String>) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("rounds") => {
                rounds = args.value()?.to_string_lossy().parse().map_err(|_| "--rounds: a number")?
            }
            lexopt::Arg::Long("seconds") => {
                seconds = args.value()?.to_string_lossy().parse().map_err(|_| "--seconds: a number")?
            }
            lexopt::Arg::Long("only") => only = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("routers") => routers = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            lexopt::Arg::Value(role) => {
                let words: Vec<String> = args.raw_args()?.map(|word| word.to_string_lossy().into_owned()).collect();
                let result = match role.to_str() {
                    Some("source") => load::source(&words),
                    Some("sink") => load::sink(&words),
                    _ => Err(USAGE.to_owned()),
                };
                return result.map(|()| ExitCode::SUCCESS).map_err(Into::into);
            }
            other => return Err(other.unexpected()),
        }
    }
    if let Err(lacking) = stage::prepare() {
        println!("skipped: {lacking}");
        return Ok(ExitCode::FAILURE);
    }
    keeper::put_away_the_dead();
    let _keeper = Keeper::start()?;
    let is_wanted =
        |list: &Option<String>, name: &str| list.as_ref().is_none_or(|l| l.split(',').any(|one| one == name));
    for (_, load, title) in LOADS.iter().filter(|(name, ..)| is_wanted(&only, name)) {
        let names = ROUTERS.iter().filter(|(name, _)| is_wanted(&routers, name));
        let mut rows: Vec<(&str, Router, Vec<Figure>)> = names.map(|(name, r)| (*name, *r, Vec::new())).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            if !round.is_multiple_of(2) {
                order.reverse();
            }
            for n in order {
                let (name, router, figures) = &mut rows[n];
                match one(*router, *load, seconds) {
                    Ok(figure) => figures.push(figure),
                    Err(why) => println!("round {round}, {name}: {why}"),
                }
            }
        }
        print!("{}", table(title, *load, &mut rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(title: &str, load: Load, rows: &mut [(&str, Router, Vec<Figure>)]) -> String {
    let mut text = format!("{title}\n");
    for (.., figures) in &mut *rows {
        figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    }
    // The first is what the others are held against; it may have no figure.
    let reference = rows.first().and_then(|(.., figures)| figures.get(figures.len() / 2)).map(|middle| middle.rate);
    for (name, _, figures) in rows {
        let (Some(middle), Some(low), Some(high)) = (figures.get(figures.len() / 2), figures.first(), figures.last())
        else {
            continue;
        };
        let (unit, scale) = if load == Load::Tcp { ("Gb/s", 1.0) } else { ("kpps", 1e-3) };
        let _ = write!(
            text,
            "  {name:7} {:8.2} {unit} [{:.2}-{:.2}]",
            middle.rate * scale,
            low.rate * scale,
            high.rate * scale
        );
        if let Some(kernel) = reference {
            let _ = write!(text, "  {:.2} x kernel", middle.rate / kernel);
        }
        let mut nanos: Vec<f64> = figures.iter().map(|figure| figure.nanos).filter(|nanos| *nanos > 0.0).collect();
        nanos.sort_by(f64::total_cmp);
        if let Some(middle) = nanos.get(nanos.len() / 2) {
            let _ = write!(text, "  {middle:.0} ns");
        }
        text.push('\n');
    }
    text
}

fn one(router: Router, load: Load, seconds: f64) -> Result<Figure, String> {
    let rules = if load == Load::Rules { 100 } else { 0 };
    let stage = Stage::bench(router, &rules4(router, rules))?;
    if load == Load::Tcp { tcp(stage) } else { packets(&stage, load, seconds) }
}

/// MASQUERADE, and so many rules that do not fit before one that does.
fn rules4(router: Router, count: usize) -> String {
    let wan = if router == Router::Tap { "wan1" } else { "wan0" };
    let mut text = format!("*nat\n-A POSTROUTING -o {wan} -j MASQUERADE\nCOMMIT\n*filter\n");
    for n in 0..count {
        let _ = writeln!(text, "-A FORWARD -s 172.16.0.{n}/32 -j DROP");
    }
    text.push_str("-A FORWARD -j ACCEPT\nCOMMIT\n");
    text
}

fn tcp(mut stage: Stage) -> Result<Figure, String> {
    stage.iperf()?;
    if let Some(gateway) = &stage.gateway {
        stage::favor(gateway.id());
    }
    let text = stage.at("lan", "timeout 20 iperf3 -c 203.0.113.9 -t 2 -O 1 -J -i 0")?;
    let result: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let bits = result["end"]["sum_received"]["bits_per_second"].as_f64().ok_or("iperf3 gave no figure")?;
    Ok(Figure { rate: bits / 1e9, nanos: 0.0 })
}

fn packets(stage: &Stage, load: Load, seconds: f64) -> Result<Figure, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?.display().to_string();
    let is_tap = stage.router() == Router::Tap;
    // The kernel works on what arrives on a thread of its own, so that it can be kept from the source's processor.
    if !is_tap {
        stage.at(
            "rt",
            "sh -ec 'ethtool -K lan0 gro on; ethtool -K wan0 gro on; echo 1 > /sys/class/net/lan0/threaded'",
        )?;
        // A veth hands to that thread only what comes from an end without segmentation.
        stage.at("lan", "ethtool -K lan1 tso off gso off")?;
        let _ = stage.at("wan", "ethtool -K wan1 gro on");
    }
    let napi = sh("pgrep napi/lan0 || true")?;
    let mut router: Vec<u32> = napi.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    router.extend(stage.gateway.as_ref().map(Child::id));
    for pid in &router {
        sh(&format!("taskset -apc 1 {pid} >/dev/null"))?;
        stage::favor(*pid);
    }
    let kind = if is_tap { "tap" } else { "veth" };
    let mut sink = stage.child("wan", &format!("{this} bench-live sink wan1 {kind}"))?;
    if sink.line()? != "ready" {
        return Err("the sink did not start".to_owned());
    }
    let mac = stage.router_mac()?;
    let (flows, warm_up, seconds) = match load {
        Load::New => ("new", 0.1, NEW_SECONDS),
        _ => ("10000", 0.5, seconds),
    };
    let before = arrived(stage)?;
    let source = format!("taskset -c 0 {this} bench-live source lan1 {mac} {flows}");
    let source = stage.child("lan", &source)?;
    stage::wait_for(Duration::from_secs(5), || arrived(stage).is_ok_and(|now| now > before + 100))?;
    // Flows are made, and processors warm up, before anything is measured.
    std::thread::sleep(Duration::from_secs_f64(warm_up));
    let (first, cost, started) = (arrived(stage)?, run_time(&router), Instant::now());
    let step = if load == Load::New { LOOK_EVERY } else { Duration::from_secs_f64(seconds) };
    let (last, took) = loop {
        std::thread::sleep(step);
        let (last, took) = (arrived(stage)?, started.elapsed().as_secs_f64());
        if took >= seconds || load == Load::New && last.saturating_sub(before) > NEW_ENOUGH {
            break (last, took);
        }
    };
    let cost = run_time(&router).saturating_sub(cost);
    drop((source, sink));
    if stage.router() == Router::Kernel {
        forget(stage)?;
    }
    if load == Load::New && last.saturating_sub(before) > NEW_FLOWS {
        return Err(format!("{} connections: the table was as good as full before the end", last - before));
    }
    let count = last.saturating_sub(first) as f64;
    if count < 1000.0 {
        return Err(format!("{count} packets arrived"));
    }
    Ok(Figure { rate: count / took, nanos: cost as f64 / count })
}

/// The kernel forgets its connections, and has done so when this returns. Left to itself it does so when the namespace is gone, in the
/// background, on the processors that the next run needs.
fn forget(stage: &Stage) -> Result<(), String> {
    let _ = stage.at("rt", "conntrack -F");
    stage::wait_for(Duration::from_secs(10), || {
        stage.at("rt", "sysctl -n net.netfilter.nf_conntrack_count").is_ok_and(|count| count.trim() == "0")
    })
}

/// Packets that the last device of the way has taken.
fn arrived(stage: &Stage) -> Result<u64, String> {
    let (side, file) = match stage.router() {
        Router::Tap => ("wan", "/sys/class/net/wan1/statistics/rx_packets"),
        _ => ("rt", "/sys/class/net/wan0/statistics/tx_packets"),
    };
    stage.at(side, &format!("cat {file}"))?.trim().parse().map_err(|_| "no count of packets".to_owned())
}

/// Nanoseconds that threads and processes have run.
fn run_time(pids: &[u32]) -> u64 {
    let tasks = pids.iter().filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first() {
        let figures = |rates: &[f64]| rates.iter().map(|rate| Figure { rate: *rate, nanos: 5.0 }).collect::<Vec<_>>();
        let mut rows = [
            ("kernel", Router::Kernel, figures(&[300e3, 100e3, 200e3])),
            ("xdp", Router::Xdp, figures(&[100e3, 50e3, 400e3])),
            ("tap", Router::Tap, Vec::new()),
        ];
        let text = table("title", Load::Flows, &mut rows);
        assert_eq!(
            text,
            "title\n  kernel    200.00 kpps [100.00-300.00]  1.00 x kernel  5 ns\n  xdp       100.00 kpps [50.00-400.00]  0.50 x kernel  5 ns\n"
        );
        assert_eq!(rules4(Router::Tap, 100).lines().count(), 106);
    }
}
