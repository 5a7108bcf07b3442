//! What real programs do through the router, and how they fare. An outcome is the same text whoever routes, or begins with `failed`.

use super::board::Teller;
use super::stage::{Router, Stage};

/// Each check: its name, where it runs, the command; the outcome is what it prints. `{far}` and so on are addresses of the family, with
/// `-url` as they stand in a URL.
const CHECKS: &[(&str, &str, &str)] = &[
    ("ping the router", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 {inside} | grep -o \"[0-9]* received\"'"),
    ("ping the stranger", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 {far} | grep -o \"[0-9]* received\"'"),
    ("ping with fragments", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 -s 4000 {far} | grep -o \"[0-9]* received\"'"),
    (NOBODY, "lan", "sh -c 'ping -c 1 -W 5 {nobody} | grep -o \"Destination .*nreachable\"'"),
    ("traceroute", "lan", "sh -c 'traceroute -n -q 1 -w 2 {far} | tail -n +2 | cut -d\" \" -f4 | tr \"\\n\" \" \"'"),
    ("a file by HTTP", "lan", "sh -c 'curl -sf -m 20 http://{far-url}/file | wc -c'"),
    ("masquerade", "lan", "curl -sf -m 5 http://{far-url}/who"),
    ("DNS", "lan", "dig +short +time=2 +tries=2 @{far} name.test"),
    ("DNS by TCP", "lan", "dig +short +tcp +time=2 +tries=2 @{far} name.test"),
    ("FTP, passive", "lan", "sh -c 'curl -sf -m 20 {old-passive} ftp://{far-url}/file | wc -c'"),
    ("FTP, extended passive", "lan", "sh -c 'curl -sf -m 20 ftp://{far-url}/file | wc -c'"),
    ("FTP, active", "lan", "sh -c 'curl -sf -m 20 {old-active} -P - ftp://{far-url}/file | wc -c'"),
    (
        "ssh",
        "lan",
        "ssh -i {dir}/userkey -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 -q root@{far} 'echo seen: ${SSH_CLIENT%% *}'",
    ),
    ("iperf3 out", "lan", "sh -c 'timeout 20 iperf3 -c {far} -t 1 | grep -o \"iperf Done\"'"),
    ("iperf3 in", "lan", "sh -c 'timeout 20 iperf3 -c {far} -t 1 -R | grep -o \"iperf Done\"'"),
    ("iperf3 by UDP", "lan", "sh -c 'timeout 20 iperf3 -c {far} -t 1 -u -b 20M | grep -o \"iperf Done\"'"),
    ("a forwarded port", "wan", "curl -sf -m 5 http://{public-url}:8080/who"),
    ("a file by the forwarded port", "wan", "sh -c 'curl -sf -m 20 http://{public-url}:8080/file | wc -c'"),
    ("hairpin", "lan", "curl -sf -m 5 http://{public-url}:8080/who"),
    (
        "two servers share a port",
        "wan",
        "sh -c 'for i in 1 2 3 4 5 6; do curl -sf -m 5 http://{public-url}:8081/who; done | cut -d\" \" -f1 | sort | uniq -c | tr -s \" \\n\" \" \"'",
    ),
    ("a rejected port", "wan", "sh -c 'curl -s -m 5 http://{public-url}:9999/; echo $?'"),
    ("a closed port", "wan", "sh -c 'curl -s -m 5 http://{public-url}:9998/; echo $?'"),
    ("the router's own service", "wan", "sh -c 'curl -sf -m 5 http://{public-url}:8088/who'"),
    ("the router's own question", "rt", "sh -c 'curl -sf -m 5 http://{far-url}/who'"),
    (
        "inside is not reached from outside",
        "wan",
        "sh -c 'ip route add {inside-net} via {public}; curl -s -m 2 http://{server-url}/; echo $?; ip route del {inside-net}'",
    ),
];

/// Nobody answers for the address; where links have no addresses, nobody is asked.
const NOBODY: &str = "ping nobody: told so";

/// The addresses of a family.
const NAMES: [[(&str, &str); 7]; 2] = [
    [
        ("{far}", "203.0.113.9"),
        ("{inside}", "192.168.1.1"),
        ("{nobody}", "203.0.113.77"),
        ("{public}", "203.0.113.1"),
        ("{server}", "192.168.1.10"),
        ("{inside-net}", "192.168.1.0/24"),
        ("{old-passive}", "--disable-epsv"),
    ],
    [
        ("{far}", "2001:db8:9::9"),
        ("{inside}", "fd00:1::1"),
        ("{nobody}", "2001:db8:9::77"),
        ("{public}", "2001:db8:9::1"),
        ("{server}", "fd00:1::10"),
        ("{inside-net}", "fd00:1::/64"),
        ("{old-passive}", ""),
    ],
];

/// Runs them all, for IPv4 and for IPv6.
pub(crate) fn run(stage: &Stage, tell: Teller<'_>) {
    if stage.is_kernel() {
        // The kernel's device answers a second later than it is asked for the first time.
        let _ = stage.at("lan", "ping -c 1 -W 2 203.0.113.9");
        let _ = stage.at("lan", "ping -c 1 -W 2 2001:db8:9::9");
    }
    for (names, family) in NAMES.iter().zip(["", ", IPv6"]) {
        for (name, side, command) in CHECKS {
            if *name == NOBODY && stage.router == Router::Tun {
                continue;
            }
            tell.check(format!("{name}{family}"), outcome(stage, side, &fill(stage, command, names)));
        }
    }
}

fn fill(stage: &Stage, command: &str, names: &[(&str, &str)]) -> String {
    let mut text = command.replace("{dir}", &stage.dir.display().to_string());
    let is_v4 = names.iter().any(|(_, value)| *value == "192.168.1.1");
    text = text.replace("{old-active}", if is_v4 { "--disable-eprt" } else { "" });
    for (name, value) in names {
        let url = if is_v4 { (*value).to_owned() } else { format!("[{value}]") };
        text = text.replace(&name.replace('}', "-url}"), &url).replace(name, value);
    }
    text
}

/// What a command prints, on one line.
pub(crate) fn outcome(stage: &Stage, side: &str, command: &str) -> String {
    match stage.at(side, command) {
        Ok(text) if text.trim().is_empty() => "failed: nothing came".to_owned(),
        Ok(text) => text.trim().replace('\n', " "),
        Err(why) => format!("failed: {why}"),
    }
}
