//! What an operator asks of a running gateway: packets as they pass, captures, settings, numbers. Needs root.

use hairpin::capture::{Capture, LinkType};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "support/lab.rs"]
mod lab;

use lab::{Lab, quiet};

/// A verb that goes on, on its own.
fn begin(lab: &Lab, words: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    command.args(words).env("HAIRPIN_SOCKET", lab.socket()).env_remove("HAIRPIN_STATE");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    child
}

/// Its output, once it has ended.
fn end(mut child: Child) -> (String, String) {
    let until = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err)
}

/// Both directions of a translated connection are found by the inside address; others are left alone.
#[test]
fn packets_are_followed_as_they_pass() {
    let Some(mut lab) = Lab::new("t") else { return };
    lab.start();
    assert!(lab.pings());
    let tracing = begin(&lab, &["trace", "--live", "--count", "2", "host 192.168.1.2 and icmp and not port 80"]);
    let others = begin(&lab, &["trace", "--live", "--json", "--seconds", "4", "tcp or out lan0 and udp"]);
    assert!(lab.pings());
    let (out, err) = end(tracing);
    assert!(
        out.contains("#1 at ") && out.contains(" on lan0\n") && out.contains("#2 at ") && out.contains(" on wan0\n"),
        "{out}"
    );
    assert!(out.contains("packet 192.168.1.2 > 203.0.113.2 icmp 8/0"), "{out}");
    assert!(out.contains("filter FORWARD rule 2: yes, ACCEPT    [-i lan0 -j ACCEPT]"), "{out}");
    assert!(out.contains("= leaves by lan0"), "{out}");
    assert_eq!(err, "2 packets shown\n");
    assert_eq!(end(others), (String::new(), "0 packets shown\n".to_owned()));
    // What nobody reads harms nobody, and what cannot be is said.
    let unread = begin(&lab, &["trace", "--live"]);
    for _ in 0..3 {
        assert!(lab.pings());
    }
    quiet(Command::new("kill").args(["-INT", &unread.id().to_string()]));
    let (_, err) = end(unread);
    assert!(err.contains("packets shown"), "{err}");
    let wrong = lab.hairpin(&["trace", "--live", "in eth7"]);
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{text}");
    assert!(text.contains("there is no device `eth7': there are lo, wan0, lan0"), "{text}");
    assert_eq!(lab.hairpin(&["trace", "--live", "prot 5"]).status.code(), Some(2));
}

