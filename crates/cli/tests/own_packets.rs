//! `hairpin replay` with what processes of the host send, with sockets, fingerprints and accounting objects of the host file.

use hairpin_wire::{Addr, Family, build, tcp};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HOST: &str = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.2/24"]

[[neighbor]]
address = "10.0.0.1"
mac = "02:00:00:00:00:01"
dev = "eth0"

[[socket]]
proto = "udp"
local = "10.0.0.2:53"
uid = 33
cgroup = "/system.slice/named.service"
classid = 0x100001

[[nfacct]]
name = "few"
quota_packets = 1

[osf]
file = "pf.os"
"#;

const RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p udp -m socket
-A INPUT -p tcp -m osf --genre Linux
-A INPUT -m nfacct --nfacct-name few
-A OUTPUT -m owner --uid-owner 33
-A OUTPUT -m cgroup --path /system.slice
-A OUTPUT -m cgroup --cgroup 1048577
COMMIT
";

const ROUTER: Addr = Addr::v4(0x0a00_0002);
const PEER: Addr = Addr::v4(0x0a00_0001);

/// A capture of frames a millisecond apart; of bare IP packets where `link` is 101.
fn capture(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, link].iter().for_each(|word: &u32| bytes.extend(word.to_le_bytes()));
    for (n, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        [1_700_000_000, n as u32 * 1000, length, length].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(frame);
    }
    bytes
}

fn udp(src: (Addr, u16), dst: (Addr, u16)) -> Vec<u8> {
    build::Udp { src_port: src.1, dst_port: dst.1, payload: b"x" }.packet(Family::V4, src.0, dst.0)
}

fn directory(name: &str, host: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("in")).unwrap();
    fs::write(dir.join("host.toml"), host).unwrap();
    fs::write(dir.join("rules.v4"), RULES).unwrap();
    fs::write(dir.join("pf.os"), "S4:64:1:44:M*:Linux:2.6::Linux 2.6\n").unwrap();
    dir
}

#[test]
fn processes_send_and_receive() {
    let dir = directory("own_packets", HOST);
    let options = [2, 4, 0x03, 0xe8];
    let syn = build::Tcp {
        src_port: 5,
        dst_port: 80,
        flags: tcp::SYN,
        window: 4000,
        options: &options,
        ..Default::default()
    };
    let mut syn = syn.packet(Family::V4, PEER, ROUTER);
    // DF, and the header's checksum with it.
    syn[6] |= 0x40;
    syn[10..12].fill(0);
    let sum = hairpin_wire::checksum::checksum(&syn[..20]);
    syn[10..12].copy_from_slice(&sum.to_be_bytes());
    let arrived = [udp((PEER, 4000), (ROUTER, 53)), udp((PEER, 4000), (ROUTER, 54)), syn];
    fs::write(dir.join("in/eth0.pcap"), capture(101, &arrived)).unwrap();
    let sent = [udp((ROUTER, 53), (PEER, 4000)), udp((ROUTER, 54), (PEER, 4000))];
    fs::write(dir.join("in/@host.pcap"), capture(101, &sent)).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("replay")
        .arg(&dir)
        .arg("--output")
        .arg(dir.join("out"))
        .output();
    let run = run.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(said.contains("@host 2") && said.contains("1 reached a socket of the host"), "{said}");
    let rules = fs::read_to_string(dir.join("out/rules.v4")).unwrap();
    for counted in [
        "[1:29] -A INPUT -p udp -m socket",
        "[1:44] -A INPUT -p tcp -m osf --genre Linux",
        "[2:73] -A INPUT -m nfacct --nfacct-name  few",
        "[1:29] -A OUTPUT -m owner --uid-owner 33",
        "[1:29] -A OUTPUT -m cgroup --path \"/system.slice\"",
        "[1:29] -A OUTPUT -m cgroup --cgroup 1048577",
    ] {
        assert!(rules.contains(counted), "{counted} is not in\n{rules}");
    }
    let accounts = fs::read_to_string(dir.join("out/nfacct")).unwrap();
    assert!(
        accounts.contains("pkts = 00000000000000000003") && accounts.contains("overquota = yes } = few;"),
        "{accounts}"
    );
}

#[test]
fn mistakes_have_their_line() {
    for (wrong, message) in [
        (
            "[[socket]]\nproto = \"udp\"\nlocal = \"10.0.0.2\"\n",
            "host.toml:27:9: local: \"10.0.0.2\" is not an address and a port",
        ),
        ("[[socket]]\nproto = \"icmp\"\nlocal = \"10.0.0.2:1\"\n", "host.toml:26:9: "),
        (
            "[[socket]]\nproto = \"udp\"\nlocal = \"0.0.0.0:1\"\ndev = \"eth7\"\n",
            "host.toml:28:7: there is no interface eth7",
        ),
        ("[[nfacct]]\nname = \"few\"\n", "host.toml:26:8: name: few is there already"),
        (
            "[[nfacct]]\nname = \"b\"\nquota_packets = 1\nquota_bytes = 2\n",
            "host.toml:28:15: quota_bytes: an object has one quota",
        ),
    ] {
        let dir = directory("own_packets_wrong", &format!("{HOST}{wrong}"));
        let run = Command::new(env!("CARGO_BIN_EXE_hairpin")).arg("replay").arg(&dir).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(message), "{wrong}: {said}");
    }
    let dir = directory("own_packets_osf", HOST);
    fs::write(dir.join("pf.os"), "S4:64:1:44:M*:Linux\n").unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_hairpin")).arg("replay").arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("pf.os: line 1: nine fields are expected"), "{said}");
}
