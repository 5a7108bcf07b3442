//! The program `hairpin replay` as people meet it: files in, files out, messages and exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HOST: &str = r#"
[sysctl]
"net.ipv4.ip_forward" = 1

[[interface]]
name = "lan"
mac = "02:00:00:00:00:01"
addresses = ["192.168.1.1/24"]

[[interface]]
name = "wan"
mac = "02:00:00:00:00:02"
addresses = ["203.0.113.1/24"]

[[route]]
to = "default"
via = "203.0.113.254"
dev = "wan"

[[neighbor]]
address = "203.0.113.254"
mac = "02:00:00:00:00:fe"
dev = "wan"
"#;

const RULES: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
                     -A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n\
                     :OUTPUT ACCEPT [0:0]\n[3:99] -A FORWARD -p udp -j LOG --log-prefix \"seen: \"\nCOMMIT\n";

/// A directory that goes away with the test.
struct Scene(PathBuf);

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    /// A home router, and one datagram from its inside.
    fn new(name: &str) -> Scene {
        let path = std::env::temp_dir().join(format!("hairpin-replay-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("in")).expect("a directory");
        let scene = Scene(path);
        scene.write("host.toml", HOST.as_bytes());
        scene.write("rules.v4", RULES.as_bytes());
        scene.write("in/lan.pcap", &capture(&[datagram()]));
        scene
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("replay")
            .args(words)
            .current_dir(&self.0)
            .output()
            .expect("it runs")
    }
}

/// 192.168.1.10:5000 > 198.51.100.5:53 in an Ethernet frame to the router.
fn datagram() -> Vec<u8> {
    use hairpin_wire::{Addr, Family, Mac, build, ethernet};
    let (src, dst) = (Addr::v4(0xc0a8_010a), Addr::v4(0xc633_6405));
    let packet = build::Udp { src_port: 5000, dst_port: 53, payload: b"question" }.packet(Family::V4, src, dst);
    build::frame(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 10]), ethernet::IPV4, &packet)
}

fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let words = |words: &[u32], bytes: &mut Vec<u8>| words.iter().for_each(|w| bytes.extend(w.to_le_bytes()));
    words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1], &mut bytes);
    for (n, frame) in frames.iter().enumerate() {
        words(&[1_700_000_000, n as u32, frame.len() as u32, frame.len() as u32], &mut bytes);
        bytes.extend(frame);
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn fails(output: &Output, code: i32, message: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(message), "{error}");
}

#[test]
fn everything_is_written() {
    let scene = Scene::new("written");
    let words = ["--host", "host.toml", "--rules", "rules.v4", "--input", "lan=in/lan.pcap", "--output", "out"];
    let output = scene.run(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("1 packets arrived"), "{}", text(&output.stdout));
    let out = |name: &str| scene.read(&format!("out/{name}"));
    assert!(
        out("rules.v4").contains("[4:135] -A FORWARD -p udp -j LOG --log-prefix \"seen: \""),
        "{}",
        out("rules.v4")
    );
    assert!(out("rules.v4").contains("[1:36] -A POSTROUTING -o wan -j MASQUERADE"), "{}", out("rules.v4"));
    assert!(out("conntrack").contains("dst=203.0.113.1 sport=53 dport=5000"), "{}", out("conntrack"));
    assert!(out("log").starts_with("seen: IN=lan OUT=wan "), "{}", out("log"));
    assert!(!Path::new(&scene.path("out/messages")).exists());
    let (wan, lan) = (fs::read(scene.path("out/wan.pcap")), fs::read(scene.path("out/lan.pcap")));
    let (wan, lan) = (wan.expect("written"), lan.expect("written"));
    assert_eq!((wan.len(), lan.len()), (24 + 16 + datagram().len(), 24));
    // From the router's address, with one hop less.
    assert_eq!(wan[24 + 16 + 14 + 8], 63);
    assert_eq!(wan[24 + 16 + 14 + 12..][..4], [203, 0, 113, 1]);
}

#[test]
fn a_directory_will_do_and_two_replays_are_the_same() {
    let scene = Scene::new("directory");
    assert!(scene.run(&[".", "--output", "one", "-q"]).stdout.is_empty());
    scene.run(&[".", "--output", "two", "-q"]);
    for name in ["rules.v4", "conntrack", "log", "wan.pcap", "lan.pcap"] {
        let read = |dir: &str| fs::read(scene.path(&format!("{dir}/{name}"))).expect("written");
        assert_eq!(read("one"), read("two"), "{name}");
    }
}

#[test]
fn the_trace_shows_rules_and_their_verdicts() {
    let scene = Scene::new("trace");
    let trace = text(&scene.run(&[".", "--trace"]).stdout);
    for line in [
        "packet 192.168.1.10:5000 > 198.51.100.5:53 udp, ttl 64, 36 bytes",
        "route: unicast by wan via 203.0.113.254",
        "filter FORWARD rule 1: yes, LOG    [-p udp -j LOG --log-prefix \"seen: \"]",
        "filter FORWARD policy: ACCEPT",
        "nat POSTROUTING rule 1: yes, translate the source    [-o wan -j MASQUERADE]",
        "= leaves by wan to 02:00:00:00:00:fe",
    ] {
        assert!(trace.contains(line), "{line}\n{trace}");
    }
    let json = text(&scene.run(&[".", "--trace", "--json"]).stdout);
    assert_eq!(json.lines().count(), 2, "{json}");
    assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{json}");
    assert!(json.contains("\"dropped\":{}"), "{json}");
}

#[test]
fn wrong_command_lines_are_code_2() {
    let scene = Scene::new("usage");
    fails(&scene.run(&["--output", "out"]), 2, "--host is missing");
    fails(&scene.run(&["--host", "host.toml", "--frobnicate"]), 2, "--frobnicate");
    fails(&scene.run(&["--host", "host.toml", "--input", "lan.pcap"]), 2, "write DEVICE=CAPTURE");
}

#[test]
fn wrong_files_are_named_with_the_place() {
    let scene = Scene::new("files");
    fails(&scene.run(&["--host", "nothing.toml"]), 1, "nothing.toml");
    scene.write("host.toml", HOST.replace("addresses = [\"192", "addresses = [\"392").as_bytes());
    fails(&scene.run(&["."]), 1, "host.toml:8");
    scene.write("host.toml", HOST.as_bytes());
    fails(&scene.run(&[".", "--input", "eth7=in/lan.pcap"]), 1, "no device `eth7'");
    fails(&scene.run(&[".", "--input", "lan=in/other.pcap"]), 1, "in/other.pcap: cannot be opened");
    fails(&scene.run(&[".", "--input", "lan=host.toml"]), 1, "host.toml: not a capture");
    scene.write("rules.v4", RULES.replace("-j MASQUERADE", "-j MASQUERADES").as_bytes());
    let output = scene.run(&["."]);
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2));
    assert!(text(&output.stderr).contains("MASQUERADES"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains('6'), "the line: {}", text(&output.stderr));
}

#[test]
fn a_capture_that_breaks_off_is_replayed_up_to_there() {
    let scene = Scene::new("cut");
    let mut bytes = capture(&[datagram(), datagram()]);
    bytes.truncate(bytes.len() - 5);
    scene.write("in/lan.pcap", &bytes);
    let output = scene.run(&[".", "--output", "out"]);
    fails(&output, 1, "in/lan.pcap: frame 2 (byte 90): cut off here");
    assert!(scene.read("out/conntrack").contains("dport=53"), "what came before it counts");
}
