//! NFQUEUE with listeners that decide: the kernel's by nfnetlink, the gateway's by its control socket, under the same rules.

use super::board::Teller;
use super::stage::{Stage, wait_for};
use std::time::Duration;

/// Queue 5 is asked when a datagram for port 7000 or 7009 is forwarded, 6 before that may get another destination, 7 as 5, with `--queue-bypass`.
const RULES: &str = "\
*mangle
-A POSTROUTING -p udp -m udp --dport 7009 -m mark ! --mark 9 -j DROP
COMMIT
*nat
-A PREROUTING -p udp -m udp --dport 7006 -m mark ! --mark 7 -j NFQUEUE --queue-num 6
-A PREROUTING -p udp -m udp --dport 7006 -j DNAT --to-destination 203.0.113.9:7001
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp -m multiport --dports 7000,7009 -j NFQUEUE --queue-num 5
-A FORWARD -p udp -m udp --dport 7007 -j NFQUEUE --queue-num 7 --queue-bypass
COMMIT
";

/// Answers with the port it was asked at and what it was asked.
const SERVER: &str = "
import select, socket
all = []
for port in (7000, 7001, 7006, 7007, 7009):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('203.0.113.9', port)); all.append(s)
print('ready', flush=True)
while True:
    for s in select.select(all, [], [])[0]:
        data, who = s.recvfrom(2000); s.sendto(b'%d: %s' % (s.getsockname()[1], data), who)
";

/// Sends so many datagrams to a port, and prints what comes.
const CLIENT: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.7)
for n in range(int(sys.argv[2])): s.sendto(b'number %d' % n, ('203.0.113.9', int(sys.argv[1])))
try:
    while True: print(s.recv(2000).decode())
except TimeoutError: print('and nothing more')
";

/// Name, the listener's words (none: nobody listens), the port that is asked, how often.
const CASES: &[(&str, &str, u16, u32)] = &[
    ("nobody listens", "", 7000, 1),
    ("nobody listens, and the rule lets pass", "", 7007, 1),
    ("accepted", "5 accept", 7000, 2),
    ("dropped", "5 drop", 7000, 1),
    ("changed", "5 change", 7000, 1),
    ("given a mark that a rule asks for", "5 accept mark=9", 7009, 1),
    ("the rule would let pass, a listener drops", "7 drop", 7007, 1),
    ("accepted in nat: no rule after it", "6 accept", 7006, 1),
    ("walked again in nat, with a mark", "6 repeat mark=7", 7006, 1),
    ("dropped in nat", "6 drop", 7006, 1),
    ("a silent listener", "5 silent maxlen=2", 7000, 3),
    ("a silent listener, what finds no room passes", "5 silent maxlen=2 fail-open", 7000, 3),
    ("the listener is gone", "", 7000, 1),
];

/// Every case.
pub(crate) fn run(stage: &mut Stage, tell: Teller<'_>) {
    let ready = stage.load(RULES).and_then(|()| {
        stage.write("queue.py", include_str!("queue.py"))?;
        stage.write("server.py", SERVER)?;
        stage.write("client.py", CLIENT)?;
        let mut server = stage.child("wan", &format!("python3 {}/server.py", stage.dir.display()))?;
        server.line().map(|_| server)
    });
    let _server = match ready {
        Ok(server) => server,
        Err(why) => return tell.check("NFQUEUE: in place", format!("failed: {why}")),
    };
    for (name, listener, port, count) in CASES {
        let outcome = case(stage, listener, *port, *count).unwrap_or_else(|why| format!("failed: {why}"));
        tell.check(format!("NFQUEUE: {name}"), outcome);
    }
}

fn case(stage: &Stage, listener: &str, port: u16, count: u32) -> Result<String, String> {
    if listener.is_empty() {
        return ask(stage, port, count);
    }
    let dir = stage.dir.display();
    let socket = stage.socket().display().to_string();
    let whose = if stage.is_kernel() { "kernel" } else { &socket };
    let mut listening = stage.child("rt", &format!("python3 {dir}/queue.py {whose} {listener}"))?;
    if listening.line()? != "ready" {
        return Err("the listener did not start".to_owned());
    }
    // The gateway hears of it, and of its end, a moment later.
    let number = listener.split(' ').next().unwrap_or_default();
    let told = |is_there: bool| {
        let has = || stage.command("status").is_ok_and(|text| text.contains(&format!("queue {number}:")) == is_there);
        if stage.is_kernel() { Ok(()) } else { wait_for(Duration::from_secs(5), has) }
    };
    told(true)?;
    let outcome = ask(stage, port, count);
    drop(listening);
    told(false)?;
    outcome
}

fn ask(stage: &Stage, port: u16, count: u32) -> Result<String, String> {
    let text = stage.at("lan", &format!("python3 {}/client.py {port} {count}", stage.dir.display()))?;
    Ok(text.trim().replace('\n', ", "))
}
