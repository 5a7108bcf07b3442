//! `cargo xtask live`: real programs talk through the kernel's own NAT and through hairpin by each datapath, and must fare the same.

pub(crate) mod bench;
mod board;
mod checks;
mod events;
mod faults;
mod keeper;
mod large;
mod load;
mod neighbors;
mod nflog;
mod plays;
mod queues;
mod stage;
mod systems;
mod ufw;
mod units;

use board::{Board, Teller};
use keeper::Keeper;
use stage::{Router, Stage};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

const USAGE: &str = "\
Usage: cargo xtask live [--only NAMES] [--play NAMES] [--no-faults] [--no-plays] [--soak SECONDS]

Needs root, network namespaces, and nginx, dnsmasq, vsftpd, iperf3, curl, dig, ssh, sshd, ping, traceroute, iptables-legacy, ipset,
conntrack, python3, and for ufw and systemd a tree of Debian 13 (made by debootstrap on first use). Runs the same checks against the kernel's NAT and
against hairpin by packet, xdp, tap and tun, and as a unit of systemd's, over IPv4 and IPv6, and compares the outcomes; the same with the rule sets of Docker,
kube-proxy, ufw and others put in place on the running router; then lets things go wrong under load. Each outcome is said when it comes,
and what is not as it should be again at the end. Namespaces bear this process's number and go with it, however it ends. The release
build of hairpin must be there (`cargo build --release`), or HAIRPIN_BIN name one.

  --only NAMES      of kernel, packet, xdp, tap, tun and unit, with commas between
  --play NAMES      of the rule sets and faults these and nothing else
  --no-plays        without the rule sets
  --no-faults       without the faults
  --soak SECONDS    mixed load for so long on each, watching memory, and nothing else
";

/// What is to be done on each stage.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    plays: bool,
    /// These rule sets alone, with commas between.
    only: Option<&'a str>,
    faults: bool,
    soak: Option<Duration>,
}

/// Stages that work at a time: most of what they do is waiting.
const AT_A_TIME: usize = 3;

/// Runs the command.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut only, mut play) = (None, None);
    let mut wanted = Wanted { plays: true, only: None, faults: true, soak: None };
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("only") => only = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("play") => play = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("no-faults") => wanted.faults = false,
            lexopt::Arg::Long("no-plays") => wanted.plays = false,
            lexopt::Arg::Long("soak") => {
                let seconds = args.value()?.to_string_lossy().parse().map_err(|_| "--soak: a number of seconds")?;
                wanted.soak = Some(Duration::from_secs(seconds));
            }
            lexopt::Arg::Value(word) if word == "keeper" => {
                keeper::keep(&args.value()?.to_string_lossy());
                return Ok(ExitCode::SUCCESS);
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
        return Err("--only: kernel, packet, xdp, tap, tun or unit".into());
    }
    wanted.only = play.as_deref();
    if let Err(lacking) = stage::prepare() {
        println!("skipped: {lacking}");
        let in_ci = std::env::var_os("CI").is_some();
        return Ok(if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    keeper::put_away_the_dead();
    let _keeper = Keeper::start()?;
    let bad = on_stages(&routers, wanted);
    if bad.is_empty() {
        println!("all as it should be");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} not as they should be:\n{}", bad.len(), bad.join("\n"));
    Ok(ExitCode::FAILURE)
}

/// What is not as it should be.
fn on_stages(routers: &[Router], wanted: Wanted<'_>) -> Vec<String> {
    let (todo, board) = (Mutex::new(routers.iter()), Board::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(routers.len()) {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().ok().and_then(|mut todo| todo.next());
                    let Some(router) = next else { return };
                    on_stage(*router, wanted, board.of(*router));
                }
            });
        }
    });
    board.bad()
}

/// Whether a list of names, with commas between, has this one, which may have commas itself. No list has all.
fn is_wanted(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| only == name || only.split(',').any(|wanted| wanted == name))
}

fn on_stage(router: Router, wanted: Wanted<'_>, tell: Teller<'_>) {
    let begun = std::time::Instant::now();
    match Stage::build(router) {
        Err(why) => tell.none(&why),
        Ok(mut stage) => {
            if let Some(time) = wanted.soak {
                return tell.fault("memory under mixed load", faults::soak(&mut stage, time));
            }
            if wanted.only.is_some() {
                plays::run(&mut stage, wanted.only, tell);
                if !stage.is_kernel() {
                    faults::run(&mut stage, wanted.only, tell);
                }
                return;
            }
            checks::run(&stage, tell);
            if router == Router::Unit {
                units::run(&mut stage, tell);
                return tell.note(&format!("took {} s", begun.elapsed().as_secs()));
            }
            if wanted.plays {
                plays::run(&mut stage, None, tell);
            }
            if wanted.faults && !stage.is_kernel() {
                faults::run(&mut stage, None, tell);
            }
        }
    }
    tell.note(&format!("took {} s", begun.elapsed().as_secs()));
}
