//! `cargo xtask live`: real programs talk through the kernel's own NAT and through hairpin by each datapath, and must fare the same.

pub(crate) mod bench;
mod checks;
mod faults;
mod load;
mod plays;
mod stage;
mod ufw;

use stage::{Router, Stage};
use std::process::ExitCode;

use std::sync::Mutex;
use std::time::Duration;

const USAGE: &str = "\
Usage: cargo xtask live [--only NAME] [--no-faults] [--no-plays] [--soak SECONDS]

Needs root, network namespaces, and nginx, dnsmasq, vsftpd, iperf3, curl, dig, ssh, sshd, ping, traceroute, iptables-legacy, ipset,
conntrack, python3, and for ufw a tree of Debian 13 (made by debootstrap on first use). Runs the same checks against the kernel's NAT and
against hairpin by packet, xdp, tap and tun, over IPv4 and IPv6, and compares the outcomes; the same with the rule sets of Docker,
kube-proxy, ufw and others put in place on the running router; then lets things go wrong under load. The release build of hairpin must be
there (`cargo build --release`), or HAIRPIN_BIN name one.

  --only NAMES      of kernel, packet, xdp, tap and tun, with commas between
  --no-plays        without the rule sets
  --no-faults       without the faults
  --soak SECONDS    mixed load for so long on each, watching memory, and nothing else
";

/// What is to be done on each stage.
#[derive(Clone, Copy)]
struct Wanted {
    plays: bool,
    faults: bool,
    soak: Option<Duration>,
}

/// What was seen on one stage.
struct Seen {
    router: Router,
    outcomes: Result<checks::Outcomes, String>,
    faults: Vec<(&'static str, Result<String, String>)>,
    took: Duration,
}

/// Stages that work at a time: most of what they do is waiting.
const AT_A_TIME: usize = 3;

/// Runs the command.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let mut only = None;
    let mut wanted = Wanted { plays: true, faults: true, soak: None };
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("only") => only = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("no-faults") => wanted.faults = false,
            lexopt::Arg::Long("no-plays") => wanted.plays = false,
            lexopt::Arg::Long("soak") => {
                let seconds = args.value()?.to_string_lossy().parse().map_err(|_| "--soak: a number of seconds")?;
                wanted.soak = Some(Duration::from_secs(seconds));
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected()),
        }
    }
    let routers: Vec<Router> = Router::ALL
        .into_iter()
        .filter(|r| only.as_deref().is_none_or(|only| only.split(',').any(|name| name == r.name())))
        .collect();
    if routers.is_empty() {
        return Err("--only: kernel, packet, xdp, tap or tun".into());
    }
    if let Err(lacking) = stage::prepare() {
        println!("skipped: {lacking}");
        let in_ci = std::env::var_os("CI").is_some();
        return Ok(if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let seen = on_stages(routers, wanted);
    let bad = report(&seen);
    println!("{}", if bad == 0 { "all as it should be".to_owned() } else { format!("{bad} not as they should be") });
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn on_stages(routers: Vec<Router>, wanted: Wanted) -> Vec<Seen> {
    let (todo, seen) = (Mutex::new(routers.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(routers.len()) {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().ok().and_then(|mut todo| todo.next());
                    let Some(router) = next else { return };
                    let one = on_stage(*router, wanted);
                    if let Ok(mut seen) = seen.lock() {
                        seen.push(one);
                    }
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap_or_default();
    seen.sort_by_key(|one| routers.iter().position(|router| *router == one.router));
    seen
}

fn on_stage(router: Router, wanted: Wanted) -> Seen {
    let begun = std::time::Instant::now();
    let mut faults = Vec::new();
    let outcomes = Stage::build(router).map(|mut stage| {
        let is_kernel = router == Router::Kernel;
        if let Some(time) = wanted.soak {
            faults.push(("memory under mixed load", faults::soak(&mut stage, time)));
            return Vec::new();
        }
        let mut outcomes = checks::run(&stage);
        if wanted.plays {
            outcomes.extend(plays::run(&mut stage));
        }
        if wanted.faults && !is_kernel {
            faults = faults::run(&mut stage);
        }
        outcomes
    });
    Seen { router, outcomes, faults, took: begun.elapsed() }
}

/// Prints it; how much is not as it should be.
fn report(seen: &[Seen]) -> usize {
    let kernel = seen.iter().find(|one| one.router == Router::Kernel).and_then(|one| one.outcomes.as_ref().ok());
    let mut bad = 0;
    for one in seen {
        let router = one.router.name();
        match &one.outcomes {
            Err(why) => {
                println!("{router}: {why}");
                bad += 1;
            }
            Ok(outcomes) => {
                for (check, outcome) in outcomes {
                    let expected = kernel.and_then(|all| all.iter().find(|(name, _)| name == check));
                    let same = expected.is_none_or(|(_, expected)| expected == outcome);
                    println!("{router:7} {check:46} {outcome}{}", if same { "" } else { "   DIFFERS" });
                    bad += usize::from(!same || outcome.starts_with("failed"));
                }
            }
        }
        for (fault, outcome) in &one.faults {
            let (mark, text) = match outcome {
                Ok(text) => ("", text),
                Err(why) => ("   FAILED", why),
            };
            println!("{router:7} fault: {fault:46} {text}{mark}");
            bad += usize::from(outcome.is_err());
        }
        println!("{router:7} took {} s", one.took.as_secs());
    }
    bad
}
