//! What happens to the devices of a running gateway on real (veth) wires: they are deleted and made again, change their MTU and their
//! addresses, come and go with the host file; tags, several addresses, proxy ARP; faults and captures around a device; several queues.
//! Needs root.

use hairpin_datapath::sys::in_namespace;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "support/lab.rs"]
mod lab;

/// A router's namespace with the gateway, and two others with the far ends of its wires.
struct Wires {
    tag: String,
    directory: PathBuf,
    gateway: Option<Child>,
}

impl Wires {
    /// None, with a printed reason, where that cannot be done.
    fn new(name: &str) -> Option<Wires> {
        let wires = Wires::without_wires(name)?;
        for (side, near, far, address) in
            [("l", "lan0", "lan1", "192.168.1.2/24"), ("w", "wan0", "wan1", "203.0.113.2/24")]
        {
            wires.wire(side, near, far);
            wires.at(side, &format!("ip addr add {address} dev {far}"));
        }
        wires.at("l", "ip route add default via 192.168.1.1");
        Some(wires)
    }

    fn without_wires(name: &str) -> Option<Wires> {
        let tag = format!("hpw{name}{}", std::process::id() % 100_000);
        let directory = std::env::temp_dir().join(format!("hairpin-wires-{name}-{}", std::process::id()));
        let wires = Wires { tag, directory, gateway: None };
        if !["r", "l", "w"].iter().all(|side| run(&format!("ip netns add {}{side}", wires.tag)).is_ok()) {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no live gateway: no root, or no ip netns");
            println!("skipped: no root, or no ip netns");
            return None;
        }
        std::fs::create_dir_all(&wires.directory).unwrap();
        Some(wires)
    }

    /// A wire from the router to another namespace, without addresses.
    fn wire(&self, side: &str, near: &str, far: &str) {
        self.at("r", &format!("ip link add {near} type veth peer name {far} netns {}{side}", self.tag));
        self.at("r", &format!("ip link set {near} up"));
        self.at(side, &format!("ip link set {far} up"));
    }

    fn at(&self, side: &str, command: &str) -> String {
        self.try_at(side, command).unwrap_or_else(|why| panic!("{command}: {why}\n{}", self.log()))
    }

    fn try_at(&self, side: &str, command: &str) -> Result<String, String> {
        run(&format!("ip netns exec {}{side} {command}", self.tag))
    }

    fn write(&self, interfaces: &str) {
        let host =
            "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n[rules]\nv4 = \"rules.v4\"\n[control]\nsocket = \"control.sock\"\n";
        std::fs::write(self.directory.join("gateway.toml"), format!("{host}{interfaces}")).unwrap();
        let rules = "*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n";
        std::fs::write(self.directory.join("rules.v4"), rules).unwrap();
    }

