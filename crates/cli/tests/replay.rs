//! The program `hairpin replay` as people meet it: files in, files out, messages and exit codes.

use hairpin_wire::{Addr, Family, Mac, build, ethernet};
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
    let (src, dst) = (Addr::v4(0xc0a8_010a), Addr::v4(0xc633_6405));
    let packet = build::Udp { src_port: 5000, dst_port: 53, payload: b"question" }.packet(Family::V4, src, dst);
    framed(ethernet::IPV4, &packet)
}

fn framed(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    build::frame(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 10]), ethertype, packet)
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

#[test]
fn the_example_is_what_the_kernel_did() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/home-router");
    let scene = Scene::new("example");
    let output = scene.run(&[&example.display().to_string(), "--output", "out"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let got = |name: &str| fs::read(scene.path(&format!("out/{name}"))).expect("written");
    let want = |name: &str| fs::read(example.join("expected").join(name)).expect("recorded");

    assert_eq!(text(&got("rules.v4")), text(&want("rules.v4")));
    assert_eq!(text(&got("log")), text(&want("log")));
    assert_eq!(text(&want("volatile.json")).split_whitespace().collect::<String>(), VOLATILE);
    for device in ["eth0", "eth1"] {
        let (got, want) = (frames(&got(&format!("{device}.pcap"))), frames(&want(&format!("{device}.pcap"))));
        assert_eq!(got.len(), want.len(), "{device}");
        for (n, (mut got, mut want)) in got.into_iter().zip(want).enumerate() {
            if (device, n) == ("eth1", 24) {
                // The id, and the header checksum with it.
                for frame in [&mut got, &mut want] {
                    frame[14 + 4..14 + 6].fill(0);
                    frame[14 + 10..14 + 12].fill(0);
                }
            }
            assert_eq!(got, want, "{device} frame {}", n + 1);
        }
    }
    // The kernel's list is taken a moment after the last frame: lifetimes are a second or two less.
    let (got, want) = (text(&got("conntrack")), text(&want("conntrack")));
    let split = |line: &str| {
        let words: Vec<String> =
            line.split_whitespace().filter(|w| !w.starts_with("use=")).map(str::to_owned).collect();
        let life: u64 = words[4].parse().expect("seconds");
        ([&words[..4], &words[5..]].concat(), life)
    };
    let [mut got, mut want] = [got, want].map(|list| list.lines().map(split).collect::<Vec<_>>());
    got.sort();
    want.sort();
    assert_eq!(got.len(), want.len());
    for ((got, life), (want, wanted)) in got.into_iter().zip(want) {
        assert_eq!(got, want);
        assert!(life.abs_diff(wanted) <= 2, "{got:?}: {life}, the kernel {wanted}");
    }
}

/// What may differ in the example: the id of the packet that the router itself sends.
const VOLATILE: &str = "{\"frames\":{\"eth1\":{\"24\":[\"ip.id\"]}}}";

/// The frames of a classic capture.
fn frames(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = &capture[24..];
    while let Some((head, bytes)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        frames.push(bytes[..length].to_vec());
        rest = &bytes[length..];
    }
    frames
}

#[test]
fn what_is_wrong_is_found_before_anything_is_written() {
    let scene = Scene::new("nothing");
    let nothing_is_written = |output: &Output, message: &str| {
        let error = text(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{error}");
        assert!(error.contains(message), "{message}: {error}");
        assert!(!Path::new(&scene.path("out")).exists(), "{message}");
    };
    let try_with = |name: &str, good: &str, bad: &[u8], message: &str| {
        scene.write(name, bad);
        nothing_is_written(&scene.run(&[".", "--output", "out"]), message);
        scene.write(name, good.as_bytes());
    };
    let key = HOST.replace("dev = \"wan\"\n\n[[neighbor]]", "device = \"wan\"\n\n[[neighbor]]");
    try_with("host.toml", HOST, key.as_bytes(), "host.toml:18:1: ");
    let nowhere = format!("{HOST}\n[[route]]\nto = \"10.55.0.0/16\"\nvia = \"10.77.0.1\"\n");
    try_with("host.toml", HOST, nowhere.as_bytes(), "10.77.0.1 is on no subnet of this host");
    let twice = HOST.replace("\"192.168.1.1/24\"", "\"192.168.1.1/24\", \"203.0.113.1/24\"");
    assert_ne!(twice, HOST);
    try_with("host.toml", HOST, twice.as_bytes(), "203.0.113.1 is there twice");
    let setting = format!("{HOST}\n[sysctl]\n\"net.ipv4.ip_forwrad\" = 1\n").replacen(
        "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n",
        "",
        1,
    );
    try_with("host.toml", HOST, setting.as_bytes(), "did you mean net.ipv4.ip_forward?");
    let option = RULES.replace("-p udp -j LOG", "-p udp --dprot 53 -j LOG");
    try_with("rules.v4", RULES, option.as_bytes(), "rules.v4:12:26: iptables-restore: unknown option \"--dprot\"");
    let open = RULES.trim_end_matches("COMMIT\n");
    try_with("rules.v4", RULES, open.as_bytes(), "rules.v4:13:1: iptables-restore: COMMIT expected at line 13");

    let whole = capture(&[datagram()]);
    let cut_header = &whole[..20];
    let mut linux_any = whole[..24].to_vec();
    linux_any[20] = 113;
    for (bytes, message) in [
        (cut_header, "in/lan.pcap: cut off in its header"),
        (&[][..], "in/lan.pcap: empty"),
        (b"GET / HTTP/1.0\r\n", "in/lan.pcap: not a capture"),
        (b"\x1f\x8b\x08\x00 and so on, compressed", "in/lan.pcap: compressed with gzip; unpack it first"),
        (&linux_any, "in/lan.pcap: frames of link type 113 (Linux `any'); only Ethernet (1) and raw IP (101)"),
    ] {
        scene.write("in/lan.pcap", bytes);
        nothing_is_written(&scene.run(&[".", "--output", "out"]), message);
    }
    scene.write("in/lan.pcap", &whole);
    nothing_is_written(&scene.run(&[".", "--rules6", "rules.v6", "--output", "out"]), "rules.v6: cannot be read");
    nothing_is_written(&scene.run(&[".", "--input", "eth7=in/lan.pcap", "--output", "out"]), "no device `eth7'");
    scene.write("sets", b"create a hash:ip\nadd a 1.2.3.x\n");
    nothing_is_written(&scene.run(&[".", "--output", "out"]), "sets:2: Syntax error: cannot parse 1.2.3.x");
    fs::remove_file(scene.path("sets")).expect("written");
    assert!(scene.run(&[".", "--output", "out", "-q"]).status.success(), "and now it is right");
}

#[test]
fn both_families_and_sets_in_one_run() {
    let scene = Scene::new("families");
    let host = HOST.replace("\"192.168.1.1/24\"", "\"192.168.1.1/24\", \"2001:db8:1::1/64\"");
    scene.write("host.toml", host.as_bytes());
    scene.write("rules6", b"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n");
    scene.write("asked", b"create asked hash:ip counters\n");
    scene.write(
        "rules.v4",
        RULES.replace("-p udp -j LOG", "-j SET --add-set asked dst\n-A FORWARD -p udp -j LOG").as_bytes(),
    );
    let net = 0x2001_0db8_0001 << 80;
    let six = build::Udp { src_port: 5000, dst_port: 53, payload: b"question" };
    let six = six.packet(Family::V6, Addr(net | 0x10), Addr(net | 1));
    scene.write("in/lan.pcap", &capture(&[datagram(), framed(ethernet::IPV6, &six)]));
    let words = [".", "--rules6", "rules6", "--sets", "asked", "--output", "out"];
    let output = scene.run(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 ended here: dropped by a rule"), "{}", text(&output.stdout));
    assert!(scene.read("out/rules.v6").contains(":INPUT DROP [1:56]"), "{}", scene.read("out/rules.v6"));
    assert!(scene.read("out/sets").contains("add asked 198.51.100.5 packets 1 bytes 36"), "{}", scene.read("out/sets"));
}

#[test]
fn chains_call_chains_to_any_depth() {
    const DEPTH: usize = 3000;
    let scene = Scene::new("depth");
    let mut rules = String::from("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    rules.extend((0..DEPTH).map(|n| format!(":c{n} - [0:0]\n")));
    rules += "-A FORWARD -j c0\n-A FORWARD -m comment --comment behind\n";
    rules.extend((1..DEPTH).map(|n| format!("-A c{} -j c{n}\n", n - 1)));
    rules += &format!("-A c{} -m comment --comment deepest\nCOMMIT\n", DEPTH - 1);
    scene.write("rules.v4", rules.as_bytes());
    let output = scene.run(&[".", "--output", "out", "-q"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let saved = scene.read("out/rules.v4");
    for line in ["[1:36] -A FORWARD -m comment --comment behind", "-m comment --comment deepest"] {
        let found = saved.lines().find(|saved| saved.ends_with(line) || saved.contains(line));
        assert!(found.is_some_and(|found| found.starts_with("[1:36]")), "{line}: {found:?}");
    }
    // Round in a circle is refused as Linux refuses it.
    let circle = rules.replace("--comment deepest", "--comment deepest -j c0");
    scene.write("rules.v4", circle.as_bytes());
    let output = scene.run(&[".", "--output", "not", "-q"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("Too many levels of symbolic links"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_packet_is_counted_by_its_reason() {
    let scene = Scene::new("malformed");
    let mut bad_sum = datagram();
    bad_sum[14 + 10] ^= 1;
    let mut short = datagram();
    short.truncate(14 + 12);
    let mut for_another = datagram();
    for_another[5] ^= 0x40;
    scene.write("in/lan.pcap", &capture(&[bad_sum, short, for_another, datagram()]));
    let output = scene.run(&["."]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for line in ["4 packets arrived", "1 left (wan 1)", "1 ended here: bad header checksum"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let reasons = told.lines().filter(|line| line.contains(" ended here: ")).count();
    assert_eq!(reasons, 3, "a name for each: {told}");
    let json = text(&scene.run(&[".", "--json"]).stdout);
    assert!(json.contains("\"arrived\":{\"lan\":4}"), "{json}");
    assert!(json.contains("\"bad IP header\":1,\"bad header checksum\":1"), "{json}");
}

#[test]
fn every_form_of_capture_gives_the_same() {
    let scene = Scene::new("forms");
    let all = [datagram(), datagram()];
    let forms: [(&str, Vec<u8>); 4] = [
        ("classic", capture(&all)),
        ("nanoseconds", classic(&all, 0xa1b2_3c4d, u32::to_le_bytes)),
        ("big", classic(&all, 0xa1b2_c3d4, u32::to_be_bytes)),
        ("next", next_generation(&all)),
    ];
    for (name, bytes) in &forms {
        scene.write("in/lan.pcap", bytes);
        let output = scene.run(&[".", "--output", name, "-q"]);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        for file in ["rules.v4", "conntrack", "log", "wan.pcap", "lan.pcap"] {
            let read = |dir: &str| fs::read(scene.path(&format!("{dir}/{file}"))).expect("written");
            assert_eq!(read("classic"), read(name), "{name}: {file}");
        }
        assert_eq!(frames(&fs::read(scene.path(&format!("{name}/wan.pcap"))).expect("written")).len(), 2, "{name}");
    }
}

/// As [`capture`], with another magic number and byte order.
fn classic(frames: &[Vec<u8>], magic: u32, order: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let unit = if magic == 0xa1b2_3c4d { 1000 } else { 1 };
    let version = if order(1)[0] == 1 { 4 << 16 | 2 } else { 2 << 16 | 4 };
    let mut bytes: Vec<u8> = [magic, version, 0, 0, 65_535, 1].into_iter().flat_map(order).collect();
    for (n, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        bytes.extend([1_700_000_000, n as u32 * unit, length, length].into_iter().flat_map(order));
        bytes.extend(frame);
    }
    bytes
}

/// The same frames as pcapng: a section, an interface with microseconds, enhanced packet blocks.
fn next_generation(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().wrapping_neg() % 4];
        let length = (12 + body.len() + padding.len()) as u32;
        bytes.extend([&kind.to_le_bytes(), &length.to_le_bytes(), body, &padding, &length.to_le_bytes()].concat());
    };
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    block(1, &words(&[1, 65_535]));
    for (n, frame) in frames.iter().enumerate() {
        let (micros, length) = (1_700_000_000_000_000 + n as u64, frame.len() as u32);
        let head = words(&[0, (micros >> 32) as u32, micros as u32, length, length]);
        block(6, &[head, frame.clone()].concat());
    }
    bytes
}

#[test]
fn limits_that_were_reached_are_told() {
    let scene = Scene::new("limits");
    let limits = "[sysctl]\n\"net.netfilter.nf_conntrack_max\" = 6\n\"net.netfilter.nf_conntrack_expect_max\" = 1\n\
                  \"net.ipv4.ipfrag_high_thresh\" = 0";
    scene.write("host.toml", HOST.replace("[sysctl]", limits).as_bytes());
    let rules = RULES.replace("-p udp -j LOG", "-p udp -j SET --add-set few dst\n-A FORWARD -p udp -j LOG");
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n";
    scene.write("rules.v4", (raw.to_owned() + &rules).as_bytes());
    scene.write("few", b"create few hash:ip maxelem 1\n");
    let from = Addr::v4(0xc0a8_010a);
    let to = |n: u32, port: u16, payload: &[u8]| {
        let udp = build::Udp { src_port: 5000 + n as u16, dst_port: port, payload };
        framed(ethernet::IPV4, &udp.packet(Family::V4, from, Addr::v4(0xc633_6405 + n)))
    };
    let mut frames = vec![to(0, 69, b"\0\x01a\0octet\0"), to(1, 69, b"\0\x01a\0octet\0")];
    frames.extend((2..8).map(|n| to(n, 53, b"question")));
    let mut fragment = to(9, 53, b"question");
    // More fragments follow; the header's sum goes along.
    fragment[20] = 0x20;
    let sum = !u16::from_be_bytes([fragment[24], fragment[25]]);
    let (sum, carry) = sum.overflowing_add(0x2000);
    fragment[24..26].copy_from_slice(&(!(sum + u16::from(carry))).to_be_bytes());
    frames.push(fragment);
    scene.write("in/lan.pcap", &capture(&frames));
    let output = scene.run(&[".", "--sets", "few"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let line = "limits reached, and how often: nf_conntrack_max 1, nf_conntrack_expect_max 1, ipfrag_high_thresh 1, set few 6\n";
    assert!(said.contains(line), "{said}");
    let output = scene.run(&[".", "--sets", "few", "--json"]);
    assert!(text(&output.stdout).contains("\"set few\":6"), "{}", text(&output.stdout));
}

#[test]
fn copies_that_come_back_and_are_copied_again_come_to_an_end() {
    let scene = Scene::new("loop");
    let mangle = "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                  :POSTROUTING ACCEPT [0:0]\n-A PREROUTING -j TEE --gateway 192.168.1.1\nCOMMIT\n";
    scene.write("rules.v4", (mangle.to_owned() + RULES).as_bytes());
    let output = scene.run(&["."]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("ended here: loop limit\n"), "{said}");
    assert!(said.contains("limits reached, and how often: loop "), "{said}");
    assert!(said.contains("1 left (wan 1)"), "{said}");
}
