//! What goes wrong under load, and what must come of it.

use super::stage::{RULES4, Router, Stage, sh, wait_for};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

type Outcome = Result<String, String>;

/// Every fault with its outcome.
pub(crate) fn run() -> Vec<(&'static str, Outcome)> {
    let fault = |work: fn(&mut Stage) -> Outcome| Stage::build(Router::Packet).and_then(|mut stage| work(&mut stage));
    vec![
        ("killed under 8 downloads, started again", fault(killed)),
        ("1,000 rule swaps under load", fault(rules_swapped)),
        ("link down and up", fault(link_down)),
        ("another address, by SIGHUP", fault(address_changed)),
        ("a full connection table", fault(table_full)),
        ("memory under mixed load", fault(memory)),
    ]
}

/// Downloads of the big file that take some seconds, each with its checksum.
fn downloads(stage: &Stage, count: usize) -> Vec<Child> {
    let url = "http://203.0.113.9/file";
    let command = format!("curl -sf -m 60 --limit-rate 1500k {url} | cmp - {}/www/file", stage.dir.display());
    (0..count)
        .filter_map(|_| {
            let ns = super::stage::namespace("lan");
            Command::new("ip")
                .args(["netns", "exec", &ns, "sh", "-c", &command])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .ok()
        })
        .collect()
}

fn all_complete(downloads: Vec<Child>) -> Outcome {
    let count = downloads.len();
    let complete = downloads.into_iter().filter_map(|mut d| d.wait().ok()).filter(|status| status.success()).count();
    let text = format!("{complete} of {count} downloads complete");
    if complete == count { Ok(text) } else { Err(text) }
}

fn killed(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 8);
    // Long enough for a snapshot of the connections.
    std::thread::sleep(Duration::from_millis(1600));
    if let Some(mut gateway) = stage.gateway.take() {
        gateway.kill().and_then(|()| gateway.wait()).map_err(|e| e.to_string())?;
    }
    stage.start_gateway()?;
    all_complete(downloads)
}

fn rules_swapped(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 4);
    // One process for each swap costs more than the swap: a hundred at a time.
    stage.write("swap.v4", RULES4)?;
    let dir = stage.dir.display().to_string();
    for _ in 0..10 {
        stage.command(&format!("iptables-restore {dir}/swap.v4"))?;
    }
    let hairpin = super::stage::hairpin()?;
    sh(&format!(
        "export HAIRPIN_SOCKET={dir}/control.sock; i=0; while [ $i -lt 990 ]; do {} iptables-restore {dir}/swap.v4 || exit 1; i=$((i+1)); done",
        hairpin.display()
    ))?;
    all_complete(downloads).map(|text| format!("{text}, 1,000 swaps done"))
}

fn link_down(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 2);
    std::thread::sleep(Duration::from_millis(500));
    stage.at("wan", "ip link set wan1 down")?;
    wait_for(Duration::from_secs(5), || stage.log().contains("wan0 is down"))?;
    stage.at("wan", "sh -c 'ip link set wan1 up; ip addr add 2001:db8:9::9/64 dev wan1 nodad 2>/dev/null; true'")?;
    wait_for(Duration::from_secs(5), || stage.log().contains("wan0 is up"))?;
    // What was masqueraded is forgotten with the link, as on Linux; what is new goes on.
    for mut download in downloads {
        let _ = download.kill();
        let _ = download.wait();
    }
    let who = stage.at("lan", "curl -sf -m 10 --retry 3 --retry-connrefused http://203.0.113.9/who")?;
    Ok(who.trim().to_owned())
}

fn address_changed(stage: &mut Stage) -> Outcome {
    stage.at("lan", "curl -sf -m 5 http://203.0.113.9/who")?;
    stage.write_host("# now 203.0.113.2\n")?;
    let pid = stage.gateway.as_ref().map_or(0, Child::id);
    // `ip netns exec` became the gateway.
    sh(&format!("kill -HUP {pid}"))?;
    wait_for(Duration::from_secs(5), || stage.log().contains("in force anew"))?;
    let who = stage.at("lan", "curl -sf -m 5 http://203.0.113.9/who")?;
    let kept = stage.command("conntrack -L 2>/dev/null").unwrap_or_default();
    match who.trim() {
        "203.0.113.9 sees 203.0.113.2" if !kept.contains("dst=203.0.113.1 ") => Ok(who.trim().to_owned()),
        "203.0.113.9 sees 203.0.113.2" => Err("connections of the old address were kept".to_owned()),
        other => Err(other.to_owned()),
    }
}

fn table_full(stage: &mut Stage) -> Outcome {
    let downloads = downloads(stage, 2);
    std::thread::sleep(Duration::from_millis(700));
    let host = std::fs::read_to_string(stage.dir.join("gateway.toml")).map_err(|e| e.to_string())?;
    let smaller = host.replace("[sysctl]\n", "[sysctl]\n\"net.netfilter.nf_conntrack_max\" = 64\n");
    stage.write("gateway.toml", &smaller)?;
    sh(&format!("kill -HUP {}", stage.gateway.as_ref().map_or(0, Child::id)))?;
    wait_for(Duration::from_secs(5), || stage.log().contains("in force anew"))?;
    // More questions than there is room for.
    stage.at("lan", "sh -c 'i=0; while [ $i -lt 300 ]; do dig +short +time=1 +tries=1 -b 192.168.1.10#$((20000+i)) @203.0.113.9 name.test & i=$((i+1)); done >/dev/null 2>&1; wait'")?;
    let count: usize = stage.command("conntrack -C")?.trim().parse().map_err(|_| "no count")?;
    if count > 64 {
        return Err(format!("{count} connections where 64 are allowed"));
    }
    all_complete(downloads).map(|text| format!("{text}, {count} connections in a table of 64"))
}

fn memory(stage: &mut Stage) -> Outcome {
    let resident = |stage: &Stage| -> Result<u64, String> {
        let pid = stage.gateway.as_ref().map_or(0, Child::id);
        let text = sh(&format!("grep VmRSS /proc/{pid}/status | tr -dc 0-9"))?;
        text.trim().parse().map_err(|_| "no memory figure".to_owned())
    };
    let load = "sh -c 'for i in 1 2 3 4 5 6; do curl -sf -m 20 http://203.0.113.9/file >/dev/null; dig +short +time=2 @203.0.113.9 name.test >/dev/null; ping -c 5 -i 0.01 -s 3000 203.0.113.9 >/dev/null; timeout 20 iperf3 -c 203.0.113.9 -t 1 >/dev/null; done'";
    stage.at("lan", load)?;
    let before = resident(stage)?;
    stage.at("lan", load)?;
    let after = resident(stage)?;
    let text = format!("{before} kB after one round, {after} kB after two");
    if after > before + before / 10 + 1024 { Err(text) } else { Ok(text) }
}