#[test]
fn captures_have_the_way_as_comment() {
    let Some(mut lab) = Lab::new("p") else { return };
    lab.start();
    assert!(lab.pings());
    let file = lab.directory.join("ping.pcapng");
    let capturing = begin(&lab, &["capture", "-w", file.to_str().unwrap(), "--count", "2", "icmp"]);
    assert!(lab.pings());
    let (_, err) = end(capturing);
    assert_eq!(err, "2 packets captured\n");
    let mut capture = Capture::open(&file).unwrap();
    let (mut frame, mut frames) = (Vec::new(), Vec::new());
    while let Some(info) = capture.next(&mut frame).unwrap() {
        assert_eq!(info.link, LinkType::Ethernet);
        let src = std::net::Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]).to_string();
        frames.push((src, frame[34]));
    }
    // In as it came, out as it left; then the answer.
    let expected = [("192.168.1.2", 8), ("203.0.113.1", 8), ("203.0.113.2", 0), ("203.0.113.2", 0)];
    assert_eq!(frames, expected.map(|(src, kind)| (src.to_owned(), kind)));
    let bytes = std::fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("nat POSTROUTING rule 1: yes") && text.contains("left because of #1"), "{text}");
    assert!(text.contains("wan0") && text.contains("lan0"));
    let tshark =
        Command::new("tshark").args(["-r", file.to_str().unwrap(), "-T", "fields", "-e", "frame.comment"]).output();
    if let Ok(shown) = tshark {
        assert!(String::from_utf8_lossy(&shown.stdout).contains("left because of #1"));
    }
    // By time, with nothing to see; to standard output.
    let nothing = lab.hairpin(&["capture", "--seconds", "1", "host 9.9.9.9"]);
    assert_eq!(nothing.stdout[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    assert!(nothing.status.success());
}

/// Without a gateway: what would happen, under the same file.
#[test]
fn accounts_of_packets_in_words() {
    let directory = std::env::temp_dir().join(format!("hairpin-trace-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("gateway.toml"), lab::TOML).unwrap();
    std::fs::write(directory.join("rules.v4"), lab::RULES).unwrap();
    let trace = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hairpin")).arg("trace").args(words).current_dir(&directory).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let words: Vec<&str> =
        "udp 192.168.1.2:1234 to 203.0.113.9:53 then reply then in wan0 tcp 203.0.113.9:5 to 192.168.1.2:22"
            .split(' ')
            .collect();
    let (code, out, err) = trace(&words);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("203.0.113.9:53 > 203.0.113.1:1234 udp"), "{out}");
    assert!(out.contains("= leaves by lan0"), "{out}");
    assert!(out.contains("filter FORWARD rule 3: yes, DROP"), "{out}");
    assert!(trace(&["--json", "icmp", "192.168.1.2", "to", "192.168.1.1"]).1.contains("{\"fate\":"));
    for (words, says) in [
        (vec!["udp", "192.168.1.2:1"], "`to' is expected"),
        (
            vec!["--in", "eth9", "icmp", "192.168.1.2", "to", "192.168.1.1"],
            "there is no device `eth9': there are lo, wan0, lan0",
        ),
        (vec!["icmp", "8.8.8.8", "to", "192.168.1.1"], "no route leads back to 8.8.8.8"),
        (vec!["--host", "none.toml", "icmp", "192.168.1.2", "to", "192.168.1.1"], "none.toml"),
    ] {
        let (code, _, err) = trace(&words);
        assert!(code != Some(0) && err.contains(says), "{words:?}: {err}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Accounting objects of the file and of the command count the running gateway's packets, also after kill -9; SIGHUP brings more.
#[test]
fn accounting_objects_count_on() {
    let Some(mut lab) = Lab::new("nf") else { return };
    let file = lab.directory.join("gateway.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{toml}\n[[nfacct]]\nname = \"web\"\n")).unwrap();
    std::fs::write(
        lab.directory.join("rules.v4"),
        lab::RULES.replace("*filter\n", "*filter\n-A FORWARD -m nfacct --nfacct-name web\n"),
    )
    .unwrap();
    lab.start();
    lab.says(&["nfacct", "add", "more", "packet", "3"]);
    lab.says(&["iptables", "-I", "FORWARD", "-m", "nfacct", "--nfacct-name", "more"]);
    assert!(lab.pings());
    let packets = |lab: &Lab, name: &str| {
        let text = lab.says(&["nfacct", "get", name]);
        let count = text.split("pkts = ").nth(1).and_then(|rest| rest.split(',').next()?.trim().parse::<u64>().ok());
        count.unwrap_or_else(|| panic!("{text}"))
    };
    assert_eq!((packets(&lab, "web"), packets(&lab, "more")), (2, 2));
    let refused = lab.hairpin(&["nfacct", "delete", "more"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("busy"), "{refused:?}");
    // Long enough for a snapshot.
    std::thread::sleep(Duration::from_millis(2500));
    lab.kill("-9");
    lab.start();
    assert_eq!((packets(&lab, "web"), packets(&lab, "more")), (2, 2), "{}", lab.log());
    assert!(lab.pings());
    assert_eq!(packets(&lab, "web"), 4);
    std::fs::write(&file, format!("{toml}\n[[nfacct]]\nname = \"web\"\n[[nfacct]]\nname = \"new\"\n")).unwrap();
    std::fs::write(
        lab.directory.join("rules.v4"),
        lab::RULES.replace("*filter\n", "*filter\n-A FORWARD -m nfacct --nfacct-name new\n"),
    )
    .unwrap();
    lab.quiet_kill("-HUP");
    let until = Instant::now() + Duration::from_secs(10);
    while !lab.log().contains("in force anew") {
        assert!(Instant::now() < until, "{}", lab.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.pings());
    assert_eq!((packets(&lab, "web"), packets(&lab, "new")), (4, 2));
}

/// Settings act at once, stay when a link goes down and up, and are refused as sysctl refuses them.
#[test]
fn settings_of_the_running_gateway() {
    let Some(mut lab) = Lab::new("y") else { return };
    lab.start();
    assert!(lab.pings());
    assert_eq!(lab.says(&["sysctl", "net.ipv4.ip_forward"]), "net.ipv4.ip_forward = 1\n");
    assert_eq!(lab.says(&["sysctl", "-w", "net/ipv4/ip_forward=0"]), "net.ipv4.ip_forward = 0\n");
    assert!(!lab.pings());
    assert!(lab.inside(0, &["ip", "link", "set", "wan0", "down"]).status().unwrap().success());
    assert!(lab.inside(0, &["ip", "link", "set", "wan0", "up"]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.says(&["sysctl", "-n", "net.ipv4.conf.lan0.forwarding"]), "0\n");
    lab.says(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
    assert!(lab.pings());
    lab.says(&["sysctl", "-w", "net.netfilter.nf_conntrack_max=1234"]);
    assert!(lab.says(&["status"]).contains(" of 1234 "));
    assert!(lab.says(&["sysctl", "-a"]).contains("net.netfilter.nf_conntrack_max = 1234\n"));
    let refused = lab.hairpin(&["sysctl", "-w", "net.ipv4.nope=1"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(text, "sysctl: cannot stat /proc/sys/net/ipv4/nope: No such file or directory\n");
}

/// LOG's lines go where the host file says, NFLOG's packets into a capture that tcpdump reads.
#[test]
fn logs_go_where_they_are_wanted() {
    let Some(mut lab) = Lab::new("g") else { return };
    let file = lab.directory.join("gateway.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    let logs = "\n[log]\nto = \"logs/lines\"\n\n[[nflog]]\ngroup = 5\nfile = \"logs/five.pcap\"\n";
    std::fs::write(&file, toml + logs).unwrap();
    lab.start();
    lab.says(&["iptables", "-I", "FORWARD", "1", "-p", "icmp", "-j", "LOG", "--log-prefix", "seen: "]);
    lab.says(&[
        "iptables",
        "-I",
        "FORWARD",
        "1",
        "-p",
        "icmp",
        "-j",
        "NFLOG",
        "--nflog-group",
        "5",
        "--nflog-prefix",
        "five",
    ]);
    lab.says(&["iptables", "-I", "FORWARD", "1", "-p", "icmp", "-j", "NFLOG", "--nflog-group", "6"]);
    assert!(lab.pings());
    std::thread::sleep(Duration::from_millis(700));
    let lines = std::fs::read_to_string(lab.directory.join("logs/lines")).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.contains("Z seen: IN=lan0 OUT=wan0 ") && lines.starts_with("20"), "{lines}");
    assert!(!lab.log().contains("seen: "));
    // Moved away, as logrotate does it: the next lines are in a new file.
    std::fs::rename(lab.directory.join("logs/lines"), lab.directory.join("logs/lines.1")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(lab.pings());
    lab.kill("-TERM");
    assert_eq!(std::fs::read_to_string(lab.directory.join("logs/lines")).unwrap().lines().count(), 2);
    let capture = std::fs::read(lab.directory.join("logs/five.pcap")).unwrap();
    assert_eq!(capture[20], 239);
    let path = lab.directory.join("logs/five.pcap");
    let Ok(read) = Command::new("tcpdump").args(["-n", "-r", path.to_str().unwrap()]).output() else { return };
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    assert_eq!(text.matches("ICMP echo request").count(), 2, "{text}");
    assert_eq!(text.matches("ICMP echo reply").count(), 2, "{text}");
}

/// SIGHUP opens and closes logs; what stays in the file goes on, and what cannot be opened any more is refused with the whole file.
#[test]
fn logs_change_with_the_file() {
    let Some(mut lab) = Lab::new("h") else { return };
    let file = lab.directory.join("gateway.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    let with = |log: &str| std::fs::write(&file, format!("{toml}\n{log}")).unwrap();
    let five = "[[nflog]]\ngroup = 5\nfile = \"five.pcap\"\n";
    with(&format!("[log]\nto = \"one\"\n{five}"));
    // SIGHUP reads the rules too.
    let rules: String = ["LOG --log-prefix seen:", "NFLOG --nflog-group 5", "NFLOG --nflog-group 6"]
        .map(|what| format!("-A FORWARD -p icmp --icmp-type echo-request -j {what}\n"))
        .concat();
    std::fs::write(
        lab.directory.join("rules.v4"),
        format!("*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n*filter\n{rules}COMMIT\n"),
    )
    .unwrap();
    lab.start();
    // Waits for what is written beside the packets.
    let lines = |name: &str| std::fs::read_to_string(lab.directory.join(name)).unwrap_or_default().lines().count();
    let packets = |name: &str| {
        let bytes = std::fs::read(lab.directory.join(name)).unwrap_or_default();
        let (mut at, mut count) = (24, 0);
        while let Some(length) = bytes.get(at + 8..at + 12) {
            at += 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
            count += 1;
        }
        count
    };
    let ping_until = |what: &str, is_so: &dyn Fn() -> bool| {
        assert!(lab.pings());
        let until = Instant::now() + Duration::from_secs(5);
        while !is_so() {
            assert!(Instant::now() < until, "{what}: {}", lab.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let reload = |says: &str| {
        let before = lab.log().matches(says).count();
        quiet(Command::new("kill").args(["-HUP", &lab.pid().to_string()]));
        let until = Instant::now() + Duration::from_secs(5);
        while lab.log().matches(says).count() == before {
            assert!(Instant::now() < until, "never said {says:?}: {}", lab.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    ping_until("before", &|| (lines("one"), packets("five.pcap")) == (1, 1));
    with(&format!("[log]\nto = \"two\"\n{five}[[nflog]]\ngroup = 6\nfile = \"six.pcap\"\n"));
    reload("in force anew");
    ping_until("another file, and one more", &|| {
        (lines("one"), lines("two"), packets("five.pcap"), packets("six.pcap")) == (1, 1, 2, 1)
    });
    with("[log]\nto = \"none\"\n[[nflog]]\ngroup = 6\nfile = \"five.pcap\"\n");
    reload("in force anew");
    ping_until("the other group's file", &|| (lines("two"), packets("five.pcap"), packets("six.pcap")) == (1, 3, 1));
    // All or nothing.
    let elsewhere = std::env::temp_dir().join(format!("hairpin-elsewhere-{}", std::process::id()));
    with(&format!("[log]\nto = \"{}\"\n", elsewhere.join("log").display()));
    std::fs::create_dir_all(&elsewhere).unwrap();
    reload("nothing was changed: log: ");
    assert!(lab.log().contains("restart it to open this") || elsewhere.join("log").exists(), "{}", lab.log());
    let _ = std::fs::remove_dir_all(&elsewhere);
    std::fs::write(&file, toml.replace("interval = 1", "interval = 2")).unwrap();
    reload("nothing was changed: [state] is read at start only");
    ping_until("as before", &|| packets("five.pcap") == 4);
}

/// NFQUEUE: a listener's verdicts hold, a slow one loses packets and nobody else does, and without one the rule decides.
#[test]
fn queues_have_listeners() {
    let Some(mut lab) = Lab::new("n") else { return };
    lab.start();
    assert!(lab.pings());
    let rule = ["-p", "icmp", "-j", "NFQUEUE", "--queue-num", "5"];
    let change = |what: &str, more: &[&str]| {
        let words: Vec<&str> = ["iptables", what, "FORWARD"].iter().chain(&rule).chain(more).copied().collect();
        lab.says(&words);
    };
    change("-I", &[]);
    assert!(!lab.pings(), "nobody listens");
    change("-D", &[]);
    change("-I", &["--queue-bypass"]);
    assert!(lab.pings(), "nobody listens, and the rule says to pass");
    lab.says(&["iptables", "-t", "mangle", "-A", "POSTROUTING", "-m", "mark", "--mark", "7"]);
    let accepting = begin(&lab, &["queue", "5", "--mark", "7", "--count", "2"]);
    let taken = lab.hairpin(&["queue", "5"]);
    assert!(String::from_utf8_lossy(&taken.stderr).contains("queue 5 has a listener already"));
    assert!(lab.pings());
    let (out, err) = end(accepting);
    assert!(out.contains("filter FORWARD lan0 > wan0: 192.168.1.2 > 203.0.113.2 icmp 8/0"), "{out}{err}");
    assert!(out.contains("filter FORWARD wan0 > lan0: 203.0.113.2 > 192.168.1.2 icmp 0/0"), "{out}");
    let counted = lab.says(&["iptables-save", "-c", "-t", "mangle"]);
    assert!(counted.contains("[2:168] -A POSTROUTING -m mark --mark 0x7"), "{counted}");
    let mut dropping = begin(&lab, &["queue", "5", "--drop", "--quiet"]);
    assert!(!lab.pings());
    dropping.kill().unwrap();
    dropping.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(lab.pings(), "the listener is gone");
    // In nat, where what was accepted goes on behind the table: one packet, one verdict.
    let nat = ["-p", "icmp", "-j", "NFQUEUE", "--queue-num", "6"];
    lab.says(&[&["iptables", "-t", "nat", "-I", "PREROUTING"][..], &nat].concat());
    let accepting = begin(&lab, &["queue", "6", "--count", "1"]);
    assert!(lab.pings(), "{}", lab.log());
    let (out, _) = end(accepting);
    assert!(out.starts_with("1 nat PREROUTING lan0 > -: 192.168.1.2"), "{out}");
    lab.says(&[&["iptables", "-t", "nat", "-D", "PREROUTING"][..], &nat].concat());
    // One that never answers: its queue fills up, and what finds no room passes when it said so.
    let mut silent = std::os::unix::net::UnixStream::connect(lab.socket()).unwrap();
    let words: Vec<String> = ["5", "--maxlen", "2", "--fail-open"].map(str::to_owned).to_vec();
    hairpin_control::protocol::Frame::Request(hairpin_control::protocol::Request::verb("queue", &words))
        .send(&mut silent)
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!lab.pings() && !lab.pings(), "two wait");
    assert!(lab.pings(), "the third finds no room");
    drop(silent);
    std::thread::sleep(Duration::from_millis(200));
    assert!(lab.pings());
}

fn metrics(port: u16) -> String {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Every name that the dashboard asks for is one that the gateway tells; a limit that is nearly reached is told in three places.
#[test]
fn metrics_have_what_the_dashboard_asks_for() {
    let Some(mut lab) = Lab::new("m") else { return };
    let port = 20_000 + (std::process::id() % 10_000) as u16;
    let file = lab.directory.join("gateway.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{toml}\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    lab.start();
    assert!(lab.pings());
    lab.says(&["iptables", "-I", "FORWARD", "1", "-m", "comment", "--comment", "all of it"]);
    assert!(lab.pings());
    let text = metrics(port);
    let told = |name: &str| text.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
    let dashboard = include_str!("../../../packaging/grafana/hairpin.json");
    let mut names: Vec<&str> = dashboard
        .match_indices("hairpin_")
        .map(|(at, _)| dashboard[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        // Queues have series only while somebody listens.
        let is_there = told(name) || name.starts_with("hairpin_queue_") && text.contains(&format!("# TYPE {name} "));
        assert!(is_there, "{name} is not in\n{text}");
    }
    assert!(
        text.contains(
            "hairpin_rule_packets_total{family=\"ipv4\",table=\"filter\",chain=\"FORWARD\",comment=\"all of it\"} 2"
        ),
        "{text}"
    );
    assert!(text.contains("hairpin_nat_ports_used{address=\"203.0.113.1\",protocol=\"icmp\"}"), "{text}");
    lab.says(&["sysctl", "-w", "net.netfilter.nf_conntrack_max=2"]);
    std::thread::sleep(Duration::from_millis(1300));
    assert!(metrics(port).contains("hairpin_limit_warning{limit=\"nf_conntrack_max\"} 1"));
    assert!(lab.log().contains("warning: 100 % of nf_conntrack_max are used: 2 of 2"), "{}", lab.log());
    let status = lab.says(&["status"]);
    assert!(status.contains("warning: 100 % of nf_conntrack_max are used: 2 of 2"), "{status}");
}

/// All of it as text and as JSON.
#[test]
fn the_state_of_the_gateway() {
    let Some(mut lab) = Lab::new("u") else { return };
    lab.start();
    assert!(lab.pings());
    std::thread::sleep(Duration::from_millis(1500));
    let text = lab.says(&["status"]);
    for part in [
        "interface wan0: up, ",
        "203.0.113.1/24; received ",
        "last reload: none since the start",
        "snapshot: state, 0 d 00:00:0",
        "longest pause: ",
        "neighbors: ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    quiet(Command::new("kill").args(["-HUP", &lab.pid().to_string()]));
    std::thread::sleep(Duration::from_millis(500));
    let json = lab.says(&["status", "--json"]);
    let read = Command::new("python3")
        .args(["-c", "import json,sys; d=json.loads(sys.argv[1]); print(d['connections'], d['interfaces'][1]['name'], d['last_reload']['done'], d['interfaces'][0]['addresses'])", &json])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "1 lan0 True ['203.0.113.1/24']\n", "{json}");
    assert_eq!(lab.hairpin(&["status", "--frob"]).status.code(), Some(2));
}

/// On a terminal it is drawn, keys choose, and q ends it; elsewhere it is text.
#[test]
fn the_busiest_on_a_terminal() {
    let Some(mut lab) = Lab::new("o") else { return };
    lab.start();
    assert!(lab.pings());
    let text = lab.says(&["top"]);
    for part in
        ["flows\n", "icmp 192.168.1.2 203.0.113.2", "talkers\n", "IPv4 filter FORWARD 2 -i lan0 -j ACCEPT", "drops\n"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let script = "import pty,os,sys,time,select\npid,fd=pty.fork()\nif pid==0:\n  os.execv(sys.argv[1],[sys.argv[1],'top'])\n\
        import fcntl,termios,struct\nfcntl.ioctl(fd,termios.TIOCSWINSZ,struct.pack('HHHH',24,120,0,0))\nout=b''\n\
        def read(s):\n  global out\n  end=time.time()+s\n  while time.time()<end:\n    if select.select([fd],[],[],0.1)[0]:\n      try: out+=os.read(fd,65536)\n      except OSError: return\n\
        read(2.5)\nos.write(fd,b'3')\nread(1)\nos.write(fd,b'q')\nread(1)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\nsys.stdout.buffer.write(out)\n";
    let shown = Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_hairpin")])
        .env("HAIRPIN_SOCKET", lab.socket())
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(out.starts_with("0\n"), "{out}\n{}", String::from_utf8_lossy(&shown.stderr));
    assert!(out.contains("203.0.113.2") && out.contains("FORWARD"), "{out}");
}

/// Addresses seen lately, and buckets of limits, are there again after kill -9.
#[test]
fn memories_of_rules_go_on_after_kill_9() {
    let Some(mut lab) = Lab::new("r") else { return };
    let rules = "*filter\n-A FORWARD -p icmp -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-htable-expire 3600000 --hashlimit-name pings -m recent --set --name seen -j ACCEPT\n\
        -A FORWARD -p icmp --icmp-type echo-reply -j ACCEPT\n-A FORWARD -p icmp -j DROP\n-A INPUT -m recent --rcheck --name seen --seconds 600 -j DROP\nCOMMIT\n";
    std::fs::write(
        lab.directory.join("rules.v4"),
        format!("*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n{rules}"),
    )
    .unwrap();
    lab.start();
    assert!(lab.pings() && lab.pings() && lab.pings());
    assert!(!lab.pings(), "the burst is used up");
    let own = |lab: &Lab| quiet(&mut lab.inside(1, &["ping", "-c", "1", "-W", "1", "192.168.1.1"]));
    assert!(!own(&lab), "it was seen");
    std::thread::sleep(Duration::from_millis(2500));
    lab.kill("-KILL");
    lab.start();
    assert!(!lab.pings(), "the burst is used up still");
    assert!(!own(&lab), "it was seen before");
}

/// `conntrack -E expect`: a data connection is expected when FTP announces it, and is not any more when it comes or its master goes.
#[test]
fn expectations_are_events() {
    let Some(mut lab) = Lab::new("x") else { return };
    lab.start();
    assert!(lab.pings());
    lab.says(&[
        "iptables",
        "-t",
        "raw",
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        "21",
        "-j",
        "CT",
        "--helper",
        "ftp",
    ]);
    let watching = begin(&lab, &["conntrack", "-E", "expect"]);
    let server = "import socket\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('203.0.113.2',21)); s.listen()\nprint('up',flush=True)\n\
        c,_=s.accept()\nc.sendall(b'220 hello\\r\\n')\nc.recv(100)\nd=socket.socket(); d.bind(('203.0.113.2',5000)); d.listen()\n\
        c.sendall(b'227 Entering Passive Mode (203,0,113,2,19,136)\\r\\n')\nc.recv(100)\nc.sendall(b'227 Entering Passive Mode (203,0,113,2,19,137)\\r\\n')\nc.recv(100)\n";
    let client = "import socket,time\ns=socket.create_connection(('203.0.113.2',21))\ns.recv(100); s.sendall(b'PASV\\r\\n'); s.recv(100)\n\
        d=socket.create_connection(('203.0.113.2',5000)); time.sleep(0.3)\ns.sendall(b'PASV\\r\\n'); s.recv(100); time.sleep(0.3)\n";
    let mut serving = lab.inside(0, &["python3", "-c", server]).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    serving.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    assert!(lab.inside(1, &["python3", "-c", client]).status().unwrap().success());
    lab.says(&["conntrack", "-D", "-p", "tcp", "--dport", "21"]);
    assert!(lab.pings());
    std::thread::sleep(Duration::from_millis(300));
    quiet(Command::new("kill").args(["-INT", &watching.id().to_string()]));
    let (out, err) = end(watching);
    let _ = serving.kill();
    let _ = serving.wait();
    let kinds: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(kinds, ["[NEW]", "[DESTROY]", "[NEW]", "[DESTROY]"], "{out}{err}");
    assert!(
        out.lines().next().unwrap().contains("proto=6 src=192.168.1.2 dst=203.0.113.2 sport=0 dport=5000"),
        "{out}"
    );
    assert!(err.contains("4 expectation events have been shown."), "{err}");
}

/// A hundred thousand rules are swapped between two batches: what the loop itself says of the pause.
#[test]
fn a_hundred_thousand_rules_pause_shortly() {
    use std::fmt::Write as _;
    let Some(mut lab) = Lab::new("z") else { return };
    lab.start();
    assert!(lab.pings());
    let rules = |net: u8| {
        let mut text =
            "*filter\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i lan0 -j ACCEPT\n"
                .to_owned();
        for n in 0..100_000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            let _ =
                writeln!(text, "-A FORWARD -s {net}.{a}.{b}.{c}/32 -p tcp -m tcp --dport {} -j DROP", n % 60_000 + 1);
        }
        text + "COMMIT\n"
    };
    lab.restore(&rules(10));
    assert!(lab.pings());
    lab.restore(&rules(11));
    lab.says(&["iptables", "-A", "FORWARD", "-j", "DROP"]);
    assert!(lab.pings());
    let json = lab.says(&["status", "--json"]);
    let nanos = json.split("\"longest_pause_nanos\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let pause = Duration::from_nanos(nanos.parse().unwrap());
    println!("the longest pause of the loop: {pause:?}");
    // Without optimization everything takes many times as long; what is promised is 50 ms.
    let most = if cfg!(debug_assertions) { Duration::from_millis(2000) } else { Duration::from_millis(100) };
    assert!(pause < most, "{pause:?}");
}
