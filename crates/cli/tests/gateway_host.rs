//! The gateway as a process of its host: who it is, what it may, what it tells the service manager, who the senders of local packets
//! are, and what it says to its neighbors. Needs root.

#[path = "support/lab.rs"]
mod lab;
#[path = "support/router.rs"]
mod router;

use router::{Router, host, wait_for};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const NOBODY: u32 = 65534;

const MASQUERADE: &str = "*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n";

/// A thread's or process's status: the value of a field.
fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
}

fn is_confined_as(pid: u32, ids: &str) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_eq!((field(&status, "Uid"), field(&status, "Gid")), (ids.to_owned(), ids.to_owned()));
    assert_eq!(field(&status, "Groups"), "");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(&status, set).trim_start_matches('0'), "1000", "{set}: CAP_NET_ADMIN alone");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, set).trim_start_matches('0'), "", "{set}");
    }
    assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("1".to_owned(), "2".to_owned()));
}

/// Everything that a gateway does for days works as an ordinary user with CAP_NET_ADMIN: commands, SIGHUP, snapshots, links.
#[test]
fn root_becomes_an_ordinary_user_and_all_goes_on() {
    let toml = host("", "[run]\nuser = \"nobody\"\n");
    let Some(mut router) = Router::new("u", &toml, MASQUERADE) else { return };
    // A directory that is not his is refused with the remedy.
    let refused = router.at("r", &[env!("CARGO_BIN_EXE_hairpin"), "run", "gateway.toml"]);
    let refused = { refused }.current_dir(&router.directory).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("chown nobody"), "{said}");
    chown(&router.directory, Some(NOBODY), Some(NOBODY)).unwrap();
    std::fs::set_permissions(router.directory.join("rules.v4"), PermissionsExt::from_mode(0o644)).unwrap();
    router.start();
    is_confined_as(router.pid(), "65534 65534 65534 65534");
    assert!(router.pings());
    let socket = std::fs::metadata(router.directory.join("control.sock")).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o660);
    router.says(&["iptables", "-A", "FORWARD", "-p", "icmp", "-j", "DROP"]);
    assert!(!router.pings());
    router.reload();
    assert!(router.pings(), "rules come from their file again");
    // The link, by the netlink socket that was opened before.
    for way in ["down", "up"] {
        assert!(router.sh("w", &format!("ip link set wan1 {way}")).0);
        wait_for("word of the link", || router.log().contains(&format!("wan0 is {way}")));
    }
    assert!(router.pings());
    let state = router.directory.join("state");
    wait_for("a snapshot", || state.exists());
    assert_eq!(std::fs::metadata(&state).unwrap().uid(), NOBODY);
    std::thread::sleep(Duration::from_millis(2200));
    let before = router.says(&["conntrack", "-L", "-p", "icmp"]);
    router.kill("-KILL");
    router.start();
    let after = router.says(&["conntrack", "-L", "-p", "icmp"]);
    assert!(before.contains("icmp") && after.contains("icmp"), "{before}\n{after}");
    router.kill("-TERM");
    assert!(!router.directory.join("control.sock").exists());
    let setting = router.sh("r", "cat /proc/sys/net/ipv6/conf/wan0/disable_ipv6").1;
    assert_eq!(setting.trim(), "0", "the device as it was");
    // What root wrote is read on by the user.
    chown(&state, Some(0), Some(0)).unwrap();
    router.start();
    assert!(!router.log().contains("set aside"), "{}", router.log());
    assert!(router.says(&["conntrack", "-L", "-p", "icmp"]).contains("icmp"));
}

