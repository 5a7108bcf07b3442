//! What real programs do through the router, and how they fare. An outcome is the same text whoever routes, or begins with `failed`.

use super::stage::Stage;

/// Each check: its name, where it runs, the command; the outcome is what it prints.
const CHECKS: &[(&str, &str, &str)] = &[
    ("ping the router", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 192.168.1.1 | grep -o \"[0-9]* received\"'"),
    ("ping the stranger", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 203.0.113.9 | grep -o \"[0-9]* received\"'"),
    ("ping the stranger, IPv6", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 2001:db8:9::9 | grep -o \"[0-9]* received\"'"),
    ("ping with fragments", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 -s 4000 203.0.113.9 | grep -o \"[0-9]* received\"'"),
    ("ping nobody: told so", "lan", "sh -c 'ping -c 1 -W 5 203.0.113.77 | grep -o \"Destination Host Unreachable\"'"),
    (
        "traceroute",
        "lan",
        "sh -c 'traceroute -n -q 1 -w 2 203.0.113.9 | tail -n +2 | cut -d\" \" -f4 | tr \"\\n\" \" \"'",
    ),
    ("a file by HTTP", "lan", "sh -c 'curl -sf -m 20 http://203.0.113.9/file | wc -c'"),
    ("a file by HTTP, IPv6", "lan", "sh -c 'curl -sf -m 20 \"http://[2001:db8:9::9]/file\" | wc -c'"),
    ("masquerade", "lan", "curl -sf -m 5 http://203.0.113.9/who"),
    ("masquerade, IPv6", "lan", "curl -sf -m 5 http://[2001:db8:9::9]/who"),
    ("DNS", "lan", "dig +short +time=2 +tries=2 @203.0.113.9 name.test"),
    ("DNS by TCP", "lan", "dig +short +tcp +time=2 +tries=2 @203.0.113.9 name.test"),
    ("FTP, passive", "lan", "sh -c 'curl -sf -m 20 --disable-epsv ftp://203.0.113.9/file | wc -c'"),
    ("FTP, extended passive", "lan", "sh -c 'curl -sf -m 20 ftp://203.0.113.9/file | wc -c'"),
    ("FTP, active", "lan", "sh -c 'curl -sf -m 20 --disable-eprt -P - ftp://203.0.113.9/file | wc -c'"),
    ("ssh", "lan", "sh -c 'ssh-keyscan -T 5 203.0.113.9 2>/dev/null | cut -d\" \" -f2 | sort -u'"),
    ("iperf3 out", "lan", "sh -c 'timeout 20 iperf3 -c 203.0.113.9 -t 1 | grep -o \"iperf Done\"'"),
    ("iperf3 in", "lan", "sh -c 'timeout 20 iperf3 -c 203.0.113.9 -t 1 -R | grep -o \"iperf Done\"'"),
    ("iperf3 by UDP", "lan", "sh -c 'timeout 20 iperf3 -c 203.0.113.9 -t 1 -u -b 20M | grep -o \"iperf Done\"'"),
    ("a forwarded port", "wan", "curl -sf -m 5 http://203.0.113.1:8080/who"),
    ("a forwarded port, IPv6", "wan", "curl -sf -m 5 http://[2001:db8:9::1]:8080/who"),
    ("a file by the forwarded port", "wan", "sh -c 'curl -sf -m 20 http://203.0.113.1:8080/file | wc -c'"),
    ("hairpin", "lan", "curl -sf -m 5 http://203.0.113.1:8080/who"),
    (
        "two servers share a port",
        "wan",
        "sh -c 'for i in 1 2 3 4 5 6; do curl -sf -m 5 http://203.0.113.1:8081/who; done | cut -d\" \" -f1 | sort | uniq -c | tr -s \" \\n\" \" \"'",
    ),
    ("a rejected port", "wan", "sh -c 'curl -s -m 5 http://203.0.113.1:9999/; echo $?'"),
    ("a closed port", "wan", "sh -c 'curl -s -m 5 http://203.0.113.1:9998/; echo $?'"),
    (
        "inside is not reached from outside",
        "wan",
        "sh -c 'ip route add 192.168.1.0/24 via 203.0.113.1; curl -s -m 2 http://192.168.1.10/; echo $?; ip route del 192.168.1.0/24'",
    ),
];

/// Runs them all.
pub(crate) fn run(stage: &Stage) -> Result<Vec<(&'static str, String)>, String> {
    if stage.is_kernel() {
        // The kernel's device answers a second later than it is asked for the first time.
        let _ = stage.at("lan", "ping -c 1 -W 2 203.0.113.9");
    }
    Ok(CHECKS
        .iter()
        .map(|(name, side, command)| {
            let outcome = match stage.at(side, command) {
                Ok(text) if text.trim().is_empty() => "failed: nothing came".to_owned(),
                Ok(text) => text.trim().replace('\n', " "),
                Err(why) => format!("failed: {why}"),
            };
            (*name, outcome)
        })
        .collect())
}
