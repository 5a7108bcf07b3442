//! `cargo xtask live`: real programs talk through the kernel's own NAT and through hairpin by each datapath, and must fare the same.

pub(crate) mod bench;
mod checks;
mod faults;
mod load;
mod stage;

use stage::{Router, Stage};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask live [--only NAME] [--no-faults]

Needs root, network namespaces, and nginx, dnsmasq, vsftpd, iperf3, curl, dig, ssh-keyscan, ping, traceroute, iptables-legacy. Runs the
same checks against the kernel's NAT and against hairpin by packet, xdp and tap, and compares the outcomes; then lets things go wrong
under load. The release build of hairpin must be there (`cargo build --release`).

  --only NAME     kernel, packet, xdp or tap
  --no-faults     only the checks
";

/// Runs the command.
pub(crate) fn main(args: &mut lexopt::Parser) -> Result<ExitCode, lexopt::Error> {
    let (mut only, mut faults) = (None, true);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("only") => only = Some(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("no-faults") => faults = false,
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                print!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected()),
        }
    }
    if let Err(lacking) = stage::prepare() {
        println!("skipped: {lacking}");
        let in_ci = std::env::var_os("CI").is_some();
        return Ok(if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let routers = [Router::Kernel, Router::Packet, Router::Xdp, Router::Tap];
    let mut bad = 0;
    let mut of_kernel: Option<Vec<(&str, String)>> = None;
    for router in routers.into_iter().filter(|r| only.as_deref().is_none_or(|only| only == r.name())) {
        let outcomes = match Stage::build(router).and_then(|stage| checks::run(&stage)) {
            Ok(outcomes) => outcomes,
            Err(why) => {
                println!("{}: {why}", router.name());
                bad += 1;
                continue;
            }
        };
        for (n, (check, outcome)) in outcomes.iter().enumerate() {
            let expected = of_kernel.as_ref().and_then(|all| all.get(n)).map(|(_, outcome)| outcome);
            let same = expected.is_none_or(|expected| expected == outcome);
            println!("{:7} {check:38} {outcome}{}", router.name(), if same { "" } else { "   DIFFERS" });
            bad += usize::from(!same || outcome.starts_with("failed"));
        }
        if router == Router::Kernel {
            of_kernel = Some(outcomes);
        }
    }
    if faults && only.as_deref() != Some("kernel") {
        for (fault, outcome) in faults::run() {
            println!("fault   {fault:38} {}", outcome.as_ref().map_or_else(|why| why.as_str(), |text| text.as_str()));
            bad += usize::from(outcome.is_err());
        }
    }
    println!("{}", if bad == 0 { "all as it should be".to_owned() } else { format!("{bad} not as they should be") });
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