/// What root opened at the start belongs to the user, who opens it again with the device.
#[test]
fn a_capture_goes_on_with_a_device_that_is_made_again() {
    let toml =
        host("", "[run]\nuser = \"nobody\"\n").replacen("\"wan0\"\n", "\"wan0\"\ncapture = \"wan0.pcapng\"\n", 1);
    let Some(mut router) = Router::new("k", &toml, MASQUERADE) else { return };
    chown(&router.directory, Some(NOBODY), Some(NOBODY)).unwrap();
    router.start();
    assert!(router.pings());
    let length = || std::fs::metadata(router.directory.join("wan0.pcapng")).unwrap().len();
    let before = length();
    let namespace = router.at("w", &[]).get_args().nth(2).unwrap().to_str().unwrap().to_owned();
    let again = format!(
        "ip link del wan0; ip link add wan0 type veth peer name wan1 netns {namespace}; ip link set wan0 up; \
         ip -n {namespace} link set wan1 up; ip -n {namespace} addr add 203.0.113.9/24 dev wan1"
    );
    assert!(router.sh("r", &again).0);
    wait_for("the device", || router.log().contains("wan0 is up"));
    assert!(router.log().contains("wan0 is there again"), "{}", router.log());
    assert!(router.pings(), "{}", router.log());
    assert!(length() > before + 200, "{before}, then {}", length());
}

/// As a systemd unit with User= and AmbientCapabilities= starts it.
#[test]
fn an_ordinary_user_with_capabilities_will_do() {
    let Some(mut router) = Router::new("a", &host("", "[host]\n"), MASQUERADE) else { return };
    chown(&router.directory, Some(NOBODY), Some(NOBODY)).unwrap();
    let capabilities = "+net_admin,+net_raw,+bpf,+perfmon,+sys_admin,+sys_ptrace,+dac_read_search";
    // The binary may lie where only its builder may look.
    let may_read = router.at("r", &["setpriv", "--reuid", "65534", "test", "-x", env!("CARGO_BIN_EXE_hairpin")]);
    let tun_is_open = std::fs::metadata("/dev/net/tun").is_ok_and(|tun| tun.mode() & 0o6 == 0o6);
    if !lab::quiet(&mut { may_read }) {
        println!("skipped: the program is not readable to others");
        return;
    }
    if !tun_is_open {
        println!("/dev/net/tun is not open to users here: without [host]");
        router.write("gateway.toml", &host("", ""));
    }
    router.start_by(
        &[
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--inh-caps",
            capabilities,
            "--ambient-caps",
            capabilities,
        ],
        &[],
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
    assert_eq!(field(&status, "Uid"), "65534 65534 65534 65534");
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(field(&status, set).trim_start_matches('0'), "1000", "{set}: CAP_NET_ADMIN alone");
    }
    assert_eq!(field(&status, "CapAmb").trim_start_matches('0'), "");
    assert!(router.pings());
    router.says(&["iptables-save"]);
}

