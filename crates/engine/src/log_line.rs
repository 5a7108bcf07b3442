//! The line that the LOG and TRACE targets write, in the kernel's form (`nf_log_syslog`).

use crate::look::Look;
use crate::net::LinkKind;
use crate::packet::Sender;
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::{self, Ipv6};
use hairpin_wire::tcp::{self, Tcp};
use hairpin_wire::{Addr, Family, ethernet, icmp, icmp4, icmp6, proto};
use std::fmt::Write;

/// What a log line shows beside the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    /// `--log-tcp-sequence`
    pub tcp_sequence: bool,
    /// `--log-tcp-options`
    pub tcp_options: bool,
    /// `--log-ip-options`
    pub ip_options: bool,
    /// `--log-uid`
    pub uid: bool,
    /// `--log-macdecode`
    pub macdecode: bool,
}

impl LogFlags {
    /// Those of a TRACE line, whose prefix is `TRACE: table:chain:kind:number `.
    pub const TRACE: LogFlags =
        LogFlags { tcp_sequence: true, tcp_options: true, ip_options: true, uid: true, macdecode: false };
}

/// The longest line in bytes; longer ones are cut.
pub const MAX_LINE: usize = 1016;

/// The line for this packet here, without level and line end. Like the kernel's it ends with a space, unless it is cut.
pub fn log_line(look: &Look<'_>, prefix: &str, flags: LogFlags) -> String {
    let mut line = Line { text: String::with_capacity(256), flags };
    line.text.push_str(prefix);
    line.devices(look);
    let packet = look.bytes();
    let whole = match look.family() {
        Family::V4 => line.ipv4(packet, true),
        Family::V6 => line.ipv6(packet, true),
    };
    if whole.is_some() {
        line.owner(look);
    }
    let mut text = line.text;
    let end = (0..=MAX_LINE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

/// A line being written. The methods that give an `Option` write one layer; None says that the kernel stops there, at
/// something cut off, without what it appends to a packet that is all there.
struct Line {
    text: String,
    flags: LogFlags,
}

impl Line {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(text);
    }

    fn devices(&mut self, look: &Look<'_>) {
        let (iif, oif) = (look.iif(), look.oif());
        self.text.push_str("IN=");
        if let Some(iif) = iif {
            self.put(format_args!("{}", iif.name));
        }
        self.text.push_str(" OUT=");
        if let Some(oif) = oif {
            self.put(format_args!("{}", oif.name));
        }
        self.text.push(' ');
        let Some(iif) = iif else { return };
        let header = look.link_header();
        match ethernet::Ethernet::new(header) {
            Some(header) if self.flags.macdecode && iif.kind == LinkKind::Ethernet => self.put(format_args!(
                "MACSRC={} MACDST={} MACPROTO={:04x} ",
                header.src(),
                header.dst(),
                header.ethertype()
            )),
            // What the host heard from itself has no such header.
            None if self.flags.macdecode && iif.kind == LinkKind::Ethernet => {}
            _ => {
                self.text.push_str("MAC=");
                for (n, byte) in header.iter().enumerate() {
                    self.put(format_args!("{}{byte:02x}", if n == 0 { "" } else { ":" }));
                }
                self.text.push(' ');
            }
        }
    }

    fn owner(&mut self, look: &Look<'_>) {
        if self.flags.uid
            && let Sender::Process(owner) = look.sender()
        {
            self.put(format_args!("UID={} GID={} ", owner.uid, owner.gid));
        }
        match look.mark() {
            0 => {}
            mark => self.put(format_args!("MARK=0x{mark:x} ")),
        }
    }

    /// An IPv4 packet; `outer` if it is not the quote of an ICMP error.
    fn ipv4(&mut self, packet: &[u8], outer: bool) -> Option<()> {
        let Some(header) = packet.get(..20) else { return self.truncated() };
        // A quoted packet's version and header length are not looked at before.
        let header_len = header.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
        let mut fixed = [0u8; 20];
        fixed.copy_from_slice(header);
        fixed[0] = 0x45;
        let ip = Ipv4::new(&fixed)?;
        self.put(format_args!("SRC={} DST={} ", ip.src().display(Family::V4), ip.dst().display(Family::V4)));
        self.put(format_args!(
            "LEN={} TOS=0x{:02X} PREC=0x{:02X} TTL={} ID={} ",
            ip.total_len(),
            ip.tos() & 0x1e,
            ip.tos() & 0xe0,
            ip.ttl(),
            ip.id()
        ));
        for (set, name) in [(ip.reserved_flag(), "CE "), (ip.dont_fragment(), "DF "), (ip.more_fragments(), "MF ")] {
            if set {
                self.text.push_str(name);
            }
        }
        let later = ip.fragment_offset() != 0;
        if later {
            self.put(format_args!("FRAG:{} ", ip.fragment_offset()));
        }
        if self.flags.ip_options && header_len > 20 {
            let Some(options) = packet.get(20..header_len) else { return self.truncated() };
            self.hex_options(options);
        }
        match ip.protocol() {
            proto::TCP => self.tcp(packet, header_len, later)?,
            proto::UDP | proto::UDPLITE => self.udp(packet, header_len, ip.protocol(), later)?,
            proto::ICMP => self.icmp4(packet, header_len, later, outer),
            proto::AH if later => {}
            proto::AH => self.ipsec(packet, header_len, "AH", (4, 12)),
            proto::ESP if later => self.text.push_str("PROTO=ESP "),
            proto::ESP => self.ipsec(packet, header_len, "ESP", (0, 8)),
            other => self.put(format_args!("PROTO={other} ")),
        }
        Some(())
    }

    fn icmp4(&mut self, packet: &[u8], at: usize, later: bool, outer: bool) {
        self.text.push_str("PROTO=ICMP ");
        if later {
            return;
        }
        let Some(icmp) = packet.get(at..).and_then(icmp::Icmp::new) else { return self.incomplete(packet, at) };
        self.put(format_args!("TYPE={} CODE={} ", icmp.kind(), icmp.code()));
        let needed = match icmp.kind() {
            kind if icmp4::is_error(kind) => 28,
            icmp4::TIMESTAMP | icmp4::TIMESTAMP_REPLY => 20,
            icmp4::ADDRESS_MASK | icmp4::ADDRESS_MASK_REPLY => 12,
            _ => 0,
        };
        if icmp.as_bytes().len() < needed {
            return self.incomplete(packet, at);
        }
        match icmp.kind() {
            icmp4::ECHO | icmp4::ECHO_REPLY => self.put(format_args!("ID={} SEQ={} ", icmp.id(), icmp.seq())),
            icmp4::PARAMETER_PROBLEM => self.put(format_args!("PARAMETER={} ", icmp4::pointer(icmp.rest()))),
            kind if icmp4::is_error(kind) => {
                if kind == icmp4::REDIRECT {
                    self.put(format_args!("GATEWAY={} ", icmp4::gateway(icmp.rest()).display(Family::V4)));
                }
                if outer {
                    self.text.push('[');
                    let _ = self.ipv4(icmp.payload(), false);
                    self.text.push_str("] ");
                }
                if kind == icmp4::UNREACHABLE && icmp.code() == icmp4::unreachable::FRAGMENTATION_NEEDED {
                    self.put(format_args!("MTU={} ", icmp4::mtu(icmp.rest())));
                }
            }
            _ => {}
        }
    }

    /// An IPv6 packet; `outer` if it is not the quote of an ICMPv6 error.
    fn ipv6(&mut self, packet: &[u8], outer: bool) -> Option<()> {
        let mut fixed = [0u8; ipv6::HEADER_LEN];
        let Some(header) = packet.get(..ipv6::HEADER_LEN) else { return self.truncated() };
        fixed.copy_from_slice(header);
        fixed[0] = fixed[0] & 0xf | 0x60;
        let ip = Ipv6::new(&fixed)?;
        self.put(format_args!("SRC={} DST={} ", Full(ip.src()), Full(ip.dst())));
        self.put(format_args!(
            "LEN={} TC={} HOPLIMIT={} FLOWLBL={} ",
            ipv6::HEADER_LEN + usize::from(ip.payload_len()),
            ip.traffic_class(),
            ip.hop_limit(),
            ip.flow_label()
        ));
        let (mut at, mut next, mut later) = (ipv6::HEADER_LEN, ip.next_header(), false);
        while is_extension(next) {
            if self.text.len() > MAX_LINE {
                return None;
            }
            let rest = packet.get(at..).unwrap_or_default();
            let &[following, words, ..] = rest else { return self.truncated() };
            let framed = self.flags.ip_options;
            if framed {
                self.text.push_str("OPT ( ");
            }
            at += match next {
                proto::FRAGMENT => {
                    later |= self.fragment6(rest)?;
                    ipv6::FRAGMENT_LEN
                }
                proto::AH => {
                    if framed {
                        self.ipsec6(rest, later, "AH", (4, 12))?;
                    }
                    (usize::from(words) + 2) * 4
                }
                proto::ESP => {
                    if framed {
                        self.ipsec6(rest, later, "ESP", (0, 8))?;
                        self.text.push(')');
                    }
                    return None;
                }
                _ if later => {
                    if framed {
                        self.text.push(')');
                    }
                    return None;
                }
                _ => (usize::from(words) + 1) * 8,
            };
            if framed {
                self.text.push_str(") ");
            }
            next = following;
        }
        match next {
            proto::TCP => self.tcp(packet, at, later),
            proto::UDP | proto::UDPLITE => self.udp(packet, at, next, later),
            proto::ICMPV6 => self.icmp6(packet, at, later, outer),
            other => {
                self.put(format_args!("PROTO={other} "));
                Some(())
            }
        }
    }

    /// A fragment header; whether it is that of a later fragment.
    fn fragment6(&mut self, header: &[u8]) -> Option<bool> {
        self.text.push_str("FRAG:");
        let &[_, _, a, b, c, d, e, f, ..] = header else {
            self.text.push_str("TRUNCATED ");
            return None;
        };
        let word = u16::from_be_bytes([a, b]);
        self.put(format_args!("{} ", word & !7));
        if word & 1 != 0 {
            self.text.push_str("INCOMPLETE ");
        }
        self.put(format_args!("ID:{:08x} ", u32::from_be_bytes([c, d, e, f])));
        Some(word & !7 != 0)
    }

    fn icmp6(&mut self, packet: &[u8], at: usize, later: bool, outer: bool) -> Option<()> {
        self.text.push_str("PROTO=ICMPv6 ");
        if later {
            return Some(());
        }
        let Some(icmp) = packet.get(at..).and_then(icmp::Icmp::new) else {
            self.incomplete(packet, at);
            return None;
        };
        self.put(format_args!("TYPE={} CODE={} ", icmp.kind(), icmp.code()));
        match icmp.kind() {
            icmp6::ECHO | icmp6::ECHO_REPLY => self.put(format_args!("ID={} SEQ={} ", icmp.id(), icmp.seq())),
            kind @ (icmp6::UNREACHABLE | icmp6::TOO_BIG | icmp6::TIME_EXCEEDED | icmp6::PARAMETER_PROBLEM) => {
                if kind == icmp6::PARAMETER_PROBLEM {
                    self.put(format_args!("POINTER={:08x} ", icmp.rest()));
                }
                if outer {
                    self.text.push('[');
                    let _ = self.ipv6(icmp.payload(), false);
                    self.text.push_str("] ");
                }
                if kind == icmp6::TOO_BIG {
                    self.put(format_args!("MTU={} ", icmp.rest()));
                }
            }
            _ => {}
        }
        Some(())
    }

    fn tcp(&mut self, packet: &[u8], at: usize, later: bool) -> Option<()> {
        self.text.push_str("PROTO=TCP ");
        if later {
            return Some(());
        }
        let Some(header) = packet.get(at..).and_then(Tcp::new) else {
            self.incomplete(packet, at);
            return None;
        };
        self.put(format_args!("SPT={} DPT={} ", header.src_port(), header.dst_port()));
        if self.flags.tcp_sequence {
            self.put(format_args!("SEQ={} ACK={} ", header.seq(), header.ack()));
        }
        // The lowest of the reserved bits is the flag of accurate ECN.
        let reserved = header.reserved();
        self.put(format_args!("WINDOW={} RES=0x{:02x} ", header.window(), (reserved & 0xe) << 2));
        if reserved & 1 != 0 {
            self.text.push_str("AE ");
        }
        for (flag, name) in [
            (tcp::CWR, "CWR "),
            (tcp::ECE, "ECE "),
            (tcp::URG, "URG "),
            (tcp::ACK, "ACK "),
            (tcp::PSH, "PSH "),
            (tcp::RST, "RST "),
            (tcp::SYN, "SYN "),
            (tcp::FIN, "FIN "),
        ] {
            if header.flags() & flag != 0 {
                self.text.push_str(name);
            }
        }
        self.put(format_args!("URGP={} ", header.urgent()));
        let end = header.header_len();
        if self.flags.tcp_options && end > tcp::HEADER_LEN {
            let Some(options) = header.as_bytes().get(tcp::HEADER_LEN..end) else {
                self.text.push_str("OPT (TRUNCATED)");
                return None;
            };
            self.hex_options(options);
        }
        Some(())
    }

    fn udp(&mut self, packet: &[u8], at: usize, protocol: u8, later: bool) -> Option<()> {
        self.text.push_str(if protocol == proto::UDP { "PROTO=UDP " } else { "PROTO=UDPLITE " });
        if later {
            return Some(());
        }
        let Some(header) = packet.get(at..).and_then(hairpin_wire::udp::Udp::new) else {
            self.incomplete(packet, at);
            return None;
        };
        self.put(format_args!("SPT={} DPT={} LEN={} ", header.src_port(), header.dst_port(), header.len()));
        Some(())
    }

    /// AH or ESP in IPv4: the place of its SPI, and the length that must be there.
    fn ipsec(&mut self, packet: &[u8], at: usize, name: &str, (spi_at, len): (usize, usize)) {
        self.put(format_args!("PROTO={name} "));
        match packet.get(at..).and_then(|header| spi(header, spi_at, len)) {
            Some(spi) => self.put(format_args!("SPI=0x{spi:x} ")),
            None => self.incomplete(packet, at),
        }
    }

    /// The same in IPv6, among the extension headers.
    fn ipsec6(&mut self, header: &[u8], later: bool, name: &str, (spi_at, len): (usize, usize)) -> Option<()> {
        self.put(format_args!("{name} "));
        if later {
            self.text.push(')');
            return None;
        }
        match spi(header, spi_at, len) {
            Some(spi) => self.put(format_args!("SPI=0x{spi:x} ")),
            None => {
                self.put(format_args!("INCOMPLETE [{} bytes] )", header.len()));
                return None;
            }
        }
        Some(())
    }

    fn hex_options(&mut self, options: &[u8]) {
        self.text.push_str("OPT (");
        for byte in options {
            self.put(format_args!("{byte:02X}"));
        }
        self.text.push_str(") ");
    }

    fn truncated(&mut self) -> Option<()> {
        self.text.push_str("TRUNCATED");
        None
    }

    /// How many bytes there are of a header that is not whole; the kernel counts below zero where a length field lies.
    fn incomplete(&mut self, packet: &[u8], at: usize) {
        self.put(format_args!("INCOMPLETE [{} bytes] ", (packet.len() as u32).wrapping_sub(at as u32)));
    }
}

/// Extension headers as LOG takes them: ESP is one.
fn is_extension(next: u8) -> bool {
    next != proto::NONE && (ipv6::is_extension(next) || next == proto::ESP)
}

fn spi(header: &[u8], at: usize, len: usize) -> Option<u32> {
    header.get(..len)?.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// An IPv6 address with all its zeros.
struct Full(Addr);

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for n in 0..8 {
            let word = (self.0.0 >> (112 - n * 16)) as u16;
            write!(f, "{}{word:04x}", if n == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::Hook;
    use crate::look::Ground;
    use crate::net::{IfIndex, Net};
    use crate::packet::{Origin, Owner, Packet};
    use crate::rng::Rng;
    use crate::rule::TableId;
    use crate::setup::{NewInterface, Setup};
    use crate::time::Now;
    use crate::track::Conns;
    use hairpin_wire::{Mac, build};
    use proptest::prelude::*;
    use std::sync::{Arc, LazyLock};

    const NONE: LogFlags =
        LogFlags { tcp_sequence: false, tcp_options: false, ip_options: false, uid: false, macdecode: false };

    static NET: LazyLock<Net> = LazyLock::new(|| {
        let interfaces = ["r0", "r1"].map(|name| NewInterface::ethernet(name, Mac([2, 0, 0, 0, 1, 1])));
        Setup { interfaces: interfaces.into(), ..Setup::default() }.build().unwrap()
    });

    fn line(packet: &Packet, hook: Hook, prefix: &str, flags: LogFlags) -> String {
        let (conns, now, rng, sets) = (Conns::default(), Now::default(), Rng::new(1), Default::default());
        let (told, accounts) = (std::cell::RefCell::default(), std::cell::RefCell::default());
        let ground = Ground {
            hook,
            table: TableId::Filter,
            now: &now,
            net: &NET,
            memories: &[],
            sets: &sets,
            accounts: &accounts,
            rng: &rng,
            asked: None,
            told: &told,
        };
        log_line(&Look::new(packet, &conns, ground), prefix, flags)
    }

    fn frame(ip: &[u8]) -> Packet {
        let kind = if ip[0] >> 4 == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
        let frame = build::frame(Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 1, 2]), kind, ip);
        let mut packet = Packet::from_frame(&frame).unwrap();
        packet.meta.iif = Some(IfIndex(2));
        packet.meta.oif = Some(IfIndex(3));
        packet
    }

    /// What follows the devices, in FORWARD.
    fn tail(ip: &[u8], flags: LogFlags) -> String {
        let line = line(&frame(ip), Hook::Forward, "", flags);
        line.split_once(if ip[0] >> 4 == 4 { ":08:00 " } else { ":86:dd " }).unwrap().1.to_owned()
    }

    fn v4(text: &str) -> Addr {
        Addr::from_v4(text.parse().unwrap())
    }

    fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        build::ip(Family::V4, v4("10.0.1.2"), v4("10.0.2.2"), protocol, payload)
    }

    fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
        build::ip(Family::V6, Addr(0x2001_0db8 << 96 | 1), Addr(0x2001_0db8 << 96 | 2), next, payload)
    }

    /// What follows the fixed header.
    fn rest(ip: &[u8], flags: LogFlags) -> String {
        let line = tail(ip, flags);
        line.split_once(if ip[0] >> 4 == 4 { "ID=0 " } else { "FLOWLBL=0 " }).unwrap().1.to_owned()
    }

    #[test]
    fn a_udp_packet_passing_through() {
        let (src, dst) = (v4("10.0.1.2"), v4("10.0.2.2"));
        let udp = build::Udp { src_port: 5000, dst_port: 53, payload: b"x" }.to_vec(Family::V4, src, dst);
        let ip = build::Ipv4 {
            src,
            dst,
            protocol: proto::UDP,
            tos: 0x2c,
            id: 77,
            ttl: 63,
            dont_fragment: true,
            payload: &udp,
            ..Default::default()
        };
        let mut packet = frame(&ip.to_vec());
        let expected = "SEMLOG1 IN=r0 OUT=r1 MAC=02:00:00:00:01:01:02:00:00:00:01:02:08:00 SRC=10.0.1.2 DST=10.0.2.2 LEN=29 TOS=0x0C PREC=0x20 TTL=63 ID=77 DF PROTO=UDP SPT=5000 DPT=53 LEN=9 ";
        let all = LogFlags { macdecode: true, ..LogFlags::TRACE };
        assert_eq!(line(&packet, Hook::Forward, "SEMLOG1 ", LogFlags::TRACE), expected);
        assert!(line(&packet, Hook::Prerouting, "", NONE).starts_with("IN=r0 OUT= MAC=02:00"));
        let decoded = "IN=r0 OUT= MACSRC=02:00:00:00:01:02 MACDST=02:00:00:00:01:01 MACPROTO=0800 SRC=10.0.1.2 ";
        assert!(line(&packet, Hook::Input, "", all).starts_with(decoded));
        packet.meta.mark = 0x2a;
        assert!(line(&packet, Hook::Forward, "", NONE).ends_with(" LEN=9 MARK=0x2a "));

        packet.meta.iif = None;
        let owner = Owner { uid: 3, gid: 4, ..Default::default() };
        packet.meta.origin = Origin::Local(Sender::Process(Arc::new(owner)));
        let local = line(&packet, Hook::Output, "", all);
        assert!(local.starts_with("IN= OUT=r1 SRC=") && local.ends_with(" LEN=9 UID=3 GID=4 MARK=0x2a "), "{local}");
    }

    #[test]
    fn a_syn_with_everything() {
        let tcp = build::Tcp {
            src_port: 1,
            dst_port: 2,
            seq: 5,
            flags: tcp::CWR | tcp::ECE | tcp::URG | tcp::SYN,
            window: 8192,
            urgent: 7,
            options: &[2, 4, 5, 0xb4, 1, 3, 3, 7],
            ..Default::default()
        };
        let mut ip = ip4(proto::TCP, &tcp.to_vec(Family::V4, v4("10.0.1.2"), v4("10.0.2.2")));
        assert_eq!(
            rest(&ip, LogFlags::TRACE),
            "PROTO=TCP SPT=1 DPT=2 SEQ=5 ACK=0 WINDOW=8192 RES=0x00 CWR ECE URG SYN URGP=7 OPT (020405B401030307) "
        );
        ip[32] |= 0xf;
        assert_eq!(rest(&ip, NONE), "PROTO=TCP SPT=1 DPT=2 WINDOW=8192 RES=0x38 AE CWR ECE URG SYN URGP=7 ");
        ip[32] = 0xf0;
        assert!(rest(&ip, LogFlags::TRACE).ends_with(" URGP=7 OPT (TRUNCATED)"));
    }

    #[test]
    fn icmp_and_what_it_quotes() {
        let icmp = |kind, code, rest, payload: &[u8]| {
            ip4(proto::ICMP, &build::Icmp { kind, code, rest, payload }.to_vec(Family::V4, Addr(0), Addr(0)))
        };
        let tcp = build::Tcp { src_port: 2, dst_port: 1, flags: tcp::SYN, window: 8192, ..Default::default() };
        let (src, dst) = (v4("10.0.2.2"), v4("10.0.1.2"));
        let segment = tcp.to_vec(Family::V4, src, dst);
        let quote =
            build::Ipv4 { src, dst, protocol: proto::TCP, id: 1, payload: &segment, ..Default::default() }.to_vec();
        assert_eq!(
            rest(&icmp(3, 4, 1400, &quote), NONE),
            "PROTO=ICMP TYPE=3 CODE=4 [SRC=10.0.2.2 DST=10.0.1.2 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=TCP SPT=2 DPT=1 WINDOW=8192 RES=0x00 SYN URGP=0 ] MTU=1400 "
        );
        assert!(rest(&icmp(11, 0, 0, &quote[..28]), NONE).ends_with(" PROTO=TCP INCOMPLETE [8 bytes] ] "));
        assert_eq!(rest(&icmp(3, 1, 0, &quote[..19]), NONE), "PROTO=ICMP TYPE=3 CODE=1 INCOMPLETE [27 bytes] ");
        assert!(rest(&icmp(5, 1, 0xc000_0201, &quote), NONE).contains(" CODE=1 GATEWAY=192.0.2.1 [SRC="));
        assert_eq!(
            rest(&icmp(12, 0, 0x1400_0000, &quote), NONE).split('[').next(),
            Some("PROTO=ICMP TYPE=12 CODE=0 PARAMETER=20 ")
        );
        assert_eq!(rest(&icmp(8, 0, 0x0001_0002, b""), NONE), "PROTO=ICMP TYPE=8 CODE=0 ID=1 SEQ=2 ");
        assert_eq!(rest(&icmp(13, 0, 0, &[0; 4]), NONE), "PROTO=ICMP TYPE=13 CODE=0 INCOMPLETE [12 bytes] ");
        assert_eq!(rest(&icmp(17, 0, 0, &[0; 4]), NONE), "PROTO=ICMP TYPE=17 CODE=0 ");
        let mut lying = quote[..28].to_vec();
        lying[0] = 0x4f;
        assert!(rest(&icmp(3, 1, 0, &lying), NONE).ends_with(" ID=1 PROTO=TCP INCOMPLETE [4294967264 bytes] ] "));
        assert!(rest(&icmp(3, 1, 0, &lying), LogFlags::TRACE).ends_with(" ID=1 TRUNCATED] "));
    }

    #[test]
    fn other_protocols_of_ipv4() {
        assert_eq!(rest(&ip4(99, b"x"), NONE), "PROTO=99 ");
        assert_eq!(rest(&ip4(proto::TCP, &[0; 10]), NONE), "PROTO=TCP INCOMPLETE [10 bytes] ");
        assert_eq!(rest(&ip4(proto::UDPLITE, &[0, 1, 0, 2, 0, 8, 0, 0]), NONE), "PROTO=UDPLITE SPT=1 DPT=2 LEN=8 ");
        assert_eq!(rest(&ip4(proto::ESP, &[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1]), NONE), "PROTO=ESP SPI=0xdeadbeef ");
        assert_eq!(rest(&ip4(proto::AH, &[6, 4, 0, 0, 0, 0, 0xa, 0xbc, 0, 0, 0, 1]), NONE), "PROTO=AH SPI=0xabc ");
        assert_eq!(rest(&ip4(proto::AH, &[0; 11]), NONE), "PROTO=AH INCOMPLETE [11 bytes] ");
        let later = |protocol| {
            let ip = build::Ipv4 {
                protocol,
                fragment_offset: 8,
                more_fragments: true,
                payload: &[0; 24],
                ..Default::default()
            };
            rest(&ip.to_vec(), NONE)
        };
        assert_eq!(later(proto::TCP), "MF FRAG:8 PROTO=TCP ");
        assert_eq!(later(proto::ESP), "MF FRAG:8 PROTO=ESP ");
        assert_eq!(later(proto::AH), "MF FRAG:8 ");
        let options =
            build::Ipv4 { protocol: 99, options: &[0x94, 4, 0, 0, 1, 1, 1, 1], ..Default::default() }.to_vec();
        assert_eq!(rest(&options, LogFlags::TRACE), "OPT (9404000001010101) PROTO=99 ");
        assert_eq!(rest(&options, NONE), "PROTO=99 ");
    }

    #[test]
    fn ipv6_headers() {
        let udp = [0, 1, 0, 2, 0, 10, 0, 0, b'x', b'x'];
        let behind = |header: &[u8]| [header, &udp].concat();
        let all = LogFlags::TRACE;
        assert_eq!(
            tail(&ip6(proto::UDP, &udp), all),
            "SRC=2001:0db8:0000:0000:0000:0000:0000:0001 DST=2001:0db8:0000:0000:0000:0000:0000:0002 LEN=50 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=1 DPT=2 LEN=10 "
        );
        let options = ip6(proto::DSTOPTS, &behind(&[17, 0, 1, 4, 0, 0, 0, 0]));
        assert_eq!(rest(&options, all), "OPT ( ) PROTO=UDP SPT=1 DPT=2 LEN=10 ");
        assert_eq!(rest(&options, NONE), "PROTO=UDP SPT=1 DPT=2 LEN=10 ");
        let ah = [17, 4, 0, 0, 0, 0, 0xbe, 0xef, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(rest(&ip6(proto::AH, &behind(&ah)), all), "OPT ( AH SPI=0xbeef ) PROTO=UDP SPT=1 DPT=2 LEN=10 ");
        assert_eq!(rest(&ip6(proto::AH, &[17, 1, 0, 0, 0, 0]), all), "OPT ( AH INCOMPLETE [6 bytes] )");
        assert_eq!(rest(&ip6(proto::AH, &[17, 1, 0, 0, 0, 0]), NONE), "PROTO=UDP INCOMPLETE [4294967290 bytes] ");
        assert_eq!(rest(&ip6(proto::ESP, &[0, 0, 0xca, 0xfe, 0, 0, 0, 1]), all), "OPT ( ESP SPI=0xcafe )");
        assert_eq!(rest(&ip6(proto::ESP, &[0; 5]), all), "OPT ( ESP INCOMPLETE [5 bytes] )");
        assert_eq!(rest(&ip6(proto::ESP, &[0; 8]), NONE), "");
        assert_eq!(rest(&ip6(proto::FRAGMENT, &[17, 0, 0]), all), "OPT ( FRAG:TRUNCATED ");
        assert_eq!(rest(&ip6(proto::DSTOPTS, &[17]), all), "TRUNCATED");
        assert_eq!(rest(&ip6(proto::NONE, b"x"), all), "PROTO=59 ");
        let fragment =
            |next, offset, more| ip6(proto::FRAGMENT, &behind(&build::fragment_header(next, offset, more, 0x1234)));
        assert_eq!(
            rest(&fragment(17, 0, true), all),
            "OPT ( FRAG:0 INCOMPLETE ID:00001234 ) PROTO=UDP SPT=1 DPT=2 LEN=10 "
        );
        assert_eq!(rest(&fragment(17, 8, false), all), "OPT ( FRAG:64 ID:00001234 ) PROTO=UDP ");
        assert_eq!(rest(&fragment(17, 8, false), NONE), "FRAG:64 ID:00001234 PROTO=UDP ");
        assert_eq!(rest(&fragment(proto::DSTOPTS, 8, false), all), "OPT ( FRAG:64 ID:00001234 ) OPT ( )");
        assert_eq!(rest(&fragment(proto::AH, 8, false), all), "OPT ( FRAG:64 ID:00001234 ) OPT ( AH )");
        assert_eq!(rest(&fragment(proto::ESP, 8, false), all), "OPT ( FRAG:64 ID:00001234 ) OPT ( ESP )");
    }

    #[test]
    fn icmpv6_and_what_it_quotes() {
        let (src, dst) = (Addr(0x2001_0db8 << 96 | 1), Addr(0x2001_0db8 << 96 | 2));
        let icmp = |kind, code, rest, payload: &[u8]| {
            ip6(proto::ICMPV6, &build::Icmp { kind, code, rest, payload }.to_vec(Family::V6, src, dst))
        };
        let quote = ip6(proto::UDP, &[0, 1, 0, 2, 0, 9, 0, 0, b'x']);
        let named = "SRC=2001:0db8:0000:0000:0000:0000:0000:0001 DST=2001:0db8:0000:0000:0000:0000:0000:0002 LEN=49 TC=0 HOPLIMIT=64 FLOWLBL=0 ";
        assert_eq!(
            rest(&icmp(4, 1, 40, &quote), NONE),
            format!("PROTO=ICMPv6 TYPE=4 CODE=1 POINTER=00000028 [{named}PROTO=UDP SPT=1 DPT=2 LEN=9 ] ")
        );
        let inner = icmp(2, 0, 1300, &quote);
        assert!(rest(&icmp(2, 0, 1400, &inner), NONE).ends_with("PROTO=ICMPv6 TYPE=2 CODE=0 MTU=1300 ] MTU=1400 "));
        assert_eq!(rest(&icmp(1, 4, 0, &quote[..30]), NONE), "PROTO=ICMPv6 TYPE=1 CODE=4 [TRUNCATED] ");
        assert_eq!(rest(&icmp(128, 0, 0x0001_0002, b""), NONE), "PROTO=ICMPv6 TYPE=128 CODE=0 ID=1 SEQ=2 ");
        assert_eq!(rest(&icmp(5, 0, 0, &quote), NONE), "PROTO=ICMPv6 TYPE=5 CODE=0 ");
    }

    #[test]
    fn lines_are_cut() {
        let header = [proto::DSTOPTS, 0, 1, 4, 0, 0, 0, 0].repeat(170);
        let cut = line(&frame(&ip6(proto::DSTOPTS, &header)), Hook::Forward, "x", LogFlags::TRACE);
        assert_eq!(cut.len(), MAX_LINE);
        assert!(cut.starts_with("xIN=r0 OUT=r1 ") && cut.contains("OPT ( ) OPT ( ) "));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(44), Just(51), Just(60), any::<u8>()], 0..200), six in any::<bool>(),
                        kind in prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(60), any::<u8>()]) {
            let ip = if six { ip6(kind, &bytes) } else { ip4(kind, &bytes) };
            let text = line(&frame(&ip), Hook::Forward, "é", LogFlags::TRACE);
            prop_assert!(text.len() <= MAX_LINE);
        }
    }
}
