//! A neighbor that grows old, vanishes, and comes back with another link address: what the router asks on the wire, and when.

use super::board::Teller;
use super::checks::outcome;
use super::stage::{RULES4, RULES6, Stage};

const ADDRESSES: [(&str, &str); 2] = [("203.0.113.9", "203.0.113.1"), ("2001:db8:9::9", "2001:db8:9::1")];

/// The questions that are compared: three to the machine, then three to all.
const QUESTIONS: usize = 6;

/// Where the router notices that the link was down: it knows nobody then.
pub(crate) fn run(stage: &Stage, tell: Teller<'_>) {
    match aging(stage) {
        Ok([four, six]) => {
            tell.check("a neighbor is asked again, vanished", four);
            tell.check("a neighbor is asked again, vanished, IPv6", six);
        }
        Err(why) => tell.check("a neighbor is asked again, vanished", format!("failed: {why}")),
    }
    let back =
        stage.at("wan", "sh -c 'ip link set wan1 address 02:00:00:00:99:99; ip addr add 203.0.113.9/24 dev wan1'");
    let back = back.and_then(|_| stage.at("wan", "ip addr add 2001:db8:9::9/64 dev wan1 nodad"));
    match back {
        Ok(_) => {
            for (far, _) in ADDRESSES {
                let ping = format!(
                    "sh -c 'ping -c 6 -i 0.5 -W 1 {far} >/dev/null; ping -c 2 -i 0.2 -W 1 {far} | grep -o \"[0-9]* received\"'"
                );
                tell.check(format!("a neighbor with another link address: {far}"), outcome(stage, "lan", &ping));
            }
        }
        Err(why) => tell.check("a neighbor comes back", format!("failed: {why}")),
    }
    let _ = stage.ends();
}

fn aging(stage: &Stage) -> Result<[String; 2], String> {
    stage.load(RULES4)?;
    stage.load6(RULES6)?;
    stage.write("neighbors.py", include_str!("neighbors.py"))?;
    stage.at("wan", "ip link set wan1 down")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    stage.ends()?;
    let script = stage.dir.join("neighbors.py").display().to_string();
    let (four, six) = (ADDRESSES[0].0, ADDRESSES[1].0);
    let mut watcher = stage.child("wan", &format!("python3 {script} wan1 14.4 {four} {six}"))?;
    if watcher.line()? != "ready" {
        return Err("nobody watches".to_owned());
    }
    // The router learns of it by its questions, and answers.
    for (_, router) in ADDRESSES {
        stage.at("wan", &format!("ping -c 1 -W 2 {router}"))?;
    }
    watcher.say("begin")?;
    stage.at("wan", "sh -c 'ip addr flush dev wan1 scope global'")?;
    let talk =
        "sh -c 'for a in 203.0.113.9 2001:db8:9::9; do timeout 14 ping -i 0.5 -W 1 $a >/dev/null 2>&1 & done; wait'";
    let _ = stage.at("lan", talk);
    let first = |line: String| line.split(' ').take(QUESTIONS).collect::<Vec<_>>().join(" ");
    Ok([first(watcher.line()?), first(watcher.line()?)])
}