/// Rules ask who sent a packet of this machine; real processes are found out, and what the router's services say goes through INPUT.
#[test]
fn senders_are_known_by_all_that_owner_asks() {
    let toml = host("", "[host]\n[run]\nuser = \"nobody\"\n");
    let Some(mut router) = Router::new("o", &toml, MASQUERADE) else { return };
    chown(&router.directory, Some(NOBODY), Some(NOBODY)).unwrap();
    router.start();
    // One thread may look at others' files, and nothing else; the process may not.
    is_confined_as(router.pid(), "65534 65534 65534 65534");
    let looker = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", router.pid())).unwrap().flatten();
        let mut all = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
        all.find(|status| field(status, "Name") == "owners")
    };
    wait_for("a restricted thread that finds owners", || looker().is_some_and(|one| field(&one, "Seccomp") == "2"));
    let looker = looker().expect("it stays");
    assert_eq!(field(&looker, "CapEff").trim_start_matches('0'), "80004", "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH");
    assert_eq!(field(&looker, "Uid"), "65534 65534 65534 65534");

    let mut server = router.at("w", &["python3", "-m", "http.server", "80"]).stderr(Stdio::null()).spawn().unwrap();
    let mut own = router.at("r", &["python3", "-m", "http.server", "8088"]).stderr(Stdio::null()).spawn().unwrap();
    for (side, port) in [("w", 80), ("r", 8088)] {
        wait_for("a server", || router.sh(side, &format!("ss -ltnH 'sport = :{port}' | grep -q .")).0);
    }
    let may = |by: &str| router.sh("r", &format!("{by} curl -sf -m 3 -o /dev/null http://203.0.113.9/")).0;
    assert!(may(""), "without a rule: {}", router.log());
    for (option, who, others) in [
        ("--uid-owner 65533", "setpriv --reuid 65533 --clear-groups", "setpriv --reuid 65532 --clear-groups"),
        ("--gid-owner 65533", "setpriv --regid 65533 --clear-groups", "setpriv --regid 65532 --clear-groups"),
        ("--gid-owner 65533 --suppl-groups", "setpriv --groups 65531,65533", "setpriv --groups 65531"),
        ("--cmd-owner curl", "", ""),
        ("--uid-owner 65530-65533", "setpriv --reuid 65531 --regid 65531 --clear-groups", ""),
    ] {
        if option.contains("suppl-groups") && !router.says(&["iptables", "-m", "owner", "-h"]).contains("suppl-groups")
        {
            continue;
        }
        let words: Vec<&str> = "-A OUTPUT -m owner".split(' ').chain(option.split(' ')).collect();
        let rule = [&["iptables"][..], &words, &["-j", "REJECT"]].concat();
        router.says(&rule);
        assert!(!may(who), "{option}: {}", router.says(&["iptables", "-L", "-v", "-n"]));
        if !option.contains("cmd-owner") {
            assert!(may(others), "{option} is not for others");
        }
        router.says(&["iptables", "-F", "OUTPUT"]);
    }
    // Sockets without ports: ping's own kind where its user may have them, and raw ones.
    router.says(&["iptables", "-A", "OUTPUT", "-p", "icmp", "-m", "owner", "--uid-owner", "65533", "-j", "REJECT"]);
    let ping = "ping -c 1 -W 2 203.0.113.9";
    assert!(router.sh("r", &format!("sysctl -qw net.ipv4.ping_group_range='65000 65533'; {ping}")).0, "root, raw");
    assert!(!router.sh("r", &format!("setpriv --reuid 65533 --regid 65533 --clear-groups {ping}")).0, "its own kind");
    router.says(&["iptables", "-R", "OUTPUT", "1", "-p", "icmp", "-m", "owner", "--uid-owner", "0", "-j", "REJECT"]);
    assert!(!router.sh("r", ping).0, "raw");
    assert!(router.sh("r", &format!("setpriv --reuid 65533 --regid 65533 --clear-groups {ping}")).0, "another");
    router.says(&["iptables", "-F", "OUTPUT"]);
    // By the id of a process: one that waits until the rule is there.
    let script = "import os, socket, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nsocket.create_connection(('203.0.113.9', 80), timeout=2)";
    let waiting = router.at("r", &["python3", "-c", script]).current_dir(&router.directory).spawn().unwrap();
    router.says(&["iptables", "-A", "OUTPUT", "-m", "owner", "--pid-owner", &waiting.id().to_string(), "-j", "REJECT"]);
    router.write("go", "");
    assert!(!{ waiting }.wait().unwrap().success(), "--pid-owner");
    assert!(may(""));
    // Its own service, through INPUT.
    assert!(router.sh("l", "curl -sf -m 3 http://192.168.1.1:8088/").0);
    router.says(&["iptables", "-A", "INPUT", "-i", "lan0", "-p", "tcp", "--dport", "8088", "-j", "REJECT"]);
    assert!(!router.sh("l", "curl -sf -m 3 http://192.168.1.1:8088/").0);
    for server in [&mut server, &mut own] {
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// READY when it forwards, WATCHDOG while it does, STOPPING at the end.
#[test]
fn the_service_manager_is_told() {
    let Some(mut router) = Router::new("n", &host("", ""), MASQUERADE) else { return };
    let socket = router.directory.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let heard = || {
        let mut text = [0; 200];
        let got = manager.recv(&mut text).expect("a word of the gateway");
        String::from_utf8_lossy(&text[..got]).into_owned()
    };
    router.start_by(&[], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    assert!(heard().contains("READY=1"));
    assert_eq!(heard(), "WATCHDOG=1");
    assert_eq!(heard(), "WATCHDOG=1");
    router.kill("-TERM");
    let mut last = heard();
    while last == "WATCHDOG=1" {
        last = heard();
    }
    assert_eq!(last, "STOPPING=1");
}

/// The units are what systemd understands.
#[test]
fn the_units_are_sound() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    if !lab::quiet(Command::new("systemd-analyze").arg("--version")) {
        println!("skipped: no systemd-analyze");
        return;
    }
    let directory = std::env::temp_dir().join(format!("hairpin-units-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (file, name) in [("hairpin.service", "hairpin.service"), ("hairpin@.service", "hairpin@one.service")] {
        let text = std::fs::read_to_string(units.join(file)).unwrap();
        // Where the program is here; a unit that names one that is not there is no error of the unit.
        let text = text.replace("/usr/bin/hairpin", env!("CARGO_BIN_EXE_hairpin"));
        let path = directory.join(if name.contains('@') { "hairpin@.service" } else { file });
        std::fs::write(&path, text).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--generators=no"])
            .arg(directory.join(name))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Other units of this machine may have their own faults.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("hairpin")).collect();
        assert!(ours.is_empty(), "{file}: {ours:?}");
    }
    let _ = std::fs::remove_dir_all(&directory);
}

/// Prints every ARP packet: operation, sender's and target's address.
const ARPS: &str = "
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
s.bind(('wan1', 0))
print('up', flush=True)
while True:
    f = s.recv(100)
    a = lambda at: '.'.join(str(b) for b in f[at:at + 4])
    print(f[21], a(28), a(38), flush=True)
";

/// What processes of the host send to its own addresses goes by OUTPUT and INPUT; the kernel's rules for that go with the gateway, also
/// when one was killed in between.
#[test]
fn routing_rules_of_the_host_are_put_back() {
    let Some(mut router) = Router::new("w", &host("", "[host]\n"), MASQUERADE) else { return };
    let rules = |router: &Router| router.sh("r", "ip -4 rule; ip -6 rule").1;
    let before = rules(&router);
    router.start();
    assert!(rules(&router).contains("iif hairpin0"), "{}", rules(&router));
    assert!(router.sh("r", "ping -c 1 -W 2 203.0.113.1").0, "{}", router.log());
    assert!(router.says(&["conntrack", "-L"]).contains("src=203.0.113.1 dst=203.0.113.1"));
    router.kill("-9");
    router.start();
    assert!(router.sh("r", "ping -c 1 -W 2 192.168.1.1").0, "{}", router.log());
    router.kill("-TERM");
    assert_eq!(rules(&router), before);
}

#[test]
fn neighbors_hear_who_the_gateway_is() {
    let toml = host("\"net.ipv4.conf.wan0.proxy_arp\" = 1", "");
    let Some(mut router) = Router::new("p", &toml, MASQUERADE) else { return };
    let heard = router.directory.join("arps");
    let out = std::fs::File::create(&heard).unwrap();
    let mut listener = router.at("w", &["python3", "-c", ARPS]).stdout(out).spawn().unwrap();
    let read = || std::fs::read_to_string(&heard).unwrap_or_default();
    wait_for("the listener", || read().starts_with("up"));
    router.start();
    let is_gratuitous = |text: &str, addr: &str| text.lines().any(|line| line.ends_with(&format!("{addr} {addr}")));
    wait_for("gratuitous ARP at start", || is_gratuitous(&read(), "203.0.113.1"));
    let with_another = toml.replace("203.0.113.1/24", "203.0.113.2/24");
    router.write("gateway.toml", &with_another);
    router.reload();
    wait_for("gratuitous ARP of the new address", || is_gratuitous(&read(), "203.0.113.2"));
    // For the inside, the gateway answers in its place.
    assert!(router.sh("w", "ip route add 192.168.1.0/24 dev wan1; ping -c 1 -W 2 192.168.1.2").0, "{}", read());
    wait_for("an answer in its place", || read().contains("2 192.168.1.2 203.0.113.9"));
    router.write("gateway.toml", &with_another.replace("proxy_arp\" = 1", "proxy_arp\" = 0"));
    router.reload();
    assert!(!router.sh("w", "ip neigh flush dev wan1; ping -c 1 -W 1 192.168.1.2").0);
    let _ = listener.kill();
    let _ = listener.wait();
}

#[test]
fn static_neighbors_need_no_answer_and_silent_ones_hold_up_nobody() {
    let mac = "02:00:00:00:99:09";
    let more = format!("[[neighbor]]\naddress = \"203.0.113.9\"\nmac = \"{mac}\"\ndev = \"wan0\"\n");
    let Some(mut router) = Router::new("s", &host("", &more), MASQUERADE) else { return };
    assert!(router.sh("w", &format!("ip link set wan1 address {mac}; ip link set wan1 arp off")).0);
    let own = router.sh("r", "cat /sys/class/net/wan0/address").1;
    router.start();
    assert!(router.sh("w", &format!("ip neigh replace 203.0.113.1 lladdr {} dev wan1", own.trim())).0);
    assert!(router.pings(), "nobody answers ARP there");
    // A scan of a subnet where nobody is: the queue has an end, and others are served.
    let scan = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(12000): s.sendto(b'x' * 1000, ('203.0.113.%d' % (10 + n % 240), 9))
";
    let memory = |router: &Router| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
        field(&status, "VmRSS").split(' ').next().unwrap().parse().unwrap()
    };
    let before = memory(&router);
    let scan = router.at("l", &["python3", "-c", scan]).output().unwrap();
    assert!(scan.status.success());
    let after = memory(&router);
    assert!(router.pings());
    println!("{before} kB before the scan, {after} kB after");
    assert!(after < before + 24 * 1024, "{before} kB, then {after} kB");
    let status = router.says(&["status"]);
    println!("{status}");
}