    fn start(&mut self) {
        let mut program = Command::new("ip");
        program.args(["netns", "exec", &format!("{}r", self.tag), env!("CARGO_BIN_EXE_hairpin")]);
        self.gateway = Some(lab::start_gateway(&mut program, &self.directory));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits for a line of the log.
    fn says(&self, what: &str) {
        self.says_times(what, 1);
    }

    fn says_times(&self, what: &str, times: usize) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.log().matches(what).count() < times {
            assert!(Instant::now() < until, "never said {what:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The file is read anew; what the gateway says of it.
    fn reload(&self, times: usize) {
        run(&format!("kill -HUP {}", self.gateway.as_ref().unwrap().id())).unwrap();
        self.says_times("gateway.toml is in force anew", times);
    }

    fn hairpin(&self, words: &str) -> String {
        let socket = self.directory.join("control.sock");
        run(&format!("HAIRPIN_SOCKET={} {} {words}", socket.display(), env!("CARGO_BIN_EXE_hairpin"))).unwrap()
    }

    fn pings(&self, side: &str, to: &str) -> bool {
        // The first one may be lost while neighbors are asked for.
        self.try_at(side, &format!("ping -c 1 -W 1 {to}")).is_ok()
            || self.try_at(side, &format!("ping -c 2 -W 1 {to}")).is_ok()
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for side in ["r", "l", "w"] {
            let _ = run(&format!("ip netns del {}{side}", self.tag));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const LAN: &str = "[[interface]]\nname = \"lan0\"\ndatapath = \"packet\"\naddresses = [\"192.168.1.1/24\"]\n";
const WAN: &str = "[[interface]]\nname = \"wan0\"\ndatapath = \"packet\"\naddresses = [\"203.0.113.1/24\"]\n";

#[test]
fn a_device_that_is_made_again_is_opened_again() {
    let Some(mut wires) = Wires::new("d") else { return };
    wires.write(&format!("{LAN}{WAN}"));
    wires.start();
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    wires.at("r", "ip link del wan0");
    wires.says("wan0 is gone");
    assert!(!wires.pings("l", "203.0.113.2"));
    wires.wire("w", "wan0", "wan1");
    wires.at("w", "ip addr add 203.0.113.2/24 dev wan1");
    wires.says("wan0 is there again: AF_PACKET");
    wires.says("wan0 is up");
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    // The kernel is kept from the new one too.
    wires.at("r", "ip addr add 203.0.113.77/24 dev wan0");
    assert!(!wires.pings("w", "203.0.113.77"));
    // Its MTU is what routes say from now on.
    wires.at("r", "ip link set wan0 mtu 1300");
    wires.says("wan0 has an MTU of 1300");
    let told = wires.try_at("l", "ping -c 1 -W 1 -M do -s 1400 203.0.113.2").unwrap_err();
    println!("{told}");
    let path = wires.at("l", "ip route get 203.0.113.2");
    assert!(path.contains("mtu 1300"), "{path}");
}

#[test]
fn the_same_by_xdp() {
    let Some(mut wires) = Wires::new("x") else { return };
    for (side, far) in [("l", "lan1"), ("w", "wan1")] {
        wires.at(side, &format!("ethtool -K {far} gro on"));
    }
    wires.write(&format!("{LAN}{WAN}").replace("\"packet\"", "\"xdp\""));
    wires.start();
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    wires.at("r", "ip link del wan0");
    wires.says("wan0 is gone");
    wires.wire("w", "wan0", "wan1");
    wires.at("w", "ip addr add 203.0.113.2/24 dev wan1");
    // Without root there is no new AF_XDP socket; the device is reached all the same.
    wires.says("wan0 is there again");
    wires.says("wan0 is up");
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
}

#[test]
fn addresses_and_routes_of_the_kernel_are_followed() {
    let Some(mut wires) = Wires::new("f") else { return };
    wires.at("r", "ip addr add 203.0.113.1/24 dev wan0");
    wires.at("w", "ip addr add 198.51.100.9/32 dev lo");
    wires.at("w", "ip link set lo up");
    wires.write(&format!("{LAN}[[interface]]\nname = \"wan0\"\ndatapath = \"packet\"\nfollow = true\n"));
    wires.start();
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    assert!(wires.hairpin("conntrack -L").contains("dst=203.0.113.1 "));
    assert!(!wires.pings("l", "198.51.100.9"), "no way there yet");
    wires.at("r", "ip route add default via 203.0.113.2 dev wan0");
    let until = Instant::now() + Duration::from_secs(5);
    while !wires.pings("l", "198.51.100.9") {
        assert!(Instant::now() < until, "{}", wires.log());
    }
    // The address that MASQUERADE takes is the new one; what had the old one is forgotten.
    wires.at("r", "ip addr del 203.0.113.1/24 dev wan0");
    wires.at("r", "ip addr add 203.0.113.5/24 dev wan0");
    wires.says("wan0 has 203.0.113.5/24");
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    let listed = wires.hairpin("conntrack -L");
    assert!(listed.contains("dst=203.0.113.5 ") && !listed.contains("dst=203.0.113.1 "), "{listed}");
}

/// A DHCP client on the host sets the address, another one when the server gives another, and MASQUERADE goes with it.
#[test]
fn a_dhcp_client_is_followed() {
    if run("dnsmasq --version && busybox udhcpc --help 2>&1 | grep -q Usage").is_err() {
        return println!("skipped: no dnsmasq, or no busybox with udhcpc");
    }
    let Some(mut wires) = Wires::new("h") else { return };
    wires.write(&format!("{LAN}[[interface]]\nname = \"wan0\"\ndatapath = \"packet\"\nfollow = true\n"));
    wires.start();
    let script = "#!/bin/sh\ncase $1 in\ndeconfig) ip addr flush dev $interface;;\n\
        bound|renew) ip addr replace $ip/24 dev $interface; ip route replace default via $router dev $interface;;\nesac\n";
    let place = wires.directory.display().to_string();
    std::fs::write(wires.directory.join("lease.sh"), script).unwrap();
    run(&format!("chmod +x {place}/lease.sh")).unwrap();
    wires.at("w", "ip addr add 198.51.100.9/32 dev wan1");
    for address in ["203.0.113.50", "203.0.113.60"] {
        let server = format!(
            "exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=wan1 --bind-interfaces --dhcp-authoritative \
             --dhcp-range={address},{address},2m --dhcp-option=3,203.0.113.2 --dhcp-leasefile={place}/leases-{address} 2>/dev/null"
        );
        let in_namespace = |side: &str, command: &str| {
            let words = ["netns", "exec", &format!("{}{side}", wires.tag), "sh", "-c", command];
            Command::new("ip").args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut server = in_namespace("w", &server);
        let mut client = in_namespace("r", &format!("exec busybox udhcpc -f -i wan0 -t 20 -T 1 -s {place}/lease.sh"));
        wires.says(&format!("wan0 has {address}/24"));
        let until = Instant::now() + Duration::from_secs(5);
        while !wires.pings("l", "198.51.100.9") {
            assert!(Instant::now() < until, "{}", wires.log());
        }
        assert!(wires.hairpin("conntrack -L").contains(&format!("dst={address} ")));
        for child in [&mut client, &mut server] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert!(!wires.hairpin("conntrack -L").contains("dst=203.0.113.50 "));
}

#[test]
fn interfaces_come_and_go_with_the_file() {
    let Some(mut wires) = Wires::new("s") else { return };
    wires.write(&format!("{LAN}{WAN}"));
    wires.start();
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    let mut flow = Command::new("ip")
        .args(["netns", "exec", &format!("{}l", wires.tag), "ping", "-i", "0.1", "-c", "60", "203.0.113.2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A third wire, named before the others.
    wires.wire("w", "dmz0", "dmz1");
    wires.at("w", "ip addr add 10.9.0.2/24 dev dmz1");
    wires.at("w", "ip route add 192.168.1.0/24 via 10.9.0.1");
    let dmz = "[[interface]]\nname = \"dmz0\"\ndatapath = \"packet\"\naddresses = [\"10.9.0.1/24\"]\n";
    wires.write(&format!("{dmz}{WAN}{LAN}"));
    wires.reload(1);
    assert!(wires.pings("l", "10.9.0.2"), "{}", wires.log());
    // What cannot be is refused as a whole.
    wires.write(&format!("{dmz}{WAN}{LAN}[[interface]]\nname = \"nowhere\"\ndatapath = \"packet\"\n"));
    run(&format!("kill -HUP {}", wires.gateway.as_ref().unwrap().id())).unwrap();
    wires.says("nothing was changed: interface nowhere: there is no device nowhere");
    wires.write(&format!("{dmz}{WAN}{LAN}").replace("\"packet\"", "\"xdp\""));
    run(&format!("kill -HUP {}", wires.gateway.as_ref().unwrap().id())).unwrap();
    wires.says("cannot be changed while it is open");
    // It goes again, and the kernel has it back.
    wires.write(&format!("{LAN}{WAN}"));
    wires.reload(2);
    wires.says("dmz0 is let go");
    assert!(!wires.pings("l", "10.9.0.2"));
    wires.at("r", "ip addr add 10.9.0.1/24 dev dmz0");
    assert!(wires.pings("w", "10.9.0.1"), "the kernel answers there");
    // The flow that was under way has lost nothing but perhaps a packet while the host was changed.
    let said = String::from_utf8(flow.wait_with_output_of()).unwrap();
    let received: usize = said.split(" received").next().and_then(|s| s.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(received >= 58, "{said}");
}

/// Rights for these are given up when the gateway is ready; the file is refused as a whole, with a word of what to do.
#[test]
fn devices_that_need_rights_again_are_refused() {
    let Some(mut wires) = Wires::new("g") else { return };
    wires.write(&format!("{LAN}{WAN}"));
    wires.start();
    wires.wire("w", "dmz0", "dmz1");
    let by_xdp = "[[interface]]\nname = \"dmz0\"\ndatapath = \"xdp\"\naddresses = [\"10.9.0.1/24\"]\n".to_owned();
    let netns = format!("{}w", wires.tag);
    let elsewhere = format!(
        "[[interface]]\nname = \"tap7\"\ndatapath = \"tap\"\nnetns = {netns:?}\naddresses = [\"10.9.1.1/24\"]\n"
    );
    for (n, more) in [by_xdp, elsewhere].iter().enumerate() {
        wires.write(&format!("{LAN}{WAN}{more}"));
        run(&format!("kill -HUP {}", wires.gateway.as_ref().unwrap().id())).unwrap();
        wires.says_times("rights were given up when the gateway was ready: restart it to open this", n + 1);
        assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    }
    // In its own namespace it can make one.
    wires.write(&format!(
        "{LAN}{WAN}[[interface]]\nname = \"tap8\"\ndatapath = \"tap\"\naddresses = [\"10.9.2.1/24\"]\n"
    ));
    wires.reload(1);
    wires.at("r", "ip link show tap8");
    wires.at("r", "ip link show dmz0");
}

trait Output {
    fn wait_with_output_of(&mut self) -> Vec<u8>;
}

impl Output for Child {
    fn wait_with_output_of(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut self.stdout.take().unwrap(), &mut bytes).unwrap();
        self.wait().unwrap();
        bytes
    }
}

/// A host on VLAN 10 of lan1, for kernels without VLAN devices: asks for the gateway's link address, pings it, and pings through it.
const TAGGED: &str = r#"
import socket, struct, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("lan1", 0)); s.setsockopt(263, 8, 1); s.settimeout(3)
own = s.getsockname()[4]
def send(to, kind, body): s.send(to + own + struct.pack("!HHH", 0x8100, 10, kind) + body)
def answer(is_it):
    while True:
        data, control, _, _ = s.recvmsg(2048, 256)
        tags = [struct.unpack("IIIHHHH", c[:20])[5] for level, kind, c in control if (level, kind) == (263, 8)]
        if data[:6] == own and is_it(data[12:14], data[14:]): return data, tags[0]
def checksum(b):
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b)); n = (n >> 16) + (n & 0xffff); return ~(n + (n >> 16)) & 0xffff
def echo(to, dst):
    icmp = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + b"tagged"
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0) + socket.inet_aton("10.10.0.2") + socket.inet_aton(dst)
    send(to, 0x0800, ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + icmp)
    return answer(lambda kind, p: kind == b"\x08\x00" and p[9] == 1 and p[20] == 0 and p[12:16] == socket.inet_aton(dst))[1]
ask = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + socket.inet_aton("10.10.0.2") + bytes(6) + socket.inet_aton("10.10.0.1")
send(b"\xff" * 6, 0x0806, ask)
said, arp = answer(lambda kind, p: kind == b"\x08\x06" and p[7] == 2)
gateway = said[22:28]
# The gateway asks for us when it answers: it is told at once.
send(gateway, 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + own + socket.inet_aton("10.10.0.2") + gateway + socket.inet_aton("10.10.0.1"))
print("arp %d, echo %d, through %d" % (arp, echo(gateway, "10.10.0.1"), echo(gateway, "203.0.113.2")))
"#;

#[test]
fn tags_several_addresses_and_proxy_arp() {
    let Some(mut wires) = Wires::new("v") else { return };
    let two = LAN.replace("\"192.168.1.1/24\"", "\"192.168.1.1/24\", \"192.168.2.1/24\"");
    let tagged = "[[interface]]\nname = \"lan0.10\"\nparent = \"lan0\"\nvlan = 10\naddresses = [\"10.10.0.1/24\"]\n";
    wires.write(&format!("{two}{WAN}{tagged}"));
    let host = std::fs::read_to_string(wires.directory.join("gateway.toml")).unwrap();
    let host = host.replace("[sysctl]\n", "[sysctl]\n\"net.ipv4.conf.wan0.proxy_arp\" = 1\n");
    std::fs::write(wires.directory.join("gateway.toml"), host).unwrap();
    wires.start();
    // Two subnets on one wire.
    wires.at("l", "ip addr add 192.168.2.2/24 dev lan1");
    assert!(wires.pings("l", "192.168.2.1") && wires.pings("l", "192.168.1.1"), "{}", wires.log());
    // Who asks with a tag is answered with it, and reaches the outside.
    let script = wires.directory.join("tagged.py");
    std::fs::write(&script, TAGGED).unwrap();
    assert_eq!(
        wires.at("l", &format!("python3 {}", script.display())).trim(),
        "arp 10, echo 10, through 10",
        "{}",
        wires.log()
    );
    assert!(wires.hairpin("conntrack -L").contains("src=10.10.0.2 dst=203.0.113.2"));
    // Who asks on the outside for an address of the inside is told the gateway's.
    wires.at("w", "ip route add 192.168.2.0/24 dev wan1");
    assert!(wires.pings("w", "192.168.2.2"), "{}", wires.log());
    let neighbor = wires.at("w", "ip neigh show 192.168.2.2");
    let own = wires.at("r", "cat /sys/class/net/wan0/address");
    assert!(neighbor.contains(own.trim()), "{neighbor} {own}");
}

#[test]
fn faults_and_captures_stand_around_a_device() {
    let Some(mut wires) = Wires::new("t") else { return };
    let lan = format!("{LAN}fault = {{ delay = \"40ms\", loss = \"0%\", seed = 3 }}\ncapture = \"lan0.pcapng\"\n");
    let out = "[[interface]]\nname = \"out0\"\ndatapath = \"pcap\"\nwrite = \"out.pcapng\"\nmac = \"02:00:00:00:00:07\"\naddresses = [\"10.7.0.1/24\"]\n\
        [[neighbor]]\naddress = \"10.7.0.2\"\nmac = \"02:00:00:00:00:08\"\ndev = \"out0\"\n";
    wires.write(&format!("{lan}{WAN}{out}"));
    wires.start();
    assert!(wires.log().contains("FAULTS (seed 3): 40 ms late; frames are kept in"), "{}", wires.log());
    assert!(wires.pings("l", "203.0.113.2"));
    let said = wires.at("l", "ping -c 3 -i 0.2 203.0.113.2");
    let least: f64 =
        said.split("min/avg/max/mdev = ").nth(1).and_then(|s| s.split('/').next()).unwrap().parse().unwrap();
    assert!((80.0..200.0).contains(&least), "there and back: {said}");
    // What leaves by the captured device is in its file.
    let _ = wires.try_at("l", "ping -c 2 -i 0.2 -W 1 10.7.0.2");
    let count = |file: &str| {
        let mut capture = hairpin::capture::Capture::open(&wires.directory.join(file)).unwrap();
        let (mut frame, mut count) = (Vec::new(), 0);
        while let Some(info) = capture.next(&mut frame).unwrap() {
            assert!(!info.cut);
            count += usize::from(frame.get(23) == Some(&1));
        }
        count
    };
    assert_eq!(count("out.pcapng"), 2);
    assert!(count("lan0.pcapng") >= 10, "there and back, four pings and two more: {}", count("lan0.pcapng"));
}

/// Eight clients send numbered datagrams to one server, which sends them back: each flow stays in its order, both ways.
fn flows_keep_their_order(wires: &Wires) {
    const FLOWS: u8 = 8;
    const AT_ONCE: u32 = 16;
    const BURSTS: u32 = 60;
    let bind = |side: &str, address: String| {
        let socket = in_namespace(Some(&format!("{}{side}", wires.tag)), || UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket
    };
    let server = bind("w", "203.0.113.2:9999".to_owned());
    let clients: Vec<UdpSocket> = (0..FLOWS).map(|n| bind("l", format!("192.168.1.{}:0", 2 + n))).collect();
    clients.iter().for_each(|client| client.connect("203.0.113.2:9999").unwrap());
    let mut there = vec![None; usize::from(FLOWS)];
    let mut back = there.clone();
    let (mut arrived, mut returned) = (0, 0);
    let in_order = |last: &mut Option<u32>, bytes: &[u8]| {
        let number = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        assert!(last.is_none_or(|last| last < number), "flow {}: {number} after {last:?}", bytes[0]);
        *last = Some(number);
    };
    let mut bytes = [0; 64];
    for burst in 0..BURSTS {
        for number in burst * AT_ONCE..(burst + 1) * AT_ONCE {
            for (flow, client) in clients.iter().enumerate() {
                client.send(&[&[flow as u8], number.to_be_bytes().as_slice()].concat()).unwrap();
            }
        }
        for _ in 0..u32::from(FLOWS) * AT_ONCE {
            let Ok((len, from)) = server.recv_from(&mut bytes) else { break };
            in_order(&mut there[usize::from(bytes[0])], &bytes[..len]);
            arrived += 1;
            server.send_to(&bytes[..len], from).unwrap();
        }
        for (flow, client) in clients.iter().enumerate() {
            for _ in 0..AT_ONCE {
                let Ok(len) = client.recv(&mut bytes) else { break };
                assert_eq!(usize::from(bytes[0]), flow);
                in_order(&mut back[flow], &bytes[..len]);
                returned += 1;
            }
        }
    }
    let all = BURSTS * AT_ONCE * u32::from(FLOWS);
    assert!(arrived > all * 9 / 10 && returned > all * 9 / 10, "{arrived} and {returned} of {all}: {}", wires.log());
}

/// Several queues of each device, by each datapath, with and without threads.
fn several_queues(name: &str, datapath: &str, threads: bool) {
    let Some(mut wires) = Wires::without_wires(name) else { return };
    let is_made = datapath == "tap";
    let addresses = [("l", "lan", "192.168.1"), ("w", "wan", "203.0.113")];
    let mut file = String::new();
    for (side, link, net) in addresses {
        let (near, netns) = match is_made {
            true => (format!("{link}1"), format!("netns = \"{}{side}\"\n", wires.tag)),
            false => (format!("{link}0"), String::new()),
        };
        file.push_str(&format!(
            "[[interface]]\nname = \"{near}\"\ndatapath = \"{datapath}\"\nqueues = 2\nthreads = {threads}\n{netns}addresses = [\"{net}.1/24\"]\n"
        ));
        if !is_made {
            let two = "numrxqueues 2 numtxqueues 2";
            wires.at(
                "r",
                &format!("ip link add {near} {two} type veth peer name {link}1 {two} netns {}{side}", wires.tag),
            );
            wires.at("r", &format!("ip link set {near} up"));
            wires.at(side, &format!("ethtool -K {link}1 gro on"));
        }
    }
    wires.write(&file);
    if is_made {
        let rules = "*nat\n-A POSTROUTING -o wan1 -j MASQUERADE\nCOMMIT\n";
        std::fs::write(wires.directory.join("rules.v4"), rules).unwrap();
    }
    let binary = env!("CARGO_BIN_EXE_hairpin");
    let said = wires.at("r", &format!("{binary} run --check {}/gateway.toml", wires.directory.display()));
    let serving =
        if threads { "2 queues, each with a thread of its own" } else { "2 queues, served by one loop in turn" };
    assert_eq!(said.matches(&format!("(the file says so), {serving}; ")).count(), 2, "{said}");
    wires.start();
    for (side, link, net) in addresses {
        wires.at(side, &format!("ip link set {link}1 up"));
        for n in 2..10 {
            wires.at(side, &format!("ip addr add {net}.{n}/24 dev {link}1"));
        }
    }
    wires.at("l", "ip route add default via 192.168.1.1");
    let how = if threads { "2 queues, each with a thread of its own" } else { "2 queues" };
    assert_eq!(wires.log().matches(how).count(), 2, "{}", wires.log());
    assert!(wires.pings("l", "203.0.113.2"), "{}", wires.log());
    let pid = wires.gateway.as_ref().unwrap().id();
    let names = run(&format!("cat /proc/{pid}/task/*/comm")).unwrap();
    assert_eq!(names.matches("hairpin-queue").count(), if threads { 4 } else { 0 }, "{names}");
    // A veth's frames wait for the processor of their sender: one who moves to another would see them change places.
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    run(&format!("taskset -apc 0 {pid} && taskset -pc 0 {}", own.file_name().unwrap().display())).unwrap();
    flows_keep_their_order(&wires);
    assert!(
        !wires.log().contains("the kernel chooses") && !wires.log().contains("the kernel spreads"),
        "{}",
        wires.log()
    );
}

#[test]
fn several_queues_of_packet_sockets() {
    several_queues("q", "packet", false);
    several_queues("qt", "packet", true);
}

#[test]
fn several_queues_of_af_xdp() {
    several_queues("y", "xdp", false);
    several_queues("yt", "xdp", true);
}

#[test]
fn several_queues_of_a_tap_device() {
    several_queues("z", "tap", false);
    several_queues("zt", "tap", true);
}

#[test]
fn queues_that_a_device_does_not_have_are_refused() {
    let Some(wires) = Wires::new("n") else { return };
    wires.write(&format!("{LAN}{}", WAN.replace("\"packet\"", "\"xdp\"\nqueues = 3")));
    let run = |words: &str| {
        let binary = env!("CARGO_BIN_EXE_hairpin");
        wires.try_at("r", &format!("timeout 10 {binary} run {words} {}/gateway.toml", wires.directory.display()))
    };
    let said = run("").unwrap_err();
    assert!(said.contains("wan0: AF_XDP opens every queue that the device has, which are 1"), "{said}");
    wires.write("[[interface]]\nname = \"out0\"\ndatapath = \"pcap\"\nwrite = \"out.pcapng\"\nqueues = 2\n");
    let said = run("--check").unwrap_err();
    assert!(said.contains("gateway.toml:11:10: queues: this belongs to a device with queues"), "{said}");
}
