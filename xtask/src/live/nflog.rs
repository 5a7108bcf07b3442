//! NFLOG: what a listener hears from the kernel, and what the gateway writes into its capture, of the same packets.

use super::board::Teller;
use super::stage::Stage;
use std::time::Duration;

const RULES: &str = "\
*raw
-A PREROUTING -p udp -m udp --dport 53 -j NFLOG --nflog-group 5 --nflog-prefix \"raw in\"
COMMIT
*mangle
-A PREROUTING -p udp -m udp --dport 53 -j MARK --set-xmark 0x9/0xffffffff
COMMIT
*nat
-A POSTROUTING -o wan0 -p udp -j NFLOG --nflog-group 5 --nflog-prefix \"before translation\"
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -j NFLOG --nflog-group 5 --nflog-prefix forwarded --nflog-size 30
-A FORWARD -p udp -j NFLOG --nflog-group 6 --nflog-prefix \"for somebody else\"
-A OUTPUT -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j NFLOG --nflog-group 5 --nflog-prefix \"own packets\"
-A INPUT -p icmp -j NFLOG --nflog-group 5
COMMIT
";

/// Name, where, command, and how many packets are shown.
const CASES: &[(&str, &str, &str, usize)] = &[
    ("a question and its answer", "lan", "dig +short +time=2 +tries=1 @203.0.113.9 name.test", 4),
    ("the router's own", "rt", "curl -sf -m 5 http://203.0.113.9/name", 1),
    ("for the router", "wan", "ping -c 1 -W 2 203.0.113.1", 1),
];

/// Every case.
pub(crate) fn run(stage: &Stage, tell: Teller<'_>) {
    for (name, side, command, count) in CASES {
        let outcome = case(stage, side, command, *count).unwrap_or_else(|why| format!("failed: {why}"));
        tell.check(format!("NFLOG: {name}"), outcome);
    }
}

fn case(stage: &Stage, side: &str, command: &str, count: usize) -> Result<String, String> {
    stage.load(RULES)?;
    stage.write("nflog.py", include_str!("nflog.py"))?;
    let dir = stage.dir.display();
    let from = if stage.is_kernel() { "kernel 5".to_owned() } else { format!("{dir}/nflog-5.pcap") };
    let mut listener = stage.child("rt", &format!("python3 {dir}/nflog.py {from}"))?;
    if listener.line()? != "ready" {
        return Err("the listener did not start".to_owned());
    }
    stage.at(side, command)?;
    std::thread::sleep(Duration::from_millis(100));
    let lines = (0..count).map(|_| listener.line()).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join(", "))
}