/// Where no program may stand at a device's entrance, settings keep the kernel away from it. They outlive a gateway that is killed; the
/// next one knows what they were.
#[test]
fn settings_are_put_back_after_kill_9() {
    let directory = std::env::temp_dir().join(format!("hairpin-settings-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let toml = "[control]\nsocket = \"control.sock\"\n[[interface]]\nname = \"wan0\"\ndatapath = \"packet\"\naddresses = [\"203.0.113.1/24\"]\n";
    std::fs::write(directory.join("gateway.toml"), toml).unwrap();
    let script = r#"set -e
        ip link add wan0 type veth peer name wan1; ip link set wan0 alias uplink; ip link set wan0 up; ip link set wan1 up
        echo 1 > /proc/sys/net/ipv4/conf/wan0/forwarding
        see() { echo "$1: $(cat /proc/sys/net/ipv4/conf/wan0/forwarding) $(cat /proc/sys/net/ipv6/conf/wan0/disable_ipv6) $(ip link show wan0 | grep -o NOARP) $(ip link show wan0 | grep -o 'alias.*')"; }
        begin() { rm -f out; "$0" run gateway.toml > out 2>&1 & pid=$!; for i in $(seq 200); do grep -q ready out && return; sleep 0.05; done; cat out; exit 1; }
        see before; begin; see during; kill -9 $pid; wait $pid || true; see killed; begin; kill -TERM $pid; wait $pid; see after"#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script, env!("CARGO_BIN_EXE_hairpin")])
        .current_dir(&directory)
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(&directory);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if err.contains("unshare:") {
        return println!("skipped: {err}");
    }
    let seen = |when: &str| {
        out.lines().find_map(|line| line.strip_prefix(&format!("{when}: "))).unwrap_or("nothing").to_owned()
    };
    assert_eq!(seen("before"), "1 0  alias uplink", "{out}{err}");
    assert_eq!(seen("after"), "1 0  alias uplink", "{out}{err}");
    for when in ["during", "killed"] {
        let seen = seen(when);
        assert!(seen.starts_with("0 1 NOARP alias hairpin: before ") && seen.ends_with("arp=on; uplink"), "{out}{err}");
    }
}
